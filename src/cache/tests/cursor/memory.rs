//! What is kept for watchers.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::{
    cache::{
        Selection,
        tests::{toy::State, until},
    },
    store::KeyValue,
};

/// Takes everything as it is in the state.
struct Whole;

// === impl Whole ===

impl Selection<Toy> for Whole {
    type Item = Arc<KeyValue>;

    fn kind(&self) -> usize {
        all().kind()
    }

    fn digest(&self) -> u64 {
        0
    }

    fn prefix(&self) -> Bytes {
        all().prefix()
    }

    fn covers(&self, key: &[u8]) -> bool {
        all().covers(key)
    }

    fn select(&self, item: &Arc<KeyValue>) -> Option<Arc<KeyValue>> {
        Some(item.clone())
    }

    fn remnant(&self, _: &Arc<KeyValue>) -> Option<Arc<KeyValue>> {
        None
    }

    fn list<'a>(
        &self,
        state: &'a State,
        after: Option<&Bytes>,
    ) -> Box<dyn Iterator<Item = (Bytes, Arc<KeyValue>)> + Send + 'a> {
        all().list(state, after)
    }

    fn conflates(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn what_the_log_forgets_no_topic_keeps() {
    let fake = Fake::new();
    let cache = ready(&fake, short_log(2)).await;
    let mut cursor = cache.subscribe(Whole, Start::Snapshot, quiet()).unwrap();
    let begun = soon(cursor.next()).await;
    assert!(matches!(begun, Some(Message::SnapshotEnd { .. })));
    let mut old = None;
    for value in ["1", "2", "3", "4", "5"] {
        fake.put("p/0/a", value);
        let Some(Message::Delta { events, .. }) = soon(cursor.next()).await else {
            panic!("no delta");
        };
        old.get_or_insert_with(|| Arc::downgrade(&events[0].item));
    }
    let old = old.unwrap();
    until(|| old.upgrade().is_none()).await;
}
