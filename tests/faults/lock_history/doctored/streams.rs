//! Histories of streams.

use super::*;

/// The first client holds, and the second one waits; its link breaks, it goes on with another stream
/// and then holds. The third one waits behind it until it ends its stream. Then the first one comes
/// again, and its session dies.
const TALK: &str = "
heard 1 a 1 1 100 opens
queued 10 a 10 exclusive
heard 1 a 1 1 200 acquired:10:10:5000000
heard 2 a 2 1 300 opens
queued 11 a 11 exclusive
heard 2 a 2 1 400 queued:11:1:1:11
heard 1 a 1 1 450 contended:1:11
heard 3 a 3 1 500 opens
queued 12 a 12 exclusive
heard 3 a 3 1 600 queued:12:2:2:12
heard 2 a 2 1 700 breaks:1666666
heard 2 a 2 1 750 fails
heard 2 a 2 2 800 opens
heard 2 a 2 2 900 queued:11:1:2:13
heard 1 a 1 1 950 drops
believed 1 a 10 200 950
left 14 a 10 1000 false
heard 2 a 2 2 1100 acquired:11:14
heard 3 a 3 1 1150 queued:12:1:1:14
heard 3 a 3 1 1200 drops
left 15 a 12 1250 false
heard 3 a 3 1 1300 releases
heard 2 a 2 2 1350 contended:0:15
believed 2 a 11 1100 1400
heard 2 a 2 2 1400 releases
left 16 a 11 1450 false
released 2 a 11 true
heard 2 a 2 2 1500 lost:11:16:removed
heard 2 a 2 2 1550 ends
heard 1 a 4 1 2000 opens
queued 17 a 17 exclusive
heard 1 a 4 1 2100 acquired:17:17:5000000
believed 1 a 17 2100 4502000
left 18 a 17 5300000 true
heard 1 a 4 1 5400000 lost:17:18:session
heard 1 a 4 1 5500000 ends
";

/// A client holds, its link breaks, and it does not come back.
const ALONE: &str = "
heard 1 a 1 1 100 opens
queued 10 a 10 exclusive 1000000
heard 1 a 1 1 200 acquired:10:10
believed 1 a 10 200 300
heard 1 a 1 1 300 breaks:1666666
heard 1 a 1 1 350 fails
left 11 a 10 1667000 false
over 12 a 10 2700000
";

#[track_caller]
fn found(changes: &[(&str, &str)]) -> Vec<Kind> {
    found_in(TALK, changes)
}

#[test]
fn what_streams_say_is_good_and_reads_as_it_is_written() {
    let events = parse(TALK);
    let summary = check(&events).unwrap();
    assert_eq!((summary.grants, summary.held_by_streams), (0, 3));
    assert_eq!((summary.taken_over, summary.lost), (1, 2));
    assert_eq!(summary.ended, 2);
    let written: Vec<_> = events.iter().map(ToString::to_string).collect();
    assert_eq!(parse(&written.join("\n")), events);
    check(&parse(ALONE)).unwrap();
    for nonsense in ["lost:1:2:3", "queued:1", "acquired:1", "breaks", "sings"] {
        let line = format!("heard 1 a 1 1 100 {nonsense}");
        line.parse::<Event>().unwrap_err();
    }
}

#[test]
fn a_stream_that_acquires_twice_is_found() {
    let twice = "heard 2 a 2 2 1100 acquired:11:14\nheard 2 a 2 2 1120 acquired:11:14";
    let again = [("heard 2 a 2 2 1100 acquired:11:14", twice)];
    assert_eq!(found(&again), [Kind::Talk]);
}

#[test]
fn news_after_a_loss_are_found() {
    let (lost, ends) = (
        "heard 2 a 2 2 1500 lost:11:16:removed",
        "heard 2 a 2 2 1550 ends",
    );
    for news in ["contended:0:15", "acquired:11:15", "lost:11:16:removed"] {
        let more = format!("{lost}\nheard 2 a 2 2 1520 {news}");
        assert!(found(&[(lost, &more)]).contains(&Kind::Talk), "{news}");
        let late = format!("{ends}\nheard 2 a 2 2 1560 {news}");
        assert!(found(&[(ends, &late)]).contains(&Kind::Talk), "{news}");
    }
    // One that ends well and does not say that the lock is lost.
    assert_eq!(found(&[(&format!("{lost}\n"), "")]), [Kind::Talk]);
    // One that waits anew when it held already.
    let queued = [("1350 contended:0:15", "1350 queued:11:1:1:15")];
    assert!(found(&queued).contains(&Kind::Talk));
}

