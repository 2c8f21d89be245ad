//! Which relay reads which part of the keys: buckets under leases, shared evenly among the relays that are there.
//!
//! Guarantees: a bucket has one reader at a time, by the server's clock. A relay gives a bucket away only when nothing of it is on
//! its way; one that could not renew in time hands on nothing more, and what it notes afterwards in the table is refused there.
//! What it had given to the broker before may still arrive: a repetition of what its successor delivers, which begins with the same
//! rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres_protocol::escape::escape_literal as literal;
use tokio::sync::oneshot;
use tokio_postgres::SimpleQueryRow;
use tracing::{info, warn};
use uuid::Uuid;

use crate::pipeline::{End, Error, Kind};
use crate::sources::polling::holds::Shared;
use crate::sources::polling::session::{Purpose, Session, number, value};
use crate::telemetry::Metrics;

/// How often a relay renews its leases within their time.
const RENEWALS: u32 = 5;

/// Parts of a lease's time, of which the last is not relied upon: a page that is handed on at its end is sent within it.
const MARGIN: u32 = 5;

/// How often a relay that waits for a bucket to leave looks, at least.
const SOON: Duration = Duration::from_millis(100);

/// How long letting go may take when the source is closed.
const RELEASE_MAX: Duration = Duration::from_secs(5);

/// The leases of one relay, by their names.
#[derive(Debug, Clone)]
pub(super) struct Leases {
    pub(super) slot: String,
    pub(super) holder: Uuid,
    pub(super) buckets: u16,
    pub(super) ttl: Duration,
}

impl Leases {
    fn bucket(&self, bucket: u16) -> String {
        format!("poll/{}/{bucket}", self.slot)
    }

    fn seat(&self, seat: u16) -> String {
        format!("poll/{}/relay/{seat}", self.slot)
    }

    fn ttl(&self) -> String {
        format!("{} * interval '1 millisecond'", self.ttl.as_millis())
    }

    /// The condition that all these buckets are still held by these tokens.
    pub(super) fn holds(&self, tokens: &BTreeMap<u16, i64>) -> String {
        let rows: Vec<String> = tokens
            .iter()
            .map(|(bucket, token)| format!("({}, {token}::bigint)", literal(&self.bucket(*bucket))))
            .collect();
        format!(
            "(select count(*) from postrider.leases where (name, token) in ({}) and holder = '{}') = {}",
            rows.join(", "),
            self.holder,
            rows.len()
        )
    }

    /// Renews all that is held, and shows all that there is.
    fn renew(&self) -> String {
        format!(
            "update postrider.leases set expires_at = clock_timestamp() + {ttl} \
             where holder = '{holder}' and starts_with(name, {prefix});\n\
             select name, holder::text, token, expires_at > clock_timestamp(), detail ->> 'buckets' \
             from postrider.leases where starts_with(name, {prefix}) and holder is not null",
            ttl = self.ttl(),
            holder = self.holder,
            prefix = literal(&format!("poll/{}/", self.slot)),
        )
    }

    /// Claims those of the names that are free; gives the names and tokens of those that it got.
    fn claim(&self, names: &[String]) -> String {
        let names: Vec<String> = names.iter().map(|name| format!("({})", literal(name))).collect();
        format!(
            "insert into postrider.leases as l (name, holder, token, claimed_at, expires_at, detail) \
             select n.name, '{holder}'::uuid, (extract(epoch from clock_timestamp()) * 1000000)::bigint, \
             clock_timestamp(), clock_timestamp() + {ttl}, '{{\"buckets\": {buckets}}}'::jsonb \
             from (values {names}) n (name) order by 1 \
             on conflict (name) do update set holder = excluded.holder, token = greatest(l.token + 1, excluded.token), \
             claimed_at = excluded.claimed_at, expires_at = excluded.expires_at, detail = excluded.detail \
             where l.holder is null or l.expires_at <= clock_timestamp() returning l.name, l.token",
            holder = self.holder,
            ttl = self.ttl(),
            buckets = self.buckets,
            names = names.join(", "),
        )
    }

    fn release(&self, buckets: &[(u16, i64)]) -> String {
        let names: Vec<String> = buckets.iter().map(|(bucket, _)| literal(&self.bucket(*bucket))).collect();
        format!(
            "update postrider.leases set holder = null, expires_at = clock_timestamp() \
             where holder = '{}' and name in ({})",
            self.holder,
            names.join(", "),
        )
    }

    fn release_all(&self) -> String {
        format!(
            "update postrider.leases set holder = null, expires_at = clock_timestamp() \
             where holder = '{}' and starts_with(name, {})",
            self.holder,
            literal(&format!("poll/{}/", self.slot)),
        )
    }
}

/// What the table of leases says.
#[derive(Debug, Default, PartialEq, Eq)]
struct View {
    /// Our buckets with their tokens.
    ours: BTreeMap<u16, i64>,
    /// Buckets that others hold.
    theirs: BTreeSet<u16>,
    /// Our seat among the relays.
    seat: Option<u16>,
    /// All seats that are taken, ours among them.
    seats: BTreeSet<u16>,
    /// A number of buckets by which another relay goes, if it is not ours.
    other_buckets: Option<String>,
}

