//! `[publications.NAME]` and `[slots.NAME]`: what shall be in the databases beside what the relay itself needs, for `postrider slot plan` and `apply`.

use crate::config::{
    capture::{Capture, TABLES_ALLOWED, TablePattern},
    identity::{ReplicaIdentity, identities},
    key::{Fallback, Key, Kind},
    postgres::{Postgres, is_name},
    settings::Settings,
    source::Source,
};

/// The table of the sections of publications.
const PUBLICATIONS: &str = "publications";

/// The table of the sections of slots.
const SLOTS: &str = "slots";

const DATABASE: Key = Key {
    path: "publications.NAME.database",
    kind: Kind::Text("the name of a database, at most 63 bytes"),
    fallback: Fallback::Absent("`postgres.database`"),
    meaning: "The database that the publication is in: another one of the same server.",
};
const TABLES: Key = Key {
    path: "publications.NAME.tables",
    kind: Kind::List(TABLES_ALLOWED),
    fallback: Fallback::Required,
    meaning: "The tables that are published, and no others. Where one is partitioned, the table above its partitions.",
};
const TABLES_EXCEPT: Key = Key {
    path: "publications.NAME.tables_except",
    kind: Kind::List(TABLES_ALLOWED),
    fallback: Fallback::Absent("none of `tables` is left out"),
    meaning: "Of those tables, the ones that are left out.",
};
const PUBLISH: Key = Key {
    path: "publications.NAME.publish",
    kind: Kind::List("insert, update, delete, truncate, or several of them"),
    fallback: Fallback::Value("insert,update,delete,truncate"),
    meaning: "The operations that are published, and no others.",
};
const VIA_ROOT: Key = Key {
    path: "publications.NAME.publish_via_partition_root",
    kind: Kind::Boolean,
    fallback: Fallback::Value("true"),
    meaning: "Whether the changes of a partition are published as those of the table above it.",
};
const IDENTITIES: Key = Key {
    path: "publications.NAME.replica_identities",
    kind: Kind::Properties,
    fallback: Fallback::Absent(
        "every table keeps the one it has; one without any is refused where updates or deletes are published",
    ),
    meaning: "By what the log tells the rows of a table apart, as a table of \"schema.table\" = \"full\", \"default\" (the primary key) or \"index NAME\". In the variable: table=identity, separated by `;` or line breaks.",
};
const READERS: Key = Key {
    path: "publications.NAME.readers",
    kind: Kind::List("names of roles"),
    fallback: Fallback::Absent("no right is looked at"),
    meaning: "Roles that may read the tables, as a subscriber does for its first copy: CONNECT, USAGE and SELECT. A role must exist.",
};
const SLOT_DATABASE: Key = Key {
    path: "slots.NAME.database",
    kind: Kind::Text("the name of a database, at most 63 bytes"),
    fallback: Fallback::Absent("that of its `publication`, if that has a section; else `postgres.database`"),
    meaning: "The database that the slot decodes: another one of the same server.",
};
const PLUGIN: Key = Key {
    path: "slots.NAME.plugin",
    kind: Kind::Text("the name of an output plugin: letters, digits and underscores"),
    fallback: Fallback::Value("pgoutput"),
    meaning: "The output plugin.",
};
const PUBLICATION: Key = Key {
    path: "slots.NAME.publication",
    kind: Kind::Text("the name of a publication, at most 63 bytes"),
    fallback: Fallback::Absent("nothing has to be there before the slot"),
    meaning: "The publication that is read through the slot: it is made before the slot, which could not see one that is younger.",
};
const FAILOVER: Key = Key {
    path: "slots.NAME.failover",
    kind: Kind::Boolean,
    fallback: Fallback::Absent("as it is; a slot that is made here is not"),
    meaning: "Whether the slot is kept over a failover (PostgreSQL 17 and later). The only key that the section of `source.slot` may have: all else of the relay's own slot follows from the other sections.",
};

pub(super) const PUBLICATION_KEYS: &[Key] = &[DATABASE, TABLES, TABLES_EXCEPT, PUBLISH, VIA_ROOT, IDENTITIES, READERS];
pub(super) const SLOT_KEYS: &[Key] = &[SLOT_DATABASE, PLUGIN, PUBLICATION, FAILOVER];

/// Longest name of a plugin, in bytes.
const PLUGIN_BYTES_MAX: usize = 63;

/// What shall be there beside what the relay itself needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// The publications, by name.
    pub publications: Vec<Publication>,
    /// The slots, by name; never the relay's own.
    pub slots: Vec<Slot>,
    /// Whether the relay's own slot is to be kept over a failover, if that is said.
    pub own_failover: Option<bool>,
}

/// A publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Its name.
    pub name: String,
    /// Its database.
    pub database: String,
    /// The tables; at least one pattern.
    pub tables: Vec<TablePattern>,
    /// Those of them that are left out.
    pub tables_except: Vec<TablePattern>,
    /// The operations that are published; at least one, each once.
    pub publish: Vec<Published>,
    /// Whether the changes of a partition are published as those of the table above it.
    pub publish_via_partition_root: bool,
    /// The replica identities that tables shall have.
    pub identities: Vec<ReplicaIdentity>,
    /// The roles that may read the tables.
    pub readers: Vec<String>,
}

/// An operation that a publication publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Published {
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// TRUNCATE.
    Truncate,
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Its database.
    pub database: String,
    /// Its output plugin.
    pub plugin: String,
    /// The publication that must be there before it.
    pub publication: Option<String>,
    /// Whether it is to be kept over a failover, if that is said.
    pub failover: Option<bool>,
}

