//! The program as a person meets it: arguments, files and variables in, text and exit codes out.

mod adopt;
mod backlog;
mod check;
mod database;
mod init;
mod outbox;
mod outbox_partitions;
mod parked;
pub(crate) mod program;
mod slot;
mod status;
mod usage;
