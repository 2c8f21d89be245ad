//! Plays the script on two sessions, and waits at its barriers until both sides have delivered the barrier's marker.

use std::pin::pin;

use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use crate::compare::workload::{Row, Step, Workload};
use crate::database::Database;
use crate::error::{Doing, Result};

/// How much of a statement an error shows: it is generated, and holds no user's data.
const SHOWN_MAX: usize = 300;

/// The sessions that play.
pub(in crate::compare) struct Player {
    sessions: [Client; 2],
    marker: u64,
}

impl Player {
    /// Connects.
    pub(in crate::compare) async fn new(database: &Database) -> Result<Self> {
        Ok(Self { sessions: [database.connect().await?, database.connect().await?], marker: 0 })
    }

    /// Makes the tables and the rows of the snapshot.
    pub(in crate::compare) async fn prepare(&self, workload: &Workload) -> Result<()> {
        for sql in &workload.preparation {
            self.run(0, sql).await?;
        }
        Ok(())
    }

    /// Plays a step; the number of the marker that both sides must have delivered before the next one, if it is a barrier.
    pub(in crate::compare) async fn play(&mut self, step: &Step) -> Result<Option<u64>> {
        match step {
            Step::Run { session, sql } => self.run(*session, sql).await?,
            Step::Copy { sql, rows } => self.copy(sql, rows).await?,
            Step::Barrier => {
                self.marker += 1;
                self.run(0, &format!("insert into marker values ({})", self.marker)).await?;
                return Ok(Some(self.marker));
            }
        }
        Ok(None)
    }

    async fn run(&self, session: usize, sql: &str) -> Result<()> {
        let shown: String = sql.chars().take(SHOWN_MAX).collect();
        self.sessions[session].batch_execute(sql).await.doing(format!("running `{shown}`"))
    }

    async fn copy(&self, sql: &str, rows: &[Row]) -> Result<()> {
        let doing = || format!("running `{sql}`");
        let sink = self.sessions[0].copy_in(sql).await.doing(doing())?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::INT8, Type::TEXT, Type::TEXT]));
        for row in rows {
            let values: [&(dyn ToSql + Sync); 3] = [&row.id, &row.email, &row.name];
            writer.as_mut().write(&values).await.doing(doing())?;
        }
        writer.finish().await.doing(doing()).map(drop)
    }
}
