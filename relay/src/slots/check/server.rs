//! The server: its version, what its log holds, and the settings that decide over a slot's life.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio_postgres::Client;

use crate::finding::{Finding, Rule, Severity};
use crate::slots::check::Expected;

/// The oldest server whose logical decoding has all that the relay needs.
const VERSION_MIN: i32 = 150_000;

/// Clocks that differ by less make no difference to anybody.
const SKEW_SECONDS_MAX: f64 = 5.0;

/// A relay that stands still for this long at a weekend is an ordinary accident.
const IDLE_SECONDS_MIN: f64 = 86_400.0;

/// Below it a pause of the machine already ends the connection.
const SENDER_TIMEOUT_SECONDS_MIN: f64 = 5.0;

/// A limit should last this long at the rate at which the server has written until now.
const LIMIT_LASTS_SECONDS_MIN: f64 = 3600.0;

static VERSION: Rule = Rule {
    code: "server-version",
    severity: Severity::Error,
    why: "Before PostgreSQL 15 logical decoding lacks what the relay reads.",
    mend: "Upgrade the server to PostgreSQL 15 or later.",
};
static STANDBY: Rule = Rule {
    code: "server-standby",
    severity: Severity::Error,
    why: "The relay's slot and its parked events live on the primary.",
    mend: "Name the primary in `postgres.host`.",
};
static WAL_LEVEL: Rule = Rule {
    code: "wal-level",
    severity: Severity::Error,
    why: "Only with wal_level = logical does the log hold what logical decoding reads.",
    mend: "`alter system set wal_level = 'logical'`, then restart the server.",
};
static SENDERS: Rule = Rule {
    code: "wal-senders",
    severity: Severity::Warning,
    why: "The relay reads through a walsender: without a free one it cannot start, or come back.",
    mend: "`alter system set max_wal_senders = …`, then restart the server.",
};
static KEEP_UNLIMITED: Rule = Rule {
    code: "wal-keep-unlimited",
    severity: Severity::Note,
    why: "A relay that is away for long can then fill the disk of the database; with a limit it would lose its slot instead, and say so.",
    mend: "`alter system set max_slot_wal_keep_size = …` where the disk matters more than the slot, and an alert on retained bytes anyway.",
};
static KEEP_SMALL: Rule = Rule {
    code: "wal-keep-small",
    severity: Severity::Warning,
    why: "The slot is lost as soon as the relay is behind by more: a short outage of the broker is then a gap.",
    mend: "`alter system set max_slot_wal_keep_size = …`, then `select pg_reload_conf()`.",
};
static IDLE_TIMEOUT: Rule = Rule {
    code: "idle-slot-timeout",
    severity: Severity::Warning,
    why: "A relay that is stopped for longer finds its slot invalidated.",
    mend: "`alter system set idle_replication_slot_timeout = 0`, then `select pg_reload_conf()`.",
};
static SENDER_TIMEOUT_OFF: Rule = Rule {
    code: "wal-sender-timeout-off",
    severity: Severity::Warning,
    why: "The server never notices that a relay is gone, so its successor waits for the slot as long as TCP does.",
    mend: "`alter role … set wal_sender_timeout = '60s'`",
};
static SENDER_TIMEOUT_SHORT: Rule = Rule {
    code: "wal-sender-timeout-short",
    severity: Severity::Warning,
    why: "A pause of the machine or the network of that length ends the connection, and what was in flight is sent again.",
    mend: "`alter role … set wal_sender_timeout = '60s'`",
};
static ENCODING: Rule = Rule {
    code: "server-encoding",
    severity: Severity::Warning,
    why: "In a database of that encoding the server lets any bytes pass for text, so that keys and headers may not be UTF-8.",
    mend: "Move the data to a database with the encoding UTF8.",
};
static CLOCK: Rule = Rule {
    code: "clock-skew",
    severity: Severity::Warning,
    why: "Commit times become the records' timestamps: latencies are then wrong, and a broker may refuse times that lie in its future.",
    mend: "Let NTP or chrony keep the clocks of both machines.",
};
static TLS: Rule = Rule {
    code: "postgres-tls",
    severity: Severity::Warning,
    why: "Events, and what a thief needs to pretend to be the relay, travel readable over a network.",
    mend: "`postgres.tls = \"verify-full\"`",
};

