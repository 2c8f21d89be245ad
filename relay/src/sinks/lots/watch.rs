//! Looks at the lot from time to time, while something is in it, so that the relay hears what people ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::Client;
use tracing::debug;

/// How many are unsettled, and how many of them nothing stands in the way of.
const LOOK: &str = "
with firsts as (
  select key_hash, min(position) as first
  from postrider.parked
  where slot = $1 and state = 'parked' and key_hash is not null
  group by key_hash
)
select
  count(*),
  count(*) filter (where p.state <> 'parked' and (f.first is null or p.position < f.first))
from postrider.parked p
left join firsts f on f.key_hash = p.key_hash
where p.slot = $1 and p.state in ('parked', 'waiting', 'retry')";

/// What the relay believes to be in the lot, and the bell that rings when it should look.
#[derive(Debug, Default)]
pub(super) struct Bell {
    believed: AtomicI64,
    rung: Notify,
}

impl Bell {
    /// The relay knows that so many events are unsettled.
    pub(super) fn believe(&self, events: i64) {
        self.believed.store(events, Ordering::Relaxed);
    }

    /// The relay parked so many more.
    pub(super) fn believe_more(&self, events: i64) {
        self.believed.fetch_add(events, Ordering::Relaxed);
    }

    /// Asks the relay to look.
    pub(super) fn ring(&self) {
        self.rung.notify_one();
    }

    /// Waits until somebody rings. Cancel safe: a ring that nobody heard is heard by the next who waits.
    pub(super) async fn heard(&self) {
        self.rung.notified().await;
    }
}

/// The task that looks; it ends when this is dropped, or with its session.
#[derive(Debug)]
pub(super) struct Watch(JoinHandle<()>);

impl Watch {
    pub(super) fn begin(client: Arc<Client>, slot: String, period: Duration, bell: Arc<Bell>) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                match client.query_one(LOOK, &[&slot]).await {
                    Ok(row) => {
                        let (events, due): (i64, i64) = (row.get(0), row.get(1));
                        if due > 0 || events != bell.believed.load(Ordering::Relaxed) {
                            bell.ring();
                        }
                    }
                    // Whoever hears the bell meets the error itself.
                    Err(error) => {
                        debug!(%error, "looking at the parked events failed");
                        bell.ring();
                        if client.is_closed() {
                            return;
                        }
                    }
                }
            }
        }))
    }

    /// Whether it has ended by itself.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
