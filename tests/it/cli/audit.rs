//! `stanchion audit …`.

use std::time::Duration;

use stanchion::store::{Operation, Txn};

use super::Shell;
use crate::support::server::{Backend, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_listed_and_verified_and_tampering_has_an_exit_code() {
    let backend = Backend::embedded().await;
    let mut settings = backend.settings();
    settings.domain.audit_seal_interval = Duration::from_millis(20);
    let server = backend.server_with(settings).await;
    let shell = Shell::at(server.address);

    shell.text("config put shop/limit 100 -m first").await;
    shell.text("config put shop/limit 200").await;
    shell.text("config delete shop/limit").await;
    let listed = shell.json("audit list --prefix shop/").await;
    let versions: Vec<_> = listed["entries"].as_array().unwrap().iter().collect();
    assert_eq!(versions.len(), 3);
    assert_eq!(versions[0]["operation"], "delete_config");
    assert_eq!(versions[2]["comment"], "first");
    let two = shell.json("audit list --limit 2 --operation put").await;
    assert_eq!(two["entries"].as_array().unwrap().len(), 2);
    let table = shell.text("audit list").await;
    assert_eq!(table.lines().count(), 4, "{table}");
    shell.text("isolate web/a -m broken").await;
    let deeds = shell.json("audit list --kind instance --kind lock").await;
    let deeds = deeds["entries"].as_array().unwrap();
    assert_eq!(deeds.len(), 1);
    assert_eq!(deeds[0]["operation"], "isolate_instance");
    assert_eq!(deeds[0]["subject"], "web/a");
    for none in ["force-release", "request-yield"] {
        let none = shell.json(&format!("audit list --operation {none}")).await;
        assert_eq!(none["entries"].as_array().unwrap().len(), 0);
    }
    let older = shell.json("audit list --until 2020-03-01T12:00:00Z").await;
    assert_eq!(older["entries"].as_array().unwrap().len(), 0);
    // Longer ago than any clock counts.
    let refused = "audit list --since 400000000000years";
    assert_eq!(shell.code(refused).await, 2);

    let tip = eventually("the entries to be sealed", || async {
        let verified = shell.json("audit verify").await;
        (verified["tip"]["number"] == 4).then_some(verified)
    })
    .await;
    let printed = shell.text("audit verify").await;
    let place = printed.lines().nth(1).unwrap();
    assert_eq!(place, format!("4:{}", tip["tip"]["hash"].as_str().unwrap()));
    assert_eq!(
        shell.code(&format!("audit verify --noted {place}")).await,
        0
    );
    assert_eq!(shell.code("audit verify --noted nothing").await, 2);

    let core = &server.app().core;
    let namespace = stanchion::domain::names::Namespace::parse("default").unwrap();
    let all = core.keys.seals_up_to(&namespace, i64::MAX);
    let txn = Txn::new().then(Operation::Delete(all));
    core.store.txn(txn).await.unwrap();
    assert_eq!(
        shell.code(&format!("audit verify --noted {place}")).await,
        8
    );
    server.stop().await;
}
