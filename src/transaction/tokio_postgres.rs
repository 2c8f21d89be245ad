//! Statements in a transaction of `tokio-postgres`. Their types are given, so that each is one round trip and leaves no
//! prepared statement behind: they work through a pooler in transaction mode as well.

use ::tokio_postgres::Transaction;
use ::tokio_postgres::types::{ToSql, Type};

use crate::error::Error;
use crate::transaction::sealed::Execute;
use crate::transaction::{OutboxTransaction, Parameter};

impl OutboxTransaction for Transaction<'_> {}

impl Execute for Transaction<'_> {
    async fn execute(
        &mut self,
        action: &'static str,
        sql: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Result<u64, Error> {
        let typed: Vec<_> = parameters.iter().map(typed).collect();
        let done = self.execute_typed(sql, &typed).await;
        done.map_err(|source| Error::Database {
            action,
            sqlstate: source.code().map(|state| state.code().to_owned()),
            source: Box::new(source),
        })
    }
}

/// A parameter with its Postgres type.
fn typed<'a>(parameter: &'a Parameter<'_>) -> (&'a (dyn ToSql + Sync), Type) {
    match parameter {
        Parameter::Text(value) => (value, Type::TEXT),
        Parameter::Bytes(value) => (value, Type::BYTEA),
        Parameter::Uuid(value) => (value, Type::UUID),
        Parameter::Integer(value) => (value, Type::INT8),
        Parameter::Texts(values) => (values, Type::TEXT_ARRAY),
        Parameter::ByteArrays(values) => (values, Type::BYTEA_ARRAY),
        Parameter::Uuids(values) => (values, Type::UUID_ARRAY),
    }
}
