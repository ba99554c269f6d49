//! A store whose last room goes to a write that the test chooses.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use stanchion::{
    clock::SystemClock,
    settings::Settings,
    store::{Error, Operation, Outcome, Store, Txn, TxnResponse},
};

use crate::support::{
    overlay::{Overlaid, Overlay},
    server::{Backend, Server},
};

/// Does as etcd: looks for room before a write and once more while it carries it out.
pub struct Brim {
    inner: Arc<dyn Store>,
    room: Mutex<Room>,
    /// Who takes long.
    slow: Mutex<Option<String>>,
    slow_begun: AtomicBool,
    /// How many went together, at most, where there was not room for all.
    together: AtomicUsize,
}

/// What fits in.
#[derive(Clone)]
pub enum Room {
    /// Everything.
    Plenty,
    /// The next write with this mark, which is carried out and refused; then nothing.
    Last(String),
    /// The same, but it gets lost on the way.
    LostOnTheWay(String),
    /// Nothing.
    Nothing,
}

// === impl Brim ===

impl Brim {
    pub async fn server(backend: &Backend) -> (Arc<Overlaid<Self>>, Server) {
        Self::server_with(backend, backend.settings()).await
    }

    pub async fn server_with(
        backend: &Backend,
        settings: Settings,
    ) -> (Arc<Overlaid<Self>>, Server) {
        let store = Arc::new(Overlaid(Self {
            inner: backend.store().await,
            room: Mutex::new(Room::Plenty),
            slow: Mutex::default(),
            slow_begun: AtomicBool::default(),
            together: AtomicUsize::new(0),
        }));
        let server = backend
            .server_on(store.clone(), settings, Arc::new(SystemClock))
            .await;
        (store, server)
    }

    pub fn has(&self, room: Room) {
        *self.room.lock().unwrap() = room;
    }

    pub fn is_slow(&self, mark: &str) {
        *self.slow.lock().unwrap() = Some(mark.to_owned());
    }

    pub fn slow_has_begun(&self) -> bool {
        self.slow_begun.load(Ordering::SeqCst)
    }

    pub fn together(&self) -> usize {
        self.together.load(Ordering::SeqCst)
    }

    /// What there is room for; the last of it is gone then.
    fn take(&self, said: &str) -> Room {
        let mut room = self.room.lock().unwrap();
        match &*room {
            Room::Last(mark) | Room::LostOnTheWay(mark) if said.contains(mark.as_str()) => {
                std::mem::replace(&mut *room, Room::Nothing)
            }
            Room::Nothing => Room::Nothing,
            _ => Room::Plenty,
        }
    }
}

#[async_trait]
impl Overlay for Brim {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let said = format!("{txn:?}");
        let slow = self.slow.lock().unwrap().clone();
        if slow.is_some_and(|slow| said.contains(&slow)) {
            self.slow_begun.store(true, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if !puts(&txn) {
            return self.inner.txn(txn).await;
        }
        let full = Error::Full {
            message: "database space exceeded".into(),
            outcome: Outcome::Unknown,
        };
        let together = txn.success.len();
        match self.take(&said) {
            Room::Plenty => self.inner.txn(txn).await,
            Room::Last(_) => {
                self.together.fetch_max(together, Ordering::SeqCst);
                self.inner.txn(txn).await?;
                Err(full)
            }
            Room::LostOnTheWay(_) => Err(Error::Timeout {
                outcome: Outcome::Unknown,
            }),
            Room::Nothing => {
                self.together.fetch_max(together, Ordering::SeqCst);
                Err(full)
            }
        }
    }
}

fn puts(txn: &Txn) -> bool {
    let mut operations = txn.success.iter().chain(&txn.failure);
    operations.any(|operation| match operation {
        Operation::Put { .. } | Operation::Overwrite { .. } => true,
        Operation::Txn(nested) => puts(nested),
        Operation::Delete(_) | Operation::Range(_) => false,
    })
}
