//! The process over HTTP: whether it lives, whether it is ready, its metrics and its status. For the loopback or a
//! cluster's own network: nothing here changes anything, and nothing asks who reads.

mod page;
mod shown;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::admin::shown::Answer;
use crate::pipeline::Stop;

pub use crate::admin::shown::Shown;

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
type All = Arc<[Shown]>;

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

    /// Serves what is shown until the order to stop, and then finishes the answers under way. Of several it shows all, and each by
    /// itself below `/relays/NAME`.
    pub async fn serve(self, shown: Vec<Shown>, mut stop: Stop) -> Result<(), AdminError> {
        let address = self.address;
        axum::serve(self.listener, router(shown.into()))
            .with_graceful_shutdown(async move { stop.ordered().await })
            .await
            .map_err(|source| AdminError::Serve { address, source })
    }
}

fn router(shown: All) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(async |State(all): State<All>| shown::ready(&all)))
        .route("/metrics", get(async |State(all): State<All>| metrics(&all)))
        .route("/status", get(async |State(all): State<All>| status(&all)))
        .route("/relays/{name}/ready", get(async |State(all), Path::<String>(name)| one(&all, &name).map(shown::ready)))
        .route("/relays/{name}/metrics", get(async |State(all), Path::<String>(name)| one(&all, &name).map(metrics)))
        .route("/relays/{name}/status", get(async |State(all), Path::<String>(name)| one(&all, &name).map(status)))
        .with_state(shown)
}

/// Answering is proof enough: the server runs in the runtime that runs everything else.
async fn live() -> &'static str {
    "live\n"
}

/// The relay of this name, as if it were the only one.
fn one<'a>(all: &'a All, name: &str) -> Result<&'a [Shown], (StatusCode, String)> {
    let found = all.iter().position(|shown| shown.name.as_deref() == Some(name));
    found
        .and_then(|at| all.get(at..=at))
        .ok_or_else(|| (StatusCode::NOT_FOUND, format!("no relay is called {name:?}\n")))
}

fn metrics(shown: &[Shown]) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], shown::metrics(shown)).into_response()
}

fn status(shown: &[Shown]) -> Json<Answer> {
    Json(shown::status(shown))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::pipeline::Status;
    use crate::pipeline::status::State as Stage;
    use crate::pipeline::stop::StopHandle;
    use crate::telemetry::Metrics;

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
        let shown = Shown { name: None, status: Arc::clone(&status), metrics: Metrics::new() };
        let server = tokio::spawn(admin.serve(vec![shown], ordered));
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
    async fn of_several_each_is_shown_and_those_that_are_not_ready_are_named() {
        let admin = Admin::bind("127.0.0.1:0").await.expect("a free port");
        let (_stop, ordered) = Stop::new();
        let address = admin.address();
        let shown = |name: &str| Shown {
            name: Some(name.to_owned()),
            status: Arc::new(Status::new(format!("slot {name}"), "kafka")),
            metrics: Metrics::of_relay(name),
        };
        let (eu, us) = (shown("eu"), shown("us"));
        tokio::spawn(admin.serve(vec![eu.clone(), us.clone()], ordered));
        eu.status.enter(Stage::Streaming);
        let answer = fetch(address, "/ready").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not ready: us: starting\n"), "{answer}");
        assert!(fetch(address, "/relays/eu/ready").await.ends_with("\r\n\r\nready\n"));
        assert!(fetch(address, "/relays/as/ready").await.starts_with("HTTP/1.1 404"));
        let status = fetch(address, "/status").await;
        for word in ["\"ready\":false,\"reason\":\"us: starting\",\"relays\":{\"eu\":{", "\"us\":{\"version\""] {
            assert!(status.contains(word), "{word} in {status}");
        }
        us.status.ended(None);
        assert!(fetch(address, "/ready").await.starts_with("HTTP/1.1 200"), "its work is done");
        let metrics = fetch(address, "/relays/us/metrics").await;
        assert!(metrics.contains("postrider_up{relay=\"us\"} 0") && !metrics.contains("\"eu\""), "{metrics}");
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
