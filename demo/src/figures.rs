//! Figures of a benchmark: medians, ratios and spreads, taken and written everywhere alike.

use std::fmt;
use std::time::Duration;

/// The median of a few figures; 0 if there are none. Of an even number, the mean of the middle two.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// To three digits after the point: finer is not measured.
pub fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// Milliseconds, as fine as figures are.
pub fn ms(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1000.0)
}

/// The median of the rounds' own ratios: a machine that slows down from round to round slows both.
pub fn median_ratio(rates: &[f64], yardstick: &[f64]) -> f64 {
    median(&rates.iter().zip(yardstick).map(|(rate, yardstick)| rate / yardstick).collect::<Vec<_>>())
}

/// The least and the greatest of some rates.
pub fn spread(rates: &[f64]) -> (f64, f64) {
    (rates.iter().copied().fold(f64::INFINITY, f64::min), rates.iter().copied().fold(0.0, f64::max))
}

/// A line of a table: who, the median of his rates, the slowest and the fastest.
pub fn write_rates(f: &mut fmt::Formatter<'_>, who: &str, rates: &[f64]) -> fmt::Result {
    let (slowest, fastest) = spread(rates);
    writeln!(f, "  {who:<28} {:>14.0} {slowest:>12.0} {fastest:>12.0}", median(rates))
}

/// A figure beside the one that is wanted, and whether it is met; `sign` is `≥` or `≤`.
pub fn write_wanted(f: &mut fmt::Formatter<'_>, what: &str, figure: f64, sign: &str, wanted: f64) -> fmt::Result {
    let met = if sign == "≥" { figure >= wanted } else { figure <= wanted };
    writeln!(f, "  {what:<28} {figure:>8.2}   wanted {sign} {wanted:<6} {}", if met { "met" } else { "NOT MET" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_one_outlier() {
        assert_eq!(median(&[1.0, 100.0, 2.0]), 2.0);
        assert_eq!(median(&[1.0, 3.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }
}
