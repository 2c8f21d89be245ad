//! What is there and was not declared: shown always, dropped only where somebody says so, and never what somebody uses.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde::Serialize;

use crate::slots::change::size;
use crate::slots::facts::SlotFacts;
use crate::slots::plan::{Here, Plan, Wanted};
use crate::slots::setup::{Step, Table};

/// Something that is there and was not declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeclared {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What is known of it, as a fragment.
    pub about: String,
    /// What would drop it; `None` for what is never dropped from here.
    pub drop: Option<Step>,
}

/// What can be there undeclared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A slot.
    Slot,
    /// A publication.
    Publication,
    /// A table in a declared publication.
    Table,
}

/// Lists it. Slots of no declared database, and physical ones, are listed with the first.
pub(super) fn plan(wanted: &Wanted, here: &Here, plan: &mut Plan) {
    let is_first = wanted.databases.first() == Some(&wanted.database);
    for found in here.facts.slots.iter().filter(|found| !wanted.all_slots.contains(&found.name)) {
        let listed = match &found.database {
            Some(database) if wanted.databases.contains(database) => *database == wanted.database,
            _ => is_first,
        };
        if listed {
            plan.undeclared.push(slot(wanted, found));
        }
    }
    let own = wanted.relay.iter().flat_map(|relay| {
        let capture = relay.setup.capture.as_ref().map(|capture| &capture.publication);
        std::iter::once(&relay.setup.publication).chain(capture)
    });
    let read = wanted.slots.iter().filter_map(|slot| slot.publication.as_ref());
    let declared = wanted.publications.iter().map(|publication| &publication.carries.publication);
    let known: Vec<&String> = own.chain(read).chain(declared).collect();
    for (name, carried) in here.carried.iter().filter(|(name, _)| !known.contains(name)) {
        let about = match (carried.by_rule, carried.tables.len()) {
            (true, _) => "tables by rule".to_owned(),
            (false, 1) => "1 table".to_owned(),
            (false, tables) => format!("{tables} tables"),
        };
        let drop = format!("drop publication {}", escape_identifier(name));
        plan.undeclared.push(Undeclared {
            kind: Kind::Publication,
            name: name.clone(),
            about,
            drop: Some(Step::new(format!("drop publication {name}"), drop)),
        });
    }
    tables(wanted, here, plan);
}

/// Tables that a declared publication carries although nothing says so.
fn tables(wanted: &Wanted, here: &Here, plan: &mut Plan) {
    let mut listed = |publication: &str, meant: &dyn Fn(&Table) -> bool| {
        let Some(carried) = here.carried.get(publication).filter(|carried| !carried.by_rule) else { return };
        for table in carried.tables.iter().filter(|table| !meant(table)) {
            let quoted = table.quoted();
            plan.undeclared.push(Undeclared {
                kind: Kind::Table,
                name: quoted.clone(),
                about: format!("in publication {publication}"),
                drop: Some(Step::new(
                    format!("drop {quoted} from publication {publication}"),
                    format!("alter publication {} drop table {quoted}", escape_identifier(publication)),
                )),
            });
        }
    };
    if let Some(relay) = &wanted.relay {
        if relay.setup.outbox.is_some() {
            listed(&relay.setup.publication, &|table| relay.setup.tables().any(|wanted| wanted == table));
        }
        let found = here.relay.as_ref().and_then(|found| found.capture.as_ref());
        if let Some((capture, found)) = relay.setup.capture.as_ref().zip(found) {
            listed(&capture.publication, &|table| found.published().any(|wanted| wanted == table));
        }
    }
    for (publication, found) in wanted.publications.iter().zip(&here.found) {
        listed(&publication.carries.publication, &|table| found.published().any(|wanted| wanted == table));
    }
}

fn slot(wanted: &Wanted, found: &SlotFacts) -> Undeclared {
    let name = &found.name;
    let mut about = vec![match (&found.plugin, &found.database) {
        (Some(plugin), Some(database)) => format!("{plugin} of database {database}"),
        _ => "physical".to_owned(),
    }];
    about.extend(found.retained_bytes.map(|bytes| format!("retains {}", size(bytes))));
    about.extend(found.is_lost().then(|| "lost".to_owned()));
    about.extend(found.two_phase.then(|| "decodes prepared transactions".to_owned()));
    about.extend(found.failover.then(|| "kept over a failover".to_owned()));
    about.extend(found.temporary.then(|| "temporary".to_owned()));
    about.extend(found.synced.then(|| "kept in step with the primary's".to_owned()));
    about.push(match &found.reader {
        Some(reader) => format!("read by process {}", reader.pid),
        None => "nobody reads it".to_owned(),
    });
    let here = found.database.as_ref() == Some(&wanted.database);
    let unused = here && found.reader.is_none() && !found.temporary && !found.synced;
    let drop = format!("select pg_drop_replication_slot({})", escape_literal(name).trim_start());
    Undeclared {
        kind: Kind::Slot,
        name: name.clone(),
        about: about.join(", "),
        drop: unused.then(|| Step::new(format!("drop slot {name}"), drop)),
    }
}
