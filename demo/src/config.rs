//! The `postrider.toml` of a run: only what differs from the defaults, as a user would write it.

use xtask::services::Postgres;

use crate::database::socket;

/// The role the relay logs in as: `postrider init` creates it with the least rights that do, and runs share it.
pub(crate) const ROLE: &str = "postrider";

/// What a run tells the relay.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    /// The server.
    pub postgres: &'a Postgres,
    /// The database on it.
    pub database: &'a str,
    /// The slot, which also names the progress record.
    pub slot: &'a str,
    /// The topic template.
    pub topic: &'a str,
    /// Kafka's address, or what stands for no Kafka.
    pub bootstrap_servers: &'a str,
    /// The topic of the progress record.
    pub progress_topic: &'a str,
}

impl Config<'_> {
    /// How an administrator reaches the database, for `migrate` and `init`.
    pub fn admin_url(&self) -> String {
        self.postgres.url(self.database)
    }

    /// The file's text. Over TCP the role gets the password that the services have anyway.
    pub fn toml(&self) -> String {
        let Self { postgres, database, slot, topic, bootstrap_servers, progress_topic } = self;
        let (host, password) = match socket(postgres) {
            Some(folder) => (folder.display().to_string(), String::new()),
            None => (postgres.host.clone(), format!("password = {}\n", quoted(&postgres.password))),
        };
        format!(
            "[postgres]\nhost = {}\nport = {}\ndatabase = {}\nuser = {}\n{password}\n\
             [source]\nslot = {}\n\n\
             [outbox]\ntopic = {}\n\n\
             [kafka]\nbootstrap_servers = {}\nprogress_topic = {}\n\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n",
            quoted(&host),
            postgres.port,
            quoted(database),
            quoted(ROLE),
            quoted(slot),
            quoted(topic),
            quoted(bootstrap_servers),
            quoted(progress_topic),
        )
    }
}

/// A TOML basic string (<https://toml.io/en/v1.0.0#string>); its escapes are those of JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use xtask::services::Postgres;

    use crate::config::Config;

    #[test]
    fn without_a_socket_tcp_and_the_password_are_used() {
        let postgres = Postgres {
            host: "127.0.0.1".into(),
            port: 5433,
            socket_dir: "/no/such/folder".into(),
            user: "postgres".into(),
            password: "a\"b".into(),
        };
        let config = Config {
            postgres: &postgres,
            database: "d",
            slot: "s",
            topic: "t.{aggregate_type}",
            bootstrap_servers: "127.0.0.1:9092",
            progress_topic: "p",
        };
        let toml = config.toml();
        assert!(toml.starts_with("[postgres]\nhost = \"127.0.0.1\"\nport = 5433\n"), "{toml}");
        assert!(toml.contains(r#"password = "a\"b""#), "{toml}");
    }
}
