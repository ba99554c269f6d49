//! Frames as servers may cut them.

use super::*;
use crate::http2::call::prefixed;

/// Takes the bytes in pieces of `step`, as a connection does, and lists what happens.
fn take(bytes: &[u8], step: usize) -> (Vec<String>, Vec<u8>) {
    let (mut inbound, mut reply, mut events) = (Inbound::default(), Vec::new(), Vec::new());
    let mut buffer = Vec::new();
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        let taken = inbound
            .take(&buffer, &mut reply, &mut |event| {
                events.push(match event {
                    Event::Message { stream, message } => {
                        format!("{stream} {}", message.escape_ascii())
                    }
                    Event::End { stream, end } => format!("{stream} {end:?}"),
                });
            })
            .unwrap();
        buffer.drain(..taken);
    }
    assert!(buffer.is_empty());
    (events, reply)
}

fn data(out: &mut Vec<u8>, stream: u32, flags: u8, payload: &[u8]) {
    frame::write(out, kind::DATA, flags, stream, payload);
}

#[test]
fn messages_are_whole_however_frames_and_reads_cut_them() {
    let mut bytes = Vec::new();
    let several = [prefixed(b"one"), prefixed(b""), prefixed(b"three")].concat();
    data(&mut bytes, 1, 0, &several);
    let long = prefixed(b"cut into pieces");
    data(&mut bytes, 3, 0, &long[..2]);
    data(&mut bytes, 5, 0, &prefixed(b"between"));
    data(&mut bytes, 3, 0, &long[2..9]);
    data(
        &mut bytes,
        3,
        0,
        &[&long[9..], &prefixed(b"next")[..3]].concat(),
    );
    data(&mut bytes, 3, flag::END_STREAM, &prefixed(b"next")[3..]);
    let expected = [
        "1 one",
        "1 ",
        "1 three",
        "5 between",
        "3 cut into pieces",
        "3 next",
        "3 Regular",
    ];
    for step in [1, 7, 100, bytes.len()] {
        assert_eq!(take(&bytes, step).0, expected, "in pieces of {step}");
    }
}

#[test]
fn padding_is_no_part_of_a_message() {
    let mut bytes = Vec::new();
    let padded = [&[3][..], &prefixed(b"text"), &[0; 3]].concat();
    data(&mut bytes, 1, flag::PADDED, &padded);
    assert_eq!(take(&bytes, 64).0, ["1 text"]);
}

#[test]
fn pings_and_settings_are_answered() {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 3, 232]);
    frame::write(&mut bytes, kind::PING, 0, 0, b"12345678");
    frame::write(&mut bytes, kind::PING, flag::ACK, 0, b"12345678");
    let mut expected = Vec::new();
    frame::write(&mut expected, kind::SETTINGS, flag::ACK, 0, &[]);
    frame::write(&mut expected, kind::PING, flag::ACK, 0, b"12345678");
    let (events, reply) = take(&bytes, 64);
    assert!(events.is_empty());
    assert_eq!(reply, expected);
}

#[test]
fn a_refused_call_ends_without_a_message() {
    let mut bytes = Vec::new();
    let flags = flag::END_HEADERS | flag::END_STREAM;
    frame::write(&mut bytes, kind::HEADERS, flags, 1, b"status");
    frame::write(&mut bytes, kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]);
    assert_eq!(take(&bytes, 64).0, ["1 Regular", "3 Reset(8)"]);
}

#[test]
fn window_is_topped_up_long_before_it_ends() {
    let (mut inbound, mut reply) = (Inbound::default(), Vec::new());
    inbound.count(TOP_UP, &mut reply);
    assert!(reply.is_empty());
    inbound.count(1, &mut reply);
    let (head, increment) = reply.split_first_chunk().unwrap();
    assert_eq!(Head::parse(head).kind, kind::WINDOW_UPDATE);
    assert_eq!(number(increment), TOP_UP + 1);
}
