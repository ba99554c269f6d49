//! Requests that come again.

use stanchion_client::proto::PutConfigRequest;

use super::{delete, put, rollback};
use crate::support::server::{Backend, assert_invalid, on_both_stores};

on_both_stores! {
    a_repeated_request_gets_its_first_answer_even_after_others,
    a_request_id_used_for_something_else_is_refused,
    the_last_sixteen_requests_are_remembered,
}

async fn a_repeated_request_gets_its_first_answer_even_after_others(backend: Backend) {
    let server = backend.server().await;
    let mut request = put("a", "one");
    request.request_id = "r-1".into();
    request.expected_version = Some(0);
    let first = server.try_put(request.clone()).await.unwrap();
    server.put("a", "two").await;
    let mut gone = delete("a");
    gone.request_id = "r-2".into();
    server.try_delete(gone.clone()).await.unwrap();
    let mut back = rollback("a", 1);
    back.request_id = "r-3".into();
    server.try_rollback(back.clone()).await.unwrap();
    server.put("a", "five").await;

    let other = backend.server().await;
    for server in [&server, &other] {
        let again = server.try_put(request.clone()).await.unwrap();
        assert_eq!((again.unchanged, &again.config), (false, &first.config));
        let again = server.try_delete(gone.clone()).await.unwrap();
        assert_eq!((again.deleted, again.version), (true, 3));
        let again = server.try_rollback(back.clone()).await.unwrap();
        assert_eq!((again.unchanged, again.config.unwrap().version), (false, 4));
        assert_eq!(server.version_numbers("a").await, [5, 4, 3, 2, 1]);
    }
    server.stop().await;
    other.stop().await;
}

async fn a_request_id_used_for_something_else_is_refused(backend: Backend) {
    let server = backend.server().await;
    let mut request = put("a", "one");
    request.request_id = "r-1".into();
    server.try_put(request.clone()).await.unwrap();
    request.content = "two".into();
    assert_invalid(&server.try_put(request).await.unwrap_err(), "request_id");
    let mut request = delete("a");
    request.request_id = "r-1".into();
    assert_invalid(&server.try_delete(request).await.unwrap_err(), "request_id");
    assert_eq!(server.version_numbers("a").await, [1]);
    // It names a request on one key.
    let mut request = put("b", "two");
    request.request_id = "r-1".into();
    server.try_put(request).await.unwrap();
    server.stop().await;
}

async fn the_last_sixteen_requests_are_remembered(backend: Backend) {
    let server = backend.server().await;
    let request = |number: i64| PutConfigRequest {
        request_id: format!("r-{number}"),
        ..put("a", format!("content {number}"))
    };
    for number in 1..=17 {
        server.try_put(request(number)).await.unwrap();
        // Nobody's requests take nobody's place.
        server.put("a", format!("between {number}")).await;
    }
    let remembered = server.try_put(request(2)).await.unwrap();
    assert_eq!(remembered.config.unwrap().version, 3);
    let forgotten = server.try_put(request(1)).await.unwrap();
    assert_eq!(forgotten.config.unwrap().version, 35);
    server.stop().await;
}
