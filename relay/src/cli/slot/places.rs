//! The options that say which slots are looked at, where, and how they are judged.

use std::{env, time::Duration};

use crate::{
    app,
    cli::{Error, File, administrator::Administrator, duration::duration},
    config::databases::SurveyConfig,
    slots::list::{Listing, Options, Survey},
};

/// Which slots, and where.
#[derive(Debug, clap::Args)]
pub(super) struct Places {
    /// Only slots of these names; without one, all
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// A further database, such as postgres://dba@replica/shop; several times for several
    ///
    /// Beside the configured one and those of [databases.NAME], which keep a password out of the list of
    /// processes. What the URL does not name is as in [postgres].
    #[arg(long = "url", value_name = "URL", verbatim_doc_comment)]
    urls: Vec<String>,
    /// A slot that nobody has read for longer, and that is not the relay's, has no owner any more
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = duration)]
    orphan_after: Duration,
    #[command(flatten)]
    administrator: Administrator,
}

impl Places {
    /// A look at them; the rate of the log is the average over `window`.
    pub(super) fn survey(&self, config: File<'_>, window: Duration) -> Result<Survey, Error> {
        let config = SurveyConfig::load(config, env::vars_os(), !self.urls.is_empty()).map_err(Error::Config)?;
        let places = app::slots::places(&config, self.administrator.url(), &self.urls).map_err(Error::PlaceUrl)?;
        let options = Options { names: self.names.clone(), orphan_after: self.orphan_after, window };
        Ok(Survey::of(places, options))
    }

    /// The names that were asked for.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// What of the places was not seen, as a failure: places that did not answer, and names that no slot has.
    pub(super) fn complete(&self, listing: &Listing) -> Result<(), Error> {
        if !listing.unseen.is_empty() {
            return Err(Error::Unseen { unseen: listing.unseen.len() });
        }
        let slots = || listing.servers.iter().flat_map(|server| &server.slots);
        match self.names.iter().find(|name| !slots().any(|slot| slot.facts.name == **name)) {
            Some(name) => Err(Error::NoSlot { name: name.clone() }),
            None => Ok(()),
        }
    }
}
