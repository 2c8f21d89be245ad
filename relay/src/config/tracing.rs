//! `[tracing]`: whether batches and events are traced, and where their spans go.

use std::{io, path::Path};

use crate::config::{
    key::{Fallback, Key, Kind},
    settings::Settings,
};

const OTLP_ENDPOINT: Key = Key {
    path: "tracing.otlp_endpoint",
    kind: Kind::Text("the http:// URL of a collector without a path, such as http://127.0.0.1:4318, or \"\" for none"),
    fallback: Fallback::Value(""),
    meaning: "Where spans are sent, by OTLP over HTTP. \"\" switches traces off. A collector that demands TLS needs another beside the relay.",
};
const SERVICE_NAME: Key = Key {
    path: "tracing.service_name",
    kind: Kind::Text("1 to 255 printable characters"),
    fallback: Fallback::Value("postrider"),
    meaning: "How the relay is called in traces (`service.name`).",
};
const SAMPLE_RATIO: Key = Key {
    path: "tracing.sample_ratio",
    kind: Kind::Number { min: 0.0, max: 1.0 },
    fallback: Fallback::Value("0"),
    meaning: "The share of batches that get a span although none of their events is traced. A batch with an event whose `traceparent` says sampled always gets one.",
};
const HEADERS_FILE: Key = Key {
    path: "tracing.headers_file",
    kind: Kind::Text("the path of a readable file with a header a line, as name=value"),
    fallback: Fallback::Absent("no header is added"),
    meaning: "Headers of each request to the collector, such as `authorization=Bearer …`.",
};

pub(super) const KEYS: &[Key] = &[OTLP_ENDPOINT, SERVICE_NAME, SAMPLE_RATIO, HEADERS_FILE];

/// Whether and how the relay traces.
#[derive(Clone, PartialEq)]
pub struct Tracing {
    /// The collector; `None` is off.
    pub otlp_endpoint: Option<String>,
    /// The relay's name in traces.
    pub service_name: String,
    /// The share of batches that are traced though none of their events is.
    pub sample_ratio: f64,
    /// Headers of each request; their values are secrets.
    pub headers: Vec<(String, String)>,
}

impl std::fmt::Debug for Tracing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the headers' values: they are secrets.
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Tracing")
            .field("otlp_endpoint", &self.otlp_endpoint)
            .field("service_name", &self.service_name)
            .field("sample_ratio", &self.sample_ratio)
            .field("headers", &headers)
            .finish()
    }
}

impl Tracing {
    pub(super) fn from_settings(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Self {
        let endpoint = settings.parsed(&OTLP_ENDPOINT, |text| match text {
            "" => Some(None),
            text => is_endpoint(text).then(|| Some(text.to_owned())),
        });
        let is_name = |name: &str| (1..=255).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        Self {
            otlp_endpoint: endpoint.flatten(),
            service_name: settings.checked(&SERVICE_NAME, is_name),
            sample_ratio: settings.number(&SAMPLE_RATIO).unwrap_or_default(),
            headers: headers(settings, read),
        }
    }
}

/// The headers of the file, if one is named.
fn headers(settings: &mut Settings, read: &impl Fn(&Path) -> io::Result<String>) -> Vec<(String, String)> {
    let Some(path) = settings.optional_text(&HEADERS_FILE) else { return Vec::new() };
    let text = match read(Path::new(&path)) {
        Ok(text) => text,
        Err(error) => {
            settings.refuse(&HEADERS_FILE, &format!("names {path}, which cannot be read: {error}"));
            return Vec::new();
        }
    };
    let mut headers = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match line.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
            Some((name, value)) if is_header(name, value) => headers.push((name.to_owned(), value.to_owned())),
            // The line may hold a secret: only its number is told.
            _ => settings
                .refuse(&HEADERS_FILE, &format!("names {path}, whose line {} is no header: name=value", index + 1)),
        }
    }
    headers
}

/// A name and a value as HTTP allows them: <https://www.rfc-editor.org/rfc/rfc9110#section-5>.
fn is_header(name: &str, value: &str) -> bool {
    let is_name = |letter: u8| letter.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&letter);
    !name.is_empty() && name.bytes().all(is_name) && value.bytes().all(|letter| (32..127).contains(&letter))
}

/// `http://host:port`, nothing behind it.
fn is_endpoint(text: &str) -> bool {
    let Some(authority) = text.strip_prefix("http://") else { return false };
    let authority = authority.trim_end_matches('/');
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || ".-_:[]".contains(letter);
    !authority.is_empty() && authority.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const MINIMUM: &str = "[postgres]\ndatabase = \"d\"\n[kafka]\nbootstrap_servers = \"k:9092\"\n[tracing]\n";

    fn parse(section: &str, headers: &str) -> Result<Config, String> {
        let text = format!("{MINIMUM}{section}");
        Config::parse("f.toml", &text, [], |_| Ok(headers.to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn traces_are_off_until_a_collector_is_named() {
        assert_eq!(parse("", "").unwrap().process.tracing.otlp_endpoint, None);
        let config = parse("otlp_endpoint = \"http://[::1]:4318/\"", "").unwrap();
        assert_eq!(config.process.tracing.otlp_endpoint.as_deref(), Some("http://[::1]:4318/"));
    }

    #[test]
    fn an_endpoint_with_a_path_or_with_tls_is_refused_with_what_is_allowed() {
        for endpoint in ["https://c:4318", "http://c:4318/v1/traces", "c:4318", "http://"] {
            let error = parse(&format!("otlp_endpoint = \"{endpoint}\""), "").unwrap_err();
            assert!(error.contains("must be the http:// URL of a collector without a path"), "{error}");
        }
    }

    #[test]
    fn headers_come_from_the_file_and_are_never_shown() {
        let section = "headers_file = \"/run/headers\"";
        let config = parse(section, "authorization=Bearer s3cr3t=\n\nx-tenant = a\n").unwrap();
        let headers = &config.process.tracing.headers;
        assert_eq!(headers[0], ("authorization".to_owned(), "Bearer s3cr3t=".to_owned()));
        assert_eq!(headers[1], ("x-tenant".to_owned(), "a".to_owned()));
        assert!(!format!("{config:?}").contains("s3cr3t"));
        let error = parse(section, "a=b\nBearer s3cr3t").unwrap_err();
        assert!(error.contains("line 2 is no header") && !error.contains("s3cr3t"), "{error}");
    }
}
