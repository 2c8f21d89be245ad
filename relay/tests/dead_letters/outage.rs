//! ClickHouse is away for a while: the breaker opens, nothing is given up, and the worker goes on by itself.

use xtask::services::PrivateClickhouse;

use super::worker::Chain;

const BREAKER: &str = "[retry]\nmax_ms = 200\n[breaker]\nfailures = 3\nopen_ms = 300\nopen_max_ms = 600\n";

#[tokio::test]
async fn an_outage_of_clickhouse_opens_the_breaker_and_loses_nothing() {
    let mut server = PrivateClickhouse::start().expect("a server of our own");
    let mut chain = Chain::on(&server.url(), BREAKER).await;
    chain.start();
    chain.fill(0..1000, false);
    chain.await_rows(1000).await;
    assert_eq!(chain.breaker(), Some(("closed".to_owned(), 0)));

    server.kill();
    chain.fill(1000..3000, false);
    chain.until("an open breaker", async || chain.breaker().is_some_and(|(_, opened)| opened == 1)).await;
    let status = chain.status();
    assert_eq!(status["ready"], false);
    assert!(status["reason"].as_str().unwrap().contains("the circuit breaker of the sink is"), "{status}");
    server.start_again().expect("it starts again");
    chain.await_rows(3000).await;
    chain.until("a closed breaker", async || chain.breaker() == Some(("closed".to_owned(), 1))).await;
    let assigned = chain.log().matches("partitions assigned").count();
    assert_eq!(assigned, 1, "the partitions were kept\n{}", chain.log());
    assert_eq!(chain.dlq_json(&["list", "--all"]).as_array().unwrap().len(), 0);
}
