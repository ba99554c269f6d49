//! `doctor`: what is reached, what is wrong, what to do.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use stanchion_client::{
    Client, Error, Options,
    proto::{
        Consistency, GetServerInfoResponse, ListServicesRequest, StoreKind,
        registry_service_client::RegistryServiceClient,
    },
};

use super::{
    Outcome,
    connection::Connection,
    exit::Exit,
    failure::Failure,
    output::{self, Table},
};

/// A store that answers slower than this hurts: heartbeats and locks wait for it.
const SLOW_STORE: Duration = Duration::from_millis(100);
/// A copy of the state that is older than this does not follow the store.
const OLD_CACHE: Duration = Duration::from_secs(5);

/// Find out whether the server and its store work, and what to do if not
///
/// Asks every endpoint. Exits 0 if all is well or there are only warnings, 69 if no server or
/// store answers, 1 if something else is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stanchion doctor --endpoint http://10.0.0.1:7650")]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// One thing that was looked at.
struct Finding {
    endpoint: String,
    check: &'static str,
    state: State,
    detail: String,
    hint: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Ok,
    Warning,
    Failed,
    Unreachable,
}

// === impl Doctor ===

impl Doctor {
    pub(super) async fn run(self) -> Outcome {
        let mut findings = Vec::new();
        for endpoint in self.connection.endpoints() {
            findings.extend(examine(&endpoint).await?);
        }
        let worst = findings.iter().map(|finding| finding.state).max();
        if self.connection.is_json() {
            let findings: Vec<_> = findings.iter().map(Finding::to_json).collect();
            output::json(&json!({
                "ok": worst < Some(State::Failed),
                "client_version": env!("CARGO_PKG_VERSION"),
                "findings": findings,
            }))?;
        } else {
            let mut table = Table::new(["ENDPOINT", "CHECK", "STATE", "DETAIL"]);
            for finding in &findings {
                table.row([
                    finding.endpoint.clone(),
                    finding.check.into(),
                    finding.state.name().into(),
                    finding.detail.clone(),
                ]);
            }
            table.print("nothing to look at")?;
            for finding in findings.iter().filter(|finding| !finding.hint.is_empty()) {
                output::line(&format!("\n{}: {}", finding.check, finding.hint))?;
            }
        }
        Ok(match worst {
            Some(State::Unreachable) => Exit::Unreachable,
            Some(State::Failed) => Exit::Failed,
            _ => Exit::Ok,
        })
    }
}

/// Looks at one server.
async fn examine(endpoint: &str) -> Result<Vec<Finding>, Failure> {
    let options = Options {
        attempts: 1,
        ..Options::default()
    };
    let client = Client::connect([endpoint], options)?;
    let find = |check, state, detail: String, hint| Finding {
        endpoint: endpoint.into(),
        check,
        state,
        detail,
        hint,
    };
    let asked = Instant::now();
    let info = match client.server_info().await {
        Ok(info) => info,
        Err(error) => {
            let hint = "is it running? `stanchion serve` starts one; --endpoint says where it is";
            let state = match error.is_unreachable() {
                true => State::Unreachable,
                false => State::Failed,
            };
            return Ok(vec![find("server", state, error.to_string(), hint)]);
        }
    };
    let connected = asked.elapsed();
    let again = Instant::now();
    let latency = client.server_info().await.map(|_| again.elapsed());
    let mut findings = vec![find(
        "server",
        State::Ok,
        format!(
            "replica {}, up {}, first answer {connected:.1?}, then {:.1?}",
            info.replica,
            output::ago(info.start_time),
            latency?,
        ),
        "",
    )];
    findings.push(version(&info, &find));
    findings.push(store(&info, &find));
    for member in info.store.iter().flat_map(|store| &store.members) {
        if !member.healthy || !member.detail.is_empty() {
            findings.push(find(
                "member",
                State::Warning,
                format!("{} {}: {}", member.endpoint, member.name, member.detail),
                "look at this member of the store; the server goes on without it while a majority \
                 is there",
            ));
        }
    }
    findings.push(cache(&info, &find));
    findings.push(quorum(&client, &find).await);
    for warning in info.warnings {
        findings.push(find("warning", State::Warning, warning, ""));
    }
    Ok(findings)
}

