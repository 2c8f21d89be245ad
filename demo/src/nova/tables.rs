//! Nova's tables as they are captured: what the records of each must fold back to.

use crate::state::kind::Kind;
use crate::state::schema::{Identity, Table};

/// Every table whose changes are captured, and the last one to be written.
pub fn tables() -> Vec<Table> {
    use Kind::{Big, Text, Timestamptz, Uuid};

    let table =
        |name, key: &[(&str, Kind)], columns: &[(&str, Kind)]| Table::new(name, key, columns, Identity::Default);
    let written = ("created_at", Timestamptz);
    let [deleted_at, deleted_by] = [("deleted_at", Timestamptz), ("deleted_by", Uuid)];
    vec![
        table("users", &[("id", Uuid)], &[("handle", Text), written, deleted_at, deleted_by, ("n", Big)]),
        table(
            "posts",
            &[("id", Uuid)],
            &[("author_id", Uuid), ("body", Text), written, deleted_at, deleted_by, ("n", Big)],
        ),
        table(
            "comments",
            &[("id", Uuid)],
            &[("post_id", Uuid), ("author_id", Uuid), ("body", Text), written, deleted_at, deleted_by, ("n", Big)],
        ),
        table("likes", &[("post_id", Uuid), ("user_id", Uuid)], &[written, deleted_at, deleted_by]),
        table("follows", &[("follower_id", Uuid), ("followee_id", Uuid)], &[("status", Text), written]),
        table(
            "token_revocation",
            &[("token_id", Uuid)],
            &[("user_id", Uuid), ("revoked_at", Timestamptz), ("expires_at", Timestamptz)],
        ),
        table("fence", &[("id", Kind::Int)], &[("n", Kind::Int)]),
    ]
}
