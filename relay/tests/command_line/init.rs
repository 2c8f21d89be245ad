//! `migrate` and `init` on a real Postgres: what they make, that they make it once, and what they refuse.

use xtask::services::PrivatePostgres;

use crate::command_line::database::{Database, PASSWORD};
use crate::command_line::program::{Program, Said};

fn init(program: &Program, database: &Database) -> Said {
    program.run(&["init", "--writer-role", &database.writer()])
}

/// What `init` refused, after `change` was made to a database that was set up.
fn refused(test: &str, change: impl Fn(&Database) -> String) -> (Database, Program, String) {
    let database = Database::new(test);
    let program = database.administered();
    program.succeed(&["migrate"]);
    database.run(&change(&database));
    let said = init(&program, &database);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(said.out, "", "nothing was done");
    (database, program, said.error)
}

#[test]
fn a_second_migrate_and_a_second_init_change_nothing_and_say_so() {
    let database = Database::new("twice");
    let program = database.administered();
    let first = program.succeed(&["migrate"]);
    assert!(first.starts_with("applied: "), "{first}");
    assert_eq!(program.succeed(&["migrate"]), "nothing to do: every migration was applied before\n");

    let writer = database.writer();
    let first = program.succeed(&["init", "--writer-role", &writer]);
    let last = format!(
        "done: create publication postrider\ndone: set the password of role {0}\ndone: create slot {0}\n",
        database.name
    );
    assert!(first.ends_with(&last), "{first}");
    assert_eq!(program.succeed(&["init", "--writer-role", &writer]), "nothing to do: the database is set up\n");
}

#[test]
fn the_roles_can_do_their_work_and_nothing_more() {
    let database = Database::new("rights");
    let program = database.administered();
    program.succeed(&["migrate"]);
    assert_eq!(init(&program, &database).code, 0);

    let mut relay = database.session(&database.name, Some(PASSWORD)).expect("the relay logs in with its password");
    relay.simple_query("select count(*) from public.outbox_events").unwrap();
    let peek = format!(
        "select pg_logical_slot_peek_binary_changes('{}', null, null, 'proto_version', '1', 'publication_names', 'postrider')",
        database.name
    );
    relay.simple_query(&peek).expect("the relay reads its slot");
    for refused in ["select postrider.emit('Order', '1', 'Placed', '{}')", "delete from public.outbox_events"] {
        assert!(relay.simple_query(refused).is_err(), "{refused}");
    }

    let mut writer = database.session(&database.server.user, None).unwrap();
    writer.simple_query(&format!("set role {}", database.writer())).unwrap();
    writer.simple_query("select postrider.emit('Order', '1', 'Placed', '{}')").unwrap();
    for refused in ["select * from public.outbox_events", "delete from public.outbox_events", "create table public.t()"]
    {
        assert!(writer.simple_query(refused).is_err(), "{refused}");
    }
    assert_eq!(database.value("select count(*) from public.outbox_events"), "1");
}

#[test]
fn the_printed_sql_sets_up_what_init_finds_complete() {
    let database = Database::new("printed");
    let program = database.administered();
    program.succeed(&["migrate"]);
    let writer = database.writer();
    let sql = program.succeed(&["init", "--print", "--writer-role", &writer]);
    let (_, sql) = sql.split_once("begin;").expect("the commands of psql stand before the transaction");
    let (transaction, slot) = sql.split_once("commit;").expect("a transaction");
    database.run(&format!("begin; {transaction} commit"));
    database.run(slot);
    assert_eq!(program.succeed(&["init", "--writer-role", &writer]), "nothing to do: the database is set up\n");
}

