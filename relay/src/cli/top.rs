//! `postrider top`: a live picture of a running relay.

use std::time::Duration;

use crate::{
    cli::{Error, File, print, status::Place},
    top::{frame, watch},
};

/// Shows a running relay live: rates, lag, stages, retained WAL, troubles and the newest error.
///
/// Asks the relay's admin endpoint again and again, over plain HTTP; the relay may be on another
/// machine. `q`, Esc or Ctrl-C end it.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Top {
    #[command(flatten)]
    place: Place,
    /// Between two looks, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    interval_ms: u64,
    /// Print one picture as text, taken over one interval, and end.
    #[arg(long)]
    once: bool,
}

impl Top {
    pub(crate) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let (endpoint, interval) = (self.place.endpoint(config)?, Duration::from_millis(self.interval_ms));
        if self.once {
            return print(&frame(&endpoint, interval)?);
        }
        Ok(watch(&endpoint, interval)?)
    }
}
