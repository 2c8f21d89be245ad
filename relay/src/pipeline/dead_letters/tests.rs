//! What becomes a letter, what stays out when it comes again, and what a replay delivers: once, in the order of each key.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::world::{Shared, TestLetters, TestSink, batch, open, open_with, part};
use super::*;

type Dead = DeadLetters<TestSink, TestLetters>;

/// Sends a batch as the pump does; its fate.
async fn send(dead: &mut Dead, records: &[(i64, &str)]) -> Result<Durable, Error> {
    let fate = match dead.send(batch(records)).await {
        Ok(receipt) => receipt.await,
        Err(error) => Err(error),
    };
    if fate.is_err() {
        dead.reset().await.unwrap();
    }
    fate
}

/// Asks for something, as a person does.
fn ask(world: &Shared, verb: Verb, offsets: &[i64], again: bool) -> u128 {
    let id = Uuid::now_v7().as_u128();
    let step = if verb == Verb::Drop { Step::Done } else { Step::Asked };
    let order = Order {
        id,
        verb,
        step,
        topic: Arc::from("t"),
        partition: 0,
        offsets: offsets.to_vec(),
        again,
        by: "anna".into(),
        at_ms: 0,
        done_at_ms: None,
        returned: Vec::new(),
    };
    world.lock().unwrap().log.push(News::Order(order));
    id
}

/// Follows orders until nothing is left to do.
async fn attend(dead: &mut Dead) -> Result<(), Error> {
    while dead.work().await? {}
    Ok(())
}

fn world(refuses: &[i64], rejects: &[i64]) -> Shared {
    let world = Shared::default();
    world.lock().unwrap().refuses.extend(refuses);
    world.lock().unwrap().rejects.extend(rejects);
    world
}

fn sent(world: &Shared) -> Vec<Vec<i64>> {
    world.lock().unwrap().sent.iter().map(|(.., offsets)| offsets.clone()).collect()
}

fn condemned_of(world: &Shared) -> Vec<(i64, u32, &'static str)> {
    world.lock().unwrap().condemned.clone()
}

#[tokio::test]
async fn what_does_not_fit_becomes_a_letter_before_the_rest_is_sent_and_only_once() {
    let world = world(&[2], &[]);
    let mut dead = open_with(&world, false, 100).await;
    let records = [(1, "a"), (2, "b"), (3, "b")];
    send(&mut dead, &records).await.unwrap();
    assert_eq!(condemned_of(&world), [(2, 1, "type")]);
    // Whoever comes after a crash, and whatever fits meanwhile, sends the same.
    world.lock().unwrap().refuses.clear();
    let mut other = open_with(&world, false, 100).await;
    send(&mut other, &records).await.unwrap();
    assert_eq!((sent(&world), condemned_of(&world).len()), (vec![vec![1, 3], vec![1, 3]], 1));
    assert_eq!(world.lock().unwrap().counts, HashMap::from([(1, 1), (3, 1)]));
}

#[tokio::test]
async fn an_outage_makes_no_letter() {
    let world = world(&[], &[]);
    world.lock().unwrap().away = true;
    let mut dead = open(&world).await;
    for _ in 0..10 {
        assert_eq!(send(&mut dead, &[(1, "a")]).await.unwrap_err().kind(), Kind::Unavailable);
    }
    assert_eq!(condemned_of(&world), []);
}

#[tokio::test]
async fn what_the_service_refuses_is_tried_three_times() {
    let world = world(&[], &[2]);
    let mut dead = open(&world).await;
    let split = send(&mut dead, &[(1, "a"), (2, "b")]).await.unwrap().split.unwrap();
    assert_eq!(split.after, 1);
    send(&mut dead, &[(1, "a")]).await.unwrap();
    for attempt in 1..=3 {
        let error = send(&mut dead, &[(2, "b")]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains(&format!("({attempt} of 3 attempts)")), "{error}");
        assert_eq!(condemned_of(&world), []);
    }
    send(&mut dead, &[(2, "b")]).await.unwrap();
    assert_eq!(condemned_of(&world), [(2, 3, "refused")]);
    send(&mut dead, &[(3, "a")]).await.unwrap();
    assert_eq!(sent(&world), [vec![1], vec![3]]);
}

