//! A command run after `--`: its signals, its end, and how it is stopped.

use std::{
    ffi::OsString,
    fmt::Debug,
    io,
    pin::pin,
    process::ExitStatus,
    sync::atomic::{AtomicI32, Ordering},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use stanchion_client::QueuePlace;
use tokio::process;

use super::{
    Outcome,
    connection::actor,
    exit::Exit,
    failure::Failure,
    output,
    signals::{self, Signals},
};

/// A running child. Reaped when its end is waited for.
pub(crate) struct Child {
    process: process::Child,
    signals: Signals,
    /// The child leads a process group, so that what it starts is stopped with it. Not at a
    /// terminal: there it could no longer read.
    group: bool,
}

/// What happens to a child.
pub(crate) enum ChildEvent {
    /// It ended.
    Ended(ExitStatus),
    /// We got a signal.
    Signal(Signal),
}

// === impl Child ===

impl Child {
    /// Runs a command with additional environment. The signals have been caught before, so that
    /// none ends us and leaves the child alone.
    pub(crate) fn spawn<'a>(
        command: &[OsString],
        environment: impl IntoIterator<Item = (&'a str, String)>,
        signals: Signals,
    ) -> Result<Self, Failure> {
        let [program, arguments @ ..] = command else {
            return Err(Failure::usage("there is no command after `--`"));
        };
        let group = !signals::at_terminal();
        let mut command = process::Command::new(program);
        command.args(arguments).envs(environment);
        if group {
            command.process_group(0);
        }
        let process = command.spawn().map_err(|error| {
            let exit = match error.kind() {
                io::ErrorKind::NotFound => Exit::NoSuchCommand,
                _ => Exit::NotExecutable,
            };
            Failure::new(exit, format!("cannot run {}: {error}", program.display()))
        })?;
        Ok(Self {
            process,
            signals,
            group,
        })
    }

    /// Stops the child, as [`stop`](Self::stop) does, and runs a command in its place.
    pub(crate) async fn replace<'a>(
        mut self,
        command: &[OsString],
        environment: impl IntoIterator<Item = (&'a str, String)>,
        patience: Duration,
    ) -> Result<Self, Failure> {
        self.stop(patience).await?;
        Self::spawn(command, environment, self.signals)
    }

    /// Waits for something to happen.
    pub(crate) async fn event(&mut self) -> Result<ChildEvent, Failure> {
        tokio::select! {
            // The end first: a signal after it concerns nobody.
            biased;
            status = self.process.wait() => Ok(ChildEvent::Ended(status?)),
            signal = self.signals.next() => Ok(ChildEvent::Signal(signal)),
        }
    }

    /// Lets it run as long as what it runs under is not lost; then stops it, and says so.
    pub(crate) async fn run_under<L: Debug>(
        mut self,
        what: &str,
        lost: impl Future<Output = L>,
        patience: Duration,
    ) -> Outcome {
        let mut lost = pin!(lost);
        loop {
            tokio::select! {
                event = self.event() => match event? {
                    ChildEvent::Ended(status) => return Ok(Exit::of_child(status)),
                    ChildEvent::Signal(signal) => self.forward(signal),
                },
                loss = &mut lost => {
                    output::note(&format!(
                        "stanchion: {what} is lost ({loss:?}): stopping the command"
                    ))?;
                    self.stop(patience).await?;
                    return Ok(Exit::Lost);
                }
            }
        }
    }

    /// Passes a signal on, unless the terminal has sent it to the child already.
    pub(crate) fn forward(&self, signal: Signal) {
        let from_terminal = !self.group && matches!(signal, Signal::INT | Signal::QUIT);
        if !from_terminal {
            self.send(signal);
        }
    }

    /// Asks the child to end, and kills it if it does not within `patience`.
    pub(crate) async fn stop(&mut self, patience: Duration) -> Result<ExitStatus, Failure> {
        let group = self.pid().filter(|_| self.group);
        self.send(Signal::TERM);
        let ended = tokio::time::timeout(patience, self.process.wait()).await;
        let status = match ended {
            Ok(status) => status,
            Err(_) => {
                self.send(Signal::KILL);
                self.process.wait().await
            }
        };
        // What it started may have stayed, and must not go on either. While a group has members
        // its id is not given to anyone else; without any there is nobody to kill.
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        Ok(status?)
    }

    /// Sends a signal to the command alone: what it started may know nothing of its meaning.
    pub(crate) fn tell(&self, signal: Signal) {
        if let Some(pid) = self.pid()
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!(%error, "the child did not get a signal");
        }
    }

    /// Sends a signal.
    fn send(&self, signal: Signal) {
        // Without an id it has ended and been waited for.
        let Some(pid) = self.pid() else {
            return;
        };
        let sent = match self.group {
            true => kill_process_group(pid, signal),
            false => kill_process(pid, signal),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "the child did not get a signal");
        }
    }

    fn pid(&self) -> Option<Pid> {
        self.process
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
    }
}

/// Says on stderr where a command waits that is to be run, whenever its place is another one.
pub(crate) fn tell_place(what: &str) -> impl Fn(QueuePlace) + Send + Sync + 'static {
    let what = what.to_owned();
    let last = AtomicI32::new(0);
    move |place| {
        let QueuePlace { position, waiters } = place;
        if last.swap(position, Ordering::Relaxed) == position {
            return;
        }
        let text = format!("stanchion: waiting for {what}: {position} of {waiters}");
        if let Err(error) = output::note(&text) {
            tracing::debug!(?error, "nobody is told where this waits");
        }
    }
}

/// How a command is called by what others see of who runs it.
pub(crate) fn owner(command: &[OsString]) -> String {
    let program = command.first().map(|program| program.to_string_lossy());
    let owner = format!("{} {}", actor(), program.unwrap_or_default());
    // The longest owner the server takes.
    owner.chars().filter(|c| !c.is_control()).take(63).collect()
}
