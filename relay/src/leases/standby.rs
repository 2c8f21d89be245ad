//! Of any number of relays for one slot, one reads it: whose turn it is, decided by the lease `slot/NAME`.
//!
//! Guarantee: of those who use leases, one at a time has its turn; and its turn is over, by its own clock, before the lease is
//! by the server's. Whoever works without a lease is kept apart by the slot itself, which has one reader.
//!
//! A waiting relay looks ten times a second, and not by waiting for a lock: a statement that waits for days keeps the server from
//! removing dead rows. It takes over as soon as the lease is given back; as soon as the slot is free and the holder's session gone,
//! which is at once when its process ends; and when the lease is over, for a process that hangs or is cut off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tracing::{info, warn};
use uuid::Uuid;

use crate::leases::error::unreachable;
use crate::leases::evidence::{Detail, Holder, Seen, evict, is_gone, look};
use crate::leases::keeper::Keeper;
use crate::leases::{Lease, claim, claim_from, release_any};
use crate::pipeline::status::State;
use crate::pipeline::{Error, Kind, Status, Turn};
use crate::postgres::options::ConnectOptions;
use crate::postgres::session;
use crate::telemetry::Metrics;

/// How long the backend of a holder whose lease is over may take to end before the lease is claimed all the same.
const EVICTION_MAX: Duration = Duration::from_secs(10);

/// How long giving a lease back may take.
const RELEASE_MAX: Duration = Duration::from_secs(1);

/// The roles that a status tells.
const ACTIVE: &str = "active";
const STANDBY: &str = "standby";
const UNLEASED: &str = "unleased";

/// What a relay needs to take turns.
#[derive(Debug)]
pub struct StandbyOptions {
    /// How to reach the database.
    pub connect: ConnectOptions,
    /// The slot that one of several reads.
    pub slot: String,
    /// How long a lease lasts that is not renewed.
    pub ttl: Duration,
    /// How often a waiting relay looks.
    pub look_interval: Duration,
    /// Where it shows.
    pub status: Arc<Status>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
}

impl StandbyOptions {
    fn lease(&self) -> String {
        format!("slot/{}", self.slot)
    }
}

/// One relay among those that may read a slot.
#[derive(Debug)]
pub struct Standby {
    options: Arc<StandbyOptions>,
    id: Uuid,
    state: Mutex<Inner>,
    reader: watch::Sender<i32>,
}

/// What is there between two turns.
#[derive(Debug, Default)]
struct Inner {
    session: Option<(Arc<Client>, Detail)>,
    keeper: Option<JoinHandle<()>>,
    takeovers: u64,
}

/// What a look led to.
enum Look {
    Ours(Lease, Option<Taken>),
    Wait(Holder),
}

/// From whom a lease was taken, and why that could be.
struct Taken {
    from: Option<Holder>,
    why: &'static str,
}

impl Standby {
    /// A relay that wants its turn.
    #[must_use]
    pub fn new(options: StandbyOptions) -> Self {
        let (reader, _) = watch::channel(0);
        Self { options: Arc::new(options), id: Uuid::now_v7(), state: Mutex::default(), reader }
    }

    /// Told the process id of each backend by which the slot is read, so that it can be proven ours.
    #[must_use]
    pub fn reader(&self) -> watch::Sender<i32> {
        self.reader.clone()
    }

    /// Waits for this relay's turn. Where the database keeps no leases it is always its turn, and the slot alone decides.
    ///
    /// Cancel safe: what was claimed by a dropped call [`Standby::pass_turn`] gives back.
    ///
    /// # Errors
    /// Those of connecting.
    pub async fn take_turn(&self) -> Result<Arc<Turn>, Error> {
        let mut state = self.state.lock().await;
        if let Some(keeper) = state.keeper.take() {
            keeper.abort();
        }
        let begun = Instant::now();
        let mut waits_for = None;
        loop {
            match self.look(&mut state, &mut waits_for).await {
                Ok(Look::Ours(lease, taken)) => return Ok(self.begin(&mut state, lease, taken, begun)),
                Ok(Look::Wait(holder)) => self.wait_for(&mut waits_for, &holder, state.takeovers),
                Err(error) if error.kind() == Kind::Setup && state.session.is_some() => {
                    return Ok(self.go_without(&mut state, &error));
                }
                Err(error) => {
                    state.session = None;
                    return Err(error);
                }
            }
            sleep(self.options.look_interval).await;
        }
    }

