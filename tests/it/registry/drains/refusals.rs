//! What cannot be drained, or acknowledged.

use stanchion_client::proto::{
    AckWatchRequest, DrainInstanceRequest, DrainOutcome, Guard, WatchAck, WatchInstancesRequest,
};
use tonic::Code;

use crate::{
    registry::{SERVING, ids, open, register_on, watching},
    support::server::{Backend, assert_invalid, assert_status, on_both_stores},
};

use super::{Drained, draining};

on_both_stores! {
    what_cannot_be_drained_is_refused,
}

async fn what_cannot_be_drained_is_refused(backend: Backend) {
    let server = backend.server().await;
    let (owner, stranger) = (open(&server, "").await, open(&server, "").await);
    let instance = register_on(&server, &owner, "a").await;
    let begin =
        async |request: DrainInstanceRequest| Drained::begin(&server, request).await.err().unwrap();
    let unknown = begin(draining("nobody", 20)).await;
    assert_status(&unknown, Code::NotFound, "INSTANCE_NOT_FOUND");
    let foreign = begin(DrainInstanceRequest {
        session_id: stranger,
        ..draining("a", 20)
    });
    assert_status(
        &foreign.await,
        Code::FailedPrecondition,
        "INSTANCE_NOT_OWNED",
    );
    let stale = begin(DrainInstanceRequest {
        expected_revision: Some(instance.revision + 1),
        ..draining("a", 20)
    });
    assert_status(&stale.await, Code::Aborted, "REVISION_MISMATCH");
    let guarded = begin(DrainInstanceRequest {
        guard: Some(Guard {
            lock: "nightly".into(),
            fencing_token: 1,
            ..Guard::default()
        }),
        ..draining("a", 20)
    });
    assert_status(&guarded.await, Code::FailedPrecondition, "GUARD_FAILED");
    for deadline in [-1, 601] {
        assert_invalid(&begin(draining("a", deadline)).await, "deadline");
    }
    let nameless = WatchInstancesRequest {
        acknowledges: true,
        ..watching(SERVING, None)
    };
    let refused = server.registry().watch_instances(nameless).await;
    assert_invalid(&refused.unwrap_err(), "subscriber_id");
    let nothing = server
        .registry()
        .ack_watch(AckWatchRequest::default())
        .await;
    assert_invalid(&nothing.unwrap_err(), "acks");
    let bad = WatchAck::default();
    let request = AckWatchRequest { acks: vec![bad] };
    let refused = server.registry().ack_watch(request).await.unwrap_err();
    assert_invalid(&refused, "acks[0].subscriber_id");
    assert_invalid(&refused, "acks[0].revision");
    assert_eq!(ids(&server, SERVING).await, ["a"]);

    // The owner may.
    let own = DrainInstanceRequest {
        session_id: owner,
        expected_revision: Some(instance.revision),
        ..draining("a", 20)
    };
    let last = Drained::begin(&server, own).await.unwrap().end().await;
    assert_eq!(last.outcome(), DrainOutcome::Acknowledged);
    server.stop().await;
}
