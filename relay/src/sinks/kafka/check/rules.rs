//! What is looked for at the broker.

use crate::finding::{Rule, Severity};

pub(super) static UNREACHABLE: Rule = Rule {
    code: "broker-unreachable",
    severity: Severity::Error,
    why: "Without a broker nothing is published, and the database keeps the log meanwhile.",
    mend: "Start a broker there, or correct `kafka.bootstrap_servers`.",
};
pub(super) static TLS: Rule = Rule {
    code: "broker-tls",
    severity: Severity::Error,
    why: "The broker and the relay do not agree on an encrypted connection, so that none comes about.",
    mend: "Correct the TLS keys under `[kafka]`: whether the listener speaks TLS, and which authority signed its certificate.",
};
pub(super) static AUTHENTICATION: Rule = Rule {
    code: "broker-authentication",
    severity: Severity::Error,
    why: "The broker does not accept who the relay says it is.",
    mend: "Correct mechanism, user and password under `[kafka]`, or create the user at the broker.",
};
pub(super) static PLAINTEXT: Rule = Rule {
    code: "broker-plaintext",
    severity: Severity::Warning,
    why: "Events, and the password where there is one, travel readable over a network.",
    mend: "Speak TLS with the brokers, by the keys under `[kafka]`.",
};
pub(super) static AUTHORIZATION: Rule = Rule {
    code: "broker-authorization",
    severity: Severity::Error,
    why: "The broker lets the relay's user in and refuses what the relay has to do.",
    mend: "`kafka-acls.sh --add --allow-principal … --operation …`",
};
pub(super) static UNANSWERED: Rule = Rule {
    code: "broker-unanswered",
    severity: Severity::Warning,
    why: "A question to the broker failed, so what it would have told is not known.",
    mend: "Check again; see the broker's log.",
};
pub(super) static TOPIC_MISSING: Rule = Rule {
    code: "topic-missing",
    severity: Severity::Error,
    why: "Events for it wait or are refused until somebody creates it: the relay may not.",
    mend: "`kafka-topics.sh --create --topic …`",
};
pub(super) static TOPIC_CREATION: Rule = Rule {
    code: "topic-creation",
    severity: Severity::Error,
    why: "The broker refuses the topics that the relay would create at the first event of their kind.",
    mend: "Correct the keys under `[topics]`, or create the topics beforehand.",
};
pub(super) static TOPIC_COLLISION: Rule = Rule {
    code: "topic-collision",
    severity: Severity::Warning,
    why: "Names that differ only in `.` and `_` share their metrics at the broker, which refuses to create the second.",
    mend: "Give one of the two another name.",
};
pub(super) static REPLICATION: Rule = Rule {
    code: "topic-replication",
    severity: Severity::Warning,
    why: "With fewer than three replicas the loss of one broker stops delivery, or loses what was acknowledged.",
    mend: "`kafka-reassign-partitions.sh` with three replicas for each partition.",
};
pub(super) static MIN_INSYNC: Rule = Rule {
    code: "topic-min-insync",
    severity: Severity::Warning,
    why: "An event then counts as durable when a single broker has it, and is lost with that broker.",
    mend: "`kafka-configs.sh --alter … --add-config min.insync.replicas=2`",
};
pub(super) static UNCLEAN: Rule = Rule {
    code: "topic-unclean-election",
    severity: Severity::Warning,
    why: "A replica that lacks acknowledged events may become the leader: they are gone, and nobody says so.",
    mend: "`kafka-configs.sh --alter … --add-config unclean.leader.election.enable=false`",
};
pub(super) static COMPACTED: Rule = Rule {
    code: "topic-compacted",
    severity: Severity::Warning,
    why: "Compaction keeps the last event of a key and drops those before it, and events without a key are refused.",
    mend: "`kafka-configs.sh --alter … --add-config cleanup.policy=delete`",
};
pub(super) static COMPACTED_KEYLESS: Rule = Rule {
    code: "topic-compacted-keyless",
    severity: Severity::Error,
    why: "A compacted topic refuses records without key, and the changes of a table without primary key have none.",
    mend: "`kafka-configs.sh --alter … --add-config cleanup.policy=delete`, or give the table a key.",
};
pub(super) static MESSAGE_BYTES: Rule = Rule {
    code: "topic-message-bytes",
    severity: Severity::Warning,
    why: "An event that the outbox takes may be too large for the topic, and is then refused.",
    mend: "`kafka-configs.sh --alter … --add-config max.message.bytes=…`",
};
pub(super) static TIMESTAMPS: Rule = Rule {
    code: "topic-timestamps",
    severity: Severity::Warning,
    why: "Events that waited for longer than the topic's window travel with a later time than that of their commit.",
    mend: "`kafka-configs.sh --alter … --add-config message.timestamp.before.max.ms=…`",
};
pub(super) static APPEND_TIME: Rule = Rule {
    code: "topic-append-time",
    severity: Severity::Note,
    why: "The broker replaces the commit time, which is the record's timestamp, by its own.",
    mend: "`kafka-configs.sh --alter … --add-config message.timestamp.type=CreateTime`",
};
pub(super) static RETENTION: Rule = Rule {
    code: "topic-retention",
    severity: Severity::Warning,
    why: "A consumer that is away for a day misses events, although the relay delivered them.",
    mend: "`kafka-configs.sh --alter … --add-config retention.ms=…`",
};
pub(super) static PROGRESS_POLICY: Rule = Rule {
    code: "progress-policy",
    severity: Severity::Error,
    why: "Without compaction the broker deletes the record of what was delivered when it is old: a gap could then not be told.",
    mend: "`kafka-configs.sh --alter … --add-config cleanup.policy=compact`",
};
pub(super) static PROGRESS_PARTITIONS: Rule = Rule {
    code: "progress-partitions",
    severity: Severity::Note,
    why: "Only the first partition of the progress topic is used.",
    mend: "Nothing needs to be done; a new progress topic should have one.",
};
pub(super) static PROGRESS_UNREADABLE: Rule = Rule {
    code: "progress-unreadable",
    severity: Severity::Error,
    why: "The relay does not start without knowing what it delivered.",
    mend: "`kafka-acls.sh --add … --operation Read --operation Write --operation Describe --topic …`",
};

