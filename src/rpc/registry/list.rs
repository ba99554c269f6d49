//! The answers to `ListInstances`.

use std::time::SystemTime;

use bytes::Bytes;
use prost::Message;
use stanchion_client::proto::{
    Instance, InstanceView, ListInstancesRequest, ListInstancesResponse,
};
use tonic::Status;

use crate::{
    domain::{
        registry::{Instances, Nearest},
        state::View,
        watch::{Selection, Token},
    },
    rpc::{convert::Violations, framed::Written, page, status},
};

use super::{
    RegistryHandler,
    encode::{wire_instance, wire_instance_at, wire_removal, wire_service_name, wire_tier},
    selection::{instance_selection, locality, removed_selection},
};

// === impl RegistryHandler ===

impl RegistryHandler {
    /// Lists instances.
    pub async fn list(&self, request: ListInstancesRequest) -> Result<Written, Status> {
        if request.view() == InstanceView::Removed && request.locality.is_none() {
            return self.removed(request).await;
        }
        let mut v = Violations::new();
        let freshness = v.freshness(request.consistency, request.min_revision);
        let size = v.page_size(request.page_size);
        let locality = locality(&mut v, request.locality);
        let selection = instance_selection(
            &mut v,
            &request.namespace,
            &request.service,
            request.view,
            &request.filter,
        );
        let selection = v.give(selection)?;
        let view = self.registry.read(freshness).await.map_err(status::of)?;
        let selection = selection.routed(&view.state);
        let (token, now) = (&request.page_token, self.context.core.clock.system_time());
        let answer = if let Some(locality) = locality {
            let own = self.own(&view, &selection);
            let nearest = Nearest::new(selection, locality);
            let (placed, next_page_token) = page::of(&view, &nearest, token, size)?;
            let placed = placed.iter().map(|(instance, tier)| Instance {
                locality_tier: wire_tier(*tier).into(),
                ..wire_instance_at(instance, now)
            });
            ListInstancesResponse {
                instances: placed.collect(),
                next_page_token,
                ..own
            }
        } else {
            if token.is_empty()
                && let Some(answer) = self.whole(&view, &selection, size, now)
            {
                return Ok(answer);
            }
            let page = page::resumable(&view, &selection, token, size)?;
            let shown = page.items.iter();
            ListInstancesResponse {
                instances: shown.map(|i| wire_instance_at(i, now)).collect(),
                next_page_token: page.next,
                resume_token: page.resume,
                ..self.own(&view, &selection)
            }
        };
        Ok(Written::new(&answer, Bytes::new()))
    }

    /// Lists what is not there any more.
    async fn removed(&self, request: ListInstancesRequest) -> Result<Written, Status> {
        let mut v = Violations::new();
        let freshness = v.freshness(request.consistency, request.min_revision);
        let size = v.page_size(request.page_size);
        let selection = removed_selection(
            &mut v,
            &request.namespace,
            &request.service,
            &request.filter,
        );
        let selection = v.give(selection)?;
        let view = self.registry.read(freshness).await.map_err(status::of)?;
        let (removed, next_page_token) = page::of(&view, &selection, &request.page_token, size)?;
        let removed = removed.iter().map(|(last, tombstone)| Instance {
            removal: Some(wire_removal(tombstone)),
            ..wire_instance(last)
        });
        let answer = ListInstancesResponse {
            header: Some(self.context.header.of(&view)),
            instances: removed.collect(),
            next_page_token,
            ..ListInstancesResponse::default()
        };
        Ok(Written::new(&answer, Bytes::new()))
    }

    /// What a list says besides its instances.
    fn own(&self, view: &View, selection: &Instances) -> ListInstancesResponse {
        let service = selection.service(&view.state);
        ListInstancesResponse {
            header: Some(self.context.header.of(view)),
            protected: service.is_some_and(|service| service.protected),
            braked: service.is_some_and(|service| service.braked),
            answered_by: selection.answered_by().map(wire_service_name),
            alias_broken: selection.is_broken(),
            ..ListInstancesResponse::default()
        }
    }

    /// The answer to a list that one page holds: all but its header is written once, for all. None
    /// while what it shows changes by itself.
    fn whole(
        &self,
        view: &View,
        selection: &Instances,
        size: usize,
        now: SystemTime,
    ) -> Option<Written> {
        let whole = selection.whole(&view.state, size)?;
        if whole.warm_at(selection, &view.state) > now {
            return None;
        }
        let instances = whole.wire.get_or_make(|| {
            let shown = selection.list(&view.state, None);
            let shown = shown.filter_map(|(_, item)| selection.select(&item));
            let instances = shown.map(|instance| wire_instance(&instance)).collect();
            let shared = ListInstancesResponse {
                instances,
                ..ListInstancesResponse::default()
            };
            shared.encode_to_vec().into()
        });
        let resume = Token {
            epoch: view.state.epoch.id,
            digest: whole.digest(selection),
            revision: view.revision,
        };
        let own = ListInstancesResponse {
            resume_token: resume.encode().into(),
            ..self.own(view, selection)
        };
        (instances.len() <= page::MAX_BYTES).then(|| Written::new(&own, instances))
    }
}
