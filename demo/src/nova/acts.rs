//! What Nova's users do. Each act writes its rows and their events into the transaction it is given.

use std::collections::HashMap;

use postrider::Event;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Statement, Transaction};
use uuid::Uuid;

use crate::error::{Doing, Result};
use crate::nova::pools::{Kind, Pools};
use crate::random::Random;

/// How many events a large transaction has: from this many to twice as many.
const MANY_EVENTS: u64 = 150;

/// Something a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Register,
    Rename,
    Post,
    EditPost,
    DeletePost,
    Like,
    Comment,
    EditComment,
    DeleteComment,
    Follow,
    RevokeToken,
    /// A new post with hundreds of comments: many keys in one transaction.
    ImportThread,
    /// Hundreds of edits of one post: one key, many times in one transaction.
    RewritePost,
}

/// How often each act is chosen, of a thousand.
const WEIGHTS: [(Act, u64); 13] = [
    (Act::Register, 30),
    (Act::Rename, 80),
    (Act::Post, 130),
    (Act::EditPost, 137),
    (Act::DeletePost, 15),
    (Act::Like, 240),
    (Act::Comment, 170),
    (Act::EditComment, 60),
    (Act::DeleteComment, 25),
    (Act::Follow, 100),
    (Act::RevokeToken, 10),
    (Act::ImportThread, 2),
    (Act::RewritePost, 1),
];

impl Act {
    /// An act as Nova's users choose them.
    pub(super) fn choose(random: &mut Random) -> Self {
        let mut left = random.below(WEIGHTS.iter().map(|(_, weight)| weight).sum());
        for (act, weight) in WEIGHTS {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return act,
            }
        }
        unreachable!("the draw is below the sum of the weights")
    }

    /// About how many events it writes, for the pace.
    pub(super) fn events(self) -> u64 {
        match self {
            Self::ImportThread | Self::RewritePost => MANY_EVENTS * 3 / 2,
            _ => 1,
        }
    }
}

/// What a transaction wrote.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Events written through the library.
    pub(super) ids: Vec<Uuid>,
    /// Events that a trigger wrote; their ids are made in the database.
    pub(super) by_trigger: u64,
    born: Vec<(Kind, Uuid)>,
    died: Vec<(Kind, Uuid)>,
}

impl Written {
    /// How many events.
    pub(super) fn events(&self) -> u64 {
        self.ids.len() as u64 + self.by_trigger
    }

    /// After the commit: others may choose what was made, and no longer what was deleted.
    pub(super) fn publish(&self, pools: &Pools) {
        self.born.iter().for_each(|(kind, id)| pools.add(*kind, *id));
        self.died.iter().for_each(|(kind, id)| pools.remove(*kind, *id));
    }
}

/// Prepared statements of one connection, by their text.
pub(super) type Statements = HashMap<&'static str, Statement>;

/// A transaction in which acts are done.
pub(super) struct Scene<'a, 't> {
    tx: &'a mut Transaction<'t>,
    statements: &'a mut Statements,
    pools: &'a Pools,
    random: &'a mut Random,
    correlation_id: String,
    written: Written,
}

impl<'a, 't> Scene<'a, 't> {
    /// A scene in `tx`, whose events all carry one new correlation id.
    pub(super) fn open(
        tx: &'a mut Transaction<'t>,
        statements: &'a mut Statements,
        pools: &'a Pools,
        random: &'a mut Random,
    ) -> Self {
        let correlation_id = format!("{:016x}", random.bits());
        Self { tx, statements, pools, random, correlation_id, written: Written::default() }
    }

    /// What was written.
    pub(super) fn close(self) -> Written {
        self.written
    }

    /// Does one act. Where there is nothing yet to act upon, something is made instead; where it was deleted meanwhile, nothing is done.
    pub(super) async fn perform(&mut self, act: Act) -> Result<()> {
        let pick = |scene: &mut Self, kind| scene.pools.pick(kind, scene.random);
        let Some(user) = pick(self, Kind::User) else { return self.register().await };
        match act {
            Act::Register => self.register().await,
            Act::Rename => self.rename(user).await,
            Act::RevokeToken => self.revoke_token(user).await,
            Act::Follow => self.follow(user).await,
            Act::Post => self.post(user).await.map(|_| ()),
            Act::ImportThread => self.import_thread(user).await,
            Act::EditComment | Act::DeleteComment => match (pick(self, Kind::Comment), act) {
                (Some(comment), Act::EditComment) => self.edit_comment(comment).await,
                (Some(comment), _) => self.delete(Kind::Comment, comment, user).await,
                (None, _) => self.register().await,
            },
            Act::EditPost | Act::DeletePost | Act::Like | Act::Comment | Act::RewritePost => {
                match (pick(self, Kind::Post), act) {
                    (None, _) => self.post(user).await.map(|_| ()),
                    (Some(post), Act::EditPost) => self.edit_post(post, 1).await,
                    (Some(post), Act::DeletePost) => self.delete(Kind::Post, post, user).await,
                    (Some(post), Act::Like) => self.like(post, user).await,
                    (Some(post), Act::Comment) => self.comment(post, user).await,
                    (Some(post), _) => {
                        let edits = self.many();
                        self.edit_post(post, edits).await
                    }
                }
            }
        }
    }

