//! Discovery: all instances of a service in one answer, over and over.

use prost::Message as _;
use stanchion_client::proto::{Consistency, ListInstancesResponse};

use super::{
    busy::call,
    instances::{list, range, register, undecodable},
    saturation::{Load, saturate},
};
use crate::{
    BenchError,
    etcd::RangeResponse,
    http2::{Connection, Windows},
    sample::Sample,
    target::{Site, Target},
    wire::Dialect,
};

const SERVICE: &str = "read";

/// Registers a service of so many instances, and reads it.
pub(super) async fn read(site: &Site, instances: u64, load: &Load) -> Result<Sample, BenchError> {
    let (port, dialect) = (site.port(), site.dialect());
    register(port, dialect, SERVICE, instances).await?;
    let read = match site.target() {
        Target::Etcd => range(SERVICE, false),
        // Only such a read comes from its cache.
        Target::GrpcProxy => range(SERVICE, true),
        Target::Stanchion => list(SERVICE, Consistency::Cached),
    };
    let mut connection = Connection::open(port, Windows::Large).await?;
    let answer = call(&mut connection, &read).await?;
    let found = match dialect {
        Dialect::Etcd => {
            let answer = RangeResponse::decode(answer).map_err(undecodable)?;
            answer.count as u64
        }
        Dialect::Stanchion => {
            let answer = ListInstancesResponse::decode(answer).map_err(undecodable)?;
            answer.instances.len() as u64
        }
    };
    if found != instances {
        return Err(BenchError::failed(format!("{found} instances are listed")));
    }
    saturate(site, &read, load).await
}
