//! What an event is written through: a transaction, by type. A pool, a connection or a client is not one.

#[cfg(feature = "sqlx")]
mod sqlx;
#[cfg(feature = "tokio-postgres")]
mod tokio_postgres;

use std::future::Future;

use uuid::Uuid;

use crate::error::Error;

/// An open transaction or savepoint: `sqlx::Transaction<'_, Postgres>` with the feature `sqlx`,
/// `tokio_postgres::Transaction<'_>` with the feature `tokio-postgres`.
///
/// The trait is sealed, and only transactions have it: an event that is written outside the transaction of the change that it
/// tells of could survive the change's rollback, or be lost while the change stays.
#[cfg_attr(
    feature = "sqlx",
    doc = r#"
# With sqlx

```
use postrider::Event;

async fn place(pool: &sqlx::PgPool, event: &Event) -> Result<(), Box<dyn std::error::Error>> {
    let mut transaction = pool.begin().await?;
    postrider::write(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(())
}
```
A pool does not compile:
```compile_fail,E0277
use postrider::Event;

async fn place(mut pool: sqlx::PgPool, event: &Event) -> Result<(), Box<dyn std::error::Error>> {
    postrider::write(&mut pool, event).await?;
    Ok(())
}
```
Nor does a connection:
```compile_fail,E0277
use postrider::Event;

async fn place(connection: &mut sqlx::PgConnection, event: &Event) -> Result<(), postrider::Error> {
    postrider::write(connection, event).await
}
```
"#
)]
#[cfg_attr(
    feature = "tokio-postgres",
    doc = r#"
# With tokio-postgres

```
use postrider::Event;

async fn place(client: &mut tokio_postgres::Client, event: &Event) -> Result<(), Box<dyn std::error::Error>> {
    let mut transaction = client.transaction().await?;
    postrider::write(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(())
}
```
A client does not compile:
```compile_fail,E0277
use postrider::Event;

async fn place(client: &mut tokio_postgres::Client, event: &Event) -> Result<(), postrider::Error> {
    postrider::write(client, event).await
}
```
"#
)]
#[diagnostic::on_unimplemented(
    message = "an event is written inside a transaction, and `{Self}` is not one",
    label = "not a transaction",
    note = "begin a transaction, write the row and the event in it, commit it",
    note = "the features `sqlx` and `tokio-postgres` of the crate `postrider` add their transactions"
)]
pub trait OutboxTransaction: sealed::Execute + Send {}

/// A value bound to a statement. Only the forms that the library's statements need.
#[derive(Debug)]
pub enum Parameter<'a> {
    /// `text`
    Text(Option<&'a str>),
    /// `bytea`
    Bytes(Option<&'a [u8]>),
    /// `uuid`
    Uuid(Uuid),
    /// `int8`
    Integer(i64),
    /// `text[]`
    Texts(Vec<Option<&'a str>>),
    /// `bytea[]`
    ByteArrays(Vec<Option<&'a [u8]>>),
    /// `uuid[]`
    Uuids(Vec<Uuid>),
}

pub(crate) mod sealed {
    //! Keeps [`super::OutboxTransaction`] to the transactions of this crate's features.

    use super::{Error, Future, Parameter};

    /// Runs a statement of the library in a transaction.
    pub trait Execute {
        /// Runs `sql` and returns the number of rows it touched. `action` names it in an error.
        fn execute(
            &mut self,
            action: &'static str,
            sql: &'static str,
            parameters: &[Parameter<'_>],
        ) -> impl Future<Output = Result<u64, Error>> + Send;
    }
}
