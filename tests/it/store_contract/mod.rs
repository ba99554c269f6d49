//! What every store promises, run on every adapter. etcd is the reference.

mod compares;
mod leases;
mod ranges;
mod refusals;
mod transactions;
mod watches;

use crate::support::store::{EmbeddedFile, EmbeddedMemory, RealEtcd};

macro_rules! contract {
    ($($group:ident { $($behaviour:ident,)* })*) => {
        /// Runs every behaviour on one adapter.
        macro_rules! run_on {
            ($adapter:ident: $value:expr) => {
                mod $adapter {
                    use super::*;

                    $($(
                        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                        async fn $behaviour() {
                            $group::$behaviour(&$value).await;
                        }
                    )*)*
                }
            };
        }
    };
}

contract! {
    ranges {
        keys_come_in_order_with_their_numbers,
        a_limit_cuts_the_answer_short_and_says_so,
        values_and_keys_can_be_left_out,
        a_range_at_a_revision_sees_the_past,
        a_range_ahead_of_the_store_is_refused,
        a_range_before_the_compaction_is_refused,
        revisions_rise_with_every_write_and_the_timeline_never_falls,
    }
    compares {
        every_target_compares_by_every_relation,
        what_is_absent_compares_as_zeros_and_has_no_value,
        a_range_compare_holds_if_it_does_for_every_key,
        all_compares_are_made_before_any_write,
    }
    transactions {
        the_else_branch_runs_if_one_compare_fails,
        a_transaction_sees_its_own_writes,
        all_writes_of_a_transaction_share_a_revision,
        a_key_that_comes_back_starts_a_new_life,
        an_overwrite_keeps_the_lease_and_a_put_drops_it,
        nested_transactions_answer_in_their_places,
        a_transaction_that_changes_nothing_keeps_the_revision,
        concurrent_compare_and_set_loses_no_update,
    }
    refusals {
        a_dead_lease_fails_the_whole_transaction,
        overwriting_a_missing_key_fails_the_whole_transaction,
        a_branch_that_writes_a_key_twice_is_refused,
        transactions_above_the_limits_are_refused,
        empty_keys_are_refused,
    }
    leases {
        granting_a_lease_again_finds_it,
        granted_times_are_whole_seconds_and_not_too_short,
        a_lease_that_is_gone_cannot_be_renewed_or_used,
        revoking_deletes_all_keys_in_one_revision,
        keys_that_left_a_lease_survive_it,
        a_revoked_lease_can_be_granted_again,
        expiry_deletes_all_keys_in_one_revision,
        a_renewed_lease_lives_on,
    }
    watches {
        a_watch_from_now_sees_what_follows,
        a_watch_from_the_past_replays_it_and_goes_on,
        a_watch_sees_its_prefix_alone,
        all_events_of_a_revision_come_together_in_order,
        large_revisions_come_whole,
        a_slow_watcher_misses_nothing,
        a_list_and_a_watch_from_there_add_up,
        a_watch_from_before_the_compaction_is_told_the_oldest_revision,
        progress_passes_writes_outside_the_prefix,
        a_probe_knows_every_acknowledged_write,
    }
}

run_on!(embedded_memory: EmbeddedMemory);
run_on!(embedded_file: EmbeddedFile);
run_on!(etcd: RealEtcd);
