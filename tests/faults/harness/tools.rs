//! Programs of the system that some faults need.

use std::process::Command;

/// Runs a program of the system; panics with what it said when it fails or is not there: a fault
/// that cannot be made fails its test.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| {
            panic!("{program} does not run ({error}); `tests/faults/install` installs it")
        });
    assert!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
