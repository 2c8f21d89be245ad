//! A lease for the time of one piece of work, such as the recovery of a slot, rather than of a turn.
//!
//! It keeps away those who go by leases and does not stop the work when it is lost: what is done must be safe without it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::Client;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::leases::error::unreachable;
use crate::leases::evidence::Detail;
use crate::leases::{Lease, claim, release, renew};
use crate::pipeline::Error;
use crate::postgres::options::ConnectOptions;
use crate::postgres::session;

/// How long it lasts that nobody renews. Whoever waits for a holder that is gone need not wait so long: it sees its session end.
const TTL: Duration = Duration::from_secs(30);

/// How often it is renewed.
const EVERY: Duration = Duration::from_secs(5);

/// A lease that is renewed until it is given back.
#[derive(Debug)]
pub struct Hold {
    client: Arc<Client>,
    lease: Lease,
    keeper: JoinHandle<()>,
}

impl Hold {
    /// Claims `name`, by a session of its own; `None` if somebody else has it.
    ///
    /// # Errors
    /// Those of connecting, and of [`claim`].
    pub async fn claim(connect: &ConnectOptions, name: &str) -> Result<Option<Self>, Error> {
        let client = session::connect(connect).await.map_err(|error| unreachable(connect, error))?;
        let client = Arc::new(client);
        let detail = Detail::of(&client, &connect.application_name).await?.json();
        let claimed = claim(&client, Uuid::now_v7(), name, TTL, &detail).await?;
        Ok(claimed.map(|lease| {
            let keeper = tokio::spawn(keep(Arc::clone(&client), lease.clone()));
            Self { client, lease, keeper }
        }))
    }

    /// Gives it back. If that fails it runs out.
    pub async fn release(self) {
        self.keeper.abort();
        if let Err(error) = release(&self.client, &self.lease).await {
            warn!(lease = self.lease.name, error = error.chain(), "the lease was not given back, and runs out");
        }
    }
}

async fn keep(client: Arc<Client>, lease: Lease) {
    loop {
        sleep(EVERY).await;
        match renew(&client, &lease, TTL, None).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                warn!(lease = lease.name, "the lease was lost to somebody else");
                return;
            }
            Err(error) => debug!(error = error.chain(), "the lease was not renewed"),
        }
    }
}
