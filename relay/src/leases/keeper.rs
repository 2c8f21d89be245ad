//! Renews a lease while its holder works, and ends the holder's turn when that fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_postgres::Client;
use tracing::{debug, warn};

use crate::leases::evidence::{self, Detail};
use crate::leases::standby::{StandbyOptions, connect};
use crate::leases::{Lease, renew};
use crate::pipeline::{Error, Turn};

/// How many times within its duration a lease is renewed: two may fail.
const RENEWALS: u32 = 3;

/// How long to wait after a renewal that failed.
const AGAIN: Duration = Duration::from_millis(100);

/// What a keeper works with.
pub(super) struct Keeper {
    pub(super) options: Arc<StandbyOptions>,
    pub(super) client: Arc<Client>,
    pub(super) lease: Lease,
    pub(super) detail: Detail,
    pub(super) turn: Arc<Turn>,
    pub(super) reader: watch::Receiver<i32>,
}

impl Keeper {
    /// Renews until the turn is over, which it ends itself when the lease is lost.
    pub(super) async fn keep(mut self) {
        let turn = Arc::clone(&self.turn);
        tokio::select! {
            () = turn.over() => {}
            () = self.renew_on() => {}
        }
        self.options.metrics.lease.lost.inc();
        turn.end();
    }

    async fn renew_on(&mut self) {
        // A reader of before this turn is none of it.
        self.reader.mark_unchanged();
        let mut again = self.options.ttl / RENEWALS;
        loop {
            let read_by = tokio::select! {
                changed = self.reader.changed() => changed.is_ok().then(|| *self.reader.borrow_and_update()),
                () = tokio::time::sleep(again) => None,
            };
            let begun = Instant::now();
            match self.renew(read_by).await {
                Ok(true) => {
                    self.options.metrics.lease.renewed_seconds.set(begun.elapsed().as_secs_f64());
                    again = self.options.ttl / RENEWALS;
                }
                Ok(false) => {
                    warn!(lease = self.lease.name, "another relay has the lease now");
                    return;
                }
                Err(error) => {
                    debug!(error = error.chain(), "the lease was not renewed");
                    again = AGAIN;
                    // Whoever reads is told of with the next renewal that succeeds.
                    if read_by.is_some() {
                        self.reader.mark_changed();
                    }
                    self.reconnect().await;
                }
            }
        }
    }

    /// Renews once; false if the lease is lost.
    async fn renew(&mut self, read_by: Option<i32>) -> Result<bool, Error> {
        let Self { options, client, lease, detail, .. } = self;
        if let Some(pid) = read_by {
            detail.reader = evidence::reader(client, &lease.name, pid, &detail.application).await?;
        }
        let news = read_by.map(|_| detail.json());
        let Some(renewed) = renew(client, lease, options.ttl, news.as_ref()).await? else { return Ok(false) };
        self.turn.prolong(renewed.asked_at + options.ttl);
        self.lease = renewed;
        Ok(true)
    }

    /// By another session, if that one is lost.
    async fn reconnect(&mut self) {
        match connect(&self.options).await {
            Ok((client, detail)) => {
                self.detail = Detail { reader: self.detail.reader, ..detail };
                self.client = Arc::new(client);
                // The new session is to be told of.
                self.reader.mark_changed();
            }
            Err(error) => debug!(error = error.chain(), "no session to renew the lease by"),
        }
    }
}
