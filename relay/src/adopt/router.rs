//! The transforms of a connector: which one is the outbox event router, and what stands in its way.

use std::collections::BTreeMap;

use crate::adopt::Becomes;

/// The transform's class.
const ROUTER: &str = "io.debezium.transforms.outbox.EventRouter";

/// The router among the transforms.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Router {
    /// What the connector calls it; empty if there is none.
    pub(super) alias: String,
    /// Aliases of transforms that are no router.
    others: Vec<String>,
}

impl Router {
    pub(super) fn find(options: &BTreeMap<String, String>) -> Self {
        let names = options.get("transforms").map_or("", String::as_str);
        let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        let is_router =
            |name: &&&str| options.get(&format!("transforms.{name}.type")).is_some_and(|class| class == ROUTER);
        let alias = names.iter().find(is_router).map_or("", |name| *name);
        let others = names.iter().filter(|name| **name != alias).map(|name| (*name).to_owned()).collect();
        Self { alias: alias.to_owned(), others }
    }

    /// The router's own option, if `name` is one.
    pub(super) fn option<'n>(&self, name: &'n str) -> Option<&'n str> {
        if self.alias.is_empty() {
            return None;
        }
        let option = name.strip_prefix("transforms.")?.strip_prefix(&self.alias)?.strip_prefix('.')?;
        (!matches!(option, "type" | "predicate" | "negate")).then_some(option)
    }

    /// What becomes of the rest of `transforms…` and `predicates…`.
    pub(super) fn fate(&self, name: &str, value: &str) -> Becomes {
        let needless = |why: &str| Becomes::Needless(why.to_owned());
        if name == "transforms" {
            return match (self.alias.is_empty(), self.others.as_slice()) {
                (true, _) => Becomes::Refused(format!(
                    "there is no outbox event router ({ROUTER}) among them: changes of ordinary tables are not published"
                )),
                (false, []) => Becomes::Taken("outbox.compatibility = \"debezium\"".to_owned()),
                (false, others) => Becomes::Refused(format!(
                    "the relay transforms nothing but by the event router; without {} events would differ",
                    others.join(", ")
                )),
            };
        }
        let of_router = name.strip_prefix(&format!("transforms.{}.", self.alias)).filter(|_| !self.alias.is_empty());
        match of_router {
            Some("type") => needless("[outbox] is the event router"),
            Some("predicate") => needless("only the outbox table is read"),
            Some("negate") if value.eq_ignore_ascii_case("true") => {
                Becomes::Refused("the router would leave out what its predicate names, and take the rest".to_owned())
            }
            Some("negate") => needless("only the outbox table is read"),
            _ if name.starts_with("predicates") => needless("only the outbox table is read"),
            _ => needless("it belongs to a transform that is named above"),
        }
    }
}
