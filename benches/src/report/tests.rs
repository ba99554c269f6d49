//! Reports of samples that are made up.

use super::*;
use crate::sample::{CPU, ETCD_WATCHERS, RATE};

const GOALS: &[Goal] = &[
    Goal::against(Target::Etcd, CPU, 4.0, 2.0),
    Goal::at_most(CPU, 2.0, 3.0),
];

fn report() -> Report {
    let mut report = Report {
        name: "made-up",
        about: "nothing",
        parameters: Vec::new(),
        targets: &Target::ALL,
        goals: GOALS,
        rounds: 3,
        samples: Vec::new(),
        failures: Vec::new(),
    };
    // The machine gets slower from round to round.
    for (round, slow) in [(1, 1.0), (2, 2.0), (3, 10.0)] {
        for (target, cpu) in [(Target::Etcd, 6.0), (Target::Stanchion, 2.0)] {
            let mut sample = Sample::default();
            sample.set(CPU, cpu * slow);
            sample.set(RATE, 100.0 / cpu / slow);
            sample.set(ETCD_WATCHERS, 1.0);
            report.add(round, target, sample);
        }
    }
    report
}

#[test]
fn ratios_are_those_within_a_round() {
    let report = report();
    for metric in [CPU, RATE] {
        let ratios = report.ratios(Target::Etcd, metric);
        assert_eq!(ratios.len(), 3);
        assert!(ratios.iter().all(|ratio| (ratio - 3.0).abs() < 1e-9));
    }
    assert!(report.ratios(Target::Etcd, ETCD_WATCHERS).is_empty());
    assert!(report.ratios(Target::GrpcProxy, CPU).is_empty());
}

#[test]
fn goals_look_at_the_median() {
    let report = report();
    assert_eq!(report.verdict(&GOALS[0]), "enough");
    assert_eq!(report.verdict(&GOALS[1]), "MISSED");
}

#[test]
fn a_failed_round_leaves_the_others() {
    let mut report = report();
    let second =
        |(round, target, _): &(u32, Target, Sample)| (*round, *target) == (2, Target::Etcd);
    report.samples.retain(|sample| !second(sample));
    assert_eq!(report.ratios(Target::Etcd, CPU).len(), 2);
}
