//! A plan for people: SQL for psql, with a comment on each step; and for programs.

use postgres_protocol::escape::escape_identifier;
use serde_json::{Value, json};

use crate::slots::plan::{Plan, Run};

/// The plans as a script for `psql`, which also runs it. It holds no password.
#[must_use]
pub fn script(plans: &[Plan], prune: bool) -> String {
    let mut lines = Vec::new();
    if plans.iter().any(|plan| plan.steps().next().is_some() || (prune && plan.prune().next().is_some())) {
        lines.push("\\set ON_ERROR_STOP on".to_owned());
    }
    for plan in plans {
        database(plan, prune, plans.len() > 1, &mut lines);
    }
    lines.push(String::new());
    lines.join("\n")
}

fn database(plan: &Plan, prune: bool, several: bool, lines: &mut Vec<String>) {
    let steps = plan.steps().count() + if prune { plan.prune().count() } else { 0 };
    lines.push(match (steps, plan.refusals.is_empty()) {
        (_, false) => format!("-- database {}: refused, see below", plan.database),
        (0, _) => format!("-- database {}: nothing to do", plan.database),
        (1, _) => format!("-- database {}: 1 step", plan.database),
        (steps, _) => format!("-- database {}: {steps} steps", plan.database),
    });
    if several && steps > 0 {
        lines.push(format!("\\connect {}", escape_identifier(&plan.database)));
    }
    let mut within = false;
    for said in plan.steps() {
        let transaction = said.by == Run::Transaction;
        if transaction != within {
            lines.push(if transaction { "begin;" } else { "commit;" }.to_owned());
            within = transaction;
        }
        lines.push(format!("-- {}", said.step.what));
        lines.push(match said.by {
            Run::Replication => format!(
                "\\! psql \"dbname={} replication=database\" --command '{};'",
                plan.database,
                said.step.sql.replace('\'', "")
            ),
            Run::Transaction | Run::Alone => format!("{};", said.step.sql),
        });
    }
    if within {
        lines.push("commit;".to_owned());
    }
    if plan.setup.creates_relay_role {
        lines.push(
            "-- a role has no password yet: `postrider slot apply` sets the configured one; in psql, \\password"
                .to_owned(),
        );
    }
    if prune {
        for step in plan.prune() {
            lines.push(format!("-- {}", step.what));
            lines.push(format!("{};", step.sql));
        }
    }
    for found in plan.undeclared.iter().filter(|found| !prune || found.drop.is_none()) {
        let kind = format!("{:?}", found.kind).to_lowercase();
        lines.push(format!("-- not declared: {kind} {} ({})", found.name, found.about));
    }
}

/// The plans as JSON.
#[must_use]
pub fn document(plans: &[Plan]) -> Value {
    let steps = |plan: &Plan| -> Vec<Value> {
        plan.steps().map(|said| json!({ "what": said.step.what, "sql": said.step.sql, "run": said.by })).collect()
    };
    let undeclared = |plan: &Plan| -> Vec<Value> {
        let found = plan.undeclared.iter();
        let of = |found: &super::Undeclared| {
            let drop = found.drop.as_ref().map(|step| &step.sql);
            json!({ "kind": found.kind, "name": found.name, "about": found.about, "drop": drop })
        };
        found.map(of).collect()
    };
    let refusals = |plan: &Plan| -> Vec<Value> {
        plan.refusals.iter().map(|refusal| json!({ "what": refusal.what, "mend": refusal.mend })).collect()
    };
    let databases: Vec<Value> = plans
        .iter()
        .map(|plan| {
            json!({
                "database": plan.database,
                "steps": steps(plan),
                "refusals": refusals(plan),
                "undeclared": undeclared(plan),
            })
        })
        .collect();
    json!({ "databases": databases })
}
