//! What streams say that hold a lock. Each one:
//!
//! - waits, then holds, then has lost the lock, and says each once, but for places and numbers while
//!   they change; nothing follows the loss but the end, and it ends well only after that;
//! - says places and numbers that are those of the queue at the revision that it names, and that a
//!   lock is lost when its claim was gone;
//! - has the token of the stream of the same request before it, unless that claim was gone before
//!   this one was made;
//!
//! and the place of one whose link broke is kept for as long as was promised, unless its client gave
//! it up or its session ended.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    check::{Found, Kind},
    history::{Cause, Micros, News},
    queue::Queue,
};

/// What was heard of a lock by streams, by client and request.
#[derive(Default)]
pub(super) struct Streams<'a> {
    requests: BTreeMap<(usize, u64), Vec<Said<'a>>>,
}

#[derive(Clone, Copy)]
struct Said<'a> {
    stream: u32,
    at: Micros,
    news: &'a News,
}

/// A claim whose client ended its stream.
pub(super) struct Ended {
    pub(super) token: i64,
    /// Whether it went before its client gave it up in another way too.
    pub(super) at_once: bool,
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opened(Micros),
    Waits(Micros),
    Holds(i64),
    Lost,
    Over,
}

// === impl Streams ===

impl<'a> Streams<'a> {
    pub(super) fn hear(&mut self, request: (usize, u64), stream: u32, at: Micros, news: &'a News) {
        let said = Said { stream, at, news };
        self.requests.entry(request).or_default().push(said);
    }

    /// Says how often a claim was taken over.
    pub(super) fn check(&self, queue: &Queue, found: &mut Found) -> usize {
        let mut taken_over = 0;
        for (request, heard) in &self.requests {
            let mut stages: BTreeMap<u32, Stage> = BTreeMap::new();
            let mut last: Option<(u32, i64)> = None;
            for said in heard {
                let mut fault = |kind, says: String| {
                    let stream = said.stream;
                    found.push((kind, format!("{request:?}, stream {stream}: {says}")));
                };
                let stage = stages.get(&said.stream).copied();
                match next(stage, said) {
                    Some(stage) => drop(stages.insert(said.stream, stage)),
                    None => fault(Kind::Talk, format!("{:?} after {stage:?}", said.news)),
                }
                if let Some((kind, says)) = said.contradicts(stage, queue) {
                    fault(kind, says);
                }
                let Some(token) = said.token() else { continue };
                match last {
                    Some((stream, before)) if before == token => {
                        taken_over += usize::from(stream != said.stream);
                    }
                    Some((_, before)) if !queue.followed(before, token) => {
                        let says = format!("it has {token}, and had {before} before");
                        fault(Kind::Token, says);
                    }
                    _ => {}
                }
                last = Some((said.stream, token));
            }
            kept(heard, queue, |says| {
                found.push((Kind::Kept, format!("{request:?}: {says}")));
            });
        }
        taken_over
    }

    /// The claims of those that ended their streams and knew that they had them.
    pub(super) fn ended(&self, queue: &Queue) -> Vec<Ended> {
        let ended = self.requests.values().filter_map(|heard| {
            let token = heard.iter().rev().find_map(Said::token)?;
            let dropped = heard.iter().rposition(|said| *said.news == News::Drops)?;
            let stream = heard[dropped].stream;
            let mut of_stream = heard.iter().filter(|said| said.stream == stream);
            // One that was told nothing may never have come to have the claim.
            let told = of_stream.clone().any(|said| said.token().is_some());
            let broken = of_stream.any(|said| matches!(said.news, News::Breaks { .. }));
            let went = queue.claim(token)?.went?;
            let mut later = heard[dropped..].iter();
            let made_sure = later.find(|said| *said.news == News::Releases);
            let at_once = made_sure.is_none_or(|said| went.at < said.at);
            let clean = told && !broken && !went.with_session;
            clean.then_some(Ended { token, at_once })
        });
        ended.collect()
    }

    /// The claims of those that let their stream break while they held the lock, and did not come
    /// back.
    pub(super) fn left_alone(&self) -> BTreeSet<i64> {
        let alone = self.requests.values().filter_map(|heard| {
            let broken = heard
                .iter()
                .rposition(|said| matches!(said.news, News::Breaks { .. }))?;
            let (before, after) = heard.split_at(broken);
            let held = before.iter().rev().find_map(|said| match said.news {
                News::Acquired { token, .. } => Some(*token),
                _ => None,
            })?;
            let only_fails = after[1..].iter().all(|said| *said.news == News::Fails);
            only_fails.then_some(held)
        });
        alone.collect()
    }
}

// === impl Said ===