#[test]
fn a_table_made_for_debezium_is_set_up_without_a_migration() {
    let database = Database::new("debezium");
    let program = database.administered();
    program.file(
        "postrider.toml",
        "[outbox]\ntable = 'shop.\"OutboxEvent\"'\n\n[outbox.columns]\naggregate_type = 'aggregatetype'\n\
         aggregate_id = 'aggregateid'\nevent_type = 'type'\npayload_bytes = ''\nheaders = ''\n",
    );
    let create = "create schema shop; create table shop.\"OutboxEvent\"(id uuid primary key, aggregatetype text, aggregateid text, type text, payload jsonb)";
    let said = init(&program, &database);
    assert!(said.error.contains("table \"shop\".\"OutboxEvent\" does not exist"), "{said:?}");
    database.run(create);
    let printed = program.succeed(&["init", "--print"]);
    assert!(!printed.contains("postrider\".") && !printed.contains("schema \"postrider\""), "{printed}");
    assert_eq!(init(&program, &database).code, 0);
    assert!(init(&program, &database).out.starts_with("nothing to do"));
}

#[test]
fn a_publication_of_other_tables_is_refused_and_its_mend_works() {
    let (database, program, error) = refused("publication", |_| {
        "create table public.other(); create publication postrider for table public.other with (publish = 'insert', publish_via_partition_root)"
            .to_owned()
    });
    assert!(error.contains("publishes \"public\".\"other\", not \"public\".\"outbox_events\" alone"), "{error}");
    let mend = "alter publication \"postrider\" set table \"public\".\"outbox_events\"";
    assert!(error.contains(mend), "{error}");
    database.run(mend);
    assert_eq!(init(&program, &database).code, 0);
}

#[test]
fn a_publication_with_other_options_is_refused_and_its_mend_works() {
    let (database, program, error) =
        refused("options", |_| "create publication postrider for table public.outbox_events".to_owned());
    let mend = "alter publication \"postrider\" set (publish = 'insert', publish_via_partition_root = true)";
    assert!(error.contains(mend), "{error}");
    database.run(mend);
    assert_eq!(init(&program, &database).code, 0);
}

#[test]
fn a_slot_that_is_older_than_the_publication_is_refused_and_its_mend_works() {
    let (database, program, error) = refused("older", |database| {
        format!("select pg_create_logical_replication_slot('{}', 'pgoutput')", database.name)
    });
    assert!(error.contains("a slot cannot see a publication younger than itself"), "{error}");
    let mend = format!("select pg_drop_replication_slot('{}')", database.name);
    assert!(error.contains(&mend), "{error}");
    database.run(&mend);
    assert_eq!(init(&program, &database).code, 0);
}

#[test]
fn a_physical_slot_and_a_slot_of_another_database_are_refused() {
    let (_database, _program, error) = refused("physical", |database| {
        format!(
            "create publication postrider for table public.outbox_events with (publish = 'insert', publish_via_partition_root); select pg_create_physical_replication_slot('{}')",
            database.name
        )
    });
    assert!(error.contains("is a physical slot") && error.contains("source.slot"), "{error}");

    let other = Database::new("elsewhere");
    other.run("select pg_create_logical_replication_slot(current_database(), 'pgoutput')");
    let (_database, program, _) = refused("foreign", |_| "create publication postrider for all tables".to_owned());
    let program = program.with("POSTRIDER_SOURCE_SLOT", &other.name);
    let error = program.run(&["init"]).error;
    assert!(error.contains(&format!("slot {0} belongs to database {0}, not ", other.name)), "{error}");
    assert!(error.contains("publishes all tables"), "everything wrong is told at once: {error}");
}

#[test]
fn an_unlogged_table_is_refused() {
    let (_database, _program, error) =
        refused("unlogged", |_| "alter table public.outbox_events set unlogged".to_owned());
    assert!(error.contains("its rows never reach the log") && error.contains("set logged"), "{error}");
}

