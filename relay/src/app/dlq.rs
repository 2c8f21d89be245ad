//! What a person does with the dead letters of a worker's group: lists, shows, replays and drops them.
//!
//! It works on Kafka alone, whether a worker runs or not. A replay is an order that the worker follows; a drop takes effect
//! by being written. Both stay written, with who gave them and when.

mod select;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use uuid::Uuid;

use crate::app::dead_letters;
use crate::calendar::iso8601;
use crate::config::worker::DeadLetterConfig;
use crate::pipeline::dead_letters::{
    Identity, Index, Letters, News, ORDER_BYTES_MAX, ORDER_LETTERS_MAX, Order, State, Stays, Step, Verb,
};
use crate::pipeline::times::now_ms;
use crate::pipeline::{End, Error, Kind};
use crate::sinks::lots::KafkaLetters;
use crate::sinks::lots::letters::Details;
use crate::telemetry::Metrics;

pub use crate::calendar::moment;
pub use select::{Selection, position};

/// How often a wait for a replay looks.
const LOOK: Duration = Duration::from_millis(100);

/// The dead letters of one group.
pub struct Dlq {
    letters: KafkaLetters,
    job: String,
    index: Index,
    details: BTreeMap<Identity, Details>,
    /// The newest form of every order, by the time of its coming.
    orders: Vec<Order>,
    numbers: HashMap<u128, usize>,
}

/// A dead letter, as it is listed.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// `topic/partition/offset` of its record: its name.
    pub position: String,
    /// `dead`, `replaying`, `replayed` or `dropped`.
    pub state: &'static str,
    /// The class of the reason; `waiting`: it waits behind an earlier letter of its key.
    pub code: String,
    /// Why it is a letter, as it was found last.
    pub reason: String,
    /// What a person can do about it.
    pub help: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// The record's key, as text.
    pub key: Option<String>,
    /// Whether later records of its key wait for it.
    pub holds_key: bool,
    /// Bytes of its key and value.
    pub bytes: u64,
    /// When it failed first.
    pub failed_at: String,
    /// When it became a letter.
    pub written_at: String,
    /// The record's own time.
    pub recorded_at: String,
    /// Where the letter lies: partition and offset of the dead-letter topic.
    pub letter: String,
}

/// A dead letter with what it held and what was done with it.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// The letter.
    #[serde(flatten)]
    pub row: Row,
    /// The record's headers, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<(String, Option<String>)>>,
    /// The record's value as text, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What was done with it.
    pub history: Vec<Act>,
}

/// Something that was done with a letter.
#[derive(Debug, Clone, Serialize)]
pub struct Act {
    /// When it was ordered.
    pub at: String,
    /// `replay`, `release` (nothing was left that it waited for) or `drop`.
    pub verb: &'static str,
    /// Who ordered it.
    pub by: String,
    /// `asked`, `running` or `done`.
    pub step: &'static str,
    /// When it was done.
    pub done_at: Option<String>,
    /// Why the letter stays one all the same.
    pub stays: Option<String>,
}

/// What came of an act.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Done {
    /// `replay` or `drop`.
    pub verb: &'static str,
    /// The letters that are meant.
    pub positions: Vec<String>,
    /// Those that are delivered, if that was waited for.
    pub replayed: usize,
    /// Those that stay letters, and why.
    pub stay: Vec<(String, String)>,
    /// Whether all orders were followed.
    pub complete: bool,
}

impl Dlq {
    /// Reads all letters of the group.
    ///
    /// # Errors
    /// Those of Kafka.
    pub async fn open(config: &DeadLetterConfig) -> Result<Self, Error> {
        let options = dead_letters::letters(&config.kafka, &config.dead_letter, &config.group)?;
        let letters = KafkaLetters::open(options, Metrics::new()).await?;
        let mut dlq = Self {
            letters,
            job: config.group.clone(),
            index: Index::default(),
            details: BTreeMap::new(),
            orders: Vec::new(),
            numbers: HashMap::new(),
        };
        dlq.learn().await?;
        Ok(dlq)
    }

