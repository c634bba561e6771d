//! Ctrl-C and SIGTERM.

use anyhow::{Result, bail};

/// Returns at the first SIGINT or SIGTERM; the second ends the process at once.
pub async fn stop() {
    next().await;
    tokio::spawn(async {
        next().await;
        std::process::exit(130);
    });
}

/// Runs `work` to its end, or drops it at SIGINT or SIGTERM.
pub async fn interruptible<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        result = work => result,
        () = stop() => bail!("interrupted"),
    }
}

#[cfg(unix)]
async fn next() {
    use tokio::signal::unix::{SignalKind, signal};
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        }
        // no handler can be set: the signals kill the process, as they do by default
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn next() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
