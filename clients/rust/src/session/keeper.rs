//! The session that several parts of a client share, opened anew when it is lost.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::{call::Caller, error::Result, options::SessionOptions, session::Session};

/// Opens a session when one is needed and there is none.
#[derive(Debug)]
pub(crate) struct SessionKeeper {
    caller: Arc<Caller>,
    options: SessionOptions,
    /// Held while opening, so that all who need a session at that moment get the same.
    current: Mutex<Option<Session>>,
}

// === impl SessionKeeper ===

impl SessionKeeper {
    pub(crate) fn new(caller: Arc<Caller>, options: SessionOptions) -> Self {
        Self {
            caller,
            options,
            current: Mutex::new(None),
        }
    }

    /// The session, opened if need be.
    pub(crate) async fn live(&self) -> Result<Session> {
        let mut current = self.current.lock().await;
        if let Some(session) = current.as_ref().filter(|session| session.ended().is_none()) {
            return Ok(session.clone());
        }
        let session = Session::open(&self.caller, &self.options).await?;
        *current = Some(session.clone());
        Ok(session)
    }

    /// Closes the session, if there is one.
    pub(crate) async fn close(&self) -> Result<()> {
        if let Some(session) = self.current.lock().await.take() {
            session.close().await?;
        }
        Ok(())
    }
}
