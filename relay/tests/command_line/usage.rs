//! Wrong usage and wrong configuration: the place, the mend, exit code 2; and what needs no service at all.

use crate::command_line::program::Program;

const MINIMUM: &str = "[postgres]\ndatabase = \"shop\"\n\n[kafka]\nbootstrap_servers = \"localhost:9092\"\n";

#[test]
fn an_unknown_key_ends_with_2_and_names_the_line_and_the_known_key() {
    let program = Program::new();
    program.file("postrider.toml", &format!("{MINIMUM}liner_ms = 5\n"));
    let said = program.run(&["run"]);
    assert_eq!(said.code, 2);
    assert_eq!(
        said.error,
        "error: the configuration cannot be used\n\
         postrider.toml:6:1: unknown key `kafka.liner_ms`; did you mean `kafka.linger_ms`?\n"
    );
}

#[test]
fn an_unknown_variable_ends_with_2_and_names_the_known_one() {
    let program = Program::new().with("POSTRIDER_KAFKA_BOOTSTRAP_SERVER", "localhost:9092");
    program.file("postrider.toml", MINIMUM);
    let said = program.run(&["run"]);
    assert_eq!(said.code, 2);
    let expected =
        "POSTRIDER_KAFKA_BOOTSTRAP_SERVER: unknown variable; did you mean POSTRIDER_KAFKA_BOOTSTRAP_SERVERS?";
    assert!(said.error.contains(expected), "{}", said.error);
}

#[test]
fn a_configuration_file_that_is_named_and_missing_ends_with_2() {
    let program = Program::new();
    for arguments in [["--config", "other.toml", "run"], ["run", "--config", "other.toml"]] {
        let said = program.run(&arguments);
        assert_eq!(said.code, 2);
        assert!(said.error.contains("cannot read the configuration file other.toml: No such file"), "{}", said.error);
    }
    let said = Program::new().with("POSTRIDER_CONFIG", "third.toml").run(&["migrate"]);
    assert!(said.code == 2 && said.error.contains("third.toml"), "{said:?}");
}

#[test]
fn what_is_required_and_missing_ends_with_2_and_says_how_to_give_it() {
    let program = Program::new();
    program.file("postrider.toml", "[postgres]\ndatabase = \"shop\"\n");
    let said = program.run(&["run"]);
    assert_eq!(said.code, 2);
    let expected =
        "`kafka.bootstrap_servers` is required: set it in postrider.toml or by POSTRIDER_KAFKA_BOOTSTRAP_SERVERS\n";
    assert!(said.error.ends_with(expected), "{}", said.error);
}

#[test]
fn a_secret_file_that_cannot_be_read_ends_with_2_and_is_named() {
    let program = Program::new();
    let said = program.with("POSTRIDER_POSTGRES_PASSWORD_FILE", "/nowhere/secret").run(&["init"]);
    assert_eq!(said.code, 2);
    let expected = "POSTRIDER_POSTGRES_PASSWORD_FILE: `postgres.password_file` names /nowhere/secret, which cannot be read: No such file";
    assert!(said.error.contains(expected), "{}", said.error);
}

#[test]
fn wrong_usage_ends_with_2_and_shows_the_usage() {
    for arguments in [&[][..], &["walk"], &["run", "--fast"], &["init", "--writer-role", ""]] {
        let said = Program::new().run(arguments);
        assert_eq!(said.code, 2, "{arguments:?}");
        assert!(said.error.contains("Usage: postrider") || said.error.contains("--help"), "{}", said.error);
    }
}

#[test]
fn version_and_help_end_with_0() {
    let program = Program::new();
    assert_eq!(program.succeed(&["--version"]), format!("postrider {}\n", env!("CARGO_PKG_VERSION")));
    let help = program.succeed(&["--help"]);
    for verb in ["init", "migrate", "run"] {
        assert!(help.contains(&format!("\n  {verb} ")), "{help}");
        assert!(program.succeed(&[verb, "--help"]).contains("--config <PATH>"));
    }
}

#[test]
fn init_prints_the_sql_without_a_server_and_without_the_password() {
    let program = Program::new().with("POSTRIDER_POSTGRES_PASSWORD", "hunter2").with("POSTRIDER_SOURCE_SLOT", "mine");
    program.file("postrider.toml", "[postgres]\ndatabase = \"shop\"\nhost = \"/nowhere\"\n");
    let sql = program.succeed(&["init", "--print", "--writer-role", "Writers"]);
    let place = |part: &str| sql.find(part).unwrap_or_else(|| panic!("{part} is not in\n{sql}"));
    assert!(
        place("create publication \"postrider\"") < place("pg_create_logical_replication_slot('mine', 'pgoutput')")
    );
    assert!(place("create role \"Writers\" nologin;") < place("to \"Writers\";"));
    assert!(!sql.contains("hunter2"), "{sql}");
}

#[test]
fn where_the_log_is_json_an_error_that_ends_the_relay_is_a_line_of_it() {
    // The address belongs to no machine of ours, so nothing can listen there.
    let program = Program::new().with("POSTRIDER_LOG_FORMAT", "json").with("POSTRIDER_ADMIN_LISTEN", "192.0.2.1:8432");
    program.file("postrider.toml", MINIMUM);
    let said = program.run(&["run"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    let line: serde_json::Value = serde_json::from_str(said.error.lines().last().expect("a line")).expect("JSON");
    assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("ERROR"), Some("failed")));
    assert!(line["error"].as_str().is_some_and(|error| error.contains("192.0.2.1:8432")), "{line}");
    assert!(line["help"].as_str().is_some_and(|help| help.contains("[admin] listen")), "{line}");

    let said = program.with("POSTRIDER_LOG_FORMAT", "text").run(&["run"]);
    assert_eq!(said.code, 1);
    assert!(said.error.contains("error: ") && said.error.contains("\n  help: "), "{}", said.error);
}
