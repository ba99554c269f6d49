//! Waiting for a change of one item, for those who cannot watch.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    cache::{CursorOptions, FinalReason, Freshness, Message, Start},
    domain::{
        Error,
        keyspace::ConfigPath,
        state::{State, View},
    },
};

use super::{ConfigHead, ConfigSelection, Configs, found};

/// What to wait for, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// The version that the caller knows; `0`: none.
    pub after_version: i64,
    /// How long.
    pub timeout: Duration,
}

// === impl Configs ===

impl Configs {
    /// Reads an item once it says something that the caller does not know, or at the timeout. Says
    /// whether that is what the caller knows: after a loss of data it can be older, too.
    ///
    /// Errors: as [`Configs::get`], and [`Error::Draining`].
    pub async fn get_after(
        &self,
        path: &ConfigPath,
        wait: Wait,
        freshness: Freshness,
    ) -> Result<(Arc<ConfigHead>, View, bool), Error> {
        let deadline = self.core.clock.now() + wait.timeout;
        let view = self.core.cache.read(freshness).await?;
        if !wait.is_over(&view.state, path) {
            self.await_news(path, wait, view, deadline).await?;
        }
        let (head, view) = found(path, self.core.cache.view()?)?;
        let unchanged = head.current.version == wait.after_version;
        Ok((head, view, unchanged))
    }

    /// Waits, as a watcher does, until there is something that `view` does not show.
    async fn await_news(
        &self,
        path: &ConfigPath,
        wait: Wait,
        view: View,
        deadline: Instant,
    ) -> Result<(), Error> {
        let cache = &self.core.cache;
        let selection = ConfigSelection::Key(path.clone());
        let start = Start::Resume(cache.token(&view, &selection));
        // It is not to keep a state of long ago alive.
        drop(view);
        let options = CursorOptions {
            bookmark_interval: wait.timeout,
            ..CursorOptions::default()
        };
        let mut cursor = cache.subscribe(selection, start, options)?;
        let mut out_of_time = self.core.clock.sleep_until(deadline);
        loop {
            tokio::select! {
                told = cursor.next() => match told {
                    None | Some(Message::Bookmark { last: Some(FinalReason::Draining), .. }) => {
                        return Err(Error::Draining);
                    }
                    Some(_) => {}
                },
                () = &mut out_of_time => return Ok(()),
            }
            if cache.peek(|state| wait.is_over(state, path)) == Some(true) {
                return Ok(());
            }
        }
    }
}

// === impl Wait ===

impl Wait {
    /// Whether the item says something that the caller does not know.
    fn is_over(&self, state: &State, path: &ConfigPath) -> bool {
        let knows_one = self.after_version > 0;
        match state.configs.get(path.path().as_bytes()) {
            None => knows_one,
            Some(head) if head.current.version <= self.after_version => false,
            Some(head) => knows_one || !head.current.deleted,
        }
    }
}
