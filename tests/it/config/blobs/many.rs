//! Many large contents at once: more than one message holds.

use stanchion_client::proto::ListConfigsRequest;

use super::{MIB, content};
use crate::{
    config::{
        follower::{Follower, prefix},
        get,
    },
    support::server::{Backend, on_both_stores},
};

on_both_stores! {
    a_fresh_replica_reads_more_than_a_message_holds,
}

/// More than the 64 MiB that are taken from etcd in one message.
const CONFIGS: u64 = 70;

fn key(number: u64) -> String {
    format!("big/{number:02}")
}

async fn a_fresh_replica_reads_more_than_a_message_holds(backend: Backend) {
    let server = backend.server().await;
    for number in 0..CONFIGS {
        server.put(&key(number), content(number, MIB)).await;
    }
    // One reads the whole at once, the other what has happened since long before.
    let mut settings = backend.settings();
    settings.cache.log_revisions = 16;
    for settings in [settings, backend.settings()] {
        let fresh = backend.server_with(settings).await;
        let mut request = ListConfigsRequest {
            prefix: "big/".into(),
            page_size: 1000,
            ..ListConfigsRequest::default()
        };
        let mut found = 0;
        loop {
            let page = fresh.configs().list_configs(request.clone()).await;
            let page = page.unwrap().into_inner();
            for config in page.configs {
                assert_eq!(config.key, key(found));
                assert_eq!(config.content, content(found, MIB));
                found += 1;
            }
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(found, CONFIGS);
        let follower = Follower::start(&fresh, prefix("big/")).await;
        assert_eq!(follower.configs.len() as u64, CONFIGS);
        let last = key(CONFIGS - 1);
        assert_eq!(fresh.version(&last, 1).await, content(CONFIGS - 1, MIB));
        let now = fresh.try_get(get(&last)).await.unwrap();
        assert_eq!(now.content, follower.configs[&last].content);
        fresh.stop().await;
    }
    server.stop().await;
}
