//! One reading of `/metrics`: [the text format](https://prometheus.io/docs/instrumenting/exposition_formats/), as far as
//! the relay writes it.

use std::collections::BTreeMap;

/// The values of one moment, by name and labels as they are written.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sample(BTreeMap<String, f64>);

impl Sample {
    /// Reads the text; a line that is none of the relay's is passed over.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| line.starts_with("postrider_"));
        Self(
            lines
                .filter_map(|line| line.rsplit_once(' '))
                .filter_map(|(name, value)| Some((name.into(), value.parse().ok()?)))
                .collect(),
        )
    }

    /// Whether it holds nothing of a relay.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a metric; the sum over its labels if it has some, 0 if it has not counted yet.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.get(name).unwrap_or(0.0)
    }

    /// The value of a metric, if this relay has it.
    pub(super) fn get(&self, name: &str) -> Option<f64> {
        self.named(name).map(|(_, value)| value).reduce(|sum, value| sum + value)
    }

    /// The buckets of the histogram `name`, less those of `before`, as rising bounds with what was observed up to each.
    /// `label` is a whole label such as `stage="read"`, or empty.
    pub(super) fn buckets(&self, before: &Self, name: &str, label: &str) -> Vec<(f64, f64)> {
        let counted = |(series, count): (&str, f64)| {
            let (_, bound) = series.split_once("le=\"")?;
            let bound = match bound.split('"').next()? {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().ok()?,
            };
            Some((bound, count - before.0.get(series).copied().unwrap_or(0.0)))
        };
        let of_label = |(series, _): &(&str, f64)| label.is_empty() || series.contains(label);
        let mut buckets: Vec<_> = self.named(&format!("{name}_bucket")).filter(of_label).filter_map(counted).collect();
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        buckets
    }

    fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = (&'s str, f64)> {
        let exactly =
            move |series: &str| series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        self.0.iter().map(|(series, value)| (series.as_str(), *value)).filter(move |(series, _)| exactly(series))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP postrider_up text\npostrider_up 1\npostrider_errors_total{end=\"sink\"} 2\n\
        postrider_errors_total{end=\"source\"} 3\nother 9\n\
        postrider_stage_seconds_bucket{stage=\"read\",le=\"+Inf\"} 8\n\
        postrider_stage_seconds_bucket{stage=\"read\",le=\"0.01\"} 6\n\
        postrider_stage_seconds_bucket{stage=\"shape\",le=\"0.01\"} 1\n";

    #[test]
    fn a_metric_with_labels_is_their_sum_and_one_that_is_not_there_is_told() {
        let sample = Sample::parse(TEXT);
        assert_eq!((sample.sum("postrider_errors_total"), sample.get("postrider_up")), (5.0, Some(1.0)));
        assert_eq!((sample.get("postrider_error"), sample.sum("other")), (None, 0.0));
    }

    #[test]
    fn buckets_are_those_of_one_label_in_rising_order_since_the_sample_before() {
        let before = Sample::parse("postrider_stage_seconds_bucket{stage=\"read\",le=\"0.01\"} 5\n");
        let buckets = Sample::parse(TEXT).buckets(&before, "postrider_stage_seconds", "stage=\"read\"");
        assert_eq!(buckets, [(0.01, 1.0), (f64::INFINITY, 8.0)]);
    }
}
