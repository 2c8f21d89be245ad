//! Replica identities. They come first: a table must have one before its updates are published.

use std::collections::BTreeSet;

use postgres_protocol::escape::escape_identifier;

use crate::slots::plan::{By, Here, Identity, IdentityFound, Plan, Wanted, refusal};
use crate::slots::setup::Step;

/// Plans what is wanted and not so; the tables that will have an identity, as the server writes their names.
pub(super) fn plan(wanted: &Wanted, here: &Here, plan: &mut Plan) -> BTreeSet<String> {
    let own = wanted.relay.iter().flat_map(|relay| &relay.identities);
    let declared = wanted.publications.iter().flat_map(|publication| &publication.identities);
    let mut mended = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for identity in own.chain(declared) {
        if !seen.insert(&identity.table) {
            let known = wanted.publications.iter().flat_map(|publication| &publication.identities);
            let own = wanted.relay.iter().flat_map(|relay| &relay.identities);
            if known.chain(own).any(|other| other.table == identity.table && other.by != identity.by) {
                plan.refusals.push(refusal(
                    format!("two replica identities are wanted for {}", identity.table.quoted()),
                    "name one of them in `replica_identities`: a table has one",
                ));
            }
            continue;
        }
        let Some(found) = here.identities.get(&identity.table).filter(|found| !found.is_empty()) else {
            plan.refusals.push(refusal(
                format!("there is no table {} whose replica identity could be set", identity.table.quoted()),
                "create it, or take it out of `replica_identities`",
            ));
            continue;
        };
        for found in found.iter().filter(|found| !found.is_partitioned) {
            match step(identity, found) {
                Ok(None) => {}
                Ok(Some(step)) => {
                    plan.setup.transaction.push(step);
                    mended.insert(found.label.clone());
                }
                Err((what, mend)) => plan.refusals.push(refusal(what, mend)),
            }
        }
    }
    mended
}

fn step(identity: &Identity, found: &IdentityFound) -> Result<Option<Step>, (String, String)> {
    let (table, label) = (found.table.quoted(), &found.label);
    let (is_so, clause) = match &identity.by {
        By::Full => (found.by == "f", "full".to_owned()),
        By::Default if !found.has_primary_key => {
            return Err((
                format!("table {label} has no primary key, which its replica identity shall be"),
                format!(
                    "run `alter table {table} add primary key (…)`, or say \"full\" or \"index NAME\" in `replica_identities`"
                ),
            ));
        }
        By::Default => (found.by == "d", "default".to_owned()),
        By::Index(index) if !found.indexes.contains(index) => {
            return Err((
                format!("table {label} has no index {index} by which its rows could be told apart"),
                "name a unique index, of columns that are not null and without a condition, in `replica_identities`; each partition \
                 has indexes of its own names"
                    .to_owned(),
            ));
        }
        By::Index(index) => (
            found.by == "i" && found.index.as_ref() == Some(index),
            format!("using index {}", escape_identifier(index)),
        ),
    };
    let what = format!("set the replica identity of {label} to {}", clause.replace('"', ""));
    Ok((!is_so).then(|| Step::new(what, format!("alter table {table} replica identity {clause}"))))
}
