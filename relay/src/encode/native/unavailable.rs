//! What stands in a change for a large value that did not change, and was not sent.

/// The forms in which a source writes that a value is not known. It is no value: whoever stores a row looks for it first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    forms: Vec<String>,
    /// A bit for the length of each form.
    lengths: u128,
}

impl Unavailable {
    /// The forms of `placeholder`, such as `__debezium_unavailable_value`.
    #[must_use]
    pub fn new(placeholder: &str) -> Self {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let text = quoted(placeholder);
        let bytes = quoted(&base64(placeholder.as_bytes()));
        let hex: String = placeholder.bytes().map(|byte| format!("{byte:02x}")).collect();
        let map = format!("{{{text}:{text}}}");
        let numbers: Vec<String> = placeholder.bytes().map(|byte| byte.cast_signed().to_string()).collect();
        let single = [text, bytes, quoted(&hex), quoted(&map), map];
        // In a list it is the only element; a list of numbers has the text's bytes.
        let lists = single.iter().map(|form| format!("[{form}]")).chain([format!("[{}]", numbers.join(","))]);
        let forms: Vec<String> = lists.chain(single.iter().cloned()).collect();
        let lengths = forms.iter().fold(0, |bits, form| bits | bit(form.len()));
        Self { forms, lengths }
    }

    /// Whether the JSON value says that it is not known.
    #[must_use]
    #[inline]
    pub fn is(&self, json: &str) -> bool {
        // Nearly every value is of another length.
        self.lengths & bit(json.len()) != 0 && self.forms.iter().any(|form| form == json)
    }
}

/// A bit for a length.
fn bit(len: usize) -> u128 {
    1 << (len % 128)
}

/// Base64 with padding, as Kafka Connect's JSON converter writes bytes.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().chain(&[0, 0]).take(3).fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_in_every_form_that_a_change_has_it() {
        let unavailable = Unavailable::new("__debezium_unavailable_value");
        for json in [
            r#""__debezium_unavailable_value""#,
            r#""X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==""#,
            r#"["__debezium_unavailable_value"]"#,
            r#"["{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}"]"#,
            r#"{"__debezium_unavailable_value":"__debezium_unavailable_value"}"#,
            r#""{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}""#,
            "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]",
        ] {
            assert!(unavailable.is(json), "{json}");
        }
        for json in ["null", r#""""#, r#""__debezium_unavailable_valuf""#, "[95]"] {
            assert!(!unavailable.is(json), "{json}");
        }
    }
}
