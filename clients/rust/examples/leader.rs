//! One of several does the work: start this twice, and stop the one that leads.
//! With a server on 127.0.0.1:7650: `cargo run -p stanchion-client --example leader -- 10.0.0.7:8080`
#![allow(clippy::print_stdout)]

use std::time::Duration;

use stanchion_client::{Client, Options};

#[tokio::main]
async fn main() -> stanchion_client::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_default();
    let client = Client::connect(["http://127.0.0.1:7650"], Options::default())?;
    let election = client.election("scheduler").proclamation(address);
    loop {
        // Behind whoever stood before, for as long as it takes.
        let leadership = election.campaign().await?;
        println!("leads in term {}", leadership.term());
        // Dropped where it stands when the lead is lost, before another one can have it.
        match leadership.run(schedule(leadership.term())).await {
            Ok(()) => {
                leadership.resign().await?;
                return client.close().await;
            }
            Err(why) => println!("no longer leads: {why:?}"),
        }
    }
}

/// Hands its term on to whatever it changes.
async fn schedule(term: i64) {
    for job in 1..=60 {
        println!("job {job} of term {term}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
