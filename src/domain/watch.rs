//! The words of a watch, bound to our state: what handlers need of the cache.

use crate::cache;

use super::state::{Cause, StateProjection};

pub use crate::cache::{
    Action, CursorOptions, FinalReason, Freshness, Projection, ResetReason, Selection, Start,
    Token, WireForm,
};

/// A running watch of `S`.
pub type Cursor<S> = cache::Cursor<StateProjection, S>;
/// One step of a watch of `T`.
pub type Message<T> = cache::Message<T, Cause>;
/// What a watcher of `T` is told at once.
pub type Told<T> = cache::Told<T, Cause>;
/// What somebody who follows all of it is told.
pub type Followed = cache::Followed<StateProjection>;
