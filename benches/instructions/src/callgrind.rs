//! Running a case under callgrind.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::error::CountError;

/// What callgrind knows [`crate::measured::measured`] by, whether it demangles the name or not.
const MEASURED: &str = "*stanchion_instructions*measured*measured*";

/// How much of what a failed run said is repeated.
const LAST_LINES: usize = 12;

/// The version of the valgrind that is installed.
pub(crate) fn version() -> Result<String, CountError> {
    let output = Command::new("valgrind").arg("--version").output();
    let output = output.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => CountError::NoValgrind,
        _ => CountError::io("cannot run valgrind", source),
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Counts the instructions of one operation of a case. The profile stays in `profiles`.
pub(crate) fn count(case: &str, profiles: &Path) -> Result<u64, CountError> {
    let failed = |why: String| CountError::Count {
        case: case.to_owned(),
        why,
    };
    let profile = fresh(case, profiles)?;
    let own = std::env::current_exe()
        .map_err(|source| CountError::io("cannot find this program", source))?;
    let mut out_file = OsString::from("--callgrind-out-file=");
    out_file.push(&profile);
    let output = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--toggle-collect={MEASURED}"))
        .arg(out_file)
        .arg(own)
        .args(["--case", case])
        .output()
        .map_err(|source| CountError::io("cannot run valgrind", source))?;
    if !output.status.success() {
        return Err(failed(last_words(&output)));
    }
    let operations: u64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|_| failed("it did not say how many operations it did".into()))?;
    let text = fs::read_to_string(&profile)
        .map_err(|source| CountError::io(format!("cannot read {}", profile.display()), source))?;
    match total(&text) {
        None | Some(0) => Err(failed("callgrind counted nothing".into())),
        Some(total) => Ok(total / operations.max(1)),
    }
}

/// Where the profile of a case goes; an older one is removed.
fn fresh(case: &str, profiles: &Path) -> Result<PathBuf, CountError> {
    let failed = |source| CountError::io(format!("cannot write to {}", profiles.display()), source);
    fs::create_dir_all(profiles).map_err(failed)?;
    let profile = profiles.join(case).with_extension("out");
    match fs::remove_file(&profile) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed(source)),
        _ => Ok(profile),
    }
}

/// The instructions of a whole profile.
fn total(profile: &str) -> Option<u64> {
    let line = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals:"))?;
    line.trim().parse().ok()
}

fn last_words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text.lines().collect();
    let said = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    format!("{}\n{said}", output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_profile_is_found() {
        let profile = "version: 1\nevents: Ir\nfn=(1) x\n12 345\n\ntotals: 12345\n";
        assert_eq!(total(profile), Some(12_345));
        assert_eq!(total("events: Ir\n"), None);
    }
}
