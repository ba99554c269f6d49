//! Who may have an instance id: the rules of registration, apart from the store.

use std::sync::Arc;

use crate::{
    domain::{
        error::{Error, Resource},
        keyspace::InstanceKey,
        names::Label,
        records,
        session_id::SessionId,
    },
    store::Revision,
};

use crate::domain::registry::{InstanceRecord, InstanceSpec};

/// What a caller wants registered.
#[derive(Debug, Clone)]
pub(super) struct Registration {
    /// Which instance.
    pub key: InstanceKey,
    /// What is to be known of it.
    pub spec: InstanceSpec,
    /// Replaces the registration even of a live session.
    pub takeover: bool,
    /// The revision the current registration must have; `0`: there must be none.
    pub expected_revision: Option<Revision>,
    /// The name of the request; empty: one is made up.
    pub request_id: String,
    /// Who asks, unverified.
    pub actor: Label,
}

/// On whose behalf an instance is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// `None`: the registration is persistent.
    pub session: Option<SessionId>,
    /// The client id of that session.
    pub client_id: Label,
}

/// What is known of a key before it is written.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The record under it.
    pub record: Option<Arc<InstanceRecord>>,
    /// Whether the session that the record names lives; `None`: not known.
    pub owner_lives: Option<bool>,
    /// Whether this was read from the store during the call, and not from the cache.
    pub confirmed: bool,
}

/// What is to be done about a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: this is what was asked for.
    Current(Arc<InstanceRecord>),
    /// Write it, if the key is still as it was seen.
    Write {
        /// The session that must be gone at that moment, where the right rests on it.
        gone: Option<SessionId>,
    },
    /// The owner's fate decides, and is not known.
    Ask,
    /// Not allowed.
    Refuse(Error),
}

// === impl Seen ===

impl Seen {
    /// The revision the key was last written at.
    pub(super) fn revision(&self) -> Revision {
        self.record.as_ref().map_or(0, |record| record.mod_revision)
    }
}

/// Applies the rules. Ownership is the session that the record names: a takeover keeps the
/// record's create-revision, so that says nothing.
pub(super) fn decide(wanted: &Registration, owner: &Owner, seen: &Seen) -> Verdict {
    let Some(record) = &seen.record else {
        return match Error::unless_at(wanted.expected_revision, 0) {
            Err(error) => Verdict::Refuse(error),
            Ok(()) => Verdict::Write { gone: None },
        };
    };
    let own = record.session == owner.session;
    // Before anything is compared: the first answer is the answer, even to `expected_revision`.
    if own && record.register_request_id == wanted.request_id {
        return Verdict::Current(record.clone());
    }
    if let Err(error) = Error::unless_at(wanted.expected_revision, record.mod_revision) {
        return Verdict::Refuse(error);
    }
    if own && record.spec == wanted.spec && record.client_id == owner.client_id {
        return Verdict::Current(record.clone());
    }
    if let Err(error) = records::writable(wanted.key.path(), record.format) {
        return Verdict::Refuse(error);
    }
    let same_client = !owner.client_id.is_empty()
        && owner.session.is_some()
        && record.session.is_some()
        && record.client_id == owner.client_id;
    if own || same_client || wanted.takeover {
        return Verdict::Write { gone: None };
    }
    match (record.session, seen.owner_lives) {
        (Some(session), Some(false)) => Verdict::Write {
            gone: Some(session),
        },
        (Some(_), None) => Verdict::Ask,
        (Some(_), Some(true)) | (None, _) => Verdict::Refuse(taken(record)),
    }
}

