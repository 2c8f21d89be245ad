//! Days of the Gregorian calendar, counted from 1970-01-01, and back; the calendar is taken to have been there always, and
//! the year before 1 is 0.

/// Days of 400 years, after which the calendar repeats itself.
const ERA_DAYS: i64 = 146_097;

/// From the first of March of the year 0 to 1970-01-01. Years are taken to begin in March, so that the leap day is their last.
const EPOCH_DAYS: i64 = 719_468;

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
}
