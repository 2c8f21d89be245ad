//! Tables of right and wrong ways to say where the database is and how safe the way must be.

use super::*;
use crate::config::tests::{NAME, errors, parse, parse_with, tcp};

#[test]
fn a_url_stands_for_the_single_keys_and_the_stronger_source_wins() {
    let brokers = "kafka.bootstrap_servers = 'a:1'\n";
    let url = |url: &str| format!("{brokers}postgres.url = '{url}'\n");
    let config = parse(&url("postgres://ann:p%40ss@db:99/shop?sslmode=disable"), &[]).unwrap().postgres;
    assert_eq!(config.servers, [tcp("db", 99)]);
    assert_eq!((config.user.as_str(), config.database.as_str()), ("ann", "shop"));
    assert_eq!((config.password, config.tls.mode), (Some(Secret::new("p@ss")), TlsMode::Disable));

    let socket = parse(&url("postgresql:///shop?host=/tmp/pg"), &[]).unwrap().postgres;
    assert_eq!(socket.servers, [Server { host: Host::Socket("/tmp/pg".into()), port: 5432 }]);
    assert_eq!(socket.user, "postrider");

    let text = url("postgres://db:99/shop?sslmode=verify-full");
    let overrides = [
        ("POSTRIDER_POSTGRES_DATABASE", "other"),
        ("POSTRIDER_POSTGRES_PORT", "98"),
        ("POSTRIDER_POSTGRES_TLS", "prefer"),
    ];
    let overridden = parse(&text, &overrides).unwrap().postgres;
    assert_eq!((overridden.servers, overridden.database.as_str()), (vec![tcp("db", 98)], "other"));
    assert_eq!(overridden.tls.mode, TlsMode::Prefer);

    let file = format!("{brokers}postgres.host = 'x'\npostgres.password = 'old'\n");
    let replaced = parse(&file, &[("POSTRIDER_POSTGRES_URL", "postgres://u:new@y/shop")]).unwrap().postgres;
    assert_eq!((replaced.servers, replaced.password), (vec![tcp("y", 5432)], Some(Secret::new("new"))));
}

#[test]
fn several_hosts_have_their_own_ports_or_the_common_one_and_mean_the_one_that_takes_writes() {
    let several = parse_with("postgres.host = 'a, b:5433,[::1]:5434'\npostgres.port = 6000\n").unwrap().postgres;
    assert_eq!(several.servers, [tcp("a", 6000), tcp("b", 5433), tcp("::1", 5434)]);
    assert_eq!(several.target, Target::ReadWrite);
    let chosen = parse_with("postgres.host = 'a,b'\npostgres.target_session_attrs = 'standby'\n").unwrap().postgres;
    assert_eq!(chosen.target, Target::Standby);

    let brokers = "kafka.bootstrap_servers = 'a:1'\n";
    let url = "postgres://a:1,b/shop?target_session_attrs=primary&connect_timeout=3&tcp_user_timeout=5000";
    let in_url = parse(&format!("{brokers}postgres.url = '{url}'\n"), &[]).unwrap().postgres;
    assert_eq!((in_url.servers, in_url.target), (vec![tcp("a", 1), tcp("b", 5432)], Target::Primary));
    assert_eq!(in_url.connect_timeout, Duration::from_secs(3));
    assert_eq!(in_url.tcp_user_timeout, Some(Duration::from_secs(5)));
}

#[test]
fn tls_that_contradicts_itself_or_would_protect_nobody_is_refused() {
    let host = "postgres.host = 'db'\n";
    for (extra, expected) in [
        (
            "postgres.tls_ca_file = '/ca'",
            "`postgres.tls_ca_file` is not looked at unless `postgres.tls` is \"verify-full\", \"verify-ca\" or \"require\": set it to one of them",
        ),
        (
            "postgres.tls = 'verify-ca'",
            "`postgres.tls` needs `postgres.tls_ca_file` to be \"verify-ca\": of the operating system's authorities anybody can have a certificate, so that only \"verify-full\" means something with them",
        ),
        (
            "postgres.tls_certificate_file = '/c'",
            "`postgres.tls_certificate_file` needs its key: set `postgres.tls_key_file` too",
        ),
        (
            "postgres.tls_key_file = '/k'",
            "`postgres.tls_key_file` needs its certificate: set `postgres.tls_certificate_file` too",
        ),
        (
            "postgres.tls = 'full'",
            "`postgres.tls` must be one of \"disable\", \"prefer\", \"require\", \"verify-ca\", \"verify-full\"",
        ),
    ] {
        let found = errors(parse_with(&format!("{host}{extra}")));
        let column = extra.find('=').unwrap() + 3;
        assert_eq!(found, [format!("{NAME}:4:{column}: {expected}")], "{extra}");
    }
    let socket = errors(parse_with("postgres.tls = 'verify-full'"));
    assert!(socket[0].contains("`postgres.tls` demands what a Unix socket does not have"), "{socket:?}");
    let shown = "postgres.tls = 'disable'\npostgres.tls_certificate_file = '/c'\npostgres.tls_key_file = '/k'";
    assert!(errors(parse_with(shown))[0].contains("is not shown to anybody"));
}

