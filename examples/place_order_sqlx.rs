//! Places an order and writes its event in one transaction of sqlx.
//!
//! ```sh
//! postrider migrate
//! DATABASE_URL=postgres://… cargo run --example place_order_sqlx --features sqlx
//! ```
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;

use postrider::Event;
use serde::Serialize;
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

/// What others need to know of the order. An event is a contract: give it its own type rather than the table's row.
#[derive(Serialize)]
struct OrderPlaced {
    order_id: Uuid,
    total_cents: i64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL")?;
    let pool = PgPool::connect(&url).await?;
    let orders = "create table if not exists orders (id uuid primary key, total_cents bigint not null)";
    sqlx::query(orders).execute(&pool).await?;

    let mut transaction = pool.begin().await?;
    let order_id = place_order(&mut transaction, 1_999).await?;
    // Up to here nobody sees the order, and nobody will hear of it if we fail. The commit makes both true at once.
    transaction.commit().await?;

    println!("order {order_id} is placed, and its event is on its way");
    Ok(())
}

/// The row and its event. It takes the transaction, so that its caller can put more into the same one.
async fn place_order(transaction: &mut Transaction<'_, Postgres>, total_cents: i64) -> Result<Uuid, Box<dyn Error>> {
    let order_id = Uuid::now_v7();
    sqlx::query("insert into orders (id, total_cents) values ($1, $2)")
        .bind(order_id)
        .bind(total_cents)
        .execute(&mut **transaction)
        .await?;

    // "Order" names the topic and the id is the key: events of one order arrive in the order of their commits.
    // `build` checks every limit, so a bad event is an error here and not in the relay.
    let event = Event::json("Order", order_id, "OrderPlaced", &OrderPlaced { order_id, total_cents })
        // In a service both come from the request that is being served.
        .correlation_id(Uuid::now_v7())
        .traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .build()?;

    // `write` takes nothing but a transaction: with the pool in its place this would not compile.
    postrider::write(transaction, &event).await?;
    Ok(order_id)
}
