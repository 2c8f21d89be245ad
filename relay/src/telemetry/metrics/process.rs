//! Metrics of the process, read from the kernel when they are asked for.

use std::time::SystemTime;

use prometheus::{Counter, Gauge};

use crate::telemetry::metrics::section::section;
use crate::telemetry::process;

section! {
    /// What the process uses.
    ProcessMetrics {
        start_time_seconds: Gauge = gauge("postrider_process_start_time_seconds", "When the process started, in seconds since 1970.");
        resident_bytes: Gauge = gauge("postrider_process_resident_memory_bytes", "Resident memory of the process.");
        resident_peak_bytes: Gauge = gauge("postrider_process_resident_memory_peak_bytes", "Most memory that was resident at once.");
        cpu_seconds: Counter = fraction("postrider_process_cpu_seconds_total", "Processor time that the process spent.");
    }
}

impl ProcessMetrics {
    /// Notes that the process starts now.
    pub(super) fn begin(&self) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.start_time_seconds.set(since.as_secs_f64());
    }

    /// Asks the kernel.
    pub(super) fn refresh(&self) {
        let Some(usage) = process::usage() else { return };
        self.resident_bytes.set(usage.resident_bytes as f64);
        self.resident_peak_bytes.set(usage.resident_peak_bytes as f64);
        // Two readers at once may both add; the difference is one scrape's worth and never negative.
        let spent = usage.processor.as_secs_f64() - self.cpu_seconds.get();
        self.cpu_seconds.inc_by(spent.max(0.0));
    }
}
