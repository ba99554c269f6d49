//! What a barrier is: those who wait there, and how it was released.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use imbl::OrdMap;

use crate::{
    domain::{keyspace::BarrierPath, lock::Place, names::Label, session_id::SessionId},
    store::Revision,
};

/// The fewest that a barrier may be for.
pub const MIN_PARTIES: u32 = 2;
/// The most: all of them are compared and deleted in one transaction, which has room for 128.
pub const MAX_PARTIES: u32 = 100;
/// How many who were released are remembered: a group of the largest, and 200 who came after it.
const MAX_MEMBERS: usize = 300;

/// A barrier that somebody waits at, or that was released a while ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barrier {
    /// Which one.
    pub path: BarrierPath,
    /// Who waits, in order; those of eras that do not count included.
    pub participants: OrdMap<Place, Arc<Participant>>,
    /// How it was released, as far as that is remembered.
    pub releases: Option<Arc<Releases>>,
    /// The revision at which what can be seen of it last changed.
    pub visible_revision: Revision,
}

/// What is stored of somebody who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// The whole key in the store.
    pub key: Bytes,
    /// Whose it is.
    pub session: SessionId,
    /// The client id of that session.
    pub client_id: Label,
    /// The request that entered: with the session, who it is.
    pub request_id: String,
    /// How many are to be released together.
    pub parties: u32,
    /// The era in which it entered.
    pub era: i64,
    /// Names the call that wrote the record last.
    pub call: u64,
    /// When it entered.
    pub create_time: SystemTime,
    /// Where the call came from; empty: not known.
    pub address: String,
    /// The format it was written in.
    pub format: u32,
    /// The revision at which it entered.
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
}

/// How a barrier was released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Releases {
    /// The releases that are remembered, newest first.
    pub releases: Vec<Release>,
    /// The format they were written in.
    pub format: u32,
    /// The revision of the newest one.
    pub revision: Revision,
}

/// Some who were released together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its token; zero of one that is about to happen.
    pub generation: i64,
    /// The era of it.
    pub era: i64,
    /// When it was.
    pub time: SystemTime,
    /// Who was released, in the order in which they came.
    pub members: Vec<Member>,
}

/// Somebody who was released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What the key ended with.
    pub id: Arc<str>,
    /// The revision at which it had come.
    pub create_revision: Revision,
}

/// What somebody is told who was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The token of the release.
    pub generation: i64,
    /// The place among those who were released, from 0.
    pub index: usize,
    /// How many they were.
    pub parties: usize,
    /// A revision at which this is so.
    pub revision: Revision,
}

/// How somebody who waits stands at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Others are missing, or it is not among those who are next.
    Waiting,
    /// All who are missing came, and it is one of them: the `last` one or not.
    Complete { last: bool },
    /// The barrier is for another number of parties.
    Differs(u32),
    /// It was released.
    Passed(Passed),
    /// It is no longer there, for another reason.
    Gone,
}

// === impl Barrier ===

impl Barrier {
    /// One of which there is nothing yet.
    pub fn new(path: BarrierPath) -> Self {
        Self {
            path,
            participants: OrdMap::new(),
            releases: None,
            visible_revision: 0,
        }
    }

    /// Says whether there is nothing of it.
    pub fn is_empty(&self) -> bool {
        self.participants.is_empty() && self.releases.is_none()
    }

    /// Says whether somebody waits, counted or not.
    pub fn is_waited_at(&self) -> bool {
        !self.participants.is_empty()
    }

    /// The revision of the last release that is remembered; zero: none is.
    pub fn released_at(&self) -> Revision {
        self.releases.as_ref().map_or(0, |seen| seen.revision)
    }

    /// Who stands at the key.
    pub fn find(&self, key: &[u8]) -> Option<&Arc<Participant>> {
        let mut participants = self.participants.values();
        participants.find(|participant| participant.key == key)
    }

    /// Who waits in an era that counts, in order.
    pub fn waiting(&self, claims_from: i64) -> impl Iterator<Item = &Arc<Participant>> {
        let participants = self.participants.values();
        participants.filter(move |participant| participant.era >= claims_from)
    }

    /// How many it is for: what the one says who has waited longest.
    pub fn parties(&self, claims_from: i64) -> Option<u32> {
        let first = self.waiting(claims_from).next()?;
        Some(first.parties)
    }

    /// Those who are to be released next, if they are enough. Who means another number is about to
    /// be refused.
    pub fn group(&self, claims_from: i64) -> Option<Vec<&Arc<Participant>>> {
        let parties = self.parties(claims_from)?;
        let same = self.waiting(claims_from);
        let same = same.filter(|participant| participant.parties == parties);
        let group: Vec<_> = same.take(parties as usize).collect();
        (group.len() == parties as usize).then_some(group)
    }

    /// How the participant that was created at `place` stands.
    pub(super) fn standing(&self, place: &Place, claims_from: i64) -> Standing {
        let Some(participant) = self.participants.get(place) else {
            let releases = self.releases.as_ref();
            let passed = releases.and_then(|seen| seen.passed_at(place));
            return passed.map_or(Standing::Gone, Standing::Passed);
        };
        match self.parties(claims_from) {
            Some(parties) if parties != participant.parties => Standing::Differs(parties),
            _ => match self.group(claims_from) {
                Some(group) if group.iter().any(|member| member.place() == *place) => {
                    let last = group.last().is_some_and(|last| last.place() == *place);
                    Standing::Complete { last }
                }
                _ => Standing::Waiting,
            },
        }
    }
}

