//! Turns of those who hold by streams, and what goes wrong in some of them.

use std::time::Duration;

use stanchion_client::Session;
use tokio::time::sleep;

use super::{
    Holder,
    claim::{GiveUp, Want},
    hold::{Hold, KEEP, Still},
    turn::{INCREMENTS, UNTIL_PAUSE},
};

/// How long a client listens to what is said when its claim is gone.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long it waits after the end of a stream before it makes sure that its claim is gone.
const TO_END: Duration = Duration::from_millis(50);
/// After how long it comes back when its claim was not kept any more, but may delay the next one.
const LATE: Duration = KEEP.saturating_add(Duration::from_millis(250));

/// What happens in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing.
    None,
    /// Its link breaks while it waits, and it goes on elsewhere.
    BreaksWaiting,
    /// Its link breaks while it holds the lock, and it goes on elsewhere.
    BreaksHolding,
    /// Its link breaks while it holds the lock, and it comes back too late.
    ComesLate,
    /// Its link breaks while it holds the lock, and it does not come back.
    Abandons,
    /// It is cut off for longer than its session lives.
    CutOff,
}

// === impl Holder ===

impl Holder {
    /// Holds it by a stream. Answers a token that is gone.
    pub(super) async fn by_stream(
        &self,
        session: &Session,
        want: &Want,
        turn: usize,
    ) -> Option<i64> {
        let fate = self.fate(turn);
        let mut hold = Hold::new(self, session, want.clone());
        let mut held = hold.acquire(fate == Fate::BreaksWaiting).await?;
        match fate {
            Fate::None | Fate::BreaksWaiting => {}
            Fate::CutOff => {
                hold.breaks();
                held.belief.renew(self, session);
                self.cut_off().await;
                hold.listen(LAST_WORDS).await;
            }
            Fate::BreaksHolding | Fate::ComesLate | Fate::Abandons => {
                held.belief.end(self, session);
                hold.break_links().await;
                match fate {
                    Fate::Abandons => {
                        self.abandon(hold.give_up());
                        return None;
                    }
                    Fate::ComesLate => sleep(LATE).await,
                    _ => {}
                }
                held = hold.acquire(false).await?;
            }
        }
        let mut seen = None;
        for _ in 0..INCREMENTS {
            seen = self.increment(want, held.token, false, seen).await;
            match hold.still().await {
                Still::Holds => held.belief.renew(self, session),
                Still::Lost => {
                    held.belief.end(self, session);
                    hold.listen(LAST_WORDS).await;
                    hold.end();
                    return Some(held.token);
                }
                Still::Broken => {
                    held.belief.end(self, session);
                    held = hold.acquire(false).await?;
                    seen = None;
                }
            }
        }
        held.belief.end(self, session);
        let token = held.token;
        match turn.is_multiple_of(2) {
            true => {
                hold.end();
                sleep(TO_END).await;
                let left = self.left.lock().unwrap().clone();
                self.give_up(left?).await?;
            }
            false => {
                let claimed = GiveUp {
                    stream: hold.give_up().stream,
                    ..self.claimed(session, want, token)
                };
                let freed = self.give_up(claimed).await?;
                self.released(token, freed);
                hold.listen(LAST_WORDS).await;
                hold.close();
            }
        }
        Some(token)
    }

    fn fate(&self, turn: usize) -> Fate {
        match turn % UNTIL_PAUSE {
            _ if self.links.is_empty() => Fate::None,
            2 | 8 => Fate::BreaksHolding,
            3 | 9 => Fate::BreaksWaiting,
            5 => Fate::Abandons,
            7 => Fate::ComesLate,
            4 => Fate::CutOff,
            _ => Fate::None,
        }
    }
}
