//! Rules over records, as tables; and that no record names what its rule did not mean.

use std::time::Duration;

use proptest::prelude::*;

use super::effects::{Kept, Tally};
use super::glob::{Glob, common_prefix};
use super::options::Does;
use super::*;
use crate::shape::record::Row;

fn rule(does: Does, targets: &[&str]) -> RuleOptions {
    RuleOptions {
        name: "r".to_owned(),
        topic: "t".to_owned(),
        when: Vec::new(),
        does,
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        query: None,
        parameters: Vec::new(),
        kept: None,
        key: None,
        member: None,
        present: Vec::new(),
        weight: 1.0,
        window: Duration::from_secs(3600),
        bucket: Duration::from_secs(60),
        top: 50,
        ttl: Duration::from_secs(60),
        members_max: 10,
    }
}

fn when(conditions: &[&str]) -> RuleOptions {
    let when = conditions.iter().map(|condition| (*condition).to_owned()).collect();
    RuleOptions { when, ..rule(Does::Keys, &["k:{id}"]) }
}

fn wrong(rule: RuleOptions) -> String {
    let wrong = Rules::compile(&[rule], false).expect_err("it cannot be applied");
    wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What one rule makes of a change; an empty image is none, an empty operation an event.
fn apply(rule: RuleOptions, op: &str, before: &str, after: &str) -> Result<Effects, String> {
    apply_all(&[rule], op, before, after)
}

fn apply_all(rules: &[RuleOptions], op: &str, before: &str, after: &str) -> Result<Effects, String> {
    let rules = Rules::compile(rules, false).expect("rules that can be applied");
    let row = |text: &'static str| (!text.is_empty()).then(|| Row::parse(text.as_bytes()).expect("a row"));
    // The rows borrow their texts for as long as the process runs: these are tests.
    let (before, after) = (row(before.to_owned().leak()), row(after.to_owned().leak()));
    let facts = Facts {
        op: op.chars().next(),
        before: before.as_ref().map(|row| row as &dyn field::Fields),
        after: after.as_ref().map(|row| row as &dyn field::Fields),
    };
    let mut effects = Effects::default();
    rules.apply("t", Seen { facts, position: Some(7), message: 0, offset: 0, time_ms: 0 }, &mut effects)?;
    Ok(effects)
}

fn names(effects: &Effects) -> Vec<&str> {
    effects.forgets.iter().map(|forget| &*forget.name).collect()
}

#[test]
fn each_condition_is_met_by_what_it_says() {
    for (condition, op, before, after, met) in [
        ("op in c,u,d", "c", "", r#"{"id":1}"#, true),
        ("op in c, d", "u", "", r#"{"id":1}"#, false),
        ("op = r", "r", "", r#"{"id":1}"#, true),
        ("changed(title)", "u", r#"{"id":1,"title":"a"}"#, r#"{"id":1,"title":"b"}"#, true),
        ("changed(title)", "u", r#"{"id":1,"title":"a"}"#, r#"{"id":1,"title":"a"}"#, false),
        ("changed(title)", "u", r#"{"id":1,"title":null}"#, r#"{"id":1,"title":null}"#, false),
        ("changed(title)", "u", r#"{"id":1,"title":null}"#, r#"{"id":1,"title":"a"}"#, true),
        ("changed(title)", "u", "", r#"{"id":1,"title":"a"}"#, true),
        ("changed(title)", "u", r#"{"id":1,"title":"a"}"#, r#"{"id":1,"title":"__debezium_unavailable_value"}"#, false),
        ("status = active", "u", "", r#"{"id":1,"status":"active"}"#, true),
        ("status = 'on hold'", "u", "", r#"{"id":1,"status":"on hold"}"#, true),
        ("status != active", "u", "", r#"{"id":1,"status":"active"}"#, false),
        ("status != active", "u", "", r#"{"id":1,"status":null}"#, true),
        ("status=active", "u", "", r#"{"id":1,"status":null}"#, false),
        ("count = 3", "u", "", r#"{"id":1,"count":3}"#, true),
        ("done = true", "u", "", r#"{"id":1,"done":true}"#, true),
        ("before.status = a", "u", r#"{"id":1,"status":"a"}"#, r#"{"id":1,"status":"b"}"#, true),
        ("after.status = a", "u", r#"{"id":1,"status":"a"}"#, r#"{"id":1,"status":"b"}"#, false),
        ("status = a", "d", r#"{"id":1,"status":"a"}"#, "", true),
        ("deleted_at is null", "u", "", r#"{"id":1,"deleted_at":null}"#, true),
        ("deleted_at is not null", "u", "", r#"{"id":1,"deleted_at":5}"#, true),
        ("before.deleted_at is null", "c", "", r#"{"id":1,"deleted_at":5}"#, true),
    ] {
        let effects = apply(when(&[condition]), op, before, after).expect(condition);
        assert_eq!(!effects.is_empty(), met, "{condition} of {op} {before} {after}");
    }
}

#[test]
fn all_conditions_must_hold_and_a_row_that_was_only_read_is_no_change() {
    let both = when(&["op in u", "status = a"]);
    assert!(apply(both.clone(), "c", "", r#"{"id":1,"status":"a"}"#).expect("applied").is_empty());
    assert!(!apply(both, "u", "", r#"{"id":1,"status":"a"}"#).expect("applied").is_empty());
    assert!(apply(when(&[]), "r", "", r#"{"id":1}"#).expect("applied").is_empty());
    assert!(!apply(when(&["op in r"]), "r", "", r#"{"id":1}"#).expect("applied").is_empty());
}

#[test]
fn an_event_may_lack_a_field_and_a_change_may_not() {
    assert!(!apply(when(&["device is null"]), "", "", r#"{"id":1}"#).expect("an event").is_empty());
    let why = apply(when(&["device is null"]), "u", "", r#"{"id":1,"name":2}"#).expect_err("a change");
    assert_eq!(why, "the rule `r` cannot be applied: the record has no field `device`; it has id, name");
    assert!(apply(when(&["op in c"]), "", "", r#"{"id":1}"#).expect("an event has no operation").is_empty());
}

#[test]
fn templates_take_fields_of_the_image_that_they_name() {
    let row = |id| format!(r#"{{"id":{id},"a":"x","b":true,"n":-1.5e3}}"#);
    for (target, op, before, after, made) in [
        ("k:{id}", "u", row(1), row(2), vec!["k:2"]),
        ("k:{after.id}", "u", row(1), row(2), vec!["k:2"]),
        ("k:{before.id}", "u", row(1), row(2), vec!["k:1"]),
        ("k:{id}", "d", row(1), String::new(), vec!["k:1"]),
        ("k:{after.id}", "d", row(1), String::new(), vec![]),
        ("k:{before.id}", "c", String::new(), row(2), vec![]),
        ("k:{a}:{b}:{n}", "c", String::new(), row(2), vec!["k:x:true:-1.5e3"]),
        ("k:{{{id}}}:{a}", "c", String::new(), row(2), vec!["k:{2}:x"]),
        ("k:{{}}", "c", String::new(), row(2), vec!["k:{}"]),
        ("fixed", "c", String::new(), row(2), vec!["fixed"]),
        ("all", "t", String::new(), String::new(), vec!["all"]),
        ("k:{id}", "t", String::new(), String::new(), vec![]),
    ] {
        let effects = apply(rule(Does::Keys, &[target]), op, &before, &after).expect(target);
        assert_eq!(names(&effects), made, "{target} of {op}");
        assert!(effects.forgets.iter().all(|forget| forget.position == Some(7)));
    }
}

#[test]
fn what_a_record_cannot_give_is_told_without_a_value_and_leaves_nothing() {
    for (after, says) in [
        (r#"{"id":null,"x":1}"#, "`id` is null"),
        (r#"{"x":"secret"}"#, "has no field `id`; it has x"),
        (r#"{"id":""}"#, "`id` is empty"),
        (r#"{"id":[1]}"#, "`id` is an object or an array"),
        (r#"{"id":"__debezium_unavailable_value"}"#, "REPLICA IDENTITY FULL"),
    ] {
        let why = apply_all(&[rule(Does::Keys, &["fixed"]), rule(Does::Keys, &["k:{id}"])], "u", "", after)
            .expect_err("it is refused");
        assert!(why.contains(says) && !why.contains("secret"), "{why}");
    }
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(template::TEXT_BYTES_MAX));
    assert!(apply(rule(Does::Keys, &["k:{id}"]), "u", "", &long).expect_err("too long").contains("bytes"));
}

#[test]
fn what_is_unavailable_after_is_taken_from_before() {
    let after = r#"{"id":"__debezium_unavailable_value"}"#;
    let effects = apply(rule(Does::Keys, &["k:{id}"]), "u", r#"{"id":"old"}"#, after).expect("applied");
    assert_eq!(names(&effects), ["k:old"]);
}

#[test]
fn mistakes_are_told_at_the_start_with_their_key() {
    let with = |does, targets: &[&str]| rule(does, targets);
    for (rule, says) in [
        (with(Does::Keys, &["*"]), "targets` has the template \"*\", which must begin with text of its own"),
        (with(Does::Keys, &["feed:*"]), "which only `strategy = \"pattern\"` takes"),
        (with(Does::Pattern, &["*"]), "must begin with text of its own"),
        (with(Does::Pattern, &["*:{id}"]), "must begin with text of its own"),
        (with(Does::Pattern, &["{id}*"]), "must begin with text of its own"),
        (with(Does::Pattern, &["feed:{id}"]), "holds no `*`"),
        (with(Does::Keys, &["{id}"]), "must begin with text of its own"),
        (with(Does::Keys, &[""]), "which is empty"),
        (with(Does::Keys, &[]), "names nothing to invalidate"),
        (with(Does::Keys, &["k:{id"]), "a brace itself is written twice"),
        (with(Does::Keys, &["k:id}"]), "a brace itself is written twice"),
        (with(Does::Keys, &["k:{}"]), "the placeholder `{}`"),
        (with(Does::Keys, &["k:{a b}"]), "the placeholder `{a b}`"),
        (when(&["op in x"]), "`op in x` is no condition"),
        (when(&["status"]), "when` holds what cannot be read"),
        (when(&["changed()"]), "is no condition"),
        (with(Does::Keep, &[]), "key` is required"),
        (RuleOptions { query: Some("select $1, $2".into()), ..with(Does::Keys, &["k:{member}"]) }, "the query uses 2"),
        (RuleOptions { query: Some("select 'a'".into()), ..with(Does::Keys, &["k:{id}"]) }, "uses no `{member}`"),
        (RuleOptions { kept: Some("x".into()), ..with(Does::Keys, &["k:{member}"]) }, "names `x`"),
        (
            RuleOptions { kept: Some("x".into()), query: Some("q".into()), ..with(Does::Keys, &["k:{member}"]) },
            "two sources of members",
        ),
    ] {
        let told = wrong(rule);
        assert!(told.contains("`invalidate.rules.r.") && told.contains(says), "{says}: {told}");
    }
}

#[test]
fn a_fan_out_waits_for_its_members() {
    let fan = RuleOptions {
        query: Some("select 1 where $1 = $2".to_owned()),
        parameters: vec!["author_id".to_owned(), "before.id".to_owned()],
        ..rule(Does::Generation, &["feed:{member}:{id}", "own:{author_id}"])
    };
    let effects = apply(fan.clone(), "u", r#"{"id":1,"author_id":5}"#, r#"{"id":2,"author_id":6}"#).expect("applied");
    assert_eq!(names(&effects), ["own:6"]);
    let [waiting] = &effects.fans[..] else { panic!("one fan-out: {:?}", effects.fans) };
    assert_eq!(waiting.of, ["6", "1"]);
    assert_eq!(waiting.names[0].with("m").as_deref(), Ok("feed:m:2"));
    assert!(waiting.names[0].with("").is_err());
    assert!(apply(fan.clone(), "c", "", r#"{"id":2,"author_id":6}"#).expect("no image, no parameter").is_empty());
    let why =
        apply(fan, "u", r#"{"id":1,"author_id":5}"#, r#"{"id":2,"author_id":"a\u0000b"}"#).expect_err("a null byte");
    assert!(why.contains("null byte"), "{why}");
}

#[test]
fn a_kept_set_follows_the_row_out_of_the_set_that_it_leaves() {
    let keep = RuleOptions {
        key: Some("{to}".to_owned()),
        member: Some("{from}".to_owned()),
        present: vec!["status = active".to_owned()],
        ..rule(Does::Keep, &[])
    };
    let kept = |set: &str, present| Kept { rule: 0, set: set.to_owned(), member: "a".to_owned(), present, position: 7 };
    let row = |to: &str, status: &str| format!(r#"{{"from":"a","to":"{to}","status":"{status}"}}"#);
    for (op, before, after, expected) in [
        ("c", String::new(), row("x", "active"), vec![kept("x", true)]),
        ("r", String::new(), row("x", "active"), vec![kept("x", true)]),
        ("c", String::new(), row("x", "blocked"), vec![kept("x", false)]),
        ("u", row("x", "active"), row("x", "blocked"), vec![kept("x", false)]),
        ("u", row("x", "active"), row("y", "active"), vec![kept("x", false), kept("y", true)]),
        ("d", row("x", "active"), String::new(), vec![kept("x", false)]),
        // A table that sends its key alone says nothing of the set before.
        ("u", r#"{"from":"a","to":null,"status":null}"#.to_owned(), row("y", "active"), vec![kept("y", true)]),
    ] {
        let effects = apply(keep.clone(), op, &before, &after).expect("applied");
        assert_eq!(effects.keeps, expected, "{op} {before} {after}");
    }
}

#[test]
fn a_member_is_added_with_its_key() {
    let add = RuleOptions {
        key: Some("seen:{user_id}".to_owned()),
        member: Some("{post_id}".to_owned()),
        ..rule(Does::Add, &[])
    };
    let effects = apply(add, "", "", r#"{"user_id":"u","post_id":"p"}"#).expect("applied");
    let [Tally { key, member, .. }] = &effects.tallies[..] else { panic!("{effects:?}") };
    assert_eq!((&**key, &**member), ("seen:u", "p"));
}

#[test]
fn patterns_share_the_longest_beginning() {
    let globs = ["feed:v1:1:*", "feed:v1:22:*", "feed:v2:*"].map(Glob::new);
    assert_eq!(common_prefix(&globs), b"feed:v");
    assert_eq!(common_prefix(&globs[..1]), b"feed:v1:1:");
    assert_eq!(common_prefix(&[]), b"");
}

/// A pattern's match by definition: every way to spread the stars.
fn matches_slowly(pattern: &[char], key: &[char]) -> bool {
    match (pattern, key) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=key.len()).any(|skip| matches_slowly(rest, &key[skip..])),
        ([letter, rest @ ..], [first, further @ ..]) => letter == first && matches_slowly(rest, further),
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_glob_matches_what_its_definition_says(pattern in "[ab*]{0,8}", key in "[ab]{0,10}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(Glob::new(&pattern).matches(key.as_bytes()), matches_slowly(&chars(&pattern), &chars(&key)));
    }

    #[test]
    fn whatever_a_value_holds_a_pattern_matches_that_value_alone(value in any::<String>(), other in any::<String>()) {
        prop_assume!(!value.is_empty() && value.len() < 1000 && value != field::UNAVAILABLE && !other.contains(':'));
        let row = format!(r#"{{"id":{}}}"#, serde_json::to_string(&value).expect("a text"));
        let effects = apply(rule(Does::Pattern, &["feed:{id}:*"]), "u", "", &row).expect("applied");
        let glob = Glob::new(&effects.forgets[0].name);
        let page = format!("feed:{value}:0:20");
        prop_assert!(glob.matches(page.as_bytes()));
        let page = format!("feed:{other}:0:20");
        prop_assert_eq!(glob.matches(page.as_bytes()), page.starts_with(&format!("feed:{value}:")));
    }

    #[test]
    fn no_rule_and_no_record_can_make_it_panic(
        template in any::<String>(),
        condition in any::<String>(),
        value in any::<String>(),
    ) {
        let mut options = RuleOptions { when: vec![condition], ..rule(Does::Generation, &[&template]) };
        for does in [Does::Generation, Does::Pattern, Does::Keep, Does::Score] {
            options.does = does;
            options.key = Some(template.clone());
            options.member = Some(value.clone());
            let _ = Rules::compile(std::slice::from_ref(&options), true);
        }
        let row = format!(r#"{{"id":{}}}"#, serde_json::to_string(&value).expect("a text"));
        if let Ok(effects) = apply(rule(Does::Generation, &["t:{id}"]), "u", "", &row) {
            prop_assert!(names(&effects).iter().all(|name| name.starts_with("t:") && name.len() > 2));
        }
    }
}
