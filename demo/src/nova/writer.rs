//! One writer: a connection that does act after act, each in a transaction of its own, until it is told to stop.

use std::sync::Arc;

use tokio_postgres::Client;

use crate::error::{Doing, Result};
use crate::nova::acts::{Act, Scene, Statements};
use crate::nova::crowd::Stage;
use crate::random::Random;

/// Of a thousand transactions, how many are rolled back at the end.
const ROLLED_BACK_PER_MILLE: u64 = 30;
/// Of a thousand transactions, how many first do something in a savepoint and think better of it.
const SAVEPOINT_PER_MILLE: u64 = 30;

pub(super) struct Writer {
    client: Client,
    statements: Statements,
    random: Random,
    stage: Arc<Stage>,
}

impl Writer {
    pub(super) fn new(client: Client, random: Random, stage: Arc<Stage>) -> Self {
        Self { client, statements: Statements::new(), random, stage }
    }

    /// Acts at the common pace until the stage is closed.
    pub(super) async fn run(mut self) -> Result<()> {
        loop {
            let act = Act::choose(&mut self.random);
            self.stage.pace.wait_for(act.events()).await;
            if self.stage.closed() {
                return Ok(());
            }
            if let Err(error) = self.transact(act).await {
                let Some(client) = self.stage.reconnect(&self.client, error).await? else { return Ok(()) };
                self.client = client;
                self.statements.clear();
            }
        }
    }

    async fn transact(&mut self, act: Act) -> Result<()> {
        let Self { client, statements, random, stage } = self;
        let mut tx = client.transaction().await.doing("beginning a transaction of Nova")?;
        if random.chance(SAVEPOINT_PER_MILLE) {
            let mut savepoint = tx.savepoint("second_thoughts").await.doing("setting a savepoint")?;
            let mut scene = Scene::open(&mut savepoint, statements, &stage.pools, random);
            scene.perform(act).await?;
            let abandoned = scene.close();
            savepoint.rollback().await.doing("rolling back to a savepoint")?;
            stage.ledger.rolled_back(abandoned.ids);
        }
        let mut scene = Scene::open(&mut tx, statements, &stage.pools, random);
        scene.perform(act).await?;
        let written = scene.close();
        if random.chance(ROLLED_BACK_PER_MILLE) {
            stage.ledger.rolled_back(written.ids);
            tx.rollback().await.doing("rolling back a transaction of Nova")?;
        } else {
            let committed = tx.commit().await.doing("committing a transaction of Nova");
            committed.inspect_err(|_| stage.ledger.unsure(written.events()))?;
            stage.ledger.committed(written.events());
            written.publish(&stage.pools);
        }
        Ok(())
    }
}
