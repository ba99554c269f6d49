//! The table that a run prints.

use std::io::{self, Write as _};

use crate::{cases, error::CountError, figures::Figures};

/// Prints what was counted beside what is committed.
pub(crate) fn print(counted: &Figures, committed: Option<&Figures>) -> Result<(), CountError> {
    write(counted, committed).map_err(|source| CountError::io("cannot write to stdout", source))
}

fn write(counted: &Figures, committed: Option<&Figures>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<16} {:>12} {:>9}  {:>8}  one operation",
        "case", "instructions", "committed", "change"
    )?;
    for case in cases::ALL {
        let count = counted.get(case.name).unwrap_or_default();
        let was = committed.and_then(|committed| committed.get(case.name));
        let (shown, change) = match was {
            Some(was) => (was.to_string(), change(was, count)),
            None => ("-".into(), "-".into()),
        };
        writeln!(
            out,
            "{:<16} {count:>12} {shown:>9}  {change:>8}  {}",
            case.name, case.operation
        )?;
    }
    writeln!(
        out,
        "Instructions are not time: waiting for memory and system calls count nothing. HTTP/2 and \
         the layers around\neach call are left out. Other compilers, C libraries and processors give \
         other counts."
    )?;
    out.flush()
}

/// By how much a count differs, in percent.
fn change(was: u64, is: u64) -> String {
    // Counts are far below 2^52.
    let (was, is) = (was as f64, is as f64);
    format!("{:+.2} %", (is - was) / was * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_in_percent() {
        assert_eq!(change(200, 201), "+0.50 %");
        assert_eq!(change(200, 100), "-50.00 %");
    }
}
