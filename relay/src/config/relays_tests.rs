//! Several relays of one file: what is whose, what wins, what is refused and where it is said to be.

use super::*;
use crate::config::{error::Origin, secret::Secret};

/// What both relays of [`SHARED`] share.
const SHARED: &str =
    "[postgres]\nhost = 'db1'\nuser = 'relay'\npassword = 'shared'\n[kafka]\nbootstrap_servers = 'k:1'\n";

fn load(text: &str, pairs: &[(&str, &str)], wanted: Option<&str>) -> Result<Vec<OfRelay<Config>>, String> {
    let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let read = |path: &Path| Err(std::io::Error::other(format!("{} is not read", path.display())));
    let relays = Layers::parse("p.toml", text, pairs)
        .and_then(|layers| of_layers(&layers, wanted, |settings| Config::from_settings(settings, &read)));
    let checked = relays.and_then(|relays| refuse_rivals(&relays).map(|()| relays));
    checked.map_err(|error| error.to_string())
}

fn two(first: &str, second: &str) -> Result<Vec<OfRelay<Config>>, String> {
    let text = format!("{SHARED}[relays.eu]\n{first}\n[relays.us]\n{second}\n");
    load(&text, &[], None)
}

#[test]
fn a_file_without_relays_has_one_without_a_name() {
    let relays = load(&format!("{SHARED}postgres.database = 'shop'"), &[], None);
    assert!(relays.is_err(), "a section cannot be continued: this is TOML's own rule");
    let text = SHARED.replace("host", "database = 'shop'\nhost");
    let relays = load(&text, &[], None).unwrap();
    assert_eq!((relays.len(), relays[0].name.as_deref()), (1, None));
    let error = load(&text, &[], Some("eu")).unwrap_err();
    assert_eq!(error, "no relay is called \"eu\": p.toml has no [relays.NAME]");
}

#[test]
fn a_relay_is_what_all_share_and_what_is_its_own() {
    let relays = two(
        "postgres.database = 'eu'\nsource.slot = 'eu'\noutbox.topic = 'eu.{aggregate_type}'",
        "postgres.url = 'postgres://other:own@db2/us'\nsource.slot = 'us'\nkafka.linger_ms = 7\noutboxes.audit.table = 'public.audit'",
    )
    .unwrap();
    let names: Vec<_> = relays.iter().map(|relay| relay.name.as_deref()).collect();
    assert_eq!(names, [Some("eu"), Some("us")]);
    let (eu, us) = (&relays[0].config, &relays[1].config);
    assert_eq!((&*eu.postgres.database, &*eu.postgres.user, &*eu.source.slot), ("eu", "relay", "eu"));
    assert_eq!((&*us.postgres.database, &*us.postgres.user, &*us.source.slot), ("us", "other", "us"));
    assert_eq!(us.postgres.password.as_ref().map(Secret::expose), Some("own"));
    assert_ne!(eu.postgres.servers, us.postgres.servers, "a relay's URL is stronger than the host of all");
    assert_eq!((eu.outboxes.len(), us.outboxes.len()), (1, 1), "an outbox of one relay is not the other's");
    assert_eq!((&*eu.outboxes[0].topic, &*us.outboxes[0].name), ("eu.{aggregate_type}", "audit"));
    assert_eq!(us.kafka.linger.as_millis(), 7);
    assert_eq!(eu.kafka.bootstrap_servers, us.kafka.bootstrap_servers);
    assert_eq!(eu.process, us.process);
}

#[test]
fn what_is_a_relays_own_is_stronger_wherever_the_other_is_given() {
    let text = format!("{SHARED}[relays.eu]\npostgres.database = 'eu'\n[relays.us_east]\nsource.slot = 'us'");
    let variables = [
        ("POSTRIDER_POSTGRES_DATABASE", "all"),
        ("POSTRIDER_RELAYS_US_EAST_SOURCE_SLOT", "us_east"),
        ("POSTRIDER_RELAYS_ASIA_SOURCE_SLOT", "asia"),
    ];
    let relays = load(&text, &variables, None).unwrap();
    let told: Vec<_> = relays
        .iter()
        .map(|relay| (relay.name.as_deref().unwrap(), &*relay.config.postgres.database, &*relay.config.source.slot))
        .collect();
    assert_eq!(told, [("asia", "all", "asia"), ("eu", "eu", "postrider"), ("us_east", "all", "us_east")]);
}

