//! What is wrong with a captured table is told by its name, with what mends it, and nothing is lost meanwhile.

use crate::capture::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_lacks_a_captured_table_is_a_gap() {
    let scene =
        Scene::new("lacks", "create table t (id int primary key); create table u (id int primary key)", &["t"]).await;
    scene.site.sql("alter publication postrider_capture drop table u").await;
    let launch = scene.relay().with("POSTRIDER_CAPTURE_TABLES", "public.t, public.u");
    let ended = launch.start().ended().await;
    ended.expect(1, &["does not carry the captured table public.u", "postrider init"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_leaves_the_publication_while_the_relay_runs_is_told() {
    let scene = Scene::new("leaves", "create table t (id int primary key)", &["t"]).await;
    let mut relay = scene.relay().with("POSTRIDER_CAPTURE_TABLES", "public.t").start();
    relay.ready().await;
    scene.tells("insert into t values (1)", 1).await;
    // The usual way to give a table another form: the new one has its name, and is in no publication.
    scene.site.sql("begin; alter table t rename to t_old; create table t (id int primary key); commit").await;
    scene.site.sql("insert into t values (2)").await;
    relay.ended().await.expect(1, &["does not carry the captured table public.t", "postrider init"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_of_a_key_is_refused_and_its_rows_wait() {
    let scene = Scene::new("maskedkey", "create table t (id text primary key, a text)", &["t"]).await;
    scene.site.sql("insert into t values ('secret', 'x')").await;
    let ended = scene.relay().with("POSTRIDER_CAPTURE_MASKS", "public.t.id=mask:3").start().ended().await;
    ended.expect(1, &["id", "public.t", "key"]);
    assert!(!ended.said().contains("secret"), "{}", ended.said());
    let relay = scene.start().await;
    assert_eq!(scene.wait(1).await[0].told(), r#"t c {"id":"secret"} {"id":"secret","a":"x"}"#);
    relay.terminate().await.expect(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_identity_is_refused_before_its_updates_would_be() {
    let scene = Scene::new("noidentity", "create table t (id int primary key)", &["t"]).await;
    scene.site.sql("create table bare (a int)").await;
    let ended = scene.capture(scene.site.initialiser()).complete("init");
    ended.expect(1, &["public.bare", "has no replica identity", "replica identity full"]);
    scene.site.sql("insert into bare values (1); update bare set a = 2").await;
}
