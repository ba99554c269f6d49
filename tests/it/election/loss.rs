//! The store loses data: leaders are told, nobody is elected for a while, and terms go on rising.

use stanchion_client::{LockLoss, proto::ErrorReason};
use tonic::Code;

use super::*;
use crate::{
    client::{client_with, soon},
    support::{
        etcd::Etcd,
        server::{Backend, assert_status},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_loss_of_data_nobody_leads_while_a_former_leader_may_believe_it_does() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::on(etcd.endpoints(), ());
    let mut settings = backend.settings();
    settings.domain.default_ttl = Duration::from_secs(1);
    let server = backend.server_with(settings.clone()).await;
    let other = backend.server_with(settings).await;
    let ttl = Duration::from_secs(2);
    let client = client_with(&[&server], "", ttl);
    let leadership = client.election("e").campaign().await.unwrap();
    let session = client.session().await.unwrap().id().to_owned();
    let old = leadership.term();

    etcd.kill(0);
    etcd.wipe(0);
    etcd.restart(0).await;
    for server in [&server, &other] {
        eventually("elections to be closed", || async {
            let view = server.app().core.cache.view().unwrap();
            view.state.closed.map(|_| ())
        })
        .await;
    }
    let loss = soon("the loss", leadership.lost()).await;
    assert!(
        matches!(loss, LockLoss::Session(_) | LockLoss::NotSurelyHeld),
        "{loss:?}"
    );
    assert!(!leadership.is_leader());
    let session_now = open(&other).await;
    let refused = campaign(&other, trying("e", &session_now, "t")).await;
    assert_status(&refused.unwrap_err(), Code::Unavailable, "LOCKS_CLOSED");
    let waiting = spawn(&server, standing("e", &session_now, "r"));
    let seen = until_standing(&other, "e", 1).await;
    assert!(seen.leader.is_none());
    let refused = proclaim(&other, "e", &session_now, seen.candidates[0].term, "x").await;
    assert_status(
        &refused.unwrap_err(),
        Code::FailedPrecondition,
        "NOT_LEADER",
    );

    let elected = waiting.await.unwrap().unwrap();
    assert!(elected.term > old);
    assert_eq!(elected.term >> 40, (old >> 40) + 1);
    let late = proclaim(&server, "e", &session, old, "late").await;
    assert_status(&late.unwrap_err(), Code::FailedPrecondition, "NOT_LEADER");
    let late = leadership.proclaim("late").await.unwrap_err();
    assert_eq!(late.reason(), ErrorReason::NotLeader);
}
