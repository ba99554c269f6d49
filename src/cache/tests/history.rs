//! A watch that is there again, on a store that may be another one.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    fake::Fake,
    mirror::names,
    quick, quiet, soon,
    toy::{Named, Toy, all},
    until,
};
use crate::{
    cache::{Cache, Cursor, Lineage, Message, ResetReason, Settings, Start},
    clock::SystemClock,
    store::{self, Revision, WatchItem},
};

/// Takes as long as it is told to, and then begins an epoch where there is none.
struct Slow {
    fake: Arc<Fake>,
    goes_on: watch::Sender<bool>,
}

#[async_trait]
impl<S: Send + Sync + 'static> Lineage<S> for Slow {
    async fn confirm(&self, _: Revision, _: &S) -> Result<(), store::Error> {
        let mut goes_on = self.goes_on.subscribe();
        goes_on.wait_for(|goes_on| *goes_on).await.unwrap();
        if self.fake.get("p/epoch").is_none() {
            self.fake.put("p/epoch", "2");
        }
        Ok(())
    }

    fn witness(&self) -> Option<Bytes> {
        Some(Bytes::from_static(b"p/epoch"))
    }
}

/// A cache of one key whose history is confirmed at the start and not any more, and a cursor.
async fn broken() -> (Arc<Slow>, Cache<Toy>, Cursor<Toy, Named>) {
    let fake = Fake::new();
    fake.put("p/epoch", "1");
    let last = fake.put("p/0/a", "1");
    let lineage = Arc::new(Slow {
        fake: fake.clone(),
        goes_on: watch::Sender::new(true),
    });
    let settings = Settings {
        idle_probe: Duration::from_secs(3600),
        ..quick()
    };
    let (prefix, clock) = (Bytes::from_static(b"p/"), Arc::new(SystemClock));
    let cache = Cache::start(fake.clone(), prefix, Toy, lineage.clone(), settings, clock);
    soon(cache.ready()).await;
    let mut cursor = cache.subscribe(all(), Start::After(last), quiet()).unwrap();
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::Bookmark { .. })
    ));
    lineage.goes_on.send_replace(false);
    fake.hold(true);
    fake.say(Ok(WatchItem::Interrupted));
    (lineage, cache, cursor)
}

#[tokio::test]
async fn nothing_is_told_of_another_history_before_it_is_known_as_such() {
    let (lineage, cache, mut cursor) = broken().await;
    let fake = &lineage.fake;
    // Emptied, and grown beyond what it was.
    let seen = fake.revision();
    fake.go_back(1);
    while fake.revision() < seen + 5 {
        fake.put("p/0/b", "1");
    }
    fake.say(Ok(WatchItem::Resumed));
    fake.hold(false);
    // Long enough for what is there to be told.
    let early = tokio::time::timeout(Duration::from_millis(100), cursor.next()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(names(&cache), ["a"]);
    lineage.goes_on.send_replace(true);
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::Reset {
            reason: ResetReason::EpochChanged
        })
    ));
    until(|| names(&cache) == ["b"]).await;
}

#[tokio::test]
async fn a_history_that_shows_its_witness_is_told_before_all_of_it_is_confirmed() {
    let (lineage, cache, mut cursor) = broken().await;
    lineage.fake.put("p/0/b", "1");
    lineage.fake.say(Ok(WatchItem::Resumed));
    lineage.fake.hold(false);
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::Delta { .. })
    ));
    assert!(!cache.is_confirmed());
    lineage.goes_on.send_replace(true);
    soon(cache.confirmed(Duration::from_secs(20)))
        .await
        .unwrap();
}
