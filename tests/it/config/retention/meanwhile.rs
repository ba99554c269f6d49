//! A config that comes back while it is being forgotten.

use std::sync::Arc;

use async_trait::async_trait;
use stanchion::store::{Error, RangeRequest, RangeResponse, Store};
use tokio::sync::{Notify, Semaphore};

use super::Calendar;
use crate::{
    config::delete,
    support::{
        overlay::{Overlaid, Overlay},
        server::{Backend, on_both_stores},
    },
};

on_both_stores! {
    a_config_that_comes_back_while_it_is_forgotten_keeps_its_history,
}

/// Holds whoever lists versions to forget them.
struct Holding {
    store: Arc<dyn Store>,
    listed: Notify,
    go_on: Semaphore,
}

#[async_trait]
impl Overlay for Holding {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.store
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let of_versions = String::from_utf8_lossy(&request.keys.start).contains("history/cfg/");
        let lists = of_versions && request.keys_only && request.limit > 1;
        let found = self.store.range(request).await;
        if lists {
            self.listed.notify_one();
            let _go = self.go_on.acquire().await.unwrap();
        }
        found
    }
}

async fn a_config_that_comes_back_while_it_is_forgotten_keeps_its_history(backend: Backend) {
    let holding = Arc::new(Overlaid(Holding {
        store: backend.store().await,
        listed: Notify::new(),
        go_on: Semaphore::new(0),
    }));
    let calendar = Calendar::default();
    let clock = Arc::new(calendar.clone());
    let server = backend.server_on(holding.clone(), backend.forgetting(), clock);
    let server = server.await;
    server.put_versions("a", 2).await;
    server.try_delete(delete("a")).await.unwrap();
    calendar.pass(200);
    holding.listed.notified().await;
    assert_eq!(server.put("a", "back").await.version, 4);
    holding.go_on.add_permits(1);
    // Of the old ones only the one that is not among the newest three.
    server.went_round().await;
    assert_eq!(server.version_numbers("a").await, [4, 3, 2]);
    server.stop().await;
}
