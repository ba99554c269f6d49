//! The answers to `ListInstances`.

use bytes::Bytes;
use prost::Message;
use stanchion_client::proto::{Instance, ListInstancesRequest, ListInstancesResponse};
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
    decode::{instance_selection, locality},
    encode::{wire_instance, wire_tier},
};

// === impl RegistryHandler ===

impl RegistryHandler {
    /// Lists instances.
    pub async fn list(&self, request: ListInstancesRequest) -> Result<Written, Status> {
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
        let token = &request.page_token;
        if let Some(locality) = locality {
            let own = self.own(&view, &selection);
            let nearest = Nearest::new(selection, locality);
            let (placed, next_page_token) = page::of(&view, &nearest, token, size)?;
            let placed = placed.iter().map(|(instance, tier)| Instance {
                locality_tier: wire_tier(*tier).into(),
                ..wire_instance(instance)
            });
            let answer = ListInstancesResponse {
                instances: placed.collect(),
                next_page_token,
                ..own
            };
            return Ok(Written::new(&answer, Bytes::new()));
        }
        if token.is_empty()
            && let Some(answer) = self.whole(&view, &selection, size)
        {
            return Ok(answer);
        }
        let page = page::resumable(&view, &selection, token, size)?;
        let answer = ListInstancesResponse {
            instances: page.items.iter().map(wire_instance).collect(),
            next_page_token: page.next,
            resume_token: page
                .resume
                .map(|token| token.encode())
                .unwrap_or_default()
                .into(),
            ..self.own(&view, &selection)
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
            ..ListInstancesResponse::default()
        }
    }

    /// The answer to a list that one page holds: all but its header is written once, for all.
    fn whole(&self, view: &View, selection: &Instances, size: usize) -> Option<Written> {
        let whole = selection.whole(&view.state, size)?;
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
