//! `date`, `time`, `timestamp` and their kin with a zone, in each of Debezium's precisions.

use crate::shape::change::types::calendar::{self, DAY_US, Date, Point, print_time};
use crate::shape::change::types::misfit::Misfit;
use crate::shape::change::types::options::Time;
use crate::shape::json;

/// The days of `infinity` and `-infinity`: what is left in 32 bits of the dates that Debezium puts in their place.
const FUTURE_DAYS: i64 = -2_147_472_692;
const PAST_DAYS: i64 = -2_147_472_691;

/// The milliseconds of `infinity` and `-infinity`, as PostgreSQL's JDBC driver has them.
const FUTURE_MS: i64 = 9_223_372_036_825_200;
const PAST_MS: i64 = -9_223_372_036_832_400;

/// Digits behind a second that a type without precision has.
const DIGITS: u8 = 6;

/// A type of a date or a time, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temporal {
    Date(Unit),
    Time(Unit),
    Timestamp(Unit),
    /// `timestamptz`, with so many digits behind the second.
    ZonedTimestamp(u8),
    ZonedTime,
}

/// What is counted, and whose type that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Days or milliseconds, as Kafka Connect's own types.
    Connect,
    /// Days or milliseconds, as Debezium's types.
    Coarse,
    Microseconds,
    Nanoseconds,
    /// ISO 8601.
    Iso,
}

impl Temporal {
    pub(super) fn date(mode: Time) -> Self {
        Self::Date(match mode {
            Time::Connect => Unit::Connect,
            Time::IsoString => Unit::Iso,
            _ => Unit::Coarse,
        })
    }

    pub(super) fn time(mode: Time, modifier: i32) -> Self {
        Self::Time(match mode {
            Time::Adaptive if (0..=3).contains(&modifier) => Unit::Coarse,
            Time::Connect => Unit::Connect,
            Time::IsoString => Unit::Iso,
            Time::Nanoseconds => Unit::Nanoseconds,
            _ => Unit::Microseconds,
        })
    }

    pub(super) fn timestamp(mode: Time, modifier: i32) -> Self {
        Self::Timestamp(match mode {
            Time::Adaptive | Time::AdaptiveTimeMicroseconds if (0..=3).contains(&modifier) => Unit::Coarse,
            Time::Connect => Unit::Connect,
            Time::IsoString => Unit::Iso,
            Time::Nanoseconds => Unit::Nanoseconds,
            _ => Unit::Microseconds,
        })
    }

    pub(super) fn zoned_timestamp(modifier: i32) -> Self {
        Self::ZonedTimestamp(u8::try_from(modifier).unwrap_or(DIGITS).min(DIGITS))
    }

    /// Connect's type, and the name of the logical one.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Date(Unit::Connect) => ("int32", "org.apache.kafka.connect.data.Date"),
            Self::Date(Unit::Iso) => ("string", "io.debezium.time.IsoDate"),
            Self::Date(_) => ("int32", "io.debezium.time.Date"),
            Self::Time(Unit::Connect) => ("int32", "org.apache.kafka.connect.data.Time"),
            Self::Time(Unit::Coarse) => ("int32", "io.debezium.time.Time"),
            Self::Time(Unit::Microseconds) => ("int64", "io.debezium.time.MicroTime"),
            Self::Time(Unit::Nanoseconds) => ("int64", "io.debezium.time.NanoTime"),
            Self::Time(Unit::Iso) => ("string", "io.debezium.time.IsoTime"),
            Self::Timestamp(Unit::Connect) => ("int64", "org.apache.kafka.connect.data.Timestamp"),
            Self::Timestamp(Unit::Coarse) => ("int64", "io.debezium.time.Timestamp"),
            Self::Timestamp(Unit::Microseconds) => ("int64", "io.debezium.time.MicroTimestamp"),
            Self::Timestamp(Unit::Nanoseconds) => ("int64", "io.debezium.time.NanoTimestamp"),
            Self::Timestamp(Unit::Iso) => ("string", "io.debezium.time.IsoTimestamp"),
            Self::ZonedTimestamp(_) => ("string", "io.debezium.time.ZonedTimestamp"),
            Self::ZonedTime => ("string", "io.debezium.time.ZonedTime"),
        }
    }

    /// What Debezium writes where nothing is known and there is no null.
    pub(super) fn zero(self) -> &'static str {
        match self {
            Self::Date(Unit::Iso) => r#""1970-01-01Z""#,
            Self::Time(Unit::Iso) | Self::ZonedTime => r#""00:00:00Z""#,
            Self::Timestamp(Unit::Iso) | Self::ZonedTimestamp(_) => r#""1970-01-01T00:00:00Z""#,
            _ => "0",
        }
    }

    /// Appends what the type's output function printed.
    pub(super) fn write(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
        match self {
            Self::Date(unit) => date(calendar::point(text, Date::read).ok_or(Misfit::NotOfType)?, unit, out),
            Self::Time(unit) => {
                let read = calendar::time(text).filter(|(_, rest)| rest.is_empty());
                time(read.ok_or(Misfit::NotOfType)?.0, unit, out);
            }
            Self::Timestamp(unit) => {
                let point = calendar::point(text, calendar::timestamp).ok_or(Misfit::NotOfType)?;
                timestamp(point, unit, out)?;
            }
            Self::ZonedTimestamp(digits) => {
                let point = calendar::point(text, calendar::timestamp).ok_or(Misfit::NotOfType)?;
                iso_timestamp(point, Some(digits), out);
            }
            Self::ZonedTime => iso_time(calendar::zoned_time(text).ok_or(Misfit::NotOfType)?, out),
        }
        Ok(())
    }
}

