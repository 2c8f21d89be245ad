//! Dates and times: from what a value counts or says to what a column counts.

use crate::encode::native::calendar::{self, DAY_S, Instant};
use crate::encode::native::misfit::What;
use crate::encode::native::reading::{Reading, Unit};
use crate::encode::native::value::Value;

/// The seconds that `DateTime64` and `Date32` reach: from 1900 to the end of 2299,
/// <https://clickhouse.com/docs/sql-reference/data-types/datetime64>.
const SECONDS: std::ops::RangeInclusive<i64> = -2_208_988_800..=10_413_791_999;

/// The seconds that `Time` and `Time64` reach: 999:59:59 either way.
const TIME_MAX: i64 = 3_599_999;

/// Days since 1970, of a date that `Date32` holds.
pub(super) fn days(value: Value<'_>, reading: &Reading, round: bool) -> Result<i32, What> {
    let instant = instant(value, reading, true)?;
    if !round && (instant.seconds % DAY_S != 0 || instant.nanos != 0) {
        return Err(What::Precision);
    }
    in_range(instant)?;
    i32::try_from(instant.seconds.div_euclid(DAY_S)).map_err(|_| What::OutOfRange)
}

/// Seconds since 1970, of a time that `DateTime` holds.
pub(super) fn seconds(value: Value<'_>, reading: &Reading, round: bool) -> Result<u32, What> {
    let instant = instant(value, reading, false)?;
    if !round && instant.nanos != 0 {
        return Err(What::Precision);
    }
    u32::try_from(instant.seconds).map_err(|_| What::OutOfRange)
}

/// What `DateTime64` of so many digits counts.
pub(super) fn ticks(value: Value<'_>, reading: &Reading, digits: u32, round: bool) -> Result<i64, What> {
    let instant = instant(value, reading, false)?;
    in_range(instant)?;
    counted(instant, digits, round)
}

/// What `Time64` of so many digits counts; `Time` has none.
pub(super) fn time(value: Value<'_>, reading: &Reading, digits: u32, round: bool) -> Result<i64, What> {
    let (negative, time) = match value {
        Value::Text(text) => calendar::time_of_day(&text.decoded()?)?,
        Value::Number(number) => {
            let unit = match reading {
                Reading::Time(unit) => *unit,
                Reading::Captured => Unit::Microseconds,
                _ => return Err(What::Unit),
            };
            let count = integer(number)?;
            (count < 0, of_count(count.checked_abs().ok_or(What::OutOfRange)?, unit))
        }
        _ => return Err(What::Kind),
    };
    if time.seconds > TIME_MAX {
        return Err(What::OutOfRange);
    }
    let ticks = counted(time, digits, round)?;
    Ok(if negative { -ticks } else { ticks })
}

/// The point in time that a value is. A bare number is one if its unit is known, or, of a date, if it counts days.
fn instant(value: Value<'_>, reading: &Reading, is_date: bool) -> Result<Instant, What> {
    let number = match value {
        Value::Text(text) => return calendar::instant(&text.decoded()?),
        Value::Number(number) => number,
        _ => return Err(What::Kind),
    };
    let count = integer(number)?;
    // What `infinity` is where no number is left for it.
    if matches!(count, i64::MIN | i64::MAX) {
        return Err(What::OutOfRange);
    }
    match reading {
        Reading::Timestamp(unit) => Ok(of_count(count, *unit)),
        Reading::Captured if !is_date => Ok(of_count(count, Unit::Microseconds)),
        Reading::Captured | Reading::Days => {
            let seconds = count.checked_mul(DAY_S).ok_or(What::OutOfRange)?;
            Ok(Instant { seconds, nanos: 0 })
        }
        _ => Err(What::Unit),
    }
}

#[inline]
fn of_count(count: i64, unit: Unit) -> Instant {
    match unit {
        Unit::Seconds => split::<1>(count),
        Unit::Milliseconds => split::<1_000>(count),
        Unit::Microseconds => split::<1_000_000>(count),
        Unit::Nanoseconds => split::<1_000_000_000>(count),
    }
}

/// Of which so many are a second: dividing by what is known is quick.
#[inline]
fn split<const WHOLE: i64>(count: i64) -> Instant {
    let nanos = count.rem_euclid(WHOLE) * (1_000_000_000 / WHOLE);
    Instant { seconds: count.div_euclid(WHOLE), nanos: nanos as u32 }
}

fn in_range(instant: Instant) -> Result<(), What> {
    if SECONDS.contains(&instant.seconds) { Ok(()) } else { Err(What::OutOfRange) }
}

#[inline]
fn counted(instant: Instant, digits: u32, round: bool) -> Result<i64, What> {
    match digits {
        0 => ticked::<1>(instant, round),
        3 => ticked::<1_000>(instant, round),
        6 => ticked::<1_000_000>(instant, round),
        1 => ticked::<10>(instant, round),
        2 => ticked::<100>(instant, round),
        4 => ticked::<10_000>(instant, round),
        5 => ticked::<100_000>(instant, round),
        7 => ticked::<10_000_000>(instant, round),
        8 => ticked::<100_000_000>(instant, round),
        _ => ticked::<1_000_000_000>(instant, round),
    }
}

/// Of which so many are a second.
#[inline]
fn ticked<const WHOLE: i64>(instant: Instant, round: bool) -> Result<i64, What> {
    let (nanos, part) = (i64::from(instant.nanos), 1_000_000_000 / WHOLE);
    if !round && nanos % part != 0 {
        return Err(What::Precision);
    }
    let whole = instant.seconds.checked_mul(WHOLE).ok_or(What::OutOfRange)?;
    whole.checked_add(nanos / part).ok_or(What::OutOfRange)
}

fn integer(number: &str) -> Result<i64, What> {
    number.parse().map_err(|_| if number.contains(['.', 'e', 'E']) { What::Kind } else { What::OutOfRange })
}
