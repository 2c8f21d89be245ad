//! What the guard asks for when the budget is used up, of whoever can read the slot elsewhere.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

/// A way to free the server's disk without giving anything up: shared with whoever does it.
#[derive(Clone)]
pub struct Relief {
    asked: Arc<Notify>,
    is_exhausted: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Relief {
    /// One that `is_exhausted` tells of whether it can take any more.
    pub fn new(is_exhausted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { asked: Arc::default(), is_exhausted: Arc::new(is_exhausted) }
    }

    /// Waits until it is asked for. What was asked for while nobody waited is not remembered: the guard asks again.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    pub(super) fn ask(&self) {
        self.asked.notify_waiters();
    }

    pub(super) fn is_exhausted(&self) -> bool {
        (self.is_exhausted)()
    }
}

impl fmt::Debug for Relief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relief").finish_non_exhaustive()
    }
}
