//! `adopt`: what is written where, what is told, and what is refused; no service is needed.

use crate::command_line::program::Program;

const CONNECTOR: &str = r#"{"name": "o", "config": {
  "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "plugin.name": "pgoutput",
  "database.hostname": "db", "database.dbname": "shop", "database.user": "dbz", "database.password": "hunter2",
  "slot.name": "dbz", "table.include.list": "public.outboxevent", "topic.prefix": "shop",
  "key.converter": "org.apache.kafka.connect.storage.StringConverter",
  "value.converter": "org.apache.kafka.connect.storage.StringConverter",
  "transforms": "outbox", "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter"}}"#;

const ADOPT: [&str; 5] = ["adopt", "debezium", "connector.json", "--bootstrap-servers", "kafka:9092"];

#[test]
fn the_configuration_goes_to_standard_output_and_what_became_of_each_option_beside_it() {
    let program = Program::new();
    program.file("connector.json", CONNECTOR);
    let said = program.run(&ADOPT);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.starts_with("# Taken over from the Debezium connector \"o\"") && said.out.contains("slot = \"dbz\"\n"),
        "{}",
        said.out
    );
    for word in ["taken over     slot.name: source.slot = \"dbz\"\n", "To take over:\n", "postrider check"] {
        assert!(said.error.contains(word), "{word} is not said in {}", said.error);
    }
    assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
}

#[test]
fn a_file_that_is_there_is_kept() {
    let program = Program::new();
    program.file("connector.json", CONNECTOR);
    let arguments: Vec<&str> = ADOPT.into_iter().chain(["--write", "postrider.toml"]).collect();
    assert_eq!(program.run(&arguments).code, 0);
    let written = std::fs::read_to_string(program.folder().join("postrider.toml")).expect("it was written");
    assert!(written.contains("password_file = "), "{written}");
    let said = program.run(&arguments);
    assert_eq!(said.code, 1);
    assert!(said.error.contains("error: cannot write postrider.toml"), "{}", said.error);
}

#[test]
fn what_cannot_be_taken_over_is_told_and_nothing_is_written() {
    let program = Program::new();
    program.file("connector.json", &CONNECTOR.replace("pgoutput", "decoderbufs"));
    let said = program.run(&ADOPT);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.error.contains("not supported  plugin.name: a slot of the plugin decoderbufs"), "{}", said.error);
    assert!(said.error.ends_with("error: some options cannot be taken over: nothing was written\n"), "{}", said.error);

    program.file("connector.json", "{\"database.password\": \"hunter2\", oops}");
    let said = program.run(&ADOPT);
    assert_eq!(said.code, 1);
    assert!(
        said.error.contains("cannot read the connector connector.json\n  caused by: not valid JSON at line 1"),
        "{}",
        said.error
    );
    assert!(!said.error.contains("hunter2"), "{}", said.error);
}

#[test]
fn the_way_back_is_a_connector_and_what_position_it_will_see() {
    let program = Program::new().with("POSTRIDER_POSTGRES_PASSWORD", "hunter2");
    program.file("postrider.toml", "[postgres]\ndatabase = 'shop'\n\n[kafka]\nbootstrap_servers = 'k:9092'\n");
    let said = program.run(&["adopt", "debezium", "--back"]);
    assert_eq!(said.code, 0, "{said:?}");
    let connector: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(connector["config"]["slot.name"], "postrider");
    assert!(said.error.contains("confirmed_flush_lsn") && said.error.contains("postrider-position"), "{}", said.error);
    assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
    assert_eq!(program.run(&["adopt", "debezium"]).code, 2, "a file or --back");
}
