//! Counting under a lock: what a holder does with it.

use stanchion_client::{
    new_request_id,
    proto::{GetConfigRequest, PutConfigRequest, config_service_client::ConfigServiceClient},
};
use tonic::transport::Channel;

use super::{COUNTERS, Holder, claim::Want, turn::ANSWER};
use crate::{
    load::asking::{Answer, ask},
    lock_history::{Event, Outcome},
};

/// A version of the counter, and its count.
pub(super) type Seen = Option<(i64, i64)>;

// === impl Holder ===

impl Holder {
    /// Counts one more than what was `seen`, or is there, under the token.
    pub(super) async fn increment(&self, want: &Want, token: i64, stale: bool, seen: Seen) -> Seen {
        let (version, count) = match seen {
            Some(seen) => seen,
            None => self.look().await?,
        };
        let operation = self.next_number();
        let request = PutConfigRequest {
            key: format!("{COUNTERS}{}", self.lock),
            content: format!("{} {token} {operation}", count + 1).into(),
            expected_version: Some(version),
            request_id: new_request_id(),
            guard: Some(want.guard(token)),
            ..Default::default()
        };
        let call = |channel: Channel| {
            let request = request.clone();
            async move { ConfigServiceClient::new(channel).put_config(request).await }
        };
        let outcome = match ask(&self.channels, ANSWER, call).await {
            Answer::Said { answer, .. } => Outcome::Accepted(answer.config.unwrap().version),
            Answer::Refused { after: false } => Outcome::Refused,
            Answer::Refused { after: true } | Answer::Unknown => Outcome::Unknown,
        };
        self.told.tell(Event::Increment {
            client: self.number,
            lock: self.lock.clone(),
            token,
            operation,
            stale,
            outcome,
        });
        match outcome {
            Outcome::Accepted(version) => Some((version, count + 1)),
            Outcome::Refused | Outcome::Unknown => None,
        }
    }

    /// The version and the count of the counter.
    async fn look(&self) -> Seen {
        let request = GetConfigRequest {
            key: format!("{COUNTERS}{}", self.lock),
            ..Default::default()
        };
        let call = |channel: Channel| {
            let request = request.clone();
            async move { ConfigServiceClient::new(channel).get_config(request).await }
        };
        match ask(&self.channels, ANSWER, call).await {
            Answer::Said { answer, .. } => {
                let config = answer.config.unwrap();
                let content = String::from_utf8(config.content.to_vec()).unwrap();
                let count = content.split(' ').next()?.parse().ok()?;
                Some((config.version, count))
            }
            Answer::Refused { .. } => Some((0, 0)),
            Answer::Unknown => None,
        }
    }
}
