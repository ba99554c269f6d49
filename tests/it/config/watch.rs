//! Watches on configs.

use std::collections::BTreeMap;

use stanchion_client::proto::{
    Config, ListConfigsRequest, WatchConfigsRequest, WatchStart, watch_start::Position,
};
use tonic::Code;

use super::{
    delete,
    follower::{Follower, key, keys, prefix, resume},
    get, put, rollback,
};
use crate::support::server::{Backend, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    a_watch_of_one_key_sees_snapshot_changes_and_deletion,
    a_watch_of_a_prefix_sees_what_is_below_and_nothing_else,
    a_watch_of_a_set_sees_its_keys_alone,
    a_watch_of_nothing_named_sees_the_whole_namespace,
    what_changes_nothing_wakes_nobody,
    a_large_snapshot_comes_in_parts,
    a_watch_resumes_from_a_get_without_a_gap,
    a_watch_resumes_from_a_list_without_a_gap_since_its_first_page,
    a_watch_resumes_from_its_own_token_on_another_replica,
    a_watch_resumes_on_a_replica_that_was_started_later,
    a_watch_starts_after_a_revision,
    a_token_of_another_selection_is_refused,
    a_merging_watch_shows_the_last_state,
}

async fn a_watch_of_one_key_sees_snapshot_changes_and_deletion(backend: Backend) {
    let server = backend.server().await;
    let mut early = Follower::start(&server, key("a")).await;
    assert!(early.configs.is_empty());
    server.put("a", "one").await;
    server.put("a/b", "not mine").await;
    let mut late = Follower::start(&server, key("a")).await;
    assert_eq!(late.contents(), BTreeMap::from([("a", "one")]));
    server.put("a", "two").await;
    server.try_delete(delete("a")).await.unwrap();
    server.try_rollback(rollback("a", 1)).await.unwrap();
    for follower in [&mut early, &mut late] {
        follower
            .until(|f| f.configs.get("a").is_some_and(|config| config.version == 4))
            .await;
        assert_eq!(follower.contents(), BTreeMap::from([("a", "one")]));
        assert_eq!((follower.deltas.1, follower.resets.len()), (0, 0));
    }
    assert_eq!((early.deltas.0, late.deltas.0), (4, 3));
    server.stop().await;
}

async fn a_watch_of_a_prefix_sees_what_is_below_and_nothing_else(backend: Backend) {
    let server = backend.server().await;
    for key in ["app/a", "app/b", "application", "zoo"] {
        server.put(key, key).await;
    }
    let mut below = Follower::start(&server, prefix("app/")).await;
    let mut begin = Follower::start(&server, prefix("app")).await;
    assert_eq!(
        below.contents(),
        BTreeMap::from([("app/a", "app/a"), ("app/b", "app/b")])
    );
    assert_eq!(begin.configs.len(), 3);
    server.put("zoo", "other").await;
    server.put("application", "other").await;
    server.try_delete(delete("app/a")).await.unwrap();
    server.put("app/c", "new").await;
    below.until_content("app/c", "new").await;
    begin.until_content("app/c", "new").await;
    assert_eq!(
        below.contents(),
        BTreeMap::from([("app/b", "app/b"), ("app/c", "new")])
    );
    assert_eq!(begin.configs.len(), 3);
    assert_eq!((below.deltas.0, begin.deltas.0), (2, 3));
    server.stop().await;
}

async fn a_watch_of_a_set_sees_its_keys_alone(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    server.put("b", "1").await;
    let mut follower = Follower::start(&server, keys(&["c", "a", "a"])).await;
    assert_eq!(follower.contents(), BTreeMap::from([("a", "1")]));
    server.put("b", "2").await;
    server.put("a", "2").await;
    server.put("a/c", "2").await;
    server.put("c", "2").await;
    follower.until_content("c", "2").await;
    assert_eq!(
        follower.contents(),
        BTreeMap::from([("a", "2"), ("c", "2")])
    );
    assert_eq!(follower.deltas.0, 2);
    // The order of the keys does not matter.
    let again = Follower::resume(
        &server,
        keys(&["a", "c"]),
        &follower.token,
        follower.configs.into_values(),
    );
    let mut again = again.await;
    server.put("a", "3").await;
    again.until_content("a", "3").await;
    assert_eq!(again.deltas.0, 1);
    server.stop().await;
}