#[test]
fn a_loss_of_what_was_not_lost_is_found() {
    for (from, to) in [
        ("lost:11:16:removed", "lost:11:15:removed"),
        ("lost:11:16:removed", "lost:12:16:removed"),
        ("lost:17:18:session", "lost:17:18:removed"),
        ("lost:17:18:session", "lost:17:18:other"),
    ] {
        assert!(found(&[(from, to)]).contains(&Kind::Talk), "{to}");
    }
}

#[test]
fn two_tokens_of_one_request_are_found() {
    // As if the claim had been made anew although the one before was there.
    let anew = [
        ("queued 12 a 12", "queued 12 a 13 exclusive\nqueued 12 a 12"),
        ("900 queued:11:1:2:13", "900 queued:13:3:3:13"),
    ];
    assert!(found(&anew).contains(&Kind::Token));
    // Two requests with one.
    let same = [(
        "1350 contended:0:15",
        "1350 contended:0:15\nheard 3 a 9 1 1360 opens\nheard 3 a 9 1 1370 acquired:11:15",
    )];
    assert_eq!(found(&same), [Kind::Token]);
}

#[test]
fn a_place_that_the_store_did_not_have_is_found() {
    for (from, to) in [
        ("queued:12:2:2:12", "queued:12:1:2:12"),
        ("queued:12:2:2:12", "queued:12:2:3:12"),
        // It held the lock by then, or was not there yet.
        ("queued:12:1:1:14", "queued:12:1:1:16"),
        ("queued:11:1:1:11", "queued:11:1:1:10"),
        ("contended:1:11", "contended:2:11"),
        ("contended:0:15", "contended:0:14"),
    ] {
        assert_eq!(found(&[(from, to)]), [Kind::Place], "{to}");
    }
}

#[test]
fn a_stream_that_acquires_out_of_turn_is_found() {
    let early = [("acquired:11:14", "acquired:11:13")];
    assert_eq!(found(&early), [Kind::DoubleGrant]);
    let gone = [("1100 acquired:11:14", "1100 acquired:11:16")];
    assert_eq!(found(&gone), [Kind::Invented]);
    // Taken over when it was gone.
    let again = "ends\nheard 2 a 2 3 1600 opens\nheard 2 a 2 3 1700 acquired:11:17\nheard 1 a 4";
    let again = [("ends\nheard 1 a 4", again)];
    assert_eq!(found(&again), [Kind::Invented]);
}

#[test]
fn a_place_that_was_not_kept_is_found() {
    let early = [("left 11 a 10 1667000", "left 11 a 10 1666000")];
    assert_eq!(found_in(ALONE, &early), [Kind::Kept]);
    // With its session it may go.
    let died = "left 11 a 10 1666000 true";
    let text = ALONE.replace("left 11 a 10 1667000 false", died);
    check(&parse(&text)).unwrap();
}

#[test]
fn a_session_that_ended_before_it_was_said_to_is_found() {
    let early = [
        ("left 18 a 17 5300000", "left 18 a 17 5001000"),
        (
            "believed 1 a 17 2100 4502000",
            "believed 1 a 17 2100 3000000",
        ),
    ];
    assert_eq!(found(&early), [Kind::Life]);
}

#[test]
fn who_believes_for_too_long_is_found() {
    // The former holder, when the next one does already.
    let both = [
        ("believed 1 a 10 200 950", "believed 1 a 10 200 1150"),
        ("left 14 a 10 1000 false", "left 14 a 10 1200 false"),
    ];
    assert_eq!(found(&both), [Kind::Belief]);
    // Nobody else does, and yet it is over.
    let over = [(
        "believed 1 a 17 2100 4502000",
        "believed 1 a 17 2100 5300001",
    )];
    assert_eq!(found(&over), [Kind::Belief]);
}
