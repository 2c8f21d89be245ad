//! What a process has used, read from `/proc` (see proc(5)): its highest resident memory and its CPU time.

use std::fs;
use std::time::Duration;

/// Clock ticks a second in `/proc/<pid>/stat`: 100 on every Linux that Rust supports (`getconf CLK_TCK`).
const TICKS_PER_S: u64 = 100;

/// Memory and CPU time of a process, or of several one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The highest resident set (`VmHWM`), in KiB.
    pub rss_peak_kib: u64,
    /// CPU time in user and kernel mode.
    pub cpu: Duration,
}

impl Usage {
    /// What the process `pid` has used up to now. What can no longer be read stays zero: a process that has ended but was not waited for
    /// still tells its CPU time, and no longer its memory.
    pub fn of(pid: u32) -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        Self {
            rss_peak_kib: rss_peak_kib(&read("status")).unwrap_or_default(),
            cpu: cpu(&read("stat")).unwrap_or_default(),
        }
    }

    /// The higher figures of two readings of one process: neither ever falls while it lives.
    pub fn latest(self, other: Self) -> Self {
        Self { rss_peak_kib: self.rss_peak_kib.max(other.rss_peak_kib), cpu: self.cpu.max(other.cpu) }
    }

    /// Of two processes one after the other: the higher peak, the sum of the CPU time.
    pub fn then(self, next: Self) -> Self {
        Self { rss_peak_kib: self.rss_peak_kib.max(next.rss_peak_kib), cpu: self.cpu + next.cpu }
    }

    /// The highest resident set, in MiB.
    pub fn rss_peak_mib(self) -> f64 {
        self.rss_peak_kib as f64 / 1024.0
    }
}

fn rss_peak_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

fn cpu(stat: &str) -> Option<Duration> {
    // The second field is the command in parentheses and may hold spaces: count from the last parenthesis, after which the third field begins.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|ticks| ticks.parse::<u64>().ok());
    Some(Duration::from_millis((ticks(14)? + ticks(15)?) * 1000 / TICKS_PER_S))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::procfs::{Usage, cpu, rss_peak_kib};

    #[test]
    fn cpu_time_is_user_plus_kernel_ticks_whatever_the_command_is_called() {
        let stat = "42 (a) b c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 12345";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu(""), None);
    }

    #[test]
    fn the_peak_is_the_high_water_mark() {
        assert_eq!(rss_peak_kib("VmPeak:\t  9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 10 kB\n"), Some(2048));
        assert_eq!(rss_peak_kib("Name: zombie\n"), None);
    }

    #[test]
    fn this_process_uses_memory_and_one_that_is_not_there_uses_nothing() {
        assert!(Usage::of(std::process::id()).rss_peak_kib > 0);
        assert_eq!(Usage::of(u32::MAX), Usage::default());
    }

    #[test]
    fn processes_in_turn_add_their_cpu_time_and_keep_the_higher_peak() {
        let a = Usage { rss_peak_kib: 10, cpu: Duration::from_secs(1) };
        let b = Usage { rss_peak_kib: 5, cpu: Duration::from_secs(2) };
        assert_eq!(a.then(b), Usage { rss_peak_kib: 10, cpu: Duration::from_secs(3) });
    }
}
