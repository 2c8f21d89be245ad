//! When the relay is killed: at random moments, one in each equal part of the run, so that they spread over all of it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::random::Random;

/// How long it stays away after a kill at most, in milliseconds: from an immediate restart to what an orchestrator takes.
const AWAY_MAX_MS: u64 = 500;

/// One kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kill {
    /// When, after the start of the run.
    pub(crate) at: Duration,
    /// How long after it the relay is started again.
    pub(crate) away: Duration,
}

/// `kills` kills in order, over a run of `seconds`.
pub(crate) fn plan(kills: u64, seconds: u64, random: &mut Random) -> VecDeque<Kill> {
    let part = seconds as f64 / kills.max(1) as f64;
    (0..kills)
        .map(|kill| Kill {
            at: Duration::from_secs_f64(part * (kill as f64 + random.unit())),
            away: Duration::from_millis(random.below(AWAY_MAX_MS)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::random::Random;
    use crate::run::kills::plan;

    #[test]
    fn each_part_of_the_run_has_its_kill() {
        let plan = plan(4, 40, &mut Random::new(3));
        let parts: Vec<u64> = plan.iter().map(|kill| kill.at.as_secs() / 10).collect();
        assert_eq!(parts, [0, 1, 2, 3]);
    }

    #[test]
    fn no_kills_is_an_empty_plan() {
        assert!(plan(0, 30, &mut Random::new(3)).is_empty());
    }
}
