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
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let Some(position) = position else { return String::new() };
    let mut text = String::with_capacity(32);
    for byte in position.to_be_bytes() {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 0xf)].into());
    }
    text
}

/// In a cluster the keys of one family share a slot: by the hash tag in its text, or by its whole text.
fn name(prefix: &str, text: &str) -> String {
    let is_whole = hash_tag(text).is_none();
    let mut name = String::with_capacity(prefix.len() + text.len() + 2);
    name.push_str(prefix);
    if is_whole {
        name.push('{');
    }
    name.push_str(text);
    if is_whole {
        name.push('}');
    }
    name
}

/// What a cluster hashes instead of the whole key: from the first `{` to the first `}` after it, if that is not empty.
///
/// <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>
fn hash_tag(text: &str) -> Option<&str> {
    let rest = text.get(text.bytes().position(|byte| byte == b'{')? + 1..)?;
    let tag = rest.get(..rest.bytes().position(|byte| byte == b'}')?)?;
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
        assert_eq!(position(Some(0x0123_4567_89ab_cdef << 64)), "0123456789abcdef0000000000000000");
    }
}
