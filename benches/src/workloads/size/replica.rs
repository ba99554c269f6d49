//! A Stanchion that is started to see how long that takes.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    BenchError,
    process::{Process, Scratch, free_port},
    target::Programs,
};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Stanchion that is ready. Stops when dropped.
pub(super) struct Replica {
    pub(super) process: Process,
    /// Where it serves gRPC.
    pub(super) port: u16,
    /// From its start until it said that it is ready.
    pub(super) start: Duration,
    _scratch: Scratch,
}

// === impl Replica ===

impl Replica {
    /// Starts one over a store, and waits until it is ready.
    pub(super) async fn start(programs: &Programs, store: &str) -> Result<Self, BenchError> {
        let scratch = Scratch::create()?;
        let (port, operations) = (free_port()?, free_port()?);
        let arguments = [
            "serve".to_owned(),
            format!("--store={store}"),
            format!("--listen=127.0.0.1:{port}"),
            format!("--operations-listen=127.0.0.1:{operations}"),
            "--start-timeout=60s".to_owned(),
            "--telemetry-log=warn".to_owned(),
        ];
        let begun = Instant::now();
        let program = &programs.stanchion;
        let mut process =
            Process::spawn("stanchion", programs.cores, program, &arguments, &scratch)?;
        while !is_ready(operations).await {
            process.check()?;
            if begun.elapsed() > PATIENCE {
                return Err(BenchError::failed("a replica does not become ready"));
            }
            sleep(Duration::from_millis(2)).await;
        }
        Ok(Self {
            process,
            port,
            start: begun.elapsed(),
            _scratch: scratch,
        })
    }
}

/// Asks a server whether it is ready. One that does not listen yet is not.
async fn is_ready(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = b"GET /readyz HTTP/1.1\r\nHost: stanchion\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    matches!(timeout(Duration::from_secs(1), ask).await, Ok(Ok(true)))
}
