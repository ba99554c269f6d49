//! Looking at locks.

use stanchion_client::proto::ListLocksRequest;
use tonic::Code;

use super::*;
use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    a_free_lock_is_shown_without_a_holder,
    locks_are_listed_by_name_in_pages,
}

async fn a_free_lock_is_shown_without_a_holder(backend: Backend) {
    let server = backend.server().await;
    let free = lock(&server, "l").await;
    assert_eq!(
        (free.namespace.as_str(), free.lock.as_str()),
        ("default", "l")
    );
    assert!(free.holder.is_none() && free.waiters.is_empty());
    assert_eq!((free.waiter_count, free.revision), (0, 0));
}

async fn locks_are_listed_by_name_in_pages(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server).await;
    for index in (0..7).rev() {
        take(
            &server,
            &format!("job-{index}"),
            &session,
            &index.to_string(),
        )
        .await;
    }
    take(&server, "other", &session, "x").await;
    let _waiting = spawn(&server, wanted("job-3", &session, "w"));
    until_waiting(&server, "job-3", 1).await;
    let first = ListLocksRequest {
        prefix: "job-".into(),
        page_size: 3,
        ..Default::default()
    };
    let mut names = Vec::new();
    let mut request = first.clone();
    loop {
        let page = server.locks().list_locks(request.clone()).await.unwrap();
        let page = page.into_inner();
        assert!(page.header.is_some() && page.locks.len() <= 3);
        for lock in page.locks {
            assert!(lock.holder.is_some() && lock.waiters.is_empty());
            assert_eq!(lock.waiter_count, i32::from(lock.lock == "job-3"));
            names.push(lock.lock);
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let expected: Vec<_> = (0..7).map(|index| format!("job-{index}")).collect();
    assert_eq!(names, expected);

    // A page token is good for its own list alone.
    request.prefix = "other".into();
    let foreign = server.locks().list_locks(request).await.unwrap_err();
    assert_invalid(&foreign, "page_token");
    assert_status(&foreign, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    let negative = ListLocksRequest {
        page_size: -1,
        ..first
    };
    let negative = server.locks().list_locks(negative).await.unwrap_err();
    assert_invalid(&negative, "page_size");
}
