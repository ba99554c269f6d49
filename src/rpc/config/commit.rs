//! Changes of several configs at once.

use stanchion_client::proto::{
    CommitConfigsRequest, CommitConfigsResponse, ConfigChange, ConfigChangeResult, ConfigFromDraft,
    ConfigPut, config_change,
};
use tonic::Status;

use crate::{
    domain::{
        audit::Caller,
        config::{Body, Change, DraftRef, Entry, Expected, Outcome},
        keyspace::ConfigPath,
        names::{ConfigKey, Namespace},
    },
    rpc::{convert::Violations, status},
};

use super::{
    ConfigHandler,
    decode::{self, terms},
    encode,
};

// === impl ConfigHandler ===

impl ConfigHandler {
    pub(super) async fn commit(
        &self,
        request: CommitConfigsRequest,
        caller: Caller,
    ) -> Result<CommitConfigsResponse, Status> {
        let mut fields = Violations::new();
        let namespace = fields.namespace(&request.namespace);
        let terms = terms!(fields, request, caller);
        let entries = entries(&mut fields, namespace, request.changes);
        let entries = fields.give(entries)?;
        let paths: Vec<ConfigPath> = entries.iter().map(|entry| entry.path.clone()).collect();
        let done = self.configs.commit(entries, terms).await;
        let done = done.map_err(status::of)?;
        let results = paths.iter().zip(&done.outcomes);
        Ok(CommitConfigsResponse {
            header: Some(self.context.header.at(done.revision)),
            committed: done.committed,
            results: results
                .map(|(path, outcome)| result(path, outcome))
                .collect(),
        })
    }
}

/// The changes that a request lists.
pub(super) fn entries(
    fields: &mut Violations,
    namespace: Option<Namespace>,
    changes: Vec<ConfigChange>,
) -> Option<Vec<Entry>> {
    let namespace = namespace?;
    let numbered = changes.into_iter().enumerate();
    let entries = numbered.map(|(at, change)| {
        fields.within(format_args!("changes[{at}]."), |fields| {
            entry(fields, &namespace, change)
        })
    });
    // First all of them, because each says what is wrong with it.
    let entries: Vec<Option<Entry>> = entries.collect();
    entries.into_iter().collect()
}

fn entry(fields: &mut Violations, namespace: &Namespace, wire: ConfigChange) -> Option<Entry> {
    let key = fields.take("key", ConfigKey::parse(&wire.key));
    let version = decode::expected_version(fields, "expected_version", wire.expected_version, 0);
    let checksum = decode::checksum(fields, "expected_sha256", &wire.expected_sha256);
    let mut draft = None;
    let change = wire.change.and_then(|wire| match wire {
        config_change::Change::Put(put) => Some(Change::Put(
            fields.within("put.", |fields| body(fields, put)),
        )),
        config_change::Change::Delete(_) => Some(Change::Delete),
        config_change::Change::Rollback(to) => {
            decode::positive(fields, "rollback.version", to.version);
            Some(Change::Rollback(to.version))
        }
        config_change::Change::Draft(ConfigFromDraft { revision }) => {
            if revision < 0 {
                fields.add("draft.revision", "must not be negative");
            }
            draft = Some(DraftRef { revision });
            None
        }
    });
    Some(Entry {
        path: ConfigPath {
            namespace: namespace.clone(),
            key: key?,
        },
        expected: Expected { version, checksum },
        change,
        draft,
    })
}

/// What a config is to say.
pub(super) fn body(fields: &mut Violations, put: ConfigPut) -> Body {
    Body {
        content: put.content,
        content_type: decode::content_type(fields, "content_type", put.content_type),
        labels: decode::labels(fields, "labels", put.labels),
        description: decode::description(fields, "description", put.description),
    }
}

fn result(path: &ConfigPath, outcome: &Outcome) -> ConfigChangeResult {
    let version = outcome.version.as_ref();
    let visible = outcome.visible();
    ConfigChangeResult {
        key: path.key.to_string(),
        as_expected: outcome.as_expected,
        unchanged: outcome.unchanged,
        version: version.map_or(0, |version| version.version),
        config: visible.map(|version| encode::config(path, version, false)),
    }
}
