//! `check` where nothing answers: what it says, in which form, and with which exit code.

use crate::command_line::program::Program;

/// A place where nothing listens.
fn nowhere() -> Program {
    let program = Program::new();
    let folder = program.folder().to_str().expect("a path of text").to_owned();
    program
        .with("POSTRIDER_POSTGRES_HOST", folder)
        .with("POSTRIDER_POSTGRES_DATABASE", "shop")
        .with("POSTRIDER_POSTGRES_PASSWORD", "hunter2")
        .with("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
}

#[test]
fn database_and_broker_are_both_looked_at_though_neither_answers() {
    let said = nowhere().run(&["check"]);
    assert_eq!(said.code, 1);
    for word in
        ["error[postgres-unreachable]: ", "error[broker-unreachable]: ", "\n  why: ", "\n  mend: ", "127.0.0.1:1"]
    {
        assert!(said.out.contains(word), "{word} is not said in {}", said.out);
    }
    assert_eq!(said.error, "error: the check found 2 errors and 0 warnings\n");
    assert!(!said.out.contains("hunter2"), "{}", said.out);
}

#[test]
fn findings_are_an_array_of_json_for_programs() {
    let said = nowhere().run(&["check", "--output", "json"]);
    let findings: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    let codes: Vec<_> = findings.as_array().expect("an array").iter().map(|finding| &finding["code"]).collect();
    assert_eq!(codes, ["postgres-unreachable", "broker-unreachable"]);
    assert_eq!(findings[0]["severity"], "error");
    assert!(findings[0]["mend"][0]["text"].is_string() && findings[0]["mend"][0]["kind"] == "words", "{findings}");
}

#[test]
fn a_configuration_that_is_wrong_ends_with_2_and_nothing_is_looked_at() {
    let said = nowhere().with("POSTRIDER_SOURCE_SLOT", "Not A Slot").run(&["check"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert!(said.error.contains("POSTRIDER_SOURCE_SLOT: `source.slot` must be"), "{}", said.error);
    let said = nowhere().run(&["check", "--output", "xml"]);
    assert_eq!(said.code, 2);
}
