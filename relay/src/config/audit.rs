//! `[invalidate.audits.NAME]`: cached pages that are held against the database, to learn whether an invalidation was missed.

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

/// The table of the sections.
const AUDITS: &str = "invalidate.audits";

const PAGES: Key = Key {
    path: "invalidate.audits.NAME.pages",
    kind: Kind::Text("a pattern of keys such as `feed:v1:{user_id}:*`"),
    fallback: Fallback::Required,
    meaning: "The pages, by their keys: `{field}` stands for what is told to the query, `*` for anything.",
};
const TAG: Key = Key {
    path: "invalidate.audits.NAME.tag",
    kind: Kind::Text("a text such as `feed:{user_id}`"),
    fallback: Fallback::Required,
    meaning: "The tag that such a page depends on, from the same fields.",
};
const QUERY: Key = Key {
    path: "invalidate.audits.NAME.query",
    kind: Kind::Text("a query whose one value is a timestamp with time zone"),
    fallback: Fallback::Required,
    meaning: "Asked of the database of `[postgres]`: when what the page depends on last changed; null if never.",
};
const PARAMETERS: Key = Key {
    path: "invalidate.audits.NAME.parameters",
    kind: Kind::List("fields"),
    fallback: Fallback::Value(""),
    meaning: "The fields that are the query's `$1`, `$2` and so on.",
};

pub(super) const KEYS: &[Key] = &[PAGES, TAG, QUERY, PARAMETERS];

/// One kind of pages, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The name of its section.
    pub name: String,
    /// The pattern of their keys.
    pub pages: String,
    /// The tag that they depend on.
    pub tag: String,
    /// When what they depend on last changed.
    pub query: String,
    /// The query's parameters.
    pub parameters: Vec<String>,
}

/// All of them, in the order of their names.
pub(super) fn from_settings(settings: &mut Settings) -> Vec<Audit> {
    let names = settings.names(AUDITS);
    let read = |settings: &mut Settings, name: &str| Audit {
        name: name.to_owned(),
        pages: settings.text(&PAGES),
        tag: settings.text(&TAG),
        query: settings.text(&QUERY),
        parameters: settings.list(&PARAMETERS, |field| Some(field.to_owned())).unwrap_or_default(),
    };
    names.iter().map(|name| settings.in_section(name, |settings| read(settings, name))).collect()
}
