//! A TCP proxy that makes a link bad: between a client and a replica, or a replica and a member.
//!
//! What it does to a link can be changed at any time and holds for the connections that are open.
//! Each direction of a connection has a reader and a writer with a bounded queue between them, so
//! that a delay does not cost bandwidth and a stall reaches the sender as full buffers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

/// How many bytes are read at once.
const CHUNK: usize = 16 * 1024;
/// How many chunks may be under way in one direction.
const UNDER_WAY: usize = 64;

/// One address that stays, and a bad link behind it. Gone when dropped, with its connections.
pub struct Proxy {
    pub address: SocketAddr,
    link: Arc<watch::Sender<Link>>,
    _listening: AbortOnDropHandle<()>,
}

/// What a link does to its connections.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Where new connections lead.
    pub target: SocketAddr,
    /// From the one who connects.
    pub there: Lane,
    /// Back to it.
    pub back: Lane,
    /// New connections are closed at once.
    pub refuse: bool,
    /// Connections from before this number was raised are reset.
    resets: u64,
}

/// One direction of a link.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lane {
    pub delay: Duration,
    /// Up to this much more, drawn for each chunk; order is kept.
    pub jitter: Duration,
    /// Bytes a second; none: as fast as it goes.
    pub bandwidth: Option<u64>,
    pub flow: Flow,
    /// Resets the connection once it has carried so many bytes.
    pub cut_after: Option<u64>,
}

/// Whether bytes arrive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flow {
    #[default]
    Open,
    /// They wait until it is open again, as after a pause of the network.
    Stalled,
    /// They are swallowed, as by a router that forgot the connection: it never works again.
    Swallowed,
}

/// A connection broke, or is to break.
struct Broken;

// === impl Proxy ===

impl Proxy {
    /// Opens a proxy to `target` on loopback.
    pub async fn to(target: SocketAddr) -> Self {
        Self::on("127.0.0.1:0", target).await
    }

    /// Opens a proxy that listens on `address`.
    pub async fn on(address: &str, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let link = Arc::new(watch::Sender::new(Link::to(target, 0)));
        Self {
            address: listener.local_addr().unwrap(),
            _listening: AbortOnDropHandle::new(tokio::spawn(listen(listener, link.subscribe()))),
            link,
        }
    }

    /// Changes what the link does.
    pub fn change(&self, change: impl FnOnce(&mut Link)) {
        self.link.send_modify(change);
    }

    /// Changes both directions alike.
    pub fn change_both(&self, change: impl Fn(&mut Lane)) {
        self.link.send_modify(|link| {
            change(&mut link.there);
            change(&mut link.back);
        });
    }

    /// Nothing arrives in either direction, new connections included, until it is healed.
    pub fn black_hole(&self) {
        self.change_both(|lane| lane.flow = Flow::Stalled);
    }

    /// Resets all connections; new ones are let through.
    pub fn reset(&self) {
        self.link.send_modify(|link| link.resets += 1);
    }

    /// Makes the link good again.
    pub fn heal(&self) {
        self.link
            .send_modify(|link| *link = Link::to(link.target, link.resets));
    }
}

// === impl Link ===

impl Link {
    /// A good link.
    fn to(target: SocketAddr, resets: u64) -> Self {
        Self {
            target,
            there: Lane::default(),
            back: Lane::default(),
            refuse: false,
            resets,
        }
    }
}

async fn listen(listener: TcpListener, link: watch::Receiver<Link>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (outside, _) = accepted.unwrap();
                if link.borrow().refuse {
                    reset(&outside);
                    continue;
                }
                connections.spawn(carry(outside, link.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(outside: TcpStream, mut link: watch::Receiver<Link>) {
    let resets = link.borrow_and_update().resets;
    // A link on which nothing arrives does not carry a handshake either.
    while link.borrow_and_update().there.flow != Flow::Open {
        if link.changed().await.is_err() || link.borrow().resets != resets {
            return reset(&outside);
        }
    }
    let target = link.borrow().target;
    let Ok(inside) = TcpStream::connect(target).await else {
        return reset(&outside);
    };
    for stream in [&outside, &inside] {
        stream.set_nodelay(true).unwrap();
        // A connection that ends early ends as on a broken network.
        stream.set_zero_linger().unwrap();
    }
    let (outside_read, outside_write) = outside.into_split();
    let (inside_read, inside_write) = inside.into_split();
    let there = pump(outside_read, inside_write, link.clone(), |link| link.there);
    let back = pump(inside_read, outside_write, link.clone(), |link| link.back);
    tokio::select! {
        _ = async { tokio::try_join!(there, back) } => {}
        _ = link.wait_for(|link| link.resets != resets) => {}
    }
}

/// Carries one direction until its sender closes it.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    link: watch::Receiver<Link>,
    lane: fn(&Link) -> Lane,
) -> Result<(), Broken> {
    let (send, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let mut reader_link = link.clone();
    let read = async move {
        let mut random = StdRng::from_os_rng();
        let (mut carried, mut last) = (0, Instant::now());
        let mut buffer = vec![0; CHUNK];
        loop {
            let open = reader_link.wait_for(|link| lane(link).flow != Flow::Stalled);
            let now = lane(&*open.await.map_err(|_| Broken)?);
            let read = from.read(&mut buffer).await.map_err(|_| Broken)?;
            if read == 0 {
                return Ok(());
            }
            carried += read as u64;
            if now.cut_after.is_some_and(|limit| carried > limit) {
                return Err(Broken);
            }
            if now.flow == Flow::Swallowed {
                continue;
            }
            if let Some(bandwidth) = now.bandwidth {
                sleep(Duration::from_secs_f64(read as f64 / bandwidth as f64)).await;
            }
            let due = Instant::now() + now.delay + now.jitter.mul_f64(random.random());
            last = due.max(last);
            let chunk = (last, buffer[..read].to_vec());
            send.send(chunk).await.map_err(|_| Broken)?;
        }
    };
    let mut writer_link = link;
    let write = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            // What was under way when the link stalled waits too.
            let open = writer_link.wait_for(|link| lane(link).flow != Flow::Stalled);
            open.await.map_err(|_| Broken)?;
            to.write_all(&chunk).await.map_err(|_| Broken)?;
        }
        // Half-closed: the other direction may go on.
        to.shutdown().await.map_err(|_| Broken)
    };
    tokio::try_join!(read, write).map(|_| ())
}

fn reset(stream: &TcpStream) {
    // A peer that is gone already needs no reset.
    let _ = stream.set_zero_linger();
}
