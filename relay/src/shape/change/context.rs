//! The headers that say which connector wrote a record.

use std::ops::Range;

use crate::shape::change::envelope::{TEXT_SCHEMA, quoted};
use crate::shape::change::options::{CaptureOptions, ChangeForm, HeaderForm};

/// The values of the context headers, behind one another, and where each stands.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) text: Vec<u8>,
    pub(super) headers: [(&'static str, Range<usize>); 4],
}

impl Context {
    pub(super) fn new(options: &CaptureOptions) -> Option<Self> {
        let run_id = options.run_id.as_deref().filter(|_| options.form == ChangeForm::Debezium)?;
        let mut text = Vec::new();
        let headers = [
            ("__debezium.context.connectorLogicalName", options.prefix.as_str()),
            ("__debezium.context.taskId", "0"),
            ("__debezium.context.connectorName", "postgresql"),
            ("__debezium.context.runId", run_id),
        ];
        let headers = headers.map(|(name, value)| {
            let at = text.len();
            text.extend(
                match (options.headers, options.schemas) {
                    (HeaderForm::Simple, _) => value.to_owned(),
                    (HeaderForm::Json, false) => quoted(value),
                    (HeaderForm::Json, true) => format!(r#"{{"schema":{TEXT_SCHEMA},"payload":{}}}"#, quoted(value)),
                }
                .into_bytes(),
            );
            (name, at..text.len())
        });
        Some(Self { text, headers })
    }
}
