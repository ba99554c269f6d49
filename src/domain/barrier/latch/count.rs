//! Counting a latch down.

use crate::{
    cache::Freshness,
    domain::{
        Revised, error::Error, guard::Guard, keyspace::LatchPath, names::PartyName, records,
        revise::Step, state::View,
    },
    store::{Compare, Operation, Txn},
};

use super::{Arrival, Latches, not_found};

// === impl Latches ===

impl Latches {
    /// Counts a latch down for a party, once. Says whether this call did, and how many are missing
    /// then.
    ///
    /// Errors: [`Error::NotFound`], [`Error::GuardFailed`].
    pub async fn count_down(
        &self,
        path: &LatchPath,
        party: &PartyName,
        guard: Option<&Guard>,
    ) -> Result<(Revised<bool>, usize), Error> {
        let arrival = Arrival {
            create_time: self.core.clock.system_time(),
            call: rand::random(),
            revision: 0,
        };
        let value = records::encode_latch_arrival(&arrival);
        let decide = |view: &View| {
            let latch = view.state.latch(path).ok_or_else(|| not_found(path))?;
            let made = latch.made.as_ref().ok_or_else(|| not_found(path))?;
            if let Some(counted) = latch.arrivals.get(party) {
                // By this very call, if an answer was lost.
                return Ok(Step::Keep(counted.call == arrival.call));
            }
            if latch.is_open() {
                return Ok(Step::Keep(false));
            }
            let record = self.core.keys.latch(path);
            let key = self.core.keys.latch_arrival(path, party);
            let txn = Txn::new()
                .when(Compare::create_revision(record, made.create_revision))
                .when(Compare::absent(key.clone()))
                .then(Operation::put_leased(key, value.clone(), made.lease));
            Ok(Step::Send(txn, true))
        };
        let name = path.path();
        let counted = match self.core.revise(&name, guard, decide).await {
            // Its lifetime ended in that moment.
            Err(Error::LeaseExpired) => return Err(not_found(path)),
            counted => counted?,
        };
        let freshness = Freshness::AtLeast(counted.revision);
        let view = self.core.cache.read(freshness).await?;
        let latch = view.state.latch(path).ok_or_else(|| not_found(path))?;
        Ok((counted, latch.remaining()))
    }
}
