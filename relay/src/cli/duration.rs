//! Lengths of time as options take them, such as `2s`.

use std::time::Duration;

/// Reads a whole number and its unit: `ms`, `s`, `m`, `h` or `d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a whole number and one of d, h, m, s and ms, such as 7d".to_owned();
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?);
    let number = u64::from(number.parse::<u32>().map_err(|_| wrong())?);
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        "d" => Ok(Duration::from_secs(number * 86_400)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_number_and_a_unit() {
        for (text, ms) in
            [("7d", 604_800_000), ("12h", 43_200_000), ("30m", 1_800_000), ("0s", 0), ("15s", 15_000), ("250ms", 250)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)));
        }
        for text in ["", "7", "d", "-1d", "7 d", "1w", "99999999999d", "7ü", "1.5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
