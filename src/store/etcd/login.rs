//! A user at a member: the token that goes with every call and stream.
//!
//! A member forgets a token that is idle for some minutes, and all of them when it restarts, and
//! others do not know how long it was idle. So each member has a token of its own, asked for when
//! a call needs one, and asked for again when a call comes back because of it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use etcd_client::AuthClient;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout};
use tonic::{Status, body::Body};
use tower::{BoxError, Service, ServiceExt as _};

use super::{
    connection::Connection,
    error::{NotSent, from_client, is_about_token, is_auth_disabled, with_outcome},
    settings::Settings,
};
use crate::store::{Error, Outcome};

/// The header that etcd reads the token from.
const HEADER: &str = "token";

/// A user at one member.
pub(super) struct Login {
    user: String,
    password_file: String,
    auth: AuthClient,
    timeout: Duration,
    pauses: (Duration, Duration),
    state: Mutex<State>,
    /// Whose turn it is to ask for a token.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// How many were given, to tell them apart.
    given: u64,
    refusal: Option<Refusal>,
}

#[derive(Clone)]
struct Token {
    /// None where etcd's authentication is not enabled.
    header: Option<HeaderValue>,
    number: u64,
}

/// Why there is no token.
struct Refusal {
    error: Error,
    at: Instant,
    /// For so long it is not asked for again.
    pause: Duration,
}

/// A connection whose requests carry the token.
#[derive(Clone)]
pub(super) struct LoggedIn {
    connection: Connection,
    login: Arc<Login>,
}

// === impl Login ===

impl Login {
    /// Nothing is asked for before the first call. `auth` is of the member.
    pub(super) fn new(auth: AuthClient, settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            user: settings.user.clone(),
            password_file: settings.password_file.clone(),
            auth,
            timeout: settings.kv_timeout,
            pauses: (settings.backoff_min, settings.backoff_max),
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// A connection to the member whose requests carry the token.
    pub(super) fn on(self: &Arc<Self>, connection: Connection) -> LoggedIn {
        LoggedIn {
            connection,
            login: Arc::clone(self),
        }
    }

    /// The next call asks for a new token.
    pub(super) fn forget(&self) {
        self.lock().token = None;
    }

    /// The token, asked for if there is none. Whoever waits while another asks shares the answer.
    async fn token(&self) -> Result<Token, Error> {
        let begun = Instant::now();
        if let Some(settled) = self.lock().settled(begun) {
            return settled;
        }
        let _turn = self.turn.lock().await;
        if let Some(settled) = self.lock().settled(begun) {
            return settled;
        }
        let answer = self.authenticate().await;
        self.note(answer)
    }

    async fn authenticate(&self) -> Result<Option<HeaderValue>, Error> {
        let file = &self.password_file;
        // Read each time, so that a new password needs no restart.
        let password = tokio::fs::read_to_string(file)
            .await
            .map_err(|error| Error::Denied(format!("no password in {file}: {error}")))?;
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        let mut auth = self.auth.clone();
        let answer = auth.authenticate(self.user.clone(), password);
        let answer = match timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if is_auth_disabled(&error) => return Ok(None),
            Ok(Err(error)) => return Err(with_outcome(from_client(error), Outcome::NotDone)),
            Err(_) => {
                return Err(Error::Timeout {
                    outcome: Outcome::NotDone,
                });
            }
        };
        let mut header = HeaderValue::from_str(answer.token())
            .map_err(|_| Error::Denied("etcd gave a token that cannot be sent".to_owned()))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    fn note(&self, answer: Result<Option<HeaderValue>, Error>) -> Result<Token, Error> {
        let mut state = self.lock();
        let error = match answer {
            Ok(header) => {
                state.given += 1;
                state.refusal = None;
                let number = state.given;
                return Ok(state.token.insert(Token { header, number }).clone());
            }
            Err(error) => error,
        };
        // A member that is away is somebody else's worry; one that says no is not asked in a loop.
        let (shortest, longest) = self.pauses;
        let pause = match &state.refusal {
            _ if !matches!(error, Error::Denied(_)) => Duration::ZERO,
            Some(before) => (before.pause * 2).clamp(shortest, longest),
            None => shortest,
        };
        state.refusal = Some(Refusal {
            error: error.clone(),
            at: Instant::now(),
            pause,
        });
        Err(error)
    }

    /// Forgets the token with which a request came back like that.
    fn judge(&self, headers: &HeaderMap, token: &Token) {
        let refused =
            Status::from_header_map(headers).is_some_and(|status| is_about_token(&status));
        let mut state = self.lock();
        if refused
            && state
                .token
                .as_ref()
                .is_some_and(|now| now.number == token.number)
        {
            state.token = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// What somebody who asks since `begun` need not find out.
    fn settled(&self, begun: Instant) -> Option<Result<Token, Error>> {
        if let Some(token) = &self.token {
            return Some(Ok(token.clone()));
        }
        let refusal = self.refusal.as_ref()?;
        let holds = refusal.at >= begun || refusal.at.elapsed() < refusal.pause;
        holds.then(|| Err(refusal.error.clone()))
    }
}

// === impl LoggedIn ===

impl Service<Request<Body>> for LoggedIn {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A place in the connection's queue is taken once there is a token: asking for it needs
        // one as well.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Self { connection, login } = self.clone();
        Box::pin(async move {
            let token = login.token().await.map_err(NotSent)?;
            if let Some(header) = &token.header {
                request.headers_mut().insert(HEADER, header.clone());
            }
            let response = connection.oneshot(request).await?;
            login.judge(response.headers(), &token);
            Ok(response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    if let Some(trailers) = frame.trailers_ref() {
                        login.judge(trailers, &token);
                    }
                    frame
                }))
            }))
        })
    }
}
