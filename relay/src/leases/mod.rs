//! Leases: who of several relays does what, agreed upon in the table `postrider.leases`.
//!
//! Guarantees: a name has at most one holder at a time, by the clock of the server alone; each claim has a larger token than
//! every claim of the name before it. So whoever writes `where exists (select from postrider.leases where name = … and token = …)`
//! into a statement writes nothing once somebody else has the lease.
//!
//! Every function is one statement without a name, so that it works through a pooler in transaction mode too. A lease is only
//! worth what its holder makes of it: it must end its work by itself when it could not renew in time, counted from *before* it
//! asked ([`Lease::asked_at`]).

mod error;
mod evidence;
mod hold;
mod keeper;
mod standby;

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use crate::leases::error::failed;
use crate::pipeline::{End, Error, Kind};

pub use hold::Hold;
pub use standby::{Standby, StandbyOptions};

/// How long a statement may take before the server counts as away: each waits for nothing but another one of its kind.
const STATEMENT_MAX: Duration = Duration::from_secs(5);

/// `$5` is the token of a holder that is known to be gone. The token is made of the clock, because the table may have been
/// emptied; and of its predecessor, because the clock may go back.
const CLAIM: &str = "
insert into postrider.leases as l (name, holder, token, claimed_at, expires_at, detail)
values (
  $1, $2, (extract(epoch from clock_timestamp()) * 1000000)::bigint, clock_timestamp(),
  clock_timestamp() + $3 * interval '1 second', $4
)
on conflict (name) do update
set
  holder = excluded.holder, token = greatest(l.token + 1, excluded.token), claimed_at = clock_timestamp(),
  expires_at = clock_timestamp() + $3 * interval '1 second', detail = excluded.detail
where l.holder is null or l.holder = excluded.holder or l.expires_at <= clock_timestamp() or l.token = $5
returning l.token";

const RENEW: &str = "
update postrider.leases
set expires_at = clock_timestamp() + $4 * interval '1 second', detail = coalesce($5, detail)
where name = $1 and holder = $2 and token = $3
returning true";

const RELEASE: &str = "
update postrider.leases
set holder = null, expires_at = clock_timestamp()
where name = $1 and holder = $2 and token = $3
returning true";

const RELEASE_ANY: &str = "
update postrider.leases
set holder = null, expires_at = clock_timestamp()
where name = $1 and holder = $2
returning true";

const HOLDER: &str = "
select holder, token, extract(epoch from expires_at - clock_timestamp())::float8 as left, detail
from postrider.leases
where name = $1 and holder is not null";

/// Any of those that are not over.
const HOLDER_AMONG: &str = "
select holder, token, extract(epoch from expires_at - clock_timestamp())::float8 as left, detail
from postrider.leases
where starts_with(name, $1) and holder is not null and expires_at > clock_timestamp()
order by name
limit 1";

/// A lease that was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Of what, such as `slot/orders`.
    pub name: String,
    /// By whom.
    pub holder: Uuid,
    /// Larger than that of every claim of this name before.
    pub token: i64,
    /// When it was asked for, by this process' clock: the lease lasts at least until its time after this.
    pub asked_at: Instant,
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// By whom.
    pub holder: Uuid,
    /// Of that claim.
    pub token: i64,
    /// How long it lasts still; zero if it ran out and nobody claimed it since.
    pub left: Duration,
    /// What the holder says of itself.
    pub detail: Value,
}

/// Claims `name` for `ttl`; `None` if somebody else holds it. Whoever holds it already claims it anew, with another token.
///
/// # Errors
/// `Setup` if there is no table of leases that may be used; `Unavailable` if the server does not answer.
pub async fn claim(
    client: &Client,
    holder: Uuid,
    name: &str,
    ttl: Duration,
    detail: &Value,
) -> Result<Option<Lease>, Error> {
    take(client, holder, name, ttl, detail, None).await
}

/// The same, also from the holder of `token`, which is known to be gone although its time is not over.
///
/// # Errors
/// As [`claim`].
pub async fn claim_from(
    client: &Client,
    holder: Uuid,
    name: &str,
    ttl: Duration,
    detail: &Value,
    token: i64,
) -> Result<Option<Lease>, Error> {
    take(client, holder, name, ttl, detail, Some(token)).await
}