pub(super) const RULES: &[&Rule] = &[
    &VERSION,
    &STANDBY,
    &WAL_LEVEL,
    &SENDERS,
    &KEEP_UNLIMITED,
    &KEEP_SMALL,
    &IDLE_TIMEOUT,
    &SENDER_TIMEOUT_OFF,
    &SENDER_TIMEOUT_SHORT,
    &ENCODING,
    &CLOCK,
    &TLS,
];

/// What the server says of itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Server {
    pub(super) version: i32,
    pub(super) standby: bool,
    pub(super) wal_level: String,
    pub(super) slots_max: i64,
    pub(super) slots: i64,
    senders_max: i64,
    senders: i64,
    /// Walsenders of others than this relay.
    strangers: i64,
    keep_bytes: i64,
    wal_size_bytes: i64,
    wal_bytes_per_second: f64,
    sender_timeout_seconds: f64,
    idle_timeout_seconds: Option<f64>,
    encoding: String,
    skew_seconds: f64,
    tls: bool,
    over_network: bool,
    /// Whether somebody keeps standbys by physical slots.
    pub(super) has_standbys: bool,
}

impl Server {
    /// Whether the questions of the other files can be asked.
    pub(super) fn is_known(&self) -> bool {
        self.version >= VERSION_MIN
    }

    /// Whether a replication connection for logical decoding can be had at all.
    pub(super) fn can_stream(&self) -> bool {
        !self.standby && self.wal_level == "logical" && self.senders < self.senders_max
    }

    /// Whether a snapshot can have a slot and a walsender beside those of the relay.
    pub(super) fn has_room_for_a_slot(&self) -> bool {
        self.slots < self.slots_max && self.senders + 1 < self.senders_max
    }

    /// The limit of retained WAL, if there is one.
    pub(super) fn keep_limit(&self) -> Option<i64> {
        (self.keep_bytes >= 0).then_some(self.keep_bytes)
    }
}

const SERVER: &str = "
select
  current_setting('server_version_num')::integer as version,
  pg_is_in_recovery() as standby,
  current_setting('wal_level') as wal_level,
  current_setting('max_replication_slots')::bigint as slots_max,
  (select count(*) from pg_catalog.pg_replication_slots) as slots,
  current_setting('max_wal_senders')::bigint as senders_max,
  (select count(*) from pg_catalog.pg_stat_replication) as senders,
  (
    select count(*)
    from pg_catalog.pg_stat_replication
    where usename is distinct from $1::text::name or application_name is distinct from $2::text
  ) as strangers,
  pg_size_bytes(current_setting('max_slot_wal_keep_size')) as keep_bytes,
  pg_size_bytes(current_setting('max_wal_size')) as wal_size_bytes,
  (
    select (wal_bytes / greatest(extract(epoch from clock_timestamp() - stats_reset), 1))::float8
    from pg_catalog.pg_stat_wal
  ) as wal_bytes_per_second,
  extract(epoch from current_setting('wal_sender_timeout')::interval)::float8 as sender_timeout,
  extract(epoch from current_setting('idle_replication_slot_timeout', true)::interval)::float8 as idle_timeout,
  (
    select pg_encoding_to_char(encoding)::text
    from pg_catalog.pg_database
    where datname = current_database()
  ) as encoding,
  extract(epoch from clock_timestamp())::float8 as clock,
  coalesce((select ssl from pg_catalog.pg_stat_ssl where pid = pg_backend_pid()), false) as tls,
  coalesce(
    not (inet_client_addr() <<= '127.0.0.0/8' or inet_client_addr() = '::1' or inet_client_addr() = inet_server_addr()),
    false
  ) as over_network,
  exists (select from pg_catalog.pg_replication_slots where slot_type = 'physical' and not temporary) as has_standbys";

