//! Serves one page through the cache; on a miss a command of yours reads the database.
//!
//! ```sh
//! REDIS_URL=redis://localhost/ cargo run -p postrider-cache --example read_page -- feed:42 feed:v1:42:0:20 \
//!     psql --tuples-only --no-align --command "select …"
//! ```
//!
//! Prints where the page comes from (`hit`, `filled`, `refused`, `stale`, `bypassed`), then the page.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use postrider_cache::{PageCache, PageOptions, State};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::process::Command;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tag, page, program, rest @ ..] = arguments.as_slice() else {
        return Err("usage: read_page TAG PAGE COMMAND…".into());
    };
    let client = redis::Client::open(std::env::var("REDIS_URL").unwrap_or("redis://127.0.0.1/".to_owned()))?;
    // A cache that does not answer must not hold up the reader: the database is there.
    let patience = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(Duration::from_millis(500)))
        .set_response_timeout(Some(Duration::from_millis(500)))
        .set_number_of_retries(1);
    let connection = ConnectionManager::new_lazy_with_config(client, patience)?;
    let cache = PageCache::new(connection, PageOptions::default());

    let load = || async {
        let output = Command::new(program).args(rest).output().await?;
        if output.status.success() { Ok(output.stdout) } else { Err(std::io::Error::other("the command failed")) }
    };
    let served = cache.read(tag, page, load).await?;

    let state = match served.state {
        State::Hit => "hit",
        State::Filled => "filled",
        State::Refused => "refused",
        State::Stale(_) => "stale",
        State::Bypassed => "bypassed",
    };
    let mut output = std::io::stdout().lock();
    output.write_all(&[state.as_bytes(), b"\n", &served.payload, b"\n"].concat())?;
    Ok(())
}
