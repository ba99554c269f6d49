//! What was done to the audit behind our back, and how it is found.

use prost::Message;
use stanchion::{proto::store as stored, store::Operation};
use stanchion_client::proto::{AuditFault, AuditFaultKind, VerifyAuditRequest};

use super::{NEVER, SOON, default};
use crate::support::server::{Backend, Server, on_both_stores};

on_both_stores! {
    an_entry_that_was_overwritten_before_it_was_sealed_is_found,
    an_entry_that_was_removed_before_it_was_sealed_is_found,
    the_last_entry_removed_before_it_was_sealed_is_found,
    an_entry_that_nobody_wrote_is_found,
    an_altered_entry_of_the_chain_is_found,
    an_entry_cut_out_of_the_chain_is_found,
    an_entry_put_into_the_chain_is_found,
    a_stretch_that_is_gone_is_found,
    a_stretch_that_cannot_be_read_is_found,
    a_chain_whose_end_was_cut_off_is_found,
    a_chain_that_was_computed_anew_is_found_by_who_noted_its_end,
}

/// A server with six changes of two keys; unsealed ones, or sealed one by one.
async fn with_changes(backend: &Backend, sealed: bool) -> Server {
    let server = backend.sealing(if sealed { SOON } else { NEVER }).await;
    for number in 0..6 {
        server
            .put_config(&format!("k{}", number % 2), &format!("{number}"))
            .await;
        if sealed {
            server.sealed().await;
        }
    }
    server.is_whole().await;
    server
}

async fn fault(server: &Server) -> AuditFault {
    server.verify().await.fault.expect("nothing was found")
}

async fn an_entry_that_was_overwritten_before_it_was_sealed_is_found(backend: Backend) {
    let server = with_changes(&backend, false).await;
    let victim = server.unsealed().await.swap_remove(2);
    let mut entry = stored::AuditEntry::decode(victim.value.clone()).unwrap();
    entry.actor = "somebody else".into();
    server
        .tamper(Operation::put(victim.key.clone(), entry.encode_to_vec()))
        .await;
    let found = fault(&server).await;
    assert_eq!(found.kind(), AuditFaultKind::Altered);
    assert_eq!((found.number, found.revision), (0, victim.create_revision));
    assert_eq!(found.key, "k0");
    // Sealing does not wash it clean.
    let sealer = backend.sealing(SOON).await;
    server.stop().await;
    sealer.sealed().await;
    let found = fault(&sealer).await;
    assert_eq!((found.kind(), found.number), (AuditFaultKind::Altered, 3));
    sealer.stop().await;
}

async fn an_entry_that_was_removed_before_it_was_sealed_is_found(backend: Backend) {
    let server = with_changes(&backend, false).await;
    let victim = server.unsealed().await.swap_remove(2);
    server.tamper(Operation::delete(victim.key)).await;
    let found = fault(&server).await;
    assert_eq!(
        (found.kind(), &found.key[..]),
        (AuditFaultKind::Missing, "k0")
    );
    let sealer = backend.sealing(SOON).await;
    server.stop().await;
    sealer.sealed().await;
    let found = fault(&sealer).await;
    assert_eq!((found.kind(), found.number), (AuditFaultKind::Missing, 4));
    sealer.stop().await;
}

async fn the_last_entry_removed_before_it_was_sealed_is_found(backend: Backend) {
    let server = with_changes(&backend, false).await;
    let victim = server.unsealed().await.swap_remove(5);
    server.tamper(Operation::delete(victim.key)).await;
    let found = fault(&server).await;
    assert_eq!(
        (found.kind(), &found.key[..]),
        (AuditFaultKind::Missing, "k1")
    );
    assert_eq!(found.revision, victim.create_revision);
    server.stop().await;
}

async fn an_entry_that_nobody_wrote_is_found(backend: Backend) {
    let server = with_changes(&backend, false).await;
    let copied = server.unsealed().await.swap_remove(2);
    let key = server.app().core.keys.audit_entry(&default(), 7);
    server
        .tamper(Operation::put(key.clone(), copied.value.clone()))
        .await;
    assert_eq!(fault(&server).await.kind(), AuditFaultKind::Inserted);
    let mut entry = stored::AuditEntry::decode(copied.value).unwrap();
    entry.version = 4;
    server.tamper(Operation::delete(key)).await;
    server.is_whole().await;
    for (number, subject) in [(8, "k0"), (9, "never-was")] {
        entry.subject = subject.into();
        let key = server.app().core.keys.audit_entry(&default(), number);
        server
            .tamper(Operation::put(key.clone(), entry.encode_to_vec()))
            .await;
        let found = fault(&server).await;
        assert_eq!(
            (found.kind(), &found.key[..]),
            (AuditFaultKind::Inserted, subject)
        );
        server.tamper(Operation::delete(key)).await;
    }
    let key = server.app().core.keys.audit_entry(&default(), 10);
    server.tamper(Operation::put(key, "no entry at all")).await;
    assert_eq!(fault(&server).await.kind(), AuditFaultKind::Inserted);
    server.stop().await;
}

