//! Which transactions a snapshot of the database sees, and which the stream had delivered before it was taken.
//!
//! The two are not the same. A commit is decoded as soon as its record is flushed, and becomes visible only afterwards: with
//! synchronous replication that can be long. The stream numbers transactions with 32 bits, a snapshot with 64:
//! <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT>.

use std::collections::HashSet;

/// Transactions remembered at most; more are not known one by one. Four bytes each, and at some ten thousand commits a
/// second minutes of them, where a look a second forgets all but the few that are not visible yet.
const REMEMBERED_MAX: usize = 1 << 20;

/// What a snapshot sees, as `pg_current_snapshot()` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visible {
    /// Every transaction before it is over.
    xmin: u64,
    /// No transaction from it on is.
    xmax: u64,
    /// Those between the two that are not, in order.
    running: Vec<u64>,
}

impl Visible {
    /// Reads `xmin:xmax:xip,…`; `None` if it is not that.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let running = parts.next()?.split(',').filter(|xid| !xid.is_empty());
        let mut running = running.map(|xid| xid.parse().ok()).collect::<Option<Vec<u64>>>()?;
        running.sort_unstable();
        Some(Self { xmin, xmax, running })
    }

    /// Whether it sees what the transaction did, which has committed.
    pub(crate) fn sees(&self, xid: u32) -> bool {
        let xid = self.widen(xid);
        xid < self.xmin || (xid < self.xmax && self.running.binary_search(&xid).is_err())
    }

    /// A number that no transaction is older than of which it does not see all.
    pub(crate) fn oldest(&self) -> u32 {
        self.xmin as u32
    }

    /// The number with its epoch: the one next to the snapshot, since no two running transactions are 2³¹ apart.
    fn widen(&self, xid: u32) -> u64 {
        let distance = (xid.wrapping_sub(self.xmax as u32)).cast_signed();
        self.xmax.saturating_add_signed(distance.into())
    }
}

/// Transactions that the stream has delivered of late, and that may not be visible yet.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Recent before the window was opened.
    before: HashSet<u32>,
    /// Recent since: their changes were noted.
    since: Vec<u32>,
    /// Those that ran when this began to remember and may have been delivered before; `None` until they were asked for.
    suspects: Option<HashSet<u32>>,
}

impl Recent {
    /// Whether it knows what was delivered before it began.
    pub(crate) fn is_known(&self) -> bool {
        self.suspects.is_some()
    }

    /// Learns which transactions were running at some time after it began: any other that was delivered before is visible.
    pub(crate) fn learn(&mut self, running: HashSet<u32>) {
        self.suspects = Some(running);
    }

    /// A transaction was delivered.
    pub(crate) fn deliver(&mut self, xid: u32) {
        if let Some(suspects) = &mut self.suspects {
            suspects.remove(&xid);
        }
        self.since.push(xid);
        if self.since.len() + self.before.len() > REMEMBERED_MAX {
            *self = Self::default();
        }
    }

    /// A window is opened; `under_way` is a transaction of which a part was delivered already.
    pub(crate) fn open(&mut self, under_way: Option<u32>) {
        self.before.extend(self.since.drain(..).chain(under_way));
    }

    /// Forgets what every later snapshot sees, because this one does.
    pub(crate) fn forget(&mut self, visible: &Visible) {
        self.before.retain(|xid| !visible.sees(*xid));
        self.since.retain(|xid| !visible.sees(*xid));
        if let Some(suspects) = &mut self.suspects {
            suspects.retain(|xid| !visible.sees(*xid));
        }
    }

    /// Whether the snapshot does not see one that was delivered before the window was opened, and that could have changed
    /// what was read: `writers` are the transactions that had written the table just before the snapshot was taken.
    pub(crate) fn is_ahead_of(&self, visible: &Visible, writers: &HashSet<u32>) -> bool {
        let Some(suspects) = &self.suspects else { return true };
        writers.iter().any(|xid| !visible.sees(*xid) && (self.before.contains(xid) || suspects.contains(xid)))
    }

    /// How many it remembers.
    pub(crate) fn len(&self) -> usize {
        self.before.len() + self.since.len() + self.suspects.as_ref().map_or(0, HashSet::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(text: &str) -> Visible {
        Visible::parse(text).expect("a snapshot")
    }

    #[test]
    fn a_snapshot_sees_what_ended_before_it() {
        let snapshot = visible("10:20:10,14,15");
        for (xid, sees) in [(9, true), (10, false), (11, true), (14, false), (19, true), (20, false), (21, false)] {
            assert_eq!(snapshot.sees(xid), sees, "{xid}");
        }
        assert!(visible("10:10:").sees(9) && !visible("10:10:").sees(10));
    }

    #[test]
    fn numbers_of_32_bits_are_read_next_to_the_snapshot() {
        let epoch = 1_u64 << 32;
        let snapshot = visible(&format!("{}:{}:{}", epoch - 5, epoch + 5, epoch - 5));
        for (xid, sees) in [(u32::MAX - 5, true), (u32::MAX - 4, false), (u32::MAX, true), (4, true), (5, false)] {
            assert_eq!(snapshot.sees(xid), sees, "{xid}");
        }
        let later = visible(&format!("{0}:{0}:", 3 * epoch + 100));
        assert!(later.sees(99) && !later.sees(100) && later.sees(u32::MAX));
    }

    #[test]
    fn what_is_no_snapshot_is_told() {
        for text in ["", "1", "1:2", "a:2:", "1:2:x", "1:2:3,,y"] {
            assert_eq!(Visible::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_transaction_delivered_before_the_window_and_not_visible_is_told() {
        let mut delivered = Recent::default();
        let writers = HashSet::from([7, 8]);
        assert!(delivered.is_ahead_of(&visible("9:9:"), &writers), "nothing is known yet");
        delivered.learn(HashSet::from([8]));
        assert!(!delivered.is_ahead_of(&visible("9:9:"), &writers));
        assert!(delivered.is_ahead_of(&visible("8:9:8"), &writers), "it may have been delivered by another process");

        delivered.deliver(8);
        assert!(!delivered.is_ahead_of(&visible("8:9:8"), &writers), "its changes were noted");
        delivered.open(Some(7));
        assert!(delivered.is_ahead_of(&visible("7:9:7"), &writers));
        assert!(delivered.is_ahead_of(&visible("8:9:8"), &writers));
        assert!(!delivered.is_ahead_of(&visible("8:9:8"), &HashSet::from([5])), "it wrote other tables");
        delivered.forget(&visible("8:9:8"));
        assert_eq!(delivered.len(), 1);
        delivered.forget(&visible("9:9:"));
        assert_eq!(delivered.len(), 0);
    }

    #[test]
    fn memory_is_bounded_and_what_it_lost_must_be_asked_for() {
        let mut delivered = Recent::default();
        delivered.learn(HashSet::new());
        (0..=REMEMBERED_MAX as u32).for_each(|xid| delivered.deliver(xid));
        assert!(!delivered.is_known() && delivered.len() == 0);
    }
}
