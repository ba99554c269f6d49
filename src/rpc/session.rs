//! `SessionService`: sessions and their heartbeats.

mod keep_alive;

use std::{sync::Arc, time::Instant};

use stanchion_client::proto::{
    self, CloseSessionRequest, CloseSessionResponse, GetSessionRequest, GetSessionResponse,
    KeepAliveRequest, ListSessionsRequest, ListSessionsResponse, OpenSessionRequest,
    OpenSessionResponse, RenewSessionRequest, RenewSessionResponse,
};
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{
    domain::{
        Error,
        audit::ANONYMOUS,
        names::Label,
        session::{OpenSession, Possessions, Session, SessionPlace, Sessions},
        session_id::SessionId,
        watch::Freshness,
    },
    proto::server::session_service_server::SessionService,
    rpc::{
        Context, Peer,
        convert::{Violations, wire_count, wire_duration},
        page,
        status::of as failed,
    },
    store::Revision,
};

use self::keep_alive::KeepAliveStream;
pub(super) use self::keep_alive::lost_cause;

/// The most entries of a session's metadata.
const MAX_METADATA: usize = 64;
/// The most bytes of a session's metadata.
const MAX_METADATA_BYTES: usize = 4096;

/// The handler of `SessionService`.
pub struct SessionHandler {
    context: Context,
    sessions: Sessions,
}

// === impl SessionHandler ===

impl SessionHandler {
    /// A handler over one replica.
    pub fn new(context: Context) -> Self {
        Self {
            sessions: context.sessions.clone(),
            context,
        }
    }

    /// When a request arrived, for what is counted from there.
    fn now(&self) -> Instant {
        self.context.core.clock.now()
    }
}

#[async_trait]
impl SessionService for SessionHandler {
    type KeepAliveStream = KeepAliveStream;

    async fn open_session(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        let received = self.now();
        let request = request.into_inner();
        let mut violations = Violations::new();
        let open = OpenSession {
            ttl: violations.duration("ttl", request.ttl),
            client_id: client_id(&mut violations, &request.client_id),
            metadata: violations.metadata(
                "metadata",
                request.metadata,
                MAX_METADATA,
                MAX_METADATA_BYTES,
            ),
            request_id: violations.request_id(&request.request_id),
            principal: ANONYMOUS.into(),
        };
        let guard = violations.guard(request.guard, "");
        violations.check()?;
        let opened = self
            .sessions
            .open(open, guard.as_ref())
            .await
            .map_err(failed)?;
        let valid_for = opened.valid_until.saturating_duration_since(received);
        Ok(Response::new(OpenSessionResponse {
            header: Some(self.context.header.at(opened.revision)),
            session_id: opened.session.id.to_text(),
            session: Some(wire(&opened.session, Possessions::default())),
            valid_for: Some(wire_duration(valid_for)),
        }))
    }

    async fn keep_alive(
        &self,
        request: Request<Streaming<KeepAliveRequest>>,
    ) -> Result<Response<KeepAliveStream>, Status> {
        let peer = Peer::of(&request);
        let heartbeats = request.into_inner();
        let stream = self.sessions.attach();
        Ok(keep_alive::answer(&self.context, stream, heartbeats, peer))
    }

    async fn renew_session(
        &self,
        request: Request<RenewSessionRequest>,
    ) -> Result<Response<RenewSessionResponse>, Status> {
        let received = self.now();
        let id = known_id(&request.into_inner().session_id)?;
        let alive = self.sessions.heartbeat(id).await.map_err(failed)?;
        let valid_for = alive.valid_until.saturating_duration_since(received);
        Ok(Response::new(RenewSessionResponse {
            header: Some(self.context.header.now()),
            ttl: Some(wire_duration(alive.ttl)),
            valid_for: Some(wire_duration(valid_for)),
        }))
    }

    async fn get_session(
        &self,
        request: Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let id = violations.session_id(&request.session_id);
        let freshness = violations.freshness(request.consistency, request.min_revision);
        violations.check()?;
        let id = id.ok_or(Error::LeaseExpired).map_err(failed)?;
        let (session, view) = self.sessions.get(id, freshness).await.map_err(failed)?;
        Ok(Response::new(GetSessionResponse {
            header: Some(self.context.header.of(&view)),
            session: Some(wire(&session, Possessions::of(&id, &view))),
        }))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let client_id = client_id(&mut violations, &request.client_id);
        let size = violations.page_size(request.page_size);
        let freshness = violations.freshness(request.consistency, request.min_revision);
        violations.check()?;
        self.page(client_id, &request.page_token, size, freshness)
            .await
    }

    async fn close_session(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let id = violations.session_id(&request.session_id);
        let guard = violations.guard(request.guard, "");
        violations.check()?;
        let Some(id) = id else {
            // What cannot be an id is the id of nothing.
            return Ok(Response::new(CloseSessionResponse {
                header: Some(self.context.header.now()),
                closed: false,
            }));
        };
        let closed = self
            .sessions
            .close(id, guard.as_ref())
            .await
            .map_err(failed)?;
        Ok(Response::new(CloseSessionResponse {
            header: Some(self.context.header.at(closed.revision)),
            closed: closed.closed,
        }))
    }
}

impl SessionHandler {
    async fn page(
        &self,
        client_id: Label,
        token: &str,
        size: usize,
        freshness: Freshness,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let digest = Sessions::list_digest(&client_id);
        let after = match page::after(token, digest)? {
            None => SessionPlace::default(),
            Some(key) => place(&key).ok_or_else(page::foreign)?,
        };
        let (page, view) = self
            .sessions
            .list(&client_id, after, size, freshness)
            .await
            .map_err(failed)?;
        let sessions = page.sessions.iter();
        Ok(Response::new(ListSessionsResponse {
            header: Some(self.context.header.of(&view)),
            sessions: sessions
                .map(|session| wire(session, Possessions::of(&session.id, &view)))
                .collect(),
            next_page_token: page.next.map_or(String::new(), |last| {
                let SessionPlace(revision, number) = last;
                let key = [revision.to_be_bytes(), number.to_be_bytes()];
                page::token(&key.concat(), digest)
            }),
        }))
    }
}

/// The place that a page token names.
fn place(key: &[u8]) -> Option<SessionPlace> {
    let (revision, number) = key.split_first_chunk()?;
    let number = number.try_into().ok()?;
    Some(SessionPlace(
        Revision::from_be_bytes(*revision),
        u64::from_be_bytes(number),
    ))
}

fn client_id(violations: &mut Violations, text: &str) -> Label {
    violations
        .take("client_id", Label::parse_name(text))
        .unwrap_or_default()
}

/// The id of a session that may be there. One that cannot be is answered like one that is gone.
fn known_id(text: &str) -> Result<SessionId, Status> {
    let mut violations = Violations::new();
    let id = violations.session_id(text);
    violations.check()?;
    id.ok_or(Error::LeaseExpired).map_err(failed)
}

fn wire(session: &Arc<Session>, possessions: Possessions) -> proto::Session {
    proto::Session {
        client_id: session.client_id.to_string(),
        ttl: Some(wire_duration(session.ttl)),
        create_time: Some(session.open_time.into()),
        metadata: session.metadata.clone(),
        principal: session.principal.clone(),
        instance_count: wire_count(possessions.instances),
        lock_count: wire_count(possessions.locks),
        election_count: wire_count(possessions.elections),
        barrier_count: wire_count(possessions.barriers),
        revision: session.create_revision,
    }
}
