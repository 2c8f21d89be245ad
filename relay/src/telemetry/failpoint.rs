//! Places where a test ends the process, as a power cut would: none of it is in a binary without the feature `failpoints`.
//!
//! `POSTRIDER_FAILPOINT=pump.settled` ends the process when it first comes there, `pump.settled=3` when it comes there for
//! the third time. Without the feature the configuration refuses the variable as one that it does not know.

macro_rules! failpoints {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// A place between reading an event and confirming it, at which everything that is in memory may be lost.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Failpoint {
            $($(#[$doc])* $point,)*
        }

        impl Failpoint {
            /// Every one of them: what `tests/crash.rs` walks through.
            pub const ALL: &[Self] = &[$(Self::$point),*];

            /// Its name in the variable.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

failpoints! {
    /// The WAL source got a chunk of the stream.
    SourceRead = "source.read",
    /// It cut a batch from it.
    SourceCut = "source.cut",
    /// The tables of an initial snapshot are locked; the snapshot is about to be taken.
    SnapshotBegin = "snapshot.begin",
    /// Every session that reads it has it.
    SnapshotTaken = "snapshot.taken",
    /// Rows of it were shaped.
    SnapshotShaped = "snapshot.shaped",
    /// The source has a batch of them.
    SnapshotBatch = "snapshot.batch",
    /// All were handed on; nothing says so yet.
    SnapshotOver = "snapshot.over",
    /// The source is about to stream what was committed since.
    SnapshotStream = "snapshot.stream",
    /// A signal is kept; the stream has not passed it.
    SourceSignal = "source.signal",
    /// A snapshot beside the stream has read a chunk.
    BesideRead = "beside.read",
    /// Its rows are cut; the sink does not know of them.
    BesideCut = "beside.cut",
    /// How far it came is written down.
    BesideNoted = "beside.noted",
    /// The pump has a batch that the sink does not know of.
    PumpBatch = "pump.batch",
    /// The sink accepted the batch; nothing of it need be durable.
    PumpAccepted = "pump.accepted",
    /// The batch is durable; no progress record says so.
    PumpSettled = "pump.settled",
    /// A progress record is about to be sent.
    PumpRecord = "pump.record",
    /// It is on its way.
    PumpRecording = "pump.recording",
    /// It is durable; nothing is acknowledged.
    PumpRecorded = "pump.recorded",
    /// Everything it covers is acknowledged.
    PumpAcknowledged = "pump.acknowledged",
    /// The pump was told to stop and waits for what is in flight.
    PumpDrain = "pump.drain",
    /// Everything in flight is acknowledged; the ends are still open.
    PumpDrained = "pump.drained",
    /// The source is about to hand the position to the stream, which confirms it.
    SourceAcknowledge = "source.acknowledge",
    /// The stream has the position; the server need not.
    SourceAcknowledged = "source.acknowledged",
    /// The source is about to leave its stream and go back.
    SourceRewind = "source.rewind",
    /// The old stream is gone, and there is no new one.
    SourceStopped = "source.stopped",
    /// The source reads again from where it was acknowledged.
    SourceRewound = "source.rewound",
    /// The source is about to close.
    SourceClose = "source.close",
    /// The Kafka sink is about to look what of a batch its topics take.
    KafkaAdmit = "kafka.admit",
    /// The topics that it needs are known, or made.
    KafkaAdmitted = "kafka.admitted",
    /// What surrounds the sink knows what of a batch is refused.
    ParkingAdmitted = "parking.admitted",
    /// Some of it must be set aside or left out, and nothing is yet.
    ParkingSorted = "parking.sorted",
    /// It is about to be parked.
    ParkingPark = "parking.park",
    /// It is parked; the rest of the batch is not sent.
    ParkingParked = "parking.parked",
    /// Parked events are to be tried again and were read.
    ParkingDue = "parking.due",
    /// They are delivered; the lot does not know.
    ParkingAgain = "parking.again",
    /// The lot knows.
    ParkingConcluded = "parking.concluded",
    /// Nothing more is to be tried again.
    ParkingServed = "parking.served",
    /// It is about to give a batch to the producer.
    KafkaSend = "kafka.send",
    /// The producer has the first message of a batch.
    KafkaTaken = "kafka.taken",
    /// The producer has all messages of a batch.
    KafkaSent = "kafka.sent",
    /// Everything in a transaction is delivered; it is about to be committed.
    KafkaCommit = "kafka.commit",
    /// It is committed; nobody knows.
    KafkaCommitted = "kafka.committed",
    /// The transactional id is taken over from whoever had it; the progress is not read.
    KafkaClaimed = "kafka.claimed",
    /// It is about to throw away what the producer holds.
    KafkaReset = "kafka.reset",
    /// A new producer took the place of the old one.
    KafkaRenewed = "kafka.renewed",
    /// It is about to close.
    KafkaClose = "kafka.close",
    /// `slot recover` has dropped a slot that is of no use.
    RecoverDropped = "recover.dropped",
    /// It holds a place in the log.
    RecoverHeld = "recover.held",
    /// What was not delivered is written anew behind that place; no slot has it.
    RecoverPublished = "recover.published",
    /// The new slot is there; the progress record is still that of the old one.
    RecoverCreated = "recover.created",
    /// Tables shall be read again; the progress record is still that of the old slot.
    RecoverRequested = "recover.requested",
}

/// The process comes to `point`: it goes on, unless a test armed it.
#[cfg(feature = "failpoints")]
pub fn reach(point: Failpoint) {
    armed::reach(point);
}

/// The process comes to `point`, which is nothing here.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_: Failpoint) {}

#[cfg(feature = "failpoints")]
pub use armed::{NoSuchFailpoint, arm};

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::telemetry::failpoint::Failpoint;

    /// Names the failpoint, and how often the process comes there before it ends.
    const VARIABLE: &str = "POSTRIDER_FAILPOINT";

    static ARMED: OnceLock<Armed> = OnceLock::new();

    #[derive(Debug)]
    struct Armed {
        point: Failpoint,
        left: AtomicU64,
    }

    /// The variable holds something else than a failpoint.
    #[derive(Debug, thiserror::Error)]
    #[error("{VARIABLE} is {found:?}; it takes NAME or NAME=COUNT, where NAME is one of: {}", names())]
    pub struct NoSuchFailpoint {
        found: String,
    }

    /// Arms the failpoint that the environment names, if it names one.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn arm() -> Result<(), NoSuchFailpoint> {
        let Some(found) = std::env::var_os(VARIABLE) else { return Ok(()) };
        let found = found.to_string_lossy().into_owned();
        let armed = parse(&found).ok_or(NoSuchFailpoint { found })?;
        // Armed twice, the first one holds.
        let _ = ARMED.set(armed);
        Ok(())
    }

    pub(super) fn reach(point: Failpoint) {
        let Some(armed) = ARMED.get().filter(|armed| armed.point == point) else { return };
        if armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            tracing::error!(failpoint = point.name(), "the process ends here, as a test wants it");
            std::process::abort();
        }
    }

    fn parse(text: &str) -> Option<Armed> {
        let (name, count) = text.split_once('=').unwrap_or((text, "1"));
        let point = Failpoint::ALL.iter().find(|point| point.name() == name)?;
        let left = count.parse().ok().filter(|count| *count > 0)?;
        Some(Armed { point: *point, left: AtomicU64::new(left) })
    }

    fn names() -> String {
        Failpoint::ALL.iter().map(|point| point.name()).collect::<Vec<_>>().join(" ")
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_failpoint_is_named_with_or_without_a_count_and_nothing_else_is_one() {
            for (text, wanted) in [
                ("kafka.send", Some((Failpoint::KafkaSend, 1))),
                ("pump.settled=3", Some((Failpoint::PumpSettled, 3))),
                ("pump.settled=0", None),
                ("pump.settled=", None),
                ("pump", None),
                ("", None),
            ] {
                let found = parse(text).map(|armed| (armed.point, armed.left.into_inner()));
                assert_eq!(found, wanted, "{text}");
            }
        }

        #[test]
        fn each_name_belongs_to_one_failpoint() {
            let mut names: Vec<_> = Failpoint::ALL.iter().map(|point| point.name()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), Failpoint::ALL.len());
            let last = Failpoint::ALL.last().expect("there are some").name();
            assert!(NoSuchFailpoint { found: "?".into() }.to_string().ends_with(last));
        }
    }
}
