//! Histories with a mistake in them, each of which has to be found.

mod delays;
mod streams;

use super::{
    check::{Kind, check},
    history::Event,
};

/// Three clients take turns: the second one waits, the third one leaves the queue.
const GOOD: &str = "
queued 10 a 10 exclusive
granted 1 a 10 10
queued 11 a 11 exclusive
queued 12 a 12 exclusive
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
queued 19 a 19 exclusive
granted 3 a 19 19
left 20 a 19
";

/// Two readers hold a lock together, a writer waits for them and a third reader for the writer; of
/// three permits of another lock, one client has two and another one the third.
const SHARED: &str = "
queued 10 r 10 shared
queued 11 r 11 shared
granted 2 r 11 11
granted 1 r 10 12
counted 13 r 1 1 11 201
increment 2 r 11 201 false accepted:1
queued 14 r 14 exclusive
queued 15 r 15 shared
left 16 r 10
left 17 r 11
granted 3 r 14 17
left 18 r 14
granted 4 r 15 18
queued 20 p 20 2/3
queued 21 p 21 1/3
queued 22 p 22 1/3
granted 1 p 20 20
granted 2 p 21 23
left 24 p 20
granted 3 p 22 24
";

fn parse(text: &str) -> Vec<Event> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.parse().unwrap()).collect()
}

/// What is found once some text is another one.
#[track_caller]
fn found(changes: &[(&str, &str)]) -> Vec<Kind> {
    found_in(GOOD, changes)
}

#[track_caller]
fn found_in(good: &str, changes: &[(&str, &str)]) -> Vec<Kind> {
    let mut text = good.to_owned();
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
        ("queued 19 a 19 exclusive", "queued 19 a 9 exclusive"),
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

#[test]
fn those_that_go_together_hold_together() {
    let summary = check(&parse(SHARED)).unwrap();
    assert_eq!((summary.grants, summary.together), (7, 3));
}

#[test]
fn a_reader_beside_a_writer_is_found() {
    // A reader while the writer holds, and the writer while a reader does.
    for (from, to) in [
        ("granted 4 r 15 18", "granted 4 r 15 17"),
        ("granted 3 r 14 17", "granted 3 r 14 16"),
    ] {
        assert_eq!(found_in(SHARED, &[(from, to)]), [Kind::DoubleGrant], "{to}");
    }
    // One who was taken for a reader.
    let writer = [("queued 11 r 11 shared", "queued 11 r 11 exclusive")];
    assert!(found_in(SHARED, &writer).contains(&Kind::Order));
}

#[test]
fn a_reader_past_a_writer_that_waits_is_found() {
    let past = [("granted 4 r 15 18", "granted 4 r 15 15")];
    assert_eq!(found_in(SHARED, &past), [Kind::Order, Kind::Token]);
    let unfenced = [("counted 13 r 1 1 11", "counted 15 r 1 1 15")];
    assert_eq!(found_in(SHARED, &unfenced), [Kind::Unfenced]);
}

#[test]
fn one_permit_too_many_is_found() {
    let many = [("granted 3 p 22 24", "granted 3 p 22 23")];
    assert_eq!(found_in(SHARED, &many), [Kind::DoubleGrant]);
    let heavy = [("queued 21 p 21 1/3", "queued 21 p 21 2/3")];
    assert_eq!(found_in(SHARED, &heavy), [Kind::DoubleGrant]);
    let other = [("queued 21 p 21 1/3", "queued 21 p 21 1/4")];
    assert_eq!(found_in(SHARED, &other), [Kind::DoubleGrant]);
}
