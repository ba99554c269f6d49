//! Histories with a mistake in them, each of which has to be found.

use super::{
    check::{Kind, check},
    history::Event,
};

/// Three clients take turns: the second one waits, the third one leaves the queue.
const GOOD: &str = "
queued 10 a 10
granted 1 a 10 10
queued 11 a 11
queued 12 a 12
counted 13 a 1 1 10 101
increment 1 a 10 101 false accepted:1
left 14 a 12
counted 15 a 2 2 10 102
increment 1 a 10 102 false unknown
left 16 a 10
released 1 a 10
granted 2 a 11 16
increment 1 a 10 103 true refused
counted 17 a 3 3 11 104
increment 2 a 11 104 false accepted:3
left 18 a 11
released 2 a 11
queued 19 a 19
granted 3 a 19 19
left 20 a 19
";

fn parse(text: &str) -> Vec<Event> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.parse().unwrap()).collect()
}

/// What is found once some text is another one.
#[track_caller]
fn found(changes: &[(&str, &str)]) -> Vec<Kind> {
    let mut text = GOOD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "there is no {from}");
        text = text.replace(from, to);
    }
    let violations = check(&parse(&text)).unwrap_err();
    let mut kinds: Vec<_> = violations.iter().map(|found| found.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

#[test]
fn a_good_history_is_good_and_reads_as_it_is_written() {
    let events = parse(GOOD);
    let summary = check(&events).unwrap();
    assert_eq!(summary.grants, 3);
    assert_eq!(
        (summary.increments, summary.unknown, summary.stale),
        (3, 1, 1)
    );
    let written: Vec<_> = events.iter().map(ToString::to_string).collect();
    assert_eq!(parse(&written.join("\n")), events);
    "granted 1 a b 2".parse::<Event>().unwrap_err();
    "nonsense".parse::<Event>().unwrap_err();
}

#[test]
fn a_double_grant_is_found() {
    // The second one is told while the first one is there.
    assert_eq!(
        found(&[("granted 2 a 11 16", "granted 2 a 11 15")]),
        [Kind::DoubleGrant]
    );
}

#[test]
fn a_swapped_order_is_found() {
    // The third one is told first, and nobody before it holds the lock.
    let swapped = found(&[
        ("left 14 a 12", "left 18 a 12"),
        ("granted 2 a 11 16", "granted 3 a 12 16"),
        ("counted 17 a 3 3 11 104\n", ""),
        ("increment 2 a 11 104 false accepted:3\n", ""),
    ]);
    assert_eq!(swapped, [Kind::Order]);
}

#[test]
fn a_reused_token_is_found() {
    assert_eq!(
        found(&[("granted 3 a 19 19", "granted 3 a 10 10")]),
        [Kind::Token]
    );
    // One that is not larger than the one before it.
    let reused = [
        ("queued 19 a 19", "queued 19 a 9"),
        ("granted 3 a 19 19", "granted 3 a 9 19"),
        ("left 20 a 19", "left 20 a 9"),
    ];
    assert!(found(&reused).contains(&Kind::Token));
}

#[test]
fn a_lost_increment_is_found() {
    assert!(found(&[("counted 17 a 3 3 11 104\n", "")]).contains(&Kind::Lost));
    // One that overwrote another.
    assert_eq!(
        found(&[("counted 15 a 2 2", "counted 15 a 2 1")]),
        [Kind::Count]
    );
}

#[test]
fn a_grant_of_what_is_not_there_is_found() {
    let invented = found(&[("granted 3 a 19 19", "granted 3 a 19 20")]);
    assert_eq!(invented, [Kind::Invented]);
}

#[test]
fn a_write_without_the_lock_is_found() {
    // By the former holder, and by one that waits.
    for token in ["10", "12"] {
        let counted = format!("counted 17 a 3 3 {token} 104");
        let unfenced = found(&[("counted 17 a 3 3 11 104", &counted)]);
        assert_eq!(unfenced, [Kind::Unfenced]);
    }
}

#[test]
fn a_stale_or_refused_write_that_was_made_is_found() {
    let refused = [(
        "increment 2 a 11 104 false accepted:3",
        "increment 2 a 11 104 false refused",
    )];
    assert_eq!(found(&refused), [Kind::Undead]);
    let stale = [("102 false unknown", "102 true unknown")];
    assert_eq!(found(&stale), [Kind::Undead]);
    let twice = [("11 104", "11 101")];
    assert!(found(&twice).contains(&Kind::Undead));
}
