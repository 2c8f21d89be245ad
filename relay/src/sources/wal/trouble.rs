//! What ends a stream, and what becomes of it.

use tokio::task::JoinError;

use crate::pipeline::{End, Error, Kind};
use crate::postgres;
use crate::sources::wal::WalOptions;

/// The slot may have been released, or lost, while it was spilled: whoever opens sources knows what follows.
pub(super) fn anew(error: Error) -> Error {
    match error.kind() {
        Kind::Gap => Error::new(End::Source, Kind::Unavailable, error.chain()).at_once(),
        _ => error,
    }
}

/// A question that was not answered because this process gave it up.
pub(super) fn interrupted(error: JoinError) -> Error {
    Error::new(End::Source, Kind::Broken, "a question to Postgres was interrupted").because(error)
}

/// An error of the running stream.
pub(super) fn stream_error(options: &WalOptions, error: postgres::error::Error) -> Error {
    let slot = &options.slot;
    match error.kind() {
        postgres::error::Kind::PublicationMissing => {
            let context = format!(
                "publication {:?} does not exist at the place in the WAL that slot {slot:?} reads: it was created \
                 after the slot, or dropped and created again",
                options.publication
            );
            Error::new(End::Source, Kind::Gap, context).because(error).with_help(
                "Postgres cannot decode what was written before the publication existed. Run `postrider slot recover --anew`: \
                 it makes the slot anew, and publishes from the outbox table what was written since.",
            )
        }
        postgres::error::Kind::Protocol => {
            Error::new(End::Source, Kind::Protocol, format!("slot {slot:?} sent what cannot be read")).because(error)
        }
        postgres::error::Kind::Prerequisite => {
            Error::new(End::Source, Kind::Setup, format!("slot {slot:?} cannot go on")).because(error)
        }
        // Whatever else ends a stream is examined when it is opened again.
        _ => Error::new(End::Source, Kind::Unavailable, format!("the stream of slot {slot:?} ended")).because(error),
    }
}
