//! `postrider outbox replay`: events are published once more, from the table.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::{
    app::replay::{self, Choice, Options, Place, Report, Selection},
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        outbox::chosen::{Ids, Times, load, relay_error},
        outbox::prune::listen,
        parked::select::{Output, json},
        print,
    },
};

/// Between two words of how far it came.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

/// Publishes events once more, from the rows of the outbox, as the relay published them.
///
/// Same topic, key, value, headers and partition, in order for each key, with the header postrider-replay
/// beside them, which holds the run's id. Without --yes it changes nothing and shows what it would do.
///
/// To an event's own topic it repeats old events behind newer ones of the same key: consumers see
/// each of these keys go back, unless they drop ids that they know. A topic of its own (--topic) for the
/// one consumer that needs them disturbs nobody else.
///
/// SIGINT or SIGTERM ends it between two batches; it then says with which options it goes on. Every run
/// stays written in postrider.parked_log. Rows that were pruned are gone, and cannot be published.
///
/// Exit codes: 0 done or shown, 1 not done or not to its end, 2 wrong usage or configuration.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[command(override_usage = "postrider outbox replay [OPTIONS] <--id, --key, --since, --until or --*-position>")]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["id", "key", "since", "until", "from_position", "to_position"])))]
pub(super) struct Replay {
    /// The outbox, where there are several: `outbox`, or the NAME of [outboxes.NAME]
    #[arg(long, value_name = "NAME")]
    outbox: Option<String>,
    #[command(flatten)]
    ids: Ids,
    #[command(flatten)]
    times: Times,
    /// Only the events of this aggregate, by its id
    #[arg(long, value_name = "AGGREGATE_ID")]
    key: Option<String>,
    /// Only those of this type of aggregate
    #[arg(long, value_name = "TYPE")]
    aggregate_type: Option<String>,
    /// Only from this position on: the header postrider-position, or a commit's LSN
    #[arg(long, value_name = "POSITION", value_parser = Place::parse, conflicts_with_all = ["id", "key", "since", "until", "aggregate_type"])]
    from_position: Option<Place>,
    /// Only up to this position, and with it
    #[arg(long, value_name = "POSITION", value_parser = Place::parse, conflicts_with_all = ["id", "key", "since", "until", "aggregate_type"])]
    to_position: Option<Place>,
    /// The topic to publish to instead of the events' own
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Events per second, at most
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Go on with this run, which ended half way
    #[arg(long, value_name = "UUID", requires = "after")]
    run: Option<Uuid>,
    /// Begin behind the event of this id, of those that are chosen
    #[arg(long, value_name = "UUID")]
    after: Option<String>,
    /// Who does it, for the audit, beside the database role
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// The form of the report
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    administrator: Administrator,
}

impl Replay {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = load(config)?;
        let (output, acts) = (self.output, self.yes);
        let options = Options { administrator: self.administrator.of(&config.postgres)?, ..self.options() };
        let mut progress = Progress::new(acts);
        let (report, outcome) = block_on(async {
            let mut stop = listen()?;
            let mut shown = |done, of| progress.show(done, of);
            replay::replay(&config, &options, &mut stop, &mut shown).await.map_err(relay_error)
        })?;
        match output {
            Output::Json => print(&json(&report))?,
            Output::Text => print(&text(&report, acts))?,
        }
        outcome.map_err(|error| Error::Run { error, json: false })?;
        if report.stopped { Err(Error::Stopped) } else { Ok(()) }
    }

    fn options(self) -> Options {
        let selection = if self.from_position.is_some() || self.to_position.is_some() {
            Selection::Positions(self.from_position.unwrap_or(Place::Open), self.to_position.unwrap_or(Place::Open))
        } else {
            Selection::Rows(Choice {
                ids: self.ids.id,
                aggregate_id: self.key,
                aggregate_type: self.aggregate_type,
                since_ms: self.times.since,
                until_ms: self.times.until,
            })
        };
        Options {
            administrator: None,
            outbox: self.outbox,
            selection,
            topic: self.topic,
            rate: self.rate,
            act: self.yes,
            run: self.run,
            after: self.after,
            by: self.by,
        }
    }
}

/// Tells on standard error how far it came.
struct Progress {
    shows: bool,
    last: Instant,
}

impl Progress {
    fn new(shows: bool) -> Self {
        Self { shows, last: Instant::now() }
    }

    fn show(&mut self, done: u64, of: u64) {
        if !self.shows || (self.last.elapsed() < SHOWN_EVERY && done < of) {
            return;
        }
        self.last = Instant::now();
        let end = if io::stderr().is_terminal() && done < of { "\r" } else { "\n" };
        // Where standard error is closed, it goes on unseen.
        drop(write!(io::stderr(), "{done} of {of} rows published{end}"));
    }
}

fn text(report: &Report, acts: bool) -> String {
    let Report { outbox, table, rows, published, .. } = report;
    let mut lines = vec![format!("{outbox} ({table}): {rows} rows are chosen")];
    if *rows == 0 {
        lines[0] = format!("{outbox} ({table}): no row fits");
    }
    if report.topics_whole == Some(false) {
        lines.push("the topics no longer hold everything: events whose records are gone were not found".to_owned());
    }
    let verb = if acts { "published" } else { "to publish" };
    lines.extend(report.topics.iter().map(|(topic, count)| format!("  {topic}: {count} {verb}")));
    for (what, named) in [("first", &report.first), ("last", &report.last)] {
        let Some(named) = named else { continue };
        let more = named.created_at.iter().chain(&named.position).map(|text| format!(", {text}")).collect::<String>();
        lines.push(format!("  {what}: {}{more}", named.id));
    }
    if report.filtered > 0 {
        lines.push(format!("  {} rows are left out by the outbox' filter", report.filtered));
    }
    for (what, ids) in [("gone from the table", &report.gone), ("cannot become records", &report.unfit)] {
        if !ids.is_empty() {
            lines.push(format!("  {what}: {} ({})", ids.len(), listed(ids)));
        }
    }
    lines.push(match (acts, &report.after) {
        (false, _) if *published > 0 => "nothing was published: run this again with --yes".to_owned(),
        (true, Some(after)) if !report.done => {
            format!("{published} rows published; go on with the same options and --run {} --after {after}", report.run)
        }
        (true, None) if !report.done && *rows > 0 => "nothing was published".to_owned(),
        (true, _) if *published > 0 => format!("{published} rows published, run {}", report.run),
        _ => "nothing to publish".to_owned(),
    });
    lines.into_iter().map(|line| line + "\n").collect()
}

/// The first of some ids.
fn listed(ids: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = if ids.len() > SHOWN { ", …" } else { "" };
    ids[..ids.len().min(SHOWN)].join(", ") + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_half_way_says_how_it_goes_on_and_what_was_only_shown_says_so() {
        let mut report =
            Report { rows: 9, published: 4, run: "R".to_owned(), after: Some("I".to_owned()), ..Report::default() };
        assert!(text(&report, true).contains("--run R --after I"), "{}", text(&report, true));
        assert!(text(&report, false).contains("run this again with --yes"));
        report.done = true;
        assert!(text(&report, true).ends_with("4 rows published, run R\n"));
        let none = Report::default();
        assert!(text(&none, true).contains("no row fits") && text(&none, true).ends_with("nothing to publish\n"));
    }

    #[test]
    fn only_some_ids_are_listed() {
        let ids: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        assert_eq!(listed(&ids), "0, 1, 2, 3, 4, …");
        assert_eq!(listed(&ids[..2]), "0, 1");
    }
}
