//! An etcd that becomes full while all kinds of writes are on their way to it.

use std::time::Duration;

use futures_util::future::join_all;

use super::kinds::{KINDS, Writer};
use crate::support::{
    etcd::{Etcd, Launch},
    server::{Backend, assert_status},
};

const QUOTA: usize = 16 * 1024 * 1024;
/// With what the store is filled at a time: what fits into a connection's first window, so that all
/// of it arrives at once.
const FILLING: usize = 48 * 1024;
/// How many of those come with the writes.
const FILLERS: usize = 12;
/// How many writes there are of each kind.
const EACH: usize = 3;

/// etcd lets all of them pass, because there is room for each when it arrives, and has no room when
/// it carries out the later ones.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_etcd_holds_is_what_was_not_refused() {
    let etcd = Etcd::launch(Launch {
        flags: vec![
            format!("--quota-backend-bytes={QUOTA}"),
            // It knows its size after each write.
            "--backend-batch-limit=1".into(),
        ],
        ..Launch::of(1)
    })
    .await;
    let backend = Backend::on(etcd.endpoints(), ());
    let server = backend.server().await;
    let writer = Writer::new(&server).await;
    let mut writes = Vec::new();
    for kind in KINDS.iter().flat_map(|kind| [*kind; EACH]) {
        let mark = writer.mark();
        writer.prepare(kind, &mark).await.unwrap();
        writes.push((kind, mark));
    }
    fill(&etcd).await;
    let mut fillers = Vec::new();
    for number in 0..FILLERS {
        let mut client = etcd.client(0).await;
        // Connected, so that it is not behind those who are.
        client.status().await.unwrap();
        fillers.push((client, format!("last/{number}")));
    }
    etcd.pause(0);
    let filling = join_all(fillers.iter_mut().map(async |(client, key)| {
        // What becomes of it is nothing to us.
        let _ = client.put(key.clone(), vec![b'x'; FILLING], None).await;
    }));
    let writing = join_all(writes.iter().map(async |(kind, mark)| {
        // Behind the fillers.
        tokio::time::sleep(Duration::from_millis(50)).await;
        (mark, writer.write(*kind, mark).await)
    }));
    let resuming = async {
        // Long enough for all to be on their way, and not for anybody to give up.
        tokio::time::sleep(Duration::from_millis(300)).await;
        etcd.resume(0);
    };
    let (_, written, ()) = tokio::join!(filling, writing, resuming);
    for (mark, written) in written {
        let is_there = writer.is_there(mark).await;
        match written {
            Ok(()) => assert!(is_there, "{mark} was acknowledged"),
            Err(status) => {
                assert_status(&status, tonic::Code::ResourceExhausted, "STORE_FULL");
                assert!(!is_there, "{mark} was refused");
            }
        }
    }
    let mark = writer.mark();
    let refused = writer.write(KINDS[0], &mark).await.unwrap_err();
    assert_status(&refused, tonic::Code::ResourceExhausted, "STORE_FULL");
    server.stop().await;
}

/// Leaves room for a few more.
async fn fill(etcd: &Etcd) {
    let mut client = etcd.client(0).await;
    for number in 0.. {
        let size = client.status().await.unwrap().db_size();
        if usize::try_from(size).unwrap() + 4 * FILLING > QUOTA {
            return;
        }
        let (key, value) = (format!("filler/{number}"), vec![b'x'; FILLING]);
        client.put(key, value, None).await.unwrap();
    }
}
