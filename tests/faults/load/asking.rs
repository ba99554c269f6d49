//! Calls that are made until somebody answers them.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tonic::{Code, Response, Status, transport::Channel};

/// How often a call is made before its caller gives up.
const TRIES: usize = 12;
const PAUSE: Duration = Duration::from_millis(20);

/// How such a call ended. `after` says whether an earlier try may have been carried out.
pub enum Answer<T> {
    Said { answer: T, after: bool },
    Refused { after: bool },
    Unknown,
}

/// Asks one replica after the other until one answers within `patience`. The request must be the
/// same each time.
pub async fn ask<T, F>(
    channels: &[Channel],
    patience: Duration,
    call: impl Fn(Channel) -> F,
) -> Answer<T>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut after = false;
    for channel in channels.iter().cycle().take(TRIES) {
        match timeout(patience, call(channel.clone())).await {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                return Answer::Said { answer, after };
            }
            Ok(Err(status)) => match status.code() {
                Code::FailedPrecondition | Code::Aborted | Code::NotFound => {
                    return Answer::Refused { after };
                }
                Code::InvalidArgument => panic!("a call is malformed: {status:?}"),
                _ => after = true,
            },
            Err(_) => after = true,
        }
        sleep(PAUSE).await;
    }
    Answer::Unknown
}
