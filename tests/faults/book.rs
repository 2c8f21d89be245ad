//! The table that the matrix fills: a line a fault, closed only when all three of its questions are answered.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use comfy_table::{Table, presets};

/// What a fault is a fault of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Configuration,
    Setup,
    Connection,
    Server,
    Broker,
    Data,
}

/// What becomes of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The process ends with this code.
    Ends(i32),
    /// It waits, and goes on by itself when the fault is gone.
    Waits,
    /// It goes on, and the event is published.
    GoesOn,
    /// It goes on, and the event is parked.
    Parks,
}

#[derive(Debug)]
struct Line {
    kind: Kind,
    fault: String,
    then: Then,
    said: bool,
    nothing_lost: bool,
    as_documented: bool,
}

/// All lines so far.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Vec<Line>>);

/// One line being filled.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    book: Arc<Book>,
    index: usize,
}

impl Book {
    /// Opens a line.
    pub(crate) fn fault(self: &Arc<Self>, kind: Kind, fault: &str, then: Then) -> Fault {
        let mut lines = self.lock();
        lines.push(Line {
            kind,
            fault: fault.to_owned(),
            then,
            said: false,
            nothing_lost: false,
            as_documented: false,
        });
        Fault { book: Arc::clone(self), index: lines.len() - 1 }
    }

    /// How many lines.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// How many of them have an open question.
    pub(crate) fn open(&self) -> usize {
        self.lock().iter().filter(|line| !line.is_closed()).count()
    }

    /// Shows the table, whether or not the test passes.
    pub(crate) fn show(&self) {
        let mut lines = self.lock();
        lines.sort_by(|one, other| (one.kind, &one.fault).cmp(&(other.kind, &other.fault)));
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(["#", "of", "fault", "message names cause and mend", "no event lost", "stream"]);
        for (number, line) in lines.iter().enumerate() {
            let mark = |done: bool| if done { "yes" } else { "OPEN" };
            let then = line.then.words();
            let then = if line.as_documented { then } else { format!("OPEN ({then})") };
            let (kind, number) = (line.kind.word(), (number + 1).to_string());
            table.add_row([&number, &kind, &line.fault, mark(line.said), mark(line.nothing_lost), &then]);
        }
        // Past the capture of the test runner: the table is the result.
        let _ = writeln!(std::io::stderr(), "{table}");
    }

    /// The rows that a page of the documentation lacks, as they should stand there.
    pub(crate) fn undocumented(&self, page: &str) -> Vec<String> {
        let row = |line: &Line| format!("| {} | {} | {} |", line.kind.word(), line.fault, line.then.words());
        self.lock().iter().map(row).filter(|row| !page.lines().any(|line| line == row)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    /// The message holds all these words: of the cause and of the mend.
    #[track_caller]
    pub(crate) fn said(&self, text: &str, cause: &[&str], mend: &[&str]) {
        for word in cause.iter().chain(mend) {
            assert!(text.contains(word), "{}: {word:?} is not said in:\n{text}", self.name());
        }
        self.line(|line| line.said = true);
    }

    /// Every event written until now arrived, or waits where it will not be lost.
    pub(crate) fn nothing_lost(&self) {
        self.line(|line| line.nothing_lost = true);
    }

    /// The stream did what this line says.
    pub(crate) fn as_documented(&self) {
        self.line(|line| line.as_documented = true);
    }

    /// What it is called.
    pub(crate) fn name(&self) -> String {
        self.line(|line| line.fault.clone())
    }

    /// What becomes of the stream.
    pub(crate) fn then(&self) -> Then {
        self.line(|line| line.then)
    }

    fn line<T>(&self, change: impl FnOnce(&mut Line) -> T) -> T {
        change(&mut self.book.lock()[self.index])
    }
}

impl Line {
    fn is_closed(&self) -> bool {
        self.said && self.nothing_lost && self.as_documented
    }
}

impl Kind {
    fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Then {
    fn words(self) -> String {
        match self {
            Self::Ends(code) => format!("ends with {code}"),
            Self::Waits => "waits, then goes on".into(),
            Self::GoesOn => "goes on".into(),
            Self::Parks => "goes on, the event is parked".into(),
        }
    }
}
