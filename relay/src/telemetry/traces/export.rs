//! The queue of spans and the task that sends them, by OTLP over HTTP (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::telemetry::Metrics;
use crate::telemetry::traces::TraceOptions;

/// Spans that wait at most; some megabytes.
const QUEUE_SPANS_MAX: usize = 4096;

/// Spans of one request at most.
const REQUEST_SPANS_MAX: usize = 512;

/// How long spans are collected for one request.
const COLLECT: Duration = Duration::from_millis(500);

/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Where OTLP takes traces.
const PATH: &str = "/v1/traces";

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The exporter does not take its settings.
    #[error("traces cannot be exported to {endpoint}")]
    Exporter {
        /// Where they should go.
        endpoint: String,
        /// What is wrong.
        source: ExporterBuildError,
    },
}

/// The producing end of the queue.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    metrics: Arc<Metrics>,
}

impl Queue {
    /// Queues a span, or drops it if too many wait. Never blocks.
    pub(super) fn offer(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.metrics.traces.dropped.inc();
        }
    }
}

/// The consuming end.
pub(super) struct Exporter {
    endpoint: String,
    exporter: SpanExporter,
    spans: mpsc::Receiver<SpanData>,
    metrics: Arc<Metrics>,
    /// That spans are dropped was told, and holds.
    told: bool,
}

impl Exporter {
    pub(super) fn new(options: &TraceOptions, metrics: Arc<Metrics>) -> Result<(Queue, Self), TraceError> {
        let endpoint = format!("{}{PATH}", options.endpoint.trim_end_matches('/'));
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&endpoint)
            .with_timeout(REQUEST_TIMEOUT)
            .with_headers(options.headers.iter().cloned().collect::<HashMap<_, _>>())
            .build()
            .map_err(|source| TraceError::Exporter { endpoint: endpoint.clone(), source })?;
        let resource = Resource::builder()
            .with_service_name(options.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        exporter.set_resource(&resource);
        let (sender, spans) = mpsc::channel(QUEUE_SPANS_MAX);
        let queue = Queue { spans: sender, metrics: Arc::clone(&metrics) };
        Ok((queue, Self { endpoint, exporter, spans, metrics, told: false }))
    }

    /// Sends until nobody makes spans any more and all are sent.
    pub(super) async fn run(mut self) {
        loop {
            let mut batch = Vec::new();
            if self.spans.recv_many(&mut batch, REQUEST_SPANS_MAX).await == 0 {
                return;
            }
            let until = Instant::now() + COLLECT;
            while batch.len() < REQUEST_SPANS_MAX {
                let room = REQUEST_SPANS_MAX - batch.len();
                match timeout_at(until, self.spans.recv_many(&mut batch, room)).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
            }
            self.export(batch).await;
        }
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        match self.exporter.export(batch).await {
            Ok(()) => {
                self.metrics.traces.exported.inc_by(count);
                if std::mem::take(&mut self.told) {
                    info!(endpoint = self.endpoint, "the collector takes spans again");
                }
            }
            Err(error) => {
                self.metrics.traces.dropped.inc_by(count);
                if !std::mem::replace(&mut self.told, true) {
                    warn!(endpoint = self.endpoint, %error, "the collector does not take spans; they are dropped until it does");
                }
            }
        }
    }
}
