//! The command line: the built binary against a real server.

mod audit;
mod barriers;
mod configs;
mod decisions;
mod drains;
mod elections;
mod exits;
mod folders;
mod health;
mod imports;
mod instances;
mod lock_faults;
mod locks;
mod protection;
mod reactions;
mod registrations;

use std::{
    net::SocketAddr,
    process::{ExitStatus, Output, Stdio},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
};

use crate::support::store::PATIENCE;

/// A shell with the server's address in its environment.
struct Shell {
    endpoint: String,
}

/// A command that runs beside the test. Killed with it.
struct Running {
    child: Child,
    /// Apart, because waiting for a child closes what is left in it.
    input: Option<ChildStdin>,
}

// === impl Shell ===

impl Shell {
    fn at(address: SocketAddr) -> Self {
        Self {
            endpoint: format!("http://{address}"),
        }
    }

    /// The binary with arguments, separated by blanks.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stanchion"));
        command
            .args(arguments.split_whitespace())
            .env("STANCHION_ENDPOINT", &self.endpoint)
            .env_remove("STANCHION_ENDPOINTS")
            .env_remove("STANCHION_NAMESPACE")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    async fn run(&self, arguments: &str) -> Output {
        ended(arguments, self.command(arguments).output())
            .await
            .unwrap()
    }

    /// Runs a command that must succeed; its output.
    async fn text(&self, arguments: &str) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must succeed and answer JSON.
    async fn json(&self, arguments: &str) -> Value {
        let text = self.text(&format!("{arguments} -o json")).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Runs a command to its end; its exit code.
    async fn code(&self, arguments: &str) -> i32 {
        self.run(arguments).await.status.code().unwrap()
    }

    /// Starts a command that runs another one after `--`; that one reads the standard input.
    fn start(&self, arguments: &str, command: &[&str]) -> Running {
        let mut binary = self.command(arguments);
        binary.arg("--").args(command);
        Running::spawn(&mut binary)
    }

    /// Starts a command.
    fn start_alone(&self, arguments: &str) -> Running {
        Running::spawn(&mut self.command(arguments))
    }
}

// === impl Running ===

impl Running {
    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take(),
            child,
        }
    }

    /// Gives the child a line to read.
    async fn say(&mut self, line: &str) {
        let line = format!("{line}\n");
        let input = self.input.as_mut().unwrap();
        input.write_all(line.as_bytes()).await.unwrap();
    }

    /// Closes the standard input, at whose end the child ends.
    fn close_input(&mut self) {
        self.input.take();
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    async fn end(&mut self) -> ExitStatus {
        ended("a command", self.child.wait()).await.unwrap()
    }

    /// The next line that the child prints.
    async fn line(&mut self) -> String {
        let output = self.child.stdout.as_mut().unwrap();
        ended("a line", async {
            let mut line = Vec::new();
            loop {
                match output.read_u8().await.unwrap() {
                    b'\n' => return String::from_utf8(line).unwrap(),
                    byte => line.push(byte),
                }
            }
        })
        .await
    }
}

async fn ended<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for: {what}"))
}
