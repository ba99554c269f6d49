//! Lists for a caller who says where it is.

use stanchion_client::proto::{
    Instance, ListInstancesRequest, Locality, LocalityTier, RegisterInstanceRequest,
};

use crate::support::server::{Backend, Server, assert_invalid, eventually, on_both_stores};

use super::{ALL, SERVING, ids, instance, open, patient_server, register, registration};

on_both_stores! {
    near_instances_come_first_and_say_how_near_they_are,
    far_instances_are_left_out_while_enough_near_ones_are_healthy,
    a_place_that_cannot_be_is_refused,
}

const ZONE: LocalityTier = LocalityTier::Zone;
const REGION: LocalityTier = LocalityTier::Region;
const ELSEWHERE: LocalityTier = LocalityTier::Elsewhere;

async fn place(server: &Server, session: &str, id: &str, region: &str, zone: &str) {
    let request = RegisterInstanceRequest {
        instance: Some(Instance {
            region: region.into(),
            zone: zone.into(),
            ..instance(id)
        }),
        ..registration(session, id)
    };
    register(server, request).await.unwrap();
}

fn at(region: &str, zone: &str, failover_threshold: Option<f64>) -> ListInstancesRequest {
    ListInstancesRequest {
        service: "web".into(),
        locality: Some(Locality {
            region: region.into(),
            zone: zone.into(),
            failover_threshold,
        }),
        ..ListInstancesRequest::default()
    }
}

/// What a list shows, page by page.
async fn shown(server: &Server, mut request: ListInstancesRequest) -> Vec<(String, LocalityTier)> {
    let mut shown = Vec::new();
    loop {
        let page = server.registry().list_instances(request.clone()).await;
        let page = page.unwrap().into_inner();
        assert!(page.resume_token.is_empty());
        let placed = |i: Instance| (i.instance_id.clone(), i.locality_tier());
        shown.extend(page.instances.into_iter().map(placed));
        if page.next_page_token.is_empty() {
            return shown;
        }
        request.page_token = page.next_page_token;
    }
}

async fn shown_ids(server: &Server, request: ListInstancesRequest) -> Vec<String> {
    let shown = shown(server, request).await;
    shown.into_iter().map(|(id, _)| id).collect()
}

async fn near_instances_come_first_and_say_how_near_they_are(backend: Backend) {
    let server = backend.server().await;
    let session = open(&server, "").await;
    for (id, region, zone) in [
        ("a", "west", "1"),
        ("b", "east", "2"),
        ("c", "east", "1"),
        ("d", "", ""),
        ("e", "east", "1"),
        // Whose region nobody knows is in the zone it says.
        ("f", "", "1"),
    ] {
        place(&server, &session, id, region, zone).await;
    }
    let all = [
        ("c".to_owned(), ZONE),
        ("e".to_owned(), ZONE),
        ("f".to_owned(), ZONE),
        ("b".to_owned(), REGION),
        ("a".to_owned(), ELSEWHERE),
        ("d".to_owned(), ELSEWHERE),
    ];
    assert_eq!(shown(&server, at("east", "1", None)).await, all);
    for page_size in 1..=7 {
        let request = ListInstancesRequest {
            page_size,
            ..at("east", "1", None)
        };
        assert_eq!(shown(&server, request).await, all, "{page_size} a page");
    }
    // One of both is enough to say.
    let zone = shown_ids(&server, at("", "1", None)).await;
    assert_eq!(zone, ["a", "c", "e", "f", "b", "d"]);
    let region = shown(&server, at("west", "", None)).await;
    assert_eq!(region[0], ("a".to_owned(), REGION));
    assert_eq!(region[1], ("b".to_owned(), ELSEWHERE));
    // Who does not say where it is gets them by id, without a tier.
    let plain = super::list(&server, SERVING).await.instances;
    assert_eq!(plain[0].instance_id, "a");
    assert_eq!(plain[0].locality_tier(), LocalityTier::Unspecified);
    // A filter goes before.
    let filtered = ListInstancesRequest {
        filter: "zone != 2".into(),
        ..at("east", "2", None)
    };
    assert_eq!(
        shown_ids(&server, filtered).await,
        ["c", "e", "a", "d", "f"]
    );
    server.stop().await;
}

async fn far_instances_are_left_out_while_enough_near_ones_are_healthy(backend: Backend) {
    let server = patient_server(&backend).await;
    let (stays, goes) = (open(&server, "").await, open(&server, "").await);
    // Two of three in the zone and three of five in the region stay healthy.
    for (id, session, region, zone) in [
        ("a", &stays, "east", "1"),
        ("b", &stays, "east", "1"),
        ("c", &goes, "east", "1"),
        ("d", &stays, "east", "2"),
        ("e", &goes, "east", "2"),
        ("f", &stays, "west", "1"),
    ] {
        place(&server, session, id, region, zone).await;
    }
    assert_eq!(
        shown_ids(&server, at("east", "1", Some(1.0))).await,
        ["a", "b", "c"]
    );
    server.expire(&goes).await;
    eventually("suspicion", async || {
        (ids(&server, SERVING).await.len() == 4).then_some(())
    })
    .await;

    let within = async |threshold| shown_ids(&server, at("east", "1", Some(threshold))).await;
    assert_eq!(within(0.0).await, ["a", "b"]);
    assert_eq!(
        within(2.0 / 3.0).await,
        ["a", "b"],
        "exactly as many as asked for"
    );
    assert_eq!(
        within(0.7).await,
        ["a", "b", "d", "f"],
        "0.6 in the region: all"
    );
    let all = ListInstancesRequest {
        view: ALL.into(),
        ..at("east", "1", Some(2.0 / 3.0))
    };
    assert_eq!(shown_ids(&server, all).await, ["a", "b", "c"]);
    // The region makes up for the zone.
    assert_eq!(
        shown_ids(&server, at("east", "2", Some(0.6))).await,
        ["d", "a", "b"]
    );
    // Where nothing is, there is not enough.
    assert_eq!(
        shown_ids(&server, at("east", "3", Some(0.5))).await,
        ["a", "b", "d"]
    );
    assert_eq!(
        shown_ids(&server, at("north", "3", Some(0.0))).await,
        ["a", "b", "d", "f"]
    );

    // How far a list reaches is decided once.
    let request = ListInstancesRequest {
        page_size: 1,
        ..at("east", "1", Some(0.6))
    };
    let first = server.registry().list_instances(request.clone()).await;
    let first = first.unwrap().into_inner();
    server.expire(&stays).await;
    let other = open(&server, "").await;
    place(&server, &other, "b", "east", "1").await;
    // Enough for the service not to be protected.
    place(&server, &other, "g", "west", "1").await;
    place(&server, &other, "h", "west", "1").await;
    let next = ListInstancesRequest {
        page_token: first.next_page_token,
        ..request
    };
    assert_eq!(shown_ids(&server, next).await, ["b"]);
    server.stop().await;
}

async fn a_place_that_cannot_be_is_refused(backend: Backend) {
    let server = backend.server().await;
    for (request, field) in [
        (at("", "", None), "locality"),
        (at("east", "1", Some(1.1)), "locality.failover_threshold"),
        (
            at("east", "1", Some(f64::NAN)),
            "locality.failover_threshold",
        ),
        (at(&"r".repeat(129), "1", None), "locality.region"),
        (at("east", "\n", None), "locality.zone"),
    ] {
        let refused = server.registry().list_instances(request).await;
        assert_invalid(&refused.unwrap_err(), field);
    }
    server.stop().await;
}
