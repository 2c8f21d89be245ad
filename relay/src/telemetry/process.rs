//! What the kernel knows of this process: memory and processor time, from `/proc`.

use std::fs;
use std::time::Duration;

/// Clock ticks a second in `/proc/self/stat`: `USER_HZ`, 100 on every Linux architecture that Rust supports.
const TICKS_PER_SECOND: u64 = 100;

/// Resources in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// Memory that is resident, in bytes.
    pub(super) resident_bytes: u64,
    /// The most that was resident at once, in bytes.
    pub(super) resident_peak_bytes: u64,
    /// Processor time spent so far, in user and kernel mode.
    pub(super) processor: Duration,
}

/// Asks the kernel; `None` where there is no `/proc`.
pub(super) fn usage() -> Option<Usage> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    parse(&status, &stat)
}

/// Reads the two files as [proc(5)](https://man7.org/linux/man-pages/man5/proc.5.html) describes them.
fn parse(status: &str, stat: &str) -> Option<Usage> {
    let kibibytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
    };
    // The command's name, the second field, may itself hold spaces and parentheses; the rest follows the last one.
    let (_, fields) = stat.rsplit_once(')')?;
    // utime and stime are fields 14 and 15; the first after the name is field 3.
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some(Usage {
        resident_bytes: kibibytes("VmRSS")? * 1024,
        resident_peak_bytes: kibibytes("VmHWM")? * 1024,
        processor: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let status = "Name:\ta) b\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 1 1 1";
        let usage = parse(status, stat).expect("both files are whole");
        assert_eq!(usage.resident_bytes, 1024 * 1024);
        assert_eq!(usage.resident_peak_bytes, 2048 * 1024);
        assert_eq!(usage.processor, Duration::from_secs(2));
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = usage().expect("the tests run on Linux");
        assert!(usage.resident_bytes > 0 && usage.resident_peak_bytes >= usage.resident_bytes / 2);
    }
}
