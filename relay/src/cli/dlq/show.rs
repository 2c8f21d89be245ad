//! `postrider dlq show`: one record that was given up, with its history.

use crate::{
    app::dlq::{Shown, position},
    cli::{
        Error, File,
        dlq::{
            select::{Form, Output, json},
            with,
        },
        print,
    },
    pipeline::dead_letters::Identity,
};

/// Shows one record that was given up and what was done with it; what it holds only if asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The record's topic/partition/offset
    #[arg(value_name = "POSITION", value_parser = position)]
    position: Identity,
    /// Show its headers and its value too
    #[arg(long)]
    payload: bool,
    #[command(flatten)]
    form: Form,
}

impl Show {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let (position, payload) = (self.position, self.payload);
        let shown = with(config, self.form.worker, async |mut dlq| dlq.show(&position, payload).await)?;
        match self.form.output {
            Output::Json => print(&json(&shown)),
            Output::Text => print(&text(&shown)),
        }
    }
}

fn text(shown: &Shown) -> String {
    let row = &shown.row;
    let mut lines = vec![
        format!("position      {} (letter {})", row.position, row.letter),
        format!("state         {}, tried {} times", row.state, row.attempts),
        format!("reason        {}: {}", row.code, row.reason),
    ];
    lines.extend(row.help.iter().map(|help| format!("help          {help}")));
    let holds = if row.holds_key { " (later records of it wait)" } else { "" };
    lines.push(format!("key           {}{holds}", row.key.as_deref().unwrap_or("-").escape_debug()));
    lines.push(format!("bytes         {}", row.bytes));
    lines.push(format!("recorded at   {}", row.recorded_at));
    lines.push(format!("failed at     {}", row.failed_at));
    lines.push(format!("given up at   {}", row.written_at));
    for (name, value) in shown.headers.iter().flatten() {
        lines.push(format!(
            "header        {} = {}",
            name.escape_debug(),
            value.as_deref().unwrap_or("null").escape_debug()
        ));
    }
    lines.extend(shown.value.iter().map(|value| format!("value         {value}")));
    if !shown.history.is_empty() {
        lines.push("history".to_owned());
    }
    for act in &shown.history {
        let done = act.done_at.as_ref().map_or(String::new(), |at| format!(", done {at}"));
        let stays = act.stays.as_ref().map_or(String::new(), |why| format!(": it stays, because {why}"));
        lines.push(format!("  {}  {} by {}: {}{done}{stays}", act.at, act.verb, act.by, act.step));
    }
    lines.join("\n") + "\n"
}
