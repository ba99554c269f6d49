//! Followers: every change of some kinds, in order, or the word that some are not known.

use super::{fake::Fake, quick, ready, soon, toy::Toy, until};
use crate::cache::{Cache, Followed, Follower, Settings};

/// What a follower says, as text: changes, or `behind`.
async fn next(follower: &mut Follower<Toy>) -> String {
    match soon(follower.next()).await {
        None => "end".to_owned(),
        Some(Followed::Behind(view)) => format!("behind {}", view.revision),
        Some(Followed::Changes {
            changes, left_out, ..
        }) => {
            let end = left_out.then(|| "left out".to_owned());
            let changes = changes.iter().map(|change| {
                let sign = match (&change.before, &change.after) {
                    (None, _) => '+',
                    (Some(_), Some(_)) => '~',
                    (Some(_), None) => '-',
                };
                let key = String::from_utf8_lossy(&change.key);
                format!("{sign}{}/{key}", change.kind)
            });
            changes.chain(end).collect::<Vec<_>>().join(" ")
        }
    }
}

/// Collects until as much was said.
async fn collect(follower: &mut Follower<Toy>, changes: usize) -> String {
    let mut said: Vec<String> = Vec::new();
    while said.len() < changes {
        let batch = next(follower).await;
        said.extend(batch.split(' ').map(str::to_owned));
    }
    said.join(" ")
}

#[tokio::test]
async fn a_follower_sees_every_change_of_its_kinds_in_order() {
    let fake = Fake::new();
    let cache = ready(&fake, quick()).await;
    let mut both = cache.follow(&[0, 1]).unwrap();
    let mut one = cache.follow(&[1]).unwrap();
    fake.put("p/0/a", "1");
    fake.put("p/1/x", "1");
    fake.put("p/0/a", "2");
    fake.delete("p/1/x");
    assert_eq!(collect(&mut both, 4).await, "+0/a +1/x ~0/a -1/x");
    assert_eq!(collect(&mut one, 2).await, "+1/x -1/x");
}

#[tokio::test]
async fn a_follower_begins_with_what_is_remembered() {
    let fake = Fake::new();
    let cache = ready(&fake, quick()).await;
    let before = fake.put("p/0/a", "1");
    fake.put("p/0/b", "1");
    let last = fake.delete("p/0/a");
    assert!(before < last && cache.reached(last, std::time::Duration::from_secs(5)).await);
    let mut follower = cache.follow(&[0]).unwrap();
    assert_eq!(next(&mut follower).await, "+0/a +0/b -0/a");
}

#[tokio::test]
async fn a_follower_that_is_not_asked_for_long_is_told_that_it_is_behind() {
    let fake = Fake::new();
    let settings = Settings {
        log_revisions: 2,
        ..quick()
    };
    let cache = ready(&fake, settings).await;
    let mut follower = cache.follow(&[0, 1]).unwrap();
    let mut last = 0;
    for n in 0..5 {
        last = fake.put(&format!("p/0/{n}"), "1");
    }
    assert!(cache.reached(last, std::time::Duration::from_secs(5)).await);
    assert_eq!(next(&mut follower).await, format!("behind {last}"));
    fake.put("p/1/x", "1");
    assert_eq!(next(&mut follower).await, "+1/x");
}

#[tokio::test]
async fn a_follower_is_told_that_a_listing_left_out_what_came_and_went() {
    let fake = Fake::new();
    let cache = ready(&fake, quick()).await;
    let (mut concerned, mut other) = (cache.follow(&[0]).unwrap(), cache.follow(&[1]).unwrap());
    fake.hold(true);
    fake.put("p/0/gone", "1");
    fake.delete("p/0/gone");
    let last = fake.put("p/0/a", "1");
    fake.forget(last);
    fake.hold(false);
    until(|| cache.stats().relists == 1).await;
    assert_eq!(next(&mut concerned).await, "+0/a left out");
    assert_eq!(next(&mut other).await, "left out");
    assert_eq!(other.told(), last);
    fake.put("p/1/x", "1");
    assert_eq!(next(&mut other).await, "+1/x");
}

#[tokio::test]
async fn another_history_is_told_even_if_it_looks_the_same() {
    let fake = Fake::new();
    fake.put("p/epoch", "1");
    let cache = ready(&fake, quick()).await;
    let mut follower = cache.follow(&[0]).unwrap();
    let last = fake.put("p/epoch", "2");
    assert_eq!(next(&mut follower).await, format!("behind {last}"));
    drop::<Cache<Toy>>(cache);
    assert_eq!(next(&mut follower).await, "end");
}
