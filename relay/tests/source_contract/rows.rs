//! Events of the outboxes under the contract, whichever way they are read.

use std::ops::Range;

use crate::postgres_client::database::Database;

/// Commits each of these numbers as an event of its own.
pub(super) fn write(database: &Database, numbers: Range<u64>) {
    let mut session = database.session();
    for number in numbers {
        session.simple_query(&insert(&(number..number + 1))).expect("the row is written");
    }
}

/// Commits all of these numbers at once.
pub(super) fn write_together(database: &Database, numbers: &Range<u64>) {
    database.run(&insert(numbers));
}

/// Commits something that is no event.
pub(super) fn write_nothing(database: &Database) {
    database.run("insert into neighbour select generate_series(1, 1000)");
}

fn insert(numbers: &Range<u64>) -> String {
    let rows: Vec<String> = numbers.clone().map(|number| format!("('{number}')")).collect();
    format!("insert into outbox_events (payload) values {}", rows.join(", "))
}
