//! From the configuration's `[publications.NAME]`, `[slots.NAME]` and what the relay itself needs to what `slot plan` compares.

use std::collections::BTreeSet;

use crate::app::setup::table;
use crate::config::DatabaseConfig;
use crate::config::capture::TablePattern;
use crate::config::declared::{self, Published};
use crate::config::identity::{IdentityBy, ReplicaIdentity};
use crate::slots::plan::{By, Identity, Publication, Relay, Slot, Wanted};
use crate::slots::setup::capture::{CaptureWanted, Operations};
use crate::slots::setup::{self, Table};

/// What shall be there, database by database, the relay's own first; `relay` is what the relay itself needs, if that is asked for.
pub(crate) fn wanted(config: &DatabaseConfig, relay: Option<setup::Wanted>) -> Vec<Wanted> {
    let declared = &config.declared;
    let databases = declared.databases(&config.postgres.database);
    let slots = declared.slots.iter().map(|slot| slot.name.clone());
    let all_slots: BTreeSet<String> = slots.chain([config.source.slot.clone()]).collect();
    let mut relay = relay.map(|setup| Relay {
        setup,
        identities: config.capture.iter().flat_map(|capture| identities(&capture.replica_identities)).collect(),
        failover: declared.own_failover,
    });
    let of = |database: &String| Wanted {
        database: database.clone(),
        relay: relay.take(),
        publications: declared.publications.iter().filter(|of| of.database == *database).map(publication).collect(),
        slots: declared.slots.iter().filter(|of| of.database == *database).map(slot).collect(),
        databases: databases.clone(),
        all_slots: all_slots.clone(),
    };
    databases.iter().map(of).collect()
}

/// A declared slot.
pub(crate) fn slot(slot: &declared::Slot) -> Slot {
    Slot {
        name: slot.name.clone(),
        plugin: slot.plugin.clone(),
        publication: slot.publication.clone(),
        failover: slot.failover,
    }
}

fn publication(publication: &declared::Publication) -> Publication {
    let published = |operation| publication.publish.contains(&operation);
    Publication {
        carries: CaptureWanted {
            section: format!("publications.{}", publication.name),
            tables: tables(&publication.tables),
            except: tables(&publication.tables_except),
            publication: publication.name.clone(),
            via_root: publication.publish_via_partition_root,
            operations: Operations {
                insert: published(Published::Insert),
                update: published(Published::Update),
                delete: published(Published::Delete),
                truncate: published(Published::Truncate),
            },
            signal_table: None,
        },
        identities: identities(&publication.identities).collect(),
        readers: publication.readers.clone(),
    }
}

fn tables(patterns: &[TablePattern]) -> Vec<Table> {
    patterns.iter().map(|pattern| Table { schema: pattern.schema.clone(), name: pattern.table.clone() }).collect()
}

fn identities(identities: &[ReplicaIdentity]) -> impl Iterator<Item = Identity> {
    identities.iter().map(|identity| Identity {
        table: table(&identity.table),
        by: match &identity.by {
            IdentityBy::Full => By::Full,
            IdentityBy::Default => By::Default,
            IdentityBy::Index(index) => By::Index(index.clone()),
        },
    })
}
