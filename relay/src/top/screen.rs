//! A picture drawn: three boxes and a line of help, on whatever ratatui draws on.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table, Wrap};

use crate::top::picture::Picture;
use crate::top::report::Report;
use crate::top::unit;

/// Lines that the picture takes where there is room.
pub(super) const HEIGHT: u16 = 28;

/// What is drawn: the newest picture, or why there is none.
pub(super) enum Shown<'a> {
    Picture(&'a Picture),
    Trouble(&'a str),
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, url: &str, shown: &Shown<'_>) {
    let [title, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(Line::from(vec!["postrider top  ".bold(), Span::raw(url)]), title);
    frame.render_widget(Line::from("q or Ctrl-C ends").dim(), foot);
    match shown {
        Shown::Trouble(why) => {
            let text = Paragraph::new(*why).wrap(Wrap { trim: true }).block(Block::bordered().title("no answer"));
            frame.render_widget(text, body);
        }
        Shown::Picture(picture) => draw_picture(frame, body, picture),
    }
}

fn draw_picture(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let [state, figures, stages, trouble] =
        Layout::vertical([Constraint::Length(4), Constraint::Length(6), Constraint::Length(11), Constraint::Min(4)])
            .areas(area);
    frame.render_widget(state_box(&picture.report), state);
    let [rates, slot] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(figures);
    frame.render_widget(rates_box(picture), rates);
    frame.render_widget(slot_box(&picture.report), slot);
    frame.render_widget(stages_box(picture), stages);
    frame.render_widget(trouble_box(picture), trouble);
}

fn state_box(report: &Report) -> Paragraph<'_> {
    let colour = if report.ready { Color::Green } else { Color::Red };
    let state = Span::styled(report.state.as_str(), Style::new().fg(colour).bold());
    let since = unit::duration(Report::since(report.state_since_ms));
    let uptime = unit::duration(Duration::from_millis(report.uptime_ms));
    let first = Line::from(vec![state, Span::raw(format!(" for {since}; version {}, up {uptime}", report.version))]);
    let second = Line::from(format!("{} -> {}", report.source, report.sink));
    Paragraph::new(vec![first, second]).block(Block::bordered().title("relay"))
}

fn rates_box(picture: &Picture) -> Paragraph<'static> {
    let lines = [
        format!("read       {:>10.0} events/s  {:>10}/s", picture.events_per_s, unit::bytes(picture.in_bytes_per_s)),
        format!(
            "delivered  {:>10.0} events/s  {:>10}/s",
            picture.delivered_per_s,
            unit::bytes(picture.out_bytes_per_s)
        ),
        format!(
            "in flight  {:>10} batches   {:>10}",
            picture.report.in_flight_batches,
            unit::bytes(picture.report.in_flight_bytes as f64)
        ),
        format!("memory     {:>10}   cpu {:>5.1} %", unit::bytes(picture.resident_bytes), picture.cpu_share * 100.0),
    ];
    let title = format!("rates over {}", unit::duration(picture.over));
    Paragraph::new(lines.map(Line::from).to_vec()).block(Block::bordered().title(title))
}

fn slot_box(report: &Report) -> Paragraph<'static> {
    let safe = report.safe_bytes.map_or_else(|| "no limit".to_owned(), |safe| unit::bytes(safe as f64));
    let lines = [
        format!("lag        {:.1} s, {}", report.lag_seconds, unit::bytes(report.lag_bytes as f64)),
        format!("retained   {} of WAL", unit::bytes(report.retained_bytes as f64)),
        format!("until lost {safe}"),
        format!("delivered  {} events since the start", report.delivered_messages),
    ];
    let title = format!("slot {}", report.slot.as_deref().unwrap_or("-"));
    Paragraph::new(lines.map(Line::from).to_vec()).block(Block::bordered().title(title))
}

fn stages_box(picture: &Picture) -> Table<'static> {
    let rows = picture.stages.iter().map(|stage| {
        let (p50, p99) = (unit::milliseconds(stage.p50_ms), unit::milliseconds(stage.p99_ms));
        Row::new([stage.name.to_owned(), format!("{:>9.1}", stage.per_s), format!("{p50:>10}"), format!("{p99:>10}")])
    });
    let widths = [Constraint::Length(20), Constraint::Length(10), Constraint::Length(11), Constraint::Length(11)];
    let header = Row::new(["stage", "batches/s", "    p50 ms", "    p99 ms"]).bold();
    Table::new(rows, widths).header(header).block(Block::bordered().title("stages"))
}

fn trouble_box(picture: &Picture) -> Paragraph<'_> {
    let counted: Vec<String> = picture.troubles.iter().map(|(name, count)| format!("{name} {count:.0}")).collect();
    let mut lines = vec![Line::from(counted.join(", "))];
    if let Some(error) = &picture.report.last_error {
        let ago = unit::duration(Report::since(error.at_ms));
        lines.push(Line::from(format!("last error {ago} ago, {}: {}", error.end, error.message)));
        lines.extend(error.help.as_deref().map(Line::from));
    }
    Paragraph::new(lines).wrap(Wrap { trim: true }).block(Block::bordered().title("trouble"))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::top::picture::tests::picture;

    fn drawn(width: u16, height: u16, shown: &Shown<'_>) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, "http://relay:8432", shown)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn everything_that_matters_is_on_one_screen() {
        let text = drawn(100, HEIGHT, &Shown::Picture(&picture()));
        for part in [
            "http://relay:8432",
            "retrying for",
            "slot orders in database shop -> kafka b:9092",
            "1000 events/s",
            "990 events/s",
            "slot orders",
            "3.0 MiB of WAL",
            "until lost 1.0 MiB",
            "read                       5.0",
            "errors 3, rewinds 0",
            "sink: broker gone",
            "Start it.",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_small_terminal_shows_less_and_does_not_panic() {
        for (width, height) in [(1, 1), (20, 5), (80, 10)] {
            drawn(width, height, &Shown::Picture(&picture()));
            drawn(width, height, &Shown::Trouble("no relay answers"));
        }
    }
}
