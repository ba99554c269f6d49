//! Watches of a service: what happens is published, written once, and told to all.

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use stanchion::domain::{
    names::{Namespace, ServiceName},
    registry::{InstanceView, Instances},
    watch::{Cursor, CursorOptions, Start, Told},
};

use crate::{
    error::CountError,
    instances::{INSTANCE_BYTES, LARGE, LARGE_SERVICE, NAMESPACE},
    replica::Replica,
    stream::Stream,
};

use super::{Round, rounds, watch_request};

const PATH: &str = "/stanchion.v1.RegistryService/WatchInstances";

/// How many wait for the same.
const WATCHES: usize = 100;
/// How many pieces a snapshot comes in, at least: the instances, and its end.
const SNAPSHOT_PIECES: usize = 2;

/// Publishes while many wait.
pub(super) fn publish(replica: &mut Replica<'_>) -> Result<u64, CountError> {
    let mut watches = watches(replica, WATCHES)?;
    let mut operations = 0;
    for round in rounds(200) {
        let mut change = replica.next_change();
        if round.count(|| replica.publish(&mut change)) != Some(true) {
            return Err(CountError::unexpected("a change was not published"));
        }
        for watch in &mut watches {
            if watch.wakes() != 1 {
                return Err(CountError::unexpected("a watch was not woken once"));
            }
            watch.read().check(1, INSTANCE_BYTES)?;
        }
        operations += round.operations(1);
    }
    Ok(operations)
}

/// Has one watch read what is new.
pub(super) fn encode(replica: &mut Replica<'_>) -> Result<u64, CountError> {
    let mut watches = watches(replica, 1)?;
    let mut operations = 0;
    for round in rounds(1000) {
        replica.happen()?;
        operations += drain(round, &mut watches)?;
    }
    Ok(operations)
}

/// Has the other watches read what the first has written.
pub(super) fn stream_drain(replica: &mut Replica<'_>) -> Result<u64, CountError> {
    let mut watches = watches(replica, WATCHES)?;
    let mut operations = 0;
    for round in rounds(200) {
        replica.happen()?;
        let (first, others) = watches.split_at_mut(1);
        first[0].read().check(1, INSTANCE_BYTES)?;
        operations += drain(round, others)?;
    }
    Ok(operations)
}

/// Has the other cursors take what the first has looked up.
pub(super) fn cursor_drain(replica: &mut Replica<'_>) -> Result<u64, CountError> {
    let mut cursors = Vec::new();
    for _ in 0..WATCHES {
        let mut cursor = cursor(replica)?;
        take_all(&mut cursor);
        cursors.push(cursor);
    }
    let mut operations = 0;
    for round in rounds(200) {
        replica.happen()?;
        let (first, others) = cursors.split_at_mut(1);
        let taken = take_all(&mut first[0]);
        let all = round.count(|| others.iter_mut().map(take_all).sum());
        if taken != 1 || all != Some(others.len()) {
            return Err(CountError::unexpected("a cursor took something else"));
        }
        operations += round.operations(WATCHES as u64 - 1);
    }
    Ok(operations)
}

/// Opens watches beside others.
pub(super) fn open(replica: &mut Replica<'_>) -> Result<u64, CountError> {
    let _others = watches(replica, 1)?;
    let mut operations = 0;
    for round in rounds(1000) {
        let request = replica.request(PATH, &watch_request());
        let watch = round.count(|| replica.call(request)).flatten();
        snapshot(watch.ok_or_else(waits)?)?;
        operations += round.operations(1);
    }
    Ok(operations)
}

/// Reads the snapshot that nobody has read before.
pub(super) fn snapshot_first(replica: &mut Replica<'_>) -> Result<u64, CountError> {
    let mut others = watches(replica, 1)?;
    let mut operations = 0;
    for round in rounds(300) {
        replica.happen()?;
        for other in &mut others {
            other.read().check(1, INSTANCE_BYTES)?;
        }
        operations += count_snapshot(replica, round)?;
    }
    Ok(operations)
}

/// Reads the snapshot that others have read.
pub(super) fn snapshot_shared(replica: &mut Replica<'_>) -> Result<u64, CountError> {
    let _others = watches(replica, 1)?;
    let mut operations = 0;
    for round in rounds(1000) {
        operations += count_snapshot(replica, round)?;
    }
    Ok(operations)
}

fn count_snapshot(replica: &mut Replica<'_>, round: Round) -> Result<u64, CountError> {
    let mut watch = unread(replica)?;
    if let Some(read) = round.count(|| watch.read()) {
        read.check(SNAPSHOT_PIECES, LARGE * INSTANCE_BYTES)?;
    }
    Ok(round.operations(1))
}

/// Counts how each of them reads one event.
fn drain(round: Round, watches: &mut [Stream]) -> Result<u64, CountError> {
    let mut read = Vec::with_capacity(watches.len());
    round.count(|| {
        for watch in watches {
            read.push(watch.read());
        }
    });
    let operations = round.operations(read.len() as u64);
    for read in read {
        read.check(1, INSTANCE_BYTES)?;
    }
    Ok(operations)
}

/// Watches on the live edge.
fn watches(replica: &mut Replica<'_>, count: usize) -> Result<Vec<Stream>, CountError> {
    (0..count).map(|_| snapshot(unread(replica)?)).collect()
}

/// A watch that has told nothing yet.
fn unread(replica: &mut Replica<'_>) -> Result<Stream, CountError> {
    let request = replica.request(PATH, &watch_request());
    replica.call(request).ok_or_else(waits)
}

/// Reads the snapshot.
fn snapshot(mut watch: Stream) -> Result<Stream, CountError> {
    let read = watch.read();
    read.check(SNAPSHOT_PIECES, LARGE * INSTANCE_BYTES)?;
    Ok(watch)
}

fn cursor(replica: &Replica<'_>) -> Result<Cursor<Instances>, CountError> {
    let selection = Instances::of(
        &Namespace::parse(NAMESPACE)?,
        &ServiceName::parse(LARGE_SERVICE)?,
        InstanceView::Serving,
    );
    let options = CursorOptions {
        min_interval: Duration::ZERO,
        bookmark_interval: Duration::from_secs(10),
        max_age: Duration::from_secs(1800),
        part_bytes: 256 * 1024,
    };
    Ok(replica
        .core
        .cache
        .subscribe(selection, Start::Snapshot, options)?)
}

/// Takes what there is. Says how many messages that were that others are told too.
fn take_all(cursor: &mut Cursor<Instances>) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    let mut shared = 0;
    while let Poll::Ready(Some(told)) = cursor.poll_told(&mut context) {
        if let Told::Run(run) = told {
            shared += run.messages.len();
        }
    }
    shared
}

fn waits() -> CountError {
    CountError::unexpected("opening a watch waits for something")
}
