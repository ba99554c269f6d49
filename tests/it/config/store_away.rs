//! A store that is away, or whose answers are: every deed is refused whole, or repeated and done
//! once.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};
use std::time::Duration;

use async_trait::async_trait;
use stanchion::{
    clock::SystemClock,
    store::{Error, Outcome, RangeRequest, RangeResponse, Store, Txn, TxnResponse},
};
use stanchion_client::proto::{
    CommitConfigsRequest, ConfigDelete, ConfigFromDraft, DeleteConfigRequest, DiscardDraftRequest,
    ListDraftsRequest, ListReleasesRequest, PublishReleaseRequest, PutConfigRequest,
    PutDraftRequest, RollbackConfigRequest, RollbackReleaseRequest, config_change::Change,
    put_draft_request,
};
use tonic::{Code, Status};

use super::{change, content, delete, lost_answers::changes_config, put, rollback};
use crate::support::{
    overlay::{Overlaid, Overlay},
    server::{Backend, Server, assert_status, on_both_stores},
};

on_both_stores! {
    what_cannot_reach_the_store_is_refused_and_changes_nothing,
    what_nobody_answers_is_unknown_and_done_once_when_it_is_repeated,
}

const HERE: u8 = 0;
/// Nothing gets there.
const AWAY: u8 = 1;
/// Changes of configs get there, and no answer to them comes back.
const MUTE: u8 = 2;

struct Moody {
    inner: Arc<dyn Store>,
    is: AtomicU8,
}

/// Everything that changes configs, drafts and releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Put,
    Rollback,
    Delete,
    Commit,
    PutDraft,
    Publish,
    RollbackRelease,
    DiscardDraft,
}

const DEEDS: [Deed; 8] = [
    Deed::Put,
    Deed::Rollback,
    Deed::Delete,
    Deed::Commit,
    Deed::PutDraft,
    Deed::Publish,
    Deed::RollbackRelease,
    Deed::DiscardDraft,
];

/// What there is: the versions of both keys, the drafts, the releases.
type There = (Vec<i64>, Vec<i64>, Vec<String>, Vec<String>);

// === impl Moody ===

impl Moody {
    async fn server(backend: &Backend) -> (Arc<Overlaid<Self>>, Server) {
        let store = Arc::new(Overlaid(Self {
            inner: backend.store().await,
            is: AtomicU8::new(HERE),
        }));
        let mut settings = backend.settings();
        settings.domain.commit_timeout = Duration::from_millis(300);
        let server = backend.server_on(store.clone(), settings, Arc::new(SystemClock));
        (store, server.await)
    }

    fn set(&self, is: u8) {
        self.is.store(is, Ordering::SeqCst);
    }

    fn is(&self, is: u8) -> bool {
        self.is.load(Ordering::SeqCst) == is
    }
}

fn unavailable<T>(outcome: Outcome) -> Result<T, Error> {
    Err(Error::Unavailable {
        message: "the store is away".into(),
        outcome,
    })
}

#[async_trait]
impl Overlay for Moody {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        match self.is(AWAY) {
            true => unavailable(Outcome::NotDone),
            false => self.inner.range(request).await,
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        if self.is(AWAY) {
            return unavailable(Outcome::NotDone);
        }
        let mute = self.is(MUTE) && changes_config(&txn);
        let response = self.inner.txn(txn).await?;
        match mute {
            true => unavailable(Outcome::Unknown),
            false => Ok(response),
        }
    }
}

async fn what_cannot_reach_the_store_is_refused_and_changes_nothing(backend: Backend) {
    let (store, server) = Moody::server(&backend).await;
    for deed in DEEDS {
        let key = format!("{deed:?}");
        prepare(&server, deed, &key).await;
        let before = there(&server, &key).await;
        store.set(AWAY);
        let refused = make(&server, deed, &key).await.unwrap_err();
        store.set(HERE);
        assert_status(&refused, Code::Unavailable, "STORE_UNAVAILABLE");
        assert_eq!(there(&server, &key).await, before, "{deed:?}");
        make(&server, deed, &key).await.unwrap();
        assert_eq!(there(&server, &key).await, done(deed, &key), "{deed:?}");
    }
    server.stop().await;
}

async fn what_nobody_answers_is_unknown_and_done_once_when_it_is_repeated(backend: Backend) {
    let (store, server) = Moody::server(&backend).await;
    let other = backend.server().await;
    for deed in DEEDS {
        let key = format!("{deed:?}");
        prepare(&server, deed, &key).await;
        store.set(MUTE);
        let unknown = make(&server, deed, &key).await.unwrap_err();
        store.set(HERE);
        assert_status(&unknown, Code::Unknown, "COMMIT_UNKNOWN");
        // It happened, as another replica sees that may be asked instead.
        for server in [&other, &server] {
            let again = make(server, deed, &key).await;
            assert!(again.is_ok(), "{deed:?}: {again:?}");
            assert_eq!(there(server, &key).await, done(deed, &key), "{deed:?}");
        }
    }
    server.stop().await;
    other.stop().await;
}

