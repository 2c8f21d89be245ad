//! A place for one test: a database, roles, publication, slot and topics that nobody else uses, gone when the test is over.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use demo::database::{Database, socket};
use demo::findings::Findings;
use demo::outbox;
use demo::topics::Topics;
use tokio_postgres::Client;
use xtask::services::{Postgres, PrivatePostgres};

use crate::reader::TopicReader;
use crate::relay::Launch;
use crate::servers::shared;
use crate::wait::{PATIENCE, until};

/// The kinds of things that tests write events about.
const AGGREGATE_TYPES: &[&str] = &["order", "parcel"];

/// The password of the relay's role, which is wanted over TCP.
const PASSWORD: &str = "only for this test";

/// Distinguishes the sites of one process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The place of one test.
#[derive(Debug)]
pub struct Site {
    name: String,
    server: Postgres,
    bootstrap: String,
    database: Option<Database>,
    client: Option<Client>,
    topics: Topics,
    folder: PathBuf,
    /// Kept while the site uses it.
    _server: Option<Arc<PrivatePostgres>>,
}

impl Site {
    /// A place on the shared services, migrated and initialised by the relay's own verbs. `promise` names it.
    ///
    /// # Panics
    /// If it cannot be made; so do all that follow.
    pub async fn new(promise: &str) -> Self {
        let site = Self::bare(promise, &shared().postgres, &shared().kafka.bootstrap).await;
        site.set_up().await
    }

    /// The same on a private Postgres.
    pub async fn on(promise: &str, server: &Arc<PrivatePostgres>) -> Self {
        let mut site = Self::bare(promise, &server.environment(), &shared().kafka.bootstrap).await;
        site._server = Some(Arc::clone(server));
        site.set_up().await
    }

    /// The same on any Postgres and any Kafka, which may be away.
    pub async fn between(promise: &str, server: &Postgres, bootstrap: &str) -> Self {
        Self::bare(promise, server, bootstrap).await.set_up().await
    }

    /// A place with a database and a configuration, and nothing else.
    pub async fn bare(promise: &str, server: &Postgres, bootstrap: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e_{promise}_{:x}_{number}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let database = Database::create(server, &name).await.expect("a database can be created");
        let client = database.connect().await.expect("the database can be connected to");
        let topics = Topics::new(&name, AGGREGATE_TYPES);
        let site = Self {
            name,
            server: server.clone(),
            bootstrap: bootstrap.to_owned(),
            database: Some(database),
            client: Some(client),
            topics,
            folder,
            _server: None,
        };
        std::fs::write(site.config(), site.toml()).expect("the configuration can be written");
        site
    }

    async fn set_up(self) -> Self {
        self.migrate();
        self.init();
        if self.bootstrap == shared().kafka.bootstrap {
            self.create_topics().await;
        }
        self
    }

    /// `postrider migrate`.
    pub fn migrate(&self) {
        self.administrator().complete("migrate").expect(0, &[]);
    }

    /// `postrider init`.
    pub fn init(&self) {
        self.initialiser().complete("init").expect(0, &[]);
    }

    /// `postrider init`, not yet run.
    pub fn initialiser(&self) -> Launch {
        self.administrator().argument("--writer-role").argument(&self.writer_role())
    }

    /// Creates the topics of this place and waits until they are there.
    pub async fn create_topics(&self) {
        self.topics.create(&self.bootstrap).await.expect("topics can be created");
    }

    /// Its name: of the database, of the slot and, with a dot, the beginning of every topic.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The relay's role.
    pub fn role(&self) -> String {
        format!("{}_relay", self.name)
    }

    fn writer_role(&self) -> String {
        format!("{}_writer", self.name)
    }

    /// Its Postgres.
    pub fn server(&self) -> &Postgres {
        &self.server
    }

    /// Its topics.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Its broker.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A connection as superuser.
    pub fn db(&self) -> &Client {
        self.client.as_ref().expect("the connection lives as long as the site")
    }

    /// A new connection as superuser.
    pub async fn connect(&self) -> Client {
        self.database().connect().await.expect("the database can be connected to")
    }

    /// Connects anew after the server was away.
    pub async fn reconnect(&mut self) {
        let database = self.database();
        let client = until("Postgres is back", PATIENCE, async || database.connect().await.ok()).await;
        self.client = Some(client);
    }

    /// Goes on with the same database on another server, such as a standby that was promoted.
    pub async fn move_to(&mut self, server: &Postgres) {
        self.database = Some(self.database().on(server));
        self.server = server.clone();
        self.reconnect().await;
    }

    /// Its database.
    pub fn database(&self) -> &Database {
        self.database.as_ref().expect("the database lives as long as the site")
    }

    /// What a relay or a verb is told of the captured table `public.items` of this place, of which nothing is read at first.
    pub fn capturing(&self, launch: Launch) -> Launch {
        launch
            .with("POSTRIDER_CAPTURE_TABLES", "public.items")
            .with("POSTRIDER_CAPTURE_PUBLICATION", &format!("{}_capture", self.name()))
            .with("POSTRIDER_CAPTURE_TOPIC", &format!("{}.cdc.{{table}}", self.name()))
            .with("POSTRIDER_CAPTURE_SNAPSHOT_MODE", "no_data")
            .with("POSTRIDER_TOPICS_CREATE", "true")
            .with("POSTRIDER_TOPICS_PARTITIONS", "1")
    }

    /// A relay for this place. Its back-off is short: a test waits for it.
    pub fn relay(&self) -> Launch {
        Launch::of(self.config()).with("POSTRIDER_RETRY_INITIAL_MS", "10").with("POSTRIDER_RETRY_MAX_MS", "250")
    }

