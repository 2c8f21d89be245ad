//! How values are written where a type has more than one form, with Debezium's names for each.

/// How values are written where a type has more than one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeOptions {
    /// What stands for a value that was stored out of line, was not changed and is not known.
    pub unavailable: String,
    /// `numeric` and `money`.
    pub decimal: Decimal,
    /// Digits of `money` after the point, where it is written precisely.
    pub money_fraction_digits: u8,
    /// `date`, `time` and `timestamp`.
    pub time: Time,
    /// `interval`.
    pub interval: Interval,
    /// `bytea`.
    pub binary: Binary,
    /// `hstore`.
    pub hstore: Hstore,
    /// Whether an array of several dimensions becomes a list of lists, which no schema of Kafka Connect describes; else its
    /// elements become one list, in order.
    pub nested: bool,
    /// What becomes of a type that has no form of its own here.
    pub others: Others,
}

impl Default for TypeOptions {
    fn default() -> Self {
        Self {
            unavailable: "__debezium_unavailable_value".to_owned(),
            decimal: Decimal::Precise,
            money_fraction_digits: 2,
            time: Time::Adaptive,
            interval: Interval::Numeric,
            binary: Binary::Bytes,
            hstore: Hstore::Json,
            nested: false,
            others: Others::Text,
        }
    }
}

/// How `numeric` and `money` are written: `decimal.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decimal {
    /// Kafka Connect's `Decimal`; of a `numeric` without a scale, a struct of scale and value.
    Precise,
    /// A number, which may be rounded.
    Double,
    /// A text.
    Text,
}

/// How `date`, `time` and `timestamp` are written: `time.precision.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Milliseconds or microseconds, as the column's precision needs.
    Adaptive,
    /// The same, but `time` always in microseconds.
    AdaptiveTimeMicroseconds,
    /// Kafka Connect's own types, in milliseconds.
    Connect,
    /// ISO 8601.
    IsoString,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

/// How `interval` is written: `interval.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// Microseconds, a month being 30.4375 days.
    Numeric,
    /// ISO 8601.
    IsoString,
}

/// How `bytea` is written: `binary.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// Bytes, which JSON holds in Base64.
    Bytes,
    /// A string in Base64.
    Base64,
    /// A string in the Base64 that URLs take.
    Base64UrlSafe,
    /// A string of hexadecimal digits.
    Hex,
}

/// How `hstore` is written: `hstore.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hstore {
    /// A string that holds a JSON object.
    Json,
    /// A map.
    Map,
}

/// What becomes of a type that has no form of its own here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// Its text, as a string that is named by the type.
    Text,
    /// Its table is refused.
    Refused,
}
