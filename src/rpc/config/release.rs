//! Releases.

use stanchion_client::proto::{
    self, GetReleaseRequest, GetReleaseResponse, ListReleasesRequest, ListReleasesResponse,
    PublishReleaseRequest, PublishReleaseResponse, RollbackReleaseRequest, RollbackReleaseResponse,
};
use tonic::Status;

use crate::{
    domain::{
        audit::Caller,
        config::{Publish, Release, ReleaseItem, RollbackRelease},
        hash64,
        keyspace::ReleasePath,
        names::ReleaseName,
    },
    rpc::{
        convert::{Violations, wire_count},
        page, status,
    },
};

use super::{ConfigHandler, commit, decode::terms, encode};

// === impl ConfigHandler ===

impl ConfigHandler {
    pub(super) async fn publish(
        &self,
        request: PublishReleaseRequest,
        caller: Caller,
    ) -> Result<PublishReleaseResponse, Status> {
        let mut fields = Violations::new();
        let path = path(&mut fields, &request.namespace, &request.name);
        let terms = terms!(fields, request, caller);
        let namespace = path.as_ref().map(|path| path.namespace.clone());
        let entries = commit::entries(&mut fields, namespace, request.changes);
        let (path, entries) = fields.give(path.zip(entries))?;
        let publish = Publish {
            path,
            entries,
            terms,
        };
        let published = self.configs.publish(publish).await;
        let (release, revision) = published.map_err(status::of)?;
        Ok(PublishReleaseResponse {
            header: Some(self.context.header.at(revision)),
            release: Some(wire(&release)),
        })
    }

    pub(super) async fn roll_back(
        &self,
        request: RollbackReleaseRequest,
        caller: Caller,
    ) -> Result<RollbackReleaseResponse, Status> {
        let mut fields = Violations::new();
        let path = path(&mut fields, &request.namespace, &request.name);
        let new_name = match &request.new_name[..] {
            "" => format!("{}.rollback", request.name),
            name => name.to_owned(),
        };
        let new_name = fields.take("new_name", ReleaseName::parse(&new_name));
        let terms = terms!(fields, request, caller);
        let (path, new_name) = fields.give(path.zip(new_name))?;
        let rollback = RollbackRelease {
            path,
            new_name,
            force: request.force,
            terms,
        };
        let published = self.configs.roll_back_release(rollback).await;
        let (release, revision) = published.map_err(status::of)?;
        Ok(RollbackReleaseResponse {
            header: Some(self.context.header.at(revision)),
            release: Some(wire(&release)),
        })
    }

    pub(super) async fn release(
        &self,
        request: GetReleaseRequest,
    ) -> Result<GetReleaseResponse, Status> {
        let mut fields = Violations::new();
        let path = path(&mut fields, &request.namespace, &request.name);
        let found = self.configs.release(&fields.give(path)?).await;
        let (release, revision) = found.map_err(status::of)?;
        Ok(GetReleaseResponse {
            header: Some(self.context.header.at(revision)),
            release: Some(wire(&release)),
        })
    }

    pub(super) async fn releases(
        &self,
        request: ListReleasesRequest,
    ) -> Result<ListReleasesResponse, Status> {
        let mut fields = Violations::new();
        let namespace = fields.namespace(&request.namespace);
        let size = fields.page_size(request.page_size);
        let namespace = fields.give(namespace)?;
        let digest = hash64(format!("releases\n{namespace}"));
        let after = page::after(&request.page_token, digest)?;
        let listed = self.configs.releases(&namespace, after, size).await;
        let listed = listed.map_err(status::of)?;
        Ok(ListReleasesResponse {
            header: Some(self.context.header.at(listed.revision)),
            releases: listed.releases.iter().map(wire).collect(),
            next_page_token: listed
                .next
                .map_or(String::new(), |next| page::token(&next, digest)),
        })
    }
}

fn path(fields: &mut Violations, namespace: &str, name: &str) -> Option<ReleasePath> {
    let namespace = fields.namespace(namespace);
    let name = fields.take("name", ReleaseName::parse(name));
    Some(ReleasePath {
        namespace: namespace?,
        name: name?,
    })
}

fn wire(release: &Release) -> proto::Release {
    let item = |item: &ReleaseItem| proto::ReleaseItem {
        key: item.key.to_string(),
        version: item.version,
        previous_version: item.before,
        deleted: item.deleted,
        unchanged: item.unchanged,
    };
    proto::Release {
        namespace: release.path.namespace.to_string(),
        name: release.path.name.to_string(),
        comment: release.comment.clone(),
        author: release.actor.to_string(),
        create_time: Some(release.create_time.into()),
        revision: release.revision,
        rollback_of: encode::name_of(release.rollback_of.as_ref()),
        item_count: wire_count(release.item_count),
        items: release.items.iter().map(item).collect(),
    }
}
