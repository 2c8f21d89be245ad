//! The core: one pump that moves batches from a source to a sink and forgets them only when they are durable.
//!
//! `Event` (written) → [`Message`] (travelling) → [`Batch`] → [`Receipt`] (durable) → [`Position`] (may be forgotten).
//! *Accepted is not durable.*
//!
//! Architecture invariant: nothing here knows a database, a broker or the configuration.

pub mod assigned;
pub mod backoff;
pub mod breaker;
pub mod budget;
#[cfg(feature = "downstream")]
pub mod dead_letters;
pub mod error;
pub mod gathered;
pub mod message;
pub mod parking;
pub mod pump;
pub mod sink;
pub mod source;
mod stall;
pub mod status;
pub mod stop;
pub mod supervise;
pub mod times;
pub mod turn;

pub use assigned::Assigned;
pub use budget::{Budget, Share};
#[cfg(feature = "downstream")]
pub use dead_letters::{DeadLetterOptions, DeadLetters, Letters};
pub use error::{Disposition, End, Error, Kind};
pub use gathered::Gathered;
pub use message::{Cut, Header, HeaderName, Message, MessageRef, Messages, Part, Span, Unfit};
pub use parking::{Lot, Parking, ParkingOptions};
pub use pump::{Limits, Pump, Reached};
pub use sink::{AWAITED, Durable, Receipt, ReceiptSender, Refused, Sink, Split};
pub use source::{Batch, Position, Progress, Source};
pub use status::{Status, StatusSnapshot};
pub use stop::{Stop, StopHandle};
pub use supervise::{Ends, Supervision, supervise};
pub use times::Times;
pub use turn::Turn;
