//! `postrider migrate` at ClickHouse: each file once, a run that was cut off goes on, what was applied must stay.

use postrider_relay::sinks::clickhouse::Table;
use postrider_relay::sinks::clickhouse::TableName;
use postrider_relay::sinks::clickhouse::migrations::{MigrateError, Migration};

use crate::command_line::program::Program;
use crate::nova::database::{Database, folder, nova};

fn file(version: u32, text: &str) -> Migration {
    Migration::parse(&format!("V{version}__file"), text).expect("a migration")
}

#[tokio::test]
async fn a_run_that_was_cut_off_goes_on_where_it_ended() {
    let database = Database::named("cut_off");
    let first = "create table if not exists a (n Int8) engine = MergeTree order by n";
    let broken = [file(1, &format!("{first};\n\ninsert into a values (1);\ninsert into missing values (2);"))];
    let error = database.migrate(&broken).await.expect_err("a table is missing");
    assert!(matches!(&error, MigrateError::Statement { line: 4, .. }), "{error}");
    // The statement that ran is not run again, and the one that failed may be mended.
    let mended = [file(1, &format!("{first};\n\ninsert into a values (1);\ninsert into a values (2);"))];
    assert_eq!(database.migrate(&mended).await.expect("the rest"), ["V1__file"]);
    assert_eq!(database.ask("select n from a order by n").await, "1\n2");
    assert!(database.migrate(&mended).await.expect("nothing").is_empty());
    let changed = [file(1, &format!("{first};\n\ninsert into a values (3);\ninsert into a values (2);"))];
    let error = database.migrate(&changed).await.expect_err("it was applied");
    assert!(matches!(error, MigrateError::Plan(_)), "{error}");
    assert_eq!(database.ask("select n from a order by n").await, "1\n2");
}

#[tokio::test]
async fn two_runs_at_once_do_it_once() {
    let database = Database::named("at_once");
    let files = nova();
    let (one, other) = tokio::join!(database.migrate(&files), database.migrate(&files));
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    assert!(database.migrate(&files).await.expect("nothing").is_empty());
}

#[tokio::test]
async fn every_table_of_nova_and_every_target_of_its_views_remembers_tokens() {
    let database = Database::of_nova("windows").await;
    let tables = "select name from system.tables where database = currentDatabase() and engine like '%MergeTree' and name not in ('postrider_migrations')";
    let mut targets = 0;
    for name in database.ask(tables).await.lines() {
        let name = TableName::parse(&database.options.database, name);
        let table = Table::read(&database.client, &name).await.expect("read").expect("there");
        assert_eq!(table.window, 1_000, "{name}");
        for view in table.views(&database.client).await.expect("read") {
            targets += 1;
            assert_eq!(view.window, 1_000, "{name} → {view:?}");
        }
    }
    // likes and comments feed post_events, which feeds the engagement: 2 + 2 + 1.
    assert_eq!(targets, 5);
}

#[test]
fn the_program_migrates_clickhouse_once_and_says_so() {
    let database = Database::named("program");
    let program = Program::new()
        .with("POSTRIDER_CLICKHOUSE_URL", &database.options.url)
        .with("POSTRIDER_CLICKHOUSE_DATABASE", &database.options.database);
    let folder = folder();
    let folder = folder.to_str().expect("a path of letters");
    let said = program.succeed(&["migrate", "--clickhouse", folder]);
    assert!(said.starts_with("applied to ClickHouse: V1__current_state\napplied to ClickHouse: V2__"), "{said}");
    let program = program.with("POSTRIDER_CLICKHOUSE_MIGRATIONS", folder);
    assert_eq!(program.succeed(&["migrate", "--clickhouse"]), "nothing to do: every migration was applied before\n");
}

#[test]
fn without_a_folder_or_with_a_wrong_one_the_program_says_what_to_do() {
    let program = Program::new();
    let said = program.run(&["migrate", "--clickhouse"]);
    assert!(said.code == 1 && said.error.contains("--clickhouse FOLDER"), "{said:?}");
    let file = program.file("V1__a.sql", "create table a (n Int8) engine = Memory;");
    let folder = file.parent().and_then(|folder| folder.to_str()).expect("a folder");
    let said = program.run(&["migrate", "--clickhouse", folder]);
    assert!(
        said.code == 1 && said.error.contains("V1__a.sql, line 1") && said.error.contains("IF NOT EXISTS"),
        "{said:?}"
    );
}
