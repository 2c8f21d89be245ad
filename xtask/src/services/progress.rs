//! What a person sees while services start: moving lines on a terminal, plain lines elsewhere, always on standard
//! error.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where progress goes.
#[derive(Debug, Clone)]
pub struct Progress {
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Silent,
    Lines,
    Moving(MultiProgress),
}

impl Progress {
    /// Moving lines if standard error is a terminal, plain lines if not.
    #[must_use]
    pub fn shown() -> Self {
        let form = if stderr().is_terminal() { Form::Moving(MultiProgress::new()) } else { Form::Lines };
        Self { form }
    }

    /// Nothing at all.
    #[must_use]
    pub fn silent() -> Self {
        Self { form: Form::Silent }
    }

    /// Opens a line for one service.
    pub(crate) fn task(&self, name: &str) -> Task {
        let bar = match &self.form {
            Form::Moving(lines) => {
                let bar = lines.add(ProgressBar::new_spinner());
                let style = ProgressStyle::with_template("{spinner} {prefix:<11} {wide_msg}")
                    .expect("the template is constant and valid");
                bar.set_style(style);
                bar.set_prefix(name.to_owned());
                bar.enable_steady_tick(Duration::from_millis(100));
                Some(bar)
            }
            Form::Silent | Form::Lines => None,
        };
        Task { name: name.to_owned(), bar, plain: matches!(self.form, Form::Lines), since: Instant::now() }
    }
}

/// The line of one service.
#[derive(Debug)]
pub(crate) struct Task {
    name: String,
    bar: Option<ProgressBar>,
    plain: bool,
    since: Instant,
}

impl Task {
    /// Says what is being done now.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.line(text),
        }
    }

    /// Says how it ended, with the time it took.
    pub(crate) fn done(&self, text: &str) {
        let text = format!("{text} ({:.1} s)", self.since.elapsed().as_secs_f64());
        match &self.bar {
            Some(bar) => bar.finish_with_message(text),
            None => self.line(&text),
        }
    }

    fn line(&self, text: &str) {
        if self.plain {
            // A closed standard error is no reason to stop.
            let _ = writeln!(stderr(), "{:<11} {text}", self.name);
        }
    }
}
