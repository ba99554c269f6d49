//! The stream of `KeepAlive`: heartbeats in, answers and notices out.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use futures_util::{Stream, future::BoxFuture, stream};
use stanchion_client::proto::{
    self, Final, KeepAliveEnd, KeepAliveRequest, KeepAliveResponse, SessionAlive,
    keep_alive_response::Message,
};
use tonic::{Status, Streaming};

use crate::{
    domain::session::{HeartbeatStream, InstanceLost, LockLost, Loss, Lost, Said, SessionLost},
    domain::session_id::SessionId,
    rpc::{
        Context,
        convert::{Violations, wire_duration},
        status,
    },
};

/// The answers of `KeepAlive`.
pub(super) type KeepAliveStream =
    Pin<Box<dyn Stream<Item = Result<KeepAliveResponse, Status>> + Send>>;

/// What a stream needs between two messages.
struct Conversation {
    context: Context,
    /// `None` once the client has said that no more will come.
    heartbeats: Option<Streaming<KeepAliveRequest>>,
    stream: HeartbeatStream,
    too_old: BoxFuture<'static, ()>,
    stall_limit: Duration,
    yielded: Option<Instant>,
    ended: bool,
}

/// Opens the stream.
pub(super) fn stream(
    context: &Context,
    stream: HeartbeatStream,
    heartbeats: Streaming<KeepAliveRequest>,
) -> KeepAliveStream {
    let settings = &context.settings.watch;
    let max_age = settings.max_age.mul_f64(rand::random_range(0.9..1.1));
    let conversation = Conversation {
        heartbeats: Some(heartbeats),
        stream,
        too_old: context.core.clock.sleep(max_age),
        stall_limit: settings.stall_limit,
        yielded: None,
        ended: false,
        context: context.clone(),
    };
    Box::pin(stream::unfold(
        // Boxed, because it is moved with every message.
        Box::new(conversation),
        |mut conversation| async move {
            let said = conversation.next().await?;
            conversation.ended = conversation.ended || said.is_err();
            Some((said, conversation))
        },
    ))
}

// === impl Conversation ===

impl Conversation {
    async fn next(&mut self) -> Option<Result<KeepAliveResponse, Status>> {
        // This runs again only when the transport has taken the message before.
        let clock = &self.context.core.clock;
        if let Some(yielded) = self.yielded
            && !self.ended
            && clock.now().duration_since(yielded) > self.stall_limit
        {
            return Some(Err(status::subscriber_too_slow()));
        }
        let message = self.message().await?;
        self.yielded = Some(self.context.core.clock.now());
        Some(message.map(|message| KeepAliveResponse {
            header: Some(self.context.header.now()),
            message: Some(message),
        }))
    }

    /// Waits for something to say; `None` when all is said.
    async fn message(&mut self) -> Option<Result<Message, Status>> {
        loop {
            if self.ended || (self.heartbeats.is_none() && self.stream.is_idle()) {
                return None;
            }
            let listening = !self.stream.is_full();
            let heartbeat = async {
                match &mut self.heartbeats {
                    Some(heartbeats) if listening => heartbeats.message().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                said = self.stream.next() => return Some(self.say(said)),
                heartbeat = heartbeat => match heartbeat {
                    Ok(Some(heartbeat)) => {
                        if let Some(answer) = self.hear(heartbeat) {
                            return Some(answer);
                        }
                    }
                    Ok(None) => self.heartbeats = None,
                    // The connection broke, or what came was no heartbeat.
                    Err(status) => return Some(Err(status)),
                },
                () = &mut self.too_old => return Some(Ok(self.end(Final::MaxAge))),
            }
        }
    }

    fn hear(&mut self, heartbeat: KeepAliveRequest) -> Option<Result<Message, Status>> {
        let mut violations = Violations::new();
        let id = violations.session_id(&heartbeat.session_id);
        if heartbeat.seq < 0 {
            violations.add("seq", "must not be negative");
        }
        if let Err(status) = violations.check() {
            return Some(Err(status));
        }
        let said = match id {
            Some(id) => self.stream.heartbeat(id, heartbeat.seq)?,
            // What cannot be an id is the id of nothing.
            None => return Some(Ok(session_lost(heartbeat.session_id, SessionLost::Expired))),
        };
        Some(self.say(said))
    }

    fn say(&mut self, said: Said) -> Result<Message, Status> {
        match said {
            Said::Alive {
                session,
                seq,
                ttl,
                valid_for,
            } => Ok(Message::Alive(SessionAlive {
                session_id: session.to_text(),
                seq,
                ttl: Some(wire_duration(ttl)),
                valid_for: Some(wire_duration(valid_for)),
            })),
            Said::Lost(loss) => Ok(lost(&loss)),
            Said::Draining => Ok(self.end(Final::Draining)),
            Said::TooSlow => Err(status::subscriber_too_slow()),
        }
    }

    fn end(&mut self, reason: Final) -> Message {
        self.ended = true;
        Message::End(KeepAliveEnd {
            r#final: reason.into(),
        })
    }
}

fn lost(loss: &Loss) -> Message {
    let session_id = SessionId::to_text(loss.session);
    match &loss.what {
        Lost::Session(reason) => session_lost(session_id, *reason),
        Lost::Instance {
            key,
            cause,
            client_id,
        } => Message::InstanceLost(proto::InstanceLost {
            session_id,
            namespace: key.namespace.to_string(),
            service: key.service.to_string(),
            instance_id: key.id.to_string(),
            cause: match cause {
                InstanceLost::TakenOver => proto::InstanceLostCause::TakenOver,
                InstanceLost::Deregistered => proto::InstanceLostCause::Deregistered,
            }
            .into(),
            client_id: client_id.to_string(),
        }),
        Lost::Lock {
            lock,
            fencing_token,
            cause,
        } => Message::LockLost(proto::LockLost {
            session_id,
            namespace: lock.namespace.to_string(),
            lock: lock.name.to_string(),
            fencing_token: *fencing_token,
            cause: match cause {
                LockLost::Removed => proto::LockLostCause::Removed,
                LockLost::EpochChanged => proto::LockLostCause::EpochChanged,
            }
            .into(),
        }),
    }
}

fn session_lost(session_id: String, reason: SessionLost) -> Message {
    Message::SessionLost(proto::SessionLost {
        session_id,
        reason: match reason {
            SessionLost::Expired => proto::SessionLostReason::Expired,
            SessionLost::Closed => proto::SessionLostReason::Closed,
            SessionLost::EpochChanged => proto::SessionLostReason::EpochChanged,
        }
        .into(),
    })
}