/// What a deed needs: a key with two versions, and a draft or a release.
async fn prepare(server: &Server, deed: Deed, key: &str) {
    server.put(key, "1").await;
    server.put(key, "2").await;
    match deed {
        Deed::Publish | Deed::DiscardDraft => make(server, Deed::PutDraft, key).await.unwrap(),
        Deed::RollbackRelease => {
            make(server, Deed::PutDraft, key).await.unwrap();
            make(server, Deed::Publish, key).await.unwrap();
        }
        _ => {}
    }
}

/// Does it, as the same request each time.
async fn make(server: &Server, deed: Deed, key: &str) -> Result<(), Status> {
    let mut configs = server.configs();
    let request_id = format!("{deed:?}");
    let twin = format!("{key}/twin");
    match deed {
        Deed::Put => {
            let request = PutConfigRequest {
                request_id,
                ..put(key, "3")
            };
            configs.put_config(request).await.map(drop)
        }
        Deed::Rollback => {
            let request = RollbackConfigRequest {
                request_id,
                ..rollback(key, 1)
            };
            configs.rollback_config(request).await.map(drop)
        }
        Deed::Delete => {
            let request = DeleteConfigRequest {
                request_id,
                ..delete(key)
            };
            configs.delete_config(request).await.map(drop)
        }
        Deed::Commit => {
            let request = CommitConfigsRequest {
                changes: vec![
                    change(key, Change::Delete(ConfigDelete {})),
                    change(&twin, Change::Put(content("1"))),
                ],
                request_id,
                ..Default::default()
            };
            let committed = configs.commit_configs(request).await?.into_inner();
            assert!(committed.committed);
            Ok(())
        }
        Deed::PutDraft => {
            let request = PutDraftRequest {
                key: key.into(),
                change: Some(put_draft_request::Change::Put(content("3"))),
                request_id,
                ..Default::default()
            };
            configs.put_draft(request).await.map(drop)
        }
        Deed::Publish => {
            let request = PublishReleaseRequest {
                name: key.into(),
                changes: vec![
                    change(key, Change::Draft(ConfigFromDraft::default())),
                    change(&twin, Change::Put(content("1"))),
                ],
                request_id,
                ..Default::default()
            };
            configs.publish_release(request).await.map(drop)
        }
        Deed::RollbackRelease => {
            let request = RollbackReleaseRequest {
                name: key.into(),
                new_name: format!("{key}-back"),
                request_id,
                ..Default::default()
            };
            configs.rollback_release(request).await.map(drop)
        }
        Deed::DiscardDraft => {
            let request = DiscardDraftRequest {
                key: key.into(),
                ..Default::default()
            };
            configs.discard_draft(request).await.map(drop)
        }
    }
}

async fn there(server: &Server, key: &str) -> There {
    let mut configs = server.configs();
    let drafts = ListDraftsRequest {
        prefix: key.into(),
        ..Default::default()
    };
    let drafts = configs.list_drafts(drafts).await.unwrap().into_inner();
    let releases = ListReleasesRequest::default();
    let releases = configs.list_releases(releases).await.unwrap().into_inner();
    let names = releases.releases.into_iter().map(|release| release.name);
    (
        server.version_numbers(key).await,
        server.version_numbers(&format!("{key}/twin")).await,
        drafts.drafts.into_iter().map(|draft| draft.key).collect(),
        names.filter(|name| name.starts_with(key)).collect(),
    )
}

/// What there is once a deed is done once.
fn done(deed: Deed, key: &str) -> There {
    let (own, back) = (key.to_owned(), format!("{key}-back"));
    match deed {
        Deed::Put | Deed::Rollback | Deed::Delete => (vec![3, 2, 1], vec![], vec![], vec![]),
        Deed::Commit => (vec![3, 2, 1], vec![1], vec![], vec![]),
        Deed::PutDraft => (vec![2, 1], vec![], vec![own], vec![]),
        Deed::Publish => (vec![3, 2, 1], vec![1], vec![], vec![own]),
        Deed::RollbackRelease => (vec![4, 3, 2, 1], vec![2, 1], vec![], vec![back, own]),
        Deed::DiscardDraft => (vec![2, 1], vec![], vec![], vec![]),
    }
}
