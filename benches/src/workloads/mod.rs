//! The workloads, each in a file of its own.
//!
//! Such a file has three things:
//!
//! - `Options`, which derive [`clap::Args`] and [`Clone`]: what can be varied. The defaults are the
//!   full form; they should take no more than 20 seconds per sample.
//! - `GOALS`, a slice of [`Goal`]: what the median of all rounds ought to be.
//! - `measure(&Site, &Options) -> Result<Sample, BenchError>`: puts load on a target that was
//!   started for this sample alone. Warm up, then count between [`Meter::start`] and
//!   [`Meter::stop`], and add what else there is to the [`Sample`].
//!
//! It is listed in [`all`], with the targets it runs against and the arguments of its short form,
//! which with three rounds takes less than two minutes.
//!
//! [`Meter::start`]: crate::meter::Meter::start
//! [`Meter::stop`]: crate::meter::Meter::stop

mod bursts;
pub(crate) mod busy;
mod checks;
mod config_get;
mod config_put;
mod connections;
mod deliveries;
mod fanout;
mod heartbeats;
mod idle_connections;
mod idle_memory;
pub(crate) mod instances;
mod linearizable;
pub(crate) mod locks;
mod mixed;
mod publish;
mod put_to_event;
mod read_many;
mod read_one;
mod reads;
mod resume;
mod saturation;
mod size;
mod stalled;
mod storm;

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use futures_util::future::LocalBoxFuture;

use self::locks::{hand_off, uncontended};
use crate::{
    BenchError,
    sample::{Goal, Sample},
    target::{Place, Site, Target},
};

/// Measures one target.
pub(crate) type Measure =
    Box<dyn for<'a> Fn(&'a Site) -> LocalBoxFuture<'a, Result<Sample, BenchError>>>;

/// A workload, before its options are known.
pub(crate) struct Workload {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it is, in a line.
    pub(crate) about: &'static str,
    /// What it runs against.
    pub(crate) targets: &'static [Target],
    /// Where the target runs if it stands before etcd.
    pub(crate) place: Place,
    /// What it is held against.
    pub(crate) goals: &'static [Goal],
    /// Arguments of its short form.
    pub(crate) short: &'static [&'static str],
    /// Adds its options to a command.
    command: fn(Command) -> Command,
    /// Makes the function that measures, of the options in a command.
    prepare: fn(&ArgMatches) -> Result<Measure, clap::Error>,
}

/// Describes the workload of a module.
macro_rules! workload {
    ($module:ident, $name:literal, $about:literal, $targets:expr, $short:expr) => {
        Workload {
            name: $name,
            about: $about,
            targets: $targets,
            place: Place::BesideEtcd,
            goals: $module::GOALS,
            short: $short,
            command: $module::Options::augment_args,
            prepare: |matches| {
                let options = $module::Options::from_arg_matches(matches)?;
                Ok(Box::new(move |site| {
                    let options = options.clone();
                    Box::pin(async move { $module::measure(site, &options).await })
                }))
            },
        }
    };
}

/// All workloads, in the order in which they run.
#[rustfmt::skip]
pub(crate) fn all() -> Vec<Workload> {
    let all = &Target::ALL;
    let ours = &[Target::Stanchion];
    let no_proxy = &[Target::Etcd, Target::Stanchion];
    vec![
        workload!(fanout, "fanout", "Many watchers of one key that is written at a fixed rate", all, &[]),
        workload!(bursts, "bursts", "Many watchers of ten keys that are written at once, over and over", all, &[]),
        workload!(connections, "connections", "Watchers with a connection each", all, &[]),
        workload!(idle_memory, "idle-memory", "Memory of idle watchers on shared connections", all, &[]),
        workload!(idle_connections, "idle-connections", "Memory of idle watchers with a connection each", all, &[]),
        workload!(put_to_event, "put-to-event", "One watcher: from a write to its event", all, &[]),
        workload!(stalled, "stalled", "Watchers beside some that stop reading", all, &[]),
        workload!(resume, "resume", "All watchers come back after a drop, some changes behind", all, &[]),
        workload!(read_one, "read-one", "Discovery of a service of one instance", all, &[]),
        workload!(read_many, "read-many", "Discovery of a service of 100 instances", all, &[]),
        workload!(linearizable, "linearizable", "Discovery that must not be stale", all, &[]),
        workload!(heartbeats, "heartbeats", "Sessions that are kept alive over a stream each", all, &["--sessions=3000", "--connections=15", "--seconds=5"]),
        workload!(storm, "storm", "Many clients that register at once", all, &[]),
        workload!(publish, "publish", "A config that many programs watch: until the last one has it", no_proxy, &[]),
        workload!(config_get, "config-get", "A config that is read over and over: from etcd linearizably, from the others cached", all, &[]),
        workload!(config_put, "config-put", "Writes of configs, one after the other", no_proxy, &[]),
        workload!(uncontended, "lock", "Locks that nobody else wants, beside the recipe of etcd's Go client, which is part of its times", no_proxy, &[]),
        workload!(uncontended, "lock-apart", "The same, with a core for etcd alone, as the recipe has it: Stanchion is beside the load", no_proxy, &[]).at(Place::BesideLoad),
        workload!(uncontended, "lock-unbound", "The same, with etcd, Stanchion and the load wherever the system puts them", no_proxy, &[]).at(Place::Anywhere),
        workload!(hand_off, "hand-off", "A lock for which many wait, beside the recipe of etcd's Go client, which is part of its times", no_proxy, &["--turns=15"]),
        workload!(mixed, "mixed", "Reads, watches, heartbeats and writes at a fixed rate", all, &["--warm-up=2", "--seconds=6"]),
        workload!(checks, "checks", "Instances that one replica checks every 10 s", ours, &[]),
        workload!(size, "size", "Start and memory with 100,000 instances, and with none", ours, &[]),
    ]
}

// === impl Workload ===

impl Workload {
    fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// The command for it.
    pub(crate) fn command(&self) -> Command {
        // What comes later on the command line counts: the short form comes first.
        let command = Command::new(self.name).args_override_self(true);
        // Adding options also sets what it is about, to what is said of the options.
        (self.command)(command).about(self.about)
    }

    /// The function that measures.
    pub(crate) fn prepare(&self, matches: &ArgMatches) -> Result<Measure, clap::Error> {
        (self.prepare)(matches)
    }

    /// The options as they are without any on the command line.
    pub(crate) fn defaults(&self, short: bool) -> Result<ArgMatches, clap::Error> {
        let short = if short { self.short } else { &[] };
        self.command()
            .try_get_matches_from([self.name].iter().chain(short))
    }

    /// Names and values of its options.
    pub(crate) fn parameters(&self, matches: &ArgMatches) -> Vec<(String, String)> {
        let command = self.command();
        let arguments = command.get_arguments();
        let values = arguments.filter_map(|argument| {
            let name = argument.get_id().as_str();
            let values = matches.try_get_raw(name).ok()??;
            let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
            Some((name.to_owned(), values.join(" ")))
        });
        values.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_has_sound_options_and_a_short_form() {
        for workload in all() {
            workload.command().debug_assert();
            for short in [false, true] {
                let options = workload.defaults(short).unwrap();
                assert!(workload.prepare(&options).is_ok());
                assert!(!workload.parameters(&options).is_empty());
            }
        }
    }
}