pub(super) async fn read(client: &Client, expected: &Expected) -> Result<Server, tokio_postgres::Error> {
    let (role, application) = (&expected.connect.user, &expected.connect.application_name);
    let before = now_seconds();
    let row = client.query_one(SERVER, &[role, application]).await?;
    // The answer was made somewhere between the two: the middle is wrong by half of the way at most.
    let here = f64::midpoint(before, now_seconds());
    Ok(Server {
        version: row.get("version"),
        standby: row.get("standby"),
        wal_level: row.get("wal_level"),
        slots_max: row.get("slots_max"),
        slots: row.get("slots"),
        senders_max: row.get("senders_max"),
        senders: row.get("senders"),
        strangers: row.get("strangers"),
        keep_bytes: row.get("keep_bytes"),
        wal_size_bytes: row.get("wal_size_bytes"),
        wal_bytes_per_second: row.get::<_, Option<f64>>("wal_bytes_per_second").unwrap_or_default(),
        sender_timeout_seconds: row.get("sender_timeout"),
        idle_timeout_seconds: row.get("idle_timeout"),
        encoding: row.get("encoding"),
        skew_seconds: row.get::<_, f64>("clock") - here,
        tls: row.get("tls"),
        over_network: row.get("over_network"),
        has_standbys: row.get("has_standbys"),
    })
}

fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

pub(super) fn examine(expected: &Expected, server: &Server) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !server.is_known() {
        let major = server.version / 10_000;
        return vec![VERSION.found(format!("the server is PostgreSQL {major}")).words(VERSION.mend)];
    }
    if server.standby {
        findings.push(STANDBY.found("the server is a standby").words(STANDBY.mend));
    }
    if server.wal_level != "logical" {
        findings.push(
            WAL_LEVEL
                .found(format!("wal_level is {}", server.wal_level))
                .sql("alter system set wal_level = 'logical'")
                .words("restart the server"),
        );
    }
    findings.extend(senders(server));
    findings.extend(retention(server));
    findings.extend(sender_timeout(expected, server));
    if let Some(seconds) = server.idle_timeout_seconds.filter(|seconds| *seconds > 0.0) {
        let severity = if seconds < IDLE_SECONDS_MIN { Severity::Warning } else { Severity::Note };
        let what = format!("idle_replication_slot_timeout is {seconds} s: a slot that nobody reads for longer is lost");
        findings.push(
            IDLE_TIMEOUT
                .found(what)
                .as_bad_as(severity)
                .sql("alter system set idle_replication_slot_timeout = 0")
                .sql("select pg_reload_conf()"),
        );
    }
    if server.encoding == "SQL_ASCII" {
        findings.push(ENCODING.found("the database's encoding is SQL_ASCII").words(ENCODING.mend));
    }
    if server.skew_seconds.abs() > SKEW_SECONDS_MAX {
        let (by, direction) =
            (server.skew_seconds.abs(), if server.skew_seconds > 0.0 { "ahead of" } else { "behind" });
        findings
            .push(CLOCK.found(format!("the server's clock is {by:.1} s {direction} this machine's")).words(CLOCK.mend));
    }
    if server.over_network && !server.tls {
        let what = "the connection goes over a network without TLS";
        findings.push(TLS.found(what).configuration("postgres.tls", "\"verify-full\""));
    }
    findings
}

fn senders(server: &Server) -> Option<Finding> {
    // The relay's own, if it runs, is no stranger's: it gives it back before it takes the next.
    let (used, max) = (server.strangers, server.senders_max);
    let (severity, what) = match max - used {
        2.. => return None,
        1 => (Severity::Warning, format!("{used} of {max} walsenders are in use by others: one is left")),
        _ => (Severity::Error, format!("all {max} walsenders are in use (max_wal_senders)")),
    };
    let more = (max + 10).max(10);
    Some(
        SENDERS
            .found(what)
            .as_bad_as(severity)
            .sql(format!("alter system set max_wal_senders = {more}"))
            .words("restart the server"),
    )
}

