//! A bound config that is kept current in the background.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{
    Value,
    bind::{BindOptions, age},
    keep::Keeper,
    origin::{Current, Origin},
};
use crate::session::AbortOnDrop;

/// A config as a value of the program, kept current in the background. See
/// [`Configs::bind_with`](super::Configs::bind_with).
///
/// What does not decode, and a deletion, leave the last good value in place and say so in
/// [`Current::problem`]. Clones share the watch, which ends with the last of them.
pub struct Live<T> {
    shown: watch::Receiver<Current<T>>,
    value: Value,
    _task: Arc<AbortOnDrop>,
}

/// Ends its callback when dropped. See [`Live::on_change`].
#[must_use = "dropped, it ends the callback"]
#[derive(Debug)]
pub struct OnChange {
    _task: AbortOnDrop,
}

// === impl Live ===

impl<T: Send + Sync + 'static> Live<T> {
    pub(super) fn keep(keeper: Keeper<T>, first: Current<T>, options: &BindOptions) -> Self {
        let value = keeper.value.clone();
        let (show, shown) = watch::channel(first);
        let task = keep_current(keeper, show, options.clone());
        Self {
            shown,
            value,
            _task: Arc::new(AbortOnDrop::spawn(task)),
        }
    }

    /// The value: the last one that decoded.
    pub fn get(&self) -> Arc<T> {
        self.shown.borrow().value.clone()
    }

    /// The value, where it comes from, and why it is not what is there now.
    pub fn current(&self) -> Current<T> {
        self.shown.borrow().clone()
    }

    /// How old the value may be at most: since when no server has confirmed it, or since when the
    /// snapshot says that one did. Nothing for what an operator put into the failover directory.
    pub fn age(&self) -> Option<Duration> {
        let origin = self.shown.borrow().origin;
        match origin {
            Origin::Failover => None,
            Origin::Service => self.value.age(),
            Origin::Snapshot { confirmed } => Some(age(confirmed)),
        }
    }

    /// Completes when what [`current`](Self::current) says has changed since this handle was made or
    /// this was last called.
    pub async fn changed(&mut self) {
        // The task holds the sender as long as a handle lives.
        let _ = self.shown.changed().await;
    }

    /// Calls back whenever what [`current`](Self::current) says has changed, as long as both the
    /// answer and a handle live. Of changes that come while it runs, it gets the last.
    pub fn on_change(&self, mut callback: impl FnMut(&Current<T>) + Send + 'static) -> OnChange {
        let mut shown = self.shown.clone();
        let task = async move {
            while shown.changed().await.is_ok() {
                let current = shown.borrow_and_update().clone();
                callback(&current);
            }
        };
        OnChange {
            _task: AbortOnDrop::spawn(task),
        }
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self {
            shown: self.shown.clone(),
            value: self.value.clone(),
            _task: self._task.clone(),
        }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("current", &*self.shown.borrow())
            .finish_non_exhaustive()
    }
}

async fn keep_current<T: Send + Sync + 'static>(
    mut keeper: Keeper<T>,
    show: watch::Sender<Current<T>>,
    options: BindOptions,
) {
    let mut look = ticks(options.failover_interval);
    let mut confirm = ticks(options.snapshot_interval);
    let mut value = keeper.value.clone();
    loop {
        let shown = show.borrow().clone();
        if let Some(current) = keeper.next(&shown).await {
            show.send_replace(current);
        }
        tokio::select! {
            () = value.changed() => {}
            _ = look.tick(), if keeper.failover.is_some() => {}
            _ = confirm.tick(), if keeper.snapshot.is_some() => keeper.save().await,
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let period = period.max(Duration::from_millis(1));
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
