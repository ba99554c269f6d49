//! The stream of `KeepAlive`: heartbeats in, answers and notices out.

mod alarm;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http_body::Frame;
use stanchion_client::proto::{
    self, Final, KeepAliveEnd, KeepAliveRequest, KeepAliveResponse, SessionAlive,
    keep_alive_response::Message,
};
use tonic::{Response, Status};

use crate::{
    clock::Clock,
    domain::keyspace::{QueueKind, QueuePath},
    domain::session::{
        Answer, HeartbeatStream, InstanceLost, LockLost, Loss, Lost, Said, SessionLost,
    },
    domain::session_id::SessionId,
    rpc::{
        Context, Peer,
        convert::{Violations, wire_duration},
        framed,
        header::Header,
        layers::trailers,
        lock::yield_request,
        status,
    },
};

use self::alarm::Alarm;

/// How many watches that are not here are told at once; a client that acknowledges more than it has
/// learns of the rest when it does so again.
const MAX_UNKNOWN: usize = 1000;
/// How many bytes of answers are gathered before they are given to the connection.
const FULL: usize = 8 * 1024;

/// What the framework sees of the answers: nothing, because they are written here.
pub(super) type KeepAliveStream = tokio_stream::Empty<Result<KeepAliveResponse, Status>>;

/// The body of the answer, which hears heartbeats and says what there is to say.
struct Conversation<H> {
    clock: Arc<dyn Clock>,
    header: Header,
    /// `None` once the client has said that no more will come.
    heartbeats: Option<H>,
    stream: HeartbeatStream,
    context: Context,
    /// Watches that were acknowledged and are not here, to be told.
    unknown: Vec<String>,
    /// Answers to heartbeats, framed, that are not given to the connection yet.
    answers: BytesMut,
    /// Whose connection lets them wait for others.
    peer: Option<Peer>,
    age: Alarm,
    stall_limit: Duration,
    /// When the transport got a message that it has not come back for yet.
    yielded: Option<Instant>,
    state: State,
}

enum State {
    Open,
    /// All is said but this.
    Ending(Status),
    Ended,
}

/// Opens the stream of `peer`.
pub(super) fn answer<H>(
    context: &Context,
    stream: HeartbeatStream,
    heartbeats: H,
    peer: Option<Peer>,
) -> Response<KeepAliveStream>
where
    H: Stream<Item = Result<KeepAliveRequest, Status>> + Send + Unpin + 'static,
{
    let settings = &context.settings.watch;
    let max_age = settings.max_age.mul_f64(rand::random_range(0.9..1.1));
    let opened = context.core.clock.now();
    let conversation = Conversation {
        heartbeats: Some(heartbeats),
        stream,
        context: context.clone(),
        unknown: Vec::new(),
        answers: BytesMut::new(),
        peer,
        age: Alarm::new(context.core.clock.as_ref(), opened + max_age),
        stall_limit: settings.stall_limit,
        yielded: None,
        state: State::Open,
        clock: context.core.clock.clone(),
        header: context.header.clone(),
    };
    framed::answer(tokio_stream::empty(), conversation)
}

// === impl Conversation ===

/// Nothing in it is pinned.
impl<H> Unpin for Conversation<H> {}

impl<H> http_body::Body for Conversation<H>
where
    H: Stream<Item = Result<KeepAliveRequest, Status>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let end = match std::mem::replace(&mut this.state, State::Open) {
            State::Open => match ready!(this.poll_message(context)) {
                Ok(message) => return Poll::Ready(Some(Ok(Frame::data(this.give(message))))),
                // However the stream ends, what was heard before has its answer.
                Err(end) if !this.answers.is_empty() => {
                    this.state = State::Ending(end);
                    return Poll::Ready(Some(Ok(Frame::data(this.give(None)))));
                }
                Err(end) => end,
            },
            State::Ending(end) => end,
            State::Ended => {
                this.state = State::Ended;
                return Poll::Ready(None);
            }
        };
        this.state = State::Ended;
        Poll::Ready(Some(trailers(&end)))
    }
}

