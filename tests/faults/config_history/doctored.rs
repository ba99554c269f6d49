//! Histories with a mistake in them, each of which has to be found.

use super::{
    check::{Kind, check},
    history::{Event, checksum},
};

/// Two clients change two configs, and two watchers look on: one is shown all, one what is left.
/// `#` stands before what is to be a checksum.
const GOOD: &str = "
asked e1 1 a put 0 1.1 10 20 made:1
asked e2 2 a put - 2.2 30 50 unknown
asked e1 3 a put 1 1.3 40 60 refused
asked e1 4 a put 2 1.4 70 90 made:3
asked e1 4 b put - 1.4 70 90 made:1
asked e2 5 b delete 1 - 100 110 made:2
asked e1 6 a rollback:1 - - 120 130 made:4
asked e2 7 b delete - - 120 130 unchanged
asked e2 8 b put 0 2.8 140 150 made:3
asked e2 9 a put - 2.9 150 160 unknown
made 10 a 1 put e1 1 1.1
made 11 a 2 put e2 2 2.2
made 12 a 3 put e1 4 1.4
made 12 b 1 put e1 4 1.4
made 13 b 2 delete e2 5 -
made 14 a 4 rollback:1 e1 6 1.1
made 15 b 3 put e2 8 2.8
kept 10 a 1 put e1 1 1.1
kept 11 a 2 put e2 2 2.2
kept 12 a 3 put e1 4 1.4
kept 12 b 1 put e1 4 1.4
kept 13 b 2 delete e2 5 -
kept 14 a 4 rollback:1 e1 6 1.1
kept 15 b 3 put e2 8 2.8
head a 4 1.1
head b 3 2.8
audited 1 10 a 1 put e1 1 - #1.1
audited 2 11 a 2 put e2 2 #1.1 #2.2
audited 3 12 a 3 put e1 4 #2.2 #1.4
audited 4 12 b 1 put e1 4 - #1.4
audited 5 13 b 2 delete e2 5 #1.4 -
audited 6 14 a 4 rollback e1 6 #1.4 #1.1
audited 7 15 b 3 put e2 8 - #2.8
verified 7
shown all snapshot 10 a@1=1.1
shown all delta 11 a@2=2.2
shown all current 11
shown all delta 12 a@3=1.4 b@1=1.4
shown all delta 13 b@gone
shown all delta 14 a@4=1.1
shown all delta 15 b@3=2.8
shown rest snapshot 9
shown rest conflated 13 a@3=1.4
shown rest snapshot 14 a@4=1.1
shown rest conflated 15 b@3=2.8
";

