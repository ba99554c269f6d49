//! The fields of an instance, checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use stanchion_client::proto;

use crate::{
    domain::{
        names::NameError,
        registry::{InstancePatch, InstanceSpec, Port},
    },
    rpc::convert::Violations,
};

use super::checks::checks;

/// The most ports of an instance.
const MAX_PORTS: usize = 16;
/// The longest address, in bytes.
const MAX_ADDRESS: usize = 253;
/// The longest port name or protocol, in bytes.
const MAX_PORT_NAME: usize = 63;
/// The greatest weight.
const MAX_WEIGHT: u32 = 10_000;
/// The weight of an instance that gives none.
const DEFAULT_WEIGHT: u32 = 100;
/// The longest version, region or zone, in bytes.
const MAX_TEXT: usize = 128;
/// The most entries of metadata.
pub(in crate::rpc) const MAX_METADATA: usize = 64;
/// The most bytes of metadata.
const MAX_METADATA_BYTES: usize = 16 * 1024;

/// All that is to be known of an instance.
pub(super) fn spec(v: &mut Violations, instance: proto::Instance) -> InstanceSpec {
    let mut spec = InstanceSpec {
        address: address(v, instance.address),
        ports: ports(v, instance.ports),
        weight: weight(v, "weight", instance.weight),
        version: text(v, "version", instance.version),
        region: text(v, "region", instance.region),
        zone: text(v, "zone", instance.zone),
        metadata: metadata(v, "metadata", instance.metadata),
        checks: Vec::new(),
    };
    spec.checks = checks(v, instance.checks, Some(&spec));
    spec
}

/// The fields that an update names.
pub(super) fn patch(
    v: &mut Violations,
    paths: &[String],
    instance: proto::Instance,
) -> InstancePatch {
    let (mut patch, mut unknown) = (InstancePatch::default(), Vec::new());
    for path in paths.iter().collect::<BTreeSet<_>>() {
        v.within("instance.", |v| match path.as_str() {
            "address" => patch.address = Some(address(v, instance.address.clone())),
            "ports" => patch.ports = Some(ports(v, instance.ports.clone())),
            "weight" => patch.weight = Some(weight(v, path, instance.weight)),
            "version" => patch.version = Some(text(v, path, instance.version.clone())),
            "region" => patch.region = Some(text(v, path, instance.region.clone())),
            "zone" => patch.zone = Some(text(v, path, instance.zone.clone())),
            "metadata" => {
                patch.metadata = Some(metadata(v, path, instance.metadata.clone()));
            }
            // The ports they name may stand in the record that is there.
            "checks" => patch.checks = Some(checks(v, instance.checks.clone(), None)),
            other => unknown.push(other.to_owned()),
        });
    }
    for other in unknown {
        v.add(
            "update_mask",
            format!("`{other}` is not a field that can be changed"),
        );
    }
    patch
}

fn address(v: &mut Violations, address: String) -> String {
    let field = "address";
    // Only addresses of IPv6 have colons; `%` names the zone of a link-local one.
    let host = address.split('%').next().unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if address.is_empty() {
        v.add(field, NameError::Empty);
    } else if address.len() > MAX_ADDRESS {
        let length = address.len();
        v.add(
            field,
            NameError::TooLong {
                limit: MAX_ADDRESS,
                length,
            },
        );
    } else if !(host.chars().all(allowed) && host.len() == address.len()
        || host.parse::<Ipv6Addr>().is_ok())
    {
        v.add(field, "must be a host name or an IP address, without port");
    }
    address
}

fn ports(v: &mut Violations, ports: Vec<proto::Port>) -> Vec<Port> {
    if ports.len() > MAX_PORTS {
        v.add(
            "ports",
            format!("must be at most {MAX_PORTS}, are {}", ports.len()),
        );
    }
    let mut names = BTreeSet::new();
    let mut parsed = Vec::new();
    for (index, port) in ports.into_iter().take(MAX_PORTS).enumerate() {
        v.within(format_args!("ports[{index}]."), |v| {
            word(v, "name", &port.name, "._-");
            word(v, "protocol", &port.protocol, "._+-");
            if !names.insert(port.name.clone()) {
                v.add("name", "must be distinct within the instance");
            }
            match u16::try_from(port.port) {
                Ok(number) if number > 0 => parsed.push(Port {
                    name: port.name,
                    port: number,
                    protocol: port.protocol,
                }),
                _ => v.add("port", "must be from 1 to 65535"),
            }
        });
    }
    parsed
}

/// A text of letters, digits and `marks`.
pub(super) fn word(v: &mut Violations, field: &str, text: &str, marks: &str) {
    if text.len() > MAX_PORT_NAME {
        v.add(field, format!("must be at most {MAX_PORT_NAME} bytes"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    if !text.chars().all(allowed) {
        v.add(
            field,
            format!("must consist of letters, digits and `{marks}`"),
        );
    }
}

/// The metadata of an instance.
pub(in crate::rpc) fn metadata(
    v: &mut Violations,
    field: &str,
    metadata: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    v.metadata(field, metadata, MAX_METADATA, MAX_METADATA_BYTES)
}

/// The weight of an instance.
pub(in crate::rpc) fn weight(v: &mut Violations, field: &str, weight: Option<i32>) -> u32 {
    match weight.map(u32::try_from) {
        None => DEFAULT_WEIGHT,
        Some(Ok(weight)) if weight <= MAX_WEIGHT => weight,
        Some(_) => {
            v.add(field, format!("must be from 0 to {MAX_WEIGHT}"));
            DEFAULT_WEIGHT
        }
    }
}

/// A version, region or zone.
pub(super) fn text(v: &mut Violations, field: &str, text: String) -> String {
    if text.chars().any(char::is_control) {
        v.add(field, "must not have control characters");
    }
    v.text(field, text, MAX_TEXT)
}
