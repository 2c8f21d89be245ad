//! The alert rules are rules, and each fires when it should.

use std::path::PathBuf;

use xtask::services::Progress;
use xtask::services::promtool::{check, promtool};

fn deploy() -> PathBuf {
    xtask::root().join("deploy")
}

#[test]
fn the_alert_rules_are_valid_and_their_tests_pass() {
    let promtool = promtool(&Progress::silent()).expect("promtool is installed or can be fetched");
    let said = check(&promtool, &deploy(), &["check", "rules", "alerts.yml"]).unwrap();
    assert!(said.contains("rules found"), "{said}");
    check(&promtool, &deploy(), &["test", "rules", "alerts_test.yml"]).unwrap();
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_a_line_in_the_manual() {
    let read = |path: &str| std::fs::read_to_string(xtask::root().join(path)).unwrap();
    let (rules, tests, manual) =
        (read("deploy/alerts.yml"), read("deploy/alerts_test.yml"), read("docs/operations.md"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 8, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(alert), "{alert} has no test");
        assert!(manual.contains(&format!("`{alert}`")), "{alert} is not in docs/operations.md");
    }
}

#[test]
fn a_rule_that_is_wrong_is_found() {
    let promtool = promtool(&Progress::silent()).expect("promtool is installed or can be fetched");
    let folder = std::env::temp_dir().join(format!("postrider-alerts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let rules = "groups: [{name: g, rules: [{alert: A, expr: postrider_up == }]}]";
    std::fs::write(folder.join("alerts.yml"), rules).unwrap();
    let error = check(&promtool, &folder, &["check", "rules", "alerts.yml"]).unwrap_err();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(error.contains("alerts.yml"), "{error}");
}
