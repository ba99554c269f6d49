//! A network that silences most programs of a service: what those see who call it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use stanchion_client::proto::{
    EventType, Health, Instance, InstanceView, WatchInstancesRequest, WatchInstancesResponse,
    registry_service_client::RegistryServiceClient, watch_instances_response::Message,
};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tonic::Streaming;

use crate::{
    harness::{Figures, Proxy, Scenario, World, alone},
    load::{Program, SERVICE},
    support::server::eventually,
};

const PROGRAMS: usize = 10;
const SILENCED: usize = 8;
/// Below how many that work all are shown: 30 in a hundred.
const THRESHOLD: usize = 3;
/// The grace of suspects, and how often it passes while they are silent.
const GRACE: Duration = Duration::from_secs(1);
const GRACES: u32 = 5;
/// How soon all are well after the cut.
const RECOVERED: Duration = Duration::from_secs(5);

/// A watcher of a view that looks at every message.
struct Onlooker {
    seen: Arc<Mutex<Seen>>,
    _task: AbortOnDropHandle<()>,
}

/// What it knows by now.
#[derive(Default)]
struct Seen {
    instances: BTreeMap<String, Instance>,
    messages: usize,
    protected: bool,
    /// How often it was told that an instance is gone, for whatever reason.
    gone: usize,
    /// What it was shown that it must not be.
    wrong: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn most_programs_of_a_service_are_silenced_and_come_back() {
    let plan = Scenario {
        members: 1,
        replicas: 3,
        settings: &[
            "--registry-suspect-grace=1s",
            "--registry-expiry-hold=1s",
            "--replica-rank-delay=200ms",
        ],
        ..Scenario::new("most programs of a service silenced")
    };
    alone(&plan, silence).await;
}

async fn silence(world: &mut World) -> Figures {
    let mut figures = Figures::default();
    let mut links = Vec::new();
    for replica in &world.replicas {
        links.push(Proxy::to(replica.address()).await);
    }
    let behind: Vec<_> = links.iter().map(|link| link.address.to_string()).collect();
    let mut programs = Vec::new();
    for index in 0..PROGRAMS {
        let endpoints = if index < SILENCED {
            &behind
        } else {
            &world.fronts()
        };
        programs.push(Program::start(endpoints, &format!("program-{index}")).await);
    }
    let mut callers = Vec::new();
    for index in 0..world.replicas.len() {
        callers.push(Onlooker::start(world, index, InstanceView::Serving).await);
    }
    let everything = Onlooker::start(world, 0, InstanceView::All).await;
    for caller in &callers {
        caller
            .sees("everybody", |seen| seen.working() == PROGRAMS)
            .await;
    }

    world.note("nothing goes between most programs and the replicas");
    links.iter().for_each(Proxy::black_hole);
    let begun = Instant::now();
    for caller in &callers {
        let all = |seen: &Seen| seen.protected && seen.instances.len() == PROGRAMS;
        caller.sees("all of a protected service", all).await;
        let lost = |seen: &Seen| seen.instances.len() - seen.working() == SILENCED;
        caller.sees("who is suspect", lost).await;
    }
    figures.add(
        "all silent ones suspect after",
        format!("{:?}", begun.elapsed()),
    );
    // Long enough for every one of them to be removed.
    sleep(GRACES * GRACE).await;
    for replica in &world.replicas {
        assert_eq!(replica.metric("stanchion_registry_braked_services"), 1.0);
        assert_eq!(replica.metric("stanchion_registry_removals_total"), 0.0);
    }
    assert_eq!(everything.seen(|seen| seen.instances.len()), PROGRAMS);

    world.note("the network is well again");
    links.iter().for_each(Proxy::heal);
    let healed = Instant::now();
    for caller in callers.iter().chain([&everything]) {
        let all = |seen: &Seen| !seen.protected && seen.working() == PROGRAMS;
        caller.sees("everybody well again", all).await;
    }
    figures.bound("all were well again after", healed.elapsed(), RECOVERED);
    sleep(GRACES * GRACE).await;
    for caller in &callers {
        caller.seen(|seen| {
            assert!(seen.wrong.is_empty(), "{:#?}", seen.wrong);
            assert_eq!(seen.working(), PROGRAMS);
        });
    }
    everything.seen(|seen| assert_eq!(seen.gone, 0, "an instance was lost"));
    for program in &programs {
        let state = program.registration.state();
        assert!(state.is_registered(), "{state:?}");
    }
    let messages = callers
        .iter()
        .map(|caller| caller.seen(|seen| seen.messages));
    figures.add("messages looked at", messages.sum::<usize>());
    figures
}

// === impl Onlooker ===

impl Onlooker {
    async fn start(world: &World, replica: usize, view: InstanceView) -> Self {
        let request = WatchInstancesRequest {
            service: SERVICE.into(),
            view: view.into(),
            ..WatchInstancesRequest::default()
        };
        let mut client = RegistryServiceClient::new(world.replicas[replica].channel());
        let stream = client.watch_instances(request).await.unwrap().into_inner();
        let seen = Arc::<Mutex<Seen>>::default();
        Self {
            _task: AbortOnDropHandle::new(tokio::spawn(look(stream, seen.clone()))),
            seen,
        }
    }

    fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    async fn sees(&self, what: &str, check: impl Fn(&Seen) -> bool) {
        eventually(what, async || self.seen(&check).then_some(())).await;
    }
}

async fn look(mut stream: Streaming<WatchInstancesResponse>, seen: Arc<Mutex<Seen>>) {
    while let Some(message) = stream.message().await.transpose() {
        let mut seen = seen.lock().unwrap();
        match message {
            Ok(message) => seen.take_in(message),
            Err(status) => return seen.wrong.push(format!("the stream broke: {status}")),
        }
    }
}

// === impl Seen ===

impl Seen {
    /// How many it would call with good reason.
    fn working(&self) -> usize {
        let works = |i: &&Instance| matches!(i.health(), Health::Healthy | Health::Unknown);
        self.instances.values().filter(works).count()
    }

    fn take_in(&mut self, response: WatchInstancesResponse) {
        self.messages += 1;
        self.protected = response.protected;
        match response.message.unwrap() {
            Message::Snapshot(part) => {
                let named = part.instances.into_iter();
                self.instances
                    .extend(named.map(|instance| (instance.instance_id.clone(), instance)));
                return;
            }
            Message::Delta(delta) => {
                for event in delta.events {
                    let kind = event.r#type();
                    let instance = event.instance.unwrap();
                    if kind == EventType::Deleted {
                        self.gone += 1;
                        self.instances.remove(&instance.instance_id);
                    } else {
                        self.instances
                            .insert(instance.instance_id.clone(), instance);
                    }
                }
                if !delta.last_part {
                    return;
                }
            }
            Message::Reset(reset) => self.wrong.push(format!("{reset:?}")),
            Message::SnapshotEnd(_) | Message::Bookmark(_) => {}
        }
        // A list of those alone that work says so little only if nobody else is left.
        if self.instances.len() < THRESHOLD {
            let known = self.instances.keys();
            self.wrong.push(format!("only {known:?}"));
        }
    }
}