impl<H> Conversation<H>
where
    H: Stream<Item = Result<KeepAliveRequest, Status>> + Unpin,
{
    /// Looks for something to say, or for answers alone; when all is said, for how it ends.
    fn poll_message(
        &mut self,
        context: &mut TaskContext<'_>,
    ) -> Poll<Result<Option<Message>, Status>> {
        let now = self.clock.now();
        // This runs again only when the transport has taken the message before.
        if let Some(yielded) = self.yielded.take()
            && now.duration_since(yielded) > self.stall_limit
        {
            return Poll::Ready(Err(status::subscriber_too_slow()));
        }
        let said = self.poll_said(context, now);
        if let Poll::Ready(Ok(_)) = said {
            self.yielded = Some(now);
        }
        said
    }

    fn poll_said(
        &mut self,
        context: &mut TaskContext<'_>,
        now: Instant,
    ) -> Poll<Result<Option<Message>, Status>> {
        loop {
            if self.answers.len() >= FULL {
                return Poll::Ready(Ok(None));
            }
            if self.heartbeats.is_none() && self.stream.is_idle() {
                return Poll::Ready(Err(Status::ok("")));
            }
            if !self.unknown.is_empty() {
                let subscriber_ids = std::mem::take(&mut self.unknown);
                let unknown = proto::AcksUnknown { subscriber_ids };
                return Poll::Ready(Ok(Some(Message::AcksUnknown(unknown))));
            }
            if let Poll::Ready(said) = self.stream.poll_next(context) {
                match self.say(said) {
                    Some(said) => return Poll::Ready(said.map(Some)),
                    None => continue,
                }
            }
            let heard = match &mut self.heartbeats {
                Some(heartbeats) if !self.stream.is_full() => heartbeats.poll_next_unpin(context),
                _ => Poll::Pending,
            };
            match heard {
                Poll::Ready(Some(Ok(heartbeat))) => {
                    if let Some(said) = self.hear(heartbeat) {
                        return Poll::Ready(said.map(Some));
                    }
                }
                Poll::Ready(None) => self.heartbeats = None,
                // The connection broke, or what came was no heartbeat.
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Err(status)),
                Poll::Pending if !self.answers.is_empty() => return Poll::Ready(Ok(None)),
                Poll::Pending => {
                    ready!(self.age.poll(context, now));
                    return Poll::Ready(Ok(Some(self.end(Final::MaxAge))));
                }
            }
        }
    }

    /// What goes to the connection: the answers, and `message` behind them. Answers alone may wait
    /// there.
    fn give(&mut self, message: Option<Message>) -> Bytes {
        let alone = message.is_none();
        if let Some(message) = message {
            self.append(message);
        }
        let frame = std::mem::take(&mut self.answers).freeze();
        if let Some(peer) = self.peer.as_ref().filter(|_| alone) {
            peer.let_wait(frame.len());
        }
        frame
    }

    fn answer(&mut self, session_id: String, answer: Answer) {
        self.append(Message::Alive(SessionAlive {
            session_id,
            seq: answer.seq,
            ttl: Some(wire_duration(answer.ttl)),
            valid_for: Some(wire_duration(answer.valid_for)),
        }));
    }

    fn append(&mut self, message: Message) {
        let response = KeepAliveResponse {
            header: Some(self.header.now()),
            message: Some(message),
        };
        framed::append(&mut self.answers, &response);
    }

    /// Takes a heartbeat in. What it returns is said at once.
    fn hear(&mut self, heartbeat: KeepAliveRequest) -> Option<Result<Message, Status>> {
        let mut violations = Violations::new();
        let id = violations.session_id(&heartbeat.session_id);
        if heartbeat.seq < 0 {
            violations.add("seq", "must not be negative");
        }
        let acks = violations.acks(heartbeat.acks);
        if let Err(status) = violations.check() {
            return Some(Err(status));
        }
        let unknown = self.context.acknowledge(acks);
        if !unknown.is_empty() {
            self.unknown.extend(unknown);
            self.unknown.truncate(MAX_UNKNOWN);
        }
        let text = heartbeat.session_id;
        let Some(id) = id else {
            // What cannot be an id is the id of nothing.
            return Some(Ok(session_lost(text, SessionLost::Expired)));
        };
        let answer = self.stream.heartbeat(id, heartbeat.seq)?;
        self.answer(text, answer);
        None
    }

    /// What is said at once; an answer goes to the others.
    fn say(&mut self, said: Said) -> Option<Result<Message, Status>> {
        Some(match said {
            Said::Alive(answer) => {
                self.answer(answer.session.to_text(), answer);
                return None;
            }
            Said::Lost(loss) => Ok(lost(&loss)),
            Said::Draining => Ok(self.end(Final::Draining)),
            Said::TooSlow => Err(status::subscriber_too_slow()),
        })
    }

    fn end(&mut self, reason: Final) -> Message {
        self.state = State::Ending(Status::ok(""));
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
        } => lock_lost(session_id, lock, *fencing_token, cause),
        Lost::Wanted {
            lock,
            fencing_token,
            request,
        } => Message::YieldRequested(proto::YieldRequested {
            session_id,
            namespace: lock.namespace.to_string(),
            lock: lock.name.to_string(),
            fencing_token: *fencing_token,
            yield_request: Some(yield_request(request)),
        }),
    }
}

fn lock_lost(session_id: String, queue: &QueuePath, token: i64, cause: &LockLost) -> Message {
    let namespace = queue.namespace.to_string();
    let name = queue.name.to_string();
    let by = match cause {
        LockLost::Forced(by) => by.clone(),
        _ => Arc::default(),
    };
    let cause = lost_cause(cause);
    match queue.kind {
        QueueKind::Lock => Message::LockLost(proto::LockLost {
            session_id,
            namespace,
            lock: name,
            fencing_token: token,
            cause: cause.into(),
            actor: by.actor.to_string(),
            comment: by.comment.clone(),
        }),
        QueueKind::Election => Message::LeadershipLost(proto::LeadershipLost {
            session_id,
            namespace,
            election: name,
            term: token,
            cause: cause.into(),
        }),
    }
}

/// Why a lock, or the lead of an election, is lost.
pub(in crate::rpc) fn lost_cause(cause: &LockLost) -> proto::LockLostCause {
    match cause {
        LockLost::Forced(_) => proto::LockLostCause::Forced,
        LockLost::Removed => proto::LockLostCause::Removed,
        LockLost::EpochChanged => proto::LockLostCause::EpochChanged,
        LockLost::Session => proto::LockLostCause::SessionLost,
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
