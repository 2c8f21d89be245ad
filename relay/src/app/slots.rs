//! From the configuration to the places whose slots are looked at.

use crate::app::postgres;
use crate::config::databases::{Own, SurveyConfig};
use crate::config::postgres::{Host, Postgres, UrlError};
use crate::slots::list::{Ours, Place};

/// The relays' own databases, as `administrator` if one is named; then the further ones of the configuration, then those of
/// `urls`.
///
/// # Errors
/// What is wrong with a URL, without showing it.
pub(crate) fn places(
    config: &SurveyConfig,
    administrator: Option<&str>,
    urls: &[String],
) -> Result<Vec<Place>, UrlError> {
    let mut places = Vec::new();
    for own in &config.own {
        let postgres = match administrator {
            Some(url) => own.postgres.with_url(url)?,
            None => own.postgres.clone(),
        };
        let name = match &own.name {
            Some(relay) => format!("{relay} ({})", own.postgres.database),
            None => own.postgres.database.clone(),
        };
        places.push(Place { ours: Some(ours(own)), ..place(name, &postgres) });
    }
    places.extend(config.databases.iter().map(|further| place(further.name.clone(), &further.postgres)));
    for url in urls {
        // Whatever the URL says, what is known of the own server's disk is not known of this one's.
        let postgres = Postgres { wal_disk_bytes: None, ..config.base.with_url(url)? };
        places.push(place(format!("{}@{}", postgres.database, hosts(&postgres)), &postgres));
    }
    Ok(places)
}

fn place(name: String, postgres: &Postgres) -> Place {
    Place { name, connect: postgres::options(postgres, false), disk_bytes: postgres.wal_disk_bytes, ours: None }
}

fn ours(own: &Own) -> Ours {
    let outbox = own.has_outbox.then(|| own.source.publication.clone());
    Ours {
        database: own.postgres.database.clone(),
        slot: own.source.slot.clone(),
        publications: outbox.into_iter().chain(own.captured.clone()).collect(),
        role: own.postgres.user.clone(),
        application: own.postgres.application_name.clone(),
    }
}

fn hosts(postgres: &Postgres) -> String {
    let host = |server: &crate::config::postgres::Server| match &server.host {
        Host::Socket(directory) => format!("{}:{}", directory.display(), server.port),
        Host::Tcp(name) => format!("{name}:{}", server.port),
    };
    postgres.servers.iter().map(host).collect::<Vec<_>>().join(",")
}
