//! What the embedded store keeps on disk: through `kill -9`, reopening, and damage.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use redb::{Database, TableDefinition};
use stanchion::{
    clock::{ManualClock, SystemClock},
    store::{
        Error, KeyRange, Operation, RangeRequest, Store as _, Txn,
        embedded::{Embedded, Location, OpenError, Settings},
    },
};

use crate::support::store::next_item;

const FILE: &str = "stanchion.redb";
const LONG: Duration = Duration::from_secs(600);

async fn open(directory: &Path) -> Result<Embedded, OpenError> {
    let location = Location::File(directory.to_owned());
    Embedded::open(location, Settings::default(), Arc::new(SystemClock)).await
}

async fn put(store: &Embedded, key: &str, value: &str) -> i64 {
    let put = Operation::put(key.to_owned(), value.to_owned());
    store.txn(Txn::new().then(put)).await.unwrap().revision
}

async fn value(store: &Embedded, key: &str) -> Option<String> {
    let request = RangeRequest::new(KeyRange::key(key.to_owned()));
    let found = store.range(request).await.unwrap().kvs.into_iter().next();
    found.map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}

/// Names the directory to the process that is to be killed.
const WRITE_TO: &str = "STANCHION_TEST_WRITE_TO";
const TASKS: u64 = 16;

/// Runs twice: as itself, and in a process of its own as what is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kill_9() {
    if let Some(directory) = std::env::var_os(WRITE_TO) {
        write_until_killed(Path::new(&directory)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    let mut last_revision = 0;
    for kill_after in [1, 400, 1000] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("embedded_durability::acknowledged_writes_survive_kill_9")
            .env(WRITE_TO, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // What it said before it died was said, also what is still in the pipe.
        let mut count = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
            let line = String::from_utf8(line.unwrap()).unwrap();
            let Some((_, numbers)) = line.split_once("acknowledged ") else {
                continue;
            };
            // The last line may be cut off.
            let Some(numbers) = numbers.strip_suffix('.') else {
                continue;
            };
            let mut numbers = numbers.split(' ').map(|number| number.parse().unwrap());
            let [task, number, revision] = std::array::from_fn(|_| numbers.next().unwrap());
            acknowledged.insert(task, (number, revision));
            last_revision = last_revision.max(revision);
            count += 1;
            if count == kill_after {
                let error = open(directory.path()).await.unwrap_err();
                assert!(matches!(error, OpenError::InUse { .. }), "{error}");
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(count >= kill_after, "it ended by itself");

        let store = open(directory.path()).await.unwrap();
        let found = store.status().await.unwrap().revision;
        assert!(found > last_revision as i64);
        for (task, (number, _)) in &acknowledged {
            let left: u64 = value(&store, &format!("{task}/left"))
                .await
                .unwrap()
                .parse()
                .unwrap();
            let right = value(&store, &format!("{task}/right")).await.unwrap();
            assert!(left >= *number, "{task} lost {number}, has {left}");
            assert_eq!(left.to_string(), right, "half a transaction");
            store.keep_alive(*task as i64).await.unwrap();
        }
        store.close().await;
    }
}

/// Writes as fast as it can and says what was acknowledged.
async fn write_until_killed(directory: &Path) {
    let store = Arc::new(open(directory).await.unwrap());
    let tasks = (1..=TASKS).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            store.grant(task as i64, LONG).await.unwrap();
            let (left, right) = (format!("{task}/left"), format!("{task}/right"));
            let first = value(&store, &left).await;
            let first: u64 = first.map_or(0, |number| number.parse().unwrap());
            for number in first + 1.. {
                let text = number.to_string();
                let txn = Txn::new()
                    .then(Operation::put_leased(
                        left.clone(),
                        text.clone(),
                        task as i64,
                    ))
                    .then(Operation::put(right.clone(), text));
                let revision = store.txn(txn).await.unwrap().revision;
                let line = format!("acknowledged {task} {number} {revision}.\n");
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_reopened_store_goes_on_without_history() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("deep/data");
    let store = open(&data).await.unwrap();
    let fresh = store.status().await.unwrap();
    let first = put(&store, "k", "1").await;
    put(&store, "gone", "x").await;
    let delete = Txn::new().then(Operation::delete("gone"));
    store.txn(delete).await.unwrap();
    let last = put(&store, "k", "2").await;
    store.close().await;

    let store = open(&data).await.unwrap();
    let status = store.status().await.unwrap();
    assert!(status.revision > last);
    assert_eq!(status.timeline, fresh.timeline - 1);
    assert_eq!(status.members[0].endpoint, data.display().to_string());
    let all = || RangeRequest::new(KeyRange::span("a", "z"));
    let kvs = store.range(all()).await.unwrap().kvs;
    let [kv] = &kvs[..] else { panic!("{kvs:?}") };
    assert_eq!((&kv.key[..], &kv.value[..]), (&b"k"[..], &b"2"[..]));
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version),
        (first, last, 2)
    );

    let compacted = Error::Compacted {
        oldest: status.revision,
    };
    let error = store.range(all().at(last)).await.unwrap_err();
    assert_eq!(error, compacted);
    let mut watch = store.watch("k".into(), last).await.unwrap();
    assert_eq!(next_item(&mut watch).await.unwrap_err(), compacted);
    let now = store.range(all().at(status.revision)).await.unwrap();
    assert_eq!(now.kvs, kvs);
    let mut watch = store.watch("k".into(), status.revision).await.unwrap();
    let written = put(&store, "k", "3").await;
    assert_eq!(written, status.revision + 1);
    let (seen, _) = crate::support::store::next_changes(&mut watch).await;
    assert_eq!(seen, written);
}

#[tokio::test]
async fn leases_survive_reopening_with_their_full_time() {
    const SECOND: Duration = Duration::from_secs(1);
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    let open = || {
        let location = Location::File(directory.path().to_owned());
        Embedded::open(location, Settings::default(), Arc::new(clock.clone()))
    };
    let store = open().await.unwrap();
    for id in [1, 2] {
        store.grant(id, 10 * SECOND).await.unwrap();
        let put = Operation::put_leased(format!("k{id}"), "x", id);
        store.txn(Txn::new().then(put)).await.unwrap();
    }
    store.revoke(2).await.unwrap();
    clock.advance(9 * SECOND);
    store.close().await;

    clock.advance(9 * SECOND);
    let store = open().await.unwrap();
    let mut watch = store.watch("k".into(), 0).await.unwrap();
    clock.advance(9 * SECOND);
    assert_eq!(value(&store, "k1").await.as_deref(), Some("x"));
    assert_eq!(value(&store, "k2").await, None);
    assert_eq!(store.keep_alive(2).await.unwrap_err(), Error::LeaseNotFound);
    clock.advance(SECOND);
    crate::support::store::next_changes(&mut watch).await;
    assert_eq!(value(&store, "k1").await, None);
    store.close().await;
    let store = open().await.unwrap();
    assert_eq!(store.keep_alive(1).await.unwrap_err(), Error::LeaseNotFound);
}

#[tokio::test]
async fn a_directory_serves_one_store_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await.unwrap();
    let error = open(directory.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    let name = directory.path().display().to_string();
    assert!(error.to_string().contains(&name), "{error}");
    put(&store, "k", "still works").await;
    store.close().await;
    let store = open(directory.path()).await.unwrap();
    assert_eq!(value(&store, "k").await.as_deref(), Some("still works"));
}

#[tokio::test]
async fn a_dropped_store_frees_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).await.unwrap());
    let reopened = async {
        loop {
            match open(directory.path()).await {
                Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
                other => return other.map(drop),
            }
        }
    };
    let reopened = tokio::time::timeout(crate::support::store::PATIENCE, reopened);
    reopened.await.unwrap().unwrap();
}

