//! Poison among good records: it is given up with a reason, the rest is loaded, and after a mend it is loaded too, once.

use serde_json::Value;

use super::worker::Chain;

/// Records, and how many of them are poison.
const RECORDS: u64 = 20_000;
const POISON: u64 = 200;

fn positions(rows: &Value) -> Vec<String> {
    rows.as_array().unwrap().iter().map(|row| row["position"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn poison_is_given_up_with_a_reason_and_after_a_mend_it_is_loaded_once() {
    let url = xtask::services::current().unwrap().clickhouse_url.unwrap();
    let mut chain = Chain::on(&url, "").await;
    chain.fill(0..RECORDS, true);
    chain.start();
    chain.await_rows(RECORDS - POISON).await;

    let all = ["list", "--limit", "1000"];
    let letters = chain.dlq_json(&all);
    assert_eq!(letters.as_array().unwrap().len() as u64, POISON);
    let first = &letters[0];
    assert_eq!((&first["state"], &first["holds_key"]), (&Value::from("dead"), &Value::from(false)), "{first}");
    let reason = first["reason"].as_str().unwrap();
    assert!(reason.contains('n') && reason.contains("UInt8") && !reason.contains("many"), "{reason}");
    let by_key = chain.dlq_json(&["list", "--limit", "1000", "--key", "key-7", "--since", "1h", "--reason", "UInt8"]);
    assert_eq!(by_key.as_array().unwrap().len() as u64, POISON);
    assert_eq!(chain.dlq_json(&["list", "--partition", "0"]).as_array().unwrap().len(), 0);
    let shown = chain.dlq_json(&["show", &positions(&letters)[0], "--payload"]);
    assert_eq!(shown["value"].as_str().unwrap(), "{\"id\":7,\"n\":\"many\"}");

    // Ten are dropped; whoever comes later finds out who did it.
    let dropped = positions(&letters)[..10].to_vec();
    let mut drop = vec!["drop", "--by", "anna"];
    drop.extend(dropped.iter().map(String::as_str));
    chain.dlq_json(&drop);
    let history = &chain.dlq_json(&["show", &dropped[0]])["history"];
    assert_eq!((&history[0]["verb"], &history[0]["by"]), (&Value::from("drop"), &Value::from("anna")));

    // Without a mend they stay, and tell why.
    let said = chain.dlq(&["replay", &positions(&letters)[10], "--wait", "60"]);
    assert_eq!(said.code, 1, "{said:?}\n{}", chain.log());
    assert!(said.out.contains("stays: ") && said.out.contains("UInt8"), "{}", said.out);
    assert_eq!(chain.dlq_json(&["show", &positions(&letters)[10]])["attempts"], 2);

    chain.kill();
    chain.run("alter table events modify column n String").await;
    chain.start();
    let done = chain.dlq_json(&["replay", "--all", "--wait", "60"]);
    assert_eq!((&done["replayed"], &done["complete"]), (&Value::from(POISON - 10), &Value::from(true)), "{done}");
    chain.await_rows(RECORDS - 10).await;
    assert_eq!(chain.dlq_json(&all).as_array().unwrap().len(), 0);
    let said = chain.dlq(&["replay", &positions(&letters)[10]]);
    assert!(said.code == 1 && said.error.contains("was replayed already"), "{said:?}");
    let done = chain.dlq_json(&["replay", &positions(&letters)[10], "--again", "--wait", "60"]);
    assert_eq!(done["replayed"], 1);
    assert_eq!(chain.rows().await, (RECORDS - 10 + 1, RECORDS - 10), "once more, as was asked for");
    assert_eq!(chain.dlq_json(&["list", "--all", "--limit", "1000"]).as_array().unwrap().len() as u64, POISON);
}

#[tokio::test]
async fn what_comes_after_a_letter_of_its_key_waits_and_follows_it() {
    let url = xtask::services::current().unwrap().clickhouse_url.unwrap();
    let mut chain = Chain::on(&url, "").await;
    // As for rows of a captured table.
    chain.reconfigure("poll_interval_ms = 50", "poll_interval_ms = 50\norder = \"key\"");
    chain.fill(0..100, true);
    chain.start();
    // Of key 7 those before it and none after it.
    chain.await_rows(100 - 10).await;
    let letters = chain.dlq_json(&["list"]);
    assert_eq!((letters.as_array().unwrap().len(), &letters[0]["code"]), (10, &Value::from("type")));
    let said = chain.dlq(&["replay", &positions(&letters)[1]]);
    assert!(said.code == 1 && said.error.contains("waits behind letter"), "{said:?}");
    chain.dlq_json(&["drop", &positions(&letters)[0]]);
    chain.await_rows(99).await;
    chain.fill(100..107, true);
    chain.await_rows(106).await;
}

#[tokio::test]
async fn a_row_whose_old_key_lies_in_another_partition_follows_by_itself_when_that_was_read() {
    let url = xtask::services::current().unwrap().clickhouse_url.unwrap();
    let mut chain = Chain::on(&url, "").await;
    chain.reconfigure("[load.tables.events]", "[load.tables.users]");
    chain.reconfigure("kind = \"append\"", "kind = \"current\"");
    chain
        .run(
            "create table users (id Int64, name String, bio String, _version UInt128, _deleted Bool)
             engine = ReplacingMergeTree(_version, _deleted) order by id
             settings non_replicated_deduplication_window = 1000",
        )
        .await;
    chain.start();
    let change = |partition: i32, id: u8, (op, before, after): (&str, &str, &str), at: u8, moved: &[(&str, &str)]| {
        let value =
            format!(r#"{{"before":{before},"after":{after},"source":{{"lsn":1,"table":"users"}},"op":"{op}"}}"#);
        let position = format!("{at:032x}");
        let headers: Vec<_> = [("postrider-position", &*position)].into_iter().chain(moved.iter().copied()).collect();
        chain.write(partition, &format!(r#"{{"id":{id}}}"#), &value, &headers);
    };
    // The new key's partition is read, and nothing of the old one's.
    let left_out = |name: &str| format!(r#"{{"id":2,"name":"{name}","bio":"__debezium_unavailable_value"}}"#);
    change(1, 2, ("c", "null", &left_out("Anna")), 12, &[("__debezium.oldkey", r#"{"id":1}"#)]);
    change(1, 2, ("u", "null", &left_out("Ann")), 20, &[]);
    chain.until("two letters", async || chain.dlq_json(&["list"]).as_array().unwrap().len() == 2).await;
    let letters = chain.dlq_json(&["list"]);
    assert_eq!((&letters[0]["code"], &letters[1]["code"]), (&Value::from("awaited"), &Value::from("waiting")));

    change(0, 1, ("c", "null", r#"{"id":1,"name":"A","bio":"long"}"#), 1, &[]);
    change(0, 1, ("d", r#"{"id":1}"#, "null"), 10, &[("__debezium.newkey", r#"{"id":2}"#)]);
    let row = "select toString((id, name, bio)) from users__current";
    chain.until("the row", async || chain.text(row).await.is_some_and(|row| row == "(2,'Ann','long')")).await;
    assert_eq!(chain.dlq_json(&["list"]).as_array().unwrap().len(), 0);
}
