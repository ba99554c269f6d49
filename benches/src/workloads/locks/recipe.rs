//! The program that takes locks as etcd's own Go client does.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{
    BenchError,
    meter::{Meter, Usage},
    target::Site,
};

/// A running one, on the core of this program. Gone when dropped.
pub(super) struct Recipe {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

// === impl Recipe ===

impl Recipe {
    /// Starts it on the etcd of a site.
    pub(super) fn start(site: &Site, arguments: &[String]) -> Result<Self, BenchError> {
        let program = &site.programs().recipe;
        let missing = |source| {
            let what = format!(
                "cannot start {}, which `make bench` builds with Go",
                program.display()
            );
            BenchError::io(&what, source)
        };
        if let Err(source) = std::fs::metadata(program) {
            return Err(missing(source));
        }
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .arg(format!("-endpoint=127.0.0.1:{}", site.etcd_port()))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(missing)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BenchError::failed("the recipe has no pipes"));
        };
        Ok(Self {
            _child: child,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    /// Measures what it does next: how many operations those were comes first of what it tells.
    pub(super) async fn measure(&mut self, site: &Site) -> Result<(Usage, Vec<u64>), BenchError> {
        self.expect("ready").await?;
        let meter = Meter::start(site).await?;
        let told = self.input.write_all(b"go\n").await;
        told.map_err(|source| BenchError::io("the recipe does not listen", source))?;
        let figures = self.expect("done").await?;
        let operations = figures.first().copied().unwrap_or_default();
        Ok((meter.stop(|| operations).await?, figures))
    }

    /// The figures on the line that begins so.
    async fn expect(&mut self, word: &str) -> Result<Vec<u64>, BenchError> {
        let line = self.output.next_line().await;
        let line = line.map_err(|source| BenchError::io("the recipe says nothing", source))?;
        let line = line.ok_or_else(|| BenchError::failed("the recipe ended"))?;
        line.strip_prefix(word)
            .map(|rest| rest.split_whitespace().map(str::parse).collect())
            .and_then(Result::ok)
            .ok_or_else(|| BenchError::failed(format!("the recipe says: {line}")))
    }
}
