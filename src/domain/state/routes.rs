//! Whose instances services show, in the state.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{
    cache::Change,
    domain::{
        keyspace::ServiceKey,
        registry::{Route, ServiceSettings},
    },
    store::Revision,
};

use super::{Cause, Item, Kind, State, StateProjection, services::TouchedServices};

/// Keeps the list of aliases of each service.
pub(super) fn replace(
    state: &mut State,
    path: &Bytes,
    before: Option<&ServiceSettings>,
    after: Option<&ServiceSettings>,
) {
    let target = |settings: Option<&ServiceSettings>| settings.and_then(|s| s.alias_of.clone());
    let (before, after) = (target(before), target(after));
    if before == after {
        return;
    }
    if let Some(before) = before.map(|before| Bytes::from(before.path()))
        && let Some(aliases) = state.aliases.get_mut(&before)
    {
        aliases.remove(path);
        if aliases.is_empty() {
            state.aliases.remove(&before);
        }
    }
    if let Some(after) = after {
        let aliases = state.aliases.entry(after.path().into()).or_default();
        aliases.insert(path.clone());
    }
}

/// Finds out where the services lead whose settings were touched, and their aliases. Whoever
/// watches one that leads elsewhere now is woken by a change that shows nothing: what a watch is
/// about is not a matter of any one instance.
pub(super) fn settle(
    state: &mut State,
    touched: &TouchedServices,
    changes: &mut Vec<Change<StateProjection>>,
    revision: Revision,
) {
    let mut affected = touched.clone();
    for path in touched {
        affected.extend(state.aliases.get(path).into_iter().flatten().cloned());
    }
    let mut woken = BTreeSet::new();
    for path in affected {
        let settings = state.settings.get(&path).cloned();
        let after = Route::of(settings.as_deref(), state);
        let before = state.routes.get(&path).cloned().unwrap_or_default();
        if before == after {
            continue;
        }
        woken.insert(prefix(&path));
        if let Route::To(target) = &before {
            woken.insert(prefix_of(target));
        }
        match after {
            Route::Own => state.routes.remove(&path),
            after => state.routes.insert(path, after),
        };
        state.routes_revision = revision;
    }
    changes.extend(woken.into_iter().map(|key| Change {
        kind: Kind::Instance as usize,
        key,
        before: Some(Item::Rerouted(revision)),
        after: Some(Item::Rerouted(revision)),
        cause: Cause::NoLongerMatching,
    }));
}

fn prefix_of(service: &ServiceKey) -> Bytes {
    prefix(service.path().as_bytes())
}

/// What the paths of a service's instances begin with.
fn prefix(service: &[u8]) -> Bytes {
    [service, b"/"].concat().into()
}
