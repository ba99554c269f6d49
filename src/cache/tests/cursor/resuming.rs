//! Tokens of before, of another selection, and of a revision that is yet to come.

use super::*;

#[tokio::test]
async fn a_resumed_watch_with_nothing_to_tell_says_so_at_once() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let cache = ready(&fake, quick()).await;
    let view = cache.view().unwrap();
    let token = cache.token(&view, &all());
    let outside = fake.put("p/1/b", "1");
    reached(&cache, outside).await;
    let mut cursor = cache
        .subscribe(all(), Start::Resume(token), quiet())
        .unwrap();
    assert!(matches!(
        soon(cursor.next()).await,
        Some(Message::Bookmark { revision, last: None }) if revision == outside
    ));
    assert!(silent(&mut cursor).await);
    // A token from before the end of a snapshot begins it again.
    let unfinished = Token {
        revision: 0,
        ..token
    };
    let mut cursor = cache
        .subscribe(all(), Start::Resume(unfinished), quiet())
        .unwrap();
    assert_eq!(next(&mut cursor).await, "snapshot a");
}

#[tokio::test]
async fn a_token_of_another_selection_is_refused() {
    let fake = Fake::new();
    let revision = fake.put("p/0/a", "1");
    let cache = ready(&fake, quick()).await;
    let token = cache.token(&cache.view().unwrap(), &all());
    assert_eq!(token.revision, revision);
    let other = Named {
        name: "web",
        ..all()
    };
    let refused = cache.subscribe(other, Start::Resume(token), quiet());
    assert_eq!(
        refused.err(),
        Some(Error::Token("belongs to another selection"))
    );
}

#[tokio::test]
async fn a_watcher_ahead_of_the_replica_waits_for_it_and_starts_over_if_it_does_not_come() {
    let fake = Fake::new();
    fake.put("p/0/a", "1");
    let (cache, clock) = ready_by_clock(&fake, Settings::default()).await;
    let token = cache.token(&cache.view().unwrap(), &all());
    let ahead = Token {
        revision: token.revision + 2,
        ..token
    };
    let mut patient = cache
        .subscribe(all(), Start::Resume(ahead), quiet())
        .unwrap();
    assert!(silent(&mut patient).await);
    fake.put("p/0/b", "1");
    fake.put("p/0/c", "1");
    fake.put("p/0/d", "1");
    assert_eq!(next(&mut patient).await, "+d=1");

    let ahead = Token {
        revision: fake.revision() + 1,
        ..token
    };
    let mut disappointed = cache
        .subscribe(all(), Start::Resume(ahead), quiet())
        .unwrap();
    assert!(silent(&mut disappointed).await);
    clock.advance(Duration::from_secs(3));
    assert_eq!(next(&mut disappointed).await, "reset Ahead");
    assert_eq!(next(&mut disappointed).await, "snapshot a b c d");
    assert_eq!(next(&mut disappointed).await, "whole");
    assert_eq!(cache.stats().subscribers, 2);
}
