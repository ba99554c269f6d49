//! Histories of delays.

use super::*;

/// A client dies while it holds the lock, and the next one, who waits, is delayed for a second. That
/// one gives the lock up, and delays nobody; the last one dies while it waits.
const DELAYED: &str = "
queued 10 a 10 exclusive 1000000
granted 1 a 10 10
queued 11 a 11 exclusive 1000000
left 12 a 10 5000000 true
over 14 a 10 6050000
granted 2 a 11 14
queued 15 a 15 exclusive 1000000
left 16 a 11 6100000 false
over 16 a 11 6100000
released 2 a 11 true
granted 3 a 15 16
queued 17 a 17 exclusive 1000000
left 18 a 17 7000000 true
over 19 a 17 7010000
left 20 a 15 7100000 false
over 20 a 15 7100000
released 3 a 15 true
";

#[track_caller]
fn found(changes: &[(&str, &str)]) -> Vec<Kind> {
    found_in(DELAYED, changes)
}

#[test]
fn delays_are_good_and_read_as_they_are_written() {
    let events = parse(DELAYED);
    assert_eq!(check(&events).unwrap().delays, 1);
    let written: Vec<_> = events.iter().map(ToString::to_string).collect();
    assert_eq!(parse(&written.join("\n")), events);
    "queued 10 a 10 exclusive 1 2".parse::<Event>().unwrap_err();
    "left 10 a 10 1".parse::<Event>().unwrap_err();
}

#[test]
fn a_grant_inside_a_delay_is_found() {
    for revision in [12, 13] {
        let inside = format!("granted 2 a 11 {revision}");
        assert_eq!(found(&[("granted 2 a 11 14", &inside)]), [Kind::Delay]);
    }
}

#[test]
fn a_count_inside_a_delay_is_found() {
    let counted =
        "over 14 a 10 6050000\ncounted 13 a 1 1 11 101\nincrement 2 a 11 101 false unknown";
    let inside = [("over 14 a 10 6050000", counted)];
    assert_eq!(found(&inside), [Kind::Unfenced]);
}

#[test]
fn a_delay_that_is_too_short_is_found() {
    let short = [("over 14 a 10 6050000", "over 14 a 10 5700000")];
    assert_eq!(found(&short), [Kind::Delay]);
    // By so little it may only look so.
    let little = DELAYED.replace("over 14 a 10 6050000", "over 14 a 10 5800000");
    check(&parse(&little)).unwrap();
    // Somebody else put another one in its place.
    let replaced = [("over 14 a 10 6050000", "over 13 a 10 5400000")];
    assert_eq!(found(&replaced), [Kind::Delay]);
}

#[test]
fn a_delay_after_a_lock_was_given_up_is_found() {
    let late = [
        ("over 16 a 11 6100000", "over 17 a 11 7100000"),
        ("granted 3 a 15 16", "granted 3 a 15 17"),
    ];
    assert_eq!(found(&late), [Kind::Delay]);
}

#[test]
fn what_delays_and_goes_before_its_claim_is_found() {
    let before = [("over 16 a 11 6100000", "over 15 a 11 6060000")];
    assert_eq!(found(&before), [Kind::Delay]);
    let there = [
        ("left 20 a 15 7100000 false\n", ""),
        ("released 3 a 15 true\n", ""),
    ];
    assert_eq!(found(&there), [Kind::Delay]);
}

#[test]
fn a_stream_that_was_lost_and_delays_nobody_is_found() {
    let good = "
heard 1 a 1 1 100 opens
queued 10 a 10 exclusive 1000000
heard 1 a 1 1 200 acquired:10:10
heard 1 a 1 1 300 breaks:1666666
heard 1 a 1 1 350 fails
left 11 a 10 1700000 false
over 12 a 10 2700000
";
    assert_eq!(check(&parse(good)).unwrap().delays, 1);
    let none = [("over 12 a 10 2700000", "over 11 a 10 1700000")];
    assert_eq!(found_in(good, &none), [Kind::Delay]);
    // One that was ended may delay nobody.
    let ended = [
        (
            "heard 1 a 1 1 300 breaks:1666666\n",
            "heard 1 a 1 1 300 drops\n",
        ),
        ("heard 1 a 1 1 350 fails\n", ""),
    ];
    assert_eq!(found_in(good, &ended), [Kind::Delay]);
}
