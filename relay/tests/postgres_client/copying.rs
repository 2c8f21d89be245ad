//! COPY out: the same values as a query's, whatever they hold and however they are cut into blocks.

use postrider_relay::postgres::connection::{Connection, Row};
use postrider_relay::postgres::copy::Fields;
use postrider_relay::postgres::error::{Error, Kind};
use xtask::services::{MAJORS, PrivatePostgres};

use crate::postgres_client::database::Database;

/// Every character that COPY escapes, texts that look like its marks, nulls, and rows from empty to larger than a block.
const ROWS: &str = "select i, nullif(t, 'null'), b, case when i % 7 = 0 then null else repeat(t, i % 5) end
    from generate_series(1, 3000) i,
         lateral (select (array[
             '', 'null', E'a\\tb', E'\\n', E'\\r\\n', E'\\\\', E'\\\\N', E'\\\\.', E'\\b\\f\\v', E'\\x01\\x7f', 'ü€𝄞', E'\\t\\t', 'plain'
         ])[1 + i % 13], decode(md5(i::text), 'hex')) r(t, b)
    union all select 0, repeat(E'\\t\\\\x', 200000), '', null
    order by 1";

fn copied(session: &mut Connection, query: &str) -> Result<Vec<Row>, Error> {
    let mut copy = session.copy_out(&format!("copy ({query}) to stdout"))?;
    let (mut fields, mut rows) = (Fields::default(), Vec::new());
    while let Some(mut block) = copy.next_block()? {
        let read = block.rows(&mut fields)?;
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("the session's encoding is UTF-8");
        rows.extend((0..read.len()).map(|row| read.values(row).map(|value| value.map(text)).collect::<Row>()));
    }
    Ok(rows)
}

fn assert_copies_are_answers(database: &Database) {
    let mut session = database.session();
    let wanted = session.simple_query(ROWS).expect("a query");
    assert_eq!(wanted.len(), 3001);
    let found = copied(&mut session, ROWS).expect("a copy");
    let different = wanted.iter().zip(&found).position(|(wanted, found)| wanted != found);
    assert_eq!((found.len(), different), (wanted.len(), None));
    assert_eq!(copied(&mut session, "select 1 where false").expect("a copy"), Vec::<Row>::new());
    assert_eq!(copied(&mut session, "select from generate_series(1, 3)").expect("a copy"), vec![Row::new(); 3]);
}

#[test]
fn copied_rows_are_those_of_a_query() {
    assert_copies_are_answers(&Database::new("copy"));
}

#[test]
fn the_newest_server_copies_as_the_oldest_does() {
    let server = PrivatePostgres::start(Some(*MAJORS.end()), &[]).unwrap();
    assert_copies_are_answers(&Database::on(server.environment(), "copy_newest"));
}

#[test]
fn a_copy_that_fails_is_an_error_wherever_it_fails_and_the_session_goes_on() {
    let database = Database::new("copy_fails");
    let mut session = database.session();
    for query in
        ["select 1 / (100000 - i) from generate_series(1, 200000) i", "select 1 / 0", "select no_column", "no sql"]
    {
        let error = copied(&mut session, query).unwrap_err();
        assert_eq!(error.kind(), Kind::Rejected, "{query}: {error}");
        assert!(error.server_error().is_some(), "{query}");
        assert_eq!(copied(&mut session, "select 7").unwrap(), [[Some("7".to_owned())]]);
    }
    let error = session.copy_out("select 1").unwrap_err();
    assert_eq!(error.kind(), Kind::Protocol, "a query is no copy: {error}");
}

#[test]
fn a_session_that_was_left_in_the_middle_of_a_copy_is_not_used_again() {
    let database = Database::new("copy_left");
    let mut session = database.session();
    let mut copy = session.copy_out("copy (select generate_series(1, 1000000)) to stdout").unwrap();
    assert!(copy.next_block().unwrap().is_some());
    drop(copy);
    assert_eq!(session.simple_query("select 1").unwrap_err().kind(), Kind::Unavailable);
}

#[test]
fn a_copy_that_waits_is_ended_from_another_thread() {
    let database = Database::new("copy_broken");
    let mut session = database.session();
    let breaker = session.breaker().unwrap();
    let pid = session.backend_pid();
    let waiting = std::thread::spawn(move || copied(&mut session, "select pg_sleep(600)").unwrap_err());
    database.wait_until(&format!("exists (select from pg_stat_activity where pid = {pid} and wait_event = 'PgSleep')"));
    breaker.hang_up();
    assert_eq!(waiting.join().unwrap().kind(), Kind::Unavailable);
}
