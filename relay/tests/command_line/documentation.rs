//! The documentation says what the program does: no metric is missing there, and none is invented.

use postrider_relay::telemetry::metrics;

#[test]
fn the_documentation_lists_every_metric_and_no_other() {
    let documentation = include_str!("../../../docs/operations.md");
    for metric in metrics::ALL {
        let row = format!("| `{}` | {} |\n", metric.name, metric.help);
        assert!(documentation.contains(&row), "docs/operations.md lacks this row:\n{row}");
    }
    let rows = documentation.lines().filter(|line| line.starts_with("| `postrider_")).count();
    assert_eq!(rows, metrics::ALL.len(), "docs/operations.md has rows of metrics that do not exist");
}