    /// Gives the turn to the next, which takes over at once.
    pub async fn pass_turn(&self) {
        let mut state = self.state.lock().await;
        if let Some(keeper) = state.keeper.take() {
            keeper.abort();
        }
        self.options.metrics.lease.active.set(0);
        let Some((client, _)) = state.session.take() else { return };
        let name = self.options.lease();
        match timeout(RELEASE_MAX, release_any(&client, self.id, &name)).await {
            Ok(Ok(true)) => info!(lease = name, "gave the lease back"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) if error.kind() == Kind::Setup => {}
            Ok(Err(error)) => warn!(lease = name, error = error.chain(), "the lease was not given back, and runs out"),
            Err(_) => warn!(lease = name, "the lease was not given back in time, and runs out"),
        }
    }

    /// Looks once, and claims what may be claimed.
    async fn look(&self, state: &mut Inner, waits_for: &mut Option<Waiting>) -> Result<Look, Error> {
        let (client, detail) = self.session(state).await?;
        let (options, name) = (&self.options, self.options.lease());
        let Seen { holder, active_pid } = look(&client, &name, &options.slot).await?;
        let json = detail.json();
        let waited = waits_for.is_some();
        let taken = |why, from: Option<Holder>| (waited || from.is_some()).then_some(Taken { from, why });
        let Some(holder) = holder.filter(|holder| holder.id != self.id) else {
            let lease = claim(&client, self.id, &name, options.ttl, &json).await?;
            return self.claimed(&client, lease, taken("it was given back", None)).await;
        };
        if holder.is_over {
            if active_pid.is_some() && self.clears_the_slot(&client, &name, &holder, waits_for).await? {
                return Ok(Look::Wait(holder));
            }
            let lease = claim(&client, self.id, &name, options.ttl, &json).await?;
            return self.claimed(&client, lease, taken("it was not renewed in time", Some(holder))).await;
        }
        if active_pid.is_none() && is_gone(&client, &name, &holder).await? {
            let lease = claim_from(&client, self.id, &name, options.ttl, &json, holder.token).await?;
            return self.claimed(&client, lease, taken("its holder is gone", Some(holder))).await;
        }
        Ok(Look::Wait(holder))
    }

    /// What came of a claim: another may have been faster.
    async fn claimed(&self, client: &Client, lease: Option<Lease>, taken: Option<Taken>) -> Result<Look, Error> {
        match lease {
            Some(lease) => Ok(Look::Ours(lease, taken)),
            None => {
                let seen = look(client, &self.options.lease(), &self.options.slot).await?;
                let nobody = || Holder { id: Uuid::nil(), token: 0, is_over: true, detail: Detail::default() };
                Ok(Look::Wait(seen.holder.unwrap_or_else(nobody)))
            }
        }
    }

    /// Terminates the backend of a holder whose lease is over, if that is what reads the slot; whether that is worth waiting for.
    async fn clears_the_slot(
        &self,
        client: &Client,
        name: &str,
        holder: &Holder,
        waits_for: &mut Option<Waiting>,
    ) -> Result<bool, Error> {
        let evicted_since = waits_for.as_ref().filter(|known| known.token == holder.token);
        let since = evicted_since.and_then(|known| known.evicting);
        if since.is_some_and(|since| since.elapsed() > EVICTION_MAX) {
            return Ok(false);
        }
        // More than once, if need be: a backend that cannot send its last words waits for another signal.
        if !evict(client, name, &self.options.slot, holder).await? {
            return Ok(since.is_some());
        }
        if since.is_none() {
            let (pid, host, process) =
                (holder.detail.reader.map(|it| it.pid), &holder.detail.host, holder.detail.process);
            info!(pid, host, process, "the lease of the relay that reads the slot is over: its backend is terminated");
            self.options.metrics.lease.evicted.inc();
            let known = Waiting { token: holder.token, evicting: Some(Instant::now()) };
            *waits_for = Some(known);
        }
        Ok(true)
    }

