//! What the writer library and the SQL functions promise a service, on a real Postgres.
#![expect(clippy::unwrap_used, reason = "what these helpers cannot do is a failure of the test that asks for it")]

mod emit;
mod inbox;
mod limits;
mod migrations;
mod soft_delete;
mod write;

use tokio_postgres::{Client, NoTls};
use uuid::Uuid;
use xtask::services::Postgres;

/// A database of one test. It is removed, with its role, when the test lets go of it.
struct Database {
    postgres: Postgres,
    name: String,
}

impl Database {
    /// On the shared Postgres, migrated.
    async fn migrated() -> Self {
        Self::migrated_on(&harness::shared().postgres).await
    }

    /// On the shared Postgres, without anything in it.
    async fn empty() -> Self {
        Self::empty_on(&harness::shared().postgres).await
    }

    async fn migrated_on(postgres: &Postgres) -> Self {
        let database = Self::empty_on(postgres).await;
        postrider::migrations::run(&mut database.client().await).await.unwrap();
        database
    }

    async fn empty_on(postgres: &Postgres) -> Self {
        let name = format!("writer_{}", Uuid::now_v7().simple());
        let admin = connect(&postgres.url("postgres")).await;
        admin.batch_execute(&format!("create database {name}")).await.unwrap();
        admin.batch_execute(&format!("create role {name}")).await.unwrap();
        Self { postgres: postgres.clone(), name }
    }

    async fn client(&self) -> Client {
        connect(&self.postgres.url(&self.name)).await
    }

    async fn pool(&self) -> sqlx::PgPool {
        sqlx::PgPool::connect(&self.postgres.url(&self.name)).await.unwrap()
    }

    /// A session with the rights of a service: it may insert into the outbox and the inbox, and nothing else.
    async fn service(&self) -> Client {
        let client = self.client().await;
        let role = &self.name;
        let rights = format!(
            "grant usage on schema postrider to {role};
             grant insert on public.outbox_events, postrider.inbox to {role};
             set role {role}"
        );
        client.batch_execute(&rights).await.unwrap();
        client
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let url = self.postgres.url("postgres");
        let name = self.name.clone();
        // A runtime of its own, because the test's is still running the code that drops this.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let admin = connect(&url).await;
                admin.batch_execute(&format!("drop database {name} with (force)")).await.unwrap();
                admin.batch_execute(&format!("drop role {name}")).await.unwrap();
            });
        });
        // Where the test failed, its failure is the one to report.
        if removal.join().is_err() && !std::thread::panicking() {
            panic!("the database {} could not be removed", self.name);
        }
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// How many events the outbox holds.
async fn count(client: &Client) -> i64 {
    client.query_one("select count(*) from public.outbox_events", &[]).await.unwrap().get(0)
}

/// The message of the server's refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, tokio_postgres::Error>) -> String {
    result.unwrap_err().as_db_error().unwrap().message().to_owned()
}
