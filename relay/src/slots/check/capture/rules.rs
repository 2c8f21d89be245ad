//! What is looked for in captured tables.

use crate::finding::{Rule, Severity};

pub(super) static TABLE: Rule = Rule {
    code: "capture-table",
    severity: Severity::Error,
    why: "A table that `capture.tables` names outright is not there, so that none of its changes is published.",
    mend: "Create the table and run `postrider init`, or correct `capture.tables`.",
};
pub(super) static NO_TABLE: Rule = Rule {
    code: "capture-no-table",
    severity: Severity::Error,
    why: "Nothing is captured.",
    mend: "Correct `capture.tables` and `capture.tables_except`, then `postrider init`.",
};
pub(super) static KIND: Rule = Rule {
    code: "capture-kind",
    severity: Severity::Error,
    why: "Only tables of this database have their rows in its log: a view has none, and a foreign table has them elsewhere.",
    mend: "Name the table itself in `capture.tables`.",
};
pub(super) static UNLOGGED: Rule = Rule {
    code: "capture-unlogged",
    severity: Severity::Error,
    why: "The rows of an unlogged table never reach the log.",
    mend: "`alter table … set logged`, then `postrider init`.",
};
pub(super) static PUBLICATION: Rule = Rule {
    code: "capture-publication-missing",
    severity: Severity::Error,
    why: "The relay asks for the changes of the captured tables by their publication, and without it there are none.",
    mend: "`postrider init`, or correct `capture.publication`.",
};
pub(super) static YOUNGER: Rule = Rule {
    code: "capture-publication-younger",
    severity: Severity::Warning,
    why: "A slot decodes with the catalog of its own past, where the publication does not exist: until that is behind, the relay reads the outboxes alone, and without an outbox it cannot go on.",
    mend: "`postrider run`, then a snapshot of what was changed meanwhile; without an outbox a new slot.",
};
pub(super) static TABLE_MISSING: Rule = Rule {
    code: "capture-publication-table",
    severity: Severity::Error,
    why: "Changes of a table that is not in the publication are never sent.",
    mend: "`postrider init`, or `alter publication … add table …`; then `postrider snapshot start` for the rows that are there already.",
};
pub(super) static OPERATIONS: Rule = Rule {
    code: "capture-publication-operations",
    severity: Severity::Error,
    why: "Operations that the publication leaves out are never sent: consumers keep rows that are gone, or miss what is new.",
    mend: "`alter publication … set (publish = '…')`, or name them in `capture.skipped_operations`.",
};
pub(super) static ROOT: Rule = Rule {
    code: "capture-publication-root",
    severity: Severity::Error,
    why: "The rows of partitions travel under other names than those that are captured.",
    mend: "`alter publication … set (publish_via_partition_root = …)`",
};
pub(super) static ROW_FILTER: Rule = Rule {
    code: "capture-row-filter",
    severity: Severity::Warning,
    why: "Consumers see only rows that fit the filter, and a row that leaves it is deleted for them; a snapshot does not know the filter.",
    mend: "`alter publication … drop table …; alter publication … add table …`",
};
pub(super) static KEY_HIDDEN: Rule = Rule {
    code: "capture-key-hidden",
    severity: Severity::Error,
    why: "The publication's list of columns leaves out columns of the key, so that records cannot be told apart.",
    mend: "`alter publication … drop table …; alter publication … add table …`",
};
pub(super) static IDENTITY: Rule = Rule {
    code: "capture-replica-identity",
    severity: Severity::Error,
    why: "The server refuses every UPDATE and DELETE of a table that is published without a replica identity: the application fails.",
    mend: "`alter table … add primary key …`, `alter table … replica identity using index …` or `alter table … replica identity full`.",
};
pub(super) static KEY_COLUMN: Rule = Rule {
    code: "capture-key-column",
    severity: Severity::Error,
    why: "A column of the key that is not there cannot be published: the relay stops at the table's first change.",
    mend: "Correct `capture.key_columns`.",
};
pub(super) static KEY_IDENTITY: Rule = Rule {
    code: "capture-key-identity",
    severity: Severity::Error,
    why: "Of a deleted row the log has only the columns of the replica identity, so that its record would lack its key.",
    mend: "`alter table … replica identity full`",
};
pub(super) static PARTITIONS: Rule = Rule {
    code: "capture-partitions",
    severity: Severity::Error,
    why: "Each partition goes by its own name, and none of those is captured.",
    mend: "`capture.publish_via_partition_root = true`, or name the partitions in `capture.tables`.",
};
pub(super) static SELECT: Rule = Rule {
    code: "capture-select",
    severity: Severity::Error,
    why: "A snapshot reads the rows that are there already, which the relay's role may not; the stream needs no such right.",
    mend: "`grant usage on schema … to …`; `grant select on table … to …`",
};
pub(super) static ROW_SECURITY: Rule = Rule {
    code: "capture-row-security",
    severity: Severity::Error,
    why: "A snapshot would lack the rows that policies hide from the relay's role; the relay ends instead.",
    mend: "`alter role … bypassrls`",
};
pub(super) static SNAPSHOT_SLOT: Rule = Rule {
    code: "capture-snapshot-slot",
    severity: Severity::Warning,
    why: "A snapshot takes a temporary slot and a walsender of its own while it runs; without them it waits.",
    mend: "`alter system set max_replication_slots = …`, `alter system set max_wal_senders = …`, then restart the server.",
};
pub(super) static REQUESTS: Rule = Rule {
    code: "capture-requests",
    severity: Severity::Error,
    why: "What the relay is asked to read beside the stream stands in postrider.snapshots: without it a relay that captures tables does not start.",
    mend: "`postrider migrate`, then `postrider init`.",
};
pub(super) static SIGNAL_TABLE: Rule = Rule {
    code: "capture-signal-table",
    severity: Severity::Error,
    why: "The table by which snapshots are asked for is not there.",
    mend: "Create it and run `postrider init`, or leave `capture.signal_table` out.",
};
pub(super) static SIGNAL_COLUMNS: Rule = Rule {
    code: "capture-signal-columns",
    severity: Severity::Error,
    why: "A signal has three parts in three columns: its id, its type and its data.",
    mend: "Give the table the columns id, type and data, in this order.",
};
pub(super) static ALL_TABLES: Rule = Rule {
    code: "capture-all-tables",
    severity: Severity::Warning,
    why: "The server decodes and sends every change of tables that nobody captures, those of the outboxes included.",
    mend: "Create a publication of the captured tables alone, let the relay pass the place in the log, and name it in `capture.publication`.",
};
pub(super) static OTHER_TABLES: Rule = Rule {
    code: "capture-other-tables",
    severity: Severity::Warning,
    why: "The server decodes and sends changes of tables that are not captured, and the relay throws them away.",
    mend: "`alter publication … drop table …`",
};

pub(in crate::slots::check) const RULES: &[&Rule] = &[
    &TABLE,
    &NO_TABLE,
    &KIND,
    &UNLOGGED,
    &PUBLICATION,
    &YOUNGER,
    &TABLE_MISSING,
    &OPERATIONS,
    &ROOT,
    &ROW_FILTER,
    &KEY_HIDDEN,
    &IDENTITY,
    &KEY_COLUMN,
    &KEY_IDENTITY,
    &PARTITIONS,
    &SELECT,
    &ROW_SECURITY,
    &SNAPSHOT_SLOT,
    &REQUESTS,
    &SIGNAL_TABLE,
    &SIGNAL_COLUMNS,
    &ALL_TABLES,
    &OTHER_TABLES,
];
