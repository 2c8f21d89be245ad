-- What happened to each post in each hour, counted: post_engagement_hourly, and of the last day: post_stats_24h.
--
-- To the operator
--   Locks: none; it only creates. Each statement can run twice.
--   The view counts distinct event ids, kept as states that merges unite: a batch that comes again, cut as it may be, adds no id, and
--   needs no deduplication window for that. An id costs about 16 bytes.
--   Read by post_id where you can: the states are sorted by it.

create table if not exists post_engagement_states
(
    post_id UUID,
    hour DateTime('UTC'),
    event_type LowCardinality(String),
    events AggregateFunction(uniqExact, UUID)
)
engine = AggregatingMergeTree
partition by toYYYYMM(hour)
order by (post_id, hour, event_type)
settings non_replicated_deduplication_window = 1000;

create materialized view if not exists post_events_to_engagement to post_engagement_states as
select
    post_id,
    toStartOfHour(event_time) as hour,
    event_type,
    uniqExactState(event_id) as events
from post_events
where event_type in ('post_view', 'post_impression', 'post_like', 'post_unlike', 'post_comment', 'post_share')
group by post_id, hour, event_type;

create or replace view post_engagement_hourly as
select
    hour,
    post_id,
    sumIf(events, event_type = 'post_view') as views,
    sumIf(events, event_type = 'post_impression') as impressions,
    sumIf(events, event_type = 'post_like') as likes,
    sumIf(events, event_type = 'post_unlike') as unlikes,
    sumIf(events, event_type = 'post_comment') as comments,
    sumIf(events, event_type = 'post_share') as shares,
    views * 0.1 + likes * 2 + comments * 3 + shares * 5 as score
from
(
    select hour, post_id, event_type, uniqExactMerge(post_engagement_states.events) as events
    from post_engagement_states
    group by hour, post_id, event_type
)
group by hour, post_id;

-- The hour that is under way and the 23 before it.
create or replace view post_stats_24h as
select
    post_id,
    sumIf(events, event_type = 'post_view') as views,
    sumIf(events, event_type = 'post_impression') as impressions,
    sumIf(events, event_type = 'post_like') as likes,
    sumIf(events, event_type = 'post_unlike') as unlikes,
    sumIf(events, event_type = 'post_comment') as comments,
    sumIf(events, event_type = 'post_share') as shares,
    views * 0.1 + likes * 2 + comments * 3 + shares * 5 as score
from
(
    select post_id, event_type, uniqExactMerge(post_engagement_states.events) as events
    from post_engagement_states
    where hour between toStartOfHour(now('UTC')) - interval 23 hour and toStartOfHour(now('UTC'))
    group by post_id, event_type
)
group by post_id;