impl Declared {
    pub(super) fn from_settings(
        settings: &mut Settings,
        postgres: &Postgres,
        source: &Source,
        capture: Option<&Capture>,
    ) -> Self {
        let names = settings.names(PUBLICATIONS);
        let publications: Vec<Publication> = names
            .iter()
            .map(|name| {
                settings.in_section(name, |settings| {
                    let ours = *name == source.publication || capture.is_some_and(|capture| capture.publication == *name);
                    if ours {
                        settings.refuse(
                            &TABLES,
                            "is not to be said here: what the relay's own publication carries follows from its outboxes and [capture]",
                        );
                    }
                    Publication::from_settings(name, settings, postgres)
                })
            })
            .collect();
        let mut declared = Self { publications, ..Self::default() };
        for name in settings.names(SLOTS) {
            settings.in_section(&name, |settings| {
                if name == source.slot {
                    declared.own_failover = own_failover(settings);
                } else {
                    let slot = Slot::from_settings(&name, settings, postgres, &declared.publications);
                    declared.slots.push(slot);
                }
            });
        }
        declared
    }

    /// Every database that is named here, `first` first.
    #[must_use]
    pub fn databases(&self, first: &str) -> Vec<String> {
        let mut databases = vec![first.to_owned()];
        let named = self.publications.iter().map(|publication| &publication.database);
        for database in named.chain(self.slots.iter().map(|slot| &slot.database)) {
            if !databases.contains(database) {
                databases.push(database.clone());
            }
        }
        databases
    }
}

impl Publication {
    fn from_settings(name: &str, settings: &mut Settings, postgres: &Postgres) -> Self {
        let mut publish = settings.list(&PUBLISH, operation).unwrap_or_default();
        publish.sort_unstable();
        publish.dedup();
        if publish.is_empty() && settings.given(&PUBLISH).is_some() {
            settings.refuse(&PUBLISH, "names no operation: nothing would be published");
        }
        let tables = settings.list(&TABLES, TablePattern::parse).unwrap_or_default();
        if tables.is_empty() && settings.given(&TABLES).is_some() {
            settings.refuse(&TABLES, "names no table: leave the section out instead");
        }
        if tables.is_empty() && settings.given(&TABLES).is_none() {
            settings.missing(&TABLES);
        }
        let tables_except = settings.list(&TABLES_EXCEPT, TablePattern::parse).unwrap_or_default();
        let identities = identities(settings, &IDENTITIES);
        let published = |schema: &str, table: &str| {
            let any = |patterns: &[TablePattern]| patterns.iter().any(|pattern| pattern.matches(schema, table));
            any(&tables) && !any(&tables_except)
        };
        if let Some(other) = identities.iter().find(|of| !published(&of.table.schema, &of.table.name)) {
            let message = format!("names {}, which `tables` does not", other.table);
            settings.refuse(&IDENTITIES, &message);
        }
        Self {
            name: name.to_owned(),
            database: database(settings, &DATABASE).unwrap_or_else(|| postgres.database.clone()),
            publish,
            publish_via_partition_root: settings.boolean(&VIA_ROOT),
            readers: settings.list(&READERS, |role| is_name(role).then(|| role.to_owned())).unwrap_or_default(),
            tables,
            tables_except,
            identities,
        }
    }
}

impl Slot {
    fn from_settings(name: &str, settings: &mut Settings, postgres: &Postgres, publications: &[Publication]) -> Self {
        let publication = settings.parsed(&PUBLICATION, |name| is_name(name).then(|| name.to_owned()));
        let section = publications.iter().find(|known| Some(&known.name) == publication.as_ref());
        let given = database(settings, &SLOT_DATABASE);
        if let (Some(given), Some(section)) = (&given, section)
            && *given != section.database
        {
            let message = format!(
                "is {given:?}, and its publication is in {:?}: a slot reads one database, with the publications that are in it",
                section.database
            );
            settings.refuse(&SLOT_DATABASE, &message);
        }
        let inherited = || section.map_or_else(|| postgres.database.clone(), |section| section.database.clone());
        Self {
            name: name.to_owned(),
            database: given.unwrap_or_else(inherited),
            plugin: settings.checked(&PLUGIN, is_plugin),
            publication,
            failover: settings.given(&FAILOVER).is_some().then(|| settings.boolean(&FAILOVER)),
        }
    }
}

/// What is said of the relay's own slot, and refused of it.
fn own_failover(settings: &mut Settings) -> Option<bool> {
    for key in [SLOT_DATABASE, PLUGIN, PUBLICATION] {
        if settings.given(&key).is_some() {
            settings.refuse(&key, "is of the relay's own slot: it follows from [postgres] and [source]");
        }
    }
    settings.given(&FAILOVER).is_some().then(|| settings.boolean(&FAILOVER))
}

fn database(settings: &mut Settings, key: &Key) -> Option<String> {
    settings.parsed(key, |name| is_name(name).then(|| name.to_owned()))
}

fn operation(text: &str) -> Option<Published> {
    Some(match text {
        "insert" => Published::Insert,
        "update" => Published::Update,
        "delete" => Published::Delete,
        "truncate" => Published::Truncate,
        _ => return None,
    })
}

/// A plugin is a library of the server: no path, and nothing that SQL or the replication protocol reads otherwise.
fn is_plugin(name: &str) -> bool {
    (1..=PLUGIN_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests;
