//! The password of the strongest source among the key, the files and the URL; two of one source are a mistake.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::config::{
    error::Origin,
    postgres::{PASSFILE, PASSWORD, PASSWORD_FILE, URL, path, rank, url::UrlParts},
    secret::Secret,
    settings::Settings,
};

/// A password, or where to look one up for each server; one of the two at most.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) password: Option<Secret>,
    pub(super) passfile: Option<PathBuf>,
}

pub(super) fn of(settings: &mut Settings, url: &UrlParts, read: &impl Fn(&Path) -> io::Result<String>) -> Found {
    let of_url = url.password.as_ref().and_then(|_| rank(settings, &URL));
    let passfile_of_url = url.passfile.as_ref().and_then(|_| rank(settings, &URL));
    let (of_key, of_file) = (rank(settings, &PASSWORD), rank(settings, &PASSWORD_FILE));
    let of_passfile = rank(settings, &PASSFILE);
    let ranks = [of_url, passfile_of_url, of_key, of_file, of_passfile];
    let Some(strongest) = ranks.iter().max().copied().flatten() else { return Found::default() };
    if ranks.iter().filter(|rank| **rank == Some(strongest)).count() > 1 {
        let origin = [&PASSWORD, &PASSWORD_FILE, &PASSFILE]
            .iter()
            .find_map(|key| settings.given(key).filter(|given| given.rank() == Some(strongest)))
            .map_or(Origin::Nowhere, |given| given.origin.clone());
        settings.refuse_at(
            origin,
            "the password is given twice: keep one of `postgres.password`, `postgres.password_file`, `postgres.passfile` and the one in `postgres.url`",
        );
        return Found::default();
    }
    if of_key == Some(strongest) {
        Found { password: settings.secret(&PASSWORD), passfile: None }
    } else if of_file == Some(strongest) {
        Found { password: read_password(settings, read), passfile: None }
    } else if of_passfile == Some(strongest) {
        Found { password: None, passfile: path(settings, &PASSFILE) }
    } else {
        Found { password: url.password.clone(), passfile: url.passfile.clone() }
    }
}

fn read_password(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Option<Secret> {
    let path = settings.text(&PASSWORD_FILE);
    match read(Path::new(&path)) {
        Ok(text) => Some(Secret::new(
            text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line)),
        )),
        Err(error) => {
            settings.refuse(&PASSWORD_FILE, &format!("names {path}, which cannot be read: {error}"));
            None
        }
    }
}
