//! Why a demo, drain or soak could not be run to its end. A bad verdict is not an error: it is what they are for.

/// What went wrong, with what was being done at the time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Postgres refused or the connection to it ended.
    #[error("{doing}")]
    Postgres {
        /// What was being done.
        doing: String,
        /// What Postgres said.
        #[source]
        source: tokio_postgres::Error,
    },
    /// Kafka refused or could not be reached.
    #[error("{doing}")]
    Kafka {
        /// What was being done.
        doing: String,
        /// What Kafka or its client said.
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// Redis refused or could not be reached.
    #[error("{doing}")]
    Redis {
        /// What was being done.
        doing: String,
        /// What Redis or its client said.
        #[source]
        source: redis::RedisError,
    },
    /// ClickHouse refused or could not be reached.
    #[error("{doing}: {why}")]
    ClickHouse {
        /// What was being done.
        doing: String,
        /// What ClickHouse, or the way to it, said.
        why: String,
    },
    /// A file or a process could not be used.
    #[error("{doing}")]
    System {
        /// What was being done.
        doing: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// An event was refused by the writer library.
    #[error("an event could not be written")]
    Write(#[from] postrider::Error),
    /// The relay, or a command beside it, did something that it must not; the text says what and shows its log.
    #[error("{0}")]
    Relay(String),
    /// The services are not there.
    #[error("the services are not available")]
    Services(#[from] xtask::services::Error),
}

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was being done when a lower error came.
pub trait Doing<T> {
    /// Turns the error into an [`Error`] that says `doing`, a fragment such as `"reading the outbox"`.
    fn doing(self, doing: impl Into<String>) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, tokio_postgres::Error> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Postgres { doing: doing.into(), source })
    }
}

impl<T> Doing<T> for std::result::Result<T, rdkafka::error::KafkaError> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Kafka { doing: doing.into(), source })
    }
}

impl<T> Doing<T> for std::result::Result<T, redis::RedisError> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Redis { doing: doing.into(), source })
    }
}

impl<T> Doing<T> for std::result::Result<T, std::io::Error> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::System { doing: doing.into(), source })
    }
}
