//! A snapshot, and then what concerns the watcher: each revision by itself, in parts where it is
//! large.

use super::*;

#[tokio::test]
async fn a_watch_begins_with_a_snapshot_in_parts_and_goes_on_with_one_delta_per_revision() {
    let fake = Fake::new();
    for name in ["a", "b", "c"] {
        fake.put(&format!("p/0/{name}"), "0123456789");
    }
    let cache = ready(&fake, quick()).await;
    let options = CursorOptions {
        part_bytes: 35,
        ..quiet()
    };
    let mut cursor = cache.subscribe(all(), Start::Snapshot, options).unwrap();
    assert_eq!(next(&mut cursor).await, "snapshot a b");
    assert_eq!(cursor.token().revision, 0);
    // Pinned: this belongs to what follows.
    let pinned = fake.revision();
    let changed = fake.put("p/0/c", "x");
    reached(&cache, changed).await;
    assert_eq!(next(&mut cursor).await, "snapshot c");
    let end = soon(cursor.next()).await;
    assert!(matches!(end, Some(Message::SnapshotEnd { revision }) if revision == pinned));
    assert_eq!(cursor.token().revision, pinned);
    assert_eq!(next(&mut cursor).await, "~c=x");
    assert_eq!(cursor.token().revision, changed);

    let both = fake.write(&[("p/0/a", None), ("p/0/d", Some("1"))]);
    fake.put("p/1/other", "1");
    fake.put("p/0/d", "2");
    match soon(cursor.next()).await {
        Some(Message::Delta {
            prev_revision,
            revision,
            ..
        }) => assert_eq!((prev_revision, revision), (changed, both)),
        other => panic!("{other:?}"),
    }
    match soon(cursor.next()).await {
        Some(Message::Delta { prev_revision, .. }) => assert_eq!(prev_revision, both),
        other => panic!("{other:?}"),
    }
    assert!(silent(&mut cursor).await);
}

#[tokio::test]
async fn what_does_not_concern_the_watcher_is_not_told() {
    let fake = Fake::new();
    let cache = ready(&fake, quick()).await;
    let narrow = Named {
        name: "web",
        visible_only: true,
        ..all()
    };
    let mut cursor = following(&cache, narrow, quiet()).await;
    fake.put("p/0/api", "1");
    fake.put("p/1/web", "1");
    fake.put("p/0/web1", "-hidden");
    fake.put("p/0/web1", "-still");
    fake.delete("p/0/web1");
    assert!(silent(&mut cursor).await);
    fake.put("p/0/web2", "-hidden");
    fake.put("p/0/web2", "shown");
    fake.put("p/0/web2", "other");
    fake.put("p/0/web2", "-hidden");
    fake.delete("p/0/web2");
    assert_eq!(next(&mut cursor).await, "+web2=shown");
    assert_eq!(next(&mut cursor).await, "~web2=other");
    assert_eq!(next(&mut cursor).await, "!web2=other");
    assert!(silent(&mut cursor).await);
}

#[tokio::test]
async fn a_large_delta_comes_in_parts_and_its_token_with_the_last() {
    let fake = Fake::new();
    let cache = ready(&fake, quick()).await;
    let options = CursorOptions {
        part_bytes: 20,
        ..quiet()
    };
    let mut cursor = following(&cache, all(), options.clone()).await;
    let before = cursor.token();
    let writes: Vec<(String, String)> = (0..5)
        .map(|name| (format!("p/0/{name}"), "xxxx".to_owned()))
        .collect();
    let writes: Vec<_> = writes
        .iter()
        .map(|(key, value)| (key.as_str(), Some(value.as_str())))
        .collect();
    let revision = fake.write(&writes);
    assert_eq!(next(&mut cursor).await, "+0=xxxx +1=xxxx ...");
    assert_eq!(cursor.token(), before);
    assert_eq!(next(&mut cursor).await, "+2=xxxx +3=xxxx ...");
    assert_eq!(next(&mut cursor).await, "+4=xxxx");
    assert_eq!(cursor.token().revision, revision);
    // Cut between parts, the delta comes again, whole.
    let mut resumed = cache
        .subscribe(all(), Start::Resume(before), options)
        .unwrap();
    assert_eq!(next(&mut resumed).await, "+0=xxxx +1=xxxx ...");
}
