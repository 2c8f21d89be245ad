//! What is known of a JSON value before it is looked at: what its source said of the column.

use std::str::FromStr;

/// How a value is to be read. What a value says itself needs none: a text is a text, a number a number, an ISO date a date.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reading {
    /// Nothing is known, and nothing is guessed: plain events. A bare number is no time and no date.
    #[default]
    Plain,
    /// A change whose schema does not go along, as the relay's capture and Debezium write it by default: decimals of a
    /// precision are Base64 (with the column's own scale), dates count days, times and timestamps count microseconds.
    Captured,
    /// Bytes, in Base64.
    Bytes,
    /// Bytes, as pairs of hexadecimal digits.
    Hex,
    /// Bits, in Base64, the lowest first; so many, or as many as there are.
    Bits(Option<u32>),
    /// An unscaled number, in two's complement, in Base64.
    Decimal {
        /// Digits behind the point.
        scale: i32,
    },
    /// Days since 1970.
    Days,
    /// A time of day, counted so.
    Time(Unit),
    /// A time since 1970 in UTC, counted so.
    Timestamp(Unit),
    /// A text that is a JSON document.
    Json,
    /// A place in the write-ahead log: `16/B374D848`.
    Lsn,
    /// A list of such.
    Array(Box<Reading>),
    /// A map to such.
    Map(Box<Reading>),
    /// Members by name.
    Struct(Vec<(String, Reading)>),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Whole ones.
    Seconds,
    /// Thousandths.
    Milliseconds,
    /// Millionths.
    Microseconds,
    /// Billionths.
    Nanoseconds,
}

impl Reading {
    /// How the elements of a list or the values of a map are read.
    pub(super) fn element(&self) -> &Self {
        match self {
            Self::Array(of) | Self::Map(of) => of,
            Self::Captured => &Self::Captured,
            _ => &Self::Plain,
        }
    }

    /// How the member of that name is read.
    pub(super) fn member(&self, name: &str) -> &Self {
        match self {
            Self::Struct(members) => {
                members.iter().find(|(own, _)| own == name).map_or(&Self::Plain, |(_, reading)| reading)
            }
            other => other.element(),
        }
    }
}

/// As a configuration names it: `plain`, `captured`, `base64`, `hex`, `json`, `lsn`, `days`, `decimal(2)`, and `seconds`,
/// `milliseconds`, `microseconds`, `nanoseconds` since 1970, or `time(microseconds)` of a day.
impl FromStr for Reading {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        let unit = |text: &str| match text {
            "seconds" => Some(Unit::Seconds),
            "milliseconds" => Some(Unit::Milliseconds),
            "microseconds" => Some(Unit::Microseconds),
            "nanoseconds" => Some(Unit::Nanoseconds),
            _ => None,
        };
        let found = match text {
            "plain" => Some(Self::Plain),
            "captured" => Some(Self::Captured),
            "base64" => Some(Self::Bytes),
            "hex" => Some(Self::Hex),
            "json" => Some(Self::Json),
            "lsn" => Some(Self::Lsn),
            "days" => Some(Self::Days),
            _ => unit(text)
                .map(Self::Timestamp)
                .or_else(|| inner("time").and_then(unit).map(Self::Time))
                .or_else(|| Some(Self::Decimal { scale: inner("decimal")?.parse().ok()? })),
        };
        found.ok_or_else(|| {
            format!(
                "{text:?} is no way to read a value; there are plain, captured, base64, hex, json, lsn, days, decimal(SCALE), \
                 seconds, milliseconds, microseconds, nanoseconds, and time(UNIT)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_has_a_name_in_a_configuration() {
        for (text, reading) in [
            ("plain", Reading::Plain),
            ("milliseconds", Reading::Timestamp(Unit::Milliseconds)),
            ("time(nanoseconds)", Reading::Time(Unit::Nanoseconds)),
            ("decimal(2)", Reading::Decimal { scale: 2 }),
            ("decimal(-2)", Reading::Decimal { scale: -2 }),
        ] {
            assert_eq!(text.parse(), Ok(reading), "{text}");
        }
        for text in ["", "decimal", "decimal(x)", "time", "time(days)", "fortnights"] {
            assert!(text.parse::<Reading>().is_err(), "{text}");
        }
    }
}
