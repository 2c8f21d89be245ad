//! The auditor: samples pages that readers would be served as valid, and asks the database whether something that they depend on
//! changed since they were filled.
//!
//! What it finds is an invalidation that was missed: a rule that is wrong or was never written, a topic that lost records, a
//! failover of Redis that forgot what it had acknowledged. It reads and never mends. It raises no false alarm: a change counts
//! only if it is there to be read, came after the page's filling began, and is older than the window.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value, cmd};
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use tracing::warn;

use crate::pipeline::{End, Error, Kind};
use crate::postgres::options::ConnectOptions;
use crate::postgres::session;
use crate::shape::rules::page::{Fields, PageName, value};
use crate::shape::rules::template;
use crate::sinks::redis::keys;
use crate::sinks::redis::members::Parameter;
use crate::sinks::redis::options::RedisOptions;
use crate::sinks::redis::wire::{Node, Wire, text};
use crate::telemetry::Metrics;

/// Ages of a change after which a page that is still served is counted, by their names in the metric.
const WINDOWS: [(&str, Duration); 3] =
    [("1m", Duration::from_secs(60)), ("5m", Duration::from_secs(300)), ("10m", Duration::from_secs(600))];

/// Bytes of a page before its payload, and where in them its generation, its beginning and its end of freshness are: see
/// `kits/redis/open.lua`.
const FRAME: usize = 68;
const GENERATION: usize = 45;
const TIME: usize = 11;

/// What two clocks and the way between them may differ, beyond what is measured.
const SLACK_MS: i64 = 250;

/// Keys that one step of the search looks at, and steps of one sample: a page that is rare is found over several samples.
const STEP_KEYS: u64 = 1000;
const STEPS_MAX: usize = 20;

/// Findings that are remembered, so that each counts once.
const FOUND_MAX: usize = 100_000;

/// What is audited.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// Where the pages are.
    pub redis: RedisOptions,
    /// Who knows the truth.
    pub postgres: Option<ConnectOptions>,
    /// How often pages are sampled.
    pub every: Duration,
    /// How many pages a sample has.
    pub pages: usize,
    /// The kinds of pages.
    pub audits: Vec<Audit>,
}

/// One kind of pages.
#[derive(Debug, Clone)]
pub struct Audit {
    /// Its name in configuration.
    pub name: String,
    /// Their keys.
    pub pages: PageName,
    /// The tag that they depend on.
    pub tag: PageName,
    /// A query for one timestamp: when what they depend on last changed.
    pub query: String,
    /// The fields that are the query's parameters.
    pub parameters: Vec<String>,
}

/// A page that would be served as valid.
struct Page {
    key: String,
    fields: Fields,
    /// When its filling began, in milliseconds by the clock of Redis.
    begun_ms: i64,
}

/// Where the search of a node goes on.
type Cursors = HashMap<String, String>;

/// The auditor at work.
pub struct Auditor {
    options: AuditOptions,
    metrics: Arc<Metrics>,
    wire: Option<Wire>,
    database: Option<Client>,
    cursors: Vec<Cursors>,
    found: HashSet<(String, i64, &'static str)>,
}

impl Auditor {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(options: AuditOptions, metrics: Arc<Metrics>) -> Self {
        let cursors = vec![Cursors::new(); options.audits.len()];
        Self { options, metrics, wire: None, database: None, cursors, found: HashSet::new() }
    }

    /// Samples for ever. What fails is told, and tried again with the next sample.
    pub async fn run(mut self) {
        let mut ticks = interval(self.options.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.sample().await {
                self.metrics.redis.audit_failures.inc();
                warn!(%error, "pages could not be audited");
                (self.wire, self.database) = (None, None);
            }
        }
    }

    /// Looks at one sample of each kind of pages; how many pages were looked at.
    ///
    /// # Errors
    /// If Redis or Postgres does not answer, or does not take a question.
    pub async fn sample(&mut self) -> Result<usize, Error> {
        let mut looked_at = 0;
        for place in 0..self.options.audits.len() {
            let audit = self.options.audits[place].clone();
            let pages = self.pages(place, &audit).await?;
            looked_at += pages.len();
            for page in pages {
                self.judge(&audit, page).await?;
            }
        }
        self.metrics.redis.audited_pages.inc_by(looked_at as u64);
        Ok(looked_at)
    }

