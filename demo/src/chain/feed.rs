//! A page of a feed: what Nova's service would cache, as Postgres has it at this moment.

use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use crate::error::{Doing, Result};

/// Posts of a page.
pub(super) const LIMIT: i64 = 20;

/// The posts of those whom a user follows and the user's own, newest first, each with its counter and how many comments it has. The text is
/// Postgres' own, so that two pages of the same content are the same bytes.
const PAGE: &str = "
select coalesce(jsonb_agg(jsonb_build_array(id, author_id, n, body, comments) order by created_at desc, id), '[]')::text
from (
    select p.id, p.author_id, p.n, p.body, p.created_at,
        (select count(*) from comments c where c.post_id = p.id and c.deleted_at is null) as comments
    from posts p
    where p.deleted_at is null
        and p.author_id in (
            select f.followee_id from follows f where f.follower_id = $1 and f.status = 'active'
            union all
            select $1
        )
    order by p.created_at desc, p.id
    limit $3 offset $2
) page";

/// Which page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Whose feed.
    pub(super) user: Uuid,
    /// How many posts are before it.
    pub(super) offset: i64,
}

impl Place {
    /// Its key in Redis.
    pub(super) fn key(&self) -> String {
        format!("{}:{}:{LIMIT}", self.family(), self.offset)
    }

    /// What all pages of this feed are invalidated by.
    pub(super) fn family(&self) -> String {
        format!("feed:v1:{}", self.user)
    }

    /// The page of a key; none if the key is not one of a page.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix("feed:v1:")?.split(':');
        let (user, offset, limit) = (parts.next()?, parts.next()?, parts.next()?);
        let place = Self { user: Uuid::parse_str(user).ok()?, offset: offset.parse().ok()? };
        (limit.parse() == Ok(LIMIT) && parts.next().is_none()).then_some(place)
    }
}

/// A connection that reads pages.
pub(super) struct Feeds {
    client: Client,
    page: Statement,
}

impl Feeds {
    pub(super) async fn new(client: Client) -> Result<Self> {
        let page = client.prepare(PAGE).await.doing("preparing the query of a feed's page")?;
        Ok(Self { client, page })
    }

    /// The page as it is now.
    pub(super) async fn page(&self, place: Place) -> Result<String> {
        let row = self.client.query_one(&self.page, &[&place.user, &place.offset, &LIMIT]).await;
        Ok(row.doing("reading a page of a feed")?.get(0))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::chain::feed::Place;

    #[test]
    fn a_key_names_its_page() {
        let place = Place { user: Uuid::from_u128(7), offset: 40 };
        assert_eq!(place.key(), "feed:v1:00000000-0000-0000-0000-000000000007:40:20");
        assert_eq!(Place::of_key(&place.key()), Some(place));
        for other in
            ["feed:seen:00000000-0000-0000-0000-000000000007", "feed:v1:x:0:20", "feed:v1:7", "postrider:gen:f"]
        {
            assert_eq!(Place::of_key(other), None);
        }
    }
}