fn taken(record: &InstanceRecord) -> Error {
    let holder = match record.session {
        // The id is a secret of its client.
        Some(session) if record.client_id.is_empty() => session.fingerprint(),
        Some(_) => record.client_id.to_string(),
        None => "a persistent registration".to_owned(),
    };
    Error::AlreadyExists {
        resource: Resource::Instance,
        name: record.key.path(),
        holder,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use crate::domain::names::{InstanceId, Namespace, ServiceName};

    use super::*;

    fn wanted() -> Registration {
        Registration {
            key: InstanceKey {
                namespace: Namespace::parse("default").unwrap(),
                service: ServiceName::parse("web").unwrap(),
                id: InstanceId::parse("1").unwrap(),
            },
            spec: InstanceSpec {
                address: "10.0.0.1".into(),
                ..InstanceSpec::default()
            },
            takeover: false,
            expected_revision: None,
            request_id: "new".into(),
            actor: Label::default(),
        }
    }

    fn owner(client_id: &str) -> Owner {
        Owner {
            session: Some(SessionId::random()),
            client_id: Label::parse(client_id).unwrap(),
        }
    }

    fn seen(owner: &Owner, owner_lives: Option<bool>) -> Seen {
        let record = InstanceRecord {
            key: wanted().key,
            spec: InstanceSpec::default(),
            session: owner.session,
            client_id: owner.client_id.clone(),
            request_id: "old".into(),
            register_request_id: "old".into(),
            actor: Label::default(),
            register_time: SystemTime::UNIX_EPOCH,
            format: records::FORMAT,
            create_revision: 5,
            mod_revision: 7,
        };
        Seen {
            record: Some(Arc::new(record)),
            owner_lives,
            confirmed: true,
        }
    }

    fn refused(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Refuse(Error::AlreadyExists { .. }))
    }

    const WRITE: Verdict = Verdict::Write { gone: None };

    #[test]
    fn an_id_changes_hands_only_when_its_owner_is_gone_or_agrees_or_is_overruled() {
        let (old, new) = (owner(""), owner(""));
        assert!(refused(&decide(&wanted(), &new, &seen(&old, Some(true)))));
        assert_eq!(decide(&wanted(), &new, &seen(&old, None)), Verdict::Ask);
        let gone = Verdict::Write { gone: old.session };
        assert_eq!(decide(&wanted(), &new, &seen(&old, Some(false))), gone);
        let takeover = Registration {
            takeover: true,
            ..wanted()
        };
        assert_eq!(decide(&takeover, &new, &seen(&old, Some(true))), WRITE);
        let seen_named = seen(&owner("pod-1"), Some(true));
        assert_eq!(decide(&wanted(), &owner("pod-1"), &seen_named), WRITE);
        assert!(refused(&decide(&wanted(), &owner("pod-2"), &seen_named)));
    }

    #[test]
    fn persistent_registrations_replace_each_other_and_nothing_else_replaces_them() {
        let persistent = Owner {
            session: None,
            client_id: Label::default(),
        };
        assert_eq!(
            decide(&wanted(), &persistent, &seen(&persistent, None)),
            WRITE
        );
        assert!(refused(&decide(
            &wanted(),
            &owner("a"),
            &seen(&persistent, None)
        )));
        let live = seen(&owner("a"), Some(true));
        assert!(refused(&decide(&wanted(), &persistent, &live)));
    }

    #[test]
    fn a_repeated_request_gets_its_first_answer_before_expectations_are_looked_at() {
        let me = owner("");
        let repeated = Registration {
            request_id: "old".into(),
            expected_revision: Some(0),
            ..wanted()
        };
        let current = |verdict| matches!(verdict, Verdict::Current(_));
        assert!(current(decide(&repeated, &me, &seen(&me, Some(true)))));
        // The same request id of another session is another request.
        assert!(!current(decide(
            &repeated,
            &owner(""),
            &seen(&me, Some(true))
        )));
        let other = Registration {
            request_id: "new".into(),
            ..repeated
        };
        assert_eq!(
            decide(&other, &me, &seen(&me, Some(true))),
            Verdict::Refuse(Error::unless_at(Some(0), 7).unwrap_err())
        );
    }

    #[test]
    fn the_same_content_again_is_no_write() {
        let me = owner("");
        let same = Registration {
            spec: InstanceSpec::default(),
            ..wanted()
        };
        assert!(matches!(
            decide(&same, &me, &seen(&me, Some(true))),
            Verdict::Current(_)
        ));
    }
}