    /// A worker for this place, with this configuration file beside the relay's.
    pub fn worker(&self, role: &str, toml: &str) -> Launch {
        let config = self.folder.join(format!("{role}.toml"));
        std::fs::write(&config, toml).expect("the configuration can be written");
        Launch::of(config).with("POSTRIDER_RETRY_INITIAL_MS", "10").with("POSTRIDER_RETRY_MAX_MS", "250")
    }

    /// The relay's verbs, run as the database's administrator.
    pub fn administrator(&self) -> Launch {
        Launch::of(self.config()).with("POSTRIDER_ADMIN_URL", &self.server.url(&self.name))
    }

    /// Reads this place's topics from their beginning.
    pub fn reader(&self) -> TopicReader {
        TopicReader::start(&self.bootstrap, self.topics.partitions())
    }

    /// Runs SQL that returns nothing.
    pub async fn sql(&self, sql: &str) {
        self.db().batch_execute(sql).await.expect("the SQL runs");
    }

    /// The slot's `confirmed_flush_lsn`.
    pub async fn confirmed(&self) -> u64 {
        self.lsn(&format!(
            "select (confirmed_flush_lsn - '0/0')::bigint from pg_replication_slots where slot_name = '{}'",
            self.name
        ))
        .await
    }

    /// Where the WAL ends now.
    pub async fn wal_end(&self) -> u64 {
        self.lsn("select (pg_current_wal_lsn() - '0/0')::bigint").await
    }

    async fn lsn(&self, sql: &str) -> u64 {
        let row = self.db().query_one(sql, &[]).await.expect("the position can be asked for");
        row.get::<_, i64>(0).unsigned_abs()
    }

    /// Below which transaction everything is delivered, as the newest progress record says.
    pub async fn delivered_below(&self) -> Option<u64> {
        let progress = TopicReader::start(self.bootstrap(), [(self.topics().progress().to_owned(), 0)]);
        progress.read_to_the_end().await;
        let newest = progress.records().into_iter().next_back()?.value?;
        let record: serde_json::Value = serde_json::from_slice(&newest).expect("a record is JSON");
        record["horizon"]["delivered_below"].as_str()?.parse().ok()
    }

    /// The backend that reads the slot, and when it started; none while nobody does.
    pub async fn walsender(&self) -> Option<(i32, String)> {
        let sql = "select pid, backend_start::text from pg_stat_replication where pid = \
                   (select active_pid from pg_replication_slots where slot_name = $1)";
        let row = self.db().query_opt(sql, &[&self.name]).await.expect("the walsender can be asked for")?;
        Some((row.get(0), row.get(1)))
    }

    /// How many events are committed.
    pub async fn committed(&self) -> u64 {
        let row = self.db().query_one("select count(*) from outbox_events", &[]).await.expect("the outbox is there");
        row.get::<_, i64>(0).unsigned_abs()
    }

    /// Compares what arrived with what was committed. To be asked when the relay has stopped or has nothing to do.
    pub async fn judge(&self, reader: &TopicReader) -> Findings {
        let mut judge = reader.judge(self.topics.prefix()).await;
        outbox::settle(&mut self.connect().await, &mut judge).await.expect("the outbox can be read");
        judge.finish(&HashSet::new()).0
    }

    /// Waits until everything committed has arrived, then judges, and insists that nothing is wrong.
    pub async fn assert_all_arrived(&self, reader: &TopicReader) -> Findings {
        let committed = self.committed().await;
        reader.distinct(committed).await;
        let findings = self.judge(reader).await;
        assert!(findings.clean(), "{findings:#?}");
        assert_eq!((findings.committed, findings.delivered), (committed, committed));
        findings
    }

    fn config(&self) -> PathBuf {
        self.folder.join("postrider.toml")
    }

    /// The configuration as a user would write it: only what differs from the defaults.
    pub fn toml(&self) -> String {
        let (host, port) = match socket(&self.server) {
            Some(folder) => (folder.display().to_string(), self.server.port),
            None => (self.server.host.clone(), self.server.port),
        };
        let name = &self.name;
        format!(
            "[postgres]\nhost = '{host}'\nport = {port}\ndatabase = '{name}'\nuser = '{}'\npassword = '{PASSWORD}'\n\n\
             [source]\nslot = '{name}'\npublication = '{name}'\n\n\
             [outbox]\ntopic = '{}'\n\n\
             [kafka]\nbootstrap_servers = '{}'\nprogress_topic = '{}'\n\n\
             [admin]\nlisten = '127.0.0.1:0'\n",
            self.role(),
            self.topics.template(),
            self.bootstrap,
            self.topics.progress(),
        )
    }
}

impl Drop for Site {
    /// Leaves nothing behind: the database with its slot, the roles, the topics, the folder.
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
        let Some(database) = self.database.take() else { return };
        drop(self.client.take());
        let (server, roles) = (self.server.clone(), [self.role(), self.writer_role()]);
        let topics =
            (self.bootstrap == shared().kafka.bootstrap).then(|| (self.topics.clone(), self.bootstrap.clone()));
        let clean = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            runtime.block_on(async {
                // A server of the test's own may be gone already, and its data with it.
                let _ = database.drop().await;
                let _ = drop_roles(&server, &roles).await;
                if let Some((topics, bootstrap)) = topics {
                    let _ = topics.delete(&bootstrap).await;
                }
            });
        };
        // A test's own runtime must not be blocked from within.
        let _ = std::thread::spawn(clean).join();
    }
}

async fn drop_roles(server: &Postgres, roles: &[String]) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    for role in roles {
        client.batch_execute(&format!("drop role if exists {role}")).await?;
    }
    Ok(())
}
