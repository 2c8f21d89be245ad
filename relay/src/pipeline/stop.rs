//! The order to stop: given once, heard by every loop that waits.

use tokio::sync::watch;

/// Hears the order to stop. Clones hear the same order.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

/// Gives the order to stop. Dropping it gives the order too: nothing may run on without its owner.
#[derive(Debug)]
pub struct StopHandle(watch::Sender<bool>);

impl Stop {
    /// The order, and what gives it.
    #[must_use]
    pub fn new() -> (StopHandle, Self) {
        let (sender, receiver) = watch::channel(false);
        (StopHandle(sender), Self(receiver))
    }

    /// Whether the order was given.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits for the order. Cancel safe.
    pub async fn ordered(&mut self) {
        // An error means that the handle was dropped, which is the order as well.
        drop(self.0.wait_for(|stopped| *stopped).await);
    }
}

impl StopHandle {
    /// Gives the order. A second time changes nothing.
    pub fn order(&self) {
        self.0.send_replace(true);
    }
}