    /// A new post; its id.
    pub(super) async fn post(&mut self, author: Uuid) -> Result<Uuid> {
        let (id, body) = (Uuid::now_v7(), self.body());
        self.execute("insert into posts (id, author_id, body) values ($1, $2, $3)", &[&id, &author, &body]).await?;
        self.written.born.push((Kind::Post, id));
        let event = self.event(
            "post",
            id,
            "PostCreated",
            &json!({ "n": 1, "post_id": id, "author_id": author, "body": body }),
        )?;
        self.write(&[event]).await?;
        Ok(id)
    }

    /// `edits` edits of one post, an event each.
    pub(super) async fn edit_post(&mut self, post: Uuid, edits: u64) -> Result<()> {
        let body = self.body();
        let sql = "update posts set body = $2, n = n + $3 where id = $1 and deleted_at is null returning n";
        let Some(last) = self.count(sql, &[&post, &body, &(edits as i64)]).await? else { return Ok(()) };
        let first = last - edits as i64 + 1;
        let events: Result<Vec<Event>> = (first..=last)
            .map(|n| {
                self.event(
                    "post",
                    post,
                    "PostEdited",
                    &json!({ "n": n, "post_id": post, "body": body, "weight": 0.1, "views": u64::MAX }),
                )
            })
            .collect();
        self.write(&events?).await
    }

    async fn register(&mut self) -> Result<()> {
        let (id, handle) = (Uuid::now_v7(), self.handle());
        self.execute("insert into users (id, handle) values ($1, $2)", &[&id, &handle]).await?;
        self.written.born.push((Kind::User, id));
        let event = self.event("user", id, "UserRegistered", &json!({ "n": 1, "user_id": id, "handle": handle }))?;
        self.write(&[event]).await
    }

    async fn rename(&mut self, user: Uuid) -> Result<()> {
        let handle = self.handle();
        let sql = "update users set handle = $2, n = n + 1 where id = $1 and deleted_at is null returning n";
        let Some(n) = self.count(sql, &[&user, &handle]).await? else { return Ok(()) };
        let event = self.event("user", user, "UserRenamed", &json!({ "n": n, "user_id": user, "handle": handle }))?;
        self.write(&[event]).await
    }

    async fn revoke_token(&mut self, user: Uuid) -> Result<()> {
        let Some(n) = self.raise_user(user).await? else { return Ok(()) };
        let token = Uuid::now_v7();
        let sql =
            "insert into token_revocation (token_id, user_id, expires_at) values ($1, $2, now() + interval '1 day')";
        self.execute(sql, &[&token, &user]).await?;
        let event =
            self.event("token", user, "TokenRevoked", &json!({ "n": n, "user_id": user, "token_id": token }))?;
        self.write(&[event]).await
    }

    /// Follows somebody, or ends it where it was followed before.
    async fn follow(&mut self, follower: Uuid) -> Result<()> {
        let followee = self.pools.pick(Kind::User, self.random).filter(|followee| *followee != follower);
        let Some(followee) = followee else { return self.rename(follower).await };
        let Some(n) = self.raise_user(follower).await? else { return Ok(()) };
        let sql = "insert into follows (follower_id, followee_id, status) values ($1, $2, 'active')
            on conflict (follower_id, followee_id) do update
            set status = case follows.status when 'active' then 'ended' else 'active' end
            returning case status when 'active' then 1 else 0 end::bigint";
        let active = self.count(sql, &[&follower, &followee]).await? == Some(1);
        let event_type = if active { "FollowStarted" } else { "FollowEnded" };
        let event = self.event(
            "follow",
            follower,
            event_type,
            &json!({ "n": n, "follower_id": follower, "followee_id": followee }),
        )?;
        self.write(&[event]).await
    }

    /// Likes a post, or takes the like back where there is one. To like again is another like, with a moment of its own.
    async fn like(&mut self, post: Uuid, user: Uuid) -> Result<()> {
        let sql = "update posts set n = n + 1 where id = $1 and deleted_at is null returning n";
        let Some(n) = self.count(sql, &[&post]).await? else { return Ok(()) };
        let sql = "insert into likes (post_id, user_id) values ($1, $2)
            on conflict (post_id, user_id) do update
            set deleted_at = case when likes.deleted_at is null then now() end, deleted_by = $2,
                created_at = case when likes.deleted_at is null then likes.created_at else now() end
            returning case when deleted_at is null then 1 else 0 end::bigint";
        let liked = self.count(sql, &[&post, &user]).await? == Some(1);
        let event_type = if liked { "PostLiked" } else { "PostUnliked" };
        let event = self.event("like", post, event_type, &json!({ "n": n, "post_id": post, "user_id": user }))?;
        self.write(&[event]).await
    }

