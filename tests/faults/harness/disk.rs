//! A slow or failing disk under a member: strace delays or fails its syncs.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

/// The disk of one process is bad until this is dropped.
pub struct SlowDisk {
    strace: Child,
}

// === impl SlowDisk ===

impl SlowDisk {
    /// Every sync of the process takes this much longer.
    pub fn delay(pid: u32, delay: Duration) -> Self {
        Self::inject(pid, &format!("delay_enter={}", delay.as_micros()))
    }

    /// Every sync of the process fails with EIO.
    pub fn fail(pid: u32) -> Self {
        Self::inject(pid, "error=EIO")
    }

    fn inject(pid: u32, what: &str) -> Self {
        let mut strace = Command::new("strace")
            .args(["-f", "-p", &pid.to_string(), "-o", "/dev/null"])
            .args(["-e", "trace=fsync,fdatasync"])
            .args(["-e", &format!("inject=fsync,fdatasync:{what}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("strace does not run ({error}); `tests/faults/install` installs it")
            });
        // It says so once it is attached.
        let mut said = BufReader::new(strace.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "strace: {line}");
        // It goes on to name every thread, into a pipe that somebody has to read.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { strace }
    }
}

impl Drop for SlowDisk {
    /// Told to stop it detaches; killed it would take the process along.
    fn drop(&mut self) {
        let pid = i32::try_from(self.strace.id()).unwrap();
        // Both fail only when it is gone already.
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::INT);
        let _ = self.strace.wait();
    }
}