type Find<'a> = dyn Fn(&'static str, State, String, &'static str) -> Finding + 'a;

fn version(info: &GetServerInfoResponse, find: &Find) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    if info.version == own {
        find(
            "version",
            State::Ok,
            format!("{own}, server and client"),
            "",
        )
    } else {
        find(
            "version",
            State::Warning,
            format!("server {}, client {own}", info.version),
            "use a client of the server's release: newer answers may not be understood",
        )
    }
}

fn store(info: &GetServerInfoResponse, find: &Find) -> Finding {
    let Some(store) = &info.store else {
        return find("store", State::Failed, "the server does not say".into(), "");
    };
    let kind = match store.kind() {
        StoreKind::Memory | StoreKind::File => "embedded".to_owned(),
        StoreKind::Etcd => format!("etcd {}", store.versions.join(", ")),
        StoreKind::Unspecified => "does not answer".to_owned(),
    };
    let detail = match store.promise.is_empty() {
        true => kind,
        false => store.promise.clone(),
    };
    match store.available {
        true => find("store", State::Ok, detail, ""),
        false => find(
            "store",
            State::Unreachable,
            format!("{detail}; takes no writes"),
            "the server cannot use its store: is etcd running, with a majority of its members, \
             and is its address in --store right?",
        ),
    }
}

fn cache(info: &GetServerInfoResponse, find: &Find) -> Finding {
    let Some(cache) = info.cache.as_ref().filter(|cache| cache.ready) else {
        return find(
            "cache",
            State::Failed,
            "the server has not read the state yet".into(),
            "wait a moment; if it stays so, its log says why",
        );
    };
    let age = output::seconds(cache.age).map(Duration::from_secs_f64);
    let detail = format!(
        "{} records at revision {}, {}",
        cache.record_count,
        cache.revision,
        match age {
            Some(age) => format!("{} old", output::short(age)),
            None => "of unknown age".into(),
        }
    );
    if cache.undecodable_count > 0 {
        return find(
            "cache",
            State::Warning,
            format!("{detail}, {} not decodable", cache.undecodable_count),
            "a newer release wrote records that this one hides: update the server",
        );
    }
    match age {
        Some(age) if age <= OLD_CACHE => find("cache", State::Ok, detail, ""),
        _ => find(
            "cache",
            State::Warning,
            detail,
            "reads answer old state until the server follows its store again",
        ),
    }
}

/// A read that needs the store's majority, and how long it takes.
async fn quorum(client: &Client, find: &Find<'_>) -> Finding {
    let asked = Instant::now();
    match linearizable_read(client).await {
        Ok(()) if asked.elapsed() <= SLOW_STORE => find(
            "quorum",
            State::Ok,
            format!("a linearizable read took {:.1?}", asked.elapsed()),
            "",
        ),
        Ok(()) => find(
            "quorum",
            State::Warning,
            format!("a linearizable read took {:.1?}", asked.elapsed()),
            "the store is slow: look at its disks and at the network between its members",
        ),
        Err(error) if error.is_retryable() => find(
            "quorum",
            State::Unreachable,
            error.to_string(),
            "the store has no majority or cannot be reached: writes and linearizable reads fail, \
             cached reads go on",
        ),
        Err(error) => find("quorum", State::Failed, error.to_string(), ""),
    }
}

async fn linearizable_read(client: &Client) -> Result<(), Error> {
    for (_, channel) in client.channels() {
        let request = ListServicesRequest {
            page_size: 1,
            consistency: Consistency::Linearizable.into(),
            ..Default::default()
        };
        RegistryServiceClient::new(channel)
            .list_services(request)
            .await?;
    }
    Ok(())
}

// === impl Finding ===

impl Finding {
    fn to_json(&self) -> Value {
        json!({
            "endpoint": self.endpoint,
            "check": self.check,
            "state": self.state.name(),
            "detail": self.detail,
            "hint": self.hint,
        })
    }
}

// === impl State ===

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
        }
    }
}
