//! The workers' configuration in a run: Nova's tables for ClickHouse, Nova's rules for Redis, as a user would write them.

use xtask::services::Environment;

use crate::chain::current;
use crate::config::{ROLE, quoted};
use crate::database::socket;
use crate::relay::Relay;

/// The topic of the clients' events, after the run's prefix.
pub(super) const EVENTS: &str = "events";

/// The captured tables that the rules look at.
const WATCHED: [&str; 4] = ["posts", "comments", "likes", "follows"];

/// Where everything of a run is.
pub(super) struct Names<'a> {
    /// The run, after which its database of Postgres and of ClickHouse are called.
    pub(super) run: &'a str,
    pub(super) environment: &'a Environment,
    /// With the logical database.
    pub(super) redis_url: &'a str,
}

impl Names<'_> {
    /// The consumer group of a worker.
    pub(super) fn group(&self, role: &str) -> String {
        format!("{}.{role}", self.run)
    }

    /// The topic of the dead letters.
    pub(super) fn letters(&self) -> String {
        format!("{}.dlq", self.run)
    }

    fn topic(&self, table: &str) -> String {
        quoted(&format!("{}.cdc.{table}", self.run))
    }

    fn events(&self) -> String {
        quoted(&format!("{}.{EVENTS}", self.run))
    }

    /// What each worker is told. Killed and started again, it is the same member of its group, which need not wait for its session's end.
    fn common(&self, role: &str) -> String {
        let (bootstrap, letters) = (quoted(&self.environment.kafka.bootstrap), quoted(&self.letters()));
        format!(
            "[kafka]\nbootstrap_servers = {bootstrap}\n\n[consumer]\ninstance_id = \"{role}\"\n\n[dead_letter]\ntopic = {letters}\n\n[admin]\nlisten = \"127.0.0.1:0\"\n\n"
        )
    }

    /// Postgres, for who asks it for the followers of an author.
    fn postgres(&self) -> String {
        let postgres = &self.environment.postgres;
        let (host, password) = match socket(postgres) {
            Some(folder) => (folder.display().to_string(), String::new()),
            None => (postgres.host.clone(), format!("password = {}\n", quoted(&postgres.password))),
        };
        let (host, database, user) = (quoted(&host), quoted(self.run), quoted(ROLE));
        format!(
            "[postgres]\nhost = {host}\nport = {}\ndatabase = {database}\nuser = {user}\n{password}\n",
            postgres.port
        )
    }
}

/// Whether a worker reads a topic.
pub(super) fn reads(role: &str, topic: &str) -> bool {
    let name = topic.rsplit('.').next().unwrap_or(topic);
    match role {
        Relay::LOAD => name == EVENTS || current::tables().iter().any(|table| table.name == name),
        _ => name == EVENTS || WATCHED.contains(&name),
    }
}

/// The loader's configuration file.
pub(super) fn load(names: &Names<'_>) -> String {
    let url = names.environment.clickhouse_url.as_deref().unwrap_or_default();
    let (url, database, group) = (quoted(url), quoted(names.run), quoted(&names.group(Relay::LOAD)));
    let tables = current::tables().iter().fold(String::new(), |text, table| {
        let from = if table.name == "likes" { "from = { _committed_at = \"change:committed\" }\n" } else { "" };
        text + &format!("[load.tables.{}]\ntopic = {}\n{from}\n", table.name, names.topic(table.name))
    });
    format!(
        "{}[clickhouse]\nurl = {url}\ndatabase = {database}\n\n[load]\ngroup = {group}\n\n{tables}\
         [load.tables.post_events]\ntopic = {}\nkind = \"append\"\n\
         from = {{ event_id = \"header:id\", received_at = \"record:timestamp\" }}\n",
        names.common(Relay::LOAD),
        names.events()
    )
}

/// Whose feeds a post is in, its author's own left out.
const FOLLOWERS: &str = "select follower_id::text from follows where followee_id = $1::uuid and status = 'active'";

/// Whose feeds the post of a comment is in.
const READERS: &str = "select author_id::text from posts where id = $1::uuid union all \
    select f.follower_id::text from posts p join follows f on f.followee_id = p.author_id and f.status = 'active' \
    where p.id = $1::uuid";

/// The invalidator's configuration file: what changes a feed invalidates it, for its owner and for whoever follows the author.
pub(super) fn invalidate(names: &Names<'_>) -> String {
    let (url, group) = (quoted(names.redis_url), quoted(&names.group(Relay::INVALIDATE)));
    let rule = |table: &str, targets: &str, fan_out: Option<(&str, &str)>| {
        let fan_out = fan_out.map_or(String::new(), |(query, parameter)| {
            format!("query = {}\nparameters = [\"{parameter}\"]\n", quoted(query))
        });
        format!(
            "[invalidate.rules.{table}]\ntopic = {}\nstrategy = \"generation\"\ntargets = [{targets}]\n{fan_out}\n",
            names.topic(table)
        )
    };
    let rules = [
        rule("posts", r#""feed:v1:{author_id}", "feed:v1:{member}""#, Some((FOLLOWERS, "author_id"))),
        rule("comments", r#""feed:v1:{author_id}", "feed:v1:{member}""#, Some((READERS, "post_id"))),
        rule("likes", r#""feed:v1:{user_id}""#, None),
        rule("follows", r#""feed:v1:{follower_id}""#, None),
    ];
    let seen = format!(
        "[invalidate.rules.seen]\ntopic = {}\nwhen = [\"action = view\"]\nstrategy = \"add\"\n\
         key = \"feed:seen:{{user_id}}\"\nmember = \"{{post_id}}\"\n",
        names.events()
    );
    format!(
        "{}{}[redis]\nurl = {url}\n\n[invalidate]\ngroup = {group}\n\n{}{seen}",
        names.common(Relay::INVALIDATE),
        names.postgres(),
        rules.concat()
    )
}
