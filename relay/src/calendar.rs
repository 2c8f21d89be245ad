//! Days of the Gregorian calendar, counted from 1970-01-01, and back; the calendar is taken to have been there always, and
//! the year before 1 is 0. And moments, as people and programs write them.

/// Days of 400 years, after which the calendar repeats itself.
const ERA_DAYS: i64 = 146_097;

/// From the first of March of the year 0 to 1970-01-01. Years are taken to begin in March, so that the leap day is their last.
const EPOCH_DAYS: i64 = 719_468;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Milliseconds of a day, an hour, a minute and a second.
const UNITS: [(char, i64); 4] = [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000), ('s', 1000)];

/// Days from 1970-01-01 to a day, after Howard Hinnant:
/// <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>. Months and days count from 1.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS
}

/// The way back: year, month and day.
pub(crate) fn date(days: i64) -> (i64, u8, u8) {
    let days = days + EPOCH_DAYS;
    let (era, of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month as u8, day as u8)
}

/// How many days a month has; 0 for what is no month.
pub(crate) fn days_of_month(year: i64, month: u8) -> u8 {
    match month {
        2 if year % 4 != 0 || (year % 100 == 0 && year % 400 != 0) => 28,
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

/// A moment in milliseconds since 1970, as ISO 8601 in UTC.
#[must_use]
pub(crate) fn iso8601(ms: i64) -> String {
    let (day, of_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = date(day);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Reads a moment: a date, a date and time in UTC, or how long ago it was. In milliseconds since 1970, where `now_ms` is now.
///
/// # Errors
/// What would be one.
pub fn moment(text: &str, now_ms: i64) -> Result<i64, &'static str> {
    let wrong = "a moment is 2026-01-31, 2026-01-31T09:30:00Z, or how long ago it was, such as 90s, 30m, 2h or 7d";
    let ago = UNITS.iter().find_map(|(unit, ms)| {
        let number: i64 = text.strip_suffix(*unit)?.parse().ok().filter(|number| *number >= 0)?;
        now_ms.checked_sub(number.checked_mul(*ms)?)
    });
    if let Some(ago) = ago {
        return Ok(ago);
    }
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let numbers =
        |text: &str, by: char| text.split(by).map(|part| part.parse::<i64>().ok()).collect::<Option<Vec<_>>>();
    let date = numbers(date, '-').filter(|date| date.len() == 3).ok_or(wrong)?;
    let time = time.strip_suffix('Z').unwrap_or(time);
    let time = numbers(time, ':').filter(|time| matches!(time.len(), 2 | 3)).ok_or(wrong)?;
    let (year, month, day) = (date[0], date[1], date[2]);
    let (hour, minute, second) = (time[0], time[1], time.get(2).copied().unwrap_or_default());
    let ranges =
        [(year, 1970..=9999), (month, 1..=12), (day, 1..=31), (hour, 0..=23), (minute, 0..=59), (second, 0..=60)];
    if ranges.iter().any(|(value, range)| !range.contains(value)) {
        return Err(wrong);
    }
    Ok((days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_follows_the_one_before_it() {
        let first = days(-801, 1, 1);
        let (mut year, mut month, mut day) = (-801, 1, 1);
        for number in first..days(2801, 1, 1) {
            assert_eq!(date(number), (year, month, day));
            assert_eq!(days(year, i64::from(month), i64::from(day)), number);
            day += 1;
            if day > days_of_month(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!((days_of_month(2000, 13), days_of_month(2000, 0)), (0, 0));
    }

    #[test]
    fn moments_are_written_in_utc() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_760_783_445_123, "2025-10-18T10:30:45.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(iso8601(ms), text);
        }
    }
}