    async fn learn(&mut self) -> Result<(), Error> {
        let (letters, orders) = self.letters.survey().await?;
        for letter in letters {
            self.index.apply(News::Letter(letter.noted.clone()));
            self.details.entry(letter.noted.identity.clone()).or_insert(letter);
        }
        for order in orders {
            self.index.apply(News::Order(order.clone()));
            match self.numbers.get(&order.id) {
                Some(&at) => self.orders[at] = order,
                None => {
                    self.numbers.insert(order.id, self.orders.len());
                    self.orders.push(order);
                }
            }
        }
        Ok(())
    }

    /// The letters that fit, in the order of their records.
    #[must_use]
    pub fn list(&self, selection: &Selection, settled: bool) -> Vec<Row> {
        let fits = |identity: &Identity| settled || !self.state(identity).is_settled();
        let refusals = self.refusals();
        let rows = self.chosen(selection).into_iter().filter(|letter| fits(&letter.noted.identity));
        rows.map(|letter| self.row(letter, refusals.get(&letter.noted.identity))).collect()
    }

    fn state(&self, identity: &Identity) -> State {
        self.index.state(identity).unwrap_or(State::Held)
    }

    fn chosen(&self, selection: &Selection) -> Vec<&Details> {
        let refusals = if selection.reason.is_some() { self.refusals() } else { HashMap::new() };
        let fits = |letter: &&Details| {
            let reason = refusals.get(&letter.noted.identity).map_or(&*letter.reason, |(reason, _)| reason);
            selection.fits(letter, reason)
        };
        self.details.values().filter(fits).collect()
    }

    /// Why letters were refused when they were tried again, and how often.
    fn refusals(&self) -> HashMap<Identity, (&str, u32)> {
        let mut refusals: HashMap<Identity, (&str, u32)> = HashMap::new();
        for order in &self.orders {
            for returned in order.returned.iter().filter(|returned| returned.why == Stays::Refused) {
                let identity = order.identity(returned.offset);
                let known = refusals.entry(identity).or_insert(("", 0));
                *known = (&returned.reason, known.1 + 1);
            }
        }
        refusals
    }

    /// A letter as it is listed, with why and how often it was refused again.
    fn row(&self, letter: &Details, refused: Option<&(&str, u32)>) -> Row {
        let identity = &letter.noted.identity;
        let (reason, more) = refused.copied().unwrap_or((&letter.reason, 0));
        let attempts = letter.attempts + more;
        Row {
            position: identity.to_string(),
            state: self.state(identity).word(),
            code: letter.code.clone(),
            reason: reason.to_owned(),
            help: letter.help.clone(),
            attempts,
            key: letter.key.as_deref().map(text),
            holds_key: letter.noted.held_key.is_some(),
            bytes: letter.noted.bytes,
            failed_at: iso8601(letter.failed_at_ms),
            written_at: iso8601(letter.written_at_ms),
            recorded_at: iso8601(letter.timestamp_ms),
            letter: format!("{}/{}", letter.noted.place.partition, letter.noted.place.offset),
        }
    }

    /// One letter with its history, and with what its record held if that is asked for.
    ///
    /// # Errors
    /// Those of Kafka, and that there is no such letter.
    pub async fn show(&mut self, position: &Identity, payload: bool) -> Result<Shown, Error> {
        let Some(letter) = self.details.get(position) else { return Err(unknown(position, &self.job)) };
        let (row, place) = (self.row(letter, self.refusals().get(position)), letter.noted.place);
        let history = self.orders.iter().filter(|order| names(order, position)).map(|order| act(order, position));
        let history = history.collect();
        let content = if payload { self.letters.content(place).await? } else { None };
        let (headers, value) = content.map_or((None, None), |content| {
            let headers = content.headers.into_iter();
            let headers = headers.map(|(name, value)| (name, value.as_deref().map(text))).collect();
            (Some(headers), Some(content.value.as_deref().map_or_else(|| "null".to_owned(), text)))
        });
        Ok(Shown { row, headers, value, history })
    }