async fn take(
    client: &Client,
    holder: Uuid,
    name: &str,
    ttl: Duration,
    detail: &Value,
    gone: Option<i64>,
) -> Result<Option<Lease>, Error> {
    let (asked_at, seconds) = (Instant::now(), ttl.as_secs_f64());
    let parameters: [Parameter<'_>; 5] = [
        (&name, Type::TEXT),
        (&holder, Type::UUID),
        (&seconds, Type::FLOAT8),
        (&detail, Type::JSONB),
        (&gone, Type::INT8),
    ];
    let claimed = query(client, "claim", name, CLAIM, &parameters).await?;
    let token = claimed.first().map(|row| read(row, 0)).transpose()?;
    Ok(token.map(|token| Lease { name: name.to_owned(), holder, token, asked_at }))
}

/// Renews a lease for `ttl` from now on, also one that ran out while nobody claimed it; `None` if it is lost. With a `detail`,
/// that is what the holder says of itself from now on.
///
/// # Errors
/// As [`claim`].
pub async fn renew(
    client: &Client,
    lease: &Lease,
    ttl: Duration,
    detail: Option<&Value>,
) -> Result<Option<Lease>, Error> {
    let (asked_at, seconds) = (Instant::now(), ttl.as_secs_f64());
    let parameters: [Parameter<'_>; 5] = [
        (&lease.name, Type::TEXT),
        (&lease.holder, Type::UUID),
        (&lease.token, Type::INT8),
        (&seconds, Type::FLOAT8),
        (&detail, Type::JSONB),
    ];
    let renewed = query(client, "renew", &lease.name, RENEW, &parameters).await?;
    Ok((!renewed.is_empty()).then(|| Lease { asked_at, ..lease.clone() }))
}

/// Gives a lease back, so that the next may claim it at once; false if it was lost before.
///
/// # Errors
/// As [`claim`].
pub async fn release(client: &Client, lease: &Lease) -> Result<bool, Error> {
    let parameters: [Parameter<'_>; 3] =
        [(&lease.name, Type::TEXT), (&lease.holder, Type::UUID), (&lease.token, Type::INT8)];
    Ok(!query(client, "release", &lease.name, RELEASE, &parameters).await?.is_empty())
}

/// The same of whatever claim of this holder, for one that does not know whether its last claim was answered.
async fn release_any(client: &Client, holder: Uuid, name: &str) -> Result<bool, Error> {
    let parameters: [Parameter<'_>; 2] = [(&name, Type::TEXT), (&holder, Type::UUID)];
    Ok(!query(client, "release", name, RELEASE_ANY, &parameters).await?.is_empty())
}

/// Who holds `name`, or held it last and did not give it back.
///
/// # Errors
/// As [`claim`].
pub async fn holder(client: &Client, name: &str) -> Result<Option<Held>, Error> {
    held(&query(client, "look at", name, HOLDER, &[(&name, Type::TEXT)]).await?)
}

/// Any holder of a lease whose name begins like this and that is not over.
///
/// # Errors
/// As [`claim`].
pub async fn holder_among(client: &Client, prefix: &str) -> Result<Option<Held>, Error> {
    held(&query(client, "look at", prefix, HOLDER_AMONG, &[(&prefix, Type::TEXT)]).await?)
}

fn held(rows: &[Row]) -> Result<Option<Held>, Error> {
    let Some(row) = rows.first() else { return Ok(None) };
    let left = Duration::try_from_secs_f64(read::<f64>(row, 2)?).unwrap_or_default();
    Ok(Some(Held { holder: read(row, 0)?, token: read(row, 1)?, left, detail: read(row, 3)? }))
}

/// A value of a statement, with its type, so that the server need not be asked for it.
type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

async fn query(
    client: &Client,
    verb: &str,
    name: &str,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, Error> {
    let context = || format!("cannot {verb} lease {name:?}");
    match timeout(STATEMENT_MAX, client.query_typed(sql, parameters)).await {
        Ok(outcome) => outcome.map_err(|error| failed(context(), error)),
        Err(_) => {
            let context = format!("{}: no answer within {} s", context(), STATEMENT_MAX.as_secs());
            Err(Error::new(End::Source, Kind::Unavailable, context))
        }
    }
}

fn read<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, Error> {
    row.try_get(column).map_err(|error| {
        Error::new(End::Source, Kind::Setup, "the table postrider.leases is not as this version needs it")
            .because(error)
            .with_help("Run `postrider migrate`.")
    })
}
