//! The end of a drain: the instance is removed.

use std::iter;

use crate::{
    domain::{error::Error, keyspace::InstanceKey, state::View},
    store::Compare,
};

use crate::domain::registry::{
    RemovalCause,
    drain::{Drains, Running},
    removal::departure::Departure,
};

// === impl Drains ===

impl Drains {
    /// Removes an instance whose drain is over, with what was decided and reported because of it.
    /// Says whether it did: not if something came between.
    pub(super) async fn end(
        &self,
        view: &View,
        running: Running,
        detail: String,
    ) -> Result<bool, Error> {
        let keys = &self.core.keys;
        let record = running.instance.record.clone();
        let key = &record.key;
        let operator = keys.operator(key);
        let decided = running.operator.mod_revision;
        // What else was decided stays. The drain in it is of a registration that is no more.
        let decision = running.operator.is_only_drain().then(|| operator.clone());
        let reporting = |key: &InstanceKey| {
            let path = key.path();
            let reported = |replica: &&_| {
                let path = format!("{path}/{replica}");
                view.state.drain_acks.contains_key(path.as_bytes())
            };
            let replicas = view.state.replicas.keys().filter(reported);
            replicas
                .map(|replica| keys.drain_ack(key, replica))
                .collect::<Vec<_>>()
        };
        let with = iter::empty()
            .chain(self.core.findings_of(&record, &view.state))
            .chain(decision)
            .chain(reporting(key))
            .collect();
        let departure = Departure {
            cause: RemovalCause::Drained,
            detail,
            when: vec![Compare::mod_revision(operator, decided)],
            with,
            record,
        };
        Ok(self.core.depart(&[departure]).await? > 0)
    }
}
