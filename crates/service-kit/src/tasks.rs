//! Background work that a shutdown waits for.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tracked spawner: every background task goes through it, and shutdown drains it.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs `task` in the background. It should watch [`Tasks::stopping`] and end soon after.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(&self, task: F) {
        self.tracker.spawn(task);
    }

    /// Completes when shutdown begins.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// A token that is cancelled when shutdown begins.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Begins shutdown without waiting.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Begins shutdown and waits for all tasks; `false` when `deadline` passed first.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.stop();
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }
}

/// Completes at SIGINT or SIGTERM.
///
/// # Errors
/// When the process cannot listen for signals.
pub async fn termination_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
