//! The ends of tasks that serve clients.

use tokio::task::JoinError;
use tracing::error;

use crate::model::ListenerId;
use crate::observe::{WorkerMetrics, panic_message};

/// What a task has returned that served a connection or a stream. One that ended in a panic, which
/// affects no other, is counted and logged.
pub fn note_end<T>(
    ended: Result<T, JoinError>,
    listener: &ListenerId,
    metrics: &WorkerMetrics,
) -> Option<T> {
    let error = match ended {
        Ok(returned) => return Some(returned),
        Err(error) => error,
    };
    // The other error, a cancelled task, was dropped with its worker.
    if let Ok(panic) = error.try_into_panic() {
        metrics.panicked();
        let panic = panic_message(&*panic);
        error!(
            %listener,
            panic,
            "a connection panicked, which is a defect of Weir; only this connection is closed"
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinSet;

    use super::*;
    use crate::observe::Metrics;
    use crate::observe::openmetrics::ParsedPage;

    #[tokio::test]
    async fn a_connection_that_panics_is_counted_and_one_that_ends_is_not() {
        let metrics = Arc::new(Metrics::default());
        let worker = metrics.worker();
        let mut connections = JoinSet::new();
        connections.spawn(async { panic!("a defect") });
        connections.spawn(async {});
        connections.spawn(std::future::pending()).abort();
        while let Some(ended) = connections.join_next().await {
            note_end(ended, &"http".into(), &worker);
        }
        let page = ParsedPage::of(metrics);
        let series = r#"weir_panics_total{place="connection"}"#;
        assert_eq!(page.value(series), Some(1.0));
    }
}
