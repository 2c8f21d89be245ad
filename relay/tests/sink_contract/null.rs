//! The sink that keeps nothing, under the contract.

use postrider_relay::pipeline::Progress;
use postrider_relay::sinks::Null;

use super::Rig;
use super::topic::Delivered;

/// Where it writes.
pub(super) struct Nowhere;

impl Rig for Nowhere {
    type Sink = Null;

    async fn open(&self) -> (Null, Option<Progress>) {
        Null::open()
    }

    fn topic(&self) -> &str {
        "nowhere"
    }

    async fn delivered(&self) -> Option<Vec<Delivered>> {
        None
    }
}
