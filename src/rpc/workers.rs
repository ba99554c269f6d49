//! The threads that serve connections, each with a runtime of its own; none if one thread does all.
//!
//! A connection stays on one thread, and so do all its streams. What a change wakes there runs one
//! after the other, and the connection after them: it then finds all that they have to say, and
//! sends it with one system call. A runtime that moves tasks between threads runs it after the
//! first of them already.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle, RuntimeFlavor},
    sync::oneshot,
    time::sleep,
};

/// How often a thread's own timer rings: before any of a call's.
const TICK: Duration = Duration::from_millis(250);

/// The threads. Dropped, they end, with whatever still runs on them.
pub struct Workers(Vec<Worker>);

struct Worker {
    runtime: Handle,
    /// How many places on it are taken.
    taken: Arc<AtomicUsize>,
    /// Its end is the end of a thread of its own.
    _life: oneshot::Sender<()>,
}

/// A place on a thread, taken until it is dropped.
pub struct Place {
    runtime: Handle,
    taken: Arc<AtomicUsize>,
}

// === impl Workers ===

impl Workers {
    /// Starts so many threads; `0`: one for each core this process may use, or none if the runtime
    /// we are on has one thread for all.
    pub fn start(count: usize) -> io::Result<Self> {
        let here = Handle::try_current().ok().filter(|_| count == 0);
        if let Some(here) = here
            && here.runtime_flavor() == RuntimeFlavor::CurrentThread
        {
            return Ok(Self(vec![Worker::here(here)]));
        }
        let count = match count {
            0 => thread::available_parallelism()?.get(),
            count => count,
        };
        (0..count)
            .map(Worker::start)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Takes a place on the thread that has the most left; `None` if there is no thread.
    pub fn place(&self) -> Option<Place> {
        let least = self
            .0
            .iter()
            .min_by_key(|w| w.taken.load(Ordering::Relaxed))?;
        least.taken.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            runtime: least.runtime.clone(),
            taken: least.taken.clone(),
        })
    }
}

// === impl Worker ===

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (life, end) = oneshot::channel();
        thread::Builder::new()
            .name(format!("rpc-{number}"))
            .spawn(move || runtime.block_on(tick(end)))?;
        Ok(Self::new(handle, life))
    }

    /// The thread that `runtime` has for all.
    fn here(runtime: Handle) -> Self {
        let (life, end) = oneshot::channel();
        runtime.spawn(tick(end));
        Self::new(runtime, life)
    }

    fn new(runtime: Handle, life: oneshot::Sender<()>) -> Self {
        Self {
            runtime,
            taken: Arc::default(),
            _life: life,
        }
    }
}

/// Rings until `end`. A runtime wakes itself, by two system calls, for each timer that is the next
/// one to ring, as all of a call's would be on a thread that has no other.
async fn tick(mut end: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            // Nothing is ever sent: the sender goes.
            _ = &mut end => return,
            () = sleep(TICK) => {}
        }
    }
}

// === impl Place ===

impl Place {
    /// The runtime of the thread.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_to_the_thread_with_the_fewest() {
        let workers = Workers::start(2).unwrap();
        let ids = |places: &[Place]| places.iter().map(|p| p.runtime().id()).collect::<Vec<_>>();
        let mut places: Vec<_> = (0..4).filter_map(|_| workers.place()).collect();
        let of = ids(&places);
        assert_ne!(of[0], of[1]);
        assert_ne!(of[2], of[3]);
        // Both of one thread end: the next two go there.
        places.retain(|place| place.runtime().id() != of[0]);
        places.extend((0..2).filter_map(|_| workers.place()));
        assert_eq!(ids(&places)[2..], [of[0], of[0]]);
    }

    #[tokio::test]
    async fn where_one_thread_does_all_it_serves_as_well() {
        let workers = Workers::start(0).unwrap();
        let place = workers.place().unwrap();
        assert_eq!(place.runtime().id(), Handle::current().id());
        // Unless threads are asked for.
        let workers = Workers::start(1).unwrap();
        let place = workers.place().unwrap();
        assert_ne!(place.runtime().id(), Handle::current().id());
    }

    #[test]
    fn what_is_spawned_runs_and_ends_with_the_threads() {
        let workers = Workers::start(1).unwrap();
        let place = workers.place().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let running = place.runtime().spawn(async move {
            // Gone with the task.
            let sender = sender;
            let _ = sender.send(std::thread::current().name().map(str::to_owned));
            std::future::pending::<()>().await;
        });
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("rpc-0"));
        drop(workers);
        assert!(receiver.recv().is_err());
        drop(running);
    }
}
