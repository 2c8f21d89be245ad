//! Rows that get another key while a large value of theirs stays as it was, and is told by nobody.

use postrider_relay::pipeline::{AWAITED, Cut, Durable, Sink};
use serde_json::json;

use super::current::{Record, USERS, headed_at, key, user};
use super::place::{Place, current, load};

const LEFT_OUT: &str = "\"__debezium_unavailable_value\"";

/// A change as the relay writes it, at this position.
fn change(op: &str, id: i64, (before, after): (&str, &str), at: u128, moved: Option<(&'static str, i64)>) -> Record {
    let value = format!(
        r#"{{"before":{before},"after":{after},"source":{{"lsn":{at},"ts_us":1700000000000000,"schema":"public","table":"users"}},"op":"{op}","ts_ms":1}}"#
    );
    let moved = moved.map(|(header, id)| (header, key(id)));
    let headers = [("postrider-position", format!("{at:032x}"))].into_iter().chain(moved).collect();
    (Some(key(id)), Some(value), headers)
}

fn written(op: &str, id: i64, bio: &str, at: u128) -> Record {
    change(op, id, ("null", &user(id, "Ann", bio)), at, None)
}

/// The two halves of an update of the key: of the old row only its key is known, and the new one leaves the text out.
fn moved(from: i64, to: i64, at: u128) -> [Record; 2] {
    // Of what it does not know the relay writes nulls, Debezium the defaults of the captured table, and others nothing.
    let rest = match from % 3 {
        0 => "",
        1 => r#","name":"","email":null,"bio":"none","score":"AA==","since":0"#,
        _ => r#","name":null,"email":null,"bio":null,"score":null,"since":null"#,
    };
    let was = format!(r#"{{"id":{from}{rest}}}"#);
    [
        change("d", from, (&was, "null"), at, Some(("__debezium.newkey", to))),
        change("c", to, ("null", &user(to, "Anna", LEFT_OUT)), at + 2, Some(("__debezium.oldkey", from))),
    ]
}

async fn shown(place: &Place) -> Vec<serde_json::Value> {
    place.rows("select id, name, bio from users__current order by id").await
}

#[tokio::test]
async fn a_row_that_gets_another_key_takes_along_what_nobody_tells() {
    let place = Place::with(&[USERS]).await;
    let mut sink = place.open(&[current("users")]).await;
    assert_eq!(load(&mut sink, headed_at(0, &[written("c", 1, "\"long\"", 1)])).await.unwrap(), Durable::default());

    // Twice within a batch, and then it is changed there.
    let [gone, came] = moved(1, 2, 10);
    let [gone_again, came_again] = moved(2, 3, 20);
    let batch = [gone, came, gone_again, came_again, written("u", 3, LEFT_OUT, 30)];
    assert_eq!(load(&mut sink, headed_at(1, &batch)).await.unwrap(), Durable::default());
    assert_eq!(shown(&place).await, [json!([3, "Ann", "long"])]);

    // In two batches, and where nothing but the deletion is left of the old row.
    let [gone, came] = moved(3, 4, 40);
    assert_eq!(load(&mut sink, headed_at(6, std::slice::from_ref(&gone))).await.unwrap(), Durable::default());
    place.run("optimize table users final").await;
    assert_eq!(load(&mut sink, headed_at(7, std::slice::from_ref(&came))).await.unwrap(), Durable::default());
    assert_eq!(shown(&place).await, [json!([4, "Anna", "long"])]);

    // In two partitions, the first of which is still on its way.
    let [left, arrived] = moved(4, 5, 44);
    let receipt = sink.send(headed_at(8, std::slice::from_ref(&left))).await.unwrap();
    let mut elsewhere = headed_at(0, std::slice::from_ref(&arrived));
    elsewhere.set_cut(Cut { partition: 1, ..elsewhere.cut().unwrap().clone() });
    assert_eq!(load(&mut sink, elsewhere).await.unwrap(), Durable::default());
    assert_eq!(receipt.await.unwrap(), Durable::default());
    assert_eq!(shown(&place).await, [json!([5, "Anna", "long"])]);

    // All of it again, after somebody else got the old key, and in other cuts.
    let other = written("c", 3, "\"another's\"", 50);
    assert_eq!(load(&mut sink, headed_at(9, &[other])).await.unwrap(), Durable::default());
    assert_eq!(load(&mut sink, headed_at(1, &batch[..3])).await.unwrap(), Durable::default());
    assert_eq!(load(&mut sink, headed_at(4, &batch[3..])).await.unwrap(), Durable::default());
    assert_eq!(load(&mut sink, headed_at(6, &[gone, came, left])).await.unwrap(), Durable::default());
    place.run("optimize table users final").await;
    assert_eq!(shown(&place).await, [json!([3, "Ann", "another's"]), json!([5, "Anna", "long"])]);
}

#[tokio::test]
async fn a_creation_never_takes_a_value_from_anything_but_the_deletion_of_its_own_update() {
    let place = Place::with(&[USERS]).await;
    let mut sink = place.open(&[current("users")]).await;
    assert_eq!(load(&mut sink, headed_at(0, &[written("c", 1, "\"old\"", 1)])).await.unwrap(), Durable::default());

    // Its partition is ahead of the one in which the text was changed before the row moved.
    let [gone, came] = moved(1, 2, 10);
    let refused = sink.admit(&headed_at(10, std::slice::from_ref(&came))).await.unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].reason.contains("column bio was left out"), "{}", refused[0].reason);
    assert_eq!(refused[0].code, AWAITED);

    // With the other partition loaded, it has what it needs.
    let behind = [written("u", 1, "\"new\"", 5), gone];
    assert_eq!(load(&mut sink, headed_at(1, &behind)).await.unwrap(), Durable::default());
    assert_eq!(load(&mut sink, headed_at(10, &[came])).await.unwrap(), Durable::default());
    assert_eq!(shown(&place).await, [json!([2, "Anna", "new"])]);

    // Its creation under the old key is missing, and what was deleted there before was another row.
    let refused = sink.admit(&headed_at(14, &moved(1, 3, 40))).await.unwrap();
    assert_eq!(refused.iter().map(|refused| (refused.index, refused.code)).collect::<Vec<_>>(), [(1, AWAITED)]);

    // A deletion that found no row has nothing to give, and neither has one of another update.
    let [gone, came] = moved(7, 8, 60);
    let [_, later] = moved(7, 9, 70);
    assert_eq!(load(&mut sink, headed_at(11, &[gone])).await.unwrap(), Durable::default());
    let refused = sink.admit(&headed_at(12, &[came, later])).await.unwrap();
    assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn what_is_not_told_from_an_empty_value_is_not_taken_along() {
    let table = USERS.replace("name String,", "name String default 'n/a', token UUID,");
    let place = Place::with(&[&table]).await;
    let mut sink = place.open(&[current("users")]).await;
    let token = "\"01890a5d-ac96-774b-bcce-b302099a8057\"";
    let row = |id: i64, name: &str, token: &str| {
        user(id, "", "null").replace("\"name\":\"\"", &format!("\"name\":{name},\"token\":{token}"))
    };
    let creation = |id: i64, (name, token): (&str, &str), at: u128, from: i64| {
        change("c", id, ("null", &row(id, name, token)), at, Some(("__debezium.oldkey", from)))
    };
    let [first, second] = [1, 4].map(|id| change("c", id, ("null", &row(id, "\"Ann\"", token)), 1, None));
    let ([gone, _], [gone_too, _]) = (moved(1, 2, 10), moved(4, 5, 20));
    let before = [first, second, gone, gone_too];
    assert_eq!(load(&mut sink, headed_at(0, &before)).await.unwrap(), Durable::default());
    let came = [creation(2, (LEFT_OUT, token), 12, 1), creation(5, ("\"Ann\"", LEFT_OUT), 22, 4)];
    let refused = sink.admit(&headed_at(10, &came)).await.unwrap();
    assert_eq!(
        refused.iter().map(|refused| (refused.index, refused.code)).collect::<Vec<_>>(),
        [(0, AWAITED), (1, AWAITED)]
    );
}

#[tokio::test]
async fn debezium_tells_the_two_halves_by_the_place_in_the_log() {
    let place = Place::with(&[USERS]).await;
    let mut sink = place.open(&[current("users")]).await;
    let debezium = |record: &Record| {
        let headers = record.2.iter().filter(|(name, _)| *name != "postrider-position").cloned().collect();
        // Of one change: they have one place in the log.
        let value = record.1.as_ref().map(|value| value.replace("\"lsn\":12,", "\"lsn\":10,"));
        (record.0.clone(), value, headers)
    };
    let [gone, came] = moved(1, 2, 10);
    let batch = [debezium(&written("c", 1, "\"long\"", 1)), debezium(&gone), (Some(key(1)), None, Vec::new())];
    assert_eq!(load(&mut sink, headed_at(0, &batch)).await.unwrap(), Durable::default());
    assert_eq!(load(&mut sink, headed_at(700, &[debezium(&came)])).await.unwrap(), Durable::default());
    assert_eq!(shown(&place).await, [json!([2, "Anna", "long"])]);
}
