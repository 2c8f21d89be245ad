//! The writers: random transactions by several connections at once, schema changes among them.
//!
//! They do not wait for each other: a transaction that meets a column that is gone, a taken key or a deadlock is rolled back, as
//! it would be anywhere, and does not count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::SinkExt;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::database::Database;
use crate::error::{Doing, Error, Result};
use crate::random::Random;
use crate::state::alter::alteration;
use crate::state::change::{self, Script};
use crate::state::schema::{FENCE, Schema, Table};
use crate::state::tpcb;

/// Connections that write.
const WRITERS: u64 = 4;
/// Of a thousand transactions, those of TPC-B.
const TPCB_PER_MILLE: u64 = 250;
/// After so many transactions, the first writer changes the schema.
const ALTERS_EVERY: u64 = 40;
/// How often it tries: others stand in the way, and some changes are rolled back on purpose.
const ALTER_ATTEMPTS: u64 = 10;

/// What the writers did so far.
#[derive(Debug, Default)]
pub struct Done {
    operations: AtomicU64,
    transactions: AtomicU64,
    rolled_back: AtomicU64,
    alterations: AtomicU64,
}

impl Done {
    /// Operations that were committed.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Transactions that were committed.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Transactions that were rolled back, on purpose or because they met another.
    pub fn rolled_back(&self) -> u64 {
        self.rolled_back.load(Ordering::Relaxed)
    }

    /// Schema changes that were committed.
    pub fn alterations(&self) -> u64 {
        self.alterations.load(Ordering::Relaxed)
    }
}

/// The tables of a run and what was done with them.
#[derive(Debug, Default)]
pub struct Workload {
    schema: RwLock<Schema>,
    done: Done,
}

/// Writers at work.
#[derive(Debug)]
pub struct Writing {
    workload: Arc<Workload>,
    writers: JoinSet<Result<()>>,
}

impl Workload {
    /// Creates the tables.
    ///
    /// # Errors
    /// Postgres refused.
    pub async fn create(client: &Client) -> Result<Arc<Self>> {
        let workload = Self::default();
        let tables = workload.schema().sql();
        client.batch_execute(&tables).await.doing("creating the tables")?;
        client.batch_execute(tpcb::sql()).await.doing("creating the tables of TPC-B")?;
        Ok(Arc::new(workload))
    }

    /// Begins to write until `operations` were committed; the same seed gives each writer the same choices.
    ///
    /// # Errors
    /// Postgres cannot be connected to.
    pub async fn start(self: &Arc<Self>, database: &Database, operations: u64, seed: u64) -> Result<Writing> {
        let client = database.connect().await?;
        let refusing: String = self.tables().iter().filter_map(Table::refusing).collect();
        client.batch_execute(&refusing).await.doing("setting replica identities")?;
        client.batch_execute(&tpcb::fill()).await.doing("filling the tables of TPC-B")?;
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let client = connect(database).await?;
            let database = database.clone();
            let random = Random::new(seed).fork(number);
            let writer = Writer { workload: Arc::clone(self), database, client, random, alters: number == 0 };
            writers.spawn(writer.write(operations));
        }
        Ok(Writing { workload: Arc::clone(self), writers })
    }

    /// What was done so far.
    pub fn done(&self) -> &Done {
        &self.done
    }

    /// Every table as it is now, those of TPC-B included.
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = self.schema().tables;
        tables.extend(tpcb::tables());
        tables
    }

    /// The names of all topics, without what comes before the table's name.
    pub fn names(&self) -> Vec<String> {
        let tables = self.tables();
        tables.iter().map(|table| table.name.to_owned()).chain([FENCE.to_owned()]).collect()
    }

    /// Writes the row behind which nothing comes.
    ///
    /// # Errors
    /// Postgres refused.
    pub async fn fence(&self, client: &Client) -> Result<()> {
        let sql = format!("insert into {FENCE} values (1, 1) on conflict (id) do update set n = {FENCE}.n + 1");
        client.batch_execute(&sql).await.doing("writing the last row")
    }

    fn schema(&self) -> Schema {
        self.schema.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, schema: Schema) {
        *self.schema.write().unwrap_or_else(PoisonError::into_inner) = schema;
    }
}

impl Writing {
    /// Whether all of them have ended; an error if one could not go on.
    ///
    /// # Errors
    /// What Postgres said that no writer provokes.
    pub async fn ended(&mut self) -> Result<bool> {
        while let Some(ended) = self.writers.try_join_next() {
            ended.map_err(|_| Error::Relay("a writer panicked; its message is above".into()))??;
        }
        Ok(self.writers.is_empty())
    }

