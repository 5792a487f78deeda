//! Tasks whose end nobody would notice.
//!
//! A runtime catches the panic of a task and goes on without it. A process that lost its link to Redis in that way would keep its clients
//! and deliver nothing to them; one that ends is started again, and its clients find another.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// Runs `task` to its end. If it panics, the whole process ends at once, by `abort`; cancelled, it ends nothing. `name` is for the log.
pub async fn vital<T>(name: &str, task: impl Future<Output = T>) -> T {
    // Nothing is used after a panic, so nothing broken is seen.
    match AssertUnwindSafe(task).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(_) => {
            tracing::error!(
                task = name,
                "a task that cannot be done without has panicked, the process ends"
            );
            std::process::abort()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::{Command, Stdio};

    use super::*;

    /// Set in the process that is to end.
    const PANICS: &str = "FANFARE_TEST_PANICS";

    #[tokio::test]
    async fn a_panic_ends_the_process() {
        if env::var_os(PANICS).is_some() {
            let task = tokio::spawn(vital("test", async { panic!("on purpose") }));
            let outcome: Result<(), _> = task.await;
            panic!("the process lives: {outcome:?}");
        }
        let mut again = Command::new(env::current_exe().expect("this test"));
        again.args(["--exact", "vital::tests::a_panic_ends_the_process"]);
        let status = again
            .env(PANICS, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let code = status.expect("it runs").code();
        assert_eq!(code, None, "ended by a signal");
    }

    #[tokio::test]
    async fn other_ends_end_nothing() {
        assert_eq!(vital("test", async { 1 }).await, 1);
        let task = tokio::spawn(vital("test", std::future::pending::<()>()));
        task.abort();
        assert!(task.await.expect_err("cancelled").is_cancelled());
    }
}
