-- Who follows whom now.
--
-- To the operator
--   Locks: none; views only. Ask by follower_id: the rows are sorted by it.

create or replace view user_relationships as
select follower_id, followee_id, created_at as since
from follows final
where status = 'active';

create or replace view user_relationships_agg as
select follower_id, arraySort(groupArray(followee_id)) as followees, count() as followee_count
from follows final
where status = 'active'
group by follower_id;
