//! The tables and the transaction of TPC-B as pgbench plays it: <https://www.postgresql.org/docs/current/pgbench.html>.

use crate::random::Random;
use crate::state::change::Script;
use crate::state::kind::Kind;
use crate::state::schema::{Column, Identity, Table};

/// Accounts of the one branch.
const ACCOUNTS: u64 = 2_000;
/// Tellers of it.
const TELLERS: u64 = 10;

/// The four tables and their rows; the history has no key.
pub(super) fn sql() -> &'static str {
    "create table pgbench_branches (bid integer not null primary key, bbalance integer, filler char(88));
         create table pgbench_tellers (tid integer not null primary key, bid integer, tbalance integer, filler char(84));
         create table pgbench_accounts (aid integer not null primary key, bid integer, abalance integer, filler char(84));
         create table pgbench_history (tid integer, bid integer, aid integer, delta integer, mtime timestamp, filler char(22));
         alter table pgbench_history replica identity full;"
}

/// What fills them before the first transaction.
pub(super) fn fill() -> String {
    format!(
        "insert into pgbench_branches values (1, 0, null);
         insert into pgbench_tellers select n, 1, 0, null from generate_series(1, {TELLERS}) n;
         insert into pgbench_accounts select n, 1, 0, '' from generate_series(1, {ACCOUNTS}) n"
    )
}

/// One transaction: an account, a teller and the branch change by the same amount, and the history tells of it.
pub(super) fn script(random: &mut Random) -> Script {
    let (aid, tid) = (1 + random.below(ACCOUNTS), 1 + random.below(TELLERS));
    let delta = random.below(10_000).cast_signed() - 5_000;
    let statements = vec![
        format!("update pgbench_accounts set abalance = abalance + {delta} where aid = {aid}"),
        format!("select abalance from pgbench_accounts where aid = {aid}"),
        format!("update pgbench_tellers set tbalance = tbalance + {delta} where tid = {tid}"),
        format!("update pgbench_branches set bbalance = bbalance + {delta} where bid = 1"),
        format!(
            "insert into pgbench_history (tid, bid, aid, delta, mtime) values ({tid}, 1, {aid}, {delta}, current_timestamp)"
        ),
    ];
    Script { copy: None, statements, operations: 4, commits: !random.chance(20) }
}

/// The four tables, to be compared.
pub(super) fn tables() -> Vec<Table> {
    let table = |name: &'static str, key: Option<&str>, columns: &[&str]| Table {
        name,
        key: key.iter().map(|key| Column { name: (*key).to_owned(), kind: Kind::Int }).collect(),
        columns: columns.iter().map(|name| Column { name: (*name).to_owned(), kind: kind(name) }).collect(),
        identity: Identity::Default,
        primary: key.is_some(),
        partitioned: false,
    };
    vec![
        table("pgbench_branches", Some("bid"), &["bbalance", "filler"]),
        table("pgbench_tellers", Some("tid"), &["bid", "tbalance", "filler"]),
        table("pgbench_accounts", Some("aid"), &["bid", "abalance", "filler"]),
        table("pgbench_history", None, &["tid", "bid", "aid", "delta", "mtime", "filler"]),
    ]
}

fn kind(name: &str) -> Kind {
    match name {
        "filler" => Kind::Char,
        "mtime" => Kind::Timestamp,
        _ => Kind::Int,
    }
}
