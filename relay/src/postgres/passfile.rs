//! Passwords in a file of libpq's format: one line a place, `host:port:database:user:password`.
//! <https://www.postgresql.org/docs/current/libpq-pgpass.html>

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::postgres::error::{Error, Kind};
use crate::postgres::options::{Host, Secret};
use crate::postgres::transport::is_usual_socket_directory;

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a connection is looked up by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) host: &'a Host,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
}

/// The password that the file at `path` has for `wanted`, if it has a line for it.
///
/// # Errors
/// [`Kind::Authentication`] for a file that cannot be read, or that others may read.
pub(crate) fn look_up(path: &Path, wanted: &Wanted<'_>) -> Result<Option<Secret>, Error> {
    let text = read_secret(path, "passfile")?;
    Ok(find(&text, wanted).map(Secret::new))
}

/// The text of a file that holds a secret.
///
/// # Errors
/// [`Kind::Authentication`] for a file that cannot be read, or that others may read.
pub(crate) fn read_secret(path: &Path, what: &str) -> Result<String, Error> {
    let shown = path.display();
    let unreadable = |error| {
        let context = format!("the {what} {shown} cannot be read; check its path, its owner and its mode");
        Error::with_source(Kind::Authentication, context, error)
    };
    let found = fs::metadata(path).map_err(unreadable)?;
    if is_open_to_others(&found) {
        let context = format!(
            "the {what} {shown} can be read by others than its owner, so it is not used; run: chmod 0600 {shown}"
        );
        return Err(Error::new(Kind::Authentication, context));
    }
    if found.len() > FILE_BYTES_MAX {
        return Err(Error::new(Kind::Authentication, format!("the {what} {shown} is longer than 1 MiB")));
    }
    fs::read_to_string(path).map_err(unreadable)
}

/// libpq's rule for keys: nobody but the owner, save for a group that root lets read, as mounted secrets do.
fn is_open_to_others(file: &Metadata) -> bool {
    is_open(file.mode(), file.uid())
}

fn is_open(mode: u32, owner: u32) -> bool {
    mode & if owner == 0 { 0o037 } else { 0o077 } != 0
}

/// The password of the first line whose every field is `*` or what is wanted.
pub(crate) fn find(text: &str, wanted: &Wanted<'_>) -> Option<String> {
    let port = wanted.port.to_string();
    let socket;
    let host = match wanted.host {
        Host::Tcp(name) | Host::Local(name) => name.as_str(),
        Host::Socket(directory) if is_usual_socket_directory(directory) => "localhost",
        Host::Socket(directory) => {
            socket = directory.display().to_string();
            socket.as_str()
        }
    };
    let places = [host, port.as_str(), wanted.database, wanted.user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line.strip_suffix('\r').unwrap_or(line);
        for place in places {
            let (value, after) = field(rest);
            let after = after?;
            let raw = &rest[..rest.len() - after.len() - 1];
            if raw != "*" && value != place {
                return None;
            }
            rest = after;
        }
        Some(field(rest).0)
    })
}

/// The text up to the next colon that is not escaped, unescaped, and what follows that colon.
fn field(text: &str) -> (String, Option<&str>) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            ':' => return (value, Some(&text[at + 1..])),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => value.push(letter),
        }
    }
    (value, None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str, host: &Host) -> Option<String> {
        find(text, &Wanted { host, port: 5433, database: "shop", user: "relay" })
    }

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        let host = Host::Tcp("db".into());
        for (text, wanted) in [
            ("db:5433:shop:relay:secret", Some("secret")),
            ("*:*:*:*:secret\r\n", Some("secret")),
            ("# *:*:*:*:no\nother:5433:shop:relay:no\ndb:*:shop:relay:yes\n*:*:*:*:late", Some("yes")),
            (r"db:5433:shop:relay:a\:b\\c", Some(r"a:b\c")),
            (r"db:5433:shop:relay:", Some("")),
            ("db:5432:shop:relay:no", None),
            ("db:5433:shop", None),
            ("db:5433:shop:relay", None),
            (r"\*:5433:shop:relay:no", None),
            ("", None),
        ] {
            assert_eq!(found(text, &host).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn a_socket_is_looked_up_by_its_directory_and_the_usual_ones_as_localhost() {
        assert_eq!(found("localhost:5433:shop:relay:a", &Host::Socket("/tmp".into())).as_deref(), Some("a"));
        assert_eq!(found("/srv/pg:5433:shop:relay:b", &Host::Socket("/srv/pg".into())).as_deref(), Some("b"));
        assert_eq!(found("localhost:5433:shop:relay:c", &Host::Socket("/srv/pg".into())), None);
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_and_a_group_of_roots_may() {
        let (root, somebody) = (0, 1000);
        for (mode, owner, open) in [
            (0o100_600, somebody, false),
            (0o100_400, root, false),
            (0o100_640, root, false),
            (0o100_640, somebody, true),
            (0o100_660, root, true),
            (0o100_644, root, true),
        ] {
            assert_eq!(is_open(mode, owner), open, "{mode:o} of {owner}");
        }
    }

    proptest! {
        #[test]
        fn no_text_can_make_it_panic(text in any::<String>(), lines in r"([*:\\a#\r\n]|shop|relay){0,40}") {
            for text in [text, lines] {
                let _ = found(&text, &Host::Tcp("*".into()));
            }
        }
    }
}
