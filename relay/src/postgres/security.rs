//! What a connection turned out to be: how it is secured, and how the server was convinced of who we are.

use std::fmt;

use crate::postgres::options::Check;

/// How a session is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Security {
    /// `None` over a Unix socket, and where the server has no TLS and none was demanded.
    pub tls: Option<Secured>,
    /// How the server was convinced.
    pub method: Method,
}

/// What TLS protects against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secured {
    /// The version that was agreed on, such as `1.3`.
    pub version: &'static str,
    /// How far the server's certificate was checked.
    pub check: Check,
}

/// How the server was convinced of who we are: <https://www.postgresql.org/docs/current/auth-methods.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// It asked for no password: it trusts the connection, knows the operating system's user, or took the certificate.
    NoPassword,
    /// SCRAM bound to the server's certificate: nobody stands between.
    ScramSha256Plus,
    /// SCRAM: the password never leaves us, and the server proved that it knows it.
    ScramSha256,
    /// A hash that whoever reads it can use to guess the password.
    Md5,
    /// The password itself.
    Cleartext,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPassword => "no password",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Md5 => "md5",
            Self::Cleartext => "password",
        })
    }
}
