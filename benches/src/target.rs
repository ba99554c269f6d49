//! What is compared: etcd alone, etcd behind its grpc-proxy, etcd behind Stanchion.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tonic::transport::{Channel, Endpoint};

use crate::{
    BenchError,
    process::{Cores, Process, Scratch, free_port},
    wire::Dialect,
};

/// How long a server may take until it takes a write.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Enough for a connection's streams, so that flow control is not what is measured.
const WINDOW: u32 = 1024 * 1024;

/// The programs, and where they run.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) etcd: PathBuf,
    pub(crate) stanchion: PathBuf,
    /// Takes locks as etcd's own client does.
    pub(crate) recipe: PathBuf,
    pub(crate) cores: Cores,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Etcd,
    GrpcProxy,
    Stanchion,
}

/// Where what stands before etcd runs, where that says something of etcd and the load too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the core of etcd: all servers are on one.
    BesideEtcd,
    /// On the core of the load: etcd has its core to itself, as it has without anything before it.
    BesideLoad,
    /// On whichever core the system gives it, and so do etcd and the load.
    Anywhere,
}

/// A target that runs, with an etcd of its own. Stops when dropped.
pub(crate) struct Site {
    target: Target,
    port: u16,
    etcd_port: u16,
    etcd: Process,
    front: Option<Process>,
    scratch: Scratch,
    programs: Programs,
}

// === impl Programs ===

impl Programs {
    /// What the programs say they are.
    pub(crate) fn versions(&self) -> Result<(String, String), BenchError> {
        Ok((version(&self.etcd)?, version(&self.stanchion)?))
    }
}

// === impl Target ===

impl Target {
    /// All, in the order of a round.
    pub(crate) const ALL: [Self; 3] = [Self::Etcd, Self::GrpcProxy, Self::Stanchion];

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::GrpcProxy => "grpc-proxy",
            Self::Stanchion => "stanchion",
        }
    }

    /// What it speaks.
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Etcd | Self::GrpcProxy => Dialect::Etcd,
            Self::Stanchion => Dialect::Stanchion,
        }
    }
}

// === impl Site ===

impl Site {
    /// Starts the target with fresh data, and waits until it takes writes.
    pub(crate) async fn start(
        programs: &Programs,
        target: Target,
        place: Place,
    ) -> Result<Self, BenchError> {
        let cores = match place {
            Place::Anywhere => programs.cores.shared(),
            Place::BesideEtcd | Place::BesideLoad => programs.cores,
        };
        cores.bind_load()?;
        let scratch = Scratch::create()?;
        let (etcd_port, peer_port) = (free_port()?, free_port()?);
        let client_url = format!("http://127.0.0.1:{etcd_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let etcd = Process::spawn(
            "etcd",
            cores,
            &programs.etcd,
            &[
                "--name=bench".to_owned(),
                format!("--data-dir={}", scratch.path().join("etcd").display()),
                format!("--listen-client-urls={client_url}"),
                format!("--advertise-client-urls={client_url}"),
                format!("--listen-peer-urls={peer_url}"),
                format!("--initial-advertise-peer-urls={peer_url}"),
                format!("--initial-cluster=bench={peer_url}"),
                "--log-level=warn".to_owned(),
            ],
            &scratch,
        )?;
        let mut site = Self {
            target: Target::Etcd,
            port: etcd_port,
            etcd_port,
            etcd,
            front: None,
            scratch,
            programs: programs.clone(),
        };
        site.wait_for_writes().await?;
        if target != Target::Etcd {
            site.put_before(programs, target, place)?;
            site.wait_for_writes().await?;
        }
        Ok(site)
    }

    /// A new connection to the target, for calls that are not part of the load.
    pub(crate) async fn connect(&self) -> Result<Channel, BenchError> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port))?
            .connect_timeout(Duration::from_secs(5))
            .initial_connection_window_size(WINDOW)
            .tcp_nodelay(true);
        Ok(endpoint.connect().await?)
    }

    /// What the target speaks.
    pub(crate) fn dialect(&self) -> Dialect {
        self.target.dialect()
    }

    /// The process that is measured.
    pub(crate) fn server(&self) -> &Process {
        self.front.as_ref().unwrap_or(&self.etcd)
    }

    /// The etcd behind it, if that is another process.
    pub(crate) fn etcd_behind(&self) -> Option<&Process> {
        self.front.as_ref().map(|_| &self.etcd)
    }

    /// Where etcd itself listens.
    pub(crate) fn etcd_port(&self) -> u16 {
        self.etcd_port
    }

    /// Where the target listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The programs it was started from.
    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// What it is.
    pub(crate) fn target(&self) -> Target {
        self.target
    }

    /// Starts the target before the etcd that runs.
    fn put_before(
        &mut self,
        programs: &Programs,
        target: Target,
        place: Place,
    ) -> Result<(), BenchError> {
        let etcd = format!("127.0.0.1:{}", self.etcd_port);
        self.port = free_port()?;
        self.target = target;
        let address = format!("127.0.0.1:{}", self.port);
        let (program, arguments) = match target {
            Target::Stanchion => {
                let arguments = vec![
                    "serve".to_owned(),
                    format!("--store=etcd://{etcd}/bench"),
                    format!("--listen={address}"),
                    format!("--operations-listen=127.0.0.1:{}", free_port()?),
                ];
                (&programs.stanchion, arguments)
            }
            Target::Etcd | Target::GrpcProxy => {
                // It ends after five seconds unless it advertises where it listens.
                let arguments = vec![
                    "grpc-proxy".to_owned(),
                    "start".to_owned(),
                    format!("--endpoints={etcd}"),
                    format!("--listen-addr={address}"),
                    format!("--advertise-client-url={address}"),
                ];
                (&programs.etcd, arguments)
            }
        };
        let cores = match place {
            Place::BesideEtcd => programs.cores,
            Place::BesideLoad => programs.cores.of_load(),
            Place::Anywhere => programs.cores.shared(),
        };
        let front = Process::spawn(target.name(), cores, program, &arguments, &self.scratch)?;
        self.front = Some(front);
        Ok(())
    }

    async fn wait_for_writes(&mut self) -> Result<(), BenchError> {
        let begun = Instant::now();
        loop {
            self.etcd.check()?;
            if let Some(front) = &mut self.front {
                front.check()?;
            }
            let attempt = async {
                let channel = self.connect().await?;
                let value = Bytes::from_static(b"1");
                self.dialect().put(&channel, "started", value).await?;
                Ok::<_, BenchError>(())
            };
            let error = match tokio::time::timeout(Duration::from_secs(2), attempt).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            if begun.elapsed() > START_LIMIT {
                let name = self.target.name();
                return Err(BenchError::Failed(format!(
                    "{name} takes no writes: {error}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn version(program: &Path) -> Result<String, BenchError> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(|source| BenchError::io(&format!("cannot run {}", program.display()), source))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
