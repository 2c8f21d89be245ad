//! The writing end: accepts batches in order, and tells later when each is durable.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::pipeline::error::{End, Error, Kind};
use crate::pipeline::message::Messages;
use crate::pipeline::source::Progress;

/// Accepts batches in order and makes them durable.
///
/// Called by the pump alone. `send` and `record` return when everything was *accepted*; their receipts resolve when
/// it is *durable*, possibly out of order. After an error the pump calls [`reset`](Sink::reset) before it sends again.
pub trait Sink: Send {
    /// Looks for what can never be made durable, as far as that can be known before anything of the batch is accepted;
    /// in the batch's order. May ask the service, and wait for it. Whoever sends asks first, and leaves out what is refused.
    fn admit(&mut self, messages: &Messages) -> impl Future<Output = Result<Vec<Refused>, Error>> + Send {
        let _ = messages;
        std::future::ready(Ok(Vec::new()))
    }

    /// Accepts a batch, in order, waiting for room. An error of kind `Refused` means that nothing of the batch was
    /// accepted. Dropped before it returns, a part may have been accepted and may still be delivered: the caller then
    /// treats the whole batch as not delivered.
    ///
    /// The receipt of a [part](crate::pipeline::Part) with more to follow tells nothing; that of the last part is the batch's.
    fn send(&mut self, messages: Messages) -> impl Future<Output = Result<Receipt, Error>> + Send;

    /// Whether a batch and the note of how far it reaches become durable as one, or not at all. Then the pump gives the note
    /// before the batch by [`cover`](Sink::cover), sends batches without messages for their notes too, and records none apart.
    fn is_atomic(&self) -> bool {
        false
    }

    /// The note of the batch that is sent next, for a sink that [is atomic](Sink::is_atomic).
    fn cover(&mut self, note: Progress) {
        let _ = note;
    }

    /// The newest note that is durable, if the sink is atomic: what it covers is delivered, and nothing else is. After any
    /// trouble the source must go on exactly there.
    fn newest(&self) -> Option<Progress> {
        None
    }

    /// The source has nothing more at the moment: what an atomic sink has accepted need not wait for company. Never waits.
    fn rest(&mut self) {}

    /// Makes a progress note durable. The newest note of a key is what opening this sink again returns.
    fn record(&mut self, progress: Progress) -> impl Future<Output = Result<Receipt, Error>> + Send;

    /// Waits until the sink has work of its own, such as a parked event that shall be delivered. Cancel safe.
    fn due(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Does the work that is [`due`](Sink::due): its place in the order is between the batches before and after. Dropped
    /// before it returns, it is due again.
    fn attend(&mut self) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Asks the service whether it would take something now. Called while nothing is in flight, to learn when an outage ends.
    fn probe(&mut self) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Forgets what was accepted and is not on its way, and waits until nothing is in flight: what is sent afterwards
    /// cannot overtake, or be overtaken by, anything sent before.
    fn reset(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Waits until what was accepted is durable, at most `deadline`, and lets go of the sink.
    fn close(self, deadline: Duration) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The class of a reason that no sink classed.
const REFUSED: &str = "refused";

/// The class of a reason that another record does away with, once it is delivered: one that may lie in another partition.
pub const AWAITED: &str = "awaited";

/// One message that the sink could not make durable and never will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// Why, in the broker's words; without any byte of the message.
    pub reason: String,
    /// What a person can do about it, as a sentence.
    pub help: Option<String>,
    /// A later message of its key is durable already: delivered now, it would come out of order.
    pub overtaken: bool,
    /// The class of the reason, one of a few words that the sink knows: a metric's label.
    pub code: &'static str,
    /// An earlier message of its key, once it is delivered, may do away with the reason.
    pub depends: bool,
}

impl Refused {
    /// The message at `index` is refused because of `reason`, and nothing overtook it.
    #[must_use]
    pub fn new(index: usize, reason: impl Into<String>) -> Self {
        Self { index, reason: reason.into(), help: None, overtaken: false, code: REFUSED, depends: false }
    }

    /// The same with the class of its reason, one of a few words.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }
}

/// A batch's fate: durable, except for what was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durable {
    /// What was refused, in the batch's order; empty means that all is durable.
    pub refused: Vec<Refused>,
    /// The service refuses the batch for what is in it, and cannot say which message it is: nothing of it is durable, and
    /// cut after so many messages it can be told. Never 0, and less than the batch's messages.
    pub split: Option<Split>,
}

/// Where a batch shall be cut that was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// After so many of its messages.
    pub after: usize,
    /// What the service said, without any byte of a message.
    pub reason: String,
}

/// What becomes of a batch in the end.
type Outcome = Result<Durable, Error>;

/// Resolves when a batch is durable, or with the error that means it may not be.
pub struct Receipt {
    fate: oneshot::Receiver<Outcome>,
    /// Who stands between the sink and the one that waits, and has something to say of it.
    map: Option<Box<dyn FnOnce(Outcome) -> Outcome + Send>>,
    /// What is held until then, in bytes, if that is not the batch as it was given.
    holds: Option<usize>,
}

/// The sink's half of a [`Receipt`]. Dropped unresolved, the receipt reports that the sink is gone.
#[derive(Debug)]
pub struct ReceiptSender(oneshot::Sender<Outcome>);

impl Receipt {
    /// A receipt, and what resolves it.
    #[must_use]
    pub fn pending() -> (ReceiptSender, Self) {
        let (sender, fate) = oneshot::channel();
        (ReceiptSender(sender), Self { fate, map: None, holds: None })
    }

    /// A receipt that is resolved already: for a batch of no messages.
    #[must_use]
    pub fn done() -> Self {
        let (sender, receipt) = Self::pending();
        sender.resolve(Ok(Durable::default()));
        receipt
    }

    /// The same receipt, of a sink that holds so many bytes until it resolves instead of the batch as it was given.
    #[must_use]
    pub fn holding(mut self, bytes: usize) -> Self {
        self.holds = Some(bytes);
        self
    }

    /// How many bytes are held until it resolves, if that is not the batch as it was given.
    #[must_use]
    pub fn holds(&self) -> Option<usize> {
        self.holds
    }

    /// The same receipt, whose fate `map` sees first and may put in other words.
    #[must_use]
    pub fn map(self, map: impl FnOnce(Result<Durable, Error>) -> Result<Durable, Error> + Send + 'static) -> Self {
        let Self { fate, map: earlier, holds } = self;
        let map: Box<dyn FnOnce(Outcome) -> Outcome + Send> = match earlier {
            Some(earlier) => Box::new(move |fate| map(earlier(fate))),
            None => Box::new(map),
        };
        Self { fate, map: Some(map), holds }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("fate", &self.fate).finish_non_exhaustive()
    }
}

impl ReceiptSender {
    /// Tells the batch's fate. If nobody waits any more, nothing happens.
    pub fn resolve(self, fate: Result<Durable, Error>) {
        // The pump may have given the batch up, as it does when it rewinds.
        drop(self.0.send(fate));
    }
}

impl Future for Receipt {
    type Output = Result<Durable, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(fate) = Pin::new(&mut self.fate).poll(cx) else { return Poll::Pending };
        let fate = fate.unwrap_or_else(|_| {
            Err(Error::new(End::Sink, Kind::Unavailable, "the sink went away before the batch was durable"))
        });
        Poll::Ready(match self.map.take() {
            Some(map) => map(fate),
            None => fate,
        })
    }
}
