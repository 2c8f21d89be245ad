//! The fault matrix: everything that goes wrong around a relay, what it says about it, and what becomes of the events.
//!
//! Each row is a fault that is really brought about. Its message must name the cause and the mend, no event may be lost,
//! and the stream goes on, waits or ends as `docs/faults.md` says, which a test holds against this table.

mod book;
mod broker;
mod configuration;
mod data;
mod postgres;
mod scene;
mod setup;

use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::faults::book::Book;

/// The number: fewer rows would mean that some were lost on the way.
const ROWS_MIN: usize = 60;

/// Those that may run side by side use different servers and databases; each has a thread of its own.
type Scene = fn(Arc<Book>) -> Pin<Box<dyn Future<Output = ()>>>;

const SCENES: &[Scene] = &[
    |book| Box::pin(configuration::scene(book)),
    |book| Box::pin(setup::database(book)),
    |book| Box::pin(setup::slot(book)),
    |book| Box::pin(setup::server(book)),
    |book| Box::pin(postgres::connection(book)),
    |book| Box::pin(postgres::server(book)),
    |book| Box::pin(broker::connection(book)),
    |book| Box::pin(broker::topics(book)),
    |book| Box::pin(data::outbox(book)),
    |book| Box::pin(data::foreign(book)),
];

#[test]
fn every_fault_names_its_cause_and_its_mend_and_loses_no_event() {
    let book = Arc::new(Book::default());
    let scenes: Vec<_> = SCENES.iter().map(|scene| play(*scene, Arc::clone(&book))).collect();
    // A scene that fails has said why; its rows show as open.
    let failed = scenes.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
    book.show();
    assert_eq!(
        book.undocumented(include_str!("../docs/faults.md")),
        Vec::<String>::new(),
        "rows that docs/faults.md lacks"
    );
    assert_eq!((failed, book.open()), (0, 0), "scenes that failed, and rows that are open");
    assert!(book.len() >= ROWS_MIN, "{} rows", book.len());
}

fn play(scene: Scene, book: Arc<Book>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(scene(book));
    })
}