#[tokio::test]
async fn a_batch_is_cut_where_its_source_knows_the_place() {
    let world = world(&[2, 4], &[5]);
    let mut dead = open_with(&world, false, 100).await;
    let records = [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e"), (6, "f")];
    // 1, 3, 5 and 6 are sent, and 5 is what it is: after two of them, which are four of the batch or, with 4, that too.
    let split = send(&mut dead, &records).await.unwrap().split.unwrap();
    assert_eq!(split.after, 3);
    let again = send(&mut dead, &records).await.unwrap().split.unwrap();
    assert_eq!(again.after, 3, "those that are letters already are counted too");
}

#[tokio::test]
async fn a_batch_in_parts_is_cut_where_its_source_knows_the_place_and_may_end_in_letters_alone() {
    let world = world(&[2, 4], &[5]);
    let mut dead = open_with(&world, false, 100).await;
    let first = part(&[(1, "a"), (2, "b"), (3, "c")], 0, true);
    assert_eq!(dead.send(first).await.unwrap().await.unwrap(), Durable::default());
    let last = dead.send(part(&[(4, "d"), (5, "e"), (6, "f")], 3, false)).await.unwrap();
    // 1, 3, 5 and 6 are sent, and 5 is what it is.
    assert_eq!(last.await.unwrap().split.unwrap().after, 3);
    dead.reset().await.unwrap();
    // Of a last part that is letters alone, and of a first one, the sink knows all the same.
    dead.send(part(&[(2, "b")], 0, true)).await.unwrap().await.unwrap();
    dead.send(part(&[(3, "c")], 1, true)).await.unwrap().await.unwrap();
    dead.send(part(&[(4, "d")], 2, false)).await.unwrap().await.unwrap();
    assert_eq!(sent(&world), [vec![3]]);
    dead.send(part(&[(5, "e")], 0, true)).await.unwrap().await.unwrap();
    let refused = dead.send(part(&[(4, "d")], 1, false)).await.unwrap().await.unwrap_err();
    assert!(refused.to_string().contains("record t/0/5 was refused (1 of 3 attempts)"), "{refused}");
}

#[tokio::test]
async fn a_key_waits_until_its_letter_is_replayed_and_keeps_its_order() {
    let world = world(&[2], &[]);
    let mut dead = open(&world).await;
    send(&mut dead, &[(1, "a"), (2, "a"), (3, "b"), (4, "a")]).await.unwrap();
    send(&mut dead, &[(5, "a"), (6, "b")]).await.unwrap();
    assert_eq!(condemned_of(&world), [(2, 1, "type"), (4, 0, "waiting"), (5, 0, "waiting")]);
    attend(&mut dead).await.unwrap();
    assert_eq!(sent(&world), [vec![1, 3], vec![6]], "nobody asked");
    world.lock().unwrap().refuses.clear();
    let id = ask(&world, Verb::Replay, &[2], false);
    attend(&mut dead).await.unwrap();
    send(&mut dead, &[(7, "a")]).await.unwrap();
    assert_eq!(sent(&world)[2..], [vec![2], vec![4, 5], vec![7]]);
    let (salt, first, last, _) = world.lock().unwrap().sent[2].clone();
    assert_eq!((salt, first, last), (id, 2, 2));
    assert_eq!((dead.index.unsettled(), dead.index.held_keys()), (0, 0));
}

/// Has nothing else to do for so long.
async fn idle(dead: &mut Dead, time: Duration) {
    let deadline = tokio::time::Instant::now() + time;
    let mut turns = 0;
    while tokio::time::timeout_at(deadline, dead.due()).await.is_ok() {
        dead.attend().await.unwrap();
        turns += 1;
        assert!(turns < 100, "it spins");
    }
}

/// The first record of key `a` awaits one that is not there, and the second one builds on it.
async fn awaiting() -> (Shared, Dead) {
    let world = world(&[], &[]);
    world.lock().unwrap().awaits.insert(1);
    world.lock().unwrap().depends.insert(2);
    let mut dead = open(&world).await;
    send(&mut dead, &[(1, "a"), (2, "a"), (3, "b")]).await.unwrap();
    assert_eq!(condemned_of(&world), [(1, 1, "awaited"), (2, 0, "waiting")]);
    (world, dead)
}

fn arrive(world: &Shared) {
    let mut world = world.lock().unwrap();
    world.awaits.clear();
    world.depends.clear();
}

#[tokio::test(start_paused = true)]
async fn what_awaits_another_record_is_tried_again_by_itself_and_so_is_what_builds_on_it() {
    let (world, mut dead) = awaiting().await;
    idle(&mut dead, Duration::from_secs(5)).await;
    assert_eq!((sent(&world), dead.index.unsettled()), (vec![vec![3]], 2), "tried in vain");
    arrive(&world);
    idle(&mut dead, Duration::from_secs(1)).await;
    assert_eq!(sent(&world).len(), 1, "it is not its time");
    idle(&mut dead, Duration::from_secs(10)).await;
    assert_eq!((sent(&world), dead.index.unsettled()), (vec![vec![3], vec![1, 2]], 0));
    assert_eq!(dead.rests.next(), None);
}

#[tokio::test(start_paused = true)]
async fn what_awaits_a_record_that_never_comes_is_a_persons_in_the_end() {
    let (world, mut dead) = awaiting().await;
    idle(&mut dead, Duration::from_secs(3600)).await;
    let orders = world.lock().unwrap().log.iter().filter(|news| matches!(news, News::Order(_))).count();
    assert_eq!(orders, 4, "each try is written down once");
    arrive(&world);
    idle(&mut dead, Duration::from_secs(3600)).await;
    assert_eq!(sent(&world), [vec![3]]);
    ask(&world, Verb::Replay, &[1], false);
    attend(&mut dead).await.unwrap();
    assert_eq!((sent(&world), dead.index.unsettled()), (vec![vec![3], vec![1], vec![2]], 0));
}

#[tokio::test(start_paused = true)]
async fn another_process_tries_at_once_what_awaits_another_record() {
    let (world, dead) = awaiting().await;
    drop(dead);
    arrive(&world);
    let mut other = open(&world).await;
    idle(&mut other, Duration::from_secs(1)).await;
    assert_eq!(sent(&world), [vec![3], vec![1, 2]]);
}

#[tokio::test]
async fn a_letter_that_is_dropped_lets_its_key_go_on() {
    let world = world(&[1], &[]);
    let mut dead = open(&world).await;
    send(&mut dead, &[(1, "a"), (2, "a")]).await.unwrap();
    ask(&world, Verb::Drop, &[1], false);
    attend(&mut dead).await.unwrap();
    assert_eq!(sent(&world), [vec![2]]);
    // Neither comes again, not even to another process.
    let mut other = open(&world).await;
    send(&mut other, &[(1, "a"), (2, "a"), (3, "a")]).await.unwrap();
    assert_eq!(sent(&world)[1..], [vec![3]]);
}

#[tokio::test]
async fn what_is_refused_again_stays_and_so_does_what_is_behind_it() {
    let world = world(&[1, 3], &[]);
    let mut dead = open(&world).await;
    send(&mut dead, &[(1, "a"), (2, "a"), (3, "b"), (4, "b")]).await.unwrap();
    world.lock().unwrap().refuses.remove(&3);
    ask(&world, Verb::Replay, &[1, 2, 3, 4], false);
    attend(&mut dead).await.unwrap();
    assert_eq!(sent(&world), [vec![3, 4]]);
    assert_eq!((dead.index.unsettled(), dead.index.held_keys()), (2, 1));
    let another = open(&world).await;
    assert_eq!((another.index.unsettled(), another.index.held_keys()), (2, 1));
}

#[tokio::test]
async fn a_letter_behind_another_cannot_be_replayed_alone_and_none_is_twice() {
    let world = world(&[1], &[]);
    let mut dead = open(&world).await;
    send(&mut dead, &[(1, "a"), (2, "a")]).await.unwrap();
    ask(&world, Verb::Replay, &[2], false);
    attend(&mut dead).await.unwrap();
    assert_eq!(sent(&world), Vec::<Vec<i64>>::new());
    world.lock().unwrap().refuses.clear();
    ask(&world, Verb::Replay, &[1, 2], false);
    ask(&world, Verb::Replay, &[1, 2], false);
    attend(&mut dead).await.unwrap();
    assert_eq!(sent(&world), [vec![1, 2]]);
    ask(&world, Verb::Replay, &[1, 2], false);
    attend(&mut dead).await.unwrap();
    assert_eq!(sent(&world).len(), 1);
    ask(&world, Verb::Replay, &[1, 2], true);
    attend(&mut dead).await.unwrap();
    assert_eq!(sent(&world).len(), 2, "again, as was asked for");
}

#[tokio::test]
async fn a_replay_that_a_crash_interrupted_is_the_same_again() {
    let world = world(&[1, 2], &[]);
    let mut dead = open(&world).await;
    send(&mut dead, &[(1, "a"), (2, "b")]).await.unwrap();
    world.lock().unwrap().refuses.remove(&1);
    ask(&world, Verb::Replay, &[1, 2], false);
    world.lock().unwrap().dies = true;
    attend(&mut dead).await.unwrap_err();
    // The other one fits now, too: it must not come into the batch that may have been taken.
    world.lock().unwrap().refuses.clear();
    let mut other = open(&world).await;
    attend(&mut other).await.unwrap();
    let world = world.lock().unwrap();
    assert_eq!(world.sent[0], world.sent[1]);
    assert_eq!(world.counts, HashMap::from([(1, 1)]));
}

#[tokio::test]
async fn a_replay_that_the_service_refuses_is_cut_until_one_letter_stays() {
    let world = world(&[1, 2, 3, 4], &[3]);
    let mut dead = open_with(&world, false, 100).await;
    send(&mut dead, &[(1, "a"), (2, "b"), (3, "c"), (4, "d")]).await.unwrap();
    world.lock().unwrap().refuses.clear();
    ask(&world, Verb::Replay, &[1, 2, 3, 4], false);
    attend(&mut dead).await.unwrap();
    let counts = world.lock().unwrap().counts.clone();
    assert_eq!(counts, HashMap::from([(1, 1), (2, 1), (4, 1)]));
    assert_eq!(dead.index.unsettled(), 1);
}

#[tokio::test]
async fn letters_of_other_processes_partitions_are_left_to_them() {
    let world = world(&[1], &[]);
    let mut dead = open(&world).await;
    send(&mut dead, &[(1, "a")]).await.unwrap();
    world.lock().unwrap().refuses.clear();
    ask(&world, Verb::Replay, &[1], false);
    dead.options.assigned.clear();
    attend(&mut dead).await.unwrap();
    assert_eq!(sent(&world), Vec::<Vec<i64>>::new());
}

#[tokio::test]
async fn a_partition_that_came_back_is_known_with_what_another_process_gave_up() {
    let world = world(&[2], &[]);
    let (mut first, mut second) = (open(&world).await, open(&world).await);
    send(&mut first, &[(1, "a")]).await.unwrap();
    send(&mut second, &[(2, "a")]).await.unwrap();
    first.options.assigned.add(&Arc::from("t"), 0);
    send(&mut first, &[(3, "a")]).await.unwrap();
    assert_eq!(condemned_of(&world), [(2, 1, "type"), (3, 0, "waiting")]);
}

#[tokio::test]
async fn the_stream_waits_when_too_much_would_be_given_up() {
    let world = world(&[1, 2, 3], &[]);
    let mut dead = open_with(&world, false, 2).await;
    let error = send(&mut dead, &[(1, "a"), (2, "b"), (3, "c")]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("record t/0/1") && error.help().unwrap().contains("letters_max"), "{error}");
    assert_eq!(condemned_of(&world), []);
}

/// What happens to a worker and its letters.
#[derive(Debug, Clone)]
enum Event {
    /// So many further records arrive.
    Batch(u8),
    /// The newest batch comes again.
    Redelivered,
    Crash,
    /// The service dies in the middle of the next batch.
    Dies,
    Replay(Vec<i64>),
    Drop(i64),
    /// What does not fit is mended, or something does no longer.
    Mended(i64),
    Attend,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let offset = || 0_i64..40;
    let event = prop_oneof![
        4 => (1_u8..6).prop_map(Event::Batch),
        1 => Just(Event::Redelivered),
        1 => Just(Event::Crash),
        1 => Just(Event::Dies),
        2 => proptest::collection::btree_set(offset(), 1..8).prop_map(|set| Event::Replay(set.into_iter().collect())),
        1 => offset().prop_map(Event::Drop),
        2 => offset().prop_map(Event::Mended),
        2 => Just(Event::Attend),
    ];
    proptest::collection::vec(event, 1..40)
}

/// Plays the events; at the end everything fits, and whatever is left is replayed.
async fn play(events: Vec<Event>, refuses: HashSet<i64>, ordered: bool) -> (Shared, i64, HashSet<i64>) {
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let world = Shared::default();
    world.lock().unwrap().refuses = refuses;
    let mut dead = open_with(&world, ordered, 1000).await;
    let (mut next, mut last, mut dropped) = (0, Vec::new(), HashSet::new());
    for event in events {
        let state = |dead: &Dead, offset| dead.index.state(&Identity { topic: Arc::from("t"), partition: 0, offset });
        match event {
            Event::Batch(records) => {
                let upto = next + i64::from(records);
                last = (next..upto).map(|offset| (offset, KEYS[offset as usize % 3])).collect();
                next = upto;
                while send(&mut dead, &last).await.is_err() {}
            }
            Event::Redelivered if !last.is_empty() => while send(&mut dead, &last).await.is_err() {},
            Event::Redelivered => {}
            Event::Crash => dead = open_with(&world, ordered, 1000).await,
            Event::Dies => world.lock().unwrap().dies = true,
            Event::Replay(offsets) => {
                ask(&world, Verb::Replay, &offsets, false);
            }
            Event::Drop(offset) => {
                dead.learn().await.unwrap();
                if state(&dead, offset) == Some(State::Held) {
                    ask(&world, Verb::Drop, &[offset], false);
                    dropped.insert(offset);
                }
            }
            Event::Mended(offset) => {
                world.lock().unwrap().refuses.remove(&offset);
            }
            Event::Attend => while attend(&mut dead).await.is_err() {},
        }
    }
    world.lock().unwrap().refuses.clear();
    let all: Vec<i64> = (0..next).collect();
    for _ in 0..2 {
        if !all.is_empty() {
            ask(&world, Verb::Replay, &all, false);
        }
        while attend(&mut dead).await.is_err() {}
    }
    assert_eq!(dead.index.unsettled(), 0, "nothing is left");
    (world, next, dropped)
}

proptest! {
    /// Whatever happens: every record is taken exactly once unless it was dropped, and where keys keep their order, none of a
    /// key is taken before an earlier one of it.
    #[test]
    fn every_record_is_taken_once_and_in_the_order_of_its_key(
        events in events(),
        refuses in proptest::collection::hash_set(0_i64..40, 0..12),
        ordered in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (world, next, dropped) = runtime.block_on(play(events, refuses, ordered));
        let world = world.lock().unwrap();
        for offset in 0..next {
            let expected = u32::from(!dropped.contains(&offset));
            prop_assert_eq!(world.counts.get(&offset).copied().unwrap_or_default(), expected, "offset {}", offset);
        }
        if ordered {
            let mut newest: BTreeMap<i64, i64> = BTreeMap::new();
            let mut seen = HashSet::new();
            for (salt, .., offsets) in &world.sent {
                if !seen.insert((salt, offsets)) {
                    continue;
                }
                for offset in offsets {
                    let before = newest.insert(offset % 3, *offset).unwrap_or(-1);
                    prop_assert!(before < *offset, "{} was taken after {}", offset, before);
                }
            }
        }
    }
}