async fn a_watch_of_nothing_named_sees_the_whole_namespace(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    let mut other = put("x", "elsewhere");
    other.namespace = "default2".into();
    server.try_put(other).await.unwrap();
    let mut follower = Follower::start(&server, None).await;
    server.put("b/c", "2").await;
    follower.until_content("b/c", "2").await;
    assert_eq!(follower.configs.len(), 2);
    server.stop().await;
}

async fn what_changes_nothing_wakes_nobody(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    let mut follower = Follower::start(&server, prefix("")).await;
    server.put("a", "1").await;
    server.try_rollback(rollback("a", 1)).await.unwrap();
    server.try_delete(delete("never")).await.unwrap();
    server.put("end", "1").await;
    let delta = follower
        .step()
        .await
        .expect("the first message is the last change");
    assert_eq!(delta.events.len(), 1);
    assert_eq!(delta.events[0].config.as_ref().unwrap().key, "end");
    server.stop().await;
}

async fn a_large_snapshot_comes_in_parts(backend: Backend) {
    let server = backend.server().await;
    for number in 0..20 {
        server
            .put(&format!("big/{number:02}"), vec![b'x'; 60_000])
            .await;
    }
    // Each part is checked to go on where the one before ended.
    let follower = Follower::start(&server, prefix("big/")).await;
    assert_eq!(follower.configs.len(), 20);
    server.stop().await;
}

async fn a_watch_resumes_from_a_get_without_a_gap(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    let response = server
        .configs()
        .get_config(get("a"))
        .await
        .unwrap()
        .into_inner();
    server.put("a", "2").await;
    server.put("b", "2").await;
    server.try_delete(delete("a")).await.unwrap();
    let mut follower =
        Follower::resume(&server, key("a"), &response.resume_token, response.config).await;
    server.put("a", "4").await;
    follower.until_content("a", "4").await;
    assert_eq!((follower.deltas, follower.resets.len()), ((3, 0), 0));
    server.stop().await;
}

async fn a_watch_resumes_from_a_list_without_a_gap_since_its_first_page(backend: Backend) {
    let server = backend.server().await;
    for number in 0..6 {
        server.put(&format!("app/{number}"), "1").await;
    }
    let mut request = ListConfigsRequest {
        prefix: "app/".into(),
        page_size: 2,
        ..ListConfigsRequest::default()
    };
    let mut listed: BTreeMap<String, Config> = BTreeMap::new();
    let token = loop {
        let response = server.configs().list_configs(request.clone()).await;
        let response = response.unwrap().into_inner();
        listed.extend(
            response
                .configs
                .into_iter()
                .map(|config| (config.key.clone(), config)),
        );
        request.page_token = response.next_page_token;
        if request.page_token.is_empty() {
            break response.resume_token;
        }
        // On a page that is read already, and on one that is not.
        server.put("app/0", format!("{}", listed.len())).await;
        server.put("app/5", format!("{}", listed.len())).await;
    };
    // What a later page has shown may come again, so the checks of a follower do not fit.
    assert_eq!(listed.len(), 6);
    let request = resume(prefix("app/"), &token);
    let mut follower = Follower::open(&server, request).await.unwrap();
    let mut contents: BTreeMap<String, String> = BTreeMap::new();
    server.put("app/3", "end").await;
    while contents.get("app/3").is_none_or(|content| content != "end") {
        let message = follower.raw().await;
        for event in message.events {
            let config = event.config.unwrap();
            contents.insert(
                config.key,
                String::from_utf8(config.content.to_vec()).unwrap(),
            );
        }
    }
    assert_eq!(contents["app/0"], "4");
    assert_eq!(contents["app/5"], "4");
    assert_eq!(contents.len(), 3);
    server.stop().await;
}

async fn a_watch_resumes_from_its_own_token_on_another_replica(backend: Backend) {
    let servers = [backend.server().await, backend.server().await];
    let mut follower = Follower::start(&servers[0], prefix("")).await;
    for round in 0..10 {
        let [here, there] = &servers;
        let (here, there) = if round % 2 == 0 {
            (here, there)
        } else {
            (there, here)
        };
        let last = format!("{round}");
        here.put("a", &last).await;
        follower.until_content("a", &last).await;
        // Seen by nobody yet.
        here.put("b", &last).await;
        if round % 3 == 0 {
            here.try_delete(delete("c")).await.unwrap();
        } else {
            here.put("c", &last).await;
        }
        let (token, configs) = follower.leave();
        follower = Follower::resume(there, prefix(""), &token, configs).await;
        follower.until_content("b", &last).await;
        follower
            .until(|f| f.configs.contains_key("c") == (round % 3 != 0))
            .await;
        assert_eq!((follower.deltas.1, follower.resets.len()), (0, 0));
    }
    for server in servers {
        server.stop().await;
    }
}

