use std::time::Duration;

use http::{StatusCode, header::USER_AGENT};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::sleep,
};

use super::*;
use crate::{http2::FRAME_HEADER, store::etcd::Settings};

const PING_INTERVAL: Duration = Duration::from_millis(200);

/// Types of frames, and flags.
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// The other side, frame by frame.
struct Peer(TcpStream);

// === impl Peer ===

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let mut stream = listener.accept().await.unwrap().0;
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        let mut peer = Self(stream);
        peer.0.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        peer
    }

    /// Type and flags of the next frame that is about calls or pings, and the stream of that.
    async fn next(&mut self) -> (u8, u8, u32) {
        loop {
            let mut header = [0; FRAME_HEADER];
            self.0.read_exact(&mut header).await.unwrap();
            let [high, middle, low, kind, flags, stream @ ..] = header;
            let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            if matches!(kind, HEADERS | PING) {
                return (kind, flags, u32::from_be_bytes(stream));
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
    frame
}

/// `:status: 200`, and nothing else.
fn answer_to(stream: u8) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &[0x88])
}

async fn listener() -> (TcpListener, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let settings = Settings {
        ping_interval: PING_INTERVAL,
        ping_timeout: Duration::from_secs(1),
        ..Settings::default()
    };
    let origin = format!("http://{address}").parse().unwrap();
    let way = Way::new(address, origin, None, &settings);
    (listener, Connection::new(way))
}

fn call(connection: &Connection) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
    let request = Request::builder().uri("/etcdserverpb.KV/Range");
    connection
        .clone()
        .call(request.body(Body::empty()).unwrap())
}

/// Answers all calls of the connections that are made, and says how many those were.
async fn answer(listener: TcpListener, calls: usize) -> usize {
    let (mut connections, mut answered) = (0, 0);
    let mut serving = Vec::new();
    while answered < calls {
        let stream = listener.accept().await.unwrap().0;
        connections += 1;
        let mut http = h2::server::handshake(stream).await.unwrap();
        while answered < calls
            && let Some(accepted) = http.accept().await
        {
            let (request, mut reply) = accepted.unwrap();
            assert!(request.headers().contains_key(USER_AGENT));
            assert_eq!(request.uri().path(), "/etcdserverpb.KV/Range");
            reply.send_response(Response::new(()), true).unwrap();
            answered += 1;
        }
        serving.push(tokio::spawn(async move {
            while http.accept().await.is_some() {}
        }));
    }
    connections
}

#[tokio::test]
async fn all_calls_share_the_connection_that_the_first_one_makes() {
    let (listener, connection) = listener().await;
    let serving = tokio::spawn(answer(listener, 3));
    let (first, second) = tokio::join!(call(&connection), call(&connection));
    for response in [first, second, call(&connection).await] {
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(serving.await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_lost_to_its_calls_and_made_anew() {
    let (listener, connection) = listener().await;
    let silent = async { listener.accept().await.unwrap() };
    let (lost, _held) = tokio::join!(call(&connection), silent);
    assert!(lost.unwrap_err().downcast_ref::<NotSent>().is_none());
    let serving = tokio::spawn(answer(listener, 1));
    let response = call(&connection).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(serving.await.unwrap(), 1);
}

#[tokio::test]
async fn a_call_for_which_there_is_no_connection_was_not_sent() {
    let (listener, connection) = listener().await;
    drop(listener);
    let error = call(&connection).await.unwrap_err();
    let Some(NotSent(error)) = error.downcast_ref() else {
        panic!("{error}");
    };
    assert!(
        matches!(
            error,
            Error::Unavailable {
                outcome: Outcome::NotDone,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn etcd_is_pinged_while_it_is_asked_something_and_not_before() {
    let (listener, connection) = listener().await;
    let serving = async {
        let mut peer = Peer::accept(&listener).await;
        assert!(matches!(peer.next().await, (HEADERS, _, 1)));
        peer.0.write_all(&answer_to(1)).await.unwrap();
        peer
    };
    let (answered, mut peer) = tokio::join!(call(&connection), serving);
    drop(answered.unwrap());
    sleep(PING_INTERVAL * 10).await;
    let unanswered = tokio::spawn(call(&connection));
    assert!(matches!(peer.next().await, (HEADERS, _, 3)));
    assert_eq!(peer.next().await, (PING, 0, 0));
    unanswered.abort();
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_ping_goes_after_what_is_asked_meanwhile() {
    let (listener, connection) = listener().await;
    let ping = frame(PING, 0, 0, &[7; 8]);
    let serving = async {
        let mut peer = Peer::accept(&listener).await;
        assert!(matches!(peer.next().await, (HEADERS, _, 1)));
        let both = [ping, answer_to(1)].concat();
        peer.0.write_all(&both).await.unwrap();
        peer
    };
    let (answered, mut peer) = tokio::join!(call(&connection), serving);
    drop(answered.unwrap());
    let next = tokio::spawn(call(&connection));
    assert!(matches!(peer.next().await, (HEADERS, _, 3)));
    // Before a ping of our own would be due.
    assert_eq!(peer.next().await, (PING, ACK, 0));
    next.abort();
}
