//! Registrations that come back by themselves, and those that must not.

use stanchion_client::{
    Code, Registration, RegistrationState, SessionOptions,
    proto::{CloseSessionRequest, ErrorReason, InstanceLostCause, InstanceView},
};

use super::{client, client_at, client_named, soon};
use crate::support::{
    door::Door,
    server::{Backend, Server, eventually, on_both_stores},
};

on_both_stores! {
    a_registration_comes_back_by_itself_after_its_session_was_lost,
    a_registration_comes_back_after_its_session_ended_while_the_client_was_cut_off,
    a_registration_that_was_taken_over_is_not_made_again,
    a_registration_that_an_operator_removed_is_not_made_again,
    a_takeover_while_the_client_was_cut_off_is_found_out,
    an_id_of_a_live_client_is_refused_and_says_whose_it_is,
    a_dropped_registration_is_deregistered,
    an_update_replaces_what_is_registered,
    a_session_of_its_own_ends_with_the_registration,
}

/// Ids of the instances of `shop`, whatever their health.
async fn ids(server: &Server) -> Vec<String> {
    let client = client(&[server]);
    let list = client.instances("shop", InstanceView::All).await.unwrap();
    list.instances
        .into_iter()
        .map(|instance| instance.instance_id)
        .collect()
}

async fn lost(registration: &Registration) -> InstanceLostCause {
    match soon("the loss", registration.lost()).await {
        RegistrationState::Lost(cause, _) => cause,
        state => panic!("not lost but {state:?}"),
    }
}

async fn a_registration_comes_back_by_itself_after_its_session_was_lost(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let registration = client.register("shop", "10.0.0.1").start().await.unwrap();
    let session = client.session().await.unwrap();
    let request = CloseSessionRequest {
        session_id: session.id().to_owned(),
        guard: None,
    };
    server.sessions().close_session(request).await.unwrap();

    soon("the loss of the session", session.lost()).await;
    eventually("the registration by another session", async || {
        let ids = ids(&server).await;
        (ids == [registration.instance_id()] && registration.state().is_registered()).then_some(())
    })
    .await;
    assert_ne!(client.session().await.unwrap().id(), session.id());
}

async fn a_registration_comes_back_after_its_session_ended_while_the_client_was_cut_off(
    backend: Backend,
) {
    let server = backend.server().await;
    let door = Door::to(server.address).await;
    let client = client_at(&door);
    let registration = client.register("shop", "10.0.0.1").start().await.unwrap();
    door.shut();
    // It takes the instance along, which is all that a look at the instance shows.
    let request = CloseSessionRequest {
        session_id: client.session().await.unwrap().id().to_owned(),
        guard: None,
    };
    server.sessions().close_session(request).await.unwrap();
    assert!(ids(&server).await.is_empty());
    door.open(server.address);

    eventually("the registration by another session", async || {
        let state = registration.state();
        assert!(!matches!(state, RegistrationState::Lost(..)), "{state:?}");
        (ids(&server).await == [registration.instance_id()]).then_some(())
    })
    .await;
}

async fn a_registration_that_was_taken_over_is_not_made_again(backend: Backend) {
    let server = backend.server().await;
    let (old, new) = (client(&[&server]), client_named(&[&server], "new"));
    let registration = old
        .register("shop", "10.0.0.1")
        .id("a")
        .start()
        .await
        .unwrap();
    let taken = new
        .register("shop", "10.0.0.2")
        .id("a")
        .takeover()
        .start()
        .await
        .unwrap();

    assert_eq!(lost(&registration).await, InstanceLostCause::TakenOver);
    // A late deregistration by the former owner changes nothing.
    assert!(!registration.deregister().await.unwrap());
    assert_eq!(ids(&server).await, ["a"]);
    assert!(taken.state().is_registered());
}

async fn a_registration_that_an_operator_removed_is_not_made_again(backend: Backend) {
    let server = backend.server().await;
    let (owner, operator) = (client(&[&server]), client(&[&server]));
    let registration = owner
        .register("shop", "10.0.0.1")
        .id("a")
        .start()
        .await
        .unwrap();
    // The first heartbeat subscribes to notices.
    let session = owner.session().await.unwrap();
    assert!(session.is_valid());
    assert!(operator.deregister("shop", "a").await.unwrap());

    assert_eq!(lost(&registration).await, InstanceLostCause::Deregistered);
    assert!(ids(&server).await.is_empty());
}

async fn a_takeover_while_the_client_was_cut_off_is_found_out(backend: Backend) {
    let (first, second) = (backend.server().await, backend.server().await);
    let door = Door::to(first.address).await;
    let (old, new) = (client_at(&door), client(&[&second]));
    let registration = old
        .register("shop", "10.0.0.1")
        .id("a")
        .start()
        .await
        .unwrap();
    // The replica that could remember the loss for the client is gone, too.
    door.shut();
    first.stop().await;
    let _taken = new
        .register("shop", "10.0.0.2")
        .id("a")
        .takeover()
        .start()
        .await
        .unwrap();
    let third = backend.server().await;
    door.open(third.address);

    lost(&registration).await;
    assert_eq!(ids(&second).await, ["a"]);
}

async fn an_id_of_a_live_client_is_refused_and_says_whose_it_is(backend: Backend) {
    let server = backend.server().await;
    let (one, other) = (
        client_named(&[&server], "one"),
        client_named(&[&server], "other"),
    );
    let _registration = one
        .register("shop", "10.0.0.1")
        .id("a")
        .start()
        .await
        .unwrap();
    let error = other
        .register("shop", "10.0.0.2")
        .id("a")
        .start()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    assert_eq!(error.reason(), ErrorReason::InstanceAlreadyExists);
    assert_eq!(error.metadata()["holder"], "one");
}

async fn a_dropped_registration_is_deregistered(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let registration = client.register("shop", "10.0.0.1").start().await.unwrap();
    assert_eq!(ids(&server).await.len(), 1);
    drop(registration);
    eventually("the deregistration", async || {
        ids(&server).await.is_empty().then_some(())
    })
    .await;
}

async fn an_update_replaces_what_is_registered(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let registration = client.register("shop", "10.0.0.1").start().await.unwrap();
    registration
        .update(|instance| instance.weight = Some(7))
        .await
        .unwrap();
    let list = client.instances("shop", InstanceView::All).await.unwrap();
    assert_eq!(list.instances[0].weight, Some(7));
    assert_eq!(list.instances[0].instance_id, registration.instance_id());
}

async fn a_session_of_its_own_ends_with_the_registration(backend: Backend) {
    let server = backend.server().await;
    let client = client(&[&server]);
    let options = SessionOptions {
        client_id: "own".to_owned(),
        ..SessionOptions::default()
    };
    let registration = client
        .register("shop", "10.0.0.1")
        .own_session(options)
        .start()
        .await
        .unwrap();
    assert_eq!(client.sessions("own").await.unwrap().len(), 1);
    assert!(registration.deregister().await.unwrap());
    assert!(client.sessions("own").await.unwrap().is_empty());
}
