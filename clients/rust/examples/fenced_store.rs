//! A store that refuses who no longer holds the lock: `cargo run --example fenced_store`, with a
//! server on 127.0.0.1:7650.

#![allow(clippy::print_stdout)]

use stanchion_client::{Client, Options};

/// What a lock protects, outside of Stanchion. It remembers the largest fencing token it has seen.
#[derive(Debug, Default)]
struct FencedStore {
    largest: i64,
    value: String,
}

// === impl FencedStore ===

impl FencedStore {
    /// Writes, unless somebody was here who got the lock later.
    fn write(&mut self, fencing_token: i64, value: &str) -> Result<(), String> {
        if fencing_token < self.largest {
            let largest = self.largest;
            return Err(format!(
                "token {fencing_token} is stale: {largest} was here"
            ));
        }
        self.largest = fencing_token;
        value.clone_into(&mut self.value);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(["http://127.0.0.1:7650"], Options::default())?;
    let mut store = FencedStore::default();

    let first = client.lock("fenced-store").acquire().await?;
    let late = first.fencing_token();
    store.write(late, "by the first")?;
    // As if the first one had been paused for longer than its session lives.
    client
        .force_release_lock("fenced-store", late, "an example")
        .await?;
    let second = client.lock("fenced-store").acquire().await?;
    store.write(second.fencing_token(), "by the second")?;

    // It wakes up and knows of nothing.
    let refused = store.write(late, "by the first, late");
    assert!(refused.is_err(), "a stale write went through");
    println!("{refused:?}; the store has {:?}", store.value);
    second.release().await?;
    Ok(())
}
