//! A connection without a task of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

/// Awaits an operation and does the work of the connection that it waits for. A connection which
/// fails tells the operation on it why.
pub(super) async fn drive<T>(
    driver: &mut Option<impl Future + Unpin>,
    operation: impl Future<Output = T>,
) -> T {
    let mut operation = pin!(operation);
    poll_fn(|cx| {
        if let Some(connection) = driver
            && let Poll::Ready(_told_to_the_operation) = Pin::new(connection).poll(cx)
        {
            *driver = None;
        }
        operation.as_mut().poll(cx)
    })
    .await
}
