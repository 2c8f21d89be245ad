//! What every source promises, as tests: a new source adds one `promises!` line.
//!
//! What only one source can show stands in a file of its own.

mod capture;
#[cfg(feature = "downstream")]
mod kafka;
mod polling;
mod pooler;
mod rows;
mod wal;

use std::ops::Range;
use std::time::Duration;

use postrider_relay::pipeline::{Batch, Messages, Position, Progress, Source};

/// Longer than anything here may take: a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// One source under test, with an origin of its own.
trait Rig {
    type Source: Source;

    /// Opens the source where `progress` ends.
    async fn open(&self, progress: Option<Progress>) -> Self::Source;

    /// Commits each of these numbers as an event of its own; its value is the number.
    async fn write(&self, numbers: Range<u64>);

    /// Commits all of these numbers at once.
    async fn write_together(&self, numbers: Range<u64>);

    /// Commits something that is no event: the source advances without a message.
    async fn write_nothing(&self);

    /// How far the origin has forgotten, in a measure of its own that only grows.
    async fn forgotten(&self) -> u64;

    /// Where the origin's newest entry ends, in the same measure.
    async fn newest(&self) -> u64;
}

macro_rules! promises {
    ($($source:ident: $rig:expr;)*) => {
        $(mod $source {
            use super::*;

            #[tokio::test]
            async fn everything_committed_comes_once_and_in_order() {
                super::everything_committed_comes_once_and_in_order(&$rig("order")).await;
            }

            #[tokio::test]
            async fn a_dropped_next_loses_nothing() {
                super::a_dropped_next_loses_nothing(&$rig("cancel")).await;
            }

            #[tokio::test]
            async fn nothing_is_forgotten_before_it_is_acknowledged_and_everything_after() {
                super::nothing_is_forgotten_before_it_is_acknowledged_and_everything_after(&$rig("forget")).await;
            }

            #[tokio::test]
            async fn rewinding_repeats_what_was_not_acknowledged_and_nothing_else() {
                super::rewinding_repeats_what_was_not_acknowledged_and_nothing_else(&$rig("rewind")).await;
            }

            #[tokio::test]
            async fn closing_reports_the_last_acknowledgement_and_lets_go() {
                super::closing_reports_the_last_acknowledgement_and_lets_go(&$rig("close")).await;
            }

            #[tokio::test]
            async fn opening_at_a_progress_goes_on_after_it_even_inside_a_commit() {
                super::opening_at_a_progress_goes_on_after_it_even_inside_a_commit(&$rig("progress")).await;
            }

            #[tokio::test]
            async fn what_is_no_event_is_forgotten_too() {
                super::what_is_no_event_is_forgotten_too(&$rig("idle")).await;
            }
        })*
    };
}

promises! {
    of_the_wal: wal::Outbox::new;
    of_the_wal_over_tls: wal::Outbox::over_tls;
    of_an_outbox_beside_captured_tables: capture::Beside::new;
    of_a_table_that_is_polled: polling::Table::new;
    of_a_table_whose_rows_are_deleted: polling::Table::deleting;
    of_a_table_without_transactions: polling::Table::foreign;
    of_a_table_behind_a_pooler: polling::Table::pooled;
}

async fn everything_committed_comes_once_and_in_order(rig: &impl Rig) {
    rig.write(0..20).await;
    let mut source = rig.open(None).await;
    rig.write_together(20..300).await;
    rig.write(300..320).await;
    assert_eq!(read(&mut source, 320).await.numbers, (0..320).collect::<Vec<_>>());
}

async fn a_dropped_next_loses_nothing(rig: &impl Rig) {
    let mut source = rig.open(None).await;
    let mut numbers = Vec::new();
    let (mut dropped, mut written) = (0, 0);
    while numbers.len() < 2000 {
        if written < 2000 && written == numbers.len() as u64 {
            rig.write_together(written..written + 100).await;
            written += 100;
        }
        // Asked once and dropped, again and again, while something arrives.
        tokio::select! {
            biased;
            batch = source.next() => numbers.extend(of(&batch.expect("the source goes on").messages)),
            () = tokio::task::yield_now() => dropped += 1,
        }
    }
    assert!(dropped > 20, "only {dropped} calls were dropped");
    assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
}

async fn nothing_is_forgotten_before_it_is_acknowledged_and_everything_after(rig: &impl Rig) {
    let mut source = rig.open(None).await;
    let before = rig.forgotten().await;
    rig.write(0..10).await;
    let first = read(&mut source, 10).await;
    let between = rig.newest().await;
    rig.write(10..20).await;
    let second = read(&mut source, 10).await;
    assert!(rig.forgotten().await <= before, "forgotten unasked");

    first.acknowledge(&mut source).await;
    reaches(rig, "what was acknowledged is forgotten", |forgotten| forgotten > before).await;
    // Longer than a source takes to report: still nothing of the second ten.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(rig.forgotten().await <= between, "forgotten before it was acknowledged");
    }
    second.acknowledge(&mut source).await;
    reaches(rig, "the rest is forgotten", |forgotten| forgotten > between).await;
}

