//! A Debezium connector with the outbox event router reads the slot; the relay takes it over under load (`postrider adopt debezium`),
//! and hands it back. The connector is the real one, in its embedded engine, stopped as Connect stops a connector.
//!
//! What a hand-over repeats is what was delivered and not confirmed to the slot yet.

use std::time::{Duration, Instant};

use xtask::services::{Postgres, PrivatePostgres};

use crate::compare::debezium::Engine;
use crate::drill::{Ledger, Load, Options, Report, Scene, Servers, Writers};
use crate::error::{Doing, Result};
use crate::relay::Relay;
use crate::screen::Screen;

/// How long anything may take to go on: an engine takes some seconds to start.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) async fn run(servers: Servers, options: &Options, screen: &Screen) -> Result<Report> {
    let server = tokio::task::block_in_place(|| PrivatePostgres::start(None, &[]))?;
    let scene = Scene::open(&servers.on(server.environment()), "adopt").await?;
    prepare(&scene).await?;
    let ledger = scene.ledger()?;
    let load = Load { rate: options.rate.unwrap_or(1000), ..Load::default() };
    let events = load.rate * 5;
    let writers = Writers::start(&scene.servers.postgres, &scene.name, load);

    screen.say("          Debezium reads the slot");
    let mut engine = engine(&scene, "before")?;
    writers.write_more(events, PATIENCE).await?;
    ledger.goes_on(PATIENCE).await?;
    engine.check()?;
    let begun = Instant::now();
    let before = repeated(&ledger);
    screen.say("          it is stopped, and the relay takes over");
    tokio::task::block_in_place(|| engine.stop())?;
    let relay = adopted(&scene)?;
    let process = relay.start()?;
    ledger.goes_on(PATIENCE).await?;
    let taken_after = begun.elapsed();
    writers.write_more(events, PATIENCE).await?;
    ledger.reaches(writers.committed(), PATIENCE).await?;
    let forth = repeated(&ledger) - before;

    screen.say("          the relay is stopped, and Debezium reads the slot again");
    process.stop()?;
    let mut engine = self::engine(&scene, "after")?;
    ledger.goes_on(PATIENCE).await?;
    writers.write_more(events, PATIENCE).await?;
    engine.check()?;
    let committed = writers.stop().await?;
    let gap = ledger.longest_gap_since(begun);
    let counted = ledger.settle(&committed).await?;
    tokio::task::block_in_place(|| engine.stop())?;

    let report = Report::new("adopt", counted, gap)
        .with("duplicated_forth", forth as f64)
        .with("duplicated_back", counted.duplicated.saturating_sub(before + forth) as f64)
        .with("taken_over_after_s", taken_after.as_secs_f64());
    if report.passed() && !options.keep {
        scene.clear(false).await?;
    } else {
        screen.say(&scene.whereabouts());
    }
    Ok(report)
}

/// The outbox as a connector's users have it: a table, a publication and a slot.
async fn prepare(scene: &Scene) -> Result<()> {
    scene.relay("prepare", "")?.complete("migrate")?;
    let (sql, name) = (scene.database.connect().await?, &scene.name);
    let publication = format!("create publication {name} for table public.outbox_events with (publish = 'insert')");
    sql.batch_execute(&publication).await.doing("creating the publication")?;
    let slot = format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')");
    sql.batch_execute(&slot).await.doing("creating the slot")
}

/// Records that were read more than once so far.
fn repeated(ledger: &Ledger) -> u64 {
    ledger.records().saturating_sub(ledger.distinct())
}

/// The connector's options that the relay takes over; the same for both engines.
fn connector(scene: &Scene) -> Vec<(String, String)> {
    let Postgres { host, port, user, .. } = &scene.servers.postgres;
    let (name, port) = (scene.name.as_str(), port.to_string());
    let topic = format!("{name}.${{routedByValue}}");
    let options = [
        ("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
        ("database.hostname", host.as_str()),
        ("database.port", &port),
        ("database.user", user),
        ("database.dbname", name),
        ("topic.prefix", name),
        ("plugin.name", "pgoutput"),
        ("slot.name", name),
        ("publication.name", name),
        ("publication.autocreate.mode", "disabled"),
        ("snapshot.mode", "no_data"),
        ("table.include.list", r"public\.outbox_events"),
        ("transforms", "outbox"),
        ("transforms.outbox.type", "io.debezium.transforms.outbox.EventRouter"),
        ("transforms.outbox.table.field.event.key", "aggregate_id"),
        ("transforms.outbox.table.field.event.type", "event_type"),
        ("transforms.outbox.route.by.field", "aggregate_type"),
        ("transforms.outbox.route.topic.replacement", &topic),
    ];
    options.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// An engine that finds no offsets of its own, and so begins where the slot was confirmed.
fn engine(scene: &Scene, name: &str) -> Result<Engine> {
    let folder = scene.folder().join(format!("debezium-{name}"));
    std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
    let mut properties = connector(scene);
    let more = [
        ("name", name),
        ("database.password", &scene.servers.postgres.password),
        ("offset.storage", "org.apache.kafka.connect.storage.MemoryOffsetBackingStore"),
        ("offset.flush.interval.ms", "1000"),
        ("converter.schemas.enable", "false"),
        ("producer.bootstrap.servers", &scene.servers.bootstrap),
        ("producer.linger.ms", "1"),
    ];
    properties.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Engine::run(&folder, &properties)
}

/// The relay that `postrider adopt debezium` makes of the connector.
fn adopted(scene: &Scene) -> Result<Relay> {
    let json = "org.apache.kafka.connect.json.JsonConverter";
    let mut config: serde_json::Map<String, serde_json::Value> =
        connector(scene).into_iter().map(|(name, value)| (name, value.into())).collect();
    for (name, value) in [
        ("key.converter", json),
        ("key.converter.schemas.enable", "false"),
        ("value.converter", json),
        ("value.converter.schemas.enable", "false"),
    ] {
        config.insert(name.to_owned(), value.into());
    }
    let (file, written) = (scene.folder().join("connector.json"), scene.folder().join("adopted.toml"));
    let connector = serde_json::json!({ "name": "outbox", "config": config }).to_string();
    std::fs::write(&file, connector).doing(format!("writing {}", file.display()))?;
    let [file, written] = [file, written].map(|path| path.display().to_string());
    let bootstrap = &scene.servers.bootstrap;
    let words = ["adopt", "debezium", &file, "--bootstrap-servers", bootstrap, "--write", &written];
    scene.relay("adopt", "")?.ask(&words)?;
    let text = std::fs::read_to_string(&written).doing(format!("reading {written}"))?;
    let folder = scene.folder().join("adopted");
    std::fs::create_dir_all(&folder).doing(format!("creating {}", folder.display()))?;
    let relay = Relay::with_file(&folder, &text, scene.servers.postgres.url(&scene.name))?;
    Ok(relay
        .with("POSTRIDER_POSTGRES_PASSWORD", &scene.servers.postgres.password)
        .with("POSTRIDER_KAFKA_PROGRESS_TOPIC", &scene.progress_topic())
        .with("POSTRIDER_ADMIN_LISTEN", "127.0.0.1:0"))
}
