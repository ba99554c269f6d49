//! Rolling a release back: a release of its own, which restores what was before.

use crate::{
    domain::{
        Error,
        keyspace::{ConfigPath, ReleasePath},
        names::ReleaseName,
    },
    store::Revision,
};

use super::{
    super::{
        Configs,
        change::{self, Change, Entry, Expected, Terms},
    },
    Release, ReleaseItem,
};

/// What is to be rolled back.
#[derive(Debug, Clone)]
pub struct RollbackRelease {
    /// Which release.
    pub path: ReleasePath,
    /// The name of the release that does it.
    pub new_name: ReleaseName,
    /// Whether to restore also what has changed since.
    pub force: bool,
    /// On what terms.
    pub terms: Terms,
}

// === impl Configs ===

impl Configs {
    /// Restores what was before a release. Errors: as [`Configs::publish`].
    pub async fn roll_back_release(
        &self,
        rollback: RollbackRelease,
    ) -> Result<(Release, Revision), Error> {
        let RollbackRelease {
            path: old,
            new_name,
            force,
            terms,
        } = rollback;
        let new = ReleasePath {
            namespace: old.namespace.clone(),
            name: new_name,
        };
        let name = |path: &ReleasePath| path.path().into_bytes();
        let parts = [
            b"rollback".to_vec(),
            name(&old),
            name(&new),
            vec![force.into()],
        ];
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let digest = change::digest(&[], &terms, &parts);
        if let Some(known) = self.published_before(&new, &terms, digest).await? {
            return Ok(known);
        }
        let (release, _) = self.release(&old).await?;
        let changed = release.items.iter().filter(|item| !item.unchanged);
        let entries: Vec<Entry> = changed.map(|item| restore(&old, item, force)).collect();
        if entries.is_empty() {
            return Err(Error::invalid(
                "name",
                "is that of a release that changed nothing",
            ));
        }
        self.publish_once(new, entries, terms, digest, Some(old.name))
            .await
    }
}

/// What makes an item what it was before.
fn restore(release: &ReleasePath, item: &ReleaseItem, force: bool) -> Entry {
    Entry {
        path: ConfigPath {
            namespace: release.namespace.clone(),
            key: item.key.clone(),
        },
        expected: Expected {
            version: (!force).then_some(item.version),
            checksum: None,
        },
        change: Some(match item.before {
            0 => Change::Delete,
            before => Change::Rollback(before),
        }),
        draft: None,
    }
}
