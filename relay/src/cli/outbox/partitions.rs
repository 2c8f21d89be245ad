//! `postrider outbox partitions`: days of a partitioned outbox come and go.

use serde::Serialize;

use crate::{
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        outbox::{Tables, load},
    },
    slots::outbox::partitions::{self, Outcome, State},
};

/// Attaches partitions for the days to come, and removes those whose retention has passed.
///
/// Without --apply it only tells what it would do. A partition is closed for further rows, detached
/// without blocking anybody, and dropped once every logical slot of the database has confirmed a
/// position behind that, unless a row of postrider.holds covers its days or one of its events is parked.
/// Each run goes on where the last one stopped, or was killed: run it from cron, every hour or so, or set
/// partitions.manage = true, and the relay does it.
///
/// It acts as the owner of the table, which the role must be a member of: see --admin-url. A table is cut
/// by days by `postrider migrate --partition-by day`.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Partitions {
    /// Do it
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    tables: Tables,
    #[command(flatten)]
    administrator: Administrator,
}

#[derive(Serialize)]
struct Cared {
    table: String,
    applied: bool,
    acts: Vec<Outcome>,
}

impl Partitions {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = load(config)?;
        let cares = self.tables.cares(&config)?;
        let cared = block_on(async {
            let mut cared = Vec::new();
            for care in &cares {
                // A session of its own, as each may become the owner of its table.
                let client = self.administrator.connect(&config.postgres).await?;
                let acts = partitions::run(&client, care, self.apply).await?;
                cared.push(Cared { table: care.table.quoted(), applied: self.apply, acts });
            }
            Ok(cared)
        })?;
        self.tables.print(&cared, text)
    }
}

fn text(cared: &Cared) -> String {
    if cared.acts.is_empty() {
        return format!("{}: nothing to do\n", cared.table);
    }
    let line = |act: &Outcome| {
        let state = match act.state {
            State::Done => "done",
            State::Planned => "would",
            State::Waiting => "waiting",
            State::Failed => "not done, tried again by the next run",
        };
        format!("{}: {state}: {}\n", cared.table, act.what)
    };
    cared.acts.iter().map(line).collect()
}
