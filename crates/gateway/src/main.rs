//! `fanfare`: settings, start, wait for a signal, drain.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use gateway::cli::{Action, Cli};
use gateway::config::Config;
use gateway::{Drained, Gateway, logging, systemd};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Two signals within this time are one.
const SAME_SIGNAL: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match Cli::run() {
        Action::Done(code) => code,
        Action::Serve(config) => run(*config),
    }
}

fn run(config: Config) -> ExitCode {
    // Until the end of this function: what is said last is written too.
    let _logging = match logging::start(&config) {
        Ok(logging) => logging,
        Err(error) => {
            eprintln!("fanfare: {error}");
            return ExitCode::FAILURE;
        }
    };
    actix_web::rt::System::new()
        .block_on(serve(config))
        .unwrap_or_else(|error| {
            tracing::error!(error = format!("{error:#}"), "cannot go on");
            ExitCode::FAILURE
        })
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let gateway = tokio::select! {
        gateway = Gateway::start(config) => gateway?,
        () = stopped(&mut terminate, &mut interrupt) => return Ok(ExitCode::SUCCESS),
    };
    systemd::ready(gateway.liveness());
    stopped(&mut terminate, &mut interrupt).await;
    systemd::stopping();
    match gateway.drain(told_again(&mut terminate, &mut interrupt)).await {
        Drained::Completely => tracing::info!("drained"),
        Drained::Cut { connections } => tracing::warn!(connections, "some connections were cut"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for another signal; one that follows at once is the same, told to the process and to its group.
async fn told_again(terminate: &mut Signal, interrupt: &mut Signal) {
    let first = Instant::now();
    while first.elapsed() < SAME_SIGNAL {
        stopped(terminate, interrupt).await;
    }
}

async fn stopped(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
