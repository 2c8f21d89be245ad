//! `postrider parked show`: one event with its history.

use std::env;

use crate::{
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        parked::select::{Output, json, position},
        print,
    },
    config::DatabaseConfig,
    slots::{
        error::{Error as SetupError, Refusal},
        parked::{Details, show},
    },
};

/// Shows one event with all that was done with it; what it holds only if that is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The event's position
    #[arg(value_name = "POSITION", value_parser = position)]
    position: String,
    /// The slot that it came through; without it the configured one
    #[arg(long, value_name = "NAME")]
    slot: Option<String>,
    /// Show its headers and its value too
    #[arg(long)]
    payload: bool,
    /// The form of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    administrator: Administrator,
}

impl Show {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = DatabaseConfig::load(config, env::vars_os()).map_err(Error::Config)?;
        let slot = self.slot.unwrap_or(config.source.slot);
        let found = block_on(async {
            let client = self.administrator.connect(&config.postgres).await?;
            Ok(show(&client, &slot, &self.position, self.payload).await?)
        })?;
        let Some(details) = found else {
            let what = format!("no event {} of slot {slot} is or was parked", self.position);
            let mend = "`postrider parked list --all` lists those that are or were".to_owned();
            return Err(SetupError::Refused(vec![Refusal { what, mend }]).into());
        };
        match self.output {
            Output::Json => print(&json(&details)),
            Output::Text => print(&text(&details)),
        }
    }
}

fn text(details: &Details) -> String {
    let event = &details.event;
    let or_none = |value: &Option<String>| value.as_deref().unwrap_or("-").escape_debug().to_string();
    let mut lines = vec![
        format!("position      {} (slot {})", event.position, event.slot),
        format!("state         {}, tried again {} times", event.state, event.attempts),
        format!("topic         {} (route {})", event.topic.escape_debug(), event.route),
        format!("key           {} (hash {})", or_none(&event.key), or_none(&event.key_hash)),
        format!("event         {} of type {}", or_none(&event.event_id), or_none(&event.event_type)),
        format!("bytes         {}", event.bytes),
        format!("committed at  {}", event.committed_at),
        format!("parked at     {}", event.parked_at),
    ];
    let optional = [("reason", &event.reason), ("help", &event.help), ("reroute to", &event.reroute)];
    lines.extend(optional.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name:<14}{value}"))));
    if event.unfit {
        lines.push("unfit         it could not be made into a message: what is kept may not be all of it".to_owned());
    }
    if event.order_broken {
        lines.push("order broken  a later event of its key had been delivered before it was refused".to_owned());
    }
    lines.extend(details.headers.iter().map(|headers| format!("headers       {headers}")));
    lines.extend(details.value.iter().map(|value| format!("value         {value}")));
    lines.push("history".to_owned());
    lines.extend(details.log.iter().map(|line| {
        let by = line.by.as_ref().map_or(String::new(), |by| format!(" ({by})"));
        let note = line.note.as_ref().map_or(String::new(), |note| format!(": {note}"));
        format!("  {}  {} by {}{by}{note}", line.at, line.verb, line.role)
    }));
    lines.join("\n") + "\n"
}
