//! A tour: registers, discovers, configures and locks, at a server on this machine.
#![allow(clippy::print_stdout)]

use stanchion_client::{Client, Options};

#[tokio::main]
async fn main() -> stanchion_client::Result<()> {
    let client = Client::connect(["http://127.0.0.1:7650"], Options::default())?;

    let registration = client
        .register("shop", "10.0.0.7")
        .port("http", 8080, "http")
        .start()
        .await?;

    let shops = client.discover("shop");
    shops.ready().await?;
    println!("{} shop", shops.instances().len());

    client.config().put("shop/limit", "100").send().await?;
    let limit = client.config().get("shop/limit").await?;
    println!("limit {:?}", limit.content);

    let lock = client.lock("nightly").acquire().await?;
    println!("locked with token {}", lock.fencing_token());
    lock.release().await?;

    registration.deregister().await?;
    client.close().await
}
