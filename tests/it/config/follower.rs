//! A watcher that keeps what it was told, and checks that what it is told fits together.

use std::collections::BTreeMap;

use bytes::Bytes;
use stanchion_client::proto::{
    Config, ConfigDelta, ConfigKeys, DeleteCause, EventType, ResetReason, WatchConfigsRequest,
    WatchConfigsResponse, WatchStart, watch_configs_request::Selection,
    watch_configs_response::Message, watch_start::Position,
};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::support::{server::Server, store::PATIENCE};

/// The configs of a selection, as a watch tells them.
pub(super) struct Follower {
    stream: Streaming<WatchConfigsResponse>,
    /// What there is, by key.
    pub(super) configs: BTreeMap<String, Config>,
    /// Where a watch can be resumed.
    pub(super) token: Bytes,
    /// Through which revision it is current.
    pub(super) revision: i64,
    /// How many resets came.
    pub(super) resets: Vec<ResetReason>,
    /// How many deltas came, and how many of them were merged.
    pub(super) deltas: (usize, usize),
    /// True between the parts of a snapshot.
    snapshot: bool,
    /// The parts of a delta that is not whole yet.
    parts: Vec<ConfigDelta>,
}

pub(super) fn key(key: &str) -> Option<Selection> {
    Some(Selection::Key(key.into()))
}

pub(super) fn prefix(prefix: &str) -> Option<Selection> {
    Some(Selection::Prefix(prefix.into()))
}

pub(super) fn keys(keys: &[&str]) -> Option<Selection> {
    let keys = keys.iter().map(|key| (*key).into()).collect();
    Some(Selection::Keys(ConfigKeys { keys }))
}

pub(super) fn resume(selection: Option<Selection>, token: &[u8]) -> WatchConfigsRequest {
    WatchConfigsRequest {
        selection,
        start: Some(WatchStart {
            position: Some(Position::ResumeToken(token.to_vec().into())),
            ..WatchStart::default()
        }),
        ..WatchConfigsRequest::default()
    }
}

impl Follower {
    /// Watches from the beginning; returns when the snapshot is whole.
    pub(super) async fn start(server: &Server, selection: Option<Selection>) -> Self {
        let request = WatchConfigsRequest {
            selection,
            ..WatchConfigsRequest::default()
        };
        let mut follower = Self::open(server, request).await.unwrap();
        follower.begin().await;
        follower
    }

    /// Reads the snapshot that a watch without a position begins with.
    pub(super) async fn begin(&mut self) {
        self.snapshot = true;
        self.until(|follower| !follower.snapshot).await;
    }

    /// Watches on from a token, knowing `configs`.
    pub(super) async fn resume(
        server: &Server,
        selection: Option<Selection>,
        token: &[u8],
        configs: impl IntoIterator<Item = Config>,
    ) -> Self {
        let mut follower = Self::open(server, resume(selection, token)).await.unwrap();
        follower.configs = by_key(configs);
        follower
    }

    pub(super) async fn open(
        server: &Server,
        request: WatchConfigsRequest,
    ) -> Result<Self, Status> {
        let stream = server.configs().watch_configs(request).await?.into_inner();
        Ok(Self {
            stream,
            configs: BTreeMap::new(),
            token: Bytes::new(),
            revision: 0,
            resets: Vec::new(),
            deltas: (0, 0),
            snapshot: false,
            parts: Vec::new(),
        })
    }

    /// Stops watching; returns what is needed to resume.
    pub(super) fn leave(self) -> (Bytes, Vec<Config>) {
        (self.token, self.configs.into_values().collect())
    }

    /// Reads until what is known satisfies `enough`.
    pub(super) async fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            self.step().await;
        }
    }

    /// Reads until the config has the content.
    pub(super) async fn until_content(&mut self, key: &str, content: &str) {
        self.until(|follower| {
            let config = follower.configs.get(key);
            config.is_some_and(|config| config.content == content)
        })
        .await;
    }

    /// Reads one message, and returns the delta that it completes, if it is one.
    pub(super) async fn step(&mut self) -> Option<ConfigDelta> {
        let message = timeout(PATIENCE, self.stream.message())
            .await
            .expect("the watch says something in time")
            .unwrap()
            .expect("the watch goes on");
        let mut whole = None;
        match message.message.unwrap() {
            Message::Snapshot(snapshot) => {
                assert!(self.snapshot, "a snapshot without a start or a reset");
                let before = self.configs.len();
                let part = by_key(snapshot.configs);
                assert!(self.configs.keys().next_back() < part.keys().next());
                let size = part.len();
                self.configs.extend(part);
                assert_eq!(self.configs.len(), before + size);
            }
            Message::SnapshotEnd(end) => {
                assert!(std::mem::take(&mut self.snapshot));
                self.revision = end.revision;
            }
            Message::Delta(delta) => {
                if self.revision > 0 {
                    assert_eq!(delta.prev_revision, self.revision);
                }
                assert!(delta.revision > delta.prev_revision);
                let last_part = delta.last_part;
                self.parts.push(delta);
                if last_part {
                    whole = Some(self.apply());
                }
            }
            Message::Bookmark(bookmark) => {
                assert!(bookmark.revision >= self.revision && self.parts.is_empty());
                self.revision = bookmark.revision;
            }
            Message::Reset(reset) => {
                self.resets.push(reset.reason());
                self.configs.clear();
                self.parts.clear();
                self.snapshot = true;
                self.revision = 0;
            }
        }
        if !message.resume_token.is_empty() {
            self.token = message.resume_token;
        }
        whole
    }

    /// Reads until a delta, and returns it unchecked and not applied.
    pub(super) async fn raw(&mut self) -> ConfigDelta {
        loop {
            let message = timeout(PATIENCE, self.stream.message()).await;
            let message = message.expect("the watch says something in time");
            if let Some(Message::Delta(delta)) = message.unwrap().unwrap().message {
                return delta;
            }
        }
    }

    fn apply(&mut self) -> ConfigDelta {
        let mut parts = std::mem::take(&mut self.parts);
        let mut delta = parts.remove(0);
        delta
            .events
            .extend(parts.into_iter().flat_map(|part| part.events));
        self.revision = delta.revision;
        self.deltas.0 += 1;
        self.deltas.1 += usize::from(delta.conflated);
        for event in &delta.events {
            let config = event.config.clone().unwrap();
            let key = config.key.clone();
            let known = self.configs.get(&key).map(|known| known.version);
            let version = config.version;
            match event.r#type() {
                EventType::Added => {
                    assert_eq!(known, None, "{key} was there");
                    self.configs.insert(key, config);
                }
                EventType::Modified => {
                    assert!(
                        known.is_some_and(|known| known < version),
                        "{key} {known:?}"
                    );
                    self.configs.insert(key, config);
                }
                EventType::Deleted => {
                    assert_eq!(event.cause(), DeleteCause::Deleted);
                    assert!(known.is_some(), "{key} was not there");
                    self.configs.remove(&key);
                }
                EventType::Unspecified => panic!("an event of no type"),
            }
        }
        delta
    }

    pub(super) fn contents(&self) -> BTreeMap<&str, &str> {
        self.configs
            .iter()
            .map(|(key, config)| (&key[..], std::str::from_utf8(&config.content).unwrap()))
            .collect()
    }
}

fn by_key(configs: impl IntoIterator<Item = Config>) -> BTreeMap<String, Config> {
    let keyed = configs
        .into_iter()
        .map(|config| (config.key.clone(), config));
    keyed.collect()
}
