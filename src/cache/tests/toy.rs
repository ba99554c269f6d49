//! A projection of keys `p/<kind>/<name>` with texts as values, and `p/epoch`.

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use crate::{
    cache::{Change, Projection, Selection},
    store::{Event, KeyValue, Revision},
};

pub(crate) struct Toy;

#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) epoch: u64,
    pub(crate) kinds: [OrdMap<Bytes, Arc<KeyValue>>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Deleted,
    Filtered,
}

/// Takes names that start with `name`; of those, only values that do not start with `-` if
/// `visible_only`.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) kind: usize,
    pub(crate) name: &'static str,
    pub(crate) visible_only: bool,
    pub(crate) conflates: bool,
    pub(crate) remnants: bool,
}

/// What is delivered: name, value, mod-revision.
pub(crate) type Shown = (String, String, Revision);

pub(crate) fn all() -> Named {
    Named {
        kind: 0,
        name: "",
        visible_only: false,
        conflates: true,
        remnants: false,
    }
}

// === impl Toy ===

impl Projection for Toy {
    type State = State;
    type Item = Arc<KeyValue>;
    type Cause = Cause;

    const KINDS: usize = 2;

    fn apply(&self, state: &mut State, _: Revision, events: &[Event]) -> Vec<Change<Self>> {
        let mut changes: Vec<Change<Self>> = Vec::new();
        for event in events {
            let name = String::from_utf8(event.key().to_vec()).unwrap();
            let rest = name.strip_prefix("p/").unwrap();
            if rest == "epoch" {
                if let Event::Put(kv) = event {
                    state.epoch = std::str::from_utf8(&kv.value).unwrap().parse().unwrap();
                }
                continue;
            }
            let (kind, name) = rest.split_once('/').unwrap();
            let kind: usize = kind.parse().unwrap();
            let key = Bytes::from(name.to_owned());
            let (before, after) = match event {
                Event::Put(kv) => {
                    let after = Arc::new(kv.clone());
                    let before = state.kinds[kind].insert(key.clone(), after.clone());
                    (before, Some(after))
                }
                Event::Delete { .. } => (state.kinds[kind].remove(&key), None),
            };
            if before.is_some() || after.is_some() {
                changes.push(Change {
                    kind,
                    key,
                    before,
                    after,
                    cause: Cause::Deleted,
                });
            }
        }
        changes
    }

    fn epoch(state: &State) -> u64 {
        state.epoch
    }

    fn visible_revision(item: &Self::Item) -> Revision {
        item.mod_revision
    }

    fn create_revision(item: &Self::Item) -> Revision {
        item.create_revision
    }

    fn weight(item: &Self::Item) -> usize {
        item.key.len() + item.value.len()
    }

    fn no_longer_matching() -> Cause {
        Cause::Filtered
    }
}

// === impl Named ===

impl Selection<Toy> for Named {
    type Item = Shown;

    fn kind(&self) -> usize {
        self.kind
    }

    fn digest(&self) -> u64 {
        self.name.bytes().fold(7u64, |digest, byte| {
            digest.wrapping_mul(31).wrapping_add(u64::from(byte))
        }) * 16
            + self.kind as u64 * 8
            + u64::from(self.visible_only) * 4
            + u64::from(self.remnants) * 2
            + u64::from(self.conflates)
    }

    fn prefix(&self) -> Bytes {
        Bytes::from_static(self.name.as_bytes())
    }

    fn covers(&self, key: &[u8]) -> bool {
        key.starts_with(self.name.as_bytes())
    }

    fn select(&self, item: &Arc<KeyValue>) -> Option<Shown> {
        (!self.visible_only || !item.value.starts_with(b"-")).then(|| shown(item))
    }

    fn remnant(&self, item: &Arc<KeyValue>) -> Option<Shown> {
        self.remnants.then(|| shown(item))
    }

    fn list<'a>(
        &self,
        state: &'a State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, Arc<KeyValue>)> + Send + 'a> {
        let name = self.name;
        let after = after.cloned();
        Box::new(
            state.kinds[self.kind]
                .range::<_, Bytes>(Bytes::from_static(name.as_bytes())..)
                .take_while(move |(key, _)| key.starts_with(name.as_bytes()))
                .filter(move |(key, _)| after.as_ref().is_none_or(|after| *key > after))
                .map(|(key, item)| (key.clone(), item.clone())),
        )
    }

    fn conflates(&self) -> bool {
        self.conflates
    }
}

pub(crate) fn shown(item: &KeyValue) -> Shown {
    let name = String::from_utf8(item.key[4..].to_vec()).unwrap();
    let value = String::from_utf8(item.value.to_vec()).unwrap();
    (name, value, item.mod_revision)
}
