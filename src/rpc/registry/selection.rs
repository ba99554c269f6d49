//! What a list or a watch selects.

use stanchion_client::proto;

use crate::{
    domain::{
        names::{NameError, ServiceName},
        registry::{Filter, InstanceView, Instances, Locality, RemovedInstances, Services},
    },
    rpc::convert::Violations,
};

use super::fields::text;

pub(super) fn instance_selection(
    v: &mut Violations,
    namespace: &str,
    service: &str,
    view: i32,
    filter: &str,
) -> Option<Instances> {
    let namespace = v.namespace(namespace);
    let service = v.take("service", ServiceName::parse(service));
    let view = match proto::InstanceView::try_from(view) {
        Ok(proto::InstanceView::Unspecified | proto::InstanceView::Serving) => {
            InstanceView::Serving
        }
        Ok(proto::InstanceView::All) => InstanceView::All,
        Ok(proto::InstanceView::Removed) => {
            v.add("view", "is for lists alone, and without a locality");
            InstanceView::Serving
        }
        Err(_) => {
            v.add("view", "is not a known value");
            InstanceView::Serving
        }
    };
    let filter = filter_of(v, filter)?;
    Some(Instances::of(&namespace?, &service?, view).filtered(filter))
}

pub(super) fn removed_selection(
    v: &mut Violations,
    namespace: &str,
    service: &str,
    filter: &str,
) -> Option<RemovedInstances> {
    let namespace = v.namespace(namespace);
    let service = v.take("service", ServiceName::parse(service));
    let filter = filter_of(v, filter)?;
    Some(RemovedInstances::of(&namespace?, &service?, filter))
}

/// A filter that may be left out.
fn filter_of(v: &mut Violations, text: &str) -> Option<Option<Filter>> {
    match text {
        "" => Some(None),
        text => v.take("filter", Filter::parse(text)).map(Some),
    }
}

/// Where the caller is, if it says so.
pub(super) fn locality(v: &mut Violations, locality: Option<proto::Locality>) -> Option<Locality> {
    let locality = locality?;
    if locality.region.is_empty() && locality.zone.is_empty() {
        v.add("locality", "must say a region or a zone");
    }
    if locality
        .failover_threshold
        .is_some_and(|share| !(0.0..=1.0).contains(&share))
    {
        v.add("locality.failover_threshold", "must be from 0 to 1");
    }
    Some(Locality {
        region: text(v, "locality.region", locality.region),
        zone: text(v, "locality.zone", locality.zone),
        failover_threshold: locality.failover_threshold,
    })
}

pub(super) fn service_selection(
    v: &mut Violations,
    namespace: &str,
    prefix: &str,
) -> Option<Services> {
    let namespace = v.namespace(namespace);
    match ServiceName::parse(prefix) {
        // What names cannot be, they can begin with.
        Ok(_) | Err(NameError::Empty | NameError::Dots) => {}
        Err(error) => v.add("prefix", error),
    }
    Some(Services::of(&namespace?, prefix))
}
