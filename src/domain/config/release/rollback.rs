//! Rolling a release back: a release of its own, which restores what was before.

use futures_util::future::try_join_all;

use crate::{
    cache::Freshness,
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
        history,
        write::LOOKS,
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
        let changed: Vec<&ReleaseItem> = changed.collect();
        self.check_numbers(&release, &changed, force).await?;
        let entries = changed.into_iter();
        let entries: Vec<Entry> = entries.map(|item| restore(&old, item, force)).collect();
        if entries.is_empty() {
            return Err(Error::invalid(
                "name",
                "is that of a release that changed nothing",
            ));
        }
        self.publish_once(new, entries, terms, digest, Some(old.name))
            .await
    }

    /// Makes sure that the versions a release speaks of are still those: the versions of an item
    /// that was forgotten begin anew. With `force` that is what it is to be restored to, else what
    /// the release made of it.
    async fn check_numbers(
        &self,
        release: &Release,
        items: &[&ReleaseItem],
        force: bool,
    ) -> Result<(), Error> {
        let mut keys = Vec::new();
        for some in items.chunks(LOOKS) {
            let looks = some.iter().map(|item| async move {
                let number = if force { item.before } else { item.version };
                let path = path(&release.path, item);
                if number == 0 {
                    return Ok(None);
                }
                let fresh = Freshness::Linearizable;
                let found = match self.stored_version(&path, number, fresh).await {
                    Ok((found, _)) => found.without_content(),
                    // Nor is it what it was: the writer says so.
                    Err(Error::NotFound { .. }) if !force => return Ok(None),
                    Err(error) => return Err(error),
                };
                match force {
                    true if found.revision >= release.revision => {
                        Err(history::missing(&path, number))
                    }
                    false if found.release.as_ref() != Some(&release.path.name) => {
                        Ok(Some(item.key.to_string()))
                    }
                    _ => Ok(None),
                }
            });
            keys.extend(try_join_all(looks).await?.into_iter().flatten());
        }
        match keys.is_empty() {
            true => Ok(()),
            false => Err(Error::ConfigsChanged { keys }),
        }
    }
}

/// What makes an item what it was before.
fn restore(release: &ReleasePath, item: &ReleaseItem, force: bool) -> Entry {
    Entry {
        path: path(release, item),
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

fn path(release: &ReleasePath, item: &ReleaseItem) -> ConfigPath {
    ConfigPath {
        namespace: release.namespace.clone(),
        key: item.key.clone(),
    }
}
