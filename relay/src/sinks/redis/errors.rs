//! What an error of Redis means for the pipeline, in words that hold no key and no value.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::pipeline::{End, Error, Kind};

/// Whether a script is to be loaded again: the server was restarted, or was told to forget.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Why there is no connection.
pub(super) fn unreachable(place: &str, error: &RedisError) -> Error {
    let context = format!("cannot connect to redis at {place}");
    if let Some(error) = barred(&context, error) {
        return error;
    }
    // What rustls refuses comes as invalid data: an authority that is not trusted, a name that does not fit, no TLS at all.
    let text = error.to_string();
    if error.kind() == ErrorKind::Io
        && ["certificate", "invalid peer", "corrupt message"].iter().any(|of| text.contains(of))
    {
        return Error::new(End::Sink, Kind::Setup, context).because(text).with_help(
            "Check [redis] url (rediss:// for TLS), ca_file, and certificate_file with key_file if the server asks for them.",
        );
    }
    Error::new(End::Sink, Kind::Unavailable, context).because(told(error))
}

/// Why something could not be done over a connection.
pub(super) fn failed(action: &str, cluster: bool, error: &RedisError) -> Error {
    use ServerErrorKind as S;

    let context = format!("cannot {action} in redis");
    if let Some(error) = barred(&context, error) {
        return error;
    }
    let (kind, help) = match (error.kind(), error.code()) {
        (ErrorKind::Server(S::Moved | S::Ask), _) if !cluster => {
            (Kind::Setup, Some("The server is a node of a cluster: set [redis] cluster = true."))
        }
        (ErrorKind::Server(S::CrossSlot), _) => (Kind::Setup, Some(SLOTS)),
        (ErrorKind::Server(S::ReadOnly), _) => {
            (Kind::Unavailable, Some("The server is a replica at present; it is tried again until it is the master."))
        }
        (ErrorKind::Server(S::Moved | S::Ask | S::TryAgain | S::BusyLoading | S::ClusterDown | S::MasterDown), _) => {
            (Kind::Unavailable, None)
        }
        (_, Some("OOM")) => (
            Kind::Unavailable,
            Some(
                "The server's memory is full and its maxmemory-policy removes nothing: give it memory or another policy.",
            ),
        ),
        (_, Some("MISCONF" | "NOREPLICAS" | "BUSY" | "MASTERDOWN")) => (Kind::Unavailable, None),
        (_, Some("WRONGTYPE")) => (
            Kind::Setup,
            Some(
                "A key that is ours by name is of another type: see docs/invalidation.md for the names, and remove it.",
            ),
        ),
        (ErrorKind::Server(S::ResponseError), _) if error.to_string().contains("non local key") => {
            (Kind::Setup, Some(SLOTS))
        }
        (ErrorKind::Server(_) | ErrorKind::Extension, _) => (Kind::Setup, None),
        _ => (Kind::Unavailable, None),
    };
    let error = Error::new(End::Sink, kind, context).because(told(error));
    match help {
        Some(help) => error.with_help(help),
        None => error,
    }
}

const SLOTS: &str =
    "In a cluster the keys of one family must share a slot: write the same hash tag into the family and its pages.";

/// What only a person can mend: who we are there, and what we may do.
fn barred(context: &str, error: &RedisError) -> Option<Error> {
    let setup =
        |help: &str| Some(Error::new(End::Sink, Kind::Setup, context.to_owned()).because(told(error)).with_help(help));
    let is_login = error.kind() == ErrorKind::AuthenticationFailed;
    match error.code() {
        Some("NOPERM") => setup(
            "The user may not do that: see docs/invalidation.md for what it needs (ACL SETUSER … ~* +@read +@write +@scripting +@connection).",
        ),
        Some("WRONGPASS" | "NOAUTH") => setup("Check [redis] user, and password or password_file."),
        _ if is_login => setup("Check [redis] user, and password or password_file."),
        _ if error.kind() == ErrorKind::InvalidClientConfig => setup("Check [redis]."),
        _ => None,
    }
}

/// The server's word for it; its sentence only where it holds no argument of ours.
fn told(error: &RedisError) -> String {
    match (error.kind(), error.code()) {
        (ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed, Some(code)) => match code {
            "NOPERM" | "WRONGPASS" | "NOAUTH" | "OOM" | "MISCONF" | "LOADING" | "CLUSTERDOWN" | "READONLY" => {
                format!("{code} {}", error.detail().unwrap_or_default()).trim_end().to_owned()
            }
            _ => format!("the server answered {code}"),
        },
        (ErrorKind::Io, _) => error.to_string(),
        _ => error.category().to_owned(),
    }
}
