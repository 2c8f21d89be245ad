//! The types of the columns: random values of each, and the two forms that must agree at the end: what a record says, and what
//! Postgres says.

use serde_json::Value;

use crate::random::Random;
use crate::state::base64;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `boolean`
    Bool,
    /// `smallint`
    Small,
    /// `integer`
    Int,
    /// `bigint`
    Big,
    /// `real`
    Real,
    /// `double precision`
    Double,
    /// `numeric(12,2)`
    Price,
    /// `numeric`
    Numeric,
    /// `text`, short
    Text,
    /// `text`, so long that it is stored out of line
    Long,
    /// `varchar(40)`
    Varchar,
    /// `char(5)`
    Char,
    /// `bytea`
    Bytes,
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `time`
    Time,
    /// `timestamp`
    Timestamp,
    /// `timestamp(3)`
    TimestampMs,
    /// `timestamptz`
    Timestamptz,
    /// `interval`, of days and less
    Interval,
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// `inet`
    Inet,
    /// `integer[]`
    Ints,
    /// `text[]`
    Texts,
    /// An enum, whose labels grow in number
    Mood,
    /// A domain over `integer`
    Positive,
}

/// Microseconds of a day.
const DAY_US: u64 = 86_400_000_000;

impl Kind {
    /// Every type that there is.
    pub const ALL: &[Self] = &[
        Self::Bool,
        Self::Small,
        Self::Int,
        Self::Big,
        Self::Real,
        Self::Double,
        Self::Price,
        Self::Numeric,
        Self::Text,
        Self::Long,
        Self::Varchar,
        Self::Char,
        Self::Bytes,
        Self::Uuid,
        Self::Date,
        Self::Time,
        Self::Timestamp,
        Self::TimestampMs,
        Self::Timestamptz,
        Self::Interval,
        Self::Json,
        Self::Jsonb,
        Self::Inet,
        Self::Ints,
        Self::Texts,
        Self::Mood,
        Self::Positive,
    ];