fn retention(server: &Server) -> Option<Finding> {
    let Some(limit) = server.keep_limit() else {
        let what = "max_slot_wal_keep_size is -1: the server keeps any amount of WAL for a slot that is not read";
        return Some(KEEP_UNLIMITED.found(what).words(KEEP_UNLIMITED.mend));
    };
    #[expect(clippy::cast_precision_loss, reason = "bytes of WAL are far below 2^52")]
    let lasts = limit as f64 / server.wal_bytes_per_second.max(1.0);
    if limit >= server.wal_size_bytes && lasts >= LIMIT_LASTS_SECONDS_MIN {
        return None;
    }
    let mib = limit >> 20;
    let what = if limit < server.wal_size_bytes {
        format!("max_slot_wal_keep_size is {mib} MiB, less than what one checkpoint may cover (max_wal_size)")
    } else {
        format!("max_slot_wal_keep_size is {mib} MiB, which lasts {lasts:.0} s at the server's average rate")
    };
    #[expect(clippy::cast_possible_truncation, reason = "a number of MiB is small")]
    let hour = (server.wal_bytes_per_second * 2.0 * LIMIT_LASTS_SECONDS_MIN / 1_048_576.0) as i64;
    let better = hour.max(4 * (server.wal_size_bytes >> 20));
    Some(
        KEEP_SMALL
            .found(what)
            .sql(format!("alter system set max_slot_wal_keep_size = '{better}MB'"))
            .sql("select pg_reload_conf()"),
    )
}

fn sender_timeout(expected: &Expected, server: &Server) -> Option<Finding> {
    let role = postgres_protocol::escape::escape_identifier(&expected.connect.user);
    let mend = format!("alter role {role} set wal_sender_timeout = '60s'");
    match server.sender_timeout_seconds {
        0.0 => Some(SENDER_TIMEOUT_OFF.found("wal_sender_timeout is 0 for the relay's role").sql(mend)),
        seconds if seconds < SENDER_TIMEOUT_SECONDS_MIN => Some(
            SENDER_TIMEOUT_SHORT.found(format!("wal_sender_timeout is {seconds} s for the relay's role")).sql(mend),
        ),
        _ => None,
    }
}

/// A plain server for the tests of the judging functions.
#[cfg(test)]
pub(super) fn sound() -> Server {
    Server {
        version: 170_002,
        standby: false,
        wal_level: "logical".to_owned(),
        slots_max: 10,
        slots: 1,
        senders_max: 10,
        senders: 1,
        strangers: 0,
        keep_bytes: 100 << 30,
        wal_size_bytes: 1 << 30,
        wal_bytes_per_second: 1_000_000.0,
        sender_timeout_seconds: 60.0,
        idle_timeout_seconds: None,
        encoding: "UTF8".to_owned(),
        skew_seconds: 0.1,
        tls: true,
        over_network: true,
        has_standbys: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::check::table::expected;

    fn codes(change: impl Fn(&mut Server)) -> Vec<&'static str> {
        let mut server = sound();
        change(&mut server);
        examine(&expected(), &server).iter().map(Finding::code).collect()
    }

    #[test]
    fn what_no_test_server_can_be_is_named_and_a_good_one_is_not() {
        assert_eq!(codes(|_| {}), [""; 0]);
        for (change, code) in [
            (Box::new(|s: &mut Server| s.version = 140_011) as Box<dyn Fn(&mut Server)>, "server-version"),
            (Box::new(|s| s.standby = true), "server-standby"),
            (Box::new(|s| s.tls = false), "postgres-tls"),
            (Box::new(|s| s.skew_seconds = -6.0), "clock-skew"),
            (Box::new(|s| s.skew_seconds = 6.0), "clock-skew"),
            (Box::new(|s| s.encoding = "SQL_ASCII".to_owned()), "server-encoding"),
            (Box::new(|s| s.wal_bytes_per_second = 1e9), "wal-keep-small"),
            (Box::new(|s| s.keep_bytes = -1), "wal-keep-unlimited"),
            (Box::new(|s| s.strangers = 10), "wal-senders"),
            (Box::new(|s| s.strangers = 9), "wal-senders"),
            (Box::new(|s| s.sender_timeout_seconds = 1.0), "wal-sender-timeout-short"),
            (Box::new(|s| s.idle_timeout_seconds = Some(60.0)), "idle-slot-timeout"),
        ] {
            assert_eq!(codes(&*change), [code]);
        }
        assert_eq!(
            codes(|server| (server.tls, server.over_network) = (false, false)),
            [""; 0],
            "a socket needs no TLS"
        );
    }
}
