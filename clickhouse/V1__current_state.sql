-- What the rows of Nova's tables are now, from the topics cdc.users, cdc.posts, cdc.comments, cdc.likes, cdc.follows and
-- cdc.token_revocation.
--
-- To the operator
--   Locks: none; it only creates. Each statement can run twice. The database must have the engine Atomic, as every new one has.
--   Each change of a row is one row more, until a merge keeps the newest of each key: read the views `…__current`, or with FINAL.
--   `_version` is the position of the change in Postgres' log, so that redelivered and reordered changes are harmless;
--   `_deleted` marks a deleted row. Only the key is known of a deleted row, so that no table is partitioned or sorted by anything else.
--   The deduplication window makes the server drop a batch that the loader repeats: keep it on every table. On replicated engines it is
--   replicated_deduplication_window, with a window of seconds beside it that must exceed the longest outage.

create table if not exists users
(
    id UUID,
    handle String,
    created_at DateTime64(6, 'UTC'),
    deleted_at Nullable(DateTime64(6, 'UTC')),
    deleted_by Nullable(UUID),
    n Int64,
    _version UInt128,
    _deleted UInt8
)
engine = ReplacingMergeTree(_version, _deleted)
order by id
settings non_replicated_deduplication_window = 1000;

create or replace view users__current as
select * except (_version, _deleted)
from users final;

create table if not exists posts
(
    id UUID,
    author_id UUID,
    body String,
    created_at DateTime64(6, 'UTC'),
    deleted_at Nullable(DateTime64(6, 'UTC')),
    deleted_by Nullable(UUID),
    n Int64,
    _version UInt128,
    _deleted UInt8
)
engine = ReplacingMergeTree(_version, _deleted)
order by id
settings non_replicated_deduplication_window = 1000;

create or replace view posts__current as
select * except (_version, _deleted)
from posts final;

create table if not exists comments
(
    id UUID,
    post_id UUID,
    author_id UUID,
    body String,
    created_at DateTime64(6, 'UTC'),
    deleted_at Nullable(DateTime64(6, 'UTC')),
    deleted_by Nullable(UUID),
    n Int64,
    _version UInt128,
    _deleted UInt8
)
engine = ReplacingMergeTree(_version, _deleted)
order by id
settings non_replicated_deduplication_window = 1000;

create or replace view comments__current as
select * except (_version, _deleted)
from comments final;

-- `_committed_at` is when the change was committed: of a row that was deleted outright, nothing else says when. Rows of a snapshot have none.
create table if not exists likes
(
    post_id UUID,
    user_id UUID,
    created_at DateTime64(6, 'UTC'),
    deleted_at Nullable(DateTime64(6, 'UTC')),
    deleted_by Nullable(UUID),
    _committed_at Nullable(DateTime64(6, 'UTC')),
    _version UInt128,
    _deleted UInt8
)
engine = ReplacingMergeTree(_version, _deleted)
order by (post_id, user_id)
settings non_replicated_deduplication_window = 1000;

create or replace view likes__current as
select * except (_committed_at, _version, _deleted)
from likes final;

create table if not exists follows
(
    follower_id UUID,
    followee_id UUID,
    status LowCardinality(String),
    created_at DateTime64(6, 'UTC'),
    _version UInt128,
    _deleted UInt8,
    -- For the followers of one: the key answers whom one follows.
    index followee followee_id type bloom_filter granularity 4
)
engine = ReplacingMergeTree(_version, _deleted)
order by (follower_id, followee_id)
settings non_replicated_deduplication_window = 1000;

create or replace view follows__current as
select * except (_version, _deleted)
from follows final;

create table if not exists token_revocation
(
    token_id UUID,
    user_id UUID,
    revoked_at DateTime64(6, 'UTC'),
    expires_at DateTime64(6, 'UTC'),
    _version UInt128,
    _deleted UInt8
)
engine = ReplacingMergeTree(_version, _deleted)
order by token_id
settings non_replicated_deduplication_window = 1000;

create or replace view token_revocation__current as
select * except (_version, _deleted)
from token_revocation final;
