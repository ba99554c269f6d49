//! An etcd that becomes full while all kinds of writes are on their way to it.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::kinds::{KINDS, Kind, Writer};
use crate::support::{
    etcd::{Etcd, Launch},
    server::{Backend, assert_status},
    store::PATIENCE,
};

/// How many write the same at a time.
const SIDE_BY_SIDE: usize = 3;
/// How many fill the store, and with how much at a time: several are always on their way, so that
/// the last room goes to one that etcd let pass.
const FILLERS: usize = 8;
const FILLING: usize = 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_etcd_holds_is_what_was_not_refused() {
    let etcd = Etcd::launch(Launch {
        flags: vec![
            "--quota-backend-bytes=16777216".into(),
            // It knows its size after each write.
            "--backend-batch-limit=1".into(),
        ],
        ..Launch::of(1)
    })
    .await;
    let backend = Backend::on(etcd.endpoints(), ());
    let server = backend.server().await;
    let writer = Writer::new(&server).await;
    let writing = join_all(
        KINDS
            .iter()
            .flat_map(|kind| [kind; SIDE_BY_SIDE])
            .map(|kind| until_refused(&writer, *kind)),
    );
    let filling = join_all((0..FILLERS).map(|filler| fill(&etcd, filler)));
    let both = async { tokio::join!(writing, filling) };
    let (written, _) = timeout(2 * PATIENCE, both).await.expect("etcd is not full");
    for (done, refused) in written {
        for mark in &done[done.len().saturating_sub(3)..] {
            assert!(writer.is_there(mark).await, "{mark} was acknowledged");
        }
        let is_there = writer.is_there(&refused).await;
        assert!(!is_there, "{refused} was refused");
    }
    server.stop().await;
}

/// Writes until the first refusal; returns the marks of what was acknowledged and of what was not.
async fn until_refused(writer: &Writer<'_>, kind: Kind) -> (Vec<String>, String) {
    let mut done = Vec::new();
    loop {
        let mark = writer.mark();
        let refused = match writer.prepare(kind, &mark).await {
            Ok(()) => writer.write(kind, &mark).await,
            refused => refused,
        };
        if let Err(status) = refused {
            assert_status(&status, tonic::Code::ResourceExhausted, "STORE_FULL");
            return (done, mark);
        }
        done.push(mark);
        // Room for the others.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn fill(etcd: &Etcd, filler: usize) {
    let mut client = etcd.client(0).await;
    for number in 0.. {
        let (key, value) = (format!("filler/{filler}/{number}"), vec![b'x'; FILLING]);
        if let Err(error) = client.put(key, value, None).await {
            assert!(error.to_string().contains("space exceeded"), "{error}");
            return;
        }
    }
}
