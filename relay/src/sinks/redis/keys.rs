//! The names of the keys that are ours. Readers know them too: `docs/invalidation.md` is the contract.

/// The generation of a family.
#[must_use]
pub fn generation(tag: &str) -> String {
    name("postrider:gen:", tag)
}

/// The set of a family's keys.
#[must_use]
pub fn tag_set(tag: &str) -> String {
    name("postrider:tag:", tag)
}

/// A set that is kept from the stream.
#[must_use]
pub fn kept(rule: &str, set: &str) -> String {
    name(&format!("postrider:kept:{rule}:"), set)
}

/// A part of what a sorted set of points is made of.
#[must_use]
pub fn score(key: &str, part: &str) -> String {
    format!("{}:{part}", name("postrider:score:", key))
}

/// A position as scripts compare it.
#[must_use]
pub fn position(position: Option<u128>) -> String {
    position.map(|position| format!("{position:032x}")).unwrap_or_default()
}

/// In a cluster the keys of one family share a slot: by the hash tag in its text, or by its whole text.
fn name(prefix: &str, text: &str) -> String {
    match hash_tag(text) {
        Some(_) => format!("{prefix}{text}"),
        None => format!("{prefix}{{{text}}}"),
    }
}

/// What a cluster hashes instead of the whole key: from the first `{` to the first `}` after it, if that is not empty.
///
/// <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>
fn hash_tag(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_family_share_a_slot() {
        for (tag, key) in [
            ("feed:42", "postrider:gen:{feed:42}"),
            ("feed:{42}", "postrider:gen:feed:{42}"),
            ("feed:{}", "postrider:gen:{feed:{}}"),
            ("a{b", "postrider:gen:{a{b}"),
        ] {
            assert_eq!(generation(tag), key);
            assert_eq!(hash_tag(&generation(tag)), hash_tag(&tag_set(tag)), "{tag}");
            assert_eq!(hash_tag(&generation(tag)), hash_tag(&kept("followers", tag)), "{tag}");
        }
    }

    #[test]
    fn positions_have_one_length_and_compare_as_they_count() {
        assert_eq!(position(Some(0x1f)), "0000000000000000000000000000001f");
        assert_eq!(position(None), "");
        assert!(position(Some(u128::MAX)) > position(Some(u128::MAX - 1)));
        assert!(position(Some(10)) > position(Some(9)));
    }
}