#[test]
fn an_administrator_s_url_inherits_the_place_and_its_safety_but_no_secret_of_another_role() {
    let text = "[postgres]\nhost = 'db'\nport = 6000\ndatabase = 'shop'\npassword = 'hunter2'\ntls = 'verify-full'\n\
                tls_ca_file = '/ca'\ntls_certificate_file = '/c'\ntls_key_file = '/k'\n";
    let configured = parse(text, &[("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "a:1")]).unwrap().postgres;

    let other = configured.with_url("postgres://dba:word@").unwrap();
    assert_eq!((other.servers, other.database.as_str()), (vec![tcp("db", 6000)], "shop"));
    assert_eq!((other.user.as_str(), other.password), ("dba", Some(Secret::new("word"))));
    assert_eq!(other.tls, Tls { mode: TlsMode::VerifyFull, ca_file: Some("/ca".into()), identity: None });

    let bare = configured.with_url("postgres://dba@x").unwrap();
    assert_eq!((bare.password, bare.servers), (None, vec![tcp("x", 5432)]));
    let own = configured.with_url("postgres://postrider@").unwrap();
    assert_eq!((own.password, own.tls.identity.is_some()), (Some(Secret::new("hunter2")), true));
    let socket = configured.with_url("postgres://dba@/?host=/tmp").unwrap();
    assert_eq!(socket.tls, Tls::default());
    let plain = configured.with_url("postgres://dba@x?sslmode=disable").unwrap();
    assert_eq!(plain.tls, Tls { mode: TlsMode::Disable, ca_file: None, identity: None });

    let refused = |url| Postgres::with_url(&configured, url).unwrap_err().to_string();
    assert!(refused("postgres://h/d").starts_with("must name a user"));
    assert!(refused("nonsense").starts_with("must be a URL"));
    assert!(refused("postgres://u@h?sslcert=/c").contains("both sslcert and sslkey"));
}

#[test]
fn a_url_that_cannot_be_used_says_why_and_is_not_shown() {
    for (url, expected) in [
        ("mysql://u:hunter2@h/d", "must be a URL of the form postgres://user@host:port/database"),
        ("postgres://u:hunter2@h:port/d", "must be a URL of the form postgres://user@host:port/database"),
        ("postgres://u:hunter2@a,,b/d", "must be a URL of the form postgres://user@host:port/database"),
        (
            "postgres://u:hunter2@h/d?sslmode=full",
            "takes an sslmode of disable, allow, prefer, require, verify-ca or verify-full",
        ),
        (
            "postgres://u:hunter2@h/d?options=-c",
            "may carry only the parameters host, port, user, password, dbname, passfile, sslmode, sslrootcert, sslcert, sslkey, channel_binding, target_session_attrs, connect_timeout, tcp_user_timeout and application_name",
        ),
    ] {
        let text = format!("kafka.bootstrap_servers = 'a:1'\npostgres.url = '{url}'\n");
        let found = errors(parse(&text, &[]));
        assert_eq!(found[0], format!("{NAME}:2:16: `postgres.url` {expected}"));
        assert!(!found.concat().contains("hunter2"), "{found:?}");
    }
}

#[test]
fn the_same_thing_given_twice_in_one_place_is_refused() {
    let twice = "the password is given twice: keep one of `postgres.password`, `postgres.password_file`, `postgres.passfile` and the one in `postgres.url`";
    let database = "`postgres.database` is in `postgres.url` too: keep one of them";
    for (extra, place, expected) in [
        ("postgres.url = 'postgres://h/shop'", "1:21", database),
        ("postgres.password = 'a'\npostgres.password_file = '/run/secret'", "3:21", twice),
        ("postgres.url = 'postgres://u:p@h'\npostgres.password = 'a'", "4:21", twice),
        ("postgres.password = 'a'\npostgres.passfile = '/p'", "3:21", twice),
        (
            "postgres.url = 'postgres://h?sslmode=require'\npostgres.tls = 'prefer'",
            "4:16",
            "`postgres.tls` is in `postgres.url` too: keep one of them",
        ),
    ] {
        assert_eq!(errors(parse_with(extra)), [format!("{NAME}:{place}: {expected}")], "{extra}");
    }
}

#[test]
fn a_password_file_that_cannot_be_read_is_named() {
    let found = errors(parse_with("postgres.password_file = '/missing'"));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("postrider.toml:3:26: `postgres.password_file` names /missing, which cannot be read: "),
        "{found:?}"
    );
}