async fn a_watch_resumes_on_a_replica_that_was_started_later(backend: Backend) {
    let first = backend.server().await;
    let mut follower = Follower::start(&first, prefix("")).await;
    first.put("a", "1").await;
    first.put("b", "1").await;
    follower.until_content("b", "1").await;
    first.put("a", "2").await;
    first.try_delete(delete("b")).await.unwrap();
    first.put("c", "1").await;
    let (token, configs) = follower.leave();
    first.stop().await;
    let second = backend.server().await;
    let mut follower = Follower::resume(&second, prefix(""), &token, configs).await;
    second.put("d", "1").await;
    follower.until_content("d", "1").await;
    assert_eq!(
        follower.contents(),
        BTreeMap::from([("a", "2"), ("c", "1"), ("d", "1")])
    );
    assert_eq!((follower.deltas, follower.resets.len()), ((4, 0), 0));
    second.stop().await;
}

async fn a_watch_starts_after_a_revision(backend: Backend) {
    let server = backend.server().await;
    let first = server.put("a", "1").await;
    server.put("a", "2").await;
    let open = async |epoch: &str| {
        let request = WatchConfigsRequest {
            selection: key("a"),
            start: Some(WatchStart {
                position: Some(Position::AfterRevision(first.revision)),
                epoch: epoch.into(),
            }),
            ..WatchConfigsRequest::default()
        };
        Follower::open(&server, request).await.unwrap()
    };
    let mut follower = open("").await;
    follower.configs.insert("a".into(), first.clone());
    follower.until_content("a", "2").await;
    assert_eq!((follower.deltas.0, follower.resets.len()), (1, 0));
    let mut elsewhere = open("another epoch").await;
    elsewhere.until_content("a", "2").await;
    assert_eq!((elsewhere.deltas.0, elsewhere.resets.len()), (0, 1));
    server.stop().await;
}

async fn a_token_of_another_selection_is_refused(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "1").await;
    let token = Follower::start(&server, key("a")).await.token;
    let refused = async |selection, token: &[u8]| {
        let request = resume(selection, token);
        match Follower::open(&server, request).await {
            Err(refused) => refused,
            Ok(_) => panic!("the token was taken"),
        }
    };
    for selection in [key("b"), prefix("a"), keys(&["a"]), None] {
        let refused = refused(selection, &token).await;
        assert_status(&refused, Code::InvalidArgument, "INVALID_RESUME_TOKEN");
    }
    for damaged in [&token[1..], &token[..token.len() - 1], b"nonsense", b""] {
        let refused = refused(key("a"), damaged).await;
        assert_invalid(&refused, "start.resume_token");
        assert_status(&refused, Code::InvalidArgument, "INVALID_RESUME_TOKEN");
    }
    let mut elsewhere = resume(key("a"), &token);
    elsewhere.namespace = "staging".into();
    assert!(Follower::open(&server, elsewhere).await.is_err());
    server.stop().await;
}

async fn a_merging_watch_shows_the_last_state(backend: Backend) {
    let server = backend.server().await;
    server.put("a", "0").await;
    let request = WatchConfigsRequest {
        selection: prefix(""),
        min_interval: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..WatchConfigsRequest::default()
    };
    let mut merging = Follower::open(&server, request).await.unwrap();
    merging.begin().await;
    for number in 1..=30 {
        server.put("a", format!("{number}")).await;
        server.put("gone", format!("{number}")).await;
        server.try_delete(delete("gone")).await.unwrap();
    }
    server.put("b", "end").await;
    merging.until_content("b", "end").await;
    assert_eq!(
        merging.contents(),
        BTreeMap::from([("a", "30"), ("b", "end")])
    );
    assert!(merging.deltas.0 < 91, "{:?}", merging.deltas);
    assert!(merging.deltas.1 > 0, "{:?}", merging.deltas);
    server.stop().await;
}