async fn rewinding_repeats_what_was_not_acknowledged_and_nothing_else(rig: &impl Rig) {
    let mut source = rig.open(None).await;
    rig.write(0..10).await;
    read(&mut source, 10).await.acknowledge(&mut source).await;
    rig.write(10..20).await;
    rig.write_together(20..40).await;
    let before = read(&mut source, 30).await;
    for _ in 0..2 {
        source.rewind().await.expect("the source can go back");
        let again = read(&mut source, 30).await;
        assert_eq!(again.numbers, before.numbers);
        assert_eq!(again.texts, before.texts, "positions are repeated too");
    }
    source.rewind().await.expect("the source can go back");
    let rest = read(&mut source, 30).await;
    rest.acknowledge(&mut source).await;
    source.rewind().await.expect("the source can go back");
    rig.write(40..41).await;
    assert_eq!(read(&mut source, 1).await.numbers, [40]);
}

async fn closing_reports_the_last_acknowledgement_and_lets_go(rig: &impl Rig) {
    let mut source = rig.open(None).await;
    rig.write(0..10).await;
    let first = read(&mut source, 10).await;
    let end = rig.newest().await;
    rig.write(10..20).await;
    drop(read(&mut source, 10).await);
    let progress = first.acknowledge(&mut source).await;
    source.close().await.expect("the source closes");
    let forgotten = rig.forgotten().await;
    // It has been told, though no time was left for a regular report; and of the rest nothing.
    assert!(forgotten <= end, "{forgotten} {end}");
    let mut source = rig.open(progress).await;
    assert_eq!(read(&mut source, 10).await.numbers, (10..20).collect::<Vec<_>>());
    assert!(rig.forgotten().await >= forgotten);
}

async fn opening_at_a_progress_goes_on_after_it_even_inside_a_commit(rig: &impl Rig) {
    const EVENTS: u64 = 3_000;
    let mut source = rig.open(None).await;
    let before = rig.forgotten().await;
    rig.write_together(0..EVENTS).await;
    let mut progress = None;
    let mut numbers = Vec::new();
    // Each source begins where the one before it ended, somewhere in the middle.
    while numbers.len() < EVENTS as usize {
        let batch = next(&mut source).await;
        let some = of(&batch.messages);
        let ends_here = numbers.len() + some.len() == EVENTS as usize;
        if !some.is_empty() {
            progress = batch.end.progress().or(progress);
            numbers.extend(some);
            source.acknowledge(batch.end).await.expect("the source forgets");
        }
        if !ends_here {
            assert!(rig.forgotten().await <= before, "a part of a commit was forgotten");
        }
        drop(source);
        source = rig.open(progress.clone()).await;
    }
    assert_eq!(numbers, (0..EVENTS).collect::<Vec<_>>());
    rig.write(EVENTS..EVENTS + 1).await;
    assert_eq!(read(&mut source, 1).await.numbers, [EVENTS]);
}

async fn what_is_no_event_is_forgotten_too(rig: &impl Rig) {
    let mut source = rig.open(None).await;
    rig.write(0..1).await;
    read(&mut source, 1).await.acknowledge(&mut source).await;
    rig.write_nothing().await;
    let end = rig.newest().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while rig.forgotten().await < end {
        assert!(tokio::time::Instant::now() < deadline, "an idle source holds its origin back");
        // The advance is a batch without messages, which waits for its turn like any other.
        if let Ok(batch) = tokio::time::timeout(Duration::from_millis(50), source.next()).await {
            let batch = batch.expect("the source goes on");
            assert_eq!(of(&batch.messages), Vec::<u64>::new());
            source.acknowledge(batch.end).await.expect("the source forgets");
        }
    }
}

/// What was read, and not acknowledged yet.
struct ReadOn<P> {
    numbers: Vec<u64>,
    /// Each message with its key, value and headers, in a form to compare.
    texts: Vec<String>,
    ends: Vec<P>,
}

impl<P: Position> ReadOn<P> {
    /// Acknowledges all of it; the progress that it reaches.
    async fn acknowledge(self, source: &mut impl Source<Position = P>) -> Option<Progress> {
        let mut progress = None;
        for end in self.ends {
            progress = end.progress();
            source.acknowledge(end).await.expect("the source forgets");
        }
        progress
    }
}

/// Reads exactly `count` messages: more would be a repetition.
async fn read<S: Source>(source: &mut S, count: usize) -> ReadOn<S::Position> {
    let mut read = ReadOn { numbers: Vec::new(), texts: Vec::new(), ends: Vec::new() };
    while read.numbers.len() < count {
        let batch = next(source).await;
        read.numbers.extend(of(&batch.messages));
        read.texts.extend(batch.messages.iter().map(|message| {
            let headers: Vec<_> =
                message.headers().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect();
            format!("{:?} {:?} {:?} {headers:?}", message.topic(), message.key(), message.value())
        }));
        read.ends.push(batch.end);
    }
    assert_eq!(read.numbers.len(), count, "{:?}", read.numbers);
    read
}

async fn next<S: Source>(source: &mut S) -> Batch<S::Position> {
    tokio::time::timeout(PATIENCE, source.next()).await.expect("something arrives").expect("the source goes on")
}

/// The numbers that were written, from the messages' values.
fn of(messages: &Messages) -> Vec<u64> {
    let number = |value: &[u8]| std::str::from_utf8(value).ok()?.parse().ok();
    messages.iter().map(|message| message.value().and_then(number).expect("a number was written")).collect()
}

async fn reaches(rig: &impl Rig, what: &str, enough: impl Fn(u64) -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !enough(rig.forgotten().await) {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
