//! What a server asks while it authenticates us, read from its messages without doing anything.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-AUTHENTICATIONOK>

use postgres_protocol::authentication::sasl;

use crate::postgres::cursor::Cursor;
use crate::postgres::error::DecodeError;

/// One `Authentication…` message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// We are let in.
    Granted,
    /// The password as it is.
    Cleartext,
    /// The password hashed with these bytes.
    Md5 {
        salt: [u8; 4],
    },
    /// SCRAM, in these variants.
    Sasl {
        plus: bool,
        plain: bool,
    },
    /// The server's word within SCRAM, and its last.
    SaslContinue(&'a [u8]),
    SaslFinal(&'a [u8]),
    /// GSSAPI or SSPI.
    Kerberos,
    /// Any other, by its number.
    Other(u32),
}

impl<'a> Request<'a> {
    /// Reads the body of a message `R`.
    ///
    /// # Errors
    /// A body that is cut off.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(body);
        Ok(match cursor.u32()? {
            0 => Self::Granted,
            3 => Self::Cleartext,
            5 => {
                let salt = cursor.take(4)?;
                Self::Md5 { salt: [salt[0], salt[1], salt[2], salt[3]] }
            }
            7 | 9 => Self::Kerberos,
            10 => {
                let offers = |name: &str| cursor.rest().split(|&byte| byte == 0).any(|offer| offer == name.as_bytes());
                Self::Sasl { plus: offers(sasl::SCRAM_SHA_256_PLUS), plain: offers(sasl::SCRAM_SHA_256) }
            }
            11 => Self::SaslContinue(cursor.rest()),
            12 => Self::SaslFinal(cursor.rest()),
            other => Self::Other(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_request_is_told_from_the_others() {
        for (body, request) in [
            (&b"\0\0\0\0"[..], Request::Granted),
            (b"\0\0\0\x03", Request::Cleartext),
            (b"\0\0\0\x05abcd", Request::Md5 { salt: *b"abcd" }),
            (b"\0\0\0\x07", Request::Kerberos),
            (b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0", Request::Sasl { plus: true, plain: true }),
            (b"\0\0\0\x0aSCRAM-SHA-256\0\0", Request::Sasl { plus: false, plain: true }),
            (b"\0\0\0\x0aOAUTHBEARER\0\0", Request::Sasl { plus: false, plain: false }),
            (b"\0\0\0\x0br=1", Request::SaslContinue(b"r=1")),
            (b"\0\0\0\x0cv=1", Request::SaslFinal(b"v=1")),
            (b"\0\0\0\x63", Request::Other(99)),
        ] {
            assert_eq!(Request::parse(body), Ok(request));
        }
        Request::parse(b"\0\0\0").expect_err("a cut number");
        Request::parse(b"\0\0\0\x05abc").expect_err("a cut salt");
    }

    proptest! {
        #[test]
        fn no_bytes_can_make_it_panic(body in any::<Vec<u8>>(), kind in 0..14_u8) {
            let _ = Request::parse(&body);
            let _ = Request::parse(&[&[0, 0, 0, kind], &body[..]].concat());
        }
    }
}
