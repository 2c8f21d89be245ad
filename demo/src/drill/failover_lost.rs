//! The primary dies under load, and a standby is promoted that does not have all that was published, and perhaps not the slot
//! either: the relay refuses to go on, and `postrider slot recover` brings it back.

use std::time::{Duration, Instant};

use crate::drill::incident::{judge, names_the_mend, recover, refuses};
use crate::drill::pair::Pair;
use crate::drill::{Load, Options, Report, Servers, Writers};
use crate::error::Result;
use crate::screen::Screen;

/// How long anything may take to go on.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was not prepared.
#[derive(Debug)]
pub(super) struct Form {
    drill: &'static str,
    /// What the database and the folder are called after.
    what: &'static str,
    /// How the slot is made.
    init: &'static [&'static str],
    /// What `postrider check` must have warned of.
    warns_of: &'static str,
    /// What the relay must say of it.
    refusal: &'static str,
}

/// The slot is not kept by the standby.
pub(super) static LOST: Form = Form {
    drill: "failover-lost",
    what: "failover_lost",
    init: &["init"],
    warns_of: "slot-failover",
    refusal: "does not exist",
};

/// It is, but the primary does not wait for the standby.
pub(super) static BEHIND: Form = Form {
    drill: "failover-behind",
    what: "failover_behind",
    init: &["init", "--failover"],
    warns_of: "standby-not-awaited",
    refusal: "lost in the database",
};

pub(super) async fn run(form: &Form, servers: Servers, options: &Options, screen: &Screen) -> Result<Report> {
    let mut pair = Pair::start(servers, form.what, &[]).await?;
    pair.relay.ask(form.init)?;
    let ledger = pair.scene.ledger()?;
    let warned = pair.findings()?;
    let process = pair.relay.start()?;
    let load = Load { rate: options.rate.unwrap_or(2000), ..Load::default() };
    let events = load.rate * 3;
    let writers = Writers::start(&pair.scene.servers.postgres, &pair.scene.name, load);
    writers.write_more(events, PATIENCE).await?;
    if form.init.len() > 1 {
        pair.kept().await?;
    }

    screen.say("          the standby is away for a while, and what is written meanwhile is published");
    tokio::task::block_in_place(|| pair.standby.stop());
    writers.write_more(events / 3, PATIENCE).await?;
    ledger.goes_on(PATIENCE).await?;
    screen.say("          the primary dies, and the standby is promoted without it");
    let died = Instant::now();
    pair.kill_primary();
    tokio::task::block_in_place(|| pair.standby.start_again())?;
    let there = pair.promote()?;
    writers.move_to(&there);
    let words = refuses(process).await?;
    writers.write_more(events / 3, PATIENCE).await?;
    let again = refuses(pair.relay.start()?).await?;

    screen.say("          postrider slot recover --yes");
    let relay = pair.relay_at(&there)?;
    let recovered = recover(&relay)?;
    let process = relay.start()?;
    writers.write_more(events, PATIENCE).await?;
    let written = writers.stop().await?;
    let database = pair.scene.database.on(&there);
    let (report, counted) = judge(form.drill, ledger, (&written, &database), died).await?;
    process.stop()?;

    let report = recovered
        .told(report, "other", &counted)
        .wanted(warned.contains(form.warns_of), || format!("check warns of {}; it said {warned:?}", form.warns_of))
        .wanted(words.contains(form.refusal), || format!("the relay says `{}`; it said {words}", form.refusal))
        .wanted(names_the_mend(&words), || format!("the relay names what helps; it said {words}"))
        .wanted(names_the_mend(&again), || format!("so does one that is started anew; it said {again}"));
    if report.passed() && !options.keep {
        pair.scene.clear(false).await?;
    } else {
        screen.say(&pair.scene.whereabouts());
    }
    Ok(report)
}
