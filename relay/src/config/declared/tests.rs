//! What may be declared, and what is refused with its place.

use super::*;
use crate::config::{DatabaseConfig, error::ConfigError, merge, read_file};

fn parse(text: &str) -> Result<DatabaseConfig, ConfigError> {
    let text = format!("[postgres]\nurl = \"postgres://relay@localhost/shop\"\n{text}");
    DatabaseConfig::from_settings(merge("shop.toml", &text, [])?, &read_file)
}

#[test]
fn a_publication_and_its_slot_are_a_few_lines() {
    let declared = parse(
        "[publications.warehouse]\ntables = [\"public.*\", 'sales.\"Order\"']\ntables_except = \"public.tmp_*\"\npublish = \"delete,insert\"\n\
         readers = [\"etl\"]\ndatabase = \"sales\"\n[publications.warehouse.replica_identities]\n\"public.logs\" = \"full\"\n\
         [slots.warehouse]\npublication = \"warehouse\"\nfailover = true\n[slots.audit]\nplugin = \"wal2json\"\n[slots.postrider]\nfailover = false\n",
    )
    .unwrap()
    .declared;
    let [publication] = declared.publications.as_slice() else { panic!("{declared:?}") };
    assert_eq!((publication.name.as_str(), publication.database.as_str()), ("warehouse", "sales"));
    assert_eq!(publication.publish, [Published::Insert, Published::Delete]);
    assert_eq!(publication.tables[1].table, "Order");
    assert_eq!(publication.readers, ["etl"]);
    assert_eq!(publication.identities.len(), 1);
    let [audit, warehouse] = declared.slots.as_slice() else { panic!("{declared:?}") };
    assert_eq!((audit.database.as_str(), audit.plugin.as_str(), audit.failover), ("shop", "wal2json", None));
    assert_eq!((warehouse.database.as_str(), warehouse.failover), ("sales", Some(true)));
    assert_eq!(declared.own_failover, Some(false));
    assert_eq!(declared.databases("shop"), ["shop", "sales"]);
}

#[test]
fn what_contradicts_itself_is_refused_with_its_place() {
    for (text, expected) in [
        ("[publications.a]\npublish = \"insert\"", "`publications.a.tables` is required"),
        ("[publications.a]\ntables = \"\"", "names no table"),
        ("[publications.a]\ntables = \"public.a\"\npublish = \"merge\"", "must be insert, update, delete, truncate"),
        ("[publications.a]\ntables = \"public.a\"\npublish = \"\"", "names no operation"),
        ("[publications.postrider]\ntables = \"public.a\"", "the relay's own publication"),
        (
            "[publications.a]\ntables = \"public.a\"\n[publications.a.replica_identities]\n\"public.b\" = \"full\"",
            "names public.b, which `tables` does not",
        ),
        (
            "[publications.a]\ntables = \"public.a\"\n[publications.a.replica_identities]\n\"public.a\" = \"none\"",
            "must be `full`, `default`",
        ),
        ("[slots.postrider]\nplugin = \"wal2json\"", "the relay's own slot"),
        ("[slots.a]\nplugin = \"../evil\"", "must be the name of an output plugin"),
        (
            "[publications.a]\ntables = \"public.a\"\n[slots.b]\npublication = \"a\"\ndatabase = \"other\"",
            "its publication is in \"shop\"",
        ),
        ("[slots.a]\n", "`slots.a` is empty"),
        ("[slots.A]\nfailover = true", "`slots.A` cannot be"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
