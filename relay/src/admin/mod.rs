//! The process over HTTP: whether it lives, whether it is ready, its metrics and its status. For the loopback or a
//! cluster's own network: nothing here changes anything, and nothing asks who reads.

mod page;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::admin::page::Page;
use crate::pipeline::status::State as Stage;
use crate::pipeline::{Status, Stop};
use crate::telemetry::Metrics;

/// The media type of Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The HTTP server, bound and not yet serving.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why the server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is taken, not this machine's, or not an address.
    #[error("the admin server cannot listen on {address}")]
    Bind {
        /// Where it should have listened.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Accepting connections failed for good.
    #[error("the admin server on {address} stopped")]
    Serve {
        /// Where it listened.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What the answers are made of.
#[derive(Debug, Clone)]
struct Shown {
    status: Arc<Status>,
    metrics: Arc<Metrics>,
}

impl Admin {
    /// Listens on `address`, `host:port`; port 0 takes a free one.
    pub async fn bind(address: &str) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Bind { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the order to stop, and then finishes the answers under way.
    pub async fn serve(self, status: Arc<Status>, metrics: Arc<Metrics>, mut stop: Stop) -> Result<(), AdminError> {
        let address = self.address;
        axum::serve(self.listener, router(Shown { status, metrics }))
            .with_graceful_shutdown(async move { stop.ordered().await })
            .await
            .map_err(|source| AdminError::Serve { address, source })
    }
}

fn router(shown: Shown) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(shown)
}

/// Answering is proof enough: the server runs in the runtime that runs everything else.
async fn live() -> &'static str {
    "live\n"
}

async fn ready(State(shown): State<Shown>) -> (StatusCode, String) {
    let snapshot = shown.status.snapshot();
    if snapshot.state == Stage::Standby {
        // Ready for what it is there for: else a rolling update would wait for it, and it for the process that is to end.
        let who = snapshot.reason.unwrap_or_default();
        return (StatusCode::OK, format!("standby: {who}\n"));
    }
    if snapshot.ready {
        return (StatusCode::OK, "ready\n".into());
    }
    let reason = snapshot.reason.unwrap_or_else(|| "not streaming".into());
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n"))
}

async fn metrics(State(shown): State<Shown>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], shown.metrics.encode()).into_response()
}

async fn status(State(shown): State<Shown>) -> Json<Page> {
    Json(Page::of(&shown.status, &shown.metrics))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::pipeline::stop::StopHandle;

    struct Served {
        address: SocketAddr,
        status: Arc<Status>,
        stop: StopHandle,
        server: tokio::task::JoinHandle<Result<(), AdminError>>,
    }

    async fn serve() -> Served {
        let admin = Admin::bind("127.0.0.1:0").await.expect("a free port");
        let status = Arc::new(Status::new("slot orders", "kafka"));
        let (stop, ordered) = Stop::new();
        let address = admin.address();
        let server = tokio::spawn(admin.serve(Arc::clone(&status), Metrics::new(), ordered));
        Served { address, status, stop, server }
    }

    /// The whole answer: head and body.
    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("the server listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test]
    async fn ready_tells_why_not_until_events_flow() {
        let served = serve().await;
        let answer = fetch(served.address, "/ready").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not ready: starting\n"), "{answer}");
        served.status.enter(Stage::Streaming);
        let answer = fetch(served.address, "/ready").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn a_standby_is_ready_and_says_for_whom_it_waits() {
        let served = serve().await;
        served.status.leased("standby", None, Some("process 7 on a reads slot".into()), 0);
        served.status.enter(Stage::Standby);
        let answer = fetch(served.address, "/ready").await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("standby: process 7 on a reads slot\n"),
            "{answer}"
        );
        let status = fetch(served.address, "/status").await;
        assert!(status.contains("\"state\":\"standby\"") && status.contains("\"role\":\"standby\""), "{status}");
    }

    #[tokio::test]
    async fn live_status_and_metrics_answer_whatever_the_state() {
        let served = serve().await;
        assert!(fetch(served.address, "/live").await.starts_with("HTTP/1.1 200"));
        let status = fetch(served.address, "/status").await;
        assert!(status.contains("\"state\":\"starting\"") && status.contains("\"source\":\"slot orders\""), "{status}");
        assert!(status.contains("\"version\":\"") && status.contains("{\"stage\":\"read\",\"count\":0,"), "{status}");
        let metrics = fetch(served.address, "/metrics").await;
        assert!(metrics.contains("text/plain; version=0.0.4") && metrics.contains("\npostrider_up 0\n"), "{metrics}");
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let served = serve().await;
        let taken = served.address.to_string();
        let error = Admin::bind(&taken).await.expect_err("taken");
        assert_eq!(error.to_string(), format!("the admin server cannot listen on {taken}"));
    }

    #[tokio::test]
    async fn the_order_to_stop_ends_the_server() {
        let served = serve().await;
        served.stop.order();
        served.server.await.expect("no panic").expect("ended in order");
    }
}
