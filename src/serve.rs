//! The life of a server process: settings, store, serve, signal, drain, exit code.

use std::{process::ExitCode, sync::Arc, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    app::{self, App, StartError},
    clock::{Clock, SystemClock},
    settings::{ServeArgs, Settings},
    store::Store,
    telemetry::Telemetry,
};

/// Exit code for settings that cannot be used (`EX_USAGE`).
const BAD_SETTINGS: u8 = 64;
/// Exit code for a store that cannot be reached at start (`EX_UNAVAILABLE`).
const STORE_UNREACHABLE: u8 = 69;
/// Exit code for a fault of ours (`EX_SOFTWARE`).
const INTERNAL: u8 = 70;
/// How often a store that is not there is tried again with `--wait-for-store`.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT; a second one ends the process at once.
///
/// Exit codes: 0 clean, 64 bad settings, 69 store unreachable at start, 70 internal.
#[allow(clippy::print_stdout, clippy::print_stderr)] // The answers to --print-settings and --check, and the banner.
pub async fn run(args: ServeArgs) -> ExitCode {
    let settings = match args.settings() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("stanchion: {error}");
            return ExitCode::from(BAD_SETTINGS);
        }
    };
    if args.print {
        print!("{}", settings.to_toml());
        return ExitCode::SUCCESS;
    }
    if args.check {
        println!("the settings are good");
        return ExitCode::SUCCESS;
    }
    let telemetry = match Telemetry::start(&settings.telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("stanchion: {error}");
            return ExitCode::from(BAD_SETTINGS);
        }
    };
    let code = match serve(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "stopped");
            eprintln!("stanchion: {error}");
            ExitCode::from(exit_code(&error))
        }
    };
    telemetry.shutdown();
    code
}

async fn serve(settings: Settings) -> Result<(), StartError> {
    let internal = |error: std::io::Error| StartError::Internal(error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
    let started = tokio::select! {
        started = start(settings) => started?,
        () = either(&mut terminate, &mut interrupt) => return Ok(()),
    };
    either(&mut terminate, &mut interrupt).await;
    tracing::info!("draining");
    tokio::select! {
        in_time = started.shutdown() => {
            if in_time {
                tracing::info!("stopped");
            } else {
                tracing::warn!("stopped; calls that did not end in time were cut");
            }
        }
        () = either(&mut terminate, &mut interrupt) => tracing::warn!("stopped at once, as told twice"),
    }
    Ok(())
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
    loop {
        match app::open_store(settings, clock.clone()).await {
            Err(StartError::Store(error)) if settings.wait_for_store && error.is_transient() => {
                tracing::warn!(%error, store = %settings.store, "waiting for the store");
                clock.sleep(STORE_RETRY).await;
            }
            other => return other,
        }
    }
}

/// Says what runs, what it promises, and what to type next.
#[allow(clippy::print_stdout)] // For whoever started the program by hand.
async fn banner(app: &App, choice: &str) {
    let status = app.core.store.status().await.unwrap_or_default();
    println!(
        "stanchion {} serves on {}\n  store       {} ({choice})\n  operations  http://{}/metrics\n  next        stanchion doctor",
        env!("CARGO_PKG_VERSION"),
        app.address,
        status.promise,
        app.operations_address,
    );
    for warning in &status.warnings {
        println!("  warning     {warning}");
    }
    tracing::info!(
        address = %app.address,
        store = choice,
        promise = status.promise,
        replica = %app.core.replica,
        "serving"
    );
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

fn exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Store(_) => STORE_UNREACHABLE,
        StartError::Open(_) => STORE_UNREACHABLE,
        StartError::Listen { .. } => BAD_SETTINGS,
        StartError::Internal(_) => INTERNAL,
    }
}
