//! One claim that is held by streams: by another one of the same request whenever one breaks.

use std::time::Duration;

use stanchion_client::{Session, new_request_id};
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use super::{
    Holder, PAUSE,
    belief::Belief,
    claim::{GiveUp, Owner, Want, Which},
    messages::Messages,
    turn::{ANSWER, WAIT},
};
use crate::{
    harness::Proxy,
    load::sessions::TTL,
    lock_history::{Event, Micros, News},
};

/// How long the place of a stream that was lost is kept, as the API says: min(3 s, TTL/3), which is
/// this one.
pub(super) const KEEP: Duration = Duration::from_nanos(TTL.as_nanos() as u64 / 3);
/// How often news are waited for, or a stream is opened, before the client gives up.
const TRIES: usize = 40;
/// How long a client waits to hear that a link is broken.
const HEARING: Duration = Duration::from_secs(3);

/// A request that claims a lock by streams.
pub(super) struct Hold<'a> {
    holder: &'a Holder,
    session: &'a Session,
    want: Want,
    request_id: String,
    request: u64,
    stream: u32,
    /// When the stream was opened.
    opened: Micros,
    messages: Option<Messages>,
}

/// It holds the lock.
pub(super) struct Held {
    pub(super) token: i64,
    pub(super) belief: Belief,
}

/// Whether it does still.
pub(super) enum Still {
    Holds,
    Lost,
    /// Its stream broke: another one may hold it.
    Broken,
}

/// How a wait for news ended.
enum Heard {
    /// There will be some.
    Opened,
    News(News),
    /// There are none.
    Nothing,
    /// The stream broke; another one may go on.
    Broken,
    /// The stream is over for good.
    Over,
}

// === impl Hold ===

impl<'a> Hold<'a> {
    /// A request that has not asked for anything yet.
    pub(super) fn new(holder: &'a Holder, session: &'a Session, want: Want) -> Self {
        Self {
            holder,
            session,
            want,
            request_id: new_request_id(),
            request: holder.next_number(),
            stream: 0,
            opened: 0,
            messages: None,
        }
    }

    /// Waits until it holds the lock, over as many streams as need be; breaks its link once when it
    /// is told that it waits, if it is to. Ends if that takes too long.
    pub(super) async fn acquire(&mut self, mut breaks: bool) -> Option<Held> {
        let deadline = Instant::now() + WAIT;
        for _ in 0..TRIES {
            let heard = match self.messages {
                None => self.open().await,
                Some(_) => self.next(deadline.duration_since(Instant::now())).await,
            };
            match heard {
                Heard::News(News::Acquired {
                    token, valid_for, ..
                }) => return Some(self.held(token, valid_for)),
                Heard::News(News::Queued { .. }) if breaks => {
                    breaks = false;
                    self.break_links().await;
                }
                Heard::News(_) | Heard::Opened => {}
                Heard::Broken => sleep(PAUSE).await,
                Heard::Nothing | Heard::Over => break,
            }
        }
        self.end();
        None
    }

    /// It was told that it holds the lock, and that its session lives so long.
    fn held(&self, token: i64, valid_for: Option<Micros>) -> Held {
        let mut belief = Belief::begin(self.holder, self.session, token);
        if let Some(valid_for) = valid_for {
            belief.promised(self.opened, valid_for);
        }
        Held { token, belief }
    }

    /// Says whether it still holds the lock, as far as it heard.
    pub(super) async fn still(&mut self) -> Still {
        loop {
            match self.next(Duration::ZERO).await {
                Heard::News(News::Contended { .. }) => {}
                Heard::Nothing => return Still::Holds,
                Heard::Broken => return Still::Broken,
                Heard::News(_) | Heard::Opened | Heard::Over => return Still::Lost,
            }
        }
    }

    /// Opens the next stream, at the next replica.
    async fn open(&mut self) -> Heard {
        self.stream += 1;
        self.opened = self.holder.told.now();
        self.say(News::Opens);
        let channels = &self.holder.channels;
        let channel = channels[self.stream as usize % channels.len()].clone();
        let owner = Owner::new(self.session, &self.request_id);
        match timeout(ANSWER, self.want.clone().open(channel, owner)).await {
            Ok(Ok(messages)) => {
                self.messages = Some(messages);
                Heard::Opened
            }
            Ok(Err(status)) => {
                self.say(News::Fails);
                match status.code() {
                    Code::FailedPrecondition | Code::Aborted | Code::NotFound => Heard::Over,
                    Code::InvalidArgument => panic!("a call is malformed: {status:?}"),
                    _ => Heard::Broken,
                }
            }
            Err(_) => {
                self.say(News::Drops);
                Heard::Broken
            }
        }
    }

    /// Waits for news for so long.
    async fn next(&mut self, within: Duration) -> Heard {
        let Some(messages) = &mut self.messages else {
            return Heard::Broken;
        };
        let Ok(said) = timeout(within, messages.next()).await else {
            return Heard::Nothing;
        };
        match said {
            Ok(Some(news)) => {
                self.say(news.clone());
                Heard::News(news)
            }
            Ok(None) => {
                self.messages = None;
                self.say(News::Ends);
                Heard::Over
            }
            Err(status) => {
                self.messages = None;
                self.say(News::Fails);
                match status.code() {
                    Code::FailedPrecondition | Code::Aborted => Heard::Over,
                    _ => Heard::Broken,
                }
            }
        }
    }

    /// Breaks all links of this client, and waits until the stream is known to be broken.
    pub(super) async fn break_links(&mut self) {
        self.breaks();
        self.holder.links.iter().for_each(Proxy::reset);
        while let Heard::News(_) = self.next(HEARING).await {}
        assert!(self.messages.is_none(), "a stream outlives its link");
    }

    /// Notes that the links are about to break.
    pub(super) fn breaks(&self) {
        let keep = KEEP.as_micros().try_into().unwrap();
        self.say(News::Breaks { keep });
    }

    /// Reads what is still said, for so long.
    pub(super) async fn listen(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        while let Heard::News(_) = self.next(deadline.duration_since(Instant::now())).await {}
    }

    /// Ends the stream, if there is one.
    pub(super) fn close(&mut self) {
        if self.messages.is_some() {
            self.say(News::Drops);
            self.messages = None;
        }
    }

    /// Ends the stream, and with it the claim. Whether the replica still heard of that it does not
    /// know.
    pub(super) fn end(&mut self) {
        self.close();
        *self.holder.left.lock().unwrap() = Some(self.give_up());
    }

    /// What gives its claim up, wherever it is.
    pub(super) fn give_up(&self) -> GiveUp {
        GiveUp {
            want: self.want.clone(),
            session_id: self.session.id().into(),
            which: Which::Request(self.request_id.clone()),
            stream: Some((self.request, self.stream)),
        }
    }

    fn say(&self, news: News) {
        let numbers = (self.request, self.stream);
        self.holder.hear(numbers, news);
    }
}

// === impl Holder ===

impl Holder {
    /// Notes what was heard of a stream, or is done to it.
    pub(super) fn hear(&self, (request, stream): (u64, u32), news: News) {
        self.told.tell(Event::Heard {
            client: self.number,
            lock: self.lock.clone(),
            request,
            stream,
            at: self.told.now(),
            news,
        });
    }
}