    /// Orders that the chosen letters be delivered; `again` also those that were settled.
    ///
    /// # Errors
    /// Those of Kafka; and that one that is named is settled already, or is behind another of its key that is not chosen.
    pub async fn replay(&mut self, selection: &Selection, again: bool, by: &str) -> Result<Done, Error> {
        let chosen = self.for_act(selection, again)?;
        self.insist_on_order(&chosen)?;
        let orders = self.orders_of(&chosen, Verb::Replay, again, by);
        self.give(&orders).await?;
        Ok(done(Verb::Replay, &chosen))
    }

    /// Gives the chosen letters up for good.
    ///
    /// # Errors
    /// As [`Dlq::replay`].
    pub async fn give_up(&mut self, selection: &Selection, by: &str) -> Result<Done, Error> {
        let chosen = self.for_act(selection, false)?;
        let mut orders = self.orders_of(&chosen, Verb::Drop, false, by);
        for order in &mut orders {
            (order.step, order.done_at_ms) = (Step::Done, Some(order.at_ms));
        }
        self.give(&orders).await?;
        Ok(Done { complete: true, ..done(Verb::Drop, &chosen) })
    }

    /// Waits until the orders that name these letters were followed, at most so long.
    ///
    /// # Errors
    /// Those of Kafka.
    pub async fn wait(&mut self, mut done: Done, patience: Duration) -> Result<Done, Error> {
        let chosen: Vec<Identity> = done.positions.iter().filter_map(|at| position(at).ok()).collect();
        let deadline = Instant::now() + patience;
        loop {
            self.learn().await?;
            let is_open = |identity: &&Identity| matches!(self.index.state(identity), Some(State::Claimed(_)));
            done.complete = chosen.iter().filter(is_open).count() == 0;
            if done.complete || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let (settled, stay): (Vec<_>, Vec<_>) = chosen.iter().partition(|identity| self.state(identity).is_settled());
        let why = |identity: &Identity| {
            let orders = self.orders.iter().rev().flat_map(|order| order.returned.iter().map(move |of| (order, of)));
            let mut of = orders.filter(|(order, of)| names(order, identity) && of.offset == identity.offset);
            of.next().map_or("it is not delivered yet", |(_, of)| &of.reason).to_owned()
        };
        done.replayed = settled.len();
        done.stay = stay.into_iter().map(|identity| (identity.to_string(), why(identity))).collect();
        Ok(done)
    }

    /// The letters that an act is about. One that is named must be there, and not be settled.
    fn for_act(&self, selection: &Selection, again: bool) -> Result<Vec<Details>, Error> {
        for position in &selection.positions {
            let refuse = |what: String, help: &str| Err(refused(what).with_help(help));
            match self.index.state(position) {
                None => return Err(unknown(position, &self.job)),
                Some(State::Claimed(_)) => {
                    return refuse(
                        format!("letter {position} is being replayed"),
                        "The worker follows the order as soon as it runs; see `postrider dlq show`.",
                    );
                }
                Some(state) if state.is_settled() && !again => {
                    return refuse(
                        format!("letter {position} was {} already", state.word()),
                        "`postrider dlq show` tells when and by whom; `postrider dlq replay --again` delivers it once more.",
                    );
                }
                Some(_) => {}
            }
        }
        let is_open = |letter: &&Details| match self.state(&letter.noted.identity) {
            State::Held => true,
            State::Claimed(_) => false,
            // All that fit are all that are letters still: once more is only what is named.
            State::Replayed | State::Dropped => again && !selection.positions.is_empty(),
        };
        Ok(self.chosen(selection).into_iter().filter(is_open).cloned().collect())
    }

    /// Nothing passes an earlier letter of its key.
    fn insist_on_order(&self, chosen: &[Details]) -> Result<(), Error> {
        let names: HashSet<&Identity> = chosen.iter().map(|letter| &letter.noted.identity).collect();
        let keys: HashSet<_> = chosen.iter().filter_map(|letter| letter.noted.held_key).collect();
        let mut first = HashMap::new();
        for letter in self.details.values() {
            let identity = &letter.noted.identity;
            let Some(key) = letter.noted.held_key.filter(|key| keys.contains(key)) else { continue };
            if !names.contains(identity) && self.state(identity) == State::Held {
                first.entry(key).or_insert(identity);
            }
        }
        for letter in chosen {
            let identity = &letter.noted.identity;
            let earlier = letter.noted.held_key.and_then(|key| first.get(&key)).filter(|first| **first < identity);
            if let Some(earlier) = earlier {
                let what = format!("letter {identity} waits behind letter {earlier} of its key, which is not chosen");
                return Err(
                    refused(what).with_help("Replay that one too, or drop it: what waits behind it follows by itself.")
                );
            }
        }
        Ok(())
    }

    /// One order for each batch of letters of a partition.
    fn orders_of(&self, chosen: &[Details], verb: Verb, again: bool, by: &str) -> Vec<Order> {
        let mut orders: Vec<Order> = Vec::new();
        let mut bytes = 0;
        let now = now_ms();
        for letter in chosen {
            let Identity { topic, partition, offset } = &letter.noted.identity;
            let last = orders.last_mut().filter(|order| {
                order.topic == *topic
                    && order.partition == *partition
                    && order.offsets.len() < ORDER_LETTERS_MAX
                    && bytes + letter.noted.bytes <= ORDER_BYTES_MAX
            });
            if let Some(order) = last {
                order.offsets.push(*offset);
                bytes += letter.noted.bytes;
                continue;
            }
            bytes = letter.noted.bytes;
            orders.push(Order {
                id: Uuid::now_v7().as_u128(),
                verb,
                step: Step::Asked,
                topic: Arc::clone(topic),
                partition: *partition,
                offsets: vec![*offset],
                again,
                by: by.to_owned(),
                at_ms: now,
                done_at_ms: None,
                returned: Vec::new(),
            });
        }
        orders
    }

    async fn give(&mut self, orders: &[Order]) -> Result<(), Error> {
        if !orders.is_empty() {
            self.letters.write(orders).await?;
        }
        Ok(())
    }
}

fn done(verb: Verb, chosen: &[Details]) -> Done {
    let positions = chosen.iter().map(|letter| letter.noted.identity.to_string()).collect();
    Done { verb: verb.word(), positions, ..Done::default() }
}

/// Whether an order is about this letter.
fn names(order: &Order, identity: &Identity) -> bool {
    let is_offset = |offset: i64| offset == identity.offset;
    order.topic == identity.topic
        && order.partition == identity.partition
        && (order.offsets.binary_search(&identity.offset).is_ok()
            || order.returned.iter().any(|of| is_offset(of.offset)))
}

fn act(order: &Order, identity: &Identity) -> Act {
    let stays = order.returned.iter().find(|returned| returned.offset == identity.offset);
    Act {
        at: iso8601(order.at_ms),
        verb: order.verb.word(),
        by: order.by.clone(),
        step: order.step.word(),
        done_at: order.done_at_ms.map(iso8601),
        stays: stays.map(|returned| returned.reason.clone()),
    }
}

/// Bytes as text: as they are if that is what they are, else escaped.
fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.escape_ascii().to_string(), str::to_owned)
}

fn refused(what: String) -> Error {
    Error::new(End::Sink, Kind::Setup, what)
}

fn unknown(position: &Identity, job: &str) -> Error {
    refused(format!("{position} is no dead letter of group {job}"))
        .with_help("`postrider dlq list --all` lists those that are or were.")
}
