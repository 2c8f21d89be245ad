//! A primary and its standby, and a relay that knows both.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::Deserialize;
use xtask::services::{Postgres, PrivatePostgres};

use crate::drill::{Scene, Servers};
use crate::error::{Doing, Error, Result};
use crate::relay::Relay;

/// The first major that keeps logical slots on a standby.
const MAJOR: u16 = 17;

/// The standby's slot on the primary, and its name there.
pub(super) const STANDBY: &str = "standby";

/// Of the relay's role; wanted over TCP only.
const PASSWORD: &str = "only for this drill";

/// How long a standby may take to keep a slot for good.
const KEPT_WITHIN: Duration = Duration::from_secs(90);

/// Both servers, and a scene on the primary.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) primary: PrivatePostgres,
    pub(super) standby: PrivatePostgres,
    pub(super) scene: Scene,
    pub(super) relay: Relay,
}

impl Pair {
    /// A primary with `settings`, a standby that has none of them that would make it wait for others, and a relay of both,
    /// with its outbox; `init` is still to be run.
    pub(super) async fn start(servers: Servers, what: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let alone = [("synchronized_standby_slots", ""), ("synchronous_standby_names", "")];
        let (primary, standby) = tokio::task::block_in_place(|| {
            let primary = PrivatePostgres::start(Some(MAJOR), settings)?;
            let standby = primary.standby(STANDBY, &alone)?;
            Ok::<_, xtask::services::Error>((primary, standby))
        })?;
        let (here, there) = (primary.environment(), standby.environment());
        let scene = Scene::open(&servers.on(here.clone()), what).await?;
        let hosts = format!("{}:{},{}:{}", here.host, here.port, there.host, there.port);
        let relay = scene.relay("relay", "")?;
        let relay = relay.with("POSTRIDER_POSTGRES_HOST", &hosts).with("POSTRIDER_POSTGRES_PASSWORD", PASSWORD);
        relay.complete("migrate")?;
        Ok(Self { primary, standby, scene, relay })
    }

    /// The same relay, for an administrator who knows only this server.
    pub(super) fn relay_at(&self, server: &Postgres) -> Result<Relay> {
        let address = format!("{}:{}", server.host, server.port);
        let relay = self.scene.relay_on(server, "after", "")?;
        Ok(relay.with("POSTRIDER_POSTGRES_HOST", &address).with("POSTRIDER_POSTGRES_PASSWORD", PASSWORD))
    }

    /// The primary dies, as in a power cut.
    pub(super) fn kill_primary(&mut self) {
        tokio::task::block_in_place(|| self.primary.stop_immediate());
    }

    /// The standby becomes the primary; how it is reached.
    pub(super) fn promote(&self) -> Result<Postgres> {
        tokio::task::block_in_place(|| self.standby.promote())?;
        Ok(self.standby.environment())
    }

    /// Waits until the standby keeps the slot for good; how long that took.
    pub(super) async fn kept(&self) -> Result<Duration> {
        let begun = Instant::now();
        let standby = self.scene.database.on(&self.standby.environment()).connect().await?;
        let primary = self.scene.database.connect().await?;
        let sql = "select from pg_replication_slots where slot_name = $1 and synced and not temporary";
        while standby.query_opt(sql, &[&self.scene.name]).await.doing("looking at the standby's slots")?.is_none() {
            if begun.elapsed() > KEPT_WITHIN {
                return Err(Error::Relay(format!("the standby does not keep the slot after {KEPT_WITHIN:?}")));
            }
            // Where the slot's log begins moves only when the server writes down what runs: by itself every 15 seconds.
            primary.batch_execute("select pg_log_standby_snapshot()").await.doing("writing down what runs")?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(begun.elapsed())
    }

    /// The codes of what `postrider check` says of the slot and of the standbys.
    pub(super) fn findings(&self) -> Result<BTreeSet<String>> {
        #[derive(Deserialize)]
        struct Finding {
            code: String,
        }
        let said = self.relay.ask(&["check", "--output", "json"])?;
        let findings: Vec<Finding> =
            serde_json::from_str(&said).map_err(|error| Error::Relay(format!("check said no JSON: {error}")))?;
        let of_slots = |code: &String| code.starts_with("slot-") || code.starts_with("standby-");
        Ok(findings.into_iter().map(|finding| finding.code).filter(of_slots).collect())
    }
}
