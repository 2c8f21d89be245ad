//! The relay's life in a run: started, killed by plan, started again; what all its processes used, and when it was away.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::Result;
use crate::judge::Delivery;
use crate::procfs::Usage;
use crate::relay::Relay;
use crate::run::kills::Kill;
use crate::run::life::{Life, Turn};
use crate::screen::Screen;
use crate::watcher::{Seen, now_us};

/// A relay that is killed by plan.
#[derive(Debug)]
pub(super) struct Torment {
    life: Life,
    outages: Vec<Outage>,
}

/// From a kill, or the first start, until the first new event arrives, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outage {
    from_us: i64,
    restarted_us: Option<i64>,
    to_us: Option<i64>,
}

impl Outage {
    /// Whether an event was on its way during the outage.
    pub(super) fn touches(&self, delivery: &Delivery) -> bool {
        let to_us = self.to_us.unwrap_or(i64::MAX);
        delivery.committed_ms * 1000 <= to_us && delivery.received_us >= self.from_us
    }
}

impl Torment {
    /// Starts the relay for the first time. Until it has delivered its first event it counts as away, too.
    pub(super) fn start(relay: &Relay, plan: VecDeque<Kill>) -> Result<Self> {
        let from_us = now_us();
        let life = Life::start(relay, plan)?;
        let first = Outage { from_us, restarted_us: Some(from_us), to_us: None };
        Ok(Self { life, outages: vec![first] })
    }

    /// Does what is due `elapsed` after the start of the run; an error if the relay ended by itself.
    pub(super) fn tick(&mut self, elapsed: Duration, seen: &Seen, screen: &Screen) -> Result<()> {
        match self.life.tick(elapsed)? {
            Turn::None => self.notice_return(seen, screen),
            Turn::Started => {
                if let Some(outage) = self.outages.last_mut() {
                    outage.restarted_us = Some(now_us());
                }
            }
            Turn::Killed { lived, away } => {
                self.outages.push(Outage { from_us: now_us(), restarted_us: None, to_us: None });
                screen.say(&format!(
                    "{:6.1} s  kill {}: SIGKILL after {:.1} s of life; back in {} ms",
                    elapsed.as_secs_f64(),
                    self.life.killed(),
                    lived.as_secs_f64(),
                    away.as_millis()
                ));
            }
        }
        Ok(())
    }

    /// Whether a process runs at the moment.
    pub(super) fn up(&self) -> bool {
        self.life.up()
    }

    /// How often it was killed.
    pub(super) fn killed(&self) -> u64 {
        self.life.killed()
    }

    /// Lets the relay drain and end by SIGTERM; what all its processes used, and its outages.
    pub(super) fn stop(self) -> Result<(Usage, Vec<Outage>)> {
        Ok((self.life.stop()?, self.outages))
    }

    /// Closes the last outage once an event arrived that the restarted relay must have sent.
    fn notice_return(&mut self, seen: &Seen, screen: &Screen) {
        let Some(outage) = self.outages.last_mut().filter(|outage| outage.to_us.is_none()) else { return };
        let Some(restarted_us) = outage.restarted_us else { return };
        if seen.last_received_us() > restarted_us {
            let back_us = now_us();
            outage.to_us = Some(back_us);
            screen.say(&format!("          events flow {} ms after the start", (back_us - restarted_us) / 1000));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::judge::Delivery;
    use crate::run::torment::Outage;

    #[test]
    fn an_event_is_touched_by_an_outage_that_it_met_on_its_way() {
        let outage = Outage { from_us: 10_000, restarted_us: Some(11_000), to_us: Some(20_000) };
        let delivery = |committed_ms, received_us| Delivery { committed_ms, received_us };
        assert!(!outage.touches(&delivery(1, 9_000)));
        assert!(outage.touches(&delivery(9, 21_000)));
        assert!(outage.touches(&delivery(15, 21_000)));
        assert!(!outage.touches(&delivery(21, 22_000)));
    }
}
