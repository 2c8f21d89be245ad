//! Figures as people read them.

use std::time::Duration;

/// Bytes with a binary unit.
pub(crate) fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes.max(0.0), 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A duration in the two largest units that matter.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=59 => format!("{:.1} s", duration.as_secs_f64()),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Milliseconds, or a dash where nothing was measured.
pub(super) fn milliseconds(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_long_as_they_mean_something() {
        assert_eq!([bytes(0.0), bytes(1023.0), bytes(1536.0), bytes(3.0e9)], ["0 B", "1023 B", "1.5 KiB", "2.8 GiB"]);
        let of = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!([of(3), of(61), of(7_260), of(90_000)], ["3.0 s", "1 min 1 s", "2 h 1 min", "1 d 1 h"]);
        assert_eq!([milliseconds(None), milliseconds(Some(1.234))], ["-", "1.23"]);
    }
}