    /// Its name in SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Small => "smallint",
            Self::Int => "integer",
            Self::Big => "bigint",
            Self::Real => "real",
            Self::Double => "double precision",
            Self::Price => "numeric(12,2)",
            Self::Numeric => "numeric",
            Self::Text | Self::Long => "text",
            Self::Varchar => "varchar(40)",
            Self::Char => "char(5)",
            Self::Bytes => "bytea",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::TimestampMs => "timestamp(3)",
            Self::Timestamptz => "timestamptz",
            Self::Interval => "interval",
            Self::Json => "json",
            Self::Jsonb => "jsonb",
            Self::Inet => "inet",
            Self::Ints => "integer[]",
            Self::Texts => "text[]",
            Self::Mood => "mood",
            Self::Positive => "positive",
        }
    }

    /// A random value as Postgres reads it, without quotes. The enum has `labels` labels.
    pub fn value(self, random: &mut Random, labels: u64) -> String {
        match self {
            Self::Bool => random.chance(500).to_string(),
            Self::Small => (random.bits() as i16).to_string(),
            Self::Int if random.chance(50) => i32::MIN.to_string(),
            Self::Int => (random.bits() as i32).to_string(),
            Self::Big if random.chance(50) => i64::MAX.to_string(),
            Self::Big => random.bits().cast_signed().to_string(),
            // Eighths within these bounds are printed in full by everybody.
            Self::Real | Self::Double => (random.below(160_000) as f64 / 8.0 - 10_000.0).to_string(),
            Self::Price => format!("{}.{:02}", random.below(1 << 30) as i64 - (1 << 29), random.below(100)),
            Self::Numeric => {
                let places = 1 + random.below(11) as u32;
                let fraction = random.below(10u64.pow(places));
                format!("{}.{fraction:0width$}", random.bits().cast_signed() / 3, width = places as usize)
            }
            Self::Text | Self::Varchar => text(random),
            Self::Long => (0..200 + random.below(300)).map(|_| format!("{:016x}", random.bits())).collect(),
            Self::Char => "abcde"[..random.below(6) as usize].to_owned(),
            Self::Bytes => {
                (0..random.below(24)).fold("\\x".to_owned(), |hex, _| hex + &format!("{:02x}", random.below(256)))
            }
            Self::Uuid => uuid(u128::from(random.bits()) << 64 | u128::from(random.bits())),
            Self::Date => date(random),
            Self::Time => time(random.below(DAY_US)),
            Self::Timestamp | Self::TimestampMs => format!("{} {}", date(random), time(random.below(DAY_US))),
            Self::Timestamptz => format!("{} {}+02", date(random), time(random.below(DAY_US))),
            Self::Interval => format!("{} days {}", random.below(1000), time(random.below(DAY_US))),
            Self::Json => format!("{{\"a\": {}.50,  \"b\": [null, \"\\u00e9\"]}}", random.below(1000)),
            Self::Jsonb => format!("{{\"z\": {}, \"a\": [true, 1.10]}}", random.below(1000)),
            Self::Inet => format!("10.{}.0.{}", random.below(256), random.below(256)),
            Self::Ints => format!("{{{},NULL,-{}}}", random.below(100), random.below(100)),
            Self::Texts => format!("{{\"a, \\\"b\\\"\",NULL,{}}}", random.below(100)),
            Self::Mood => format!("m{}", random.below(labels)),
            Self::Positive => (1 + random.below(1 << 30)).to_string(),
        }
    }

    /// An SQL expression, as text, of the value of `column` in the form of [`Kind::read`].
    pub fn told(self, column: &str) -> String {
        match self {
            Self::Price => format!("({column} * 100)::bigint::text"),
            // Zeros at the end of a number without a scale of its own say nothing, and are not sent.
            Self::Numeric => format!("trim_scale({column})::text"),
            Self::Bytes => format!(r"translate(encode({column}, 'base64'), E'\n', '')"),
            Self::Date => format!("({column} - date '1970-01-01')::text"),
            Self::Time | Self::Timestamp | Self::Interval => {
                format!("(extract(epoch from {column}) * 1000000)::bigint::text")
            }
            Self::TimestampMs => format!("(extract(epoch from {column}) * 1000)::bigint::text"),
            Self::Timestamptz => {
                format!(r#"to_char({column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')"#)
            }
            Self::Ints | Self::Texts => format!("to_json({column})::jsonb::text"),
            // Text as the output function prints it, which a cast does not for each type.
            _ => format!("case when {column} is not null then format('%s', {column}) end"),
        }
    }

    /// The value that a record carries, in a form in which it can be compared; the error names what is wrong with it.
    ///
    /// # Errors
    /// It is not in the form that the type has.
    pub fn read(self, value: &Value) -> Result<Option<String>, String> {
        if value.is_null() {
            return Ok(None);
        }
        let read = match self {
            Self::Bool => value.as_bool().map(|value| if value { "t" } else { "f" }.to_owned()),
            Self::Small | Self::Int | Self::Big | Self::Positive => value.as_i64().map(|value| value.to_string()),
            Self::Date | Self::Time | Self::Timestamp | Self::TimestampMs | Self::Interval => {
                value.as_i64().map(|value| value.to_string())
            }
            Self::Real => value.as_f64().map(|value| (value as f32).to_string()),
            Self::Double => value.as_f64().map(|value| value.to_string()),
            Self::Price => value.as_str().and_then(unscaled).map(|value| value.to_string()),
            Self::Numeric => numeric(value),
            Self::Timestamptz => value.as_str().and_then(instant),
            Self::Ints | Self::Texts => value.as_array().map(|_| spaced(value)),
            _ => value.as_str().map(str::to_owned),
        };
        read.map(Some).ok_or_else(|| format!("{value} is no {}", self.sql()))
    }
}

