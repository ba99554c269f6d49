//! Instruction counts of the server's hot paths: no noise of the machine touches them, so that a
//! change of a few percent is seen in one run.
//!
//! The program runs itself under callgrind once for each case ([`callgrind`]). There it builds a
//! replica in one thread, without sockets, with a clock that stands still ([`replica`]), does the
//! work of the case ([`cases`]), of which only what is inside of [`measured::measured`] counts, and
//! says how many operations that were. The counts are compared with the committed ones
//! ([`figures`]).

mod arguments;
mod callgrind;
mod cases;
mod error;
mod figures;
mod instances;
mod measured;
mod relay;
mod replica;
mod report;
mod still;
mod stream;

use std::{io::Write as _, process::ExitCode};

use self::{arguments::Arguments, error::CountError, figures::Figures};

/// The server's, so that what it allocates costs the same here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::read();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about a closed stderr.
            let _ = writeln!(std::io::stderr(), "stanchion-instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), CountError> {
    if let Some(name) = &arguments.case {
        let operations = cases::run(name)?;
        return writeln!(std::io::stdout(), "{operations}")
            .map_err(|source| CountError::io("cannot write to stdout", source));
    }
    let valgrind = callgrind::version()?;
    let mut counted = Figures::new(valgrind);
    for case in cases::ALL {
        counted.add(case.name, callgrind::count(case.name, &arguments.profiles)?);
    }
    let committed = Figures::read(&arguments.figures)?;
    report::print(&counted, committed.as_ref())?;
    if arguments.update {
        return counted.write(&arguments.figures);
    }
    let Some(committed) = committed else {
        return Err(CountError::NoFigures(arguments.figures.clone()));
    };
    match counted.complaints(&committed) {
        complaints if complaints.is_empty() => Ok(()),
        complaints => Err(CountError::Differs {
            complaints,
            profiles: arguments.profiles.clone(),
        }),
    }
}
