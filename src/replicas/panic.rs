//! Panics of providers, turned into errors.
//!
//! A panic of a provider is a fault of that provider alone: it is called again, less and less
//! often, like one that returns an error.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::observe::panic_message;

/// Returns the result of a call, or its panic as the end of a sentence. What the call was
/// changing stays as the panic left it: at the next call a provider compares all that it has
/// with what it is asked for.
pub(super) async fn caught<T>(call: impl Future<Output = T>) -> Result<T, String> {
    let mut call = pin!(call);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => Poll::Ready(Err(message(&*panic))),
        },
    )
    .await
}

/// The message of a panic, as the end of a sentence.
pub(super) fn message(panic: &(dyn Any + Send)) -> String {
    format!("panicked: {}", panic_message(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_its_message_wherever_the_call_panics() {
        assert_eq!(caught(async { 1 }).await, Ok(1));
        let at_once = caught(async { panic!("at once") }).await;
        assert_eq!(at_once, Err::<(), _>("panicked: at once".to_owned()));
        let later = caught(async {
            tokio::task::yield_now().await;
            panic!("{} later", 1)
        });
        assert_eq!(later.await, Err::<(), _>("panicked: 1 later".to_owned()));
    }
}
