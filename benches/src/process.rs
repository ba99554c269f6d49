//! Server processes: pinned, measured by what the kernel counts, gone when dropped.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::BenchError;

/// One tick of `utime` and `stime`: Linux promises 100 a second to programs.
const TICK: Duration = Duration::from_millis(10);

/// Where servers run, and where the load does.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";
const BOTH_CORES: &str = "0,1";

/// Where a program that counts what it does writes the counts, which it does when it ends in order:
/// <https://clang.llvm.org/docs/SourceBasedCodeCoverage.html#running-the-instrumented-program>.
const PROFILE: &str = "LLVM_PROFILE_FILE";
/// How long it may take for that.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who runs where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    /// The core of all servers, or both; none on a machine that has only one.
    servers: Option<&'static str>,
}

/// A running server. Killed when dropped, or when the benchmark ends in whatever way.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A directory of its own, gone when dropped.
pub(crate) struct Scratch(PathBuf);

// === impl Cores ===

impl Cores {
    /// Gives the second core to this process, and the first one to the servers.
    pub(crate) fn divide() -> Result<Self, BenchError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if cores < 2 {
            return Ok(Self { servers: None });
        }
        let divided = Self {
            servers: Some(SERVER_CORE),
        };
        divided.bind_load()?;
        Ok(divided)
    }

    /// Has this process run where the servers do not, or on both cores if they may.
    pub(crate) fn bind_load(self) -> Result<(), BenchError> {
        let cores = match self.servers {
            None => return Ok(()),
            Some(BOTH_CORES) => BOTH_CORES,
            Some(_) => LOAD_CORE,
        };
        let status = Command::new("taskset")
            .args(["-cp", cores, &std::process::id().to_string()])
            .stdout(Stdio::null())
            .status()
            .map_err(|source| BenchError::io("cannot run taskset", source))?;
        if !status.success() {
            return Err(BenchError::Failed(format!("taskset refused core {cores}")));
        }
        Ok(())
    }

    /// Both cores, for servers and load alike.
    pub(crate) fn shared(self) -> Self {
        Self {
            servers: self.servers.map(|_| BOTH_CORES),
        }
    }

    /// Where the load runs instead of the servers.
    pub(crate) fn of_load(self) -> Self {
        Self {
            servers: self.servers.map(|_| LOAD_CORE),
        }
    }

    /// Whether servers and load have a core each.
    pub(crate) fn apart(self) -> bool {
        self.servers.is_some()
    }
}

// === impl Process ===

impl Process {
    /// Starts a program that writes its log into `scratch`.
    pub(crate) fn spawn(
        name: &str,
        cores: Cores,
        program: &Path,
        arguments: &[String],
        scratch: &Scratch,
    ) -> Result<Self, BenchError> {
        let log = scratch.path().join(format!("{name}.log"));
        let failed = |source| BenchError::io(&format!("cannot start {name}"), source);
        let output = File::create(&log).map_err(failed)?;
        // Both become the program without a fork, so that the child's pid is the program's.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(cores) = cores.servers {
            command.args(["taskset", "-c", cores]);
            if cores != BOTH_CORES {
                command.env("GOMAXPROCS", "1");
            }
        }
        let child = command
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output)
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Fails with the end of the log if the process has ended.
    pub(crate) fn check(&mut self) -> Result<(), BenchError> {
        let ended = self
            .child
            .try_wait()
            .map_err(|source| BenchError::io("cannot wait", source))?;
        match ended {
            None => Ok(()),
            Some(status) => {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(3).collect();
                Err(BenchError::Failed(format!(
                    "{} ended ({status}): {}",
                    self.name,
                    last.into_iter().rev().collect::<Vec<_>>().join("\n")
                )))
            }
        }
    }

    /// Asks it to end, and gives it some time.
    fn end_in_order(&mut self) {
        let pid = Pid::from_child(&self.child);
        if kill_process(pid, Signal::TERM).is_err() {
            return;
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(TICK);
        }
    }

    /// The CPU time it has used.
    pub(crate) fn cpu(&self) -> Result<Duration, BenchError> {
        cpu_of(&self.child.id().to_string())
    }

    /// Its resident memory in bytes.
    pub(crate) fn rss(&self) -> Result<u64, BenchError> {
        let path = format!("/proc/{}/status", self.child.id());
        let status =
            std::fs::read_to_string(&path).map_err(|source| BenchError::io(&path, source))?;
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .split_whitespace()
                    .next()?
                    .parse::<u64>()
                    .ok()
            })
            .map(|kib| kib * 1024)
            .ok_or_else(|| BenchError::Failed(format!("no VmRSS in {path}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::env::var_os(PROFILE).is_some() {
            self.end_in_order();
        }
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Scratch ===

impl Scratch {
    pub(crate) fn create() -> Result<Self, BenchError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "stanchion-bench-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(|source| {
            BenchError::io(&format!("cannot create {}", path.display()), source)
        })?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left lies in the directory for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Lets this process and its servers open as many files as the system allows.
pub(crate) fn raise_open_files() -> Result<(), BenchError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| BenchError::io("cannot raise the limit of open files", error.into()))
}

/// The CPU time this process has used.
pub(crate) fn own_cpu() -> Result<Duration, BenchError> {
    cpu_of("self")
}

/// A port of loopback that is free now, below those that outgoing connections get.
pub(crate) fn free_port() -> Result<u16, BenchError> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1000 {
        let offset = std::process::id()
            .wrapping_mul(16)
            .wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = 20_000 + (offset % 12_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(BenchError::Failed(
        "no free port from 20000 to 32000".to_owned(),
    ))
}

fn cpu_of(process: &str) -> Result<Duration, BenchError> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).map_err(|source| BenchError::io(&path, source))?;
    // The name, in brackets, may hold blanks; utime and stime are fields 14 and 15.
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<u32>().ok())
    };
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok(TICK * (user + system)),
        _ => Err(BenchError::Failed(format!("cannot read {path}"))),
    }
}
