-- Everything that happened to a post, once: views, impressions and shares from the topic events, likes, unlikes and comments from the
-- tables likes and comments.
--
-- To the operator
--   Locks: none; it only creates. Each statement can run twice.
--   An event is one by its event_id, wherever it came from and however often: rows of the same id are the same row, and merges keep one.
--   Count with post_events__current, or uniqExact(event_id); count() of the bare table may count what was redelivered.
--   Rows that are in likes and comments before the views exist do not pass through them: create all of this before the loader starts,
--   or read those tables again (`postrider snapshot start`), which adds what is missing and nothing twice.

-- What the client says of itself is recorded with its action; what is counted has a type of its own: a client's like or comment is no
-- like or comment, which only the database knows.
create table if not exists post_events
(
    -- Records without a time are of when the broker got them, those without an id are one if nothing tells them apart: both are the
    -- same however often the record comes.
    event_time DateTime64(6, 'UTC') default received_at,
    event_id UUID default reinterpretAsUUID(sipHash128Reference(concat(
        toString(post_id), '/', toString(user_id), '/', action, '/', toString(toUnixTimestamp64Micro(event_time)), '/', ifNull(device_id, '')
    ))),
    user_id UUID,
    post_id UUID,
    author_id Nullable(UUID),
    action LowCardinality(String),
    event_type LowCardinality(String) default multiIf(
        action = 'view', 'post_view',
        action = 'impression', 'post_impression',
        action = 'share', 'post_share',
        concat('client_', action)
    ),
    dwell_ms Nullable(UInt32),
    device LowCardinality(Nullable(String)),
    app_ver LowCardinality(Nullable(String)),
    device_id Nullable(String),
    received_at DateTime64(3, 'UTC')
)
engine = ReplacingMergeTree
partition by toYYYYMM(event_time)
order by (toStartOfHour(event_time), event_type, post_id, event_id)
settings non_replicated_deduplication_window = 1000;

create or replace view post_events__current as
select *
from post_events final;

-- Each version of a row tells its like, and its unlike if it has one; the id is made of what the row says, so that every version, also
-- one that a snapshot reads again, tells the same. A like again is another one if the row says another created_at.
create materialized view if not exists likes_to_post_events to post_events as
select
    happened.2 as event_time,
    reinterpretAsUUID(sipHash128Reference(concat(
        happened.1, '/', toString(post_id), '/', toString(user_id), '/', toString(toUnixTimestamp64Micro(happened.2))
    ))) as event_id,
    user_id,
    post_id,
    replaceOne(happened.1, 'post_', '') as action,
    happened.1 as event_type,
    happened.2 as received_at
from likes
array join arrayConcat(
    if(_deleted, [], [('post_like', created_at)]),
    multiIf(
        deleted_at is not null, [('post_unlike', assumeNotNull(deleted_at))],
        _deleted and _committed_at is not null, [('post_unlike', assumeNotNull(_committed_at))],
        []
    )
) as happened;

-- A comment is counted when it is written; that it was edited or deleted later makes no other of it.
create materialized view if not exists comments_to_post_events to post_events as
select
    created_at as event_time,
    reinterpretAsUUID(sipHash128Reference(concat('post_comment/', toString(id)))) as event_id,
    author_id as user_id,
    post_id,
    'comment' as action,
    'post_comment' as event_type,
    created_at as received_at
from comments
where not _deleted;
