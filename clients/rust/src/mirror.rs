//! A local copy of what a watch shows, kept current in the background and served whatever happens.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    call::Caller,
    error::{Error, Result},
    session::AbortOnDrop,
    watch::{Change, Selection, Update, UpdateKind, Watch},
};

/// The items of a selection, by what tells them apart.
#[derive(Debug)]
pub(crate) struct Mirror<T> {
    shared: Arc<Shared<T>>,
    progress: watch::Receiver<Progress>,
    /// How many changes this handle has told of; see [`Mirror::changed`].
    seen: u64,
    _task: Arc<AbortOnDrop>,
}

/// What a mirror shows at one moment. Never half of a change.
#[derive(Debug)]
pub(crate) struct View<T> {
    pub(crate) items: BTreeMap<Arc<str>, Arc<T>>,
    pub(crate) revision: i64,
    pub(crate) protected: bool,
}

#[derive(Debug)]
struct Shared<T> {
    /// Replaced as a whole; held only to clone the pointer.
    view: Mutex<Arc<View<T>>>,
    progress: watch::Sender<Progress>,
}

/// How far a mirror has come.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// Whether a first snapshot has arrived.
    ready: bool,
    /// Counts the changes of what is shown.
    changes: u64,
    /// When the replica last said something, and how old its state was then.
    heard: Option<(Instant, Option<Duration>)>,
    /// Why there is nothing to show, until there is.
    error: Option<Error>,
}

// === impl Mirror ===

impl<T: Send + Sync + 'static> Mirror<T> {
    /// Starts to follow the selection.
    pub(crate) fn follow<S>(caller: Arc<Caller>, selection: S) -> Self
    where
        S: Selection<Item = T>,
        T: Clone,
    {
        let (sender, progress) = watch::channel(Progress::default());
        let shared = Arc::new(Shared {
            view: Mutex::new(Arc::new(View {
                items: BTreeMap::new(),
                revision: 0,
                protected: false,
            })),
            progress: sender,
        });
        let watch = Watch::new(caller, selection, bytes::Bytes::new());
        Self {
            _task: Arc::new(AbortOnDrop::spawn(keep_current(shared.clone(), watch))),
            shared,
            progress,
            seen: 0,
        }
    }

    /// Waits for the first snapshot. Fails if the server refuses the selection.
    pub(crate) async fn ready(&self) -> Result<()> {
        let mut progress = self.shared.progress.subscribe();
        loop {
            {
                let now = progress.borrow_and_update();
                if now.ready {
                    return Ok(());
                }
                if let Some(error) = &now.error {
                    return Err(error.clone());
                }
            }
            if progress.changed().await.is_err() {
                // Cannot be: `self` holds the sender.
                return Err(Error::contract("snapshot"));
            }
        }
    }

    /// Whether the first snapshot has come.
    pub(crate) fn is_ready(&self) -> bool {
        self.shared.progress.borrow().ready
    }

    /// What there is now.
    pub(crate) fn view(&self) -> Arc<View<T>> {
        self.shared.view()
    }

    /// Completes when something changed since this handle was made or this was last called.
    pub(crate) async fn changed(&mut self) {
        let seen = self.seen;
        let changed = self.progress.wait_for(|progress| progress.changes != seen);
        // The task holds the sender as long as this handle lives.
        if let Ok(progress) = changed.await {
            self.seen = progress.changes;
        }
    }

    /// How old the view may be at most; nothing while that is not known.
    pub(crate) fn age(&self) -> Option<Duration> {
        let (heard, age) = self.shared.progress.borrow().heard?;
        Some(age? + heard.elapsed())
    }
}

impl<T> Clone for Mirror<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            progress: self.progress.clone(),
            seen: self.seen,
            _task: self._task.clone(),
        }
    }
}

// === impl Shared ===

impl<T> Shared<T> {
    fn view(&self) -> Arc<View<T>> {
        self.view
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn show(&self, view: View<T>) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }
}

async fn keep_current<S>(shared: Arc<Shared<S::Item>>, mut watch: Watch<S>)
where
    S: Selection,
{
    loop {
        match watch.next().await {
            Ok(update) => {
                let heard = Some((Instant::now(), update.age()));
                let changed = apply::<S>(&shared, update);
                shared.progress.send_modify(|progress| {
                    progress.ready |= changed;
                    progress.changes += u64::from(changed);
                    progress.heard = heard;
                    progress.error = None;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the server refuses a watch; what was known is still served");
                shared
                    .progress
                    .send_modify(|progress| progress.error = Some(error));
            }
        }
    }
}

/// Applies an update; answers whether it may have changed anything.
fn apply<S: Selection>(shared: &Shared<S::Item>, update: Update<S::Item>) -> bool {
    let before = shared.view();
    let items = match update.kind {
        UpdateKind::Current => return false,
        UpdateKind::Snapshot { items, .. } => items
            .into_iter()
            .map(|item| (S::key(&item).into(), Arc::new(item)))
            .collect(),
        UpdateKind::Delta { changes, .. } => {
            let mut items = before.items.clone();
            for change in changes {
                match change {
                    Change::Added(item) | Change::Modified(item) => {
                        items.insert(S::key(&item).into(), Arc::new(item));
                    }
                    Change::Deleted(item, _) => {
                        items.remove(S::key(&item).as_str());
                    }
                }
            }
            items
        }
    };
    shared.show(View {
        items,
        revision: update.revision,
        protected: update.protected,
    });
    true
}
