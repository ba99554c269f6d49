//! The proof that configs keep what they promise while etcd changes its leader: what clients were
//! told and shown, beside what the store did and what the service says afterwards.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use prost::Message as _;
use stanchion::proto::store::ConfigHead;
use stanchion_client::{
    Client, Options,
    proto::{
        AuditOperation, ConfigOperation, ConfigVersion, Consistency, ListAuditEntriesRequest,
        ListConfigsRequest, config_service_client::ConfigServiceClient,
    },
};
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::{
    checker::Expect,
    config_history::{Deed, Event, Version, check},
    harness::{Figures, Scenario, World, alone, directory},
    load::{EDITED, Editors, Onlookers},
    recorder::Watcher,
    view::View,
    witness::History,
};

const EDITORS: usize = 8;
/// How long watchers may take until they know everything, and entries until they are sealed.
const CONVERGENCE: Duration = Duration::from_secs(10);
/// How long it may take until so much was changed.
const PATIENCE: Duration = Duration::from_secs(200);
/// How many versions are read at once.
const READS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn configs_lose_and_repeat_nothing_while_leaders_die() {
    let plan = plan("configs under faults");
    alone(&plan, async |world| prove(world, 2, false, 800).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "one of `make test-faults`"]
async fn configs_lose_and_repeat_nothing_over_ten_thousand_changes() {
    let plan = plan("configs under faults for long");
    alone(&plan, async |world| prove(world, 8, true, 10_000).await).await;
}

fn plan(name: &'static str) -> Scenario {
    Scenario {
        replicas: 3,
        settings: &["--audit-seal-interval=500ms"],
        ..Scenario::new(name)
    }
}

/// Kills a leader in each round, and a replica if that is wanted, and goes on until so much was
/// changed.
async fn prove(world: &mut World, rounds: usize, replicas: bool, changes: usize) -> Figures {
    let fronts: Vec<_> = world.replicas.iter().map(|r| r.front.address).collect();
    world.watched.as_mut().unwrap().add(Watcher {
        rotate_every: Some(40),
        ..Watcher::new(
            "configs at every replica in turn",
            View::configs(EDITED),
            fronts,
        )
    });
    let onlookers = Onlookers::start(world);
    let editors = Editors::start(world, EDITORS);
    for _ in 0..rounds {
        world.wait(1.0..2.0).await;
        let leader = world.leader().await;
        world.kill_member(leader);
        world.wait(2.0..3.0).await;
        world.start_member(leader);
        world.etcd.serves(leader).await;
        if replicas {
            let replica = world.choose(&[0, 1, 2]);
            world.kill_replica(replica).await;
            world.wait(0.5..1.5).await;
            world.start_replica(replica).await;
        }
    }
    world.note("everything is well again");
    editors.reach(changes, PATIENCE).await;
    let mut events = editors.stop().await;
    let mut watched = world.watched.take().unwrap();
    let client = one_that_knows(world).await;
    let last = last_change(&client).await;
    events.extend(onlookers.stop(last, CONVERGENCE).await);
    events.extend(afterwards(&client).await);
    let behind = watched.reach(last, CONVERGENCE).await;
    assert!(behind.is_empty(), "these watchers stay behind: {behind:?}");
    let expect = Expect::default();
    let (history, verdicts) = watched.verdicts("configs", expect).await.unwrap();
    for verdict in verdicts {
        verdict.passes();
    }
    events.extend(stored(&history));
    let lines: Vec<_> = events.iter().map(ToString::to_string).collect();
    let file = directory().join("configs.history");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let summary = check(&events).unwrap_or_else(|violations| {
        let some: Vec<_> = violations
            .iter()
            .take(20)
            .map(ToString::to_string)
            .collect();
        panic!("{} in {}: {some:#?}", violations.len(), file.display())
    });
    assert!(summary.asked >= changes, "{summary:?}");
    // Far fewer than are made: half of the changes are swaps, of which some come too late.
    assert!(summary.swapped > changes / 10, "{summary:?}");
    assert!(summary.versions > changes / 4, "{summary:?}");
    assert!(summary.refused > 0 && summary.commits > 0, "{summary:?}");
    assert!(
        summary.watchers == 3 && summary.conflated > 0,
        "{summary:?}"
    );
    let mut figures = Figures::default();
    figures.add("changes asked for", summary.asked);
    figures.add("compare-and-swaps among them", summary.swaps);
    figures.add("of those made", summary.swapped);
    figures.add("versions made", summary.versions);
    figures.add("deltas shown", summary.deltas);
    figures.add(
        "writes refused or unknown",
        summary.refused + summary.unknown,
    );
    figures
}

/// What the store did to the configs.
fn stored(history: &History) -> Vec<Event> {
    let prefix = format!("{}cfg/default/", history.prefix());
    let mut events = Vec::new();
    for (&revision, told) in history.parts.iter().flat_map(|part| &part.revisions) {
        for change in &told.changes {
            let key = std::str::from_utf8(&change.key).unwrap();
            let key = key
                .strip_prefix(&prefix)
                .filter(|key| key.starts_with(EDITED));
            let (Some(key), Some(put)) = (key, &change.put) else {
                continue;
            };
            let head = ConfigHead::decode(put.value.clone()).unwrap();
            let version = Version {
                key: key.into(),
                number: head.version,
                deed: deed(head.operation().as_str_name(), head.rollback_of),
                author: head.author,
                operation: head.comment.parse().unwrap(),
                content: (!head.deleted).then(|| text(&head.content)),
            };
            events.push(Event::Made { revision, version });
        }
    }
    events
}

/// A client of a replica that knows whatever has happened by now.
async fn one_that_knows(world: &World) -> Client {
    let replica = &world.replicas[0];
    let request = ListConfigsRequest {
        prefix: EDITED.into(),
        consistency: Consistency::Linearizable.into(),
        ..Default::default()
    };
    let mut service = ConfigServiceClient::new(replica.channel());
    service.list_configs(request).await.unwrap();
    Client::connect(&[replica.front.address.to_string()], Options::default()).unwrap()
}

/// The revision of the last change.
async fn last_change(client: &Client) -> i64 {
    let mut last = 0;
    for key in Editors::keys() {
        let newest = client.config().history(&key, 1).await.unwrap();
        last = last.max(newest.first().map_or(0, |newest| newest.revision));
    }
    last
}

/// What the service says when all is over.
async fn afterwards(client: &Client) -> Vec<Event> {
    let configs = client.config();
    let mut events = Vec::new();
    for key in Editors::keys() {
        let numbers = configs.history(&key, usize::MAX).await.unwrap();
        let (configs, name) = (&configs, &key);
        let versions = stream::iter(numbers)
            .map(|listed| async move { configs.version(name, listed.version).await })
            .buffered(READS);
        let versions: Vec<_> = versions.try_collect().await.unwrap();
        events.extend(versions.into_iter().map(kept));
        let (version, content) = match configs.get(&key).await {
            Ok(config) => (config.version, Some(text(&config.content))),
            Err(error) if error.code() == Code::NotFound => (0, None),
            Err(error) => panic!("{key} cannot be read: {error}"),
        };
        events.push(Event::Head {
            key,
            version,
            content,
        });
    }
    let entries = timeout(CONVERGENCE, sealed(client)).await;
    events.extend(entries.expect("the audit is not sealed"));
    events
}

/// The audit, once all of it is in the chain.
async fn sealed(client: &Client) -> Vec<Event> {
    let verified = loop {
        let verified = client.audit().verify(None).await.unwrap();
        assert_eq!(verified.fault, None);
        if verified.unsealed_count == 0 {
            break verified.tip.unwrap();
        }
        sleep(Duration::from_millis(100)).await;
    };
    let all = ListAuditEntriesRequest::default();
    let entries = client.audit().list(all, usize::MAX).await.unwrap();
    let sum = |sum: &String| (!sum.is_empty()).then(|| sum.clone());
    let entries = entries.into_iter().map(|entry| Event::Audited {
        number: entry.number,
        revision: entry.revision,
        deed: match entry.operation() {
            AuditOperation::PutConfig => Deed::Put.name(),
            AuditOperation::DeleteConfig => Deed::Delete.name(),
            AuditOperation::RollbackConfig => Deed::Rollback(0).name(),
            // Nobody does anything else here.
            other => other.as_str_name(),
        }
        .into(),
        before: sum(&entry.old_sha256),
        after: sum(&entry.new_sha256),
        key: entry.key,
        version: entry.version,
        author: entry.actor,
        operation: entry.comment.parse().unwrap(),
    });
    let verified = Event::Verified {
        entries: verified.number,
    };
    entries.chain([verified]).collect()
}

fn kept(version: ConfigVersion) -> Event {
    let deed = deed(version.operation().as_str_name(), version.rollback_of);
    Event::Kept {
        revision: version.revision,
        version: Version {
            deed,
            number: version.version,
            operation: version.comment.parse().unwrap(),
            content: (deed != Deed::Delete).then(|| text(&version.content)),
            key: version.key,
            author: version.author,
        },
    }
}

/// Stored records and answers name operations alike.
fn deed(operation: &str, rollback_of: i64) -> Deed {
    match ConfigOperation::from_str_name(operation) {
        Some(ConfigOperation::Put) => Deed::Put,
        Some(ConfigOperation::Delete) => Deed::Delete,
        Some(ConfigOperation::Rollback) => Deed::Rollback(rollback_of),
        _ => panic!("nobody asked for {operation}"),
    }
}

fn text(content: &[u8]) -> String {
    String::from_utf8(content.to_vec()).unwrap()
}
