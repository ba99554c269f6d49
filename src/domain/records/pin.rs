//! The stored form of pins.

use bytes::Bytes;

use crate::{domain::config::Pin, proto::store as wire, store::KeyValue};

use super::{DecodeError, FORMAT, decode, encode, label, time};

/// Reads a pin.
pub fn config_pin(kv: &KeyValue) -> Result<Pin, DecodeError> {
    let record: wire::ConfigPin = decode(kv)?;
    Ok(Pin {
        actor: label(&record.author, "author")?,
        comment: record.comment,
        create_time: time(record.create_time, "create_time")?,
        revision: kv.create_revision,
    })
}

/// Writes a pin.
pub fn encode_config_pin(pin: &Pin) -> Bytes {
    encode(&wire::ConfigPin {
        format: FORMAT,
        author: pin.actor.to_string(),
        comment: pin.comment.clone(),
        create_time: Some(pin.create_time.into()),
    })
}
