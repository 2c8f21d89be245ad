//! Schema changes while the relay streams: each row is told as its table was when the row was written, without a restart.

use harness::{newest, oldest};

use crate::capture::scene::{Change, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_go_and_change_between_two_rows() {
    let scene = Scene::new("columns", "create table t (id int primary key, a int)", &["t"]).await;
    let relay = scene.start().await;
    // One transaction after the other, then all in one: the relation is told anew in the middle of it.
    for (id, (begin, end)) in [("", ""), ("begin;", "commit;")].into_iter().enumerate() {
        let id = id * 10;
        let sql = format!(
            "{begin} insert into t values ({id}, 1);
             alter table t add column b text; insert into t values ({id} + 1, 1, 'new');
             alter table t add column c int not null default 7; insert into t (id) values ({id} + 2);
             alter table t rename column a to z; insert into t (id, z) values ({id} + 3, 4);
             alter table t alter column z type text using 'z' || z; insert into t (id, z) values ({id} + 4, 'now');
             alter table t drop column b; update t set z = 'last' where id = {id} + 4;
             alter table t drop column c, drop column z, add column a int; insert into t values ({id} + 5, 1); {end}"
        );
        let count = 7 * (1 + id / 10);
        let told = scene.tells(&sql, count).await;
        let row = |n: usize, rest: &str| format!(r#"{{"id":{}{rest}}}"#, id + n);
        let line = |n: usize, op: &str, rest: &str| format!(r#"t {op} {{"id":{}}} {}"#, id + n, row(n, rest));
        assert_eq!(
            told,
            [
                line(0, "c", r#","a":1"#),
                line(1, "c", r#","a":1,"b":"new""#),
                line(2, "c", r#","a":null,"b":null,"c":7"#),
                line(3, "c", r#","z":4,"b":null,"c":7"#),
                line(4, "c", r#","z":"now","b":null,"c":7"#),
                line(4, "u", r#","z":"last","c":7"#),
                line(5, "c", r#","a":1"#),
            ]
        );
    }
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_comes_later_tells_rows_as_their_table_was() {
    let tables = "create type mood as enum ('sad'); create table t (id int primary key, a int, m mood)";
    let scene = Scene::new("later", tables, &["t", "gone"]).await;
    // All of it is over before anybody reads; the column's type and a table are no more.
    let sql = "create table gone (id int primary key, n int);
        alter publication postrider_capture add table gone;
        insert into gone values (1, 2); delete from gone; drop table gone;
        insert into t values (1, 1, 'sad');
        alter table t drop column m; drop type mood;
        alter table t rename column a to b; insert into t values (2, 2);
        alter table t drop constraint t_pkey, add primary key (b); insert into t values (3, 3)";
    scene.site.sql(sql).await;
    let relay = scene.start().await;
    let told: Vec<String> = scene.wait(6).await.iter().map(Change::told).collect();
    assert_eq!(
        told,
        [
            r#"gone c {"id":1} {"id":1,"n":2}"#,
            r#"gone d {"id":1} {"id":1,"n":null}"#,
            r#"gone - {"id":1}"#,
            r#"t c {"id":1} {"id":1,"a":1,"m":"sad"}"#,
            r#"t c {"id":2} {"id":2,"b":2}"#,
            r#"t c {"b":3} {"id":3,"b":3}"#,
        ]
    );
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_an_enum_got_since_is_told() {
    let tables = "create type mood as enum ('sad'); create table t (id int primary key, m mood)";
    let scene = Scene::new("label", tables, &["t"]).await;
    let relay = scene.start().await;
    scene.tells("insert into t values (1, 'sad')", 1).await;
    scene.site.sql("alter type mood add value 'glad'").await;
    let told = scene.tells("insert into t values (2, 'glad')", 2).await;
    assert_eq!(told, [r#"t c {"id":2} {"id":2,"m":"glad"}"#]);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_joins_the_publication_is_captured_without_a_restart() {
    let scene = Scene::new("joins", "create table t (id int primary key)", &["t", "later"]).await;
    let relay = scene.start().await;
    scene.tells("insert into t values (1)", 1).await;
    let sql = "begin; create table later (id int primary key, a text);
        alter publication postrider_capture add table later; insert into later values (1, 'x'); commit;
        insert into later values (2, 'y')";
    let told = scene.tells(sql, 3).await;
    assert_eq!(told, [r#"later c {"id":1} {"id":1,"a":"x"}"#, r#"later c {"id":2} {"id":2,"a":"y"}"#]);
    // What `postrider init` adds for itself.
    scene.site.sql("create table third (id int primary key); insert into third values (1)").await;
    scene.capture(scene.site.initialiser()).complete("init").expect(0, &["third"]);
    assert_eq!(scene.tells("insert into t values (2)", 4).await, [r#"t c {"id":2} {"id":2}"#]);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_renamed_goes_on_under_its_new_name() {
    let scene = Scene::new("renamed", "create table t (id int primary key)", &["t", "u"]).await;
    let relay = scene.start().await;
    let told = scene.tells("insert into t values (1); alter table t rename to u; insert into u values (2)", 2).await;
    assert_eq!(told, [r#"t c {"id":1} {"id":1}"#, r#"u c {"id":2} {"id":2}"#]);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_come_and_go_under_the_name_of_their_root() {
    let tables = "create table p (id int primary key, a text) partition by range (id);
        create table p_1 partition of p for values from (0) to (100)";
    let scene = Scene::new("partitions", tables, &["p"]).await;
    let relay = scene.start().await;
    // The new partition has its columns in another order.
    let sql = "insert into p values (1, 'x');
        create table p_2 (a text, id int not null primary key); insert into p_2 values ('unseen', 100);
        alter table p attach partition p_2 for values from (100) to (200);
        insert into p values (101, 'y'); insert into p_2 values ('z', 102);
        update p set id = 103 where id = 1;
        alter table p detach partition p_2; insert into p_2 values ('unseen', 150); delete from p_2;
        insert into p values (2, 'w')";
    let told = scene.tells(sql, 7).await;
    assert_eq!(
        told,
        [
            r#"p c {"id":1} {"id":1,"a":"x"}"#,
            r#"p c {"id":101} {"id":101,"a":"y"}"#,
            r#"p c {"id":102} {"id":102,"a":"z"}"#,
            // A row that moves to another partition is deleted here and inserted there.
            r#"p d {"id":1} {"id":1,"a":null}"#,
            r#"p - {"id":1}"#,
            r#"p c {"id":103} {"id":103,"a":"x"}"#,
            r#"p c {"id":2} {"id":2,"a":"w"}"#,
        ]
    );
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_key_that_is_altered_is_the_key_from_the_next_row_on() {
    for (promise, identity) in [("pkdefault", "default"), ("pkfull", "full")] {
        let tables =
            format!("create table t (a int primary key, b int not null); alter table t replica identity {identity}");
        let scene = Scene::new(promise, &tables, &["t"]).await;
        let relay = scene.start().await;
        scene.tells("insert into t values (1, 2)", 1).await;
        let sql = "alter table t drop constraint t_pkey, add primary key (b, a); insert into t values (3, 4)";
        assert_eq!(scene.tells(sql, 2).await, [r#"t c {"b":4,"a":3} {"a":3,"b":4}"#], "{identity}");
        relay.terminate().await.expect(0, &[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_holds_a_table_for_long_holds_no_relay() {
    for server in [oldest(), newest()] {
        let tables = "create table t (id int primary key, a int default 5)";
        let scene = Scene::on("locked", &server.environment(), tables, &["t"]).await;
        scene.site.sql("insert into t values (1)").await;
        let migration = scene.site.connect().await;
        migration.batch_execute("begin; alter table t add column b int").await.unwrap();
        // It starts, describes the table and tells its row, all while the table is locked.
        let relay = scene.start().await;
        assert_eq!(scene.wait(1).await[0].told(), r#"t c {"id":1} {"id":1,"a":5}"#);
        migration.batch_execute("commit").await.unwrap();
        let told = scene.tells("insert into t values (2)", 2).await;
        assert_eq!(told, [r#"t c {"id":2} {"id":2,"a":5,"b":null}"#]);
        relay.terminate().await.expect(0, &[]);
    }
}
