//! A site on which faults happen one after the other, while events are written.

use harness::{Ended, Launch, Relay, Site, TopicReader};

use crate::faults::book::{Fault, Then};

/// The place, what was read of it, and the faults whose events have not been counted yet.
pub(crate) struct Scene {
    pub(crate) site: Site,
    pub(crate) reader: TopicReader,
    written: i64,
    unsettled: Vec<Fault>,
}

impl Scene {
    pub(crate) fn of(site: Site) -> Self {
        let reader = site.reader();
        Self { site, reader, written: 0, unsettled: Vec::new() }
    }

    /// Writes an event.
    pub(crate) async fn write(&mut self) {
        self.written += 1;
        let emit = "select postrider.emit('order', 'k', 'Changed', jsonb_build_object('n', $1::bigint))";
        self.site.db().execute(emit, &[&self.written]).await.unwrap();
    }

    /// A start that must end at once, and say why and what to do. Events written before are counted later.
    pub(crate) async fn refuses(&mut self, fault: Fault, launch: &Launch, cause: &[&str], mend: &[&str]) {
        let ended = launch.start().ended().await;
        self.refused(fault, &ended, cause, mend);
    }

    /// The same for a process that ended already.
    pub(crate) fn refused(&mut self, fault: Fault, ended: &Ended, cause: &[&str], mend: &[&str]) {
        fault.said(ended.said(), cause, mend);
        let Then::Ends(code) = fault.then() else { panic!("{} does not end a process", fault.name()) };
        assert_eq!(ended.code(), Some(code), "{}: {}", fault.name(), ended.said());
        fault.as_documented();
        self.unsettled.push(fault);
    }

    /// A running relay that is not ready, and says why; it must go on by itself later.
    pub(crate) async fn waits(&mut self, fault: Fault, relay: &mut Relay, cause: &[&str], mend: &[&str]) {
        relay.unready(&[]).await;
        self.logs(&fault, relay, cause, mend).await;
        self.unsettled.push(fault);
    }

    /// A running relay whose log says it; it must go on.
    pub(crate) async fn goes_on(&mut self, fault: Fault, relay: &Relay, cause: &[&str], mend: &[&str]) {
        self.logs(&fault, relay, cause, mend).await;
        self.unsettled.push(fault);
    }

    async fn logs(&self, fault: &Fault, relay: &Relay, cause: &[&str], mend: &[&str]) {
        let words: Vec<&str> = cause.iter().chain(mend).copied().collect();
        relay.logs(&words).await;
        fault.said(&relay.log(), cause, mend);
    }

    /// With the faults gone, an event is written, and everything ever written here arrives.
    pub(crate) async fn settle(&mut self, relay: &mut Relay) {
        self.write().await;
        relay.ready().await;
        self.site.assert_all_arrived(&self.reader).await;
        for fault in self.unsettled.drain(..) {
            fault.nothing_lost();
            if !matches!(fault.then(), Then::Ends(_)) {
                fault.as_documented();
            }
        }
    }

    /// The same with a relay of its own.
    pub(crate) async fn settle_with(&mut self, launch: &Launch) {
        let mut relay = launch.start();
        self.settle(&mut relay).await;
        relay.terminate().await.expect(0, &[]);
    }
}
