-- Nova's own tables. They belong to the service, not to Postrider: the outbox beside them comes from `postrider migrate`, which runs first.
-- Each aggregate's row carries `n`, which every event of that aggregate raises by one under the row's lock: so the order of commits per key is known.

create table users (
    id uuid primary key,
    handle text not null,
    created_at timestamptz not null default now(),
    deleted_at timestamptz,
    deleted_by uuid,
    n bigint not null default 1
);

create table posts (
    id uuid primary key,
    author_id uuid not null references users (id),
    body text not null,
    created_at timestamptz not null default now(),
    deleted_at timestamptz,
    deleted_by uuid,
    n bigint not null default 1
);

create table comments (
    id uuid primary key,
    post_id uuid not null references posts (id),
    author_id uuid not null references users (id),
    body text not null,
    created_at timestamptz not null default now(),
    deleted_at timestamptz,
    deleted_by uuid,
    n bigint not null default 1
);

create table likes (
    post_id uuid not null references posts (id),
    user_id uuid not null references users (id),
    created_at timestamptz not null default now(),
    deleted_at timestamptz,
    deleted_by uuid,
    primary key (post_id, user_id)
);

create table follows (
    follower_id uuid not null references users (id),
    followee_id uuid not null references users (id),
    status text not null check (status in ('active', 'ended')),
    created_at timestamptz not null default now(),
    primary key (follower_id, followee_id)
);

create table token_revocation (
    token_id uuid primary key,
    user_id uuid not null references users (id),
    revoked_at timestamptz not null default now(),
    expires_at timestamptz not null
);

-- What a feed is read by, and whose feeds a post is in.
create index posts_by_author on posts (author_id, created_at desc);
create index comments_by_post on comments (post_id);
create index follows_by_followee on follows (followee_id);

create view active_users as
    select * from users where deleted_at is null;

create view active_posts as
    select * from posts where deleted_at is null;

create view active_comments as
    select * from comments where deleted_at is null;

create view active_likes as
    select * from likes where deleted_at is null;

create view active_follows as
    select * from follows where status = 'active';

-- A soft delete becomes an event in the transaction that deletes; the row travels in it, for its counter.
create trigger posts_soft_delete
    after update of deleted_at on posts
    for each row
    when (old.deleted_at is null and new.deleted_at is not null)
    execute function postrider.emit_soft_delete('post', 'PostDeleted', 'id', 'deleted_at', 'row');

create trigger comments_soft_delete
    after update of deleted_at on comments
    for each row
    when (old.deleted_at is null and new.deleted_at is not null)
    execute function postrider.emit_soft_delete('comment', 'CommentDeleted', 'id', 'deleted_at', 'row');
