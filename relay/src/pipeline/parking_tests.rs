//! Parking between a sink that refuses what it is told to and a lot in memory: what is sent, what waits, and in which order
//! it comes out again.

use bytes::Bytes;

use super::*;
use crate::pipeline::message::ELSEWHERE;
use crate::pipeline::parking::world::{Shared, TestLot, TestSink, World};

/// Parking around the two, and what a test asks of it.
struct Rig {
    world: Shared,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
    parking: Parking<TestSink, TestLot>,
}

impl Rig {
    async fn new(on_refusal: OnRefusal) -> Self {
        Self::over(Shared::default(), on_refusal).await
    }

    async fn over(world: Shared, on_refusal: OnRefusal) -> Self {
        let (metrics, status) = (Metrics::new(), Arc::new(Status::new("source", "sink")));
        let options = ParkingOptions {
            policies: Policies::new(vec![RoutePolicy { name: "orders".into(), on_refusal }]),
            capacity: Capacity { events_max: 10, bytes_max: 1000 },
            metrics: Arc::clone(&metrics),
            status: Arc::clone(&status),
        };
        let (sink, lot) = (TestSink(Arc::clone(&world)), TestLot(Arc::clone(&world)));
        let parking = Parking::open(sink, lot, options).await.expect("the lot is there");
        Self { world, status, metrics, parking }
    }

