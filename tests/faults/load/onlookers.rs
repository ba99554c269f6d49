//! Programs that follow what editors do, with the Rust client, and remember all that they are shown.

use std::time::Duration;

use stanchion_client::{
    Client, Options,
    proto::{Config, WatchConfigsRequest, watch_configs_request::Selection},
    watch::{self as watched, Update, UpdateKind},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::editors::EDITED;
use crate::{
    config_history::{Change, Event, How},
    harness::World,
};

/// After how many updates a restless one goes on at another replica.
const UNTIL_MOVE: usize = 40;
/// How long one that wants to be told seldom is not told.
const SELDOM: Duration = Duration::from_millis(300);

/// All of them.
pub struct Onlookers {
    stop: CancellationToken,
    running: Vec<(watch::Receiver<i64>, JoinHandle<Vec<Event>>)>,
}

/// One of them.
struct Onlooker {
    name: &'static str,
    /// One for each replica it may begin at; whatever happens, each finds all others.
    clients: Vec<Client>,
    min_interval: Option<Duration>,
    moves: bool,
    through: watch::Sender<i64>,
    shown: Vec<Event>,
}

// === impl Onlookers ===

impl Onlookers {
    /// Starts one that stays where it can, one that moves on and one that wants to be told seldom.
    pub fn start(world: &World) -> Self {
        let stop = CancellationToken::new();
        let all = [
            ("stays", false, None),
            ("moves", true, None),
            ("seldom", false, Some(SELDOM)),
        ];
        let mut running = Vec::new();
        for (number, (name, moves, min_interval)) in all.into_iter().enumerate() {
            let (through, reached) = watch::channel(0);
            let onlooker = Onlooker {
                name,
                clients: clients(world, number),
                min_interval,
                moves,
                through,
                shown: Vec::new(),
            };
            running.push((reached, tokio::spawn(onlooker.run(stop.clone()))));
        }
        Self { stop, running }
    }

    /// Waits until all are current through `revision`, and tells what they were shown.
    pub async fn stop(mut self, revision: i64, within: Duration) -> Vec<Event> {
        for (reached, _) in &mut self.running {
            let current = reached.wait_for(|through| *through >= revision);
            let current = timeout(within, current).await;
            assert!(
                matches!(current, Ok(Ok(_))),
                "an onlooker stays behind {revision}"
            );
        }
        self.stop.cancel();
        let mut shown = Vec::new();
        for (_, task) in self.running {
            shown.extend(task.await.unwrap());
        }
        shown
    }
}

fn clients(world: &World, first: usize) -> Vec<Client> {
    let mut fronts = world.fronts();
    fronts.rotate_left(first);
    let mut clients = Vec::new();
    for _ in 0..fronts.len() {
        let options = Options {
            shuffle_endpoints: false,
            ..Options::default()
        };
        clients.push(Client::connect(&fronts, options).unwrap());
        fronts.rotate_left(1);
    }
    clients
}

// === impl Onlooker ===

impl Onlooker {
    async fn run(mut self, stop: CancellationToken) -> Vec<Event> {
        let request = WatchConfigsRequest {
            selection: Some(Selection::Prefix(EDITED.into())),
            min_interval: self.min_interval.map(|it| it.try_into().unwrap()),
            ..Default::default()
        };
        let mut client = 0;
        let mut watch = self.clients[client].watch(request.clone());
        for number in 1_usize.. {
            let update = tokio::select! {
                update = watch.next() => update.unwrap(),
                () = stop.cancelled() => break,
            };
            let token = update.resume_token.clone();
            self.note(update);
            if self.moves && number.is_multiple_of(UNTIL_MOVE) {
                client = (client + 1) % self.clients.len();
                watch = self.clients[client].watch_after(request.clone(), token);
            }
        }
        self.shown
    }

    fn note(&mut self, update: Update<Config>) {
        let there = |config: Config| Change {
            shown: Some((
                config.version,
                String::from_utf8(config.content.to_vec()).unwrap(),
            )),
            key: config.key,
        };
        let (how, changes) = match update.kind {
            UpdateKind::Snapshot { items, .. } => {
                (How::Snapshot, items.into_iter().map(there).collect())
            }
            UpdateKind::Delta { changes, conflated } => {
                let changes = changes.into_iter().map(|change| match change {
                    watched::Change::Added(config) | watched::Change::Modified(config) => {
                        there(config)
                    }
                    watched::Change::Deleted(config, _) => Change {
                        key: config.key,
                        shown: None,
                    },
                });
                let how = if conflated {
                    How::Conflated
                } else {
                    How::Delta
                };
                (how, changes.collect())
            }
            UpdateKind::Current => (How::Current, Vec::new()),
        };
        self.shown.push(Event::Shown {
            watcher: self.name.into(),
            how,
            revision: update.revision,
            changes,
        });
        self.through.send_replace(update.revision);
    }
}