impl View {
    fn read(leases: &Leases, rows: &[SimpleQueryRow]) -> Self {
        let mut view = Self::default();
        let (holder, buckets) = (leases.holder.to_string(), leases.buckets.to_string());
        for row in rows {
            let (Some(name), Some(by)) = (value(row, 0), value(row, 1)) else { continue };
            let is_ours = by == holder;
            let is_live = value(row, 3) == Some("t");
            if !is_ours && !is_live {
                continue;
            }
            if let Some(other) = value(row, 4).filter(|other| *other != buckets && !is_ours) {
                view.other_buckets = Some(other.to_owned());
            }
            let Some(rest) = name.strip_prefix(&format!("poll/{}/", leases.slot)) else { continue };
            if let Some(seat) = rest.strip_prefix("relay/").and_then(|seat| seat.parse().ok()) {
                view.seats.insert(seat);
                view.seat = if is_ours { Some(seat) } else { view.seat };
            } else if let (Ok(bucket), Some(token)) = (rest.parse(), number(row, 2)) {
                if is_ours {
                    view.ours.insert(bucket, token);
                } else {
                    view.theirs.insert(bucket);
                }
            }
        }
        view
    }

    /// How many buckets are ours by right.
    fn share(&self, buckets: u16) -> usize {
        let Some(seat) = self.seat else { return 0 };
        let relays = self.seats.len().max(1);
        let rank = self.seats.range(..seat).count();
        usize::from(buckets) / relays + usize::from(rank < usize::from(buckets) % relays)
    }

    /// Buckets to claim: those that nobody has, up to our share; each relay begins elsewhere, so that two rarely want the same.
    fn wanted(&self, buckets: u16) -> Vec<u16> {
        let want = self.share(buckets).saturating_sub(self.ours.len());
        let rank = self.seat.map_or(0, |seat| self.seats.range(..seat).count());
        let first = rank * usize::from(buckets) / self.seats.len().max(1);
        let all = (0..buckets).cycle().skip(first).take(usize::from(buckets));
        all.filter(|bucket| !self.ours.contains_key(bucket) && !self.theirs.contains(bucket)).take(want).collect()
    }
}

/// Keeps the leases.
pub(super) struct Keeper {
    leases: Leases,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    session: Session,
}

impl Keeper {
    /// A keeper that has claimed what is free of its share.
    pub(super) async fn open(
        leases: Leases,
        shared: Arc<Shared>,
        metrics: Arc<Metrics>,
        session: Session,
    ) -> Result<Self, Error> {
        let keeper = Self { leases, shared, metrics, session };
        keeper.round().await?;
        Ok(keeper)
    }

