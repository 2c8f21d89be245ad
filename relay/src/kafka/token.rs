//! Tokens for OAUTHBEARER, from a file that somebody else renews, such as the kubelet.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rdkafka::client::OAuthToken;

/// How long a token is used that does not say how long it holds.
const UNSAID: Duration = Duration::from_secs(60);

/// A file that holds a token.
#[derive(Debug, Clone)]
pub(crate) struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The token as it is now. librdkafka asks again when four fifths of its time are over.
    pub(crate) fn read(&self) -> Result<OAuthToken, String> {
        let path = self.path.display();
        let token =
            fs::read_to_string(&self.path).map_err(|error| format!("the token file {path} cannot be read: {error}"))?;
        let token = token.trim();
        if token.is_empty() {
            return Err(format!("the token file {path} is empty"));
        }
        let now_ms = since_1970().as_millis() as i64;
        let claims = claims(token);
        let seconds = claims.as_ref().and_then(|claims| claims.get("exp")).and_then(serde_json::Value::as_f64);
        let lifetime_ms = seconds.map_or(now_ms + UNSAID.as_millis() as i64, |seconds| (seconds * 1000.0) as i64);
        if lifetime_ms <= now_ms {
            return Err(format!("the token in {path} has expired; whoever renews it did not"));
        }
        let subject = claims.as_ref().and_then(|claims| claims.get("sub")).and_then(|subject| subject.as_str());
        Ok(OAuthToken {
            token: token.to_owned(),
            principal_name: subject.unwrap_or("postrider").to_owned(),
            lifetime_ms,
        })
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// What a [JSON web token] says of itself; none if it is no such token.
///
/// [JSON web token]: https://www.rfc-editor.org/rfc/rfc7519
fn claims(token: &str) -> Option<serde_json::Value> {
    let mut parts = token.split('.');
    let claims = parts.nth(1)?;
    parts.next()?;
    serde_json::from_slice(&decode_base64url(claims)?).ok()
}

/// [Base64url](https://www.rfc-editor.org/rfc/rfc4648#section-5) without padding.
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_from_the_middle_of_a_token() {
        // {"sub":"relay","exp":4102444800}
        let claims = claims("eyJhbGciOiJub25lIn0.eyJzdWIiOiJyZWxheSIsImV4cCI6NDEwMjQ0NDgwMH0.").expect("a token");
        assert_eq!((claims["sub"].as_str(), claims["exp"].as_i64()), (Some("relay"), Some(4_102_444_800)));
        for other in ["", "opaque", "a.b", "a.!.c", "..", "a.bm8.c"] {
            assert_eq!(super::claims(other), None, "{other}");
        }
    }

    #[test]
    fn base64url_is_decoded_or_refused_whole() {
        for (text, bytes) in
            [("", &b""[..]), ("Zg", b"f"), ("Zm8", b"fo"), ("Zm9v", b"foo"), ("_-8", b"\xff\xef"), ("Zg==", b"f")]
        {
            assert_eq!(decode_base64url(text).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(decode_base64url("Zm 9"), None);
    }

    #[test]
    fn a_file_without_a_usable_token_is_named() {
        let error = TokenFile::new(Path::new("/no/such/token")).read().err().expect("no file");
        assert!(error.contains("/no/such/token"), "{error}");
    }
}
