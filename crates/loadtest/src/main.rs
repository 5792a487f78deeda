//! `fanfare-loadtest`: runs a test and prints what it found. Exit code 1: something was lost or not opened; 2: no run took place.

use std::process::ExitCode;

use clap::Parser;
use loadtest::args::{Arguments, Mode};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_json = match &arguments.mode {
        Mode::Fanout(mode) => mode.common.json,
        Mode::Chat(mode) => mode.common.json,
        Mode::Idle(mode) => mode.common.json,
        Mode::Storm(mode) => mode.common.json,
    };
    if let Err(error) = raise_open_files() {
        eprintln!("fanfare-loadtest: the limit of open files stays as it is: {error}");
    }
    let report = match loadtest::run(&arguments) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("fanfare-loadtest: {error:#}");
            return ExitCode::from(2);
        }
    };
    if is_json {
        println!(
            "{}",
            serde_json::to_string_pretty(&report).expect("a report has only strings for keys")
        );
    } else {
        print!("{report}");
    }
    if report.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Raises the soft limit of open files to the hard one: shells often start with 1024, whatever the hard one is.
fn raise_open_files() -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}