#[tokio::test]
async fn files_that_are_no_store_of_this_version_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let made = |name: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let refused = async |path: &Path| {
        let error = open(path).await.unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(&path.display().to_string()), "{shown}");
        error
    };

    let garbage = made("garbage");
    std::fs::write(garbage.join(FILE), [7; 10_000]).unwrap();
    assert!(matches!(refused(&garbage).await, OpenError::Corrupt { .. }));

    let foreign = made("foreign");
    {
        let database = Database::create(foreign.join(FILE)).unwrap();
        let txn = database.begin_write().unwrap();
        let table: TableDefinition<'_, u64, u64> = TableDefinition::new("theirs");
        txn.open_table(table).unwrap().insert(1, 1).unwrap();
        txn.commit().unwrap();
    }
    assert!(matches!(refused(&foreign).await, OpenError::Corrupt { .. }));

    let newer = made("newer");
    open(&newer).await.unwrap().close().await;
    {
        let database = Database::create(newer.join(FILE)).unwrap();
        let txn = database.begin_write().unwrap();
        let meta: TableDefinition<'_, &str, i64> = TableDefinition::new("meta");
        txn.open_table(meta).unwrap().insert("format", 99).unwrap();
        txn.commit().unwrap();
    }
    let error = refused(&newer).await;
    assert!(
        matches!(error, OpenError::Format { found: 99, .. }),
        "{error:?}"
    );

    let record = made("record");
    let store = open(&record).await.unwrap();
    put(&store, "k", "x").await;
    store.close().await;
    {
        let database = Database::create(record.join(FILE)).unwrap();
        let txn = database.begin_write().unwrap();
        let keys: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys");
        let mut table = txn.open_table(keys).unwrap();
        table.insert(&b"k"[..], &b"short"[..]).unwrap();
        drop(table);
        txn.commit().unwrap();
    }
    assert!(matches!(refused(&record).await, OpenError::Corrupt { .. }));

    let cut = made("cut");
    let store = open(&cut).await.unwrap();
    put(&store, "k", &"x".repeat(1_000_000)).await;
    store.close().await;
    let file = std::fs::File::options()
        .write(true)
        .open(cut.join(FILE))
        .unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    assert!(matches!(refused(&cut).await, OpenError::Corrupt { .. }));

    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(refused(&file).await, OpenError::Io { .. }));
}

/// Damages a few bytes somewhere, again and again: what opens all the same must hold everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_refused_or_holds_everything() {
    const KEYS: usize = 300;
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await.unwrap();
    for number in 0..KEYS {
        put(&store, &format!("key-{number}"), &format!("value-{number}")).await;
    }
    store.close().await;
    let file = directory.path().join(FILE);
    let good = std::fs::read(&file).unwrap();
    let mut refused = 0;
    for seed in 0..100 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bad = good.clone();
        let from = random.random_range(0..bad.len());
        let to = (from + random.random_range(1..64)).min(bad.len());
        for byte in &mut bad[from..to] {
            *byte ^= random.random_range(1..=u8::MAX);
        }
        std::fs::write(&file, &bad).unwrap();
        let store = match open(directory.path()).await {
            Ok(store) => store,
            Err(error) => {
                assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
                refused += 1;
                continue;
            }
        };
        for number in 0..KEYS {
            let found = value(&store, &format!("key-{number}")).await;
            assert_eq!(found, Some(format!("value-{number}")), "seed {seed}");
        }
        store.close().await;
    }
    assert!(refused > 0, "nothing that matters was damaged");
}
