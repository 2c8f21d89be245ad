//! What the invalidator does to a generation, by its own script.

use redis::Script;
use redis::aio::ConnectionLike;

const INVALIDATE: &str = include_str!("../../../../relay/src/sinks/redis/lua/invalidate.lua");

/// Which pass over an invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// At once, unless something newer was there before.
    First,
    /// Later, whatever was there before.
    Second,
}

/// Invalidates a tag at a position; tells whether its generation moved.
pub(crate) async fn invalidate(connection: &mut impl ConnectionLike, tag: &str, position: u128, pass: Pass) -> bool {
    let script = Script::new(INVALIDATE);
    let mut call = script.prepare_invoke();
    let position = if pass == Pass::First { format!("{position:032x}") } else { String::new() };
    call.key(postrider_cache::generation_key(tag)).arg(position);
    let (advanced, _, _, _): (u64, u64, u64, u64) = call.invoke_async(connection).await.unwrap();
    advanced == 1
}