    /// The relay after a crash: everything but the lot and what was sent is new.
    async fn restarted(self) -> Self {
        Self::over(self.world, OnRefusal::Park).await
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    async fn send(&mut self, batch: &[(u128, &str)]) -> Result<(), Error> {
        self.parking.send(messages(batch)).await?.await.map(drop)
    }

    /// Attends to all that is due.
    async fn attend(&mut self) {
        while now(self.parking.due()).await {
            self.parking.attend().await.expect("nothing is in the way");
        }
    }

    fn sent(&self) -> Vec<u128> {
        self.world().sent.iter().map(|(position, ..)| *position).collect()
    }

    fn states(&self) -> Vec<(u128, &'static str)> {
        self.world().lot.iter().map(|(position, row)| (*position, row.state)).collect()
    }

    fn ask(&self, position: u128, state: &'static str) {
        self.world().lot.get_mut(&position).expect("it is in the lot").state = state;
    }
}

/// Whether the future is ready within a moment.
async fn now(future: impl Future<Output = ()>) -> bool {
    tokio::time::timeout(Duration::from_millis(50), future).await.is_ok()
}

/// Messages of topic `t`; the key `-` is none.
fn messages(batch: &[(u128, &str)]) -> Messages {
    let mut messages = Messages::over(Bytes::new());
    for (position, key) in batch {
        push(&mut messages, *position, key, None);
    }
    messages
}

fn push(messages: &mut Messages, position: u128, key: &str, unfit: Option<&str>) {
    let key = (key != "-").then(|| messages.keep(key.as_bytes()));
    let timestamp_ms = i64::try_from(position).expect("small") * 10;
    let message = Message { topic: Arc::from("t"), key, value: None, headers: 0..0, timestamp_ms, position, route: 0 };
    match unfit {
        Some(reason) => messages.push_unfit(message, reason),
        None => messages.push(message),
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_key_of_a_refused_message_waits_and_all_others_go_on() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.insert(2);
    rig.send(&[(1, "a"), (2, "a"), (3, "b"), (4, "a"), (5, "-")]).await.unwrap();
    rig.send(&[(6, "a"), (7, "b")]).await.unwrap();
    assert_eq!(rig.sent(), [1, 3, 5, 7]);
    assert_eq!(rig.states(), [(2, "parked"), (4, "waiting"), (6, "waiting")]);
    let status = rig.status.snapshot();
    assert_eq!((status.parked_events, status.held_keys), (3, 1));
    assert_eq!(rig.metrics.parking.parked.with_label_values(&["waiting"]).get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_without_a_key_holds_nothing() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.insert(1);
    rig.send(&[(1, "-"), (2, "-"), (3, "a")]).await.unwrap();
    assert_eq!(rig.sent(), [2, 3]);
    assert_eq!(rig.status.snapshot().held_keys, 0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_delivers_in_order_before_any_new_message_of_the_key() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.insert(1);
    rig.send(&[(1, "a"), (2, "a"), (3, "a"), (4, "a"), (5, "a"), (6, "b")]).await.unwrap();
    assert!(!now(rig.parking.due()).await, "nobody asked");
    rig.world().refuses.clear();
    rig.ask(1, "retry");
    rig.attend().await;
    rig.send(&[(7, "a")]).await.unwrap();
    assert_eq!(rig.sent(), [6, 1, 2, 3, 4, 5, 7]);
    assert!(rig.states().iter().all(|(_, state)| *state == "delivered"));
    assert_eq!(rig.status.snapshot().held_keys, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_refused_again_keeps_those_behind_it_waiting() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.extend([1, 3]);
    rig.send(&[(1, "a"), (2, "a"), (3, "a"), (4, "a")]).await.unwrap();
    rig.ask(1, "retry");
    rig.attend().await;
    assert_eq!(rig.states(), [(1, "parked"), (2, "waiting"), (3, "parked"), (4, "waiting")]);
    assert_eq!(rig.world().lot[&1].attempts, 1);

    // The first is mended, the third is not: what lies between goes.
    rig.world().refuses.remove(&1);
    rig.ask(1, "retry");
    rig.attend().await;
    assert_eq!(rig.sent(), [1, 2]);
    assert_eq!(rig.states()[2..], [(3, "parked"), (4, "waiting")]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_skipped_lets_those_behind_it_go() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.insert(1);
    rig.send(&[(1, "a"), (2, "a")]).await.unwrap();
    rig.ask(1, "skipped");
    rig.attend().await;
    rig.send(&[(3, "a")]).await.unwrap();
    assert_eq!(rig.sent(), [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_by_the_broker_at_a_retry_parks_again_and_asks_for_a_reset() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.insert(1);
    rig.send(&[(1, "a"), (2, "a")]).await.unwrap();
    rig.world().refuses.clear();
    rig.world().rejects.insert(1);
    rig.ask(1, "retry");
    rig.parking.due().await;
    let error = rig.parking.attend().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(rig.states()[0], (1, "retry"));
    // After the reset, and after the stream had its turn.
    rig.parking.due().await;
    rig.parking.attend().await.unwrap();
    assert_eq!(rig.states()[0], (1, "parked"));
    assert_eq!(rig.world().lot[&1].reason, "rejected");
}

/// The sink tells only once what a broker refused. What it told must be written down before it tells of another.
#[tokio::test(start_paused = true)]
async fn a_retry_of_several_that_the_broker_still_refuses_ends() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.extend([1, 2, 3]);
    rig.send(&[(1, "a"), (2, "b"), (3, "c")]).await.unwrap();
    rig.world().refuses.clear();
    rig.world().rejects.extend([1, 2]);
    for position in [1, 2, 3] {
        rig.ask(position, "retry");
    }
    let mut failures = 0;
    for _ in 0..4 {
        rig.parking.due().await;
        failures += usize::from(rig.parking.attend().await.is_err());
    }
    assert_eq!(failures, 2, "one for each that the broker refused");
    assert_eq!(rig.states(), [(1, "parked"), (2, "parked"), (3, "delivered")]);
}

/// A dead letter is in no table: only the memory of why keeps it one when it is read again.
#[tokio::test(start_paused = true)]
async fn dead_letters_of_several_that_the_broker_refuses_get_on_their_way() {
    let mut rig = Rig::new(OnRefusal::DeadLetter("dead".into())).await;
    rig.world().rejects.extend([1, 2]);
    for _ in 0..2 {
        rig.send(&[(1, "a"), (2, "b"), (3, "c")]).await.expect_err("the broker refuses one after the other");
    }
    rig.send(&[(1, "a"), (2, "b"), (3, "c")]).await.unwrap();
    assert!(rig.sent().ends_with(&[3]), "{:?}", rig.sent());
    assert!(rig.world().rejected.is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_held_keys_are_held_and_parking_again_changes_nothing() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.insert(2);
    rig.send(&[(1, "a"), (2, "a"), (3, "a"), (4, "b")]).await.unwrap();
    let mut rig = rig.restarted().await;
    assert_eq!(rig.status.snapshot().held_keys, 1);
    // The source reads again what came after the last progress; it is mended now, but it is parked.
    rig.world().refuses.clear();
    rig.send(&[(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "a")]).await.unwrap();
    assert_eq!(rig.sent(), [1, 4, 1, 4], "what comes before the parked one does not wait");
    assert_eq!(rig.states(), [(2, "parked"), (3, "waiting"), (5, "waiting")]);
}

#[tokio::test(start_paused = true)]
async fn what_was_settled_is_not_sent_again_when_it_is_read_again() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.extend([1, 3]);
    rig.send(&[(1, "a"), (2, "a"), (3, "b"), (4, "c")]).await.unwrap();
    rig.world().refuses.clear();
    rig.ask(1, "retry");
    rig.ask(3, "discarded");
    rig.attend().await;
    assert_eq!(rig.sent(), [4, 1, 2]);
    let mut rig = rig.restarted().await;
    rig.send(&[(1, "a"), (2, "a"), (3, "b")]).await.unwrap();
    rig.send(&[(4, "c"), (5, "a"), (6, "b")]).await.unwrap();
    assert_eq!(rig.sent(), [4, 1, 2, 4, 5, 6]);
    // Gone back without a restart, the same.
    rig.send(&[(2, "a"), (3, "b"), (4, "c")]).await.unwrap();
    assert_eq!(rig.sent(), [4, 1, 2, 4, 5, 6, 4]);
}

#[tokio::test(start_paused = true)]
async fn another_event_at_a_settled_position_is_sent() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.insert(1);
    rig.send(&[(1, "a")]).await.unwrap();
    rig.world().refuses.clear();
    rig.ask(1, "skipped");
    // The database was restored elsewhere, where another event has that position.
    rig.world().lot.get_mut(&1).unwrap().timestamp_ms = 777;
    let mut rig = rig.restarted().await;
    rig.send(&[(1, "a")]).await.unwrap();
    assert_eq!(rig.sent(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_blocks_stops_there_and_parks_nothing() {
    let mut rig = Rig::new(OnRefusal::Block).await;
    rig.world().refuses.insert(2);
    let error = rig.send(&[(1, "a"), (2, "b")]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("no room in t"), "{error}");
    assert!(error.help().is_some_and(|help| help.contains("waits here")), "{error:?}");
    assert!(rig.sent().is_empty() && rig.states().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_says_why_and_its_key_goes_on() {
    let mut rig = Rig::new(OnRefusal::DeadLetter(Arc::from("dead"))).await;
    rig.world().refuses.insert(2);
    rig.send(&[(1, "a"), (2, "a"), (3, "a")]).await.unwrap();
    let topics: Vec<_> = rig.world().sent.iter().map(|(position, topic, _)| (*position, topic.clone())).collect();
    assert_eq!(topics, [(1, "t".into()), (2 | ELSEWHERE, "dead".into()), (3, "t".into())]);
    assert!(rig.states().is_empty());
    assert_eq!(rig.metrics.parking.dead_lettered.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_dead_letter_topic_cannot_take_is_parked_as_it_was() {
    let mut rig = Rig::new(OnRefusal::DeadLetter(Arc::from("dead"))).await;
    rig.world().refuses.insert(2);
    rig.world().no_topics.insert("dead");
    rig.send(&[(1, "a"), (2, "a"), (3, "a"), (4, "b")]).await.unwrap();
    assert_eq!(rig.sent(), [1, 4]);
    assert_eq!(rig.states(), [(2, "parked"), (3, "waiting")]);
    let row = rig.world().lot[&2].clone();
    assert_eq!(row.topic, "t");
    assert!(row.reason.contains("no room in t") && row.reason.contains("no room in dead"), "{}", row.reason);
}

#[tokio::test(start_paused = true)]
async fn what_the_source_could_not_shape_is_parked_with_its_reason() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    let mut batch = messages(&[(1, "a")]);
    push(&mut batch, 2, "b", Some("it has no topic"));
    push(&mut batch, 3, "b", None);
    rig.parking.send(batch).await.unwrap().await.unwrap();
    assert_eq!(rig.sent(), [1]);
    assert_eq!(rig.states(), [(2, "parked"), (3, "waiting")]);
    assert_eq!(rig.world().lot[&2].reason, "it has no topic");
}

#[tokio::test(start_paused = true)]
async fn a_full_lot_holds_the_stream_until_there_is_room() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.extend(1..=11);
    let keys: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let batch: Vec<(u128, &str)> = (1..=11).map(|n| (n, keys[n as usize].as_str())).collect();
    rig.send(&batch[..10]).await.unwrap();
    let error = rig.send(&batch[10..]).await.unwrap_err();
    assert!(error.to_string().contains("10 of 10 events"), "{error}");
    assert_eq!((error.kind(), rig.metrics.parking.full.get()), (Kind::Refused, 1));
    // What is in the lot already needs no room.
    rig.send(&batch[..10]).await.unwrap();

    rig.ask(3, "discarded");
    rig.attend().await;
    rig.send(&batch[10..]).await.unwrap();
    assert_eq!(rig.metrics.parking.full.get(), 0);
    assert_eq!(rig.states().len(), 11);
}

#[tokio::test(start_paused = true)]
async fn without_a_lot_the_stream_waits_and_names_the_mend_until_there_is_one() {
    let world = Shared::default();
    world.lock().unwrap().no_lot = true;
    world.lock().unwrap().refuses.insert(1);
    let mut rig = Rig::over(world, OnRefusal::Park).await;
    let error = rig.send(&[(1, "a")]).await.unwrap_err();
    assert!(error.to_string().contains("there is no table"), "{error}");
    assert!(error.help().is_some_and(|help| help.contains("postrider migrate")), "{error:?}");
    rig.world().no_lot = false;
    rig.send(&[(1, "a")]).await.unwrap();
    assert_eq!(rig.states(), [(1, "parked")]);
}

#[tokio::test(start_paused = true)]
async fn a_lot_that_is_away_loses_nothing() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.insert(2);
    rig.world().away = true;
    let error = rig.send(&[(1, "a"), (2, "b")]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(rig.sent().is_empty(), "nothing of the batch was accepted");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_given_up_is_made_again() {
    let mut rig = Rig::new(OnRefusal::Park).await;
    rig.world().refuses.insert(1);
    rig.send(&[(1, "a")]).await.unwrap();
    rig.world().refuses.clear();
    rig.ask(1, "retry");
    rig.parking.due().await;
    rig.world().holds = true;
    assert!(!now(async { drop(rig.parking.attend().await) }).await, "the receipt is open");
    assert_eq!(rig.states(), [(1, "retry")]);
    rig.world().holds = false;
    rig.attend().await;
    assert_eq!(rig.states(), [(1, "delivered")]);
    assert_eq!(rig.sent(), [1, 1], "a repetition, as after a crash");
}
