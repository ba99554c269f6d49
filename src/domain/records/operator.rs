//! The stored form of what operators decided about instances.

use bytes::Bytes;

use crate::{
    domain::registry::{Drain, Operator, Overlay},
    proto::store as wire,
    store::KeyValue,
};

use super::{
    DecodeError, FORMAT, decode, encode,
    health::{registration, wire_registration},
    label, optional_time, time,
};

/// Reads what an operator decided. A state of the future leaves the instance as it is.
pub fn operator(kv: &KeyValue) -> Result<Operator, DecodeError> {
    let record: wire::Operator = decode(kv)?;
    let isolated = record.state() == wire::OperatorState::Isolated;
    Ok(Operator {
        isolated,
        overlay: match record.overlay {
            Some(stored) => overlay(stored)?,
            None => Overlay::default(),
        },
        drain: record.drain.map(drain).transpose()?,
        author: label(&record.author, "author")?,
        comment: record.comment,
        update_time: time(record.update_time, "update_time")?,
        request_id: record.request_id,
        format: record.format,
        mod_revision: kv.mod_revision,
    })
}

/// Writes what an operator decided.
pub fn encode_operator(operator: &Operator) -> Bytes {
    let state = match (operator.isolated, &operator.drain) {
        (true, _) => wire::OperatorState::Isolated,
        (false, Some(_)) => wire::OperatorState::Draining,
        (false, None) => wire::OperatorState::Active,
    };
    let overlay = &operator.overlay;
    let drain = |drain: &Drain| wire::Drain {
        id: drain.id,
        deadline: Some(drain.deadline.into()),
        start_time: Some(drain.start_time.into()),
        registration: Some(wire_registration(&drain.registration)),
    };
    encode(&wire::Operator {
        format: FORMAT,
        state: state.into(),
        author: operator.author.to_string(),
        comment: operator.comment.clone(),
        update_time: Some(operator.update_time.into()),
        overlay: (!overlay.is_empty()).then(|| wire::Overlay {
            weight: overlay.weight,
            metadata: overlay.metadata.clone(),
            hidden_metadata: overlay.hidden.iter().cloned().collect(),
            author: overlay.author.to_string(),
            comment: overlay.comment.clone(),
            update_time: overlay.update_time.map(Into::into),
        }),
        drain: operator.drain.as_ref().map(drain),
        request_id: operator.request_id.clone(),
    })
}

fn overlay(overlay: wire::Overlay) -> Result<Overlay, DecodeError> {
    Ok(Overlay {
        weight: overlay.weight,
        metadata: overlay.metadata,
        hidden: overlay.hidden_metadata.into_iter().collect(),
        author: label(&overlay.author, "author")?,
        comment: overlay.comment,
        update_time: optional_time(overlay.update_time, "update_time")?,
    })
}

fn drain(drain: wire::Drain) -> Result<Drain, DecodeError> {
    Ok(Drain {
        id: drain.id,
        deadline: time(drain.deadline, "deadline")?,
        start_time: time(drain.start_time, "start_time")?,
        registration: registration(drain.registration)?,
    })
}
