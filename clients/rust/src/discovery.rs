//! Where a service is, answered from memory.

use std::{sync::Arc, time::Duration};

use crate::{
    call::Caller,
    error::Result,
    mirror::Mirror,
    proto::{Instance, InstanceView, Locality, WatchInstancesRequest},
};

/// Which instances a [`Discovery`] follows.
#[derive(Debug, Clone, Default)]
pub struct DiscoveryOptions {
    /// Those of which view. Default: those to send traffic to.
    pub view: InstanceView,
    /// Only those that it takes, such as `version == 2.1 and zone in (a, b)`: see
    /// [`ListInstancesRequest::filter`](crate::proto::ListInstancesRequest::filter). Default: empty,
    /// all.
    pub filter: String,
    /// Where the caller is: near ones first, and far ones only if not enough near ones are healthy.
    /// The instances of all views are followed then. Default: nowhere, all by id.
    pub locality: Option<Locality>,
}

/// The instances of a service, kept current by a watch that resumes by itself.
///
/// While no server answers, the last known instances are served: [`age`](Self::age) tells how old
/// they may be. Clones share the watch, which ends with the last of them.
#[derive(Debug, Clone)]
pub struct Discovery {
    mirror: Mirror<Instance>,
    view: InstanceView,
    locality: Option<Arc<Locality>>,
}

// === impl Discovery ===

impl Discovery {
    pub(crate) fn follow(
        caller: Arc<Caller>,
        namespace: &str,
        service: &str,
        options: &DiscoveryOptions,
    ) -> Self {
        // How many near ones are healthy shows only where those are that are not.
        let followed = match options.locality {
            Some(_) => InstanceView::All,
            None => options.view,
        };
        let selection = WatchInstancesRequest {
            namespace: namespace.into(),
            service: service.into(),
            view: followed.into(),
            filter: options.filter.clone(),
            // Whoever asks for the instances gets the new ones as soon as it is acknowledged.
            acknowledges: true,
            ..WatchInstancesRequest::default()
        };
        Self {
            mirror: Mirror::follow(caller, selection),
            view: options.view,
            locality: options.locality.clone().map(Arc::new),
        }
    }

    /// Waits until the instances are known for the first time. Fails if the server refuses the
    /// name or the filter; waits on while none answers.
    pub async fn ready(&self) -> Result<()> {
        self.mirror.ready().await
    }

    /// The instances as last known, ordered by id, or by how near they are and by id. Empty before
    /// [`ready`](Self::ready). How much load each should get says [`Instance::weight_at`].
    pub fn instances(&self) -> Vec<Arc<Instance>> {
        let view = self.mirror.view();
        let all: Vec<_> = view.items.values().cloned().collect();
        match &self.locality {
            None => all,
            Some(locality) => locality.nearest(&all, |instance| self.shows(instance)),
        }
    }

    /// One of the instances, however far it is.
    pub fn instance(&self, instance_id: &str) -> Option<Arc<Instance>> {
        let view = self.mirror.view();
        let found = view.items.get(instance_id);
        found.filter(|instance| self.shows(instance)).cloned()
    }

    /// Says whether an instance is in the view, of which more may be followed.
    fn shows(&self, instance: &Instance) -> bool {
        instance.serving || self.view == InstanceView::All
    }

    /// Whether so few instances are healthy that suspect and unhealthy ones are shown too.
    pub fn is_protected(&self) -> bool {
        self.mirror.view().protected
    }

    /// Revision that the instances show.
    pub fn revision(&self) -> i64 {
        self.mirror.view().revision
    }

    /// How old the instances may be at most. Grows while no server answers; nothing before one
    /// has answered. A quiet service is confirmed about every 10 s.
    pub fn age(&self) -> Option<Duration> {
        self.mirror.age()
    }

    /// Completes when the instances changed since this handle was made or this was last called.
    pub async fn changed(&mut self) {
        self.mirror.changed().await;
    }
}