fn parse(text: &str) -> Vec<Event> {
    let lines = text.lines().filter(|line| !line.is_empty());
    let lines = lines.map(|line| {
        let words = line.split(' ').map(|word| match word.strip_prefix('#') {
            Some(content) => checksum(content),
            None => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    });
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
    assert_eq!((summary.versions, summary.asked), (7, 10));
    assert_eq!((summary.swaps, summary.swapped), (5, 4));
    assert_eq!((summary.refused, summary.unknown), (1, 2));
    assert_eq!((summary.commits, summary.watchers), (1, 2));
    assert_eq!((summary.deltas, summary.conflated), (7, 2));
    let written: Vec<_> = events.iter().map(ToString::to_string).collect();
    assert_eq!(parse(&written.join("\n")), events);
    for bad in ["made 1 a b put e 1 c", "shown all some 1", "nonsense"] {
        bad.parse::<Event>().unwrap_err();
    }
}

#[test]
fn a_version_that_is_lost_is_found() {
    // From the store, while the service goes on telling of it.
    let lost = found(&[("\nmade 12 a 3 put e1 4 1.4", "")]);
    assert!(lost.contains(&Kind::Hole) && lost.contains(&Kind::Lost));
    // From the history that the service tells.
    assert_eq!(found(&[("\nkept 12 b 1 put e1 4 1.4", "")]), [Kind::Lost]);
}

#[test]
fn a_version_that_is_there_twice_is_found() {
    let twice = found(&[(
        "made 15 b 3 put e2 8 2.8",
        "made 15 b 3 put e2 8 2.8\nmade 16 b 3 put e2 8 2.8",
    )]);
    assert!(twice.contains(&Kind::Double));
    let kept = ("head a", "kept 15 b 3 put e2 8 2.8\nhead a");
    assert_eq!(found(&[kept]), [Kind::Double]);
    // An operation of unknown outcome that was carried out again.
    let again = ("made 15 b 3 put e2 8", "made 15 b 3 put e2 2");
    assert!(found(&[again, ("put e2 2 2.2", "put e2 8 2.2")]).contains(&Kind::Undead));
    let again = (
        "made 14 a 4 rollback:1 e1 6 1.1",
        "made 14 a 4 put e2 2 2.2",
    );
    assert!(found(&[again]).contains(&Kind::Double));
}

#[test]
fn versions_that_are_swapped_are_found() {
    let swapped = [
        ("made 10 a 1", "made x a 1"),
        ("made 11 a 2", "made 10 a 2"),
        ("made x a 1", "made 11 a 1"),
    ];
    let swapped = found(&swapped);
    assert!(swapped.contains(&Kind::Hole) && swapped.contains(&Kind::Order));
    // It was asked for when the one after it had been acknowledged.
    let late = ("4 b put - 1.4 70 90", "4 b put - 1.4 120 130");
    assert_eq!(found(&[late]), [Kind::Order]);
}

#[test]
fn a_wrong_content_or_author_is_found() {
    for (from, to) in [
        ("kept 10 a 1 put e1 1 1.1", "kept 10 a 1 put e1 1 1.2"),
        ("kept 10 a 1 put e1 1 1.1", "kept 10 a 1 put e2 1 1.1"),
        ("kept 10 a 1 put e1 1 1.1", "kept 11 a 1 put e1 1 1.1"),
        ("asked e2 8 b put 0 2.8", "asked e2 8 b put 0 2.9"),
        ("asked e1 1 a", "asked e2 1 a"),
        ("6 a rollback:1 - -", "6 a rollback:2 - -"),
    ] {
        assert_eq!(found(&[(from, to)]), [Kind::Content], "{to}");
    }
    // A rollback that copied something else.
    let other = found(&[("14 a 4 rollback:1", "14 a 4 rollback:2")]);
    assert!(other.contains(&Kind::Content));
}

#[test]
fn what_was_refused_and_made_all_the_same_is_found() {
    for outcome in ["refused", "unchanged"] {
        let asked = format!("8 b put 0 2.8 140 150 {outcome}");
        let undead = found(&[("8 b put 0 2.8 140 150 made:3", &asked)]);
        assert_eq!(undead, [Kind::Undead]);
    }
    let nobody = found(&[("asked e2 2 a put - 2.2 30 50 unknown\n", "")]);
    assert_eq!(nobody, [Kind::Undead]);
}

#[test]
fn an_acknowledgement_of_something_else_is_found() {
    let other = found(&[(
        "6 a rollback:1 - - 120 130 made:4",
        "6 a rollback:1 - - 120 130 made:5",
    )]);
    assert_eq!(other, [Kind::Lost]);
    let never = found(&[("2.9 150 160 unknown", "2.9 150 160 made:5")]);
    assert_eq!(never, [Kind::Lost]);
}

#[test]
fn a_compare_and_swap_over_something_unseen_is_found() {
    assert_eq!(found(&[("4 a put 2 1.4", "4 a put 1 1.4")]), [Kind::Swap]);
    assert_eq!(found(&[("8 b put 0 2.8", "8 b put 1 2.8")]), [Kind::Swap]);
    assert_eq!(found(&[("4 a put 2 1.4", "4 a put 0 1.4")]), [Kind::Swap]);
}

#[test]
fn a_commit_in_two_pieces_is_found() {
    let torn = found(&[("made 12 b 1", "made 11 b 1")]);
    assert!(torn.contains(&Kind::Torn));
    let half = found(&[("made 12 b 1 put e1 4 1.4\n", "")]);
    assert!(half.contains(&Kind::Torn));
}

#[test]
fn a_head_that_is_not_the_last_version_is_found() {
    for head in ["head a 3 1.4", "head a 4 1.4", "head a 0 -"] {
        assert_eq!(found(&[("head a 4 1.1", head)]), [Kind::Head], "{head}");
    }
    assert_eq!(found(&[("head b 3 2.8\n", "")]), [Kind::Head]);
}

#[test]
fn an_audit_that_does_not_tell_the_versions_is_found() {
    let last = "audited 7 15 b 3 put e2 8 - #2.8\n";
    for changes in [
        // An entry is missing: the last one, and one inside.
        &[(last, ""), ("verified 7", "verified 6")][..],
        &[("audited 3 12 a 3 put e1 4 #2.2 #1.4\n", "")],
        // One too many, for a version that is not there and for one that has one.
        &[(
            "verified 7",
            "audited 8 16 b 4 put e2 9 #2.8 #2.9\nverified 8",
        )],
        &[("verified 7", "audited 8 15 b 3 put e2 8 - #2.8\nverified 8")],
        // Wrong in one of its parts.
        &[("a 2 put e2 2 #1.1 #2.2", "a 2 put e1 2 #1.1 #2.2")],
        &[("a 2 put e2 2 #1.1 #2.2", "a 2 put e2 2 #1.1 #2.1")],
        &[("a 4 rollback e1", "a 4 put e1")],
        // Not verified.
        &[("verified 7\n", "")],
    ] {
        assert_eq!(found(changes), [Kind::Audit], "{changes:?}");
    }
}

#[test]
fn a_watcher_that_misses_or_repeats_something_is_found() {
    for (from, to) in [
        // A gap, in the middle and at the end; an unmarked one.
        ("shown all delta 13 b@gone\n", ""),
        ("shown all delta 15 b@3=2.8\n", ""),
        ("shown rest conflated 13", "shown rest delta 13"),
        ("shown all current 11", "shown all current 12"),
        // Half a revision.
        ("12 a@3=1.4 b@1=1.4", "12 a@3=1.4"),
        // A repetition, and something that never was.
        ("shown all current 11", "shown all delta 11 a@2=2.2"),
        ("shown all delta 14 a@4=1.1", "shown all delta 14 a@4=1.4"),
        ("shown all delta 14 a@4=1.1", "shown all delta 14 a@5=1.1"),
        // What is gone comes back with a snapshot; a sum with too much in it.
        (
            "shown rest snapshot 14 a@4=1.1",
            "shown rest snapshot 14 a@4=1.1 b@1=1.4",
        ),
        ("conflated 13 a@3=1.4", "conflated 13 a@3=1.4 b@gone"),
        // Back in time.
        (
            "shown rest snapshot 14 a@4=1.1",
            "shown rest snapshot 12 a@3=1.4 b@1=1.4",
        ),
    ] {
        assert_eq!(found(&[(from, to)]), [Kind::Watch], "{to}");
    }
}