    async fn comment(&mut self, post: Uuid, author: Uuid) -> Result<()> {
        let event = self.insert_comment(post, author).await?;
        self.write(&[event]).await
    }

    async fn edit_comment(&mut self, comment: Uuid) -> Result<()> {
        let body = self.body();
        let sql = "update comments set body = $2, n = n + 1 where id = $1 and deleted_at is null returning n";
        let Some(n) = self.count(sql, &[&comment, &body]).await? else { return Ok(()) };
        let event =
            self.event("comment", comment, "CommentEdited", &json!({ "n": n, "comment_id": comment, "body": body }))?;
        self.write(&[event]).await
    }

    /// A soft delete: the table's trigger writes the event.
    async fn delete(&mut self, kind: Kind, id: Uuid, by: Uuid) -> Result<()> {
        let sql = match kind {
            Kind::Post => {
                "update posts set deleted_at = now(), deleted_by = $2, n = n + 1 where id = $1 and deleted_at is null returning n"
            }
            Kind::Comment => {
                "update comments set deleted_at = now(), deleted_by = $2, n = n + 1 where id = $1 and deleted_at is null returning n"
            }
            Kind::User => unreachable!("Nova's users are never deleted"),
        };
        if self.count(sql, &[&id, &by]).await?.is_some() {
            self.written.by_trigger += 1;
            self.written.died.push((kind, id));
        }
        Ok(())
    }

    async fn import_thread(&mut self, author: Uuid) -> Result<()> {
        let post = self.post(author).await?;
        let mut events = Vec::new();
        for _ in 0..self.many() {
            events.push(self.insert_comment(post, author).await?);
        }
        self.write(&events).await
    }

    async fn insert_comment(&mut self, post: Uuid, author: Uuid) -> Result<Event> {
        let (id, body) = (Uuid::now_v7(), self.body());
        let sql = "insert into comments (id, post_id, author_id, body) values ($1, $2, $3, $4)";
        self.execute(sql, &[&id, &post, &author, &body]).await?;
        self.written.born.push((Kind::Comment, id));
        let payload = json!({ "n": 1, "comment_id": id, "post_id": post, "author_id": author, "body": body });
        self.event("comment", id, "CommentAdded", &payload)
    }

    /// Locks a user's row and raises its counter.
    async fn raise_user(&mut self, user: Uuid) -> Result<Option<i64>> {
        self.count("update users set n = n + 1 where id = $1 and deleted_at is null returning n", &[&user]).await
    }

    fn event(&self, aggregate_type: &str, aggregate_id: Uuid, event_type: &str, payload: &Value) -> Result<Event> {
        Ok(Event::json(aggregate_type, aggregate_id, event_type, payload)
            .correlation_id(&self.correlation_id)
            .build()?)
    }

    async fn write(&mut self, events: &[Event]) -> Result<()> {
        match events {
            [event] => postrider::write(self.tx, event).await?,
            events => postrider::write_all(self.tx, events).await?,
        };
        self.written.ids.extend(events.iter().map(Event::id));
        Ok(())
    }

    async fn execute(&mut self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<()> {
        let statement = self.prepared(sql).await?;
        self.tx.execute(&statement, values).await.doing("writing a row of Nova")?;
        Ok(())
    }

    /// The number that a statement returns; none if it found no row.
    async fn count(&mut self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<Option<i64>> {
        let statement = self.prepared(sql).await?;
        let row = self.tx.query_opt(&statement, values).await.doing("writing a row of Nova")?;
        Ok(row.map(|row| row.get(0)))
    }

    async fn prepared(&mut self, sql: &'static str) -> Result<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.tx.prepare(sql).await.doing("preparing a statement of Nova")?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    fn many(&mut self) -> u64 {
        MANY_EVENTS + self.random.below(MANY_EVENTS)
    }

    fn handle(&mut self) -> String {
        format!("{}_{}", WORDS[self.random.below(WORDS.len() as u64) as usize], self.random.below(100_000))
    }

    /// A text of 4 to 27 words.
    fn body(&mut self) -> String {
        let words = 4 + self.random.below(24);
        let words: Vec<&str> = (0..words).map(|_| WORDS[self.random.below(WORDS.len() as u64) as usize]).collect();
        words.join(" ")
    }
}

/// Words of Nova's posts: among them what a careless encoder breaks.
const WORDS: [&str; 24] = [
    "rider",
    "letter",
    "harbour",
    "night",
    "relay",
    "lantern",
    "river",
    "saddle",
    "morning",
    "seal",
    "road",
    "horn",
    "naïve",
    "Zürich",
    "東京",
    "привет",
    "🐎",
    "\"quoted\"",
    "back\\slash",
    "tab\there",
    "line\nbreak",
    "{curly}",
    "1e400",
    "null",
];
