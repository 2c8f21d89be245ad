//! `[capture.types]`: how values are written that JSON has no form of its own for, with Debezium's names for each way.

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

const DECIMAL: Key = Key {
    path: "capture.types.decimal",
    kind: Kind::Choice(&["precise", "double", "string"]),
    fallback: Fallback::Value("precise"),
    meaning: "How `numeric` and `money` are written: `precise` as Connect's Decimal (Base64 of the unscaled number), `double` as a number, which may be rounded, `string` as Postgres prints them. Debezium's `decimal.handling.mode`.",
};
const TIME: Key = Key {
    path: "capture.types.time",
    kind: Kind::Choice(&[
        "adaptive",
        "adaptive_time_microseconds",
        "connect",
        "isostring",
        "microseconds",
        "nanoseconds",
    ]),
    fallback: Fallback::Value("adaptive"),
    meaning: "How `date`, `time` and `timestamp` are written. `adaptive` takes milliseconds or microseconds as the column's precision needs; `connect` takes milliseconds always, and loses what is finer. Debezium's `time.precision.mode`.",
};
const INTERVAL: Key = Key {
    path: "capture.types.interval",
    kind: Kind::Choice(&["numeric", "string"]),
    fallback: Fallback::Value("numeric"),
    meaning: "How `interval` is written: `numeric` as microseconds, a month being 30.4375 days, `string` as ISO 8601 (`P1Y2M3DT4H5M6.78S`), which is exact. Debezium's `interval.handling.mode`.",
};
const BINARY: Key = Key {
    path: "capture.types.binary",
    kind: Kind::Choice(&["bytes", "base64", "base64-url-safe", "hex"]),
    fallback: Fallback::Value("bytes"),
    meaning: "How `bytea` is written: as bytes, which JSON holds as Base64, or as a string in Base64, in Base64 for URLs or in hexadecimal digits. Debezium's `binary.handling.mode`.",
};
const HSTORE: Key = Key {
    path: "capture.types.hstore",
    kind: Kind::Choice(&["json", "map"]),
    fallback: Fallback::Value("json"),
    meaning: "How `hstore` is written: as a string that holds a JSON object, or as a map. Debezium's `hstore.handling.mode`.",
};
/// As many as Postgres prints where `lc_monetary` is that of a currency with cents.
const MONEY_FRACTION_DIGITS: Key = Key {
    path: "capture.types.money_fraction_digits",
    kind: Kind::Integer { min: 0, max: 18 },
    fallback: Fallback::Value("2"),
    meaning: "Digits of `money` after the point with `decimal = \"precise\"`. Debezium's `money.fraction.digits`.",
};
const OTHER: Key = Key {
    path: "capture.types.other",
    kind: Kind::Choice(&["text", "refuse"]),
    fallback: Fallback::Value("text"),
    meaning: "What becomes of a type that has no form of its own, such as a composite type or `pg_lsn`: `text` publishes what Postgres prints, as a string that is named by the type; `refuse` refuses the table. Debezium drops the column.",
};

pub(in crate::config) const KEYS: &[Key] = &[DECIMAL, TIME, INTERVAL, BINARY, HSTORE, MONEY_FRACTION_DIGITS, OTHER];

/// How values are written that JSON has no form of its own for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Types {
    /// `numeric` and `money`.
    pub decimal: Decimal,
    /// `date`, `time` and `timestamp`.
    pub time: Time,
    /// `interval`.
    pub interval: Interval,
    /// `bytea`.
    pub binary: Binary,
    /// `hstore`.
    pub hstore: Hstore,
    /// Digits of `money` after the point.
    pub money_fraction_digits: u8,
    /// Whether a table is refused that has a column of a type without a form of its own.
    pub refuses_other: bool,
}

/// How `numeric` and `money` are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decimal {
    /// Connect's Decimal.
    Precise,
    /// A number.
    Double,
    /// What Postgres prints.
    Text,
}

/// How `date`, `time` and `timestamp` are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Milliseconds or microseconds, as the column's precision needs.
    Adaptive,
    /// The same, but `time` always in microseconds.
    AdaptiveTimeMicroseconds,
    /// Connect's own types, in milliseconds.
    Connect,
    /// ISO 8601.
    IsoString,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

/// How `interval` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// Microseconds.
    Numeric,
    /// ISO 8601.
    IsoString,
}

/// How `bytea` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// Bytes.
    Bytes,
    /// A string in Base64.
    Base64,
    /// A string in the Base64 that URLs take.
    Base64UrlSafe,
    /// A string of hexadecimal digits.
    Hex,
}

/// How `hstore` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hstore {
    /// A string that holds a JSON object.
    Json,
    /// A map.
    Map,
}

impl Types {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        Self {
            decimal: [Decimal::Precise, Decimal::Double, Decimal::Text][settings.choice(&DECIMAL)],
            time: [
                Time::Adaptive,
                Time::AdaptiveTimeMicroseconds,
                Time::Connect,
                Time::IsoString,
                Time::Microseconds,
                Time::Nanoseconds,
            ][settings.choice(&TIME)],
            interval: [Interval::Numeric, Interval::IsoString][settings.choice(&INTERVAL)],
            binary: [Binary::Bytes, Binary::Base64, Binary::Base64UrlSafe, Binary::Hex][settings.choice(&BINARY)],
            hstore: [Hstore::Json, Hstore::Map][settings.choice(&HSTORE)],
            money_fraction_digits: u8::try_from(settings.unsigned(&MONEY_FRACTION_DIGITS)).unwrap_or(u8::MAX),
            refuses_other: settings.choice(&OTHER) == 1,
        }
    }
}
