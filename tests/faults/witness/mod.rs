//! What really happened: watches on etcd itself, one on each member given, with no fault on the
//! way.

mod history;
mod log;
mod member;
mod tests;

use std::{sync::Arc, time::Duration};

use etcd_client::{Client, ConnectOptions, Error};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

pub use self::{
    history::{History, Part, Suspect, state_prefix},
    log::{Change, Put, Revision},
};

use self::{log::Log, member::Member};
use crate::support::{etcd::Etcd, store::PATIENCE};

/// How much longer than the first member the others may take until they have told everything.
const LAGGARDS: Duration = Duration::from_secs(5);
/// How often members are asked how far they are.
const ASK: Duration = Duration::from_millis(50);

/// Where the members of a cluster are reached.
#[derive(Debug, Clone)]
pub struct Reach {
    /// `host:port` of each. Best two or more.
    pub members: Vec<String>,
    /// User and password, where etcd wants them.
    pub options: ConnectOptions,
}

/// Watches on all members, from the first revision there is.
pub struct Witness {
    root: String,
    reach: Reach,
    watches: Vec<Watching>,
    ended: Vec<Part>,
}

struct Watching {
    member: Arc<Member>,
    task: JoinHandle<()>,
}

// === impl Reach ===

impl Reach {
    /// All members, past every link and as one who may do everything.
    pub fn of(etcd: &Etcd) -> Self {
        Self {
            members: etcd.plain_endpoints(),
            options: etcd.options.clone(),
        }
    }

    /// A client of one of them.
    pub async fn client(&self, member: usize) -> Result<Client, Error> {
        Client::connect([&self.members[member]], Some(self.options.clone())).await
    }
}

// === impl Witness ===

impl Witness {
    /// Watches what servers keep below `root`. Whatever happens to a member, its watch goes on
    /// where it was as soon as it can.
    pub fn start(reach: Reach, root: &str) -> Self {
        Self {
            root: root.to_owned(),
            watches: watch_all(&reach, root),
            reach,
            ended: Vec::new(),
        }
    }

    /// Waits until everything is told that etcd has committed by now; returns the revision.
    pub async fn catch_up(&self) -> i64 {
        let reached = timeout(PATIENCE, async {
            let revision = self.current_revision().await;
            while !self.ask().iter().any(|complete| *complete >= revision) {
                sleep(ASK).await;
            }
            revision
        });
        let revision = reached.await.expect("no member tells how far it is");
        let deadline = Instant::now() + LAGGARDS;
        while Instant::now() < deadline && self.ask().iter().any(|complete| *complete < revision) {
            sleep(ASK).await;
        }
        revision
    }

    /// etcd is about to lose data: ends this part of the history. [`Self::catch_up`] comes before.
    pub fn part(&mut self) -> Result<(), Suspect> {
        let logs = self.watches.drain(..).map(Watching::end).collect();
        self.ended.push(Part::agreed(logs)?);
        Ok(())
    }

    /// etcd lost data and is back: begins the next part. Every member must have restarted.
    pub fn restart(&mut self, reach: Reach) {
        assert!(self.watches.is_empty(), "the part before was not ended");
        self.watches = watch_all(&reach, &self.root);
        self.reach = reach;
    }

    /// Waits until everything is told, and returns it.
    pub async fn finish(mut self) -> Result<History, Suspect> {
        self.catch_up().await;
        self.part()?;
        Ok(History {
            root: self.root.clone(),
            parts: std::mem::take(&mut self.ended),
        })
    }

    /// Makes members tell how far they are; returns how far they were.
    fn ask(&self) -> Vec<i64> {
        let members = self.watches.iter().map(|watching| &watching.member);
        members
            .map(|member| {
                member.wanted.notify_one();
                member.log().complete
            })
            .collect()
    }

    /// The revision that a quorum knows.
    async fn current_revision(&self) -> i64 {
        loop {
            for watching in &self.watches {
                if let Ok(Ok(revision)) = timeout(ASK * 20, watching.member.revision()).await {
                    return revision;
                }
            }
            sleep(ASK).await;
        }
    }
}

// === impl Watching ===

impl Watching {
    fn end(self) -> Log {
        self.task.abort();
        self.member.log().clone()
    }
}

fn watch_all(reach: &Reach, root: &str) -> Vec<Watching> {
    assert!(!reach.members.is_empty(), "no member to watch");
    let prefix = state_prefix(root);
    let watch = |endpoint: &String| {
        let member = Arc::new(Member::new(
            endpoint.clone(),
            reach.options.clone(),
            prefix.clone(),
        ));
        let task = tokio::spawn(member.clone().watch());
        Watching { member, task }
    };
    reach.members.iter().map(watch).collect()
}

impl Drop for Witness {
    fn drop(&mut self) {
        for watching in &self.watches {
            watching.task.abort();
        }
    }
}
