//! A collector of traces: takes OTLP over HTTP as any does (<https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>), and
//! keeps what it got.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use harness::{PATIENCE, until};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// A collector at work; it ends with the test's runtime.
pub(super) struct Collector {
    pub(super) url: String,
    got: Arc<Mutex<Got>>,
}

#[derive(Default)]
struct Got {
    spans: Vec<Span>,
    services: Vec<String>,
    authorizations: Vec<String>,
}

impl Collector {
    /// Listens on a free port.
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let got = Arc::new(Mutex::new(Got::default()));
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&got));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, got }
    }

    /// The spans so far.
    pub(super) fn spans(&self) -> Vec<Span> {
        lock(&self.got).spans.clone()
    }

    /// Waits for a span of this name.
    pub(super) async fn span(&self, name: &str) -> Span {
        let look = async || self.spans().into_iter().find(|span| span.name == name);
        until(&format!("a span named {name}"), PATIENCE, look).await
    }

    /// The values of `service.name` and of the header `authorization`, request by request.
    pub(super) fn senders(&self) -> (Vec<String>, Vec<String>) {
        let got = lock(&self.got);
        (got.services.clone(), got.authorizations.clone())
    }
}

async fn take(State(got): State<Arc<Mutex<Got>>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    let is_protobuf = headers.get("content-type").is_some_and(|kind| kind == "application/x-protobuf");
    let Some(request) = ExportTraceServiceRequest::decode(body).ok().filter(|_| is_protobuf) else {
        return (StatusCode::BAD_REQUEST, Vec::new());
    };
    let mut got = lock(&got);
    got.authorizations.extend(headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()));
    for resource in request.resource_spans {
        let attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
        let names =
            attributes.filter(|attribute| attribute.key == "service.name").map(|name| format!("{:?}", name.value));
        got.services.extend(names);
        got.spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    (StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec())
}

fn lock(got: &Mutex<Got>) -> MutexGuard<'_, Got> {
    got.lock().unwrap_or_else(PoisonError::into_inner)
}