    /// The session, and what this process says of itself by it.
    async fn session(&self, state: &mut Inner) -> Result<(Arc<Client>, Detail), Error> {
        if let Some((client, detail)) = state.session.as_ref().filter(|(client, _)| !client.is_closed()) {
            return Ok((Arc::clone(client), detail.clone()));
        }
        state.session = None;
        let (client, detail) = connect(&self.options).await?;
        let client = Arc::new(client);
        state.session = Some((Arc::clone(&client), detail.clone()));
        Ok((client, detail))
    }

    /// Begins a turn, for as long as the lease is renewed.
    fn begin(&self, state: &mut Inner, lease: Lease, taken: Option<Taken>, begun: Instant) -> Arc<Turn> {
        let Self { options, .. } = self;
        if let Some(Taken { from, why }) = taken {
            state.takeovers += 1;
            options.metrics.lease.takeovers.inc();
            let from = from.map_or_else(String::new, |holder| told(&holder.detail));
            let waited_ms = begun.elapsed().as_millis();
            info!(lease = lease.name, token = lease.token, from, why, waited_ms, "takes over");
        } else {
            info!(lease = lease.name, token = lease.token, "has the lease");
        }
        options.metrics.lease.active.set(1);
        options.metrics.lease.standby.set(0);
        options.status.leased(ACTIVE, Some(lease.token), None, state.takeovers);
        options.status.enter(State::Starting);
        let turn = Arc::new(Turn::until(lease.asked_at + options.ttl));
        if let Some((client, detail)) = &state.session {
            let keeper = Keeper {
                options: Arc::clone(options),
                client: Arc::clone(client),
                lease,
                detail: detail.clone(),
                turn: Arc::clone(&turn),
                reader: self.reader.subscribe(),
            };
            state.keeper = Some(tokio::spawn(keeper.keep()));
        }
        turn
    }

    /// Shows for whom this relay waits, and says so once.
    fn wait_for(&self, known: &mut Option<Waiting>, holder: &Holder, takeovers: u64) {
        let Self { options, .. } = self;
        if known.as_ref().is_some_and(|known| known.token == holder.token) {
            return;
        }
        let who = told(&holder.detail);
        info!(slot = options.slot, active = who, "standing by: another relay reads the slot");
        options.metrics.lease.active.set(0);
        options.metrics.lease.standby.set(1);
        options.status.leased(STANDBY, None, Some(format!("{who} reads slot {:?}", options.slot)), takeovers);
        options.status.enter(State::Standby);
        *known = Some(Waiting { token: holder.token, evicting: None });
    }

    /// Works without a lease, openly.
    fn go_without(&self, state: &mut Inner, error: &Error) -> Arc<Turn> {
        let Self { options, .. } = self;
        info!(
            why = error.chain(),
            help = error.help(),
            "no lease can be had: another relay for this slot would wait for the slot itself, and try again and again"
        );
        options.metrics.lease.active.set(1);
        options.metrics.lease.standby.set(0);
        options.status.leased(UNLEASED, None, Some(error.chain()), state.takeovers);
        state.session = None;
        Arc::new(Turn::unlimited())
    }
}

/// For whom a relay waits.
#[derive(Debug)]
struct Waiting {
    token: i64,
    /// Since when its backend is being terminated.
    evicting: Option<Instant>,
}

/// A holder in words.
fn told(detail: &Detail) -> String {
    match detail.host.as_str() {
        "" => "another process".to_owned(),
        host => format!("process {} on {host}", detail.process),
    }
}

/// A session for leases, and what this process says of itself by it.
pub(super) async fn connect(options: &StandbyOptions) -> Result<(Client, Detail), Error> {
    let client = session::connect(&options.connect).await.map_err(|error| unreachable(&options.connect, error))?;
    let detail = Detail::of(&client, &options.connect.application_name).await?;
    Ok((client, detail))
}
