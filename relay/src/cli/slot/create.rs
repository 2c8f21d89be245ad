//! `postrider slot create`: one slot, after its publication.

use std::env;

use crate::{
    app,
    cli::{
        Error, File,
        administrator::{Administrator, block_on},
        print,
        slot::one::slot_name,
    },
    config::{DatabaseConfig, postgres::is_name},
    slots::{
        error::{Error as SlotsError, Refusal},
        plan::{self, Means, Slot, Wanted},
        session, setup,
    },
};

/// The plugin that reads publications.
const PGOUTPUT: &str = "pgoutput";

/// Creates a slot. What is not said here is as its section [slots.NAME] has it, if there is one.
///
/// The publication that is to be read through it must be there already: a slot cannot see one that is
/// younger. A slot that is there and is as it should be is left as it is. It waits for the transactions that
/// are open at that moment. The relay's own slot is made by `postrider init`, which asks what becomes of
/// the rows that are older.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Create {
    /// The slot
    #[arg(value_name = "NAME", value_parser = slot_name)]
    name: String,
    /// The output plugin [default: pgoutput]
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// The publication that is to be read through it; pgoutput needs one
    #[arg(long, value_name = "NAME", value_parser = object_name)]
    publication: Option<String>,
    /// The database that it decodes [default: `postgres.database`]
    #[arg(long, value_name = "NAME", value_parser = object_name)]
    database: Option<String>,
    /// Keep the slot over a failover to a standby (PostgreSQL 17 and later)
    #[arg(long)]
    failover: bool,
    #[command(flatten)]
    administrator: Administrator,
}

impl Create {
    pub(super) fn execute(self, config: File<'_>) -> Result<(), Error> {
        let config = DatabaseConfig::load(config, env::vars_os()).map_err(Error::Config)?;
        let wanted = self.wanted(&config).map_err(|refusal| SlotsError::Refused(vec![refusal]))?;
        let mut postgres = self.administrator.postgres(&config.postgres)?;
        postgres.database.clone_from(&wanted.database);
        let mut said = String::new();
        let mut told = |step: &str| said.push_str(&format!("done: {step}\n"));
        let done = block_on(async {
            let mut session = session::connect_directly(app::postgres::options(&postgres, false)).await?;
            setup::exclusively(&session.client).await?;
            let here = plan::read(&session, &wanted).await?;
            let plan = plan::plan(&wanted, &here);
            plan::apply(&mut session, &wanted, &plan, Means { password: None, prune: false }, &mut told).await?;
            Ok(())
        });
        if said.is_empty() && done.is_ok() {
            said.push_str(&format!("nothing to do: slot {} is there\n", self.name));
        }
        print(&said)?;
        done
    }

    /// What is wanted: the slot and nothing else.
    fn wanted(&self, config: &DatabaseConfig) -> Result<Wanted, Refusal> {
        let name = &self.name;
        if *name == config.source.slot {
            return Err(Refusal {
                what: format!("slot {name} is the relay's own"),
                mend: "run `postrider init`, or `postrider slot recover` where it was lost".to_owned(),
            });
        }
        let declared = config.declared.slots.iter().find(|slot| slot.name == *name);
        let mut slot = declared.map_or_else(
            || Slot { name: name.clone(), plugin: PGOUTPUT.to_owned(), publication: None, failover: None },
            app::declared::slot,
        );
        slot.plugin = self.plugin.clone().unwrap_or(slot.plugin);
        slot.publication = self.publication.clone().or(slot.publication);
        slot.failover = if self.failover { Some(true) } else { slot.failover };
        if slot.plugin == PGOUTPUT && slot.publication.is_none() {
            return Err(Refusal {
                what: format!(
                    "slot {name} reads publications, and none is named: it could not see one that is made later"
                ),
                mend: "name it with --publication, or in its section [slots.NAME]".to_owned(),
            });
        }
        let database = self.database.clone().or_else(|| declared.map(|slot| slot.database.clone()));
        let database = database.unwrap_or_else(|| config.postgres.database.clone());
        Ok(Wanted {
            databases: vec![database.clone()],
            database,
            relay: None,
            publications: Vec::new(),
            slots: vec![slot],
            all_slots: [name.clone()].into(),
        })
    }
}

fn object_name(text: &str) -> Result<String, &'static str> {
    if is_name(text) { Ok(text.to_owned()) } else { Err("a name has 1 to 63 bytes and no control characters") }
}
