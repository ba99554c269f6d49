//! One member of a cluster, and the process it runs as.

use std::{
    ffi::OsStr,
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use super::{Home, Launch, START_TIMEOUT};
use crate::support::{etcd_binary::Binary, scrape};

/// Runs etcd until its standard input closes, then kills it and, unless told `keep`, removes its
/// data.
const KEEPER: &str = r#"
dir=$1; shift
"$@" >>"$dir/log" 2>&1 </dev/null &
pid=$!
echo "$pid"
read -r word || word=
kill -9 "$pid" 2>/dev/null
wait "$pid" 2>/dev/null
[ "$word" = keep ] || rm -rf "$dir"
"#;

/// One member: its place, and its process while it runs.
pub(super) struct Member {
    pub(super) binary: Binary,
    /// It was added to a cluster that ran already.
    pub(super) joins: bool,
    /// It was taken out of its cluster: who starts later must not know it.
    pub(super) removed: bool,
    pub(super) name: String,
    home: Home,
    pub(super) dir: PathBuf,
    client_port: u16,
    /// Where it listens without TLS beside where it wants it.
    side_port: u16,
    peer_port: u16,
    metrics_port: u16,
    pub(super) process: Option<Process>,
}

pub(super) struct Process {
    keeper: Child,
    stdin: Option<ChildStdin>,
    pub(super) pid: u32,
}

// === impl Member ===

impl Member {
    pub(super) fn new(binary: Binary, name: String, home: Home) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("stanchion-etcd-")
            .tempdir()
            .unwrap()
            // The keeper removes it, also when this process cannot.
            .keep();
        Self {
            binary,
            joins: false,
            removed: false,
            name,
            home,
            dir,
            client_port: free_port(),
            side_port: free_port(),
            peer_port: free_port(),
            metrics_port: free_port(),
            process: None,
        }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("{}:{}", self.home.address, self.client_port)
    }

    /// `host:port` at which it talks plainly.
    pub(super) fn plain_endpoint(&self, launch: &Launch) -> String {
        match launch.tls {
            Some(_) => format!("{}:{}", self.home.address, self.side_port),
            None => self.endpoint(),
        }
    }

    pub(super) fn peer_url(&self) -> String {
        format!("http://{}:{}", self.home.address, self.peer_port)
    }

    pub(super) fn spawn(&mut self, cluster: &str, launch: &Launch) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let scheme = if launch.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let client = format!("{scheme}://{}:{}", self.home.address, self.client_port);
        let plain = format!("http://{}", self.plain_endpoint(launch));
        let listened = match launch.tls {
            Some(_) => format!("{client},{plain}"),
            None => client.clone(),
        };
        let advertised = launch.advertised.as_ref().unwrap_or(&client);
        let metrics = format!("http://{}:{}", self.home.address, self.metrics_port);
        let peer = self.peer_url();
        let state = if self.joins { "existing" } else { "new" };
        // Fast elections where nobody can lose one, calmer ones on a busy machine otherwise.
        let alone = launch.homes.len() == 1;
        let (heartbeat, election) = if alone { (20, 200) } else { (50, 500) };
        let mut keeper = Command::new("sh");
        keeper
            .args(["-c", KEEPER, "etcd-keeper"])
            .arg(&self.dir)
            .args(&self.home.enter)
            .arg(self.binary.path())
            .args(["--name", &self.name, "--data-dir"])
            .arg(self.dir.join("data"))
            .args(["--listen-client-urls", &listened])
            .args(["--advertise-client-urls", advertised])
            .args(["--listen-metrics-urls", &metrics])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", cluster])
            .args(["--initial-cluster-token", cluster])
            .args(["--initial-cluster-state", state])
            .args(["--log-level", "warn"])
            .args((!launch.synced).then_some("--unsafe-no-fsync"))
            .arg(format!("--heartbeat-interval={heartbeat}"))
            .arg(format!("--election-timeout={election}"))
            .args(&launch.flags)
            .env_remove("ETCD")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(tls) = &launch.tls {
            keeper
                .arg("--client-cert-auth")
                .args([OsStr::new("--trusted-ca-file"), tls.ca().as_os_str()])
                .args([OsStr::new("--cert-file"), tls.certificate().as_os_str()])
                .args([OsStr::new("--key-file"), tls.key().as_os_str()]);
        }
        let mut keeper = keeper.spawn().unwrap();
        let stdin = keeper.stdin.take();
        let mut first_line = String::new();
        let stdout = keeper.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut first_line).unwrap();
        let pid = first_line.trim().parse().unwrap();
        self.process = Some(Process { keeper, stdin, pid });
    }

    pub(super) async fn wait_until_it_serves(&self) {
        let started = Instant::now();
        loop {
            match self.http_get("/health") {
                Ok(answer) if answer.contains("\"true\"") => return,
                _ if started.elapsed() < START_TIMEOUT => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => {
                    let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                    panic!("{} does not serve: {other:?}\n{log}", self.name);
                }
            }
        }
    }

    pub(super) fn http_get(&self, path: &str) -> io::Result<String> {
        scrape::get((self.home.address, self.metrics_port).into(), path)
    }

    pub(super) fn signal(&self, signal: &str) {
        let process = self.process.as_ref().unwrap();
        let status = Command::new("kill")
            .args([signal, &process.pid.to_string()])
            .status()
            .unwrap();
        assert!(status.success(), "kill {signal} failed");
    }

    pub(super) fn stop(&mut self, word: &str) {
        if let Some(mut process) = self.process.take() {
            if let Some(mut stdin) = process.stdin.take() {
                // A keeper that is gone has stopped etcd already.
                let _ = stdin.write_all(word.as_bytes());
            }
            let _ = process.keeper.wait();
        } else if word.is_empty() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop("");
    }
}

/// A port below the range that outgoing connections take theirs from, so that nobody has it while
/// who uses it is down.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(31) % u32::from(COUNT);
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = (start + step) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
