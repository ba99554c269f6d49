//! Answers to heartbeats that wait for others of their connection, as of the many clients behind a
//! proxy: a system call for each costs more than all the rest of a heartbeat. What they say counts
//! from when the heartbeat was sent, and so loses nothing by it.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::AsyncWrite,
    time::{Sleep, sleep},
};

use crate::http2::{FRAME_HEADER, Sender};

/// How long an answer may wait.
const TOGETHER: Duration = Duration::from_millis(50);

/// How much of what a connection was given may wait, in bytes on the wire.
#[derive(Debug, Default)]
pub(super) struct Patient(AtomicUsize);

/// When a connection sends what may wait.
#[derive(Default)]
pub(super) struct Patience(Option<Pin<Box<Sleep>>>);

// === impl Patient ===

impl Patient {
    /// Data that is one frame may wait.
    pub(super) fn add(&self, data: usize) {
        self.0.fetch_add(FRAME_HEADER + data, Ordering::Relaxed);
    }
}

// === impl Patience ===

impl Patience {
    /// Ready when what was gathered is to be sent: at once if there is anything that may not wait,
    /// and then with all that may.
    pub(super) fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        patient: &Patient,
        sender: &Sender<W>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let waits = patient.0.load(Ordering::Relaxed);
        if waits > 0 {
            if sender.keeps(waits) {
                let due = self.0.get_or_insert_with(|| Box::pin(sleep(TOGETHER)));
                ready!(due.as_mut().poll(context));
            }
            patient.0.store(0, Ordering::Relaxed);
        }
        self.0 = None;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::{
        io::{AsyncWriteExt as _, Sink, sink},
        time::Instant,
    };

    use super::*;
    use crate::http2::Outgoing;

    const ANSWER: [u8; 100] = [0; 100];

    /// Writes frames with `ANSWER` in them.
    async fn write(outgoing: &mut Outgoing<Sink>, count: usize) {
        for _ in 0..count {
            outgoing.write_all(&[0; FRAME_HEADER]).await.unwrap();
            outgoing.write_all(&ANSWER).await.unwrap();
        }
    }

    #[tokio::test]
    async fn answers_wait_for_others_until_their_time() {
        let sender = Sender::new(sink());
        let mut outgoing = Outgoing::new(sender.clone());
        let (patient, mut patience) = (Patient::default(), Patience::default());
        let begun = Instant::now();
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            patient.add(ANSWER.len());
            write(&mut outgoing, 1).await;
            let polled = patience.poll(&patient, &sender, &mut context);
            assert!(polled.is_pending());
        }
        std::future::poll_fn(|context| patience.poll(&patient, &sender, context)).await;
        assert!(begun.elapsed() >= TOGETHER);
        // The next ones wait anew.
        assert!(sender.poll_send(&mut context).is_ready());
        patient.add(ANSWER.len());
        write(&mut outgoing, 1).await;
        let polled = patience.poll(&patient, &sender, &mut context);
        assert!(polled.is_pending());
    }

    #[tokio::test]
    async fn with_anything_else_they_go_at_once() {
        let sender = Sender::new(sink());
        let mut outgoing = Outgoing::new(sender.clone());
        let (patient, mut patience) = (Patient::default(), Patience::default());
        let mut context = Context::from_waker(Waker::noop());
        patient.add(ANSWER.len());
        write(&mut outgoing, 1).await;
        let polled = patience.poll(&patient, &sender, &mut context);
        assert!(polled.is_pending());
        write(&mut outgoing, 1).await;
        let polled = patience.poll(&patient, &sender, &mut context);
        assert!(polled.is_ready());
    }
}
