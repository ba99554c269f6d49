//! What differs between versions, and who wrote what.

use stanchion_client::proto::{
    BlameConfigRequest, BlameConfigResponse, BlamedLines, ConfigSide, DiffConfigVersionsRequest,
    DiffConfigVersionsResponse, GivenContent, config_side,
};
use tonic::Status;

use crate::{
    domain::config::{Comparison, ConfigVersion, Side},
    rpc::{
        convert::{Violations, wire_count},
        status,
    },
};

use super::{ConfigHandler, decode, encode};

// === impl ConfigHandler ===

impl ConfigHandler {
    pub(super) async fn diff(
        &self,
        request: DiffConfigVersionsRequest,
    ) -> Result<DiffConfigVersionsResponse, Status> {
        let mut fields = Violations::new();
        let path = decode::path(&mut fields, &request.namespace, &request.key);
        let comparison = Comparison {
            from: self.side(&mut fields, "from", request.from),
            to: self.side(&mut fields, "to", request.to),
        };
        let freshness = fields.freshness(request.consistency, request.min_revision);
        let path = fields.give(path)?;
        let found = self.configs.diff(&path, comparison, freshness).await;
        let found = found.map_err(status::of)?;
        let version = |version: &ConfigVersion| {
            let pinned = found.pinned.contains(&version.version);
            encode::config_version(&path, version, pinned)
        };
        self.fitting(DiffConfigVersionsResponse {
            header: Some(self.context.header.at(found.revision)),
            from: found.from.as_ref().map(version),
            to: found.to.as_ref().map(version),
            equal: found.contents.equal,
            binary: found.contents.binary,
            unified: found.contents.unified,
            json_patch: found.contents.patch,
            coarse: found.contents.coarse,
        })
    }

    pub(super) async fn blame(
        &self,
        request: BlameConfigRequest,
    ) -> Result<BlameConfigResponse, Status> {
        let mut fields = Violations::new();
        let path = decode::path(&mut fields, &request.namespace, &request.key);
        if request.version < 0 {
            fields.add("version", "must not be negative");
        }
        let freshness = fields.freshness(request.consistency, request.min_revision);
        let path = fields.give(path)?;
        let found = self.configs.blame(&path, request.version, freshness).await;
        let found = found.map_err(status::of)?;
        let pinned = |version: &ConfigVersion| found.pinned.contains(&version.version);
        let versions = found.versions.iter();
        let versions =
            versions.map(|version| encode::config_version(&path, version, pinned(version)));
        self.fitting(BlameConfigResponse {
            header: Some(self.context.header.at(found.revision)),
            version: Some(encode::whole_version(
                &path,
                &found.version,
                pinned(&found.version),
            )),
            lines: together(&found.lines),
            versions: versions.collect(),
            cut_off: found.cut_off,
        })
    }

    fn side(&self, fields: &mut Violations, field: &str, side: Option<ConfigSide>) -> Option<Side> {
        use config_side::Side as Wire;
        match side?.side {
            None => {
                fields.add(field, "must have a version or a content");
                None
            }
            Some(Wire::Version(version)) => {
                decode::positive(fields, &format!("{field}.version"), version);
                Some(Side::Version(version))
            }
            Some(Wire::Given(GivenContent {
                content,
                content_type,
            })) => {
                let limit = self.context.core.settings.max_config_bytes;
                if content.len() > limit {
                    let size = content.len();
                    fields.add(
                        format!("{field}.given.content"),
                        format!("must be at most {limit} bytes, is {size}"),
                    );
                }
                let named = format!("{field}.given.content_type");
                Some(Side::Given {
                    content,
                    content_type: decode::content_type(fields, &named, content_type),
                })
            }
        }
    }
}

/// Lines of one version that follow each other.
fn together(lines: &[i64]) -> Vec<BlamedLines> {
    let mut first_line = 1;
    lines
        .chunk_by(|a, b| a == b)
        .map(|lines| {
            let blamed = BlamedLines {
                first_line: wire_count(first_line),
                line_count: wire_count(lines.len()),
                version: lines[0],
            };
            first_line += lines.len();
            blamed
        })
        .collect()
}
