//! The stored form of those who wait at barriers, and of how they were released.

use bytes::Bytes;

use crate::{
    domain::{
        barrier::{MAX_PARTIES, Member, Participant, Release, Releases},
        lock::{MAX_ERA, token},
    },
    proto::store as wire,
    store::KeyValue,
};

use super::{DecodeError, FORMAT, decode, encode, label, session_id, time};

/// Reads somebody who waits.
pub fn barrier_participant(kv: &KeyValue) -> Result<Participant, DecodeError> {
    let record: wire::BarrierParticipant = decode(kv)?;
    if !(1..=MAX_PARTIES).contains(&record.parties) {
        return Err(DecodeError::Field("parties"));
    }
    Ok(Participant {
        key: kv.key.clone(),
        session: session_id(&record.session_id)?,
        client_id: label(&record.client_id, "client_id")?,
        request_id: record.request_id,
        parties: record.parties,
        era: record.era,
        call: record.call,
        create_time: time(record.create_time, "create_time")?,
        address: record.address,
        format: record.format,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
    })
}

/// Writes somebody who waits.
pub fn encode_barrier_participant(participant: &Participant) -> Bytes {
    encode(&wire::BarrierParticipant {
        format: FORMAT,
        parties: participant.parties,
        request_id: participant.request_id.clone(),
        era: participant.era,
        session_id: participant.session.to_text(),
        client_id: participant.client_id.to_string(),
        create_time: Some(participant.create_time.into()),
        call: participant.call,
        address: participant.address.clone(),
    })
}

/// Reads how a barrier was released.
pub fn barrier_releases(kv: &KeyValue) -> Result<Releases, DecodeError> {
    let record: wire::BarrierReleases = decode(kv)?;
    let releases = record.releases.into_iter();
    let releases = releases.map(|release| release_of(release, kv.mod_revision));
    Ok(Releases {
        releases: releases.collect::<Result<_, _>>()?,
        format: record.format,
        revision: kv.mod_revision,
    })
}

fn release_of(wire: wire::BarrierRelease, revision: i64) -> Result<Release, DecodeError> {
    // A token above 63 bits would be no token.
    if !(0..=MAX_ERA).contains(&wire.era) {
        return Err(DecodeError::Field("era"));
    }
    Ok(Release {
        generation: match wire.generation {
            0 => token(wire.era, revision),
            generation => generation,
        },
        era: wire.era,
        time: time(wire.release_time, "release_time")?,
        members: wire.members.into_iter().map(member_of).collect(),
    })
}

fn member_of(wire: wire::BarrierMember) -> Member {
    Member {
        id: wire.id.into(),
        create_revision: wire.create_revision,
    }
}

/// Writes how a barrier was released, `releases` newest first. The generation of one that is about to
/// happen is zero.
pub fn encode_barrier_releases<'a>(releases: impl Iterator<Item = &'a Release>) -> Bytes {
    let member = |member: &Member| wire::BarrierMember {
        id: member.id.to_string(),
        create_revision: member.create_revision,
    };
    let release = |release: &Release| wire::BarrierRelease {
        generation: release.generation,
        era: release.era,
        release_time: Some(release.time.into()),
        members: release.members.iter().map(member).collect(),
    };
    encode(&wire::BarrierReleases {
        format: FORMAT,
        releases: releases.map(release).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_newest_release_has_the_revision_of_its_record() {
        let release = |generation| Release {
            generation,
            era: 7,
            time: SystemTime::UNIX_EPOCH,
            members: vec![Member {
                id: "a.1".into(),
                create_revision: 3,
            }],
        };
        let written = [release(0), release(token(7, 12))];
        let kv = KeyValue {
            key: Bytes::from("k"),
            value: encode_barrier_releases(written.iter()),
            create_revision: 10,
            mod_revision: 15,
            version: 2,
            lease: 1,
        };
        let read = barrier_releases(&kv).unwrap();
        let generations = read.releases.iter().map(|release| release.generation);
        assert!(generations.eq([token(7, 15), token(7, 12)]));
        assert_eq!(read.releases[0].members, written[0].members);
    }
}
