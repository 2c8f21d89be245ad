-- What is talked of: the score of every post over the last 60 minutes, computed anew each minute, and its top 50.
--
-- To the operator
--   Locks: none; it only creates. Each statement can run twice.
--   The server itself refreshes post_engagement_1h, from the events of the last hour alone: one event costs about half a microsecond.
--   A refresh replaces the whole table at once; system.view_refreshes says when the last one was and how it ended. A refresh that
--   fails leaves the previous table. `system refresh view post_engagement_1h_refresh` asks for one now.

-- The moment is one for the whole question, so that as_of says exactly which hour was counted.
create or replace view post_engagement_live as
with (select now64(6, 'UTC')) as moment
select
    post_id,
    sumIf(events, event_type = 'post_view') as views,
    sumIf(events, event_type = 'post_impression') as impressions,
    sumIf(events, event_type = 'post_like') as likes,
    sumIf(events, event_type = 'post_unlike') as unlikes,
    sumIf(events, event_type = 'post_comment') as comments,
    sumIf(events, event_type = 'post_share') as shares,
    views * 0.1 + likes * 2 + comments * 3 + shares * 5 as score,
    moment as as_of
from
(
    select post_id, event_type, uniqExact(event_id) as events
    from post_events
    where event_time > moment - interval 1 hour and event_time <= moment
    group by post_id, event_type
)
group by post_id;

create table if not exists post_engagement_1h
(
    post_id UUID,
    views UInt64,
    impressions UInt64,
    likes UInt64,
    unlikes UInt64,
    comments UInt64,
    shares UInt64,
    score Float64,
    as_of DateTime64(6, 'UTC')
)
engine = MergeTree
order by post_id
settings non_replicated_deduplication_window = 1000;

create materialized view if not exists post_engagement_1h_refresh
refresh every 1 minute
to post_engagement_1h as
select post_id, views, impressions, likes, unlikes, comments, shares, score, as_of
from post_engagement_live;

create or replace view trending_1h as
select row_number() over (order by score desc, post_id) as rank, *
from
(
    select *
    from post_engagement_1h
    where score > 0
    order by score desc, post_id
    limit 50
)
order by rank;

-- The same, counted while you wait.
create or replace view trending_live as
select row_number() over (order by score desc, post_id) as rank, *
from
(
    select *
    from post_engagement_live
    where score > 0
    order by score desc, post_id
    limit 50
)
order by rank;
