//! The server as a process of its own.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use tonic::transport::Channel;

use super::{server::connect, store::PATIENCE};

/// A process that is to be a server. Killed when dropped.
pub struct Process {
    child: Child,
    banner: Lines<BufReader<ChildStdout>>,
    log: NamedTempFile,
    /// Where gRPC is served, once it serves.
    pub address: SocketAddr,
    /// Where operations are served, once it serves.
    pub operations_address: SocketAddr,
}

// === impl Process ===

impl Process {
    /// Starts `stanchion serve` on free ports and waits until it serves.
    pub async fn serve(arguments: &[&str]) -> Self {
        let mut process = Self::spawn(arguments);
        process.serves().await;
        process
    }

    /// Starts `stanchion serve` on free ports.
    pub fn spawn(arguments: &[&str]) -> Self {
        Self::spawn_in(arguments, &[])
    }

    /// Starts `stanchion serve` on free ports, with variables in its environment.
    pub fn spawn_in(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut child = command(arguments)
            .envs(environment.iter().copied())
            .args(["--listen", "127.0.0.1:0"])
            .args(["--operations-listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let banner = BufReader::new(child.stdout.take().unwrap()).lines();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            child,
            banner,
            log,
            address: nowhere,
            operations_address: nowhere,
        }
    }

    /// Waits for the banner, and reads the addresses from it.
    pub async fn serves(&mut self) {
        while self.operations_address.port() == 0 {
            let line = timeout(PATIENCE, self.banner.next_line()).await;
            let line = line.expect("no banner in time").unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended: {}", self.log()));
            if let Some((_, address)) = line.split_once("serves on ") {
                self.address = address.parse().unwrap();
            }
            if let Some((_, rest)) = line.split_once("http://") {
                let address = rest.strip_suffix("/metrics").unwrap();
                self.operations_address = address.parse().unwrap();
            }
        }
    }

    /// A connection to it.
    pub async fn channel(&self) -> Channel {
        connect(self.address).await
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits until it has ended.
    pub async fn end(&mut self) -> ExitStatus {
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("it does not end: {}", self.log()),
        }
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap()
    }

    fn log_path(&self) -> PathBuf {
        self.log.path().to_owned()
    }
}

/// `stanchion serve`, with nothing of this process's own settings.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stanchion"));
    command
        .arg("serve")
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STANCHION_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `stanchion serve` to its end.
pub async fn run(arguments: &[&str]) -> Output {
    ended(command(arguments)).await
}

/// Runs a command to its end.
pub async fn ended(mut command: Command) -> Output {
    timeout(PATIENCE, command.output())
        .await
        .expect("it does not end")
        .unwrap()
}