    /// Some of the pages that would be served as valid, from where the last sample ended.
    async fn pages(&mut self, place: usize, audit: &Audit) -> Result<Vec<Page>, Error> {
        let wanted = self.options.pages;
        let cursors = &mut self.cursors[place];
        let wire = match &mut self.wire {
            Some(wire) => wire,
            none => none.insert(Wire::open(&self.options.redis, Vec::new()).await?),
        };
        let mut pattern = String::new();
        template::escape(&mut pattern, audit.pages.prefix());
        pattern.push('*');
        let mut pages = Vec::new();
        for node in wire.nodes().await? {
            let cursor = cursors.entry(name_of(&node)).or_insert_with(|| "0".to_owned());
            for _ in 0..STEPS_MAX {
                let mut command = cmd("SCAN");
                command.arg(&*cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(STEP_KEYS);
                let step = wire.on("sample pages", &node, &command).await?;
                let Some([further, keys]) = step.as_sequence() else { break };
                *cursor = text(further).unwrap_or_else(|| "0".to_owned());
                let keys: Vec<String> = keys.as_sequence().unwrap_or_default().iter().filter_map(text).collect();
                pages.extend(valid(wire, audit, keys, wanted.saturating_sub(pages.len())).await?);
                if pages.len() >= wanted || cursor == "0" {
                    break;
                }
            }
        }
        Ok(pages)
    }

    /// Asks the database about one page.
    async fn judge(&mut self, audit: &Audit, page: Page) -> Result<(), Error> {
        let Some((changed_ms, now_ms)) = self.truth(audit, &page.fields).await? else { return Ok(()) };
        let Some(wire) = &mut self.wire else { return Ok(()) };
        let redis_ms = time_ms(wire).await?;
        let begun_ms = page.begun_ms + (now_ms - redis_ms);
        if changed_ms <= begun_ms + SLACK_MS {
            return Ok(());
        }
        let age = Duration::from_millis(u64::try_from(now_ms - changed_ms).unwrap_or(0));
        for (window, least) in WINDOWS {
            if age < least || !self.found.insert((page.key.clone(), page.begun_ms, window)) {
                continue;
            }
            self.metrics.redis.stale_detected.with_label_values(&[window]).inc();
            warn!(
                audit = audit.name,
                window,
                age_seconds = age.as_secs(),
                "a page is still served as valid although what it depends on changed after it was filled"
            );
        }
        if self.found.len() > FOUND_MAX {
            self.found.clear();
        }
        Ok(())
    }

    /// When what a page depends on last changed, and what time it is, both in milliseconds by the database's clock.
    async fn truth(&mut self, audit: &Audit, fields: &Fields) -> Result<Option<(i64, i64)>, Error> {
        let options = self.options.postgres.as_ref().ok_or_else(|| {
            Error::new(End::Sink, Kind::Setup, "an audit has a query, and there is no database to ask")
                .with_help("Write a section [postgres].")
        })?;
        let failed = |error: &tokio_postgres::Error| {
            let code = error.code().map_or("none", |code| code.code());
            let context = format!("cannot ask the query of [invalidate.audits.{}] (SQLSTATE {code})", audit.name);
            Error::new(End::Sink, Kind::Unavailable, context)
        };
        if self.database.as_ref().is_none_or(Client::is_closed) {
            let client = session::connect(options).await.map_err(|error| {
                Error::new(End::Sink, Kind::Unavailable, "Postgres cannot be reached for audits").because(error)
            })?;
            let settings = "set default_transaction_read_only = on; set statement_timeout = '10s'";
            client.batch_execute(settings).await.map_err(|error| failed(&error))?;
            self.database = Some(client);
        }
        let Some(client) = &self.database else { return Ok(None) };
        let parameters: Option<Vec<Parameter<'_>>> =
            audit.parameters.iter().map(|name| value(fields, name).map(Parameter)).collect();
        let Some(parameters) = parameters else { return Ok(None) };
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|one| one as _).collect();
        let sql = format!(
            "select (extract(epoch from ({})) * 1000)::bigint, (extract(epoch from clock_timestamp()) * 1000)::bigint",
            audit.query
        );
        let row = match client.query_one(&sql, &parameters).await {
            Ok(row) => row,
            // A key that holds no id of ours is no page of ours.
            Err(error) if error.code().is_some_and(|code| code.code().starts_with("22")) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let (changed, now): (Option<i64>, i64) = (row.get(0), row.get(1));
        Ok(changed.map(|changed| (changed, now)))
    }
}

/// Those of `keys` that would be served as valid, at most so many.
async fn valid(wire: &mut Wire, audit: &Audit, keys: Vec<String>, at_most: usize) -> Result<Vec<Page>, Error> {
    let named = keys.into_iter().filter_map(|key| {
        let fields = audit.pages.read(&key)?;
        let tag = audit.tag.write(&fields)?;
        Some((key, fields, tag))
    });
    let named: Vec<(String, Fields, String)> = named.take(at_most).collect();
    let frames = named.iter().flat_map(|(key, _, tag)| [range(key, FRAME), range(&keys::generation(tag), GENERATION)]);
    let commands: Vec<Cmd> = frames.collect();
    let now_ms = time_ms(wire).await?;
    let values = wire.run("read the frames of pages", &commands).await?;
    let pages = named.into_iter().zip(values.chunks_exact(2)).filter_map(|((key, fields, _), values)| {
        let [Value::BulkString(frame), Value::BulkString(generation)] = values else { return None };
        begun(frame, generation, now_ms).map(|begun_ms| Page { key, fields, begun_ms })
    });
    Ok(pages.collect())
}

/// What time it is by the clock of Redis, in milliseconds since 1970.
async fn time_ms(wire: &mut Wire) -> Result<i64, Error> {
    let values = wire.run("ask for the time", &[cmd("TIME")]).await?;
    let parts = values.first().and_then(Value::as_sequence).unwrap_or_default();
    let parts: Vec<i64> = parts.iter().filter_map(|part| text(part)?.parse().ok()).collect();
    Ok(parts.first().zip(parts.get(1)).map_or(0, |(seconds, micros)| seconds * 1000 + micros / 1000))
}

/// When the filling of a page began, if its frame says that it is valid now, under this generation.
fn begun(frame: &[u8], generation: &[u8], now_ms: i64) -> Option<i64> {
    if frame.len() < FRAME || generation.len() < GENERATION || frame[..GENERATION] != generation[..GENERATION] {
        return None;
    }
    let hex = |from: usize| i64::from_str_radix(str::from_utf8(frame.get(from..from + TIME)?).ok()?, 16).ok();
    hex(GENERATION).filter(|_| hex(GENERATION + TIME).is_some_and(|until| now_ms < until))
}

fn range(key: &str, bytes: usize) -> Cmd {
    let mut command = cmd("GETRANGE");
    command.arg(key).arg(0).arg(bytes as u64 - 1);
    command
}

fn name_of(node: &Node) -> String {
    match node {
        Node::Only => String::new(),
        Node::At(host, port) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_of_the_present_generation_has_a_beginning() {
        let generation = format!("{:045x}", 7);
        let page = format!("{generation}{:011x}{:011x}\n{{}}", 1_760_783_445_123_i64, 1_760_783_565_123_i64);
        let stored = format!("{generation}1");
        let frame = &page.as_bytes()[..FRAME];
        let now = 1_760_783_445_200;
        assert_eq!(begun(frame, stored.as_bytes(), now), Some(1_760_783_445_123));
        assert_eq!(begun(frame, stored.as_bytes(), now + 120_000), None, "past its time");
        assert_eq!(begun(frame, format!("{:045x}0", 8).as_bytes(), now), None);
        assert_eq!(begun(frame, b"", now), None);
        assert_eq!(begun(&frame[..40], stored.as_bytes(), now), None);
    }
}
