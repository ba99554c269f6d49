//! What barriers and latches refuse.

use stanchion_client::proto::ErrorReason as R;
use tonic::Code;

use crate::domain::barrier::Refusal;

use super::Row;

pub(super) fn row(refusal: &Refusal) -> Row {
    match refusal {
        Refusal::PartiesDiffer { name, parties } => {
            Row::new(Code::FailedPrecondition, R::BarrierPartiesDiffer)
                .with("barrier", name)
                .with("parties", parties)
        }
        Refusal::NotReleased {
            name,
            parties,
            waiting,
        } => Row::new(Code::FailedPrecondition, R::BarrierNotReleased)
            .with("barrier", name)
            .with("parties", parties)
            .with("waiting", waiting),
        Refusal::TooManyParticipants { name, limit } => {
            Row::new(Code::ResourceExhausted, R::TooManyParticipants)
                .with("barrier", name)
                .with("limit", limit)
        }
        Refusal::LatchGone { name } => {
            Row::new(Code::FailedPrecondition, R::LatchGone).with("latch", name)
        }
        Refusal::LatchDiffers { name, count } => Row::new(Code::AlreadyExists, R::LatchDiffers)
            .with("latch", name)
            .with("count", count),
        Refusal::LatchNotOpen { name, remaining } => {
            Row::new(Code::FailedPrecondition, R::LatchNotOpen)
                .with("latch", name)
                .with("remaining", remaining)
        }
        Refusal::TooManyLatches { namespace, limit } => {
            Row::new(Code::ResourceExhausted, R::TooManyLatches)
                .with("namespace", namespace)
                .with("limit", limit)
        }
    }
}
