//! How metrics are declared: a section is a struct whose every line says the field, its kind, its name and its help.

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// The name and the help of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Its name with its unit last.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
}

/// Declares a section of metrics: `field: Type = maker("name", "help", label or bucket slices…);`, where the maker is a
/// method of [`Set`]. The names and helps are in the section's `ALL`, in the order of registration.
macro_rules! section {
    ($(#[$about:meta])* $section:ident { $($field:ident: $kind:ty = $maker:ident($name:literal, $help:literal $(, $with:expr)*);)* }) => {
        $(#[$about])*
        #[derive(Debug)]
        pub struct $section {
            $(#[doc = concat!($help, " `", $name, "`")] pub $field: $kind,)*
        }

        impl $section {
            /// What each is called and counts.
            pub const ALL: &[$crate::telemetry::metrics::Description] =
                &[$($crate::telemetry::metrics::Description { name: $name, help: $help }),*];

            /// All at zero, registered.
            pub(super) fn new(set: &$crate::telemetry::metrics::section::Set<'_>) -> Self {
                Self {
                    $($field: set.$maker(
                        $crate::telemetry::metrics::Description { name: $name, help: $help } $(, $with)*
                    ),)*
                }
            }
        }
    };
}

pub(super) use section;

/// Makes metrics and registers them.
pub(super) struct Set<'a>(pub(super) &'a Registry);

impl Set<'_> {
    /// What only rises.
    pub(super) fn counter(&self, of: Description) -> IntCounter {
        self.register(IntCounter::new(of.name, of.help))
    }

    /// What only rises, by fractions.
    pub(super) fn fraction(&self, of: Description) -> Counter {
        self.register(Counter::new(of.name, of.help))
    }

    /// What rises and falls, in whole numbers.
    pub(super) fn level(&self, of: Description) -> IntGauge {
        self.register(IntGauge::new(of.name, of.help))
    }

    /// What rises and falls.
    pub(super) fn gauge(&self, of: Description) -> Gauge {
        self.register(Gauge::new(of.name, of.help))
    }

    /// Numbers that rise and fall, told apart by labels.
    pub(super) fn gauges(&self, of: Description, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(of.name, of.help), labels))
    }

    /// Counters told apart by labels.
    pub(super) fn family(&self, of: Description, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(of.name, of.help), labels))
    }

    /// What only rises, by fractions, told apart by labels.
    pub(super) fn fractions(&self, of: Description, labels: &[&str]) -> CounterVec {
        self.register(CounterVec::new(Opts::new(of.name, of.help), labels))
    }

    /// What rises and falls, in whole numbers, told apart by labels.
    pub(super) fn levels(&self, of: Description, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(of.name, of.help), labels))
    }

    /// A distribution over buckets with these upper bounds.
    pub(super) fn histogram(&self, of: Description, buckets: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts::new(of.name, of.help).buckets(buckets.to_vec())))
    }

    /// Distributions over the same buckets, told apart by labels.
    pub(super) fn histograms(&self, of: Description, buckets: &[f64], labels: &[&str]) -> HistogramVec {
        self.register(HistogramVec::new(HistogramOpts::new(of.name, of.help).buckets(buckets.to_vec()), labels))
    }

    fn register<M: Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("names and labels are constants that a test checks");
        self.0.register(Box::new(metric.clone())).expect("each metric is registered once; a test checks it");
        metric
    }
}
