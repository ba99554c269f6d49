//! `elect`: runs a command while leading an election.

use std::{ffi::OsString, time::Duration};

use clap::Args;
use rustix::process::Signal;
use stanchion_client::{Client, Leadership, SessionOptions, proto::ErrorReason};

use super::{
    Outcome,
    child::{self, Child},
    connection::{self, Connection, host},
    exit::Exit,
    failure::Failure,
    output,
    parse::{self, FENCING_TOKEN, TERM},
    signals::Signals,
};

/// Run a command while leading an election
///
/// Stands for the election for ever, unless told --try or --wait, and says on stderr where it waits. The
/// command finds the name of the
/// election in STANCHION_ELECTION and its term in STANCHION_TERM and STANCHION_FENCING_TOKEN;
/// `config put --led ELECTION` writes only in this term. When the lead is lost the command gets TERM
/// and then KILL, and this exits 5. Signals are passed on; when the command ends, this resigns.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  stanchion elect scheduler -- ./scheduler\n  \
                        stanchion elect scheduler --proclaim 10.0.0.7:8080 -- ./scheduler\n  \
                        stanchion elect scheduler --try -- ./once.sh || echo 'another one leads'\n\n\
                        Exits 4 if --try finds another candidate, 124 if --wait ends in vain."
)]
pub(crate) struct Elect {
    /// Name of the election
    election: String,

    /// Does not wait
    #[arg(long = "try", conflicts_with = "wait")]
    no_wait: bool,

    /// Waits at most so long
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    wait: Option<Duration>,

    /// What others see of the candidate [default: user@host and the command]
    #[arg(long, value_name = "TEXT")]
    candidate: Option<String>,

    /// What the leader proclaims, such as its address
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    proclaim: String,

    /// How long this leads after its machine is gone, 5s to 10m
    #[arg(long, value_parser = parse::duration, value_name = "DURATION")]
    ttl: Option<Duration>,

    /// How long the command may take to end after TERM when the lead is lost
    #[arg(long, value_parser = parse::duration, value_name = "DURATION", default_value = "5s")]
    kill_after: Duration,

    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,

    #[command(flatten)]
    pub(super) connection: Connection,
}

// === impl Elect ===

impl Elect {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client_with(SessionOptions {
            ttl: self.ttl,
            metadata: [("host".to_owned(), host())].into(),
            ..SessionOptions::default()
        })?;
        let outcome = self.run_with(&client).await;
        // Takes the place among the candidates along, if there is one left.
        connection::close(&client).await;
        outcome
    }

    async fn run_with(&self, client: &Client) -> Outcome {
        let mut signals = Signals::catch()?;
        let leadership = match self.stand(client, &mut signals).await? {
            Ok(leadership) => leadership,
            Err(signal) => return Ok(Exit::of_signal(signal)),
        };
        let term = leadership.term().to_string();
        let environment = [
            ("STANCHION_ELECTION", self.election.clone()),
            (TERM, term.clone()),
            (FENCING_TOKEN, term),
        ];
        let outcome = match Child::spawn(&self.command, environment, signals) {
            Ok(child) => {
                let what = format!("the lead of {}", self.election);
                child
                    .run_under(&what, leadership.lost(), self.kill_after)
                    .await
            }
            Err(failure) => Err(failure),
        };
        // What is lost is not ours to give up, and the call may take its time.
        if leadership.is_leader()
            && let Err(error) = leadership.resign().await
        {
            output::note(&format!(
                "stanchion: not resigned, ends with its session: {error}"
            ))?;
        }
        outcome
    }

    /// Waits to be elected, unless a signal comes first.
    async fn stand(
        &self,
        client: &Client,
        signals: &mut Signals,
    ) -> Result<Result<Leadership, Signal>, Failure> {
        let candidate = self.candidate.clone();
        let election = client
            .election(&self.election)
            .candidate(candidate.unwrap_or_else(|| child::owner(&self.command)))
            .proclamation(self.proclaim.clone())
            .on_place(child::tell_place(&format!("the lead of {}", self.election)));
        let campaigning = async {
            match (self.no_wait, self.wait) {
                (true, _) => election.try_campaign().await,
                (false, Some(wait)) => election.campaign_timeout(wait).await,
                (false, None) => election.campaign().await,
            }
        };
        let elected = match signals.unless_ending(campaigning).await {
            Ok(elected) => elected.map_err(Failure::from),
            Err(signal) => return Ok(Err(signal)),
        };
        elected.map(Ok).map_err(|failure| match failure.reason() {
            ErrorReason::LedByAnother if self.wait.is_some() => failure.with_exit(Exit::TimedOut),
            _ => failure,
        })
    }
}
