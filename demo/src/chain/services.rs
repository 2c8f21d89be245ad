//! Services of a run's own, which are stopped and killed under it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use xtask::services::{Environment, Kafka, PrivateClickhouse, PrivateKafka, PrivatePostgres, PrivateRedis};

use crate::error::{Doing, Error, Result};
use crate::random::Random;

/// How often each service is restarted: stopped the first time, killed the second.
const ROUNDS: u64 = 2;
/// Services that are restarted.
const SERVICES: u64 = 4;
/// How long a service stays away at most, beside the time that it takes to start.
const AWAY_MAX_MS: u64 = 1_500;

/// One of each service that the chain needs.
pub(crate) struct Services {
    postgres: PrivatePostgres,
    kafka: PrivateKafka,
    redis: PrivateRedis,
    clickhouse: PrivateClickhouse,
}

/// Services that are being restarted on a thread of their own.
pub(crate) struct Restarts {
    thread: JoinHandle<Result<Services>>,
    said: Receiver<String>,
}

impl Services {
    /// Starts all four.
    pub(crate) async fn start() -> Result<Self> {
        blocking(|| {
            Ok(Self {
                postgres: PrivatePostgres::start(None, &[("max_connections", "200")])?,
                kafka: PrivateKafka::start(&[])?,
                redis: PrivateRedis::start(&[])?,
                clickhouse: PrivateClickhouse::start()?,
            })
        })
        .await
    }

    /// Where they are.
    pub(crate) fn environment(&self) -> Environment {
        Environment {
            postgres: self.postgres.environment(),
            kafka: Kafka { bootstrap: self.kafka.bootstrap() },
            redis_url: Some(self.redis.url()),
            clickhouse_url: Some(self.clickhouse.url()),
        }
    }

    /// Restarts each of them twice, one after the other, at random moments of the `seconds` from now on.
    pub(crate) fn restart(mut self, seconds: u64, seed: u64) -> Result<Restarts> {
        let (say, said) = channel();
        let body = move || {
            let (started, mut random) = (Instant::now(), Random::new(seed).fork(1 << 36));
            let part = seconds as f64 / (ROUNDS * SERVICES + 1) as f64;
            for turn in 0..ROUNDS * SERVICES {
                let at = Duration::from_secs_f64(part * (turn as f64 + 0.5 + random.unit() / 2.0));
                std::thread::sleep(at.saturating_sub(started.elapsed()));
                let away = Duration::from_millis(random.below(AWAY_MAX_MS));
                self.turn(turn % SERVICES, turn >= SERVICES, away, (started, &say))?;
            }
            Ok(self)
        };
        let thread = std::thread::Builder::new().name("restarts".into()).spawn(body).doing("starting a thread")?;
        Ok(Restarts { thread, said })
    }

    /// Restarts one service.
    fn turn(
        &mut self,
        service: u64,
        kill: bool,
        away: Duration,
        (started, say): (Instant, &Sender<String>),
    ) -> Result<()> {
        let name = ["ClickHouse", "Redis", "Postgres", "Kafka"][service as usize];
        let from = Instant::now();
        match (service, kill) {
            (0, false) => self.clickhouse.stop(),
            (0, true) => self.clickhouse.kill(),
            (1, false) => self.redis.stop(),
            (1, true) => self.redis.kill(),
            (2, false) => self.postgres.stop(),
            (2, true) => self.postgres.stop_immediate(),
            (_, false) => self.kafka.stop(),
            (_, true) => self.kafka.kill(),
        }
        std::thread::sleep(away);
        match service {
            0 => self.clickhouse.start_again()?,
            1 => self.redis.start_again()?,
            2 => self.postgres.start_again()?,
            _ => self.kafka.start_again()?,
        }
        let how = if kill { "killed" } else { "stopped" };
        let (at, away) = (from.duration_since(started).as_secs_f64(), from.elapsed().as_secs_f64());
        // Whoever no longer listens has seen enough.
        say.send(format!("{at:6.1} s  {name} {how}, and back after {away:.1} s")).ok();
        Ok(())
    }
}

impl Restarts {
    /// What happened since the last time.
    pub(crate) fn said(&self) -> impl Iterator<Item = String> {
        self.said.try_iter()
    }

    /// Waits until every restart of the plan is over; what happened since the last time is handed back too.
    pub(crate) async fn finish(self) -> Result<(Services, Vec<String>)> {
        let Self { thread, said } = self;
        blocking(move || {
            let panicked = || Error::Relay("the thread of the restarts panicked; its message is above".into());
            let services = thread.join().map_err(|_| panicked())??;
            Ok((services, said.try_iter().collect()))
        })
        .await
    }
}

/// Runs what waits for processes where that disturbs nobody.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work);
    done.await.unwrap_or_else(|error| Err(Error::Relay(format!("a thread panicked: {error}"))))
}
