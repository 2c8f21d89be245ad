//! Tables of right and wrong configurations, and arbitrary text.

use std::{net::SocketAddr, time::Duration};

use proptest::prelude::*;

use super::{
    error::Origin,
    kafka::Compression,
    key::{Fallback, Key, Kind},
    log::Format,
    outbox::TableName,
    postgres::{ChannelBinding, Host, Server, Target, Tls, TlsMode},
    secret::Secret,
    *,
};

pub(super) const NAME: &str = "postrider.toml";
const MINIMUM: &str = "postgres.database = \"shop\"\nkafka.bootstrap_servers = \"localhost:9092\"\n";

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn secrets(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("/run/secret") => Ok("from the file\n".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

pub(super) fn parse(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::parse(NAME, text, variables(pairs), secrets)
}

/// Parses `extra` beside what is required.
pub(super) fn parse_with(extra: &str) -> Result<Config, ConfigError> {
    parse(&format!("{MINIMUM}{extra}"), &[])
}

pub(super) fn tcp(name: &str, port: u16) -> Server {
    Server { host: Host::Tcp(name.to_owned()), port }
}

pub(super) fn errors(result: Result<Config, ConfigError>) -> Vec<String> {
    let error = result.expect_err("the configuration should be refused");
    error.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn two_keys_suffice_and_everything_else_has_its_documented_default() {
    let config = parse(MINIMUM, &[]).unwrap();
    assert_eq!(config.postgres.servers, [Server { host: Host::Socket("/var/run/postgresql".into()), port: 5432 }]);
    assert_eq!((config.postgres.target, &config.postgres.passfile), (Target::Any, &None));
    assert_eq!(config.postgres.tls, Tls { mode: TlsMode::Prefer, ca_file: None, identity: None });
    assert_eq!((config.postgres.channel_binding, config.postgres.tcp_user_timeout), (ChannelBinding::Prefer, None));
    assert_eq!((config.postgres.database.as_str(), config.postgres.user.as_str()), ("shop", "postrider"));
    assert_eq!(config.postgres.password, None);
    assert_eq!(config.postgres.connect_timeout, Duration::from_secs(10));
    assert_eq!((config.source.slot.as_str(), config.source.publication.as_str()), ("postrider", "postrider"));
    assert_eq!(config.source.in_flight_bytes_max, 16 * 1024 * 1024);
    assert_eq!(config.outboxes[0].table.as_ref().unwrap().to_string(), "public.outbox_events");
    assert_eq!(config.outboxes[0].topic, "outbox.event.{aggregate_type}");
    assert_eq!(config.outboxes[0].columns.headers.as_deref(), Some("headers"));
    assert_eq!(config.kafka.bootstrap_servers, "localhost:9092");
    assert_eq!(config.kafka.progress_topic, "postrider.progress");
    assert_eq!(config.kafka.progress_replication_factor, -1);
    assert_eq!(config.kafka.queue_bytes_max, 16 * 1024 * 1024);
    assert_eq!(config.kafka.linger, Duration::ZERO);
    assert_eq!(config.kafka.compression, Compression::Lz4);
    assert_eq!(config.process.admin.listen, Some(SocketAddr::from(([127, 0, 0, 1], 8432))));
    assert_eq!(config.process.shutdown.drain_deadline, Duration::from_secs(10));
    assert_eq!(
        (config.process.retry.initial, config.process.retry.max),
        (Duration::from_millis(100), Duration::from_secs(10))
    );
    assert_eq!((config.process.log.format, config.process.log.level.as_str()), (Format::Text, "info"));
}

#[test]
fn every_key_can_be_set_in_the_file_and_overridden_by_its_variable() {
    let text = r#"
        [postgres]
        host = "db.example"
        port = 6543
        database = "shop"
        user = "relay"
        password_file = "/run/secret"

        [outbox]
        table = 'sales."Outbox"'

        [outbox.columns]
        payload_bytes = ""

        [kafka]
        bootstrap_servers = "a:9092, [::1]:9093"
        linger_ms = 0.5
        compression = "none"

        [kafka.properties]
        socket.keepalive.enable = true
        "socket.timeout.ms" = 7000

        [admin]
        listen = ""

        [log]
        format = "json"
    "#;
    let config = parse(
        text,
        &[
            ("POSTRIDER_POSTGRES_PORT", "7654"),
            ("POSTRIDER_KAFKA_LINGER_MS", "2"),
            ("POSTRIDER_KAFKA_PROPERTIES", "socket.timeout.ms = 9000; broker.address.family=v4"),
            ("POSTRIDER_ADMIN_LISTEN", "[::1]:0"),
            ("HOME", "/nowhere"),
        ],
    )
    .unwrap();
    assert_eq!(config.postgres.servers, [tcp("db.example", 7654)]);
    assert_eq!(config.postgres.password, Some(Secret::new("from the file")));
    assert_eq!(config.outboxes[0].table, Some(TableName { schema: "sales".to_owned(), name: "Outbox".to_owned() }));
    assert_eq!(config.outboxes[0].columns.payload_bytes, None);
    assert_eq!(config.kafka.linger, Duration::from_millis(2));
    assert_eq!(config.kafka.compression, Compression::None);
    let properties: Vec<_> = config.kafka.properties.iter().collect();
    let expected =
        [("broker.address.family", "v4"), ("socket.keepalive.enable", "true"), ("socket.timeout.ms", "9000")];
    assert_eq!(properties, expected);
    assert_eq!(config.process.admin.listen, Some("[::1]:0".parse().unwrap()));
    assert_eq!(config.process.log.format, Format::Json);
}

#[test]
fn an_unknown_key_names_file_line_column_and_the_nearest_known_key() {
    for (text, expected) in [
        ("\n[kafka]\nliner_ms = 1", "3:1: unknown key `kafka.liner_ms`; did you mean `kafka.linger_ms`?"),
        ("  sauce.slot = 'a'", "1:3: unknown key `sauce`; did you mean `source`?"),
        ("[outbox.column]\nid = 'a'", "1:9: unknown key `outbox.column`; did you mean `outbox.columns`?"),
        ("# é\n[mysql]\nurl = 'a'", "2:2: unknown key `mysql`; docs/configuration.md lists every key"),
        ("log = 3", "1:1: `log` is a section: write [log] and its keys below"),
    ] {
        let required = [("POSTRIDER_POSTGRES_DATABASE", "d"), ("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "a:1")];
        assert_eq!(errors(parse(text, &required)), [format!("{NAME}:{expected}")], "{text}");
    }
}

#[test]
fn a_value_of_the_wrong_type_or_range_says_where_which_key_and_what_is_allowed() {
    for (extra, expected) in [
        ("postgres.port = 70000", "`postgres.port` must be a whole number from 1 to 65535"),
        ("postgres.port = '5432'", "`postgres.port` must be a whole number from 1 to 65535, not a string"),
        (
            "postgres.port = 99999999999999999999",
            "`postgres.port` must be a whole number from 1 to 65535, not an integer too large",
        ),
        ("postgres.password = 5", "`postgres.password` must be a string, not an integer"),
        ("kafka.linger_ms = 100.5", "`kafka.linger_ms` must be a number from 0 to 100"),
        ("kafka.linger_ms = nan", "`kafka.linger_ms` must be a number from 0 to 100"),
        ("kafka.compression = 'zstd'", "`kafka.compression` must be one of \"lz4\", \"none\""),
        (
            "kafka.progress_replication_factor = 0",
            "`kafka.progress_replication_factor` must be -1 for the broker's default, or at least 1",
        ),
        (
            "kafka.progress_replication_factor = '3'",
            "`kafka.progress_replication_factor` must be a whole number from -1 to 100, not a string",
        ),
        ("kafka.properties = 5", "`kafka.properties` must be a table of strings, numbers or booleans, not an integer"),
        ("kafka.properties.a.b = []", "`kafka.properties.a.b` must be a string, a number or a boolean, not an array"),
        (
            "kafka.properties.acks = 1",
            "`kafka.properties.acks` is set by the relay: an event counts as delivered only when every in-sync replica has it",
        ),
        (
            "kafka.properties.max.in.flight = 1",
            "`kafka.properties.max.in.flight` is set by the relay: order for each key rests on it",
        ),
        ("kafka.properties.linger.ms = 1", "`kafka.properties.linger.ms` is set by the relay: set kafka.linger_ms"),
        ("source.slot = 'My-Slot'", "`source.slot` must be 1 to 63 lower-case letters, digits and underscores"),
        (
            "outbox.table = 'outbox_events'",
            "`outbox.table` must be a schema and a table joined by a dot, with double quotes around a name that is not plain lower case",
        ),
        (
            "outbox.topic = 'a.{aggregate}'",
            "`outbox.topic` must be letters, digits, `.`, `_`, `-` and the placeholders {aggregate_type}, {aggregate_id}, {event_type}, {id} and {column:name}",
        ),
        (
            "outbox.columns.payload = 'id'",
            "`outbox.columns.payload` names the same column as `outbox.columns.id`: each needs its own",
        ),
        ("retry.max_ms = 50", "`retry.max_ms` must not be less than `retry.initial_ms`"),
        (
            "admin.listen = 'localhost'",
            "`admin.listen` must be an IP address and a port, such as 127.0.0.1:8432 or [::1]:8432, or \"\" for none",
        ),
        (
            "log.level = 'verbose'",
            "`log.level` must be one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ),
    ] {
        let column = extra.find('=').unwrap() + 3;
        assert_eq!(errors(parse_with(extra)), [format!("{NAME}:3:{column}: {expected}")], "{extra}");
    }
}

#[test]
fn text_that_is_not_toml_names_the_place_and_does_not_show_the_line() {
    let [problem] = errors(parse_with("postgres.password = \"hunter2")).try_into().unwrap();
    assert!(problem.starts_with("postrider.toml:3:"), "{problem}");
    assert!(!problem.contains("hunter2"), "{problem}");
}

#[test]
fn a_bad_variable_is_named_with_what_would_be_right() {
    for (name, value, expected) in [
        (
            "POSTRIDER_KAFKA_LINGERMS",
            "1",
            "POSTRIDER_KAFKA_LINGERMS: unknown variable; did you mean POSTRIDER_KAFKA_LINGER_MS?",
        ),
        (
            "POSTRIDER_XYZ",
            "1",
            "POSTRIDER_XYZ: unknown variable; docs/configuration.md lists every variable that begins with POSTRIDER_",
        ),
        (
            "POSTRIDER_POSTGRES_PORT",
            "x",
            "POSTRIDER_POSTGRES_PORT: `postgres.port` must be a whole number from 1 to 65535",
        ),
        (
            "POSTRIDER_KAFKA_PROPERTIES",
            "a=1;b",
            "POSTRIDER_KAFKA_PROPERTIES: entry 2 has no `=`: write name=value, separated by `;` or line breaks",
        ),
        (
            "POSTRIDER_KAFKA_PROPERTIES",
            "acks=1",
            "POSTRIDER_KAFKA_PROPERTIES: `kafka.properties.acks` is set by the relay: an event counts as delivered only when every in-sync replica has it",
        ),
    ] {
        assert_eq!(errors(parse(MINIMUM, &[(name, value)])), [expected]);
    }
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_called_postrider_are_not_ours() {
    for (name, value) in [
        ("POSTRIDER_SERVICE_HOST", "10.0.0.1"),
        ("POSTRIDER_SERVICE_PORT", "8432"),
        ("POSTRIDER_SERVICE_PORT_ADMIN", "8432"),
        ("POSTRIDER_PORT", "tcp://10.0.0.1:8432"),
        ("POSTRIDER_PORT_8432_TCP", "tcp://10.0.0.1:8432"),
        ("POSTRIDER_PORT_8432_TCP_ADDR", "10.0.0.1"),
        ("POSTRIDER_CONSOLE_PORT_80_TCP_PROTO", "tcp"),
    ] {
        assert!(parse(MINIMUM, &[(name, value)]).is_ok(), "{name}");
    }
    assert!(parse(MINIMUM, &[("POSTRIDER_POSTGRESS_PORT", "5432")]).is_err());
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_refused_by_name() {
    use std::os::unix::ffi::OsStringExt;

    let variable = ("POSTRIDER_LOG_LEVEL".into(), OsString::from_vec(vec![0xff]));
    let error = Config::parse(NAME, MINIMUM, [variable], secrets).unwrap_err();
    assert_eq!(error.to_string(), "POSTRIDER_LOG_LEVEL: the value is not valid UTF-8");
}

#[test]
fn what_is_required_and_missing_names_both_ways_to_set_it() {
    assert_eq!(
        errors(parse("", &[])),
        [
            "`kafka.bootstrap_servers` is required: set it in postrider.toml or by POSTRIDER_KAFKA_BOOTSTRAP_SERVERS",
            "`postgres.database` is required: set it in postrider.toml or by POSTRIDER_POSTGRES_DATABASE",
        ]
    );
}

#[test]
fn the_debug_form_shows_no_secret() {
    let config = parse_with("postgres.password = 'hunter2'\nkafka.properties.sasl.password = 'hunter3'").unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("[redacted]") && shown.contains("sasl.password"), "{shown}");
    assert!(!shown.contains("hunter"), "{shown}");
}

#[test]
fn all_mistakes_of_one_start_are_reported_together_in_the_order_of_the_file() {
    let found = errors(parse("log.level = 'loud'\npostgres.port = 0\n", &[("POSTRIDER_NOPE", "")]));
    let places: Vec<_> = found.iter().map(|line| line.split_once(": ").unwrap().0).collect();
    assert_eq!(places[..3], ["postrider.toml:1:13", "postrider.toml:2:17", "POSTRIDER_NOPE"]);
    assert_eq!(found.len(), 5, "two required keys are missing too: {found:?}");
}

#[test]
fn a_file_that_is_named_must_be_there_and_the_default_file_need_not() {
    let error = Config::load(Some(Path::new("/nowhere/p.toml")), []).unwrap_err();
    let expected = "cannot read the configuration file /nowhere/p.toml: ";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert_eq!(error.problems()[0].origin(), &Origin::Nowhere);

    let environment = variables(&[("POSTRIDER_POSTGRES_DATABASE", "d"), ("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "a:1")]);
    assert_eq!(Config::load(None, environment).unwrap().postgres.database, "d");
}

#[test]
fn no_two_keys_share_a_path_or_a_variable_and_every_default_is_allowed() {
    let mut variables: Vec<String> = key::all().map(Key::variable).collect();
    let count = variables.len();
    variables.sort();
    variables.dedup();
    assert_eq!(variables.len(), count);
    for key in key::all() {
        let allowed = match (key.fallback, key.kind) {
            (Fallback::Value(text), Kind::Integer { min, max }) => (min..=max).contains(&text.parse().unwrap()),
            (Fallback::Value(text), Kind::Number { min, max }) => (min..=max).contains(&text.parse().unwrap()),
            (Fallback::Value(text), Kind::Choice(words)) => words.contains(&text),
            (Fallback::Value(text), Kind::Boolean) => text.parse::<bool>().is_ok(),
            (Fallback::Value(_), Kind::Secret | Kind::Properties) => false,
            _ => true,
        };
        assert!(allowed, "{}", key.path);
    }
}

/// The tables of `docs/configuration.md` are this text, so that they cannot differ from what the program does.
#[test]
fn the_documentation_lists_every_key_with_its_variable_values_and_default() {
    let documentation = include_str!("../../../docs/configuration.md");
    let mut section = "";
    for key in key::all() {
        let (of_key, name) = key.path.rsplit_once('.').unwrap();
        if of_key != section {
            section = of_key;
            assert!(documentation.contains(&format!("\n## `[{section}]`\n")), "no heading for [{section}]");
        }
        let default = match key.fallback {
            Fallback::Value("") => "`\"\"`".to_owned(),
            Fallback::Value(value) => format!("`{value}`"),
            Fallback::Absent(meaning) => format!("none: {meaning}"),
            Fallback::Required => "**required**".to_owned(),
        };
        let row =
            format!("| `{name}` | `{}` | {} | {default} | {} |\n", key.variable(), key.kind.allowed(), key.meaning);
        assert!(documentation.contains(&row), "docs/configuration.md lacks this row:\n{row}");
    }
    assert!(documentation.contains("\n## `[outboxes.NAME]`\n"), "no heading for further outboxes");
    let rows = documentation.lines().filter(|line| line.contains("| `POSTRIDER_")).count();
    assert_eq!(rows, key::all().count(), "docs/configuration.md has rows of keys that do not exist");
}

proptest! {
    #[test]
    fn no_text_and_no_variable_can_make_it_panic(
        text in any::<String>(),
        pairs in proptest::collection::vec((any::<String>(), any::<String>()), 0..4),
    ) {
        let pairs = pairs.into_iter().map(|(name, value)| (format!("POSTRIDER_{name}").into(), value.into()));
        let _ = Config::parse(NAME, &text, pairs, secrets);
    }

    #[test]
    fn no_value_of_a_known_key_can_make_it_panic(
        index in any::<proptest::sample::Index>(),
        value in prop_oneof!["[ -~]{0,40}", any::<String>()],
    ) {
        let keys: Vec<_> = key::all().collect();
        let key = keys[index.index(keys.len())];
        let _ = Config::parse(NAME, MINIMUM, [(key.variable().into(), value.clone().into())], secrets);
        let quoted = toml::Value::String(value).to_string();
        for quoted in [quoted, "9223372036854775807".to_owned(), "-inf".to_owned(), "[[1]]".to_owned()] {
            let _ = Config::parse(NAME, &format!("{} = {quoted}\n", key.path), [], secrets);
        }
    }
}