#[test]
fn a_role_without_the_rights_is_told_who_can_do_it() {
    let database = Database::new("denied");
    database.administered().succeed(&["migrate"]);
    let nobody = format!("{}_nobody", database.name);
    database.run(&format!("create role {nobody} login"));
    let socket = database.server.socket_dir.display().to_string();
    let url = format!("postgres://{nobody}@/{}?host={socket}&port={}", database.name, database.server.port);
    let program = database.program().with("POSTRIDER_ADMIN_URL", url);
    let said = init(&program, &database);
    assert_eq!(said.code, 1);
    assert!(said.error.starts_with("error: cannot count the events of"), "{}", said.error);
    assert!(said.error.contains("permission denied") && said.error.contains("--admin-url"), "{}", said.error);
    // Who may look and not change is told at the first change.
    database.run(&format!("grant select on public.outbox_events to {nobody}"));
    let said = init(&program, &database);
    assert!(said.error.starts_with(&format!("error: cannot create role {}", database.name)), "{}", said.error);
    assert!(said.error.contains("must be superuser") || said.error.contains("permission denied"), "{}", said.error);
    assert!(said.error.contains("--admin-url"), "{}", said.error);
}

#[test]
fn a_wrong_password_and_a_missing_database_say_what_to_check_and_show_no_secret() {
    let database = Database::new("wrong");
    let postgres = &database.server;
    let url = |password: &str, name: &str| {
        format!("postgres://{}:{password}@{}:{}/{name}", postgres.user, postgres.host, postgres.port)
    };
    for verb in ["init", "migrate"] {
        let said = database.program().with("POSTRIDER_ADMIN_URL", url("hunter2", &database.name)).run(&[verb]);
        assert_eq!(said.code, 1);
        let expected = format!("error: cannot connect as role {} to database {}\n", postgres.user, database.name);
        assert!(said.error.starts_with(&expected), "{}", said.error);
        assert!(said.error.contains("password authentication failed"), "{}", said.error);
        assert!(said.error.contains("help: check the user and the password"), "{}", said.error);
        assert!(!said.error.contains("hunter2"), "{}", said.error);

        let said = database.program().with("POSTRIDER_ADMIN_URL", url(&postgres.password, "nowhere_db")).run(&[verb]);
        assert_eq!(said.code, 1);
        assert!(said.error.contains("database \"nowhere_db\" does not exist"), "{}", said.error);
        assert!(said.error.contains("help: create the database"), "{}", said.error);
        assert!(!said.error.contains(&postgres.password), "{}", said.error);
    }
}

#[test]
fn a_server_that_does_not_listen_is_told_with_where_to_look() {
    let program = Program::new().with("POSTRIDER_POSTGRES_DATABASE", "shop");
    let folder = program.folder().to_str().unwrap().to_owned();
    let said = program.with("POSTRIDER_POSTGRES_HOST", folder).run(&["init"]);
    assert_eq!(said.code, 1);
    assert!(said.error.contains("help: check that the server runs and listens there"), "{}", said.error);
}

#[test]
fn a_server_whose_log_is_not_logical_or_has_no_slot_left_is_refused_before_anything_is_changed() {
    for (settings, what, mend) in [
        (&[("wal_level", "replica")][..], "wal_level is replica", "alter system set wal_level = logical"),
        (&[("max_replication_slots", "0")][..], "all 0 replication slots are taken", "raise max_replication_slots"),
    ] {
        let server = PrivatePostgres::start(None, settings).unwrap();
        let database = Database::on(server.environment(), "server");
        let program = database.administered();
        program.succeed(&["migrate"]);
        let said = init(&program, &database);
        assert_eq!(said.code, 1);
        assert!(said.error.contains(what) && said.error.contains(mend), "{}", said.error);
        assert_eq!(database.value("select count(*) from pg_publication"), "0");
    }
}

#[test]
fn a_slot_is_kept_over_a_failover_if_that_is_asked_for() {
    let server = PrivatePostgres::start(Some(18), &[]).unwrap();
    let database = Database::on(server.environment(), "failover");
    let program = database.administered();
    program.succeed(&["migrate"]);
    let writer = database.writer();
    let arguments = ["init", "--failover", "--writer-role", &writer];
    program.succeed(&arguments);
    assert_eq!(database.value("select failover from pg_replication_slots"), "t");
    assert_eq!(program.succeed(&arguments), "nothing to do: the database is set up\n");
}