#[test]
fn one_can_be_chosen_and_where_one_is_needed_it_must_be() {
    let text = format!(
        "{SHARED}[relays.eu]\npostgres.database = 'eu'\n[relays.us]\npostgres.database = 'us'\nsource.slot = 'us'"
    );
    let only = load(&text, &[], Some("us")).unwrap();
    assert_eq!((only.len(), only[0].name.as_deref(), &*only[0].config.postgres.database), (1, Some("us"), "us"));
    let layers = Layers::parse("p.toml", &text, []).unwrap();
    let refused = |wanted| layers.one(wanted).err().unwrap().to_string();
    assert_eq!(refused(None), "there are several relays, eu, us: say which is meant with --relay NAME");
    assert_eq!(refused(Some("as")), "no relay is called \"as\": there are eu, us");
    assert!(layers.one(Some("eu")).is_ok());
    let alone = Layers::parse("p.toml", &format!("{SHARED}[relays.eu]\npostgres.database = 'eu'"), []).unwrap();
    assert!(alone.one(None).is_ok(), "the only one needs no name");
}

#[test]
fn a_mistake_is_named_by_its_full_path_and_told_once() {
    for (first, said) in [
        ("source.slto = 'a'", "p.toml:8:8: unknown key `relays.eu.source.slto`; did you mean `relays.eu.source.slot`?"),
        ("sauce.slot = 'a'", "unknown key `relays.eu.sauce`; did you mean `relays.eu.source`?"),
        ("source.slot = 7", "p.toml:8:15: `relays.eu.source.slot` must be"),
        ("source = 7", "`relays.eu.source` is a section: write [relays.eu.source] and its keys below"),
        ("outboxes.audit = {}", "`relays.eu.outboxes.audit` is empty"),
        ("outboxes.audit.tabel = 'a'", "did you mean `relays.eu.outboxes.audit.table`?"),
        (
            "admin.listen = ''",
            "`relays.eu.admin` cannot be: [admin] is not one relay's; those that are: postgres, source",
        ),
        ("load.topic = ''", "`relays.eu.load` cannot be"),
        ("relays.a.source.slot = ''", "unknown key `relays.eu.relays`"),
        ("", "`relays.eu` is empty: write [relays.eu.source] with a `slot`, or leave it out"),
    ] {
        let error = two(&format!("{first}\n"), "postgres.database = 'b'\nsource.slot = 'b'").unwrap_err();
        assert!(error.contains(said), "{first}: {error}");
    }
    let missing = two("source.slot = 'a'", "source.slot = 'b'").unwrap_err();
    assert!(
        missing.contains(
            "`relays.eu.postgres.database` is required: set it in p.toml or by POSTRIDER_RELAYS_EU_POSTGRES_DATABASE"
        ) && missing.contains("`relays.us.postgres.database` is required"),
        "{missing}"
    );
    let shared = load(
        &format!("{SHARED}linger_ms = -1\n[relays.a]\npostgres.database = 'a'\n[relays.b]\npostgres.database = 'b'"),
        &[],
        None,
    );
    assert_eq!(shared.unwrap_err(), "p.toml:7:13: `kafka.linger_ms` must be a number from 0 to 100");
    for (text, said) in [
        ("relays = 1", "`relays` is a section: write [relays.NAME.source]"),
        ("relays.Eu.source.slot = 'a'", "`relays.Eu` cannot be: a relay is named by at most 63 lower-case letters"),
        ("relays.eu = 1", "`relays.eu` is empty"),
    ] {
        let error = load(text, &[], None).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
    let error = load(SHARED, &[("POSTRIDER_RELAYS_EU_ADMIN_LISTEN", "")], None).unwrap_err();
    assert!(error.contains("POSTRIDER_RELAYS_EU_ADMIN_LISTEN: unknown variable"), "{error}");
}

#[test]
fn rivals_are_named_with_what_they_would_fight_over() {
    for (first, second, said) in [
        (
            "postgres.database = 'a'",
            "postgres.database = 'b'",
            "the relays eu and us read the same slot, postrider, of the same server: a slot has one reader",
        ),
        (
            "postgres.database = 'a'",
            "postgres.database = 'a'\npostgres.host = 'db2'",
            "the relays eu and us keep their progress under the same key, postrider, of the topic",
        ),
        (
            "postgres.database = 'a'\nkafka = { delivery = 'exactly-once', transactional_id = 't' }",
            "postgres.database = 'b'\nsource.slot = 'b'\nkafka = { delivery = 'exactly-once', transactional_id = 't' }",
            "the relays eu and us have the same transactional id, t, and would fence each other",
        ),
    ] {
        let error = two(first, second).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let own = "postgres.database = 'a'\npostgres.host = 'db2'\nkafka.progress_topic = 'own'";
    assert!(two("postgres.database = 'a'", own).is_ok(), "another server, and another topic");
}

#[test]
fn a_value_that_all_share_is_refused_at_its_own_place() {
    let problems = Layers::parse("p.toml", "[relays.a]\nkafka.linger_ms = -1", []).unwrap();
    let read = |path: &Path| Err(std::io::Error::other(path.display().to_string()));
    let error = Config::from_settings(problems.one(None).unwrap(), &read).unwrap_err();
    let place = Origin::File { name: "p.toml".into(), line: 2, column: 19 };
    assert_eq!(error.problems()[0].origin(), &place, "{error}");
}
