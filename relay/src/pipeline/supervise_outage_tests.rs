//! The supervisor under a breaker: when an outage counts as one that lasts, and how it ends.

use super::*;

/// Two failures open, and two probes close.
const THRESHOLDS: Thresholds = Thresholds {
    failures: 2,
    within: Duration::from_secs(60),
    open: Duration::from_secs(2),
    open_max: Duration::from_secs(60),
    successes: 2,
    probe_timeout: Duration::from_secs(5),
};

/// Runs the script under a breaker; `watch` looks at the status beside it.
async fn run_with_breaker(
    told: &Arc<Told>,
    metrics: &Metrics,
    watch: impl AsyncFnOnce(&Status),
) -> (Vec<String>, Result<(), Error>) {
    let (handle, stop) = Stop::new();
    *told.stop.lock().expect("fresh") = Some(handle);
    let status = Status::new("source", "sink");
    let limits = Limits {
        in_flight_bytes_max: 1 << 20,
        in_flight_batches_max: 100,
        progress_interval: Duration::from_millis(100),
        drain_deadline: Duration::from_secs(5),
    };
    let retry = Bounds { initial: Duration::from_millis(100), max: Duration::from_millis(100) };
    let (traces, breaker) = (Traces::off(), Some(THRESHOLDS));
    let with =
        Supervision { limits, retry, breaker, stall_help: "", share: None, metrics, traces: &traces, status: &status };
    let (outcome, ()) = tokio::join!(supervise(told, with, stop), watch(&status));
    let log = told.log.lock().expect("no test panics with it").clone();
    (log, outcome)
}

fn script(sinks: Vec<Result<Option<Progress>, Error>>, sources: Vec<Vec<Result<u64, Option<Error>>>>) -> Arc<Told> {
    Arc::new(Told {
        sinks: Mutex::new(sinks.into()),
        sources: Mutex::new(sources.into_iter().map(VecDeque::from).collect()),
        ..Told::default()
    })
}

fn away() -> Error {
    error(End::Sink, Kind::Unavailable)
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_sink_is_waited_for_with_a_paused_source_and_probes() {
    let sinks = vec![Ok(None), Err(away()), Err(away()), Ok(None)];
    let told = script(sinks, vec![vec![Ok(1), Err(Some(away()))], vec![Ok(2), Err(None)]]);
    let metrics = Metrics::new();
    let (log, outcome) = run_with_breaker(&told, &metrics, async |status| {
        // A tenth of a second between the two failures, then two seconds open, then four.
        for (after_ms, state, opened) in [(50, "closed", 0), (100, "open", 1), (1900, "open", 1), (4900, "closed", 1)] {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            let shown = status.snapshot();
            let sink = shown.breakers.iter().find(|breaker| breaker.end == "sink").expect("it has one");
            assert_eq!((sink.state, sink.opened), (state, opened), "after {after_ms} ms: {shown:?}");
            if state == "open" {
                assert!(!shown.ready);
                let reason = shown.reason.expect("it is not ready");
                assert_eq!(reason, "the circuit breaker of the sink is open: Unavailable as told");
            }
        }
    })
    .await;
    assert!(outcome.is_ok());
    let outage = ["sink opened", "paused", "sink opened", "sink opened", "probed", "resumed", "rewound"];
    assert_eq!(log[..3], ["sink opened", "source opened at the start", "acknowledged 1"]);
    assert_eq!(log[3..10], outage, "{log:?}");
    assert_eq!(log[10..], ["acknowledged 2", "source closed"]);
    let breaker = &metrics.breaker;
    assert_eq!(breaker.opened.with_label_values(&["sink"]).get(), 1, "one outage");
    assert_eq!(breaker.probes.with_label_values(&["sink", "failed"]).get(), 1);
    assert_eq!(breaker.probes.with_label_values(&["sink", "succeeded"]).get(), 2);
    assert_eq!(breaker.state.with_label_values(&["sink"]).get(), 0);
    let open = breaker.open_seconds.with_label_values(&["sink"]).get();
    assert!((5.9..6.2).contains(&open), "{open}");
}

#[tokio::test(start_paused = true)]
async fn what_a_record_causes_never_opens_the_breaker() {
    let refused = || Err(Some(error(End::Sink, Kind::Refused)));
    let mut sources: Vec<_> = (0..20).map(|_| vec![refused()]).collect();
    sources.push(vec![Ok(1), Err(None)]);
    let told = script(vec![Ok(None)], sources);
    let (log, outcome) = run_with_breaker(&told, &Metrics::new(), async |_| {}).await;
    assert!(outcome.is_ok());
    assert!(!log.iter().any(|entry| entry == "paused"), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_answers_probes_and_takes_nothing_is_left_alone_again_at_once() {
    let sinks = vec![Err(away()), Err(away()), Ok(None), Ok(None)];
    let told = script(sinks, vec![vec![Err(Some(away()))], vec![Ok(1), Err(None)]]);
    let (log, outcome) = run_with_breaker(&told, &Metrics::new(), async |_| {}).await;
    assert!(outcome.is_ok());
    let expected = [
        "sink opened",
        "sink opened",
        "sink opened",
        "probed",
        "source opened at the start",
        "paused",
        "sink opened",
        "probed",
        "resumed",
        "rewound",
        "acknowledged 1",
        "source closed",
    ];
    assert_eq!(log, expected);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_finds_what_a_person_must_mend_ends_the_pipeline() {
    let sinks = vec![Err(away()), Err(away()), Err(error(End::Sink, Kind::Setup))];
    let (log, outcome) = run_with_breaker(&script(sinks, vec![]), &Metrics::new(), async |_| {}).await;
    assert_eq!(outcome.expect_err("of the set-up").kind(), Kind::Setup);
    assert_eq!(log.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_away_has_a_breaker_of_its_own() {
    let lost = || error(End::Source, Kind::Unavailable);
    let told = script(vec![Ok(None)], vec![vec![Err(Some(lost()))], vec![Err(Some(lost()))], vec![Ok(1), Err(None)]]);
    let metrics = Metrics::new();
    let (log, outcome) = run_with_breaker(&told, &metrics, async |_| {}).await;
    assert!(outcome.is_ok());
    let opened = "source opened at the start";
    assert_eq!(log, ["sink opened", opened, opened, opened, "acknowledged 1", "source closed"]);
    assert_eq!(metrics.breaker.opened.with_label_values(&["source"]).get(), 1);
    assert_eq!(metrics.breaker.opened.with_label_values(&["sink"]).get(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_order_to_stop_is_heard_while_the_breaker_is_open() {
    let told = script(vec![Err(away()), Err(away())], vec![]);
    let (log, outcome) = run_with_breaker(&told, &Metrics::new(), async |_| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        told.stop.lock().expect("no test panics with it").take().expect("it is there").order();
    })
    .await;
    assert!(outcome.is_ok());
    assert_eq!(log, ["sink opened", "sink opened"]);
}