fn text(random: &mut Random) -> String {
    const WORDS: &[&str] =
        &["plain", "it's", "\\ back", "tab\t", "line\nbreak", "größer", "🙂", "\"quoted\"", "", "{}"];
    let mut word = || WORDS[random.below(WORDS.len() as u64) as usize];
    format!("{}{}{}", word(), word(), word())
}

fn date(random: &mut Random) -> String {
    format!("{}-{:02}-{:02}", 1700 + random.below(900), 1 + random.below(12), 1 + random.below(28))
}

fn time(us: u64) -> String {
    let s = us / 1_000_000;
    format!("{:02}:{:02}:{:02}.{:06}", s / 3600, s / 60 % 60, s % 60, us % 1_000_000)
}

/// A UUID of these bits.
pub(super) fn uuid(bits: u128) -> String {
    uuid::Uuid::from_u128(bits).to_string()
}

/// A decimal's digits as one whole number: big-endian, two's complement.
fn unscaled(text: &str) -> Option<i128> {
    let bytes = base64::decode(text)?;
    let first = bytes.first()?;
    let sign = if first & 0x80 == 0 { 0 } else { -1 };
    (bytes.len() <= 16).then(|| bytes.iter().fold(sign, |value, byte| value << 8 | i128::from(*byte)))
}

/// A decimal that brings its own scale.
fn numeric(value: &Value) -> Option<String> {
    let scale = usize::try_from(value.get("scale")?.as_i64()?).ok()?;
    let unscaled = unscaled(value.get("value")?.as_str()?)?;
    let (sign, digits) = (if unscaled < 0 { "-" } else { "" }, unscaled.unsigned_abs());
    if scale == 0 {
        return Some(format!("{sign}{digits}"));
    }
    let one = 10u128.checked_pow(u32::try_from(scale).ok()?)?;
    let text = format!("{sign}{}.{:0scale$}", digits / one, digits % one);
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

/// A moment in UTC, its fraction in six digits.
fn instant(text: &str) -> Option<String> {
    let text = text.strip_suffix('Z')?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    Some(format!("{seconds}.{fraction:0<6}"))
}

/// An array as `jsonb` prints it.
fn spaced(value: &Value) -> String {
    let items = value.as_array().into_iter().flatten().map(Value::to_string).collect::<Vec<_>>();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::random::Random;
    use crate::state::kind::Kind;

    #[test]
    fn what_records_carry_is_read_to_the_form_that_postgres_prints() {
        for (kind, value, read) in [
            (Kind::Bool, json!(true), "t"),
            (Kind::Price, json!("Cg=="), "10"),
            (Kind::Price, json!("/w=="), "-1"),
            (Kind::Numeric, json!({"scale": 2, "value": "/w=="}), "-0.01"),
            (Kind::Numeric, json!({"scale": 2, "value": "ZA=="}), "1"),
            (Kind::Numeric, json!({"scale": 0, "value": "AQA="}), "256"),
            (Kind::Real, json!(0.125), "0.125"),
            (Kind::Timestamptz, json!("2020-01-02T03:04:05.5Z"), "2020-01-02T03:04:05.500000"),
            (Kind::Timestamptz, json!("2020-01-02T03:04:05Z"), "2020-01-02T03:04:05.000000"),
            (Kind::Texts, json!(["a", null]), r#"["a", null]"#),
        ] {
            assert_eq!(kind.read(&value), Ok(Some(read.to_owned())), "{kind:?}");
        }
    }

    #[test]
    fn a_value_of_another_form_is_told() {
        for (kind, value) in [
            (Kind::Int, json!("1")),
            (Kind::Price, json!(1.5)),
            (Kind::Timestamptz, json!("2020-01-02T03:04:05+02")),
            (Kind::Texts, json!("{a}")),
        ] {
            assert!(kind.read(&value).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn every_kind_has_values() {
        let mut random = Random::new(1);
        for kind in Kind::ALL {
            let values: Vec<String> = (0..20).map(|_| kind.value(&mut random, 9)).collect();
            assert!(values.iter().any(|value| value != &values[0]), "{kind:?}");
        }
    }
}
