//! Who checks the checker: good observations pass, and each that a doctor had in hand is caught.

mod doctors;
mod program;
mod watcher;

use rand::{SeedableRng as _, rngs::StdRng};

use super::{Expect, Kind, Summary, Violation, check, truth::Truth};
use crate::{recorder::Observation, view::View};

const SEEDS: u64 = 500;
/// On so many of the seeds there has to be something that the doctor can spoil.
const LEAST: usize = 40;

/// What a doctor may look at and spoil. It says false when there is nothing to spoil.
type Doctor = fn(&Truth, &mut Observation, &mut StdRng) -> bool;

fn case(seed: u64) -> (Truth, Observation, StdRng) {
    let mut rng = StdRng::seed_from_u64(seed);
    let history = program::history(&mut rng);
    let views = [
        View::configs("in/"),
        View::instances("web"),
        View::serving("web"),
        View::services("web"),
        View::lock("l"),
    ];
    let view = &views[usize::try_from(seed).unwrap() % views.len()];
    let truth = Truth::of(&history, view).unwrap();
    let observation = watcher::observe(&truth, &mut rng);
    (truth, observation, rng)
}

fn judge(truth: &Truth, observation: &Observation) -> Result<Summary, Vec<Violation>> {
    let reach = truth.lines.last().map(|line| line.end);
    let expect = Expect {
        reach,
        may_miss_undone: false,
    };
    check(truth, observation, expect)
}

#[track_caller]
fn caught(doctor: Doctor, kinds: &[Kind]) {
    let mut spoiled = 0;
    for seed in 0..SEEDS {
        let (truth, mut observation, mut rng) = case(seed);
        if !doctor(&truth, &mut observation, &mut rng) {
            continue;
        }
        spoiled += 1;
        let violations = match judge(&truth, &observation) {
            Err(violations) => violations,
            Ok(summary) => panic!("seed {seed}: not caught: {summary:?}"),
        };
        assert!(
            violations.iter().any(|found| kinds.contains(&found.kind)),
            "seed {seed}: caught for another reason: {}",
            violations[0]
        );
    }
    assert!(
        spoiled >= LEAST,
        "only {spoiled} seeds have what this doctor spoils"
    );
}

#[test]
fn good_observations_pass() {
    let mut all = Summary::default();
    for seed in 0..SEEDS {
        let (truth, observation, _) = case(seed);
        let summary = judge(&truth, &observation).unwrap_or_else(|violations| {
            panic!("seed {seed}: {}", violations[0]);
        });
        all.deltas += summary.deltas;
        all.conflated += summary.conflated;
        all.resumes += summary.resumes;
        all.snapshots += summary.snapshots;
    }
    let variety = [all.deltas, all.conflated, all.resumes, all.snapshots];
    assert!(variety.iter().all(|count| *count > 100), "{all:?}");
}

#[test]
fn an_event_that_was_dropped_is_caught() {
    caught(doctors::drop_event, &[Kind::Gap]);
}

#[test]
fn a_delta_that_was_dropped_is_caught_though_the_next_continues_it() {
    caught(doctors::drop_delta, &[Kind::Gap, Kind::Bookmark]);
}

#[test]
fn a_delete_that_is_missing_is_caught() {
    caught(doctors::drop_delete, &[Kind::Gap]);
}

#[test]
fn a_delta_that_comes_twice_is_caught() {
    caught(doctors::duplicate, &[Kind::Order]);
}

#[test]
fn a_resume_that_repeats_the_revision_of_its_token_is_caught() {
    caught(doctors::repeat_after_resume, &[Kind::Order]);
}

#[test]
fn two_revisions_that_changed_places_are_caught() {
    caught(doctors::swap, &[Kind::Order, Kind::Chain]);
    caught(
        doctors::swap_events,
        &[Kind::Filter, Kind::Look, Kind::Event],
    );
}

#[test]
fn a_revision_that_was_split_into_two_deltas_is_caught() {
    caught(doctors::split, &[Kind::Gap]);
}

#[test]
fn a_bookmark_that_comes_before_what_it_promises_is_caught() {
    caught(doctors::early_bookmark, &[Kind::Bookmark]);
}

#[test]
fn a_bookmark_that_goes_back_is_caught() {
    caught(doctors::late_bookmark, &[Kind::Bookmark]);
}

#[test]
fn a_snapshot_of_the_past_is_caught() {
    caught(doctors::stale_snapshot, &[Kind::Snapshot]);
}

#[test]
fn a_snapshot_that_no_reset_announced_is_caught() {
    caught(doctors::hide_reset, &[Kind::Shape]);
}

#[test]
fn an_event_of_another_type_is_caught() {
    caught(doctors::wrong_type, &[Kind::Event]);
}

#[test]
fn a_deletion_of_another_cause_is_caught() {
    caught(doctors::wrong_cause, &[Kind::Event]);
}

#[test]
fn an_item_that_looks_otherwise_is_caught() {
    caught(doctors::wrong_look, &[Kind::Look]);
}

#[test]
fn a_lock_that_has_two_holders_is_caught() {
    caught(doctors::two_holders, &[Kind::Look]);
}

#[test]
fn a_service_that_is_miscounted_is_caught() {
    caught(doctors::miscount, &[Kind::Look]);
}

#[test]
fn an_event_outside_the_selection_is_caught() {
    caught(doctors::outside, &[Kind::Filter]);
}

#[test]
fn revisions_merged_without_saying_so_are_caught() {
    caught(doctors::hide_conflation, &[Kind::Gap]);
}

#[test]
fn a_merged_delta_that_leaves_something_out_is_caught() {
    caught(doctors::drop_conflated_event, &[Kind::Gap]);
}

#[test]
fn an_epoch_that_changes_without_a_reset_is_caught() {
    caught(doctors::change_epoch, &[Kind::Epoch]);
}

#[test]
fn a_delta_that_does_not_continue_is_caught() {
    caught(doctors::break_chain, &[Kind::Chain]);
}

#[test]
fn a_watcher_that_is_left_behind_is_caught() {
    caught(doctors::cut_off, &[Kind::Behind]);
}
