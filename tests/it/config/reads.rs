//! Reads of several configs, and of configs as they were.

use std::time::{Duration, SystemTime};

use stanchion_client::proto::{
    BatchGetConfigsRequest, BatchGetConfigsResponse, GetConfigAtRequest, GetConfigAtResponse,
    get_config_at_request::Moment,
};
use tonic::{Code, Status};

use super::{
    delete,
    follower::{Follower, keys as watched},
};
use crate::support::server::{Backend, Server, assert_invalid, assert_status, on_both_stores};

on_both_stores! {
    several_configs_are_read_together_and_followed_from_there,
    several_configs_that_are_too_much_for_one_answer_are_refused,
    a_config_is_found_as_it_was_at_every_revision,
    a_config_is_found_as_it_was_at_every_time,
    what_is_not_kept_any_more_is_not_taken_for_what_never_was,
    moments_that_cannot_be_are_refused,
}

async fn several_configs_are_read_together_and_followed_from_there(backend: Backend) {
    let server = backend.server().await;
    for key in ["a", "b", "gone"] {
        server.put(key, "1").await;
    }
    server.try_delete(delete("gone")).await.unwrap();
    let keys = ["b", "a", "never", "gone", "a"];
    let answer = server.several(&keys, false).await.unwrap();
    let found: Vec<_> = answer.configs.iter().map(|c| &c.key[..]).collect();
    assert_eq!(found, ["a", "b"]);
    assert_eq!(answer.configs[0].content, "1");
    assert_eq!(answer.missing_keys, ["gone", "never"]);
    server.put("never", "1").await;
    let token = answer.resume_token;
    let mut follower = Follower::resume(&server, watched(&keys), &token, answer.configs).await;
    follower.until_content("never", "1").await;
    assert_eq!((follower.deltas, follower.resets.len()), ((1, 0), 0));
    let names: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (keys, field) in [
        (&names[..], "keys"),
        (&[], "keys"),
        (&["a", "a//b"], "keys[1]"),
    ] {
        assert_invalid(&server.several(keys, false).await.unwrap_err(), field);
    }
    server.stop().await;
}

