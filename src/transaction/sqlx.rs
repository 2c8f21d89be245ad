//! Statements in a transaction of `sqlx`. They are prepared once a connection and cached by sqlx.

use ::sqlx::error::DatabaseError;
use ::sqlx::{Postgres, Transaction};

use crate::error::Error;
use crate::transaction::sealed::Execute;
use crate::transaction::{OutboxTransaction, Parameter};

impl OutboxTransaction for Transaction<'_, Postgres> {}

impl Execute for Transaction<'_, Postgres> {
    async fn execute(
        &mut self,
        action: &'static str,
        sql: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Result<u64, Error> {
        let mut query = ::sqlx::query(sql);
        for parameter in parameters {
            query = match parameter {
                Parameter::Text(value) => query.bind(*value),
                Parameter::Bytes(value) => query.bind(*value),
                Parameter::Uuid(value) => query.bind(*value),
                Parameter::Integer(value) => query.bind(*value),
                Parameter::Texts(values) => query.bind(values.as_slice()),
                Parameter::ByteArrays(values) => query.bind(values.as_slice()),
                Parameter::Uuids(values) => query.bind(values.as_slice()),
            };
        }
        let done = query.execute(&mut **self).await;
        done.map(|done| done.rows_affected()).map_err(|source| Error::Database {
            action,
            sqlstate: source.as_database_error().and_then(DatabaseError::code).map(Into::into),
            source: Box::new(source),
        })
    }
}