fn date(date: Point<Date>, unit: Unit, out: &mut Vec<u8>) {
    if unit == Unit::Iso {
        match date {
            Point::At(date) => {
                out.push(b'"');
                date.print(out);
                out.extend_from_slice(br#"Z""#);
            }
            Point::Future => out.extend_from_slice(br#""infinity""#),
            Point::Past => out.extend_from_slice(br#""-infinity""#),
        }
        return;
    }
    let days = match date {
        Point::At(date) => date.days(),
        Point::Future => FUTURE_DAYS,
        Point::Past => PAST_DAYS,
    };
    json::integer(days, out);
}

fn time(micros: i64, unit: Unit, out: &mut Vec<u8>) {
    match unit {
        Unit::Connect | Unit::Coarse => json::integer(micros / 1000, out),
        Unit::Microseconds => json::integer(micros, out),
        Unit::Nanoseconds => json::integer(micros * 1000, out),
        Unit::Iso => iso_time(micros, out),
    }
}

fn iso_time(micros: i64, out: &mut Vec<u8>) {
    out.push(b'"');
    print_time(micros, None, out);
    out.extend_from_slice(br#"Z""#);
}

fn timestamp(point: Point<(Date, i64)>, unit: Unit, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let count = |ms: i64| match unit {
        Unit::Connect | Unit::Coarse => ms,
        Unit::Microseconds => ms.saturating_mul(1000),
        Unit::Nanoseconds => ms.saturating_mul(1_000_000),
        Unit::Iso => 0,
    };
    let value = match (point, unit) {
        (point, Unit::Iso) => {
            iso_timestamp(point, None, out);
            return Ok(());
        }
        (Point::Future, _) => count(FUTURE_MS),
        (Point::Past, _) => count(PAST_MS),
        (Point::At((date, of_day)), _) => {
            let days = date.days();
            let exact = match unit {
                Unit::Connect | Unit::Coarse => Some(days * (DAY_US / 1000) + of_day / 1000),
                Unit::Nanoseconds => {
                    i64::try_from((i128::from(days) * i128::from(DAY_US) + i128::from(of_day)) * 1000).ok()
                }
                _ => days.checked_mul(DAY_US).and_then(|us| us.checked_add(of_day)),
            };
            exact.ok_or(Misfit::NoPlace)?
        }
    };
    json::integer(value, out);
    Ok(())
}

fn iso_timestamp(point: Point<(Date, i64)>, digits: Option<u8>, out: &mut Vec<u8>) {
    match point {
        Point::At((date, of_day)) => {
            out.push(b'"');
            date.print(out);
            out.push(b'T');
            print_time(of_day, digits, out);
            out.extend_from_slice(br#"Z""#);
        }
        Point::Future => out.extend_from_slice(br#""infinity""#),
        Point::Past => out.extend_from_slice(br#""-infinity""#),
    }
}
