//! Every kind of change of configs, drafts and releases but those of one config.

use stanchion_client::proto::{
    CommitConfigsRequest, ConfigChange, ConfigFromDraft, PublishReleaseRequest, PutDraftRequest,
    RollbackConfigRequest, RollbackReleaseRequest, config_change::Change, put_draft_request,
};
use tonic::Status;

use super::kinds::{Kind, Writer, base};
use crate::config::{change, content};

// === impl Writer ===

impl Writer<'_> {
    /// Writes what such a change begins from, under this name.
    pub(super) async fn prepare_config(&self, kind: Kind, name: &str) -> Result<(), Status> {
        match kind {
            Kind::RollbackConfig => {
                self.put(name, "1", None).await?;
                self.put(name, "2", None).await
            }
            Kind::RollbackRelease => {
                let change = change(name, Change::Put(content("1")));
                self.publish(name, change).await
            }
            Kind::Publish => self.draft(name).await,
            _ => unreachable!("{kind:?} begins from no config"),
        }
    }

    /// Leaves the mark in the store.
    pub(super) async fn change_config(&self, kind: Kind, mark: &str) -> Result<(), Status> {
        let mut configs = self.server.configs();
        match kind {
            Kind::RollbackConfig => {
                let back = RollbackConfigRequest {
                    key: base(mark),
                    version: 1,
                    comment: mark.into(),
                    ..Default::default()
                };
                let back = configs.rollback_config(back).await?.into_inner();
                assert_eq!(back.config.unwrap().version, 3);
                Ok(())
            }
            Kind::Commit => {
                let put = |end| change(&format!("{mark}/{end}"), Change::Put(content("1")));
                let commit = CommitConfigsRequest {
                    changes: vec![put("a"), put("b")],
                    ..Default::default()
                };
                let done = configs.commit_configs(commit).await?.into_inner();
                let versions: Vec<_> = done.results.iter().map(|made| made.version).collect();
                assert!(done.committed && versions == [1, 1], "{done:?}");
                Ok(())
            }
            Kind::PutDraft => self.draft(mark).await,
            Kind::Publish => {
                let draft = Change::Draft(ConfigFromDraft::default());
                self.publish(mark, change(&base(mark), draft)).await
            }
            Kind::RollbackRelease => {
                let back = RollbackReleaseRequest {
                    name: base(mark),
                    new_name: mark.into(),
                    ..Default::default()
                };
                configs.rollback_release(back).await.map(drop)
            }
            _ => unreachable!("{kind:?} is no such change"),
        }
    }

    async fn draft(&self, key: &str) -> Result<(), Status> {
        let put = PutDraftRequest {
            key: key.into(),
            change: Some(put_draft_request::Change::Put(content("1"))),
            ..Default::default()
        };
        self.server.configs().put_draft(put).await.map(drop)
    }

    async fn publish(&self, name: &str, change: ConfigChange) -> Result<(), Status> {
        let publish = PublishReleaseRequest {
            name: name.into(),
            changes: vec![change],
            ..Default::default()
        };
        self.server
            .configs()
            .publish_release(publish)
            .await
            .map(drop)
    }
}
