//! What people do with parked events, by ordinary SQL, whether the relay runs or not: look, ask for another attempt, let go.
//!
//! Every act is one statement with its line in the audit: neither is there without the other. The relay hears of it at its
//! next look.

mod read;

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::slots::error::{Error, Refusal};

pub use read::{Audited, Details, Fates, ParkedEvent, fates, list, show};

/// The states of an event in the table.
pub const STATES: [&str; 6] = ["parked", "waiting", "retry", "delivered", "skipped", "discarded"];

/// Which events are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The slot that they came through.
    pub slot: String,
    /// Their positions; none means all that fit the rest.
    pub positions: Vec<String>,
    /// The topic that they were meant for.
    pub topic: Option<String>,
    /// Their key.
    pub key: Option<String>,
    /// Their state, one of [`STATES`].
    pub state: Option<String>,
}

impl Selection {
    /// The condition that [`Selection::parameters`] fit, for `$1` to `$5`.
    const CONDITION: &str = "slot = $1
    and (cardinality($2::text[]) = 0 or position = any ($2::text[]))
    and ($3::text is null or topic = $3)
    and ($4::bytea is null or key = $4)
    and ($5::text is null or state = $5)";

    fn parameters<'s>(&'s self, key: &'s Option<&'s [u8]>) -> [&'s (dyn ToSql + Sync); 5] {
        [&self.slot, &self.positions, &self.topic, key, &self.state]
    }

    fn key_bytes(&self) -> Option<&[u8]> {
        self.key.as_deref().map(str::as_bytes)
    }
}

/// What can be done with a parked event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Try it again, perhaps to another topic.
    Retry {
        /// The topic to try instead of its own, this once.
        reroute: Option<String>,
    },
    /// Let those behind it go on without it. It stays readable for a while.
    Skip,
    /// The same, and forget at once what it held.
    Discard,
}

impl Act {
    /// Its name.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Retry { .. } => "retry",
            Self::Skip => "skip",
            Self::Discard => "discard",
        }
    }

    /// What it sets, and the states from which it can.
    fn sql(&self) -> (&'static str, &'static str) {
        match self {
            Self::Retry { .. } => {
                ("state = 'retry', reroute = $7", "state = 'parked' and (not unfit or $7::text is not null)")
            }
            Self::Skip => ("state = 'skipped'", "state in ('parked', 'waiting', 'retry') and $7::text is null"),
            Self::Discard => (
                "state = 'discarded', value = null, headers = '[]'",
                "state in ('parked', 'waiting', 'retry', 'skipped') and $7::text is null",
            ),
        }
    }

    fn reroute(&self) -> Option<&str> {
        match self {
            Self::Retry { reroute } => reroute.as_deref(),
            Self::Skip | Self::Discard => None,
        }
    }

    /// Why an event in this state is left as it is.
    fn obstacle(&self, position: &str, state: &str, unfit: bool) -> Refusal {
        let (what, mend) = match (self, state) {
            (Self::Retry { .. }, "parked") if unfit => (
                format!("event {position} could not be made into a message: what is kept of it may not be all"),
                "look at it with `postrider parked show`; --reroute sends what is kept to a topic that you name",
            ),
            (Self::Retry { .. }, "waiting") => (
                format!("event {position} waits behind another one of its key"),
                "retry, skip or discard that one: this one follows by itself",
            ),
            _ => (format!("event {position} is {state} already"), "leave it out"),
        };
        Refusal { what, mend: mend.to_owned() }
    }
}

/// Writes into the audit what was done with events that are not parked, under the name `run` instead of a position.
///
/// # Errors
/// [`Error::Database`].
pub async fn log(
    client: &Client,
    (verb, slot, run): (&str, &str, &str),
    by: Option<&str>,
    note: &str,
) -> Result<(), Error> {
    let statement =
        "insert into postrider.parked_log (verb, slot, position, by_whom, note) values ($1, $2, $3, $4, $5)";
    let failed = |source| Error::Database { action: format!("cannot write the audit of {verb} {run}"), source };
    client.execute(statement, &[&verb, &slot, &run, &by, &note]).await.map(drop).map_err(failed)
}

/// Does it to the selected events, and returns their positions. `by` is who asked, by their own word.
///
/// # Errors
/// [`Error::Refused`] if an event that was named by its position is not there or not in a state that allows it: then
/// nothing was done. [`Error::Database`] else.
pub async fn act(
    client: &mut Client,
    selection: &Selection,
    act: &Act,
    by: Option<&str>,
) -> Result<Vec<String>, Error> {
    let failed = |source| Error::Database { action: format!("cannot {} parked events", act.verb()), source };
    let (set, allowed) = act.sql();
    let statement = format!(
        "with acted as (
           update postrider.parked
           set {set}, changed_at = clock_timestamp()
           where {}
             and {allowed}
           returning position
         ), logged as (
           insert into postrider.parked_log (verb, slot, position, by_whom, note)
           select '{}', $1, position, $6, 'to topic ' || $7
           from acted
         )
         select position from acted order by position",
        Selection::CONDITION,
        act.verb(),
    );
    let (key, reroute) = (selection.key_bytes(), act.reroute());
    let mut parameters: Vec<&(dyn ToSql + Sync)> = selection.parameters(&key).to_vec();
    parameters.extend([&by as &(dyn ToSql + Sync), &reroute]);
    let transaction = client.transaction().await.map_err(failed)?;
    let rows = transaction.query(&statement, &parameters).await.map_err(failed)?;
    let done: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let left: Vec<&String> = selection.positions.iter().filter(|position| !done.contains(position)).collect();
    if !left.is_empty() {
        let states = "select position, state, unfit from postrider.parked where slot = $1 and position = any ($2)";
        let rows = transaction.query(states, &[&selection.slot, &left]).await.map_err(failed)?;
        let refusals =
            left.iter().map(|position| match rows.iter().find(|row| row.get::<_, &str>(0) == position.as_str()) {
                Some(row) => act.obstacle(position, row.get(1), row.get(2)),
                None => Refusal {
                    what: format!("no event {position} of slot {} is parked", selection.slot),
                    mend: "`postrider parked list` lists those that are".to_owned(),
                },
            });
        return Err(Error::Refused(refusals.collect()));
    }
    transaction.commit().await.map_err(failed)?;
    Ok(done)
}
