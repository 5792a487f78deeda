//! Puts the revision of the source into the program: `FANFARE_REVISION` if it is set, as in an image without .git, otherwise git's.
//!
//! Builds for development get the word "development" instead: else each commit would build everything again.

use std::path::Path;
use std::process::Command;

/// Changes with each commit and checkout.
const GIT_LOG: &str = "../../.git/logs/HEAD";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=FANFARE_REVISION");
    let given = std::env::var("FANFARE_REVISION")
        .ok()
        .filter(|revision| !revision.is_empty());
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let revision = match given {
        Some(revision) => revision,
        None if !is_release => "development".into(),
        None => {
            if Path::new(GIT_LOG).exists() {
                println!("cargo::rerun-if-changed={GIT_LOG}");
            }
            git_revision().unwrap_or_else(|| "unknown".into())
        }
    };
    println!("cargo::rustc-env=FANFARE_REVISION={revision}");
    println!(
        "cargo::rustc-env=FANFARE_RUSTC={}",
        rustc_version().unwrap_or_else(|| "unknown".into())
    );
}

/// Such as "1.95.0".
fn rustc_version() -> Option<String> {
    let output = Command::new(std::env::var_os("RUSTC")?)
        .arg("--version")
        .output()
        .ok()?;
    let words = String::from_utf8(output.stdout).ok()?;
    words.split(' ').nth(1).map(str::to_owned)
}

fn git_revision() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let revision = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| revision.trim().to_owned())
        .filter(|revision| !revision.is_empty())
}
