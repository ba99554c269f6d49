//! A ZooKeeper server of the Debian package, alone and with fresh data.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::connection::Connection;
use crate::{
    BenchError,
    process::{Cores, Process, Scratch, free_port},
};

/// Names in its manifest what else the server needs.
const JAR: &str = "/usr/share/java/zookeeper.jar";

/// The class that ZooKeeper's own scripts start.
const MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";

/// The heap that ZooKeeper's own scripts allow.
const HEAP: &str = "-Xmx1000m";

/// How long a Java program may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A server that runs. Stops when dropped.
pub(super) struct Server {
    process: Process,
    port: u16,
    _scratch: Scratch,
}

// === impl Server ===

impl Server {
    /// Starts a server and waits until it opens sessions.
    pub(super) async fn start(cores: Cores) -> Result<Self, BenchError> {
        if !Path::new(JAR).exists() {
            return Err(missing(&format!("there is no {JAR}")));
        }
        let java = java().ok_or_else(|| missing("there is no java in the path"))?;
        let scratch = Scratch::create()?;
        let port = free_port()?;
        let settings = scratch.path().join("zoo.cfg");
        std::fs::write(&settings, configuration(scratch.path(), port))
            .map_err(|source| BenchError::io("cannot configure ZooKeeper", source))?;
        let arguments = [
            HEAP.to_owned(),
            "-cp".to_owned(),
            JAR.to_owned(),
            MAIN.to_owned(),
            settings.display().to_string(),
        ];
        let mut server = Self {
            process: Process::spawn("zookeeper", cores, &java, &arguments, &scratch)?,
            port,
            _scratch: scratch,
        };
        server.wait().await?;
        Ok(server)
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    async fn wait(&mut self) -> Result<(), BenchError> {
        let begun = Instant::now();
        loop {
            self.process.check()?;
            let attempt = Connection::open(self.port);
            let error = match tokio::time::timeout(Duration::from_secs(5), attempt).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            if begun.elapsed() > START_LIMIT {
                return Err(BenchError::Failed(format!(
                    "ZooKeeper opens no session: {error}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Name and version: a link beside the jar has both.
pub(in super::super) fn version() -> String {
    let name = |entry: std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let version = name.strip_prefix("zookeeper-")?.strip_suffix(".jar")?;
        let number = version.starts_with(|first: char| first.is_ascii_digit());
        number.then(|| format!("ZooKeeper {version}"))
    };
    let beside = Path::new(JAR)
        .parent()
        .and_then(|path| path.read_dir().ok());
    beside
        .into_iter()
        .flatten()
        .find_map(|entry| name(entry.ok()?))
        .unwrap_or_else(|| "ZooKeeper".to_owned())
}

/// As the package has it, but for what would keep the load out or listen beside it.
fn configuration(scratch: &Path, port: u16) -> String {
    format!(
        "tickTime=2000\n\
         dataDir={}\n\
         clientPort={port}\n\
         clientPortAddress=127.0.0.1\n\
         maxClientCnxns=0\n\
         admin.enableServer=false\n",
        scratch.join("data").display()
    )
}

/// Where the shell would find it. The package's script names `/usr/bin/java`.
fn java() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join("java"))
        .find(|program| program.is_file())
}

fn missing(what: &str) -> BenchError {
    BenchError::Failed(format!(
        "{what}: install ZooKeeper with `apt-get install zookeeper default-jre-headless` (Debian, Ubuntu)"
    ))
}