    /// Keeps on until the clerk has gone, who holds the other end; then gives everything back.
    pub(super) async fn run(self, mut gone: oneshot::Receiver<()>) {
        loop {
            let period = self.leases.ttl / RENEWALS;
            let is_leaving = self.shared.holds().values().any(|hold| hold.leaving);
            let period = if is_leaving { period.min(SOON) } else { period };
            tokio::select! {
                _ = &mut gone => break,
                () = tokio::time::sleep(period) => {}
            }
            if let Err(error) = self.round().await {
                self.shared.fail(error);
                break;
            }
        }
        let release = self.leases.release_all();
        let release = self.session.ask(Purpose::Write, "give the leases back", &release);
        match tokio::time::timeout(RELEASE_MAX, release).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                warn!(error = error.chain(), "the leases were not given back: they run out by themselves");
            }
            Err(_) => warn!("the leases were not given back in time: they run out by themselves"),
        }
        self.metrics.polling.buckets.set(0);
    }

    /// Renews, gives away what is too much, and claims what is missing.
    async fn round(&self) -> Result<(), Error> {
        let asked_at = Instant::now();
        let mut view = self.look().await?;
        self.refuse_other_buckets(&view)?;
        self.keep(&view, asked_at)?;
        if view.seat.is_none() {
            self.take_a_seat(&view).await?;
            // Whoever came at the same time sees us too.
            view = self.look().await?;
            self.refuse_other_buckets(&view)?;
        }
        self.give_away(&view).await?;
        self.claim(&view, asked_at).await?;
        self.metrics.polling.buckets.set(self.shared.holds().len() as i64);
        self.metrics.polling.relays.set(view.seats.len() as i64);
        Ok(())
    }

    async fn look(&self) -> Result<View, Error> {
        let sets = self.session.ask(Purpose::Write, "renew the leases", &self.leases.renew()).await?;
        Ok(View::read(&self.leases, sets.last().map_or(&[], Vec::as_slice)))
    }

    fn refuse_other_buckets(&self, view: &View) -> Result<(), Error> {
        let Some(other) = &view.other_buckets else { return Ok(()) };
        let context = format!(
            "another relay of {:?} cuts the keys into {other} buckets, and this one into {}",
            self.leases.slot, self.leases.buckets
        );
        Err(Error::new(End::Source, Kind::Setup, context).with_help(
            "[polling] buckets must be the same for all relays that share the work; stop them all to change it.",
        ))
    }

    /// What was held must still be.
    fn keep(&self, view: &View, asked_at: Instant) -> Result<(), Error> {
        let lost = self.shared.holds().into_iter().find(|(bucket, hold)| view.ours.get(bucket) != Some(&hold.token));
        if let Some((bucket, _)) = lost {
            self.metrics.polling.leases_lost.inc();
            let context = format!("the lease on bucket {bucket} of the keys was lost to another relay");
            return Err(Error::new(End::Source, Kind::Unavailable, context)
                .with_help("This relay did not renew it in time. It begins anew with what it gets."));
        }
        self.shared.valid(asked_at + self.leases.ttl - self.leases.ttl / MARGIN);
        Ok(())
    }

    async fn take_a_seat(&self, view: &View) -> Result<(), Error> {
        // More relays than this find nothing to do.
        let free: Vec<u16> = (0..u16::MAX).filter(|seat| !view.seats.contains(seat)).take(4).collect();
        for seat in free {
            let sql = self.leases.claim(&[self.leases.seat(seat)]);
            let sets = self.session.ask(Purpose::Write, "take a seat among the relays", &sql).await?;
            if sets.last().is_some_and(|rows| !rows.is_empty()) {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn give_away(&self, view: &View) -> Result<(), Error> {
        let share = view.share(self.leases.buckets);
        let staying: Vec<u16> =
            self.shared.holds().into_iter().filter(|(_, hold)| !hold.leaving).map(|(bucket, _)| bucket).collect();
        if staying.len() > share {
            info!(relays = view.seats.len(), buckets = share, "giving buckets of the keys to other relays");
            self.shared.leave(&staying[share..]);
        }
        let left = self.shared.left();
        if left.is_empty() {
            return Ok(());
        }
        // Nothing is read of it any more, so nothing can be on its way when another relay has it.
        self.shared.released(&left);
        self.session.ask(Purpose::Write, "give buckets back", &self.leases.release(&left)).await?;
        self.metrics.polling.buckets_moved.inc_by(left.len() as u64);
        Ok(())
    }

    async fn claim(&self, view: &View, asked_at: Instant) -> Result<(), Error> {
        let held = self.shared.holds();
        // What we hold and did not note, such as after an answer that was lost, is claimed again when it has run out.
        let wanted: Vec<u16> =
            view.wanted(self.leases.buckets).into_iter().filter(|bucket| !held.contains_key(bucket)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = wanted.iter().map(|bucket| self.leases.bucket(*bucket)).collect();
        let sets = self.session.ask(Purpose::Write, "claim buckets", &self.leases.claim(&names)).await?;
        let bucket = |row: &SimpleQueryRow| value(row, 0)?.rsplit('/').next()?.parse().ok();
        let rows = sets.last().map_or(&[][..], Vec::as_slice);
        let got: Vec<(u16, i64)> = rows.iter().filter_map(|row| Some((bucket(row)?, number(row, 1)?))).collect();
        if !got.is_empty() {
            info!(buckets = got.len(), relays = view.seats.len(), "reading more buckets of the keys");
            self.metrics.polling.buckets_moved.inc_by(got.len() as u64);
            self.shared.gained(&got);
            self.shared.valid(asked_at + self.leases.ttl - self.leases.ttl / MARGIN);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(ours: &[u16], theirs: &[u16], seat: u16, seats: &[u16]) -> View {
        View {
            ours: ours.iter().map(|bucket| (*bucket, 1)).collect(),
            theirs: theirs.iter().copied().collect(),
            seat: Some(seat),
            seats: seats.iter().copied().collect(),
            other_buckets: None,
        }
    }

    #[test]
    fn shares_are_even_and_together_all() {
        for relays in 1..10_u16 {
            let seats: Vec<u16> = (0..relays).map(|seat| seat * 3).collect();
            let shares: Vec<usize> = seats.iter().map(|seat| view(&[], &[], *seat, &seats).share(16)).collect();
            assert_eq!(shares.iter().sum::<usize>(), 16, "{shares:?}");
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
        }
        assert_eq!(View::default().share(16), 0, "without a seat there is no share");
    }

    #[test]
    fn a_relay_wants_what_nobody_has_up_to_its_share() {
        assert_eq!(view(&[], &[], 0, &[0]).wanted(4), [0, 1, 2, 3]);
        assert_eq!(view(&[0], &[1], 0, &[0, 1]).wanted(4), [2]);
        assert_eq!(view(&[], &[0, 1], 5, &[0, 5]).wanted(4), [2, 3]);
        assert_eq!(view(&[2, 3], &[], 5, &[0, 5]).wanted(4), Vec::<u16>::new());
    }

    #[test]
    fn no_name_of_a_slot_ends_its_quotes() {
        let leases = Leases { slot: "o'1".into(), holder: Uuid::nil(), buckets: 4, ttl: Duration::from_secs(1) };
        assert!(leases.holds(&BTreeMap::from([(3, 17)])).contains("('poll/o''1/3', 17::bigint)"));
    }
}