impl Said<'_> {
    /// The token of the claim that it is about.
    fn token(&self) -> Option<i64> {
        match self.news {
            News::Queued { token, .. }
            | News::Acquired { token, .. }
            | News::Lost { token, .. } => Some(*token),
            _ => None,
        }
    }

    /// How the store contradicts it.
    fn contradicts(&self, stage: Option<Stage>, queue: &Queue) -> Option<(Kind, String)> {
        match *self.news {
            News::Queued {
                token,
                position,
                waiting,
                revision,
            } => {
                let waiters = queue.at(revision).waiters;
                let place = waiters.iter().position(|waiter| *waiter == token);
                let right = place.map(|place| place + 1) == Some(position);
                (!right || waiters.len() != waiting).then(|| {
                    let says = format!("{:?} while {waiters:?} waited", self.news);
                    (Kind::Place, says)
                })
            }
            News::Contended { waiting, revision } => {
                let standing = queue.at(revision);
                let held = match stage {
                    Some(Stage::Holds(token)) => queue.held(token, revision),
                    _ => true,
                };
                (!held || standing.waiters.len() != waiting).then(|| {
                    let (holders, waiters) = (standing.holders, standing.waiters);
                    let says = format!(
                        "{:?} while {holders:?} held it and {waiters:?} waited",
                        self.news
                    );
                    (Kind::Place, says)
                })
            }
            News::Lost {
                token,
                revision,
                cause,
            } => {
                let went = queue.claim(token).and_then(|claim| claim.went);
                let with_session = went.is_some_and(|went| went.with_session);
                let wrong = queue.was_there(token, revision)
                    || cause == Cause::Other
                    || (cause == Cause::Removed && with_session);
                wrong.then(|| (Kind::Talk, format!("{:?}, and it went {went:?}", self.news)))
            }
            News::Acquired {
                token,
                valid_for: Some(valid_for),
                ..
            } => {
                let (Some(Stage::Opened(opened) | Stage::Waits(opened)), Some(claim)) =
                    (stage, queue.claim(token))
                else {
                    return None;
                };
                let went = claim.went.filter(|went| went.with_session)?;
                (went.at < opened + valid_for).then(|| {
                    let says = format!(
                        "{:?} since {opened}, and it ended at {}",
                        self.news, went.at
                    );
                    (Kind::Life, says)
                })
            }
            _ => None,
        }
    }
}

// === impl Queue ===

impl Queue {
    /// Says whether a claim was gone before another one was made.
    fn followed(&self, before: i64, after: i64) -> bool {
        let gone = self.claim(before).and_then(|claim| claim.to);
        let made = self.claim(after).map(|claim| claim.from);
        gone.zip(made).is_some_and(|(gone, made)| gone <= made)
    }
}

/// How far a stream is after it said something, if it may say that.
fn next(stage: Option<Stage>, said: &Said<'_>) -> Option<Stage> {
    use Stage::{Holds, Lost, Opened, Over, Waits};
    match (stage, said.news) {
        (None, News::Opens) => Some(Opened(said.at)),
        (Some(Opened(since) | Waits(since)), News::Queued { .. }) => Some(Waits(since)),
        (Some(Opened(_) | Waits(_)), News::Acquired { token, .. }) => Some(Holds(*token)),
        (Some(Holds(token)), News::Contended { .. }) => Some(Holds(token)),
        (Some(Holds(held)), News::Lost { token, .. }) if held == *token => Some(Lost),
        (Some(Lost), News::Ends) => Some(Over),
        (Some(stage), News::Breaks { .. } | News::Releases) => Some(stage),
        (Some(Opened(_) | Waits(_) | Holds(_) | Lost), News::Drops | News::Fails) => Some(Over),
        _ => None,
    }
}

/// Says of each break after which the claim was not kept for as long as was promised.
fn kept(heard: &[Said<'_>], queue: &Queue, mut fault: impl FnMut(String)) {
    let gives_up = |said: &Said<'_>| matches!(said.news, News::Drops | News::Releases);
    for (index, said) in heard.iter().enumerate() {
        let News::Breaks { keep } = said.news else {
            continue;
        };
        let token = heard[..index].iter().rev().find_map(Said::token);
        let Some((token, claim)) = token.and_then(|token| Some((token, queue.claim(token)?)))
        else {
            continue;
        };
        let went = claim.went.filter(|went| !went.with_session);
        let Some(went) = went.filter(|_| !heard.iter().any(gives_up)) else {
            continue;
        };
        if went.at < said.at + keep {
            fault(format!(
                "{token} went at {}, its link at {}",
                went.at, said.at
            ));
        }
    }
}