// === impl Participant ===

impl Participant {
    /// Where it stands.
    pub fn place(&self) -> Place {
        Place {
            create_revision: self.create_revision,
            key: self.key.clone(),
        }
    }

    pub(in crate::domain) fn member(&self) -> Member {
        Member {
            id: id_of(&self.key),
            create_revision: self.create_revision,
        }
    }
}

// === impl Releases ===

impl Releases {
    /// What the participant is told that was created at `place`.
    fn passed_at(&self, place: &Place) -> Option<Passed> {
        let member = Member {
            id: id_of(&place.key),
            create_revision: place.create_revision,
        };
        self.passed(|found| *found == member)
    }

    /// What the request is told again whose participant had the key; of several the last one.
    pub(in crate::domain) fn passed_by(&self, key: &[u8]) -> Option<Passed> {
        let id = id_of(key);
        self.passed(|found| found.id == id)
    }

    fn passed(&self, is_it: impl Fn(&Member) -> bool) -> Option<Passed> {
        self.releases.iter().find_map(|release| {
            let index = release.members.iter().position(&is_it)?;
            Some(Passed {
                generation: release.generation,
                index,
                parties: release.members.len(),
                revision: self.revision,
            })
        })
    }

    /// Those that are still remembered once `next` is.
    pub(super) fn after<'a>(&'a self, next: &'a Release) -> impl Iterator<Item = &'a Release> {
        let mut room = MAX_MEMBERS.saturating_sub(next.members.len());
        self.releases.iter().take_while(move |release| {
            let fits = release.members.len() <= room;
            room = room.saturating_sub(release.members.len());
            fits
        })
    }
}

/// What names a participant: what its key ends with.
fn id_of(key: &[u8]) -> Arc<str> {
    let start = key.iter().rposition(|byte| *byte == b'/');
    let id = &key[start.map_or(0, |start| start + 1)..];
    String::from_utf8_lossy(id).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lock::token;

    fn participant(revision: Revision, parties: u32, era: i64) -> Participant {
        Participant {
            key: format!("barrier/a/b/{revision}.1").into(),
            session: SessionId::random(),
            client_id: Label::default(),
            request_id: String::new(),
            parties,
            era,
            call: 0,
            create_time: SystemTime::UNIX_EPOCH,
            address: String::new(),
            format: 1,
            create_revision: revision,
            mod_revision: revision,
        }
    }

    fn barrier(participants: impl IntoIterator<Item = Participant>) -> Barrier {
        let mut barrier = Barrier::new(BarrierPath::parse("a/b").unwrap());
        for participant in participants {
            let place = participant.place();
            barrier.participants.insert(place, Arc::new(participant));
        }
        barrier
    }

    fn standing(barrier: &Barrier, revision: Revision) -> Standing {
        barrier.standing(&participant(revision, 0, 0).place(), 1)
    }

    #[test]
    fn the_first_ones_are_next_and_the_last_of_them_knows() {
        let few = barrier([participant(5, 3, 1), participant(7, 3, 1)]);
        assert_eq!(standing(&few, 7), Standing::Waiting);
        let more = [5, 7, 9, 11].map(|revision| participant(revision, 3, 1));
        let complete = barrier(more);
        for (revision, last) in [(5, false), (7, false), (9, true)] {
            let expected = Standing::Complete { last };
            assert_eq!(standing(&complete, revision), expected);
        }
        assert_eq!(standing(&complete, 11), Standing::Waiting);
        assert_eq!(standing(&complete, 6), Standing::Gone);
    }

    #[test]
    fn the_one_who_has_waited_longest_says_for_how_many_it_is() {
        let both = barrier([
            participant(5, 2, 1),
            participant(6, 3, 1),
            participant(7, 2, 1),
        ]);
        assert_eq!(standing(&both, 6), Standing::Differs(2));
        assert_eq!(standing(&both, 7), Standing::Complete { last: true });
    }

    #[test]
    fn who_waits_since_before_a_loss_is_not_counted() {
        let old = barrier([participant(5, 3, 0), participant(6, 2, 1)]);
        assert_eq!(old.parties(1), Some(2));
        assert_eq!(standing(&old, 6), Standing::Waiting);
    }

    #[test]
    fn who_was_released_is_told_even_when_others_were_since() {
        let release = |revision: Revision, count: i64| {
            let members = (0..count).map(|at| participant(revision + at, 2, 1).member());
            Release {
                generation: token(1, revision + count),
                era: 1,
                time: SystemTime::UNIX_EPOCH,
                members: members.collect(),
            }
        };
        let seen = Releases {
            releases: vec![release(20, 90), release(10, 2)],
            format: 1,
            revision: 110,
        };
        let mut passed = barrier([]);
        passed.releases = Some(Arc::new(seen.clone()));
        let Standing::Passed(told) = standing(&passed, 11) else {
            panic!("it was released");
        };
        assert_eq!((told.index, told.parties), (1, 2));
        assert_eq!(told.generation, token(1, 12));
        assert_eq!(seen.passed_by(b"barrier/a/b/10.1").unwrap().index, 0);
        // As many as there is room for.
        let next = release(200, 100);
        assert_eq!(seen.after(&next).count(), 2);
        let next = release(200, 210);
        assert_eq!(seen.after(&next).count(), 1);
        let next = release(200, 211);
        assert_eq!(seen.after(&next).count(), 0);
    }
}
