//! From queues to what is answered of them.

use bytes::Bytes;
use stanchion_client::proto;

use crate::{
    domain::{
        keyspace::QueuePath,
        lock::{Claim, LockQueue},
    },
    rpc::convert::wire_count,
};

/// An election without the candidates that wait.
pub(super) fn election(queue: &LockQueue) -> proto::Election {
    proto::Election {
        namespace: queue.path.namespace.to_string(),
        election: queue.path.name.to_string(),
        leader: queue.holder().map(|leader| candidate(leader)),
        candidates: Vec::new(),
        candidate_count: wire_count(queue.waiting()),
        revision: queue.visible_revision,
    }
}

/// An election with all its candidates; without a queue nobody stands for it.
pub(super) fn whole_election(path: &QueuePath, queue: Option<&LockQueue>) -> proto::Election {
    let Some(queue) = queue else {
        return proto::Election {
            namespace: path.namespace.to_string(),
            election: path.name.to_string(),
            ..Default::default()
        };
    };
    let waiting = queue.claims.values().filter(|claim| !claim.held);
    proto::Election {
        candidates: waiting
            .zip(1..)
            .map(|(waiting, position)| proto::Candidate {
                position: wire_count(position),
                ..candidate(waiting)
            })
            .collect(),
        ..election(queue)
    }
}

pub(super) fn candidate(claim: &Claim) -> proto::Candidate {
    let waiter = &claim.waiter;
    proto::Candidate {
        term: waiter.fencing_token(),
        candidate: waiter.owner.to_string(),
        client_id: waiter.client_id.to_string(),
        leads: claim.held,
        position: 0,
        proclamation: match claim.held {
            true => waiter.proclamation.clone(),
            // Nobody asks for it, and a thousand of them are more than an answer holds.
            false => Bytes::new(),
        },
        metadata: waiter.metadata.clone(),
        create_time: Some(waiter.enqueue_time.into()),
        revision: claim.visible_revision,
    }
}
