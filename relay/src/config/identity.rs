//! Replica identities: by what the log tells the rows of a table apart, as `full`, `default` or `index NAME`.

use crate::config::{
    key::Key,
    outbox::{TableName, take_identifier},
    postgres::is_name,
    settings::Settings,
};

/// What a replica identity may be.
const ALLOWED: &str =
    "must be `full`, `default` (the primary key) or `index NAME` (a unique index of columns that are not null)";

/// The replica identity that a table shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaIdentity {
    /// The table.
    pub table: TableName,
    /// By what its rows are told apart.
    pub by: IdentityBy,
}

/// By what rows are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityBy {
    /// By all columns.
    Full,
    /// By the primary key.
    Default,
    /// By the columns of this index.
    Index(String),
}

impl IdentityBy {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text {
            "full" => return Some(Self::Full),
            "default" => return Some(Self::Default),
            _ => {}
        }
        let (index, rest) = take_identifier(text.strip_prefix("index ")?.trim_start(), false)?;
        (rest.is_empty() && is_name(&index)).then_some(Self::Index(index))
    }
}

/// The identities that are named in the open table `key`.
pub(super) fn identities(settings: &mut Settings, key: &Key) -> Vec<ReplicaIdentity> {
    let mut identities = Vec::new();
    let path = settings.path(key);
    for (name, (text, origin)) in settings.properties(key) {
        let Some(table) = TableName::parse(&name) else {
            let message = "must be schema.table, in single quotes as a whole where a part of it needs double quotes";
            settings.refuse_at(origin, format!("`{path}.{name}` {message}"));
            continue;
        };
        match IdentityBy::parse(&text) {
            Some(by) => identities.push(ReplicaIdentity { table, by }),
            None => settings.refuse_at(origin, format!("`{path}.{name}` {ALLOWED}")),
        }
    }
    identities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_written_as_sql_writes_it() {
        let index = |name: &str| Some(IdentityBy::Index(name.to_owned()));
        for (text, expected) in [
            ("full", Some(IdentityBy::Full)),
            (" default ", Some(IdentityBy::Default)),
            ("index users_key", index("users_key")),
            ("index \"Users.Key\"", index("Users.Key")),
            ("index ", None),
            ("index a b", None),
            ("index a.b", None),
            ("nothing", None),
            ("FULL", None),
            ("", None),
        ] {
            assert_eq!(IdentityBy::parse(text), expected, "{text}");
        }
    }
}
