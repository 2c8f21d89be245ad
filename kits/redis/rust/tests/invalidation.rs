//! What the invalidator does to a generation.

use redis::Script;
use redis::aio::ConnectionLike;

/// Advances the generation that is there.
const ADVANCE: &str = r"
local old = redis.call('GET', KEYS[1])
if not old then return 0 end
local gated = ARGV[2] == '1'
local position = string.sub(old, 1, 32)
if gated and ARGV[1] <= position then return 0 end
if ARGV[1] > position then position = ARGV[1] end
local t = redis.call('TIME')
local stamp = string.format('%08x%05x', t[1], t[2])
local last = string.sub(old, 33, 45)
if stamp <= last then stamp = string.format('%013x', tonumber(last, 16) + 1) end
redis.call('SET', KEYS[1], position .. stamp .. '0', 'KEEPTTL')
return 1
";

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
    let script = Script::new(ADVANCE);
    let mut call = script.prepare_invoke();
    call.key(postrider_cache::generation_key(tag)).arg(format!("{position:032x}")).arg(u8::from(pass == Pass::First));
    call.invoke_async(connection).await.unwrap()
}
