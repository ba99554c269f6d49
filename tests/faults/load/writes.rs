//! Clients that write configs at one replica, and know afterwards what became of every write.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use stanchion_client::{
    new_request_id,
    proto::{PutConfigRequest, config_service_client::ConfigServiceClient},
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt as _;

/// How long a write may take, as its deadline says.
pub const DEADLINE: Duration = Duration::from_secs(3);
/// How long a writer waits between two writes.
const PAUSE: Duration = Duration::from_millis(60);
/// Over how many keys a writer goes.
const KEYS: usize = 8;

/// Writes until it is dropped.
pub struct Writer {
    pub replica: usize,
    log: Arc<Mutex<Vec<Write>>>,
    /// How many were acknowledged.
    acknowledged: watch::Receiver<usize>,
    _task: AbortOnDropHandle<()>,
}

/// One write, all its tries together.
#[derive(Debug, Clone)]
pub struct Write {
    pub key: String,
    /// No other write has it.
    pub content: String,
    pub begun: Instant,
    pub ended: Instant,
    pub fate: Fate,
    pub tries: Vec<Try>,
}

/// What is known of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Acknowledged {
        revision: i64,
        version: i64,
    },
    /// The server said that nothing happened.
    Refused,
    /// Nobody knows.
    Open,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Try {
    pub took: Duration,
    /// Code and reason; no reason when it was not the server who said so.
    pub error: Option<(Code, Option<String>)>,
}

// === impl Writer ===

impl Writer {
    /// Writes under `prefix` through `channel`, which leads to the replica of this number.
    pub fn start(replica: usize, prefix: String, channel: Channel) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (told, acknowledged) = watch::channel(0);
        let written = log.clone();
        let task = tokio::spawn(async move {
            for number in 0_usize.. {
                let index = {
                    let mut log = written.lock().unwrap();
                    log.push(Write::new(&prefix, number));
                    log.len() - 1
                };
                let mut write = Write::new(&prefix, number);
                write.carry_out(channel.clone()).await;
                if let Fate::Acknowledged { .. } = write.fate {
                    told.send_modify(|count| *count += 1);
                }
                written.lock().unwrap()[index] = write;
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self {
            replica,
            log,
            acknowledged,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Waits until another write is acknowledged that begins after this call.
    pub async fn writes_again(&self) {
        let mut acknowledged = self.acknowledged.clone();
        // The first may have begun before.
        let before = *acknowledged.borrow_and_update();
        let wait = acknowledged.wait_for(|count| *count >= before + 2);
        wait.await.expect("the writer goes on");
    }

    /// All writes so far; the last may be under way.
    pub fn log(&self) -> Vec<Write> {
        self.log.lock().unwrap().clone()
    }
}

// === impl Write ===

impl Write {
    fn new(prefix: &str, number: usize) -> Self {
        let now = Instant::now();
        Self {
            key: format!("{prefix}/{}", number % KEYS),
            content: format!("{prefix}#{number}"),
            begun: now,
            ended: now,
            fate: Fate::Open,
            tries: Vec::new(),
        }
    }

    /// Repeats the call, as the manual says, as long as its outcome is unknown.
    async fn carry_out(&mut self, channel: Channel) {
        let request = PutConfigRequest {
            key: self.key.clone(),
            content: self.content.clone().into(),
            request_id: new_request_id(),
            ..PutConfigRequest::default()
        };
        let mut client = ConfigServiceClient::new(channel);
        self.begun = Instant::now();
        loop {
            let mut call = Request::new(request.clone());
            call.set_timeout(DEADLINE);
            let begun = Instant::now();
            let answer = client.put_config(call).await;
            self.ended = Instant::now();
            let error = answer.as_ref().err().map(|s| (s.code(), reason(s)));
            self.tries.push(Try {
                took: begun.elapsed(),
                error: error.clone(),
            });
            match (answer, error) {
                (Ok(answer), _) => {
                    // The header says which state a repeated call found, not which one it made.
                    let config = answer.into_inner().config.unwrap();
                    self.fate = Fate::Acknowledged {
                        revision: config.revision,
                        version: config.version,
                    };
                    return;
                }
                // What was refused before it was ever unknown did not happen.
                (Err(_), Some((code, Some(_))))
                    if code != Code::Unknown && self.tries.len() == 1 =>
                {
                    self.fate = Fate::Refused;
                    return;
                }
                _ => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The reason a server gave, without its prefix.
pub fn reason(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    let reason = info.reason.strip_prefix("ERROR_REASON_")?;
    Some(reason.to_owned())
}
