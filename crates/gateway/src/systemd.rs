//! What systemd is told of this process, when it was started by it: ready, alive, stopping.
//!
//! Does nothing elsewhere. Invariant: the watchdog is fed only while every loop turns.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::Liveness;

/// Clients are accepted. From now on systemd hears of every loop that turns, as often as it has asked to.
pub fn ready(liveness: Liveness) {
    tell(NotifyState::Ready);
    if let Some(limit) = sd_notify::watchdog_enabled() {
        actix_web::rt::spawn(feed(liveness, limit / 3));
    }
}

/// The drain has begun.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

async fn feed(liveness: Liveness, pause: Duration) {
    let mut interval = tokio::time::interval(pause);
    loop {
        interval.tick().await;
        if liveness.is_alive() {
            tell(NotifyState::Watchdog);
        }
    }
}

fn tell(state: NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
