//! Replication commands besides slots: who the server is, its timelines, and the start of streaming.
//! <https://www.postgresql.org/docs/current/protocol-replication.html>

use std::time::Duration;

use crate::postgres::connection::{COMMAND_TIMEOUT, Connection};
use crate::postgres::error::{During, Error, Kind, ServerError};
use crate::postgres::lsn::EndLsn;
use crate::postgres::quote::{identifier, literal, publication_names};
use crate::postgres::slot::{check_name, one_row};
use crate::postgres::stream::ReplicationStream;

/// Who the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentity {
    /// The cluster: kept by its standbys, new after initdb.
    pub system_id: u64,
    /// The timeline, which rises with each promotion.
    pub timeline: u32,
    /// How far its WAL is flushed.
    pub flushed: EndLsn,
    /// The database of this session.
    pub database: Option<String>,
}

/// The end of one timeline in a later one's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineSwitch {
    /// The timeline that ended.
    pub timeline: u32,
    /// Where it ended: what it wrote after this is not part of the later timeline.
    pub switch_point: EndLsn,
    /// Why, in the server's words.
    pub reason: String,
}

/// What to stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartOptions {
    /// The slot, created for pgoutput.
    pub slot: String,
    /// Where to start. The server silently raises what is below the slot's `confirmed_flush_lsn`: compare first.
    pub start: EndLsn,
    /// The publications, by their exact names.
    pub publications: Vec<String>,
    /// Whether messages of `pg_logical_emit_message` are sent too.
    pub messages: bool,
}

impl Connection {
    /// Asks who the server is.
    ///
    /// # Errors
    ///
    /// A lost connection, or a session that was not opened for replication.
    pub fn identify_system(&mut self) -> Result<SystemIdentity, Error> {
        let context = "asking the server who it is";
        let rows = self.command("IDENTIFY_SYSTEM", During::Query, context, Some(COMMAND_TIMEOUT))?;
        let [system_id, timeline, flushed, database] = one_row(rows, context)?;
        Ok(SystemIdentity {
            system_id: field(system_id, context)?,
            timeline: field(timeline, context)?,
            flushed: field(flushed, context)?,
            database,
        })
    }

    /// How the timelines before `timeline` ended, oldest first. Timeline 1 has no history.
    ///
    /// # Errors
    ///
    /// [`Kind::Rejected`] when the server has no such history file.
    pub fn timeline_history(&mut self, timeline: u32) -> Result<Vec<TimelineSwitch>, Error> {
        if timeline <= 1 {
            return Ok(Vec::new());
        }
        let context = format!("reading the history of timeline {timeline}");
        let command = format!("TIMELINE_HISTORY {timeline}");
        let rows = self.command(&command, During::Query, &context, Some(COMMAND_TIMEOUT))?;
        let [_file_name, content] = one_row(rows, &context)?;
        parse_history(&content.unwrap_or_default()).map_err(|line| {
            Error::new(Kind::Protocol, format!("{context}: line {line:?} is not a timeline, a position and a reason"))
        })
    }

    /// Starts streaming; the session becomes the stream.
    ///
    /// # Errors
    ///
    /// [`Kind::SlotMissing`], [`Kind::SlotActive`], [`Kind::Prerequisite`] for an invalidated slot, one of another database, or
    /// `wal_level`. A missing publication shows only when the first change is read, as [`Kind::PublicationMissing`].
    pub fn start_logical(mut self, options: &StartOptions) -> Result<ReplicationStream, Error> {
        check_name(&options.slot)?;
        if self.server_major() >= 17 {
            // A role may carry it, and a long transaction is not ours to hurry. Older servers do not know it.
            self.simple_query("set transaction_timeout = 0")?;
        }
        let wal_sender_timeout = self.wal_sender_timeout()?;
        let messages = if options.messages { ", messages 'true'" } else { "" };
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {}{messages})",
            identifier(&options.slot),
            options.start,
            publication_names(&options.publications),
        );
        self.send_query(&command, Some(COMMAND_TIMEOUT))?;
        loop {
            let received = self.receive()?;
            match received.tag {
                b'W' => break,
                b'S' => self.keep_parameter(&received.body)?,
                b'N' => {}
                b'E' => {
                    let report = self.report(&received)?;
                    return Err(Error::server(start_context(&options.slot, &report), During::SlotCommand, report));
                }
                tag => return Err(self.unexpected(tag, "instead of starting to stream")),
            }
        }
        ReplicationStream::start(self, wal_sender_timeout)
    }

    /// After how long without a word from us the server hangs up; `None` for never.
    fn wal_sender_timeout(&mut self) -> Result<Option<Duration>, Error> {
        let context = "reading wal_sender_timeout";
        // By SQL, because SHOW on a replication connection fails on some managed servers.
        let sql = format!("select setting from pg_catalog.pg_settings where name = {}", literal("wal_sender_timeout"));
        let [setting] = one_row(self.simple_query(&sql)?, context)?;
        let millis: u64 = field(setting, context)?;
        Ok((millis > 0).then(|| Duration::from_millis(millis)))
    }
}

fn field<T>(value: Option<String>, context: &str) -> Result<T, Error>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let value = value.unwrap_or_default();
    value
        .parse()
        .map_err(|error| Error::with_source(Kind::Protocol, format!("{context}: unexpected value {value:?}"), error))
}

fn start_context(slot: &str, report: &ServerError) -> String {
    match report.code.as_str() {
        "42704" => format!("there is no replication slot {slot:?}; create it, or correct the configured name"),
        "55006" => {
            format!("replication slot {slot:?} is in use by another session; stop that one, or wait for its end")
        }
        "55000" => format!("replication slot {slot:?} cannot be streamed from"),
        _ => format!("starting to stream from replication slot {slot:?}"),
    }
}

/// Lines of `timeline <tab> switch point <tab> reason`, and empty ones: as the server writes them for itself.
fn parse_history(content: &str) -> Result<Vec<TimelineSwitch>, &str> {
    let lines = content.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let parse = |line: &str| {
        let mut fields = line.trim().splitn(3, '\t');
        Some(TimelineSwitch {
            timeline: fields.next()?.trim().parse().ok()?,
            switch_point: fields.next()?.trim().parse().ok()?,
            reason: fields.next().unwrap_or_default().to_owned(),
        })
    };
    lines.map(|line| parse(line).ok_or(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_history_tells_where_each_timeline_ended() {
        let content = "1\t0/3000148\tno recovery target specified\n\n2\t1/AB\tbefore 2026-01-01 00:00:00+00\n";
        let switch = |timeline, switch_point: &str, reason: &str| TimelineSwitch {
            timeline,
            switch_point: switch_point.parse().unwrap(),
            reason: reason.to_owned(),
        };
        let wanted = vec![
            switch(1, "0/3000148", "no recovery target specified"),
            switch(2, "1/AB", "before 2026-01-01 00:00:00+00"),
        ];
        assert_eq!(parse_history(content), Ok(wanted));
        assert_eq!(parse_history(""), Ok(vec![]));
        assert_eq!(parse_history("1\tnonsense\tx"), Err("1\tnonsense\tx"));
    }
}