    /// What they do it with.
    pub fn workload(&self) -> &Arc<Workload> {
        &self.workload
    }
}

/// A connection of a writer.
async fn connect(database: &Database) -> Result<Client> {
    let client = database.connect().await?;
    // A deadlock is what some of them shall meet, and nobody shall wait for it.
    let set = "set deadlock_timeout = '20ms'; set lock_timeout = '2s'";
    client.batch_execute(set).await.doing("preparing a writer")?;
    Ok(client)
}

struct Writer {
    workload: Arc<Workload>,
    database: Database,
    client: Client,
    random: Random,
    alters: bool,
}

impl Writer {
    async fn write(mut self, operations: u64) -> Result<()> {
        let mut turn = 0;
        while self.workload.done.operations() < operations {
            turn += 1;
            if self.alters && turn % ALTERS_EVERY == ALTERS_EVERY / 2 {
                let mut attempts = 0..ALTER_ATTEMPTS;
                while attempts.next().is_some() && !self.alter().await? {}
            }
            let script = match self.random.chance(TPCB_PER_MILLE) {
                true => tpcb::script(&mut self.random),
                false => change::script(&self.workload.schema(), &mut self.random),
            };
            let committed = self.play(&script).await?;
            self.count(committed, script.operations);
        }
        Ok(())
    }

    /// A schema change, mostly in the middle of a transaction, sometimes in one that is rolled back; whether it was committed.
    async fn alter(&mut self) -> Result<bool> {
        let schema = self.workload.schema();
        let change = alteration(&schema, &mut self.random);
        let operations = change.statements.len() as u64;
        let commits = !change.transactional || !self.random.chance(100);
        let committed = if change.transactional {
            let before = change::script(&schema, &mut self.random);
            let after = change::script(&change.after, &mut self.random);
            let statements = [before.statements, change.statements, after.statements].concat();
            self.play(&Script { copy: None, statements, operations, commits }).await?
        } else {
            self.attempt(&change.statements.join(";\n")).await?
        };
        if committed {
            self.workload.replace(change.after);
            self.workload.done.alterations.fetch_add(1, Ordering::Relaxed);
        }
        self.count(committed, operations);
        Ok(committed)
    }

    fn count(&self, committed: bool, operations: u64) {
        let done = &self.workload.done;
        if committed {
            done.operations.fetch_add(operations, Ordering::Relaxed);
            done.transactions.fetch_add(1, Ordering::Relaxed);
        } else {
            done.rolled_back.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it was committed.
    async fn play(&mut self, script: &Script) -> Result<bool> {
        let Some((statement, data)) = &script.copy else {
            return Ok(self.attempt(&format!("begin;\n{}", script.sql())).await? && script.commits);
        };
        if !self.attempt("begin").await? || !self.copy(statement, data).await? {
            return Ok(false);
        }
        Ok(self.attempt(&script.sql()).await? && script.commits)
    }

    /// A COPY that is refused while it is sent leaves the client in doubt of where it is: the next has another connection.
    async fn copy(&mut self, statement: &str, data: &str) -> Result<bool> {
        let copied = async {
            let sink = self.client.copy_in::<_, std::io::Cursor<Vec<u8>>>(statement).await?;
            let mut sink = std::pin::pin!(sink);
            sink.send(std::io::Cursor::new(data.as_bytes().to_vec())).await?;
            sink.finish().await
        };
        if let Err(error) = copied.await {
            if !is_met(&error) {
                return Err(error).doing("copying");
            }
            self.client = connect(&self.database).await?;
            return Ok(false);
        }
        Ok(true)
    }

    async fn attempt(&self, sql: &str) -> Result<bool> {
        self.settle(self.client.batch_execute(sql).await).await
    }

    /// Whether it went well. What meets another transaction, or a schema that is no more, is rolled back.
    async fn settle(&self, outcome: std::result::Result<(), tokio_postgres::Error>) -> Result<bool> {
        let Err(error) = outcome else { return Ok(true) };
        if !is_met(&error) {
            return Err(error).doing("writing");
        }
        self.client.batch_execute("rollback").await.doing("rolling back")?;
        Ok(false)
    }
}

/// Whether a statement met another transaction, or a schema that is no more. Integrity (23), rollbacks and deadlocks (40), names
/// and types (42), values (22), locks (55): <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn is_met(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| ["22", "23", "40", "42", "55"].contains(&&code.code()[..2]))
}
