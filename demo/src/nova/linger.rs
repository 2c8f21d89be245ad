//! A writer whose transactions stay open for seconds while the others commit around it; one of four is rolled back in the end.
//!
//! It works on a post of its own, so that nobody waits for its locks.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;
use uuid::Uuid;

use crate::error::{Doing, Result};
use crate::nova::acts::{Scene, Statements};
use crate::nova::crowd::Stage;
use crate::nova::pools::Kind;
use crate::random::Random;

/// How long such a transaction stays open at most, in milliseconds; a second at least.
const OPEN_MAX_MS: u64 = 8_000;
/// Of a thousand, how many are rolled back.
const ROLLED_BACK_PER_MILLE: u64 = 250;
/// How long it waits for the first user to be committed, and between two transactions.
const PAUSE: Duration = Duration::from_millis(200);

/// Opens one long transaction after the other until the stage is closed; the last one then ends early.
pub(super) async fn run(mut client: Client, mut random: Random, stage: Arc<Stage>) -> Result<()> {
    let mut statements = Statements::new();
    while !stage.closed() {
        stage.closing(PAUSE).await;
        let Some(author) = stage.pools.pick(Kind::User, &mut random) else { continue };
        if let Err(error) = transact(&mut client, author, &mut statements, &mut random, &stage).await {
            let Some(new) = stage.reconnect(&client, error).await? else { return Ok(()) };
            client = new;
            statements.clear();
        }
    }
    Ok(())
}

async fn transact(
    client: &mut Client,
    author: Uuid,
    statements: &mut Statements,
    random: &mut Random,
    stage: &Stage,
) -> Result<()> {
    let open_for = Duration::from_millis(1_000 + random.below(OPEN_MAX_MS - 1_000));
    let roll_back = random.chance(ROLLED_BACK_PER_MILLE);
    let mut tx = client.transaction().await.doing("beginning a long transaction of Nova")?;
    let mut scene = Scene::open(&mut tx, statements, &stage.pools, random);
    let post = scene.post(author).await?;
    stage.closing(open_for / 2).await;
    scene.edit_post(post, 20).await?;
    stage.closing(open_for / 2).await;
    scene.edit_post(post, 1).await?;
    let written = scene.close();
    if roll_back {
        stage.ledger.rolled_back(written.ids);
        tx.rollback().await.doing("rolling back a long transaction of Nova")?;
    } else {
        let committed = tx.commit().await.doing("committing a long transaction of Nova");
        committed.inspect_err(|_| stage.ledger.unsure(written.events()))?;
        stage.ledger.committed(written.events());
        written.publish(&stage.pools);
    }
    Ok(())
}
