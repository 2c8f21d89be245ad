//! Schemas that change while both sides stream: each stage begins with both sides up to date.
//!
//! A change inside a transaction has no such pause. What it adds has no default, because a commit can be read from the log before it
//! can be seen in the catalog, and then the default is not there yet.

use crate::compare::workload::Draft;

/// One stage: the change, and what is written under it; each statement is a transaction.
type Stage = &'static [&'static str];

/// The stages in their order.
const STAGES: &[Stage] = &[
    &["insert into evolving values (1, 'a', 1, 'c', 'planned')", "update evolving set a = 'b'"],
    &[
        "alter table evolving add d text",
        "insert into evolving values (2, 'a', 2, 'c', 'planned', 'd')",
        "update evolving set d = 'x' where id = 1",
    ],
    &[
        "alter table evolving add e int not null default 7",
        "insert into evolving (id) values (3)",
        "update evolving set e = 8 where id = 1",
    ],
    &[
        "alter table evolving drop a",
        "insert into evolving (id, b) values (4, 4)",
        "update evolving set b = 5 where id = 1",
        "delete from evolving where id = 2",
    ],
    &[
        "alter table evolving rename b to b_renamed",
        "insert into evolving (id, b_renamed) values (5, 5)",
        "update evolving set b_renamed = null where id = 1",
    ],
    &["alter table evolving alter c type text", "update evolving set c = repeat('c', 20) where id = 1"],
    &[
        "alter table evolving alter b_renamed type bigint",
        "update evolving set b_renamed = 9007199254740993 where id = 3",
    ],
    &[
        "alter type phase add value 'added later'",
        "update evolving set phase = 'added later' where id = 1",
        "insert into evolving (id, phase) values (6, 'added later')",
    ],
    &[
        "alter table evolving alter e drop not null, alter e drop default",
        "insert into evolving (id) values (7)",
        "update evolving set e = null where id = 1",
    ],
    &[
        "update evolving set d = coalesce(d, 'x')",
        "alter table evolving alter d set default 'y', alter d set not null",
        "insert into evolving (id) values (8)",
    ],
    &["alter table evolving alter d set default 'z'", "insert into evolving (id) values (9)"],
    &[
        "alter table evolving add n numeric(10,2) default 1.10",
        "insert into evolving (id) values (10)",
        "update evolving set n = 2.5 where id = 1",
    ],
    &[
        "alter table evolving alter n type numeric(12,4)",
        "insert into evolving (id) values (11)",
        "update evolving set n = 2.5 where id = 3",
    ],
    &[
        "alter table evolving add g int generated always as (id * 2) stored",
        "insert into evolving (id) values (12)",
        "update evolving set c = 'g' where id = 1",
    ],
    &[
        "alter table evolving drop g",
        "alter table evolving add g text",
        "insert into evolving (id, g) values (13, 'now a text')",
    ],
    &[
        "update evolving set e = coalesce(e, 0)",
        "alter table evolving drop constraint evolving_pkey, add primary key (id, e)",
        "insert into evolving (id, e) values (14, 1)",
        "update evolving set e = 5 where id = 1",
        "delete from evolving where id = 14",
    ],
    &[
        "alter table evolving replica identity full",
        "update evolving set g = 'full' where id = 1",
        "delete from evolving where id = 13",
    ],
    &["alter table evolving replica identity default", "update evolving set g = 'default' where id = 1"],
    &[
        "begin; insert into evolving (id, e) values (20, 0); alter table evolving add h int; insert into evolving (id, e) values (21, 0); commit",
        "update evolving set h = 4 where id = 20",
    ],
    &[
        "alter table evolving rename to evolved",
        "insert into evolved (id, e) values (30, 0)",
        "update evolved set h = 5 where id = 30",
        "delete from evolved where id = 30",
    ],
    &["alter table evolved set schema other", "insert into other.evolved (id, e) values (31, 0)"],
    &[
        "create table born_late (id int primary key, note text default 'late')",
        "insert into born_late (id) values (1), (2)",
        "update born_late set note = null where id = 1",
        "delete from born_late where id = 2",
    ],
    &[
        "drop table born_late",
        "create table born_late (id text primary key, other int)",
        "insert into born_late values ('a', 1)",
    ],
    &[
        "create table measures_2025 partition of measures for values from ('2025-01-01') to ('2026-01-01')",
        "insert into measures values (500, '2025-05-05', 1)",
        "update measures set at = '2024-05-05' where id = 500",
    ],
    &[
        "alter table measures detach partition measures_2025",
        "insert into measures_2025 values (501, '2025-06-06', 2)",
        "update measures_2025 set value = 3",
    ],
    &[
        "alter table measures attach partition measures_2025 for values from ('2025-01-01') to ('2026-01-01')",
        "update measures set value = 4 where id = 501",
    ],
    &[
        "alter table evolving_keyless add primary key (a)",
        "insert into evolving_keyless values (3, 'c')",
        "update evolving_keyless set b = 'd' where a = 1",
        "delete from evolving_keyless where a = 3",
    ],
    &[
        "alter table evolving_keyless drop constraint evolving_keyless_pkey",
        "insert into evolving_keyless values (4, 'e')",
    ],
];

pub(super) fn prepare(draft: &mut Draft) {
    draft.prepare("create type phase as enum ('planned', 'done')".to_owned());
    draft.table("evolving", "id int primary key, a text, b int default 5, c varchar(10), phase phase");
    draft.table("evolving_keyless", "a int not null, b text");
    draft.prepare_rows("insert into evolving_keyless values (1, 'a'), (2, 'b')".to_owned(), 2);
    for topic in ["public.evolved", "other.evolved", "public.born_late", "public.measures_2025"] {
        draft.topic(topic);
    }
}

pub(super) fn play(draft: &mut Draft) {
    for stage in STAGES {
        draft.barrier();
        for (place, sql) in stage.iter().enumerate() {
            if place > 0 && ["alter", "create", "drop"].iter().any(|word| sql.starts_with(word)) {
                draft.barrier();
            }
            draft.run(*sql, 1);
        }
    }
}
