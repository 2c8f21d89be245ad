//! The picture on a terminal, again and again, or once as text.

use std::time::{Duration, Instant};

use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Terminal};

use crate::top::endpoint::{Endpoint, EndpointError};
use crate::top::picture::Picture;
use crate::top::sample::Sample;
use crate::top::screen::{self, Shown};

/// Columns of the picture as text.
const WIDTH: u16 = 100;

/// How long a key press may wait to be seen.
const KEY_LOOK: Duration = Duration::from_millis(50);

/// One picture as text: what happened in the `interval` after the call.
///
/// # Errors
/// If no relay answers.
pub fn frame(endpoint: &Endpoint, interval: Duration) -> Result<String, EndpointError> {
    let (before, began) = (endpoint.sample()?, Instant::now());
    std::thread::sleep(interval);
    let (now, over) = (endpoint.sample()?, began.elapsed());
    let picture = Picture::new(endpoint.report()?, &before, &now, over);
    let backend = TestBackend::new(WIDTH, screen::HEIGHT);
    // Drawing into memory cannot fail.
    let mut terminal = Terminal::new(backend).unwrap_or_else(|never| match never {});
    terminal
        .draw(|frame| screen::draw(frame, endpoint.url(), &Shown::Picture(&picture)))
        .unwrap_or_else(|never| match never {});
    let buffer = terminal.backend().buffer();
    let lines = (0..buffer.area.height).map(|y| {
        let cells = (0..buffer.area.width).filter_map(|x| buffer.cell((x, y)));
        cells.map(Cell::symbol).collect::<String>().trim_end().to_owned() + "\n"
    });
    Ok(lines.collect())
}

/// Draws until a person ends it. A relay that does not answer is asked again; that is drawn too. The terminal is given
/// back as it was, also after a panic.
///
/// # Errors
/// If there is no terminal.
pub fn watch(endpoint: &Endpoint, interval: Duration) -> Result<(), EndpointError> {
    let mut terminal = ratatui::try_init()?;
    let outcome = draw_on(&mut terminal, endpoint, interval);
    ratatui::restore();
    outcome
}

fn draw_on(terminal: &mut DefaultTerminal, endpoint: &Endpoint, interval: Duration) -> Result<(), EndpointError> {
    let mut before: Option<(Sample, Instant)> = None;
    loop {
        let looked = look(endpoint, &mut before);
        let words;
        let shown = match &looked {
            Ok(picture) => Shown::Picture(picture),
            Err(error) => {
                words = format!("{error}. {}", error.help());
                Shown::Trouble(&words)
            }
        };
        terminal.draw(|frame| screen::draw(frame, endpoint.url(), &shown))?;
        if wait_for_end(interval)? {
            return Ok(());
        }
    }
}

/// The picture since the look before; the first has nothing to compare with, and shows no rates.
fn look(endpoint: &Endpoint, before: &mut Option<(Sample, Instant)>) -> Result<Picture, EndpointError> {
    let report = endpoint.report()?;
    let (now, at) = (endpoint.sample()?, Instant::now());
    let (last, since) = before.replace((now.clone(), at)).unwrap_or((now.clone(), at));
    Ok(Picture::new(report, &last, &now, at.saturating_duration_since(since)))
}

/// Waits for the next look; true if a person wants to leave.
fn wait_for_end(interval: Duration) -> Result<bool, EndpointError> {
    let until = Instant::now() + interval;
    while Instant::now() < until {
        if !event::poll(KEY_LOOK.min(until.saturating_duration_since(Instant::now())))? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Press => {
                let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
            // The picture fits itself to the new size at once.
            Event::Resize(..) => return Ok(false),
            _ => {}
        }
    }
    Ok(false)
}