/// Changes one stretch of the chain; what is found then.
async fn after(backend: &Backend, change: impl Fn(&mut stored::AuditSeal)) -> AuditFault {
    let server = with_changes(backend, true).await;
    let (kv, mut seal) = server.seals().await.swap_remove(3);
    change(&mut seal);
    server
        .tamper(Operation::put(kv.key, seal.encode_to_vec()))
        .await;
    let found = fault(&server).await;
    server.stop().await;
    found
}

async fn an_altered_entry_of_the_chain_is_found(backend: Backend) {
    let found = after(&backend, |seal| {
        let sealed = &mut seal.entries[0];
        let mut entry = stored::AuditEntry::decode(sealed.record.clone()).unwrap();
        entry.actor = "somebody else".into();
        sealed.record = entry.encode_to_vec().into();
    });
    let found = found.await;
    assert_eq!((found.kind(), found.number), (AuditFaultKind::Altered, 4));
    assert_eq!(found.key, "k1");
}

async fn an_entry_cut_out_of_the_chain_is_found(backend: Backend) {
    let found = after(&backend, |seal| drop(seal.entries.remove(0))).await;
    assert_eq!((found.kind(), found.number), (AuditFaultKind::Missing, 4));
}

async fn an_entry_put_into_the_chain_is_found(backend: Backend) {
    let found = after(&backend, |seal| {
        let twice = seal.entries[0].clone();
        seal.entries.push(twice);
    });
    let found = found.await;
    assert_eq!((found.kind(), found.number), (AuditFaultKind::Inserted, 4));
}

async fn a_stretch_that_is_gone_is_found(backend: Backend) {
    let server = with_changes(&backend, true).await;
    let (kv, _) = server.seals().await.swap_remove(3);
    server.tamper(Operation::delete(kv.key)).await;
    let found = fault(&server).await;
    assert_eq!((found.kind(), found.number), (AuditFaultKind::Missing, 4));
    server.stop().await;
}

async fn a_stretch_that_cannot_be_read_is_found(backend: Backend) {
    let server = with_changes(&backend, true).await;
    let (kv, _) = server.seals().await.swap_remove(3);
    server
        .tamper(Operation::put(kv.key, "no seal at all"))
        .await;
    let found = fault(&server).await;
    assert_eq!((found.kind(), found.number), (AuditFaultKind::Altered, 4));
    server.stop().await;
}

async fn a_chain_whose_end_was_cut_off_is_found(backend: Backend) {
    let server = with_changes(&backend, true).await;
    let noted = server.verify().await.tip;
    let (kv, _) = server.seals().await.swap_remove(5);
    server.tamper(Operation::delete(kv.key)).await;
    let found = fault(&server).await;
    assert_eq!(
        (found.kind(), &found.key[..]),
        (AuditFaultKind::Missing, "k1")
    );
    let request = VerifyAuditRequest {
        noted,
        ..VerifyAuditRequest::default()
    };
    let found = server.try_verify(request).await.unwrap().fault.unwrap();
    assert_eq!((found.kind(), found.number), (AuditFaultKind::Missing, 6));
    server.stop().await;
}

async fn a_chain_that_was_computed_anew_is_found_by_who_noted_its_end(backend: Backend) {
    use stanchion::domain::audit::Link;

    let server = with_changes(&backend, true).await;
    let noted = server.verify().await.tip;
    let mut at = Link::start(&default());
    for (kv, mut seal) in server.seals().await {
        seal.hash_before = at.hash.to_vec().into();
        for sealed in &mut seal.entries {
            let mut entry = stored::AuditEntry::decode(sealed.record.clone()).unwrap();
            entry.actor = "somebody else".into();
            sealed.record = entry.encode_to_vec().into();
            let anew = at.seal(
                sealed.revision,
                sealed.mod_revision,
                sealed.id.clone(),
                sealed.record.clone(),
            );
            sealed.hash = anew.hash.to_vec().into();
            at = anew.link();
        }
        server
            .tamper(Operation::put(kv.key, seal.encode_to_vec()))
            .await;
    }
    server.is_whole().await;
    let request = VerifyAuditRequest {
        noted,
        ..VerifyAuditRequest::default()
    };
    let found = server.try_verify(request).await.unwrap().fault.unwrap();
    assert_eq!((found.kind(), found.number), (AuditFaultKind::Altered, 6));
    server.stop().await;
}
