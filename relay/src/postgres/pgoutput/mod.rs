//! Messages of the output plugin `pgoutput`, protocol version 1, read in place: nothing is copied, allocated or guessed.
//!
//! <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>. A message is valid to its last byte, or
//! an error that names the offset; no input panics.

mod decode;
mod message;
mod relation;
mod tuple;

pub use decode::decode;
pub use message::{Begin, Commit, Delete, Insert, LogicalMessage, Message, OldTuple, Origin, Truncate, Type, Update};
pub use relation::{Relation, RelationColumn, RelationColumns, ReplicaIdentity};
pub use tuple::{Column, Columns, Tuple};
