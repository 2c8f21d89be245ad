//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// How long a condition may take that nothing stands in the way of, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Asks again and again until there is an answer.
///
/// # Panics
/// After `patience`, with the words of `what`.
pub async fn until<T>(what: &str, patience: Duration, ask: impl AsyncFnMut() -> Option<T>) -> T {
    until_or(patience, ask, || what.to_owned()).await
}

/// The same, where only the end tells what went wrong.
///
/// # Panics
/// After `patience`, with the words of `why`.
pub async fn until_or<T>(
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
    why: impl FnOnce() -> String,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        if Instant::now() >= deadline {
            panic!("not within {patience:?}: {}", why());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
