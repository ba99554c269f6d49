//! Sessions in the state.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cache::Change,
    domain::{session::Session, session_id::SessionId},
};

use super::{Cause, Item, Kind, Owned, State, StateProjection, Touched};

pub(super) fn put(
    state: &mut State,
    touched: &mut Touched,
    changes: &mut Vec<Change<StateProjection>>,
    session: Session,
) {
    let id = session.id;
    let session = Arc::new(session);
    if !session.request_id.is_empty() {
        state
            .sessions_by_request
            .insert(session.request_id.clone(), id);
    }
    let before = state.sessions.insert(id, session.clone());
    match &before {
        Some(before) => {
            state.sessions_in_order.remove(&before.place());
        }
        None => state.session_came(id),
    }
    state.sessions_in_order.insert(session.place(), id);
    look_at_owned(state, touched, id);
    changes.push(Change {
        kind: Kind::Session as usize,
        key: Bytes::from(id.to_text()),
        before: before.map(Item::Session),
        after: Some(Item::Session(session)),
        cause: Cause::Expired,
    });
}

pub(super) fn delete(
    state: &mut State,
    touched: &mut Touched,
    changes: &mut Vec<Change<StateProjection>>,
    id: SessionId,
) {
    let Some(session) = state.sessions.remove(&id) else {
        return;
    };
    if state.sessions_by_request.get(&session.request_id) == Some(&id) {
        state.sessions_by_request.remove(&session.request_id);
    }
    state.sessions_in_order.remove(&session.place());
    state.session_went(id);
    touched.closed.insert(id);
    look_at_owned(state, touched, id);
    changes.push(Change {
        kind: Kind::Session as usize,
        key: Bytes::from(id.to_text()),
        before: Some(Item::Session(session)),
        after: None,
        cause: Cause::Expired,
    });
}

fn look_at_owned(state: &State, touched: &mut Touched, id: SessionId) {
    for owned in state.owned.get(&id).into_iter().flatten() {
        if let Owned::Instance(path) = owned {
            touched.instances.look_at(path.clone());
        }
    }
}
