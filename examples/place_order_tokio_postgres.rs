//! Places an order of several lines and writes its events in one transaction of tokio-postgres, with a savepoint.
//!
//! ```sh
//! postrider migrate
//! DATABASE_URL=postgres://… cargo run --example place_order_tokio_postgres --features tokio-postgres
//! ```
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;

use postrider::Event;
use tokio_postgres::{NoTls, Transaction};
use uuid::Uuid;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL")?;
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    // The connection ends when the client is dropped; an error of it is an error of the next statement, too.
    let connection = tokio::spawn(connection);
    client
        .batch_execute("create table if not exists orders (id uuid primary key, total_cents bigint not null)")
        .await?;

    let mut transaction = client.transaction().await?;
    let order_id = place_order(&mut transaction).await?;
    transaction.commit().await?;
    println!("order {order_id} is placed, and its events are on their way");

    drop(client);
    connection.await??;
    Ok(())
}

async fn place_order(transaction: &mut Transaction<'_>) -> Result<Uuid, Box<dyn Error>> {
    let order_id = Uuid::now_v7();
    transaction.execute("insert into orders (id, total_cents) values ($1, 1999)", &[&order_id]).await?;

    // Several events are one round trip. They keep their order, and here they have one key.
    let placed = Event::json_text("Order", order_id, "OrderPlaced", r#"{"total_cents": 1999}"#).build()?;
    let paid =
        Event::json_text("Order", order_id, "OrderPaid", r#"{"method": "card"}"#).causation_id(placed.id()).build()?;
    postrider::write_all(transaction, &[placed, paid]).await?;

    // A savepoint is a transaction in a transaction: what is rolled back to it takes its events along, and the rest stays.
    let mut gift = transaction.transaction().await?;
    let added = Event::json_text("Order", order_id, "GiftAdded", r#"{"sku": "mug"}"#).build()?;
    postrider::write(&mut gift, &added).await?;
    gift.rollback().await?;

    Ok(order_id)
}
