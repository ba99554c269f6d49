//! Serves until it gets TERM, then drains: nobody calls it any more when it stops.
#![allow(clippy::print_stdout)]

use stanchion_client::{Client, Options, Result, proto::DrainOutcome};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect(["http://127.0.0.1:7650"], Options::default())?;
    let registration = client
        .register("shop", "10.0.0.7")
        .port("http", 8080, "http")
        .start()
        .await?;

    // Here the program serves.
    if let Ok(mut terminated) = signal(SignalKind::terminate()) {
        terminated.recv().await;
    }

    let drained = registration
        .drain(None, |progress| {
            let (done, all) = (progress.done_count, progress.subscriber_count);
            println!("{done} of {all} callers know");
        })
        .await?;
    if drained.outcome() == DrainOutcome::Deadline {
        println!("{} callers do not know", drained.laggards.len());
    }
    // Calls in flight are finished, and then it ends.
    client.close().await
}
