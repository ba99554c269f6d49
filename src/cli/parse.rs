//! Arguments that are more than a word.

use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use stanchion_client::proto::{Guard, Port, ServiceName};

/// The token of the lock that a command runs under; see `stanchion lock`.
pub(crate) const FENCING_TOKEN: &str = "STANCHION_FENCING_TOKEN";

/// The term of the election that a command leads; see `stanchion elect`.
pub(crate) const TERM: &str = "STANCHION_TERM";

/// `30s`, `1m 30s`, `500ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; such as 10s or 1m30s"))
}

/// `2026-03-01T12:00:00Z`, or how long ago: `2h`.
pub(crate) fn instant(text: &str) -> Result<SystemTime, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return SystemTime::now()
            .checked_sub(ago)
            .ok_or_else(|| "is too long ago".into());
    }
    humantime::parse_rfc3339_weak(text)
        .map_err(|error| format!("{error}; such as 2026-03-01T12:00:00Z or 2h"))
}

/// `key=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.into(), value.into()))
        .ok_or_else(|| "is not like KEY=VALUE".into())
}

/// `[name=]port[/protocol]`.
pub(crate) fn port(text: &str) -> Result<Port, String> {
    let (name, rest) = text.split_once('=').unwrap_or(("", text));
    let (number, protocol) = rest.split_once('/').unwrap_or((rest, ""));
    let port = number
        .parse::<u16>()
        .ok()
        .filter(|port| *port > 0)
        .ok_or("is not like 8080, http=8080 or http=8080/grpc")?;
    Ok(Port {
        name: name.into(),
        port: port.into(),
        protocol: protocol.into(),
    })
}

/// `zone`, `region/zone` or `region/`.
pub(crate) fn place(text: &str) -> Result<(String, String), String> {
    let (region, zone) = text.split_once('/').unwrap_or(("", text));
    match (region, zone) {
        ("", "") => Err("is not like ZONE, REGION/ZONE or REGION/".into()),
        _ => Ok((region.into(), zone.into())),
    }
}

/// `service/id`.
pub(crate) fn instance(text: &str) -> Result<(String, String), String> {
    text.split_once('/')
        .map(|(service, id)| (service.into(), id.into()))
        .ok_or_else(|| "is not like SERVICE/ID".into())
}

/// `[namespace/]service`.
pub(crate) fn service(text: &str) -> Result<ServiceName, String> {
    let (namespace, service) = text.split_once('/').unwrap_or(("", text));
    Ok(ServiceName {
        namespace: namespace.into(),
        service: service.into(),
    })
}

/// `lock` with the token of the environment, or `lock=token`.
pub(crate) fn guard(text: &str) -> Result<Guard, String> {
    let (lock, fencing_token) = token(text, FENCING_TOKEN)?;
    Ok(Guard {
        lock,
        fencing_token,
        ..Guard::default()
    })
}

/// `election` with the term of the environment, or `election=term`.
pub(crate) fn term(text: &str) -> Result<Guard, String> {
    let (election, fencing_token) = token(text, TERM)?;
    Ok(Guard {
        election,
        fencing_token,
        ..Guard::default()
    })
}

fn token(text: &str, variable: &str) -> Result<(String, i64), String> {
    let (name, token) = match text.rsplit_once('=') {
        Some((name, token)) => (name, token.to_owned()),
        None => (
            text,
            std::env::var(variable)
                .map_err(|_| format!("is not like NAME=TOKEN, and {variable} is not set"))?,
        ),
    };
    let token = token
        .parse()
        .map_err(|_| format!("`{token}` is no fencing token"))?;
    Ok((name.into(), token))
}

/// `HUP`, `SIGHUP`.
pub(crate) fn signal(text: &str) -> Result<Signal, String> {
    Ok(match text.strip_prefix("SIG").unwrap_or(text) {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "TERM" => Signal::TERM,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "WINCH" => Signal::WINCH,
        _ => return Err("is none of HUP, INT, QUIT, TERM, USR1, USR2, WINCH".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_an_optional_name_and_protocol() {
        let of = |text| port(text).map(|port| (port.name, port.port, port.protocol));
        let said = |name: &str, port, protocol: &str| Ok((name.into(), port, protocol.into()));
        assert_eq!(of("8080"), said("", 8080, ""));
        assert_eq!(of("http=8080"), said("http", 8080, ""));
        assert_eq!(of("8080/grpc"), said("", 8080, "grpc"));
        assert_eq!(of("api=8080/grpc"), said("api", 8080, "grpc"));
        for bad in ["", "http", "0", "70000", "a=b"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_guard_names_a_lock_or_an_election_and_its_token() {
        let guard = guard("nightly=7").unwrap();
        assert_eq!((guard.lock.as_str(), guard.fencing_token), ("nightly", 7));
        assert!(super::guard("nightly=x").is_err());
        let guard = term("scheduler=8").unwrap();
        let named = (guard.election.as_str(), guard.fencing_token);
        assert_eq!(named, ("scheduler", 8));
    }
}
