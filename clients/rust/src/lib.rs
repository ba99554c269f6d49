//! Client of Stanchion: service discovery, configuration, locks and elections over gRPC.
//!
//! ```no_run
//! # async fn example() -> stanchion_client::Result<()> {
//! use stanchion_client::{Client, Options};
//!
//! let client = Client::connect(["http://127.0.0.1:7650"], Options::default())?;
//!
//! // Registered until dropped; again by itself after an outage.
//! let registration = client.register("shop", "10.0.0.7").port("http", 8080, "http").start().await?;
//!
//! // Answered from memory; kept current by a watch that resumes by itself.
//! let shops = client.discover("shop");
//! shops.ready().await?;
//! for instance in shops.instances() {
//!     println!("{}", instance.address);
//! }
//!
//! // A config that follows its changes.
//! let mut limit = client.config().watch("shop/limit");
//! limit.ready().await?;
//!
//! // A lock with a fencing token, and a signal when it is lost.
//! let lock = client.lock("nightly").acquire().await?;
//! tokio::select! {
//!     () = run_job(lock.fencing_token()) => {}
//!     why = lock.lost() => eprintln!("stopped: {why:?}"),
//! }
//! lock.release().await?;
//! # Ok(())
//! # }
//! # async fn run_job(_: i64) {}
//! ```
//!
//! # Layout
//!
//! | module | does |
//! |---|---|
//! | `endpoints` | one channel for each server; all calls at one of them until it fails |
//! | `call` | one unary call, repeated until it is answered: the only place that repeats |
//! | `pages` | a list, read to its end |
//! | [`session`] | the life that registrations and locks hang on; its heartbeats |
//! | [`registration`] | an instance that stays registered |
//! | `drain` | an instance that goes once everybody knows |
//! | [`watch`] | a stream of updates that resumes by itself: one implementation for all |
//! | `mirror` | a local copy of what a watch shows |
//! | [`health`] | reports of health, and what was found |
//! | [`discovery`], [`config`] | mirrors of instances and configs |
//! | [`config::Live`] | a config as a type of the program; failover files, snapshots |
//! | `locality`, `slow_start` | which instances are near, and how much load each should get |
//! | [`audit`] | who changed what |
//! | [`operator`] | what operators decide: about services, instances, namespaces |
//! | [`lock`], [`election`] | what the first in a queue holds, and knows when it is lost |
//! | `queue` | what the two share |
//! | [`barrier`], [`latch`] | waiting for one another |
//! | [`proto`] | the generated messages and stubs |
//!
//! What holds everywhere: every change carries a request id; a session counts its life from when a
//! heartbeat was *sent*, on a clock that runs while the machine sleeps; no stream resumes from
//! "now"; what is dropped is given up in the background, within 3 s.

pub mod audit;
mod backoff;
pub mod barrier;
mod call;
mod client;
mod clock;
pub mod config;
pub mod discovery;
mod drain;
mod duration;
pub mod election;
mod endpoints;
mod error;
pub mod health;
pub mod latch;
mod locality;
pub mod lock;
mod mirror;
pub mod operator;
mod options;
mod pages;
pub mod proto;
mod queue;
pub mod registration;
pub mod session;
mod slow_start;
pub mod watch;

pub use tonic::Code;

pub use self::{
    audit::Audit,
    barrier::{BarrierPass, BarrierRequest},
    client::{Client, new_request_id},
    config::{ChangeOptions, Commit, Configs},
    discovery::{Discovery, DiscoveryOptions},
    drain::Drain,
    election::{Election, Leadership},
    error::{Error, Result, Violation},
    health::HealthReport,
    latch::Latch,
    lock::{LockGuard, LockLoss, LocksGuard, QueuePlace},
    operator::Operator,
    options::{Options, SessionOptions},
    registration::{Registration, RegistrationState},
    session::{Session, SessionEvent},
    watch::Watch,
};