async fn several_configs_that_are_too_much_for_one_answer_are_refused(backend: Backend) {
    let server = backend.server().await;
    let keys: Vec<String> = (0..70).map(|number| format!("big/{number}")).collect();
    for key in &keys {
        server.put(key, vec![b'x'; 64 * 1024]).await;
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let refused = server.several(&keys, false).await.unwrap_err();
    assert_status(&refused, Code::ResourceExhausted, "RESPONSE_TOO_LARGE");
    let answer = server.several(&keys, true).await.unwrap();
    assert_eq!(answer.configs.len(), keys.len());
    let config = &answer.configs[0];
    assert_eq!((config.content.len(), config.size_bytes), (0, 64 * 1024));
    server.stop().await;
}

async fn a_config_is_found_as_it_was_at_every_revision(backend: Backend) {
    let replicas = [
        backend.server().await,
        backend.server().await,
        backend.server().await,
    ];
    let mut made = Vec::new();
    for number in 0..40 {
        let writer = &replicas[number % 3];
        writer.put("busy", format!("{number}")).await;
        let written = writer.put("a", format!("{number}")).await;
        made.push((written.revision, Some(number)));
    }
    replicas[0].try_delete(delete("a")).await.unwrap();
    let deleted = replicas[0].versions("a").await[0].revision;
    made.push((deleted, None));
    let back = replicas[1].put("a", "back").await;
    let first = made[0].0;
    for reader in &replicas {
        let before = reader.at(Moment::Revision(first - 1)).await.unwrap_err();
        assert_status(&before, Code::NotFound, "CONFIG_NOT_FOUND");
        for revision in first..back.revision {
            let (_, then) = made[made.partition_point(|(made, _)| *made <= revision) - 1];
            let answer = reader.at(Moment::Revision(revision)).await.unwrap();
            let version = answer.version.unwrap();
            assert_eq!(answer.deleted, then.is_none());
            let content = then.map_or(String::new(), |number| number.to_string());
            assert_eq!(version.content, content, "at {revision}");
        }
        let answer = reader.at(Moment::Revision(back.revision)).await.unwrap();
        assert_eq!(answer.version.unwrap().content, "back");
    }
    let server = &replicas[0];
    let never = server.at_key("a/b", Moment::Revision(first)).await;
    assert_status(&never.unwrap_err(), Code::NotFound, "CONFIG_NOT_FOUND");
    for server in replicas {
        server.stop().await;
    }
}

async fn a_config_is_found_as_it_was_at_every_time(backend: Backend) {
    let server = backend.server().await;
    for number in 1..=20 {
        server.put("a", format!("{number}")).await;
    }
    let made: Vec<(SystemTime, i64)> = server
        .versions("a")
        .await
        .iter()
        .rev()
        .map(|v| (v.create_time.unwrap().try_into().unwrap(), v.version))
        .collect();
    let moment = Duration::from_nanos(1);
    for (time, _) in &made {
        for time in [*time - moment, *time, *time + moment] {
            let then = made.partition_point(|(made, _)| *made <= time);
            let found = server.at(Moment::Time(time.into())).await;
            match then {
                0 => assert_status(&found.unwrap_err(), Code::NotFound, "CONFIG_NOT_FOUND"),
                then => assert_eq!(found.unwrap().version.unwrap().version, made[then - 1].1),
            }
        }
    }
    let later = SystemTime::now() + Duration::from_secs(3600);
    let found = server.at(Moment::Time(later.into())).await.unwrap();
    assert_eq!(found.version.unwrap().version, 20);
    server.stop().await;
}

async fn what_is_not_kept_any_more_is_not_taken_for_what_never_was(backend: Backend) {
    let server = backend.server().await;
    let mut made = Vec::new();
    for number in 1..=10 {
        made.push(server.put("a", format!("{number}")).await.revision);
    }
    // Version 3 was pinned.
    server.prune("a", 1, 2).await;
    server.prune("a", 4, 6).await;
    for (at, revision) in made.iter().enumerate() {
        let found = server.at(Moment::Revision(*revision)).await;
        match at + 1 {
            1 | 2 | 4..=6 => {
                assert_status(&found.unwrap_err(), Code::NotFound, "CONFIG_HISTORY_PRUNED");
            }
            // Another one followed at once, so that this revision is its.
            version => assert_eq!(found.unwrap().version.unwrap().version, version as i64),
        }
    }
    let before = server.at(Moment::Revision(made[0] - 1)).await.unwrap_err();
    assert_status(&before, Code::NotFound, "CONFIG_HISTORY_PRUNED");
    server.stop().await;
}

async fn moments_that_cannot_be_are_refused(backend: Backend) {
    let mut settings = backend.settings();
    settings.cache.freshness_wait = Duration::from_millis(100);
    let server = backend.server_with(settings).await;
    let written = server.put("a", "1").await;
    let refused = server.at(Moment::Revision(0)).await.unwrap_err();
    assert_invalid(&refused, "revision");
    let nonsense = prost_types::Timestamp {
        seconds: i64::MIN,
        nanos: 0,
    };
    let refused = server.at(Moment::Time(nonsense)).await.unwrap_err();
    assert_invalid(&refused, "time");
    let request = GetConfigAtRequest {
        key: "a".into(),
        ..GetConfigAtRequest::default()
    };
    let refused = server.configs().get_config_at(request).await.unwrap_err();
    assert_invalid(&refused, "time");
    let future = Moment::Revision(written.revision + 1_000_000);
    let behind = server.at(future).await.unwrap_err();
    assert_status(&behind, Code::Unavailable, "REVISION_NOT_REACHED");
    server.stop().await;
}

impl Server {
    async fn several(
        &self,
        keys: &[&str],
        omit_content: bool,
    ) -> Result<BatchGetConfigsResponse, Status> {
        let request = BatchGetConfigsRequest {
            keys: keys.iter().map(|key| (*key).into()).collect(),
            omit_content,
            ..BatchGetConfigsRequest::default()
        };
        let answer = self.configs().batch_get_configs(request).await?;
        Ok(answer.into_inner())
    }

    async fn at(&self, moment: Moment) -> Result<GetConfigAtResponse, Status> {
        self.at_key("a", moment).await
    }

    async fn at_key(&self, key: &str, moment: Moment) -> Result<GetConfigAtResponse, Status> {
        let request = GetConfigAtRequest {
            key: key.into(),
            moment: Some(moment),
            ..GetConfigAtRequest::default()
        };
        let answer = self.configs().get_config_at(request).await?;
        Ok(answer.into_inner())
    }
}