pub(super) static TRANSACTION_LOG: Rule = Rule {
    code: "transaction-log",
    severity: Severity::Warning,
    why: "With fewer than three replicas the loss of one broker stops exactly-once delivery, or loses what became of a transaction.",
    mend: "`kafka-reassign-partitions.sh` with three replicas for each partition of `__transaction_state`; the brokers' transaction.state.log.replication.factor=3 and min.isr=2",
};
pub(super) static TRANSACTION_TIMEOUT: Rule = Rule {
    code: "transaction-timeout",
    severity: Severity::Error,
    why: "The brokers refuse a producer whose transactions may stay open for longer than they allow: the relay does not start.",
    mend: "Lower `kafka.transaction_timeout_ms`, or raise the brokers' transaction.max.timeout.ms.",
};
pub(super) static READ_COMMITTED: Rule = Rule {
    code: "read-committed",
    severity: Severity::Note,
    why: "A consumer that reads the uncommitted sees what was aborted, and what is sent again for it.",
    mend: "Set isolation.level=read_committed in every consumer; Java's default is read_uncommitted.",
};

/// Every rule of the broker's part.
pub(super) const RULES: &[&Rule] = &[
    &UNREACHABLE,
    &TLS,
    &AUTHENTICATION,
    &PLAINTEXT,
    &AUTHORIZATION,
    &UNANSWERED,
    &TOPIC_MISSING,
    &TOPIC_CREATION,
    &TOPIC_COLLISION,
    &REPLICATION,
    &MIN_INSYNC,
    &UNCLEAN,
    &COMPACTED,
    &COMPACTED_KEYLESS,
    &MESSAGE_BYTES,
    &TIMESTAMPS,
    &APPEND_TIME,
    &RETENTION,
    &PROGRESS_POLICY,
    &PROGRESS_PARTITIONS,
    &PROGRESS_UNREADABLE,
    &TRANSACTION_LOG,
    &TRANSACTION_TIMEOUT,
    &READ_COMMITTED,
];
