//! Delays: whoever died while it held a lock keeps the next one from it for as long as it asked for,
//! and whoever gave it up keeps nobody. That nobody is granted a delayed lock, grants are judged by.

use std::collections::BTreeSet;

use super::{
    check::{Found, Kind},
    history::Micros,
    queue::{Claim, Queue},
};

/// How much shorter a delay may look than it is: the replica that ends it counts from when it heard
/// of the death itself, which may be earlier than when the history did. A run does not count if
/// what writes the history was held up for longer than 200 ms; the rest is the way.
const TOLERANCE: Micros = 250_000;

/// Judges all delays of a lock. Claims that were `freed` were given up; those `left_alone` were
/// held by streams that broke and did not come back. Says how many holders died.
pub(super) fn check(
    queue: &Queue,
    freed: &BTreeSet<i64>,
    left_alone: &BTreeSet<i64>,
    found: &mut Found,
) -> usize {
    let mut died = 0;
    for (token, claim) in queue.claims() {
        let Claim {
            delay: Some(delay),
            to: Some(gone),
            over,
            ..
        } = claim
        else {
            if let (Some((over, _)), None) = (claim.over, claim.to) {
                let says = format!("what {token} would leave went at {over}, before it");
                found.push((Kind::Delay, says));
            }
            continue;
        };
        match over {
            Some((over, _)) if over < gone => {
                let says = format!("what {token} would leave went at {over}, before it at {gone}");
                found.push((Kind::Delay, says));
            }
            Some((over, _)) if over == gone => {
                let lived = claim.went.is_some_and(|went| !went.with_session);
                if lived && left_alone.contains(&token) {
                    let says = format!("the stream of {token} was lost, and delayed nobody");
                    found.push((Kind::Delay, says));
                }
            }
            _ if freed.contains(&token) => {
                let says = format!("{token} was given up, and delayed the next one all the same");
                found.push((Kind::Delay, says));
            }
            // Of one that waited nothing has to be waited for.
            _ if !queue.held(token, gone - 1) => {}
            over => {
                died += 1;
                let times = claim.went.zip(over);
                let lasted = times.map(|(went, (_, over))| over.saturating_sub(went.at));
                if let Some(lasted) = lasted.filter(|lasted| lasted + TOLERANCE < delay) {
                    let says = format!("{token} delayed the next one for {lasted}, not {delay}");
                    found.push((Kind::Delay, says));
                }
            }
        }
    }
    died
}
