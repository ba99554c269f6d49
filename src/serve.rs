//! The life of a server process: settings, store, serve, signal, drain, exit code.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    app::{self, App, StartError},
    clock::{Clock, SystemClock},
    planted,
    settings::{ServeArgs, Settings},
    store::{self, Store},
    telemetry::Telemetry,
};

/// Exit code for settings that cannot be used (`EX_USAGE`).
const BAD_SETTINGS: u8 = 64;
/// Exit code for a store that cannot be used at start (`EX_UNAVAILABLE`).
const STORE_UNUSABLE: u8 = 69;
/// Exit code for a fault of ours (`EX_SOFTWARE`).
const INTERNAL: u8 = 70;
/// What a shell adds to the number of the signal that ended a process.
const SIGNALLED: i32 = 128;
/// How often a store that is not there is tried again with `--wait-for-store`.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// How often that is said.
const STORE_REMINDER: Duration = Duration::from_secs(30);

/// What ends a process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Serves until SIGTERM or SIGINT; a second one ends the process at once.
///
/// Exit codes:
/// - 0: told to stop, and stopped, within the time a shutdown may take;
/// - 64: bad settings, an address that cannot be listened on included;
/// - 69: the store cannot be used: not reached, not read, damaged, or in use by another process;
/// - 70: a fault of ours, or an embedded store that can no longer be written;
/// - 128 + signal: told to stop twice.
#[allow(clippy::print_stderr)] // There is no log yet that could say it.
pub fn run(args: ServeArgs) -> ExitCode {
    match runtime() {
        Ok(runtime) => runtime.block_on(run_here(args)),
        Err(error) => {
            eprintln!("stanchion: no runtime: {error}");
            ExitCode::from(INTERNAL)
        }
    }
}

/// On one core one thread does everything, the connections included: to change threads several
/// times for each call would cost it more than they could do at the same time.
fn runtime() -> io::Result<Runtime> {
    let mut builder = match thread::available_parallelism()?.get() {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

#[allow(clippy::print_stderr)] // There is no log yet that could say it.
async fn run_here(args: ServeArgs) -> ExitCode {
    let refused = |error: &dyn std::error::Error| {
        eprintln!("stanchion: {error}");
        ExitCode::from(BAD_SETTINGS)
    };
    let settings = match args.settings() {
        Ok(settings) => settings,
        Err(error) => return refused(&error),
    };
    if let Err(error) = planted::check() {
        return refused(&error);
    }
    if args.print {
        say(&settings.to_toml());
        return ExitCode::SUCCESS;
    }
    if args.check {
        say("the settings are good\n");
        return ExitCode::SUCCESS;
    }
    let telemetry = match Telemetry::start(&settings.telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => return refused(&error),
    };
    let is_json = settings.telemetry.is_json();
    raise_file_limit(settings.rpc.max_connections);
    let code = match serve(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let hint = hint(&error);
            // Said once: to a program in its log, to a person in plain words.
            if is_json {
                tracing::error!(%error, hint, "the server does not run");
            } else {
                let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
                eprintln!("stanchion: {error}{hint}");
            }
            ExitCode::from(exit_code(&error))
        }
    };
    telemetry.shutdown();
    code
}

async fn serve(settings: Settings) -> Result<(), StartError> {
    let mut signals = Signals::listen().map_err(|error| StartError::Internal(error.to_string()))?;
    let started = tokio::select! {
        started = start(settings) => started?,
        _ = signals.next() => return Ok(()),
    };
    signals.next().await;
    tracing::info!("draining");
    let begun = Instant::now();
    tokio::select! {
        in_time = started.shutdown() => {
            let seconds = begun.elapsed().as_secs_f64();
            if in_time {
                tracing::info!(seconds, "stopped");
            } else {
                tracing::warn!(seconds, "stopped; what did not end in time was cut");
            }
            Ok(())
        }
        number = signals.next() => {
            tracing::warn!("stopped at once, as told twice");
            std::process::exit(SIGNALLED + number)
        }
    }
}

async fn start(settings: Settings) -> Result<App, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open(&settings, &clock).await?;
    let choice = settings.store.to_string();
    let app = App::start(store, settings, clock).await?;
    banner(&app, &choice).await;
    Ok(app)
}

async fn open(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>, StartError> {
    let mut said: Option<Instant> = None;
    loop {
        match app::open_store(settings, clock.clone()).await {
            Err(StartError::Store(error)) if settings.wait_for_store && error.is_transient() => {
                if said.is_none_or(|said| clock.now() >= said + STORE_REMINDER) {
                    said = Some(clock.now());
                    tracing::warn!(%error, store = %settings.store, "waiting for the store");
                }
                clock.sleep(STORE_RETRY).await;
            }
            other => return other,
        }
    }
}

/// Says what runs, what it promises, and what to type next.
async fn banner(app: &App, choice: &str) {
    let (promise, warnings) = match app.core.store.status().await {
        Ok(status) => (status.promise, status.warnings),
        Err(error) => (error.to_string(), Vec::new()),
    };
    let mut text = format!(
        "stanchion {} serves on {}\n  store       {promise} ({choice})\n  operations  http://{}/metrics\n  next        stanchion doctor\n",
        env!("CARGO_PKG_VERSION"),
        app.address,
        app.operations_address,
    );
    for warning in &warnings {
        text += &format!("  warning     {warning}\n");
        tracing::warn!(warning, "the store has a known fault");
    }
    say(&text);
    tracing::info!(
        address = %app.address,
        operations_address = %app.operations_address,
        store = choice,
        promise,
        replica = %app.core.replica,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
}

/// Takes as many file descriptors as the system gives: every connection needs one, and the usual
/// first limit is far below what a server is for.
fn raise_file_limit(connections: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
    let files = getrlimit(Resource::Nofile).current;
    if files.is_some_and(|files| files <= connections as u64) {
        tracing::warn!(
            files,
            connections,
            "there are fewer open files than connections allowed"
        );
    }
}

/// Writes to standard output. That nobody reads it any more is no reason to stop.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::debug!(%error, "nobody reads standard output");
    }
}

// === impl Signals ===

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one and returns its number.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}

fn exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Store(_) | StartError::Open(_) | StartError::Unread { .. } => STORE_UNUSABLE,
        StartError::Listen { .. } | StartError::CheckTrust(_) => BAD_SETTINGS,
        StartError::Internal(_) => INTERNAL,
    }
}

/// What to do about it.
fn hint(error: &StartError) -> Option<&'static str> {
    match error {
        StartError::Store(store::Error::Denied(_)) => Some(
            "etcd.user and etcd.password_file say who we are; what is under the root must be ours \
             to read and write",
        ),
        StartError::Store(error) if error.is_transient() => {
            Some("is it running? --wait-for-store waits for it")
        }
        StartError::Unread { .. } => Some("has it a quorum? --wait-for-store waits for it"),
        _ => None,
    }
}
