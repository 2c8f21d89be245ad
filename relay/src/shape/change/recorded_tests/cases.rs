//! The cases, and what was done in each of them.

use super::*;
use crate::shape::change::types::Binary;

const ROWS: &str = "id int!, name text!, note text, n int!=5, o int=7, f bool!";

fn rows(identity: Identity) -> Table {
    table("cdc.t", ROWS, &["id"], identity)
}

/// What `changes()` of the recorder does.
fn changes(full: bool) -> Vec<Do> {
    const A: Row = &[v("1"), v("a\"b"), N, v("1"), N, v("t")];
    const B: Row = &[v("1"), v("b"), N, v("1"), N, v("t")];
    const C: Row = &[v("2"), v("b"), v("x"), v("1"), N, v("t")];
    const KEY: Row = &[v("1"), N, N, N, N, N];
    const KEY_C: Row = &[v("2"), N, N, N, N, N];
    if full {
        return vec![insert(A), update_of(A, true, B), update_of(B, true, B), update_of(B, true, C), delete(C, true)];
    }
    vec![insert(A), update(B), update(B), update_of(KEY, false, C), delete(KEY_C, false)]
}

#[test]
fn each_operation_under_each_identity_is_written_as_debezium_writes_it() {
    const CODE: Row = &[N, v("10"), N];
    const CODE_11: Row = &[N, v("11"), N];
    let mut default = vec![read(0, [v("9"), v("old"), N, v("3"), N, v("f")])];
    default.extend(changes(false));
    default.push(TRUNCATE);
    holds(&case("identity default", vec![rows(Identity::Default)], |_| (), default));
    holds(&case("identity full", vec![rows(Identity::Full)], |_| (), changes(true)));
    let index = table("cdc.t", "id int!, code int!, name text", &["code"], Identity::Index);
    holds(&case(
        "identity index",
        vec![index],
        |_| (),
        vec![
            insert([v("1"), v("10"), v("a")]),
            update([v("1"), v("10"), v("b")]),
            update_of(CODE, false, [v("1"), v("11"), v("b")]),
            delete(CODE_11, false),
        ],
    ));
    let keyless = table("cdc.t", "id int, name text", &[], Identity::Default);
    holds(&case("no key", vec![keyless], |_| (), vec![insert([v("1"), v("a")]), TRUNCATE]));
    const ONE: Row = &[v("1"), v("a")];
    const TWO: Row = &[v("2"), v("a")];
    let keyless = table("cdc.t", "id int, name text", &[], Identity::Full);
    let done = vec![insert(ONE), update_of(ONE, true, TWO), delete(TWO, true)];
    holds(&case("no key full", vec![keyless], |_| (), done));
    const TEN: Row = &[v("1"), v("10"), v("a")];
    const ELEVEN: Row = &[v("1"), v("2"), v("a")];
    let unique = table("cdc.t", "id int, code int!, name text", &["code"], Identity::Full);
    let done = vec![insert(TEN), update_of(TEN, true, ELEVEN), delete(ELEVEN, true)];
    holds(&case("unique index and full", vec![unique], |_| (), done));
}

#[test]
fn keys_and_names_are_written_as_debezium_writes_them() {
    let two = table("cdc.t", "a text!, b int!, c int", &["b", "a"], Identity::Default);
    holds(&case(
        "key of two",
        vec![two],
        |_| (),
        vec![
            insert([v("x"), v("1"), v("2")]),
            update_of([v("x"), v("1"), N], false, [v("y"), v("1"), v("2")]),
            delete([v("y"), v("1"), N], false),
        ],
    ));
    const STRANGE: &str = "\u{e9}\u{1f40e}\u{1}\u{1f}\t\u{7f}/";
    let strange = table("We ird.T\u{e4}.b-le", "i d int!, c\"\u{f6}l text", &["i d"], Identity::Default);
    holds(&case(
        "names",
        vec![strange],
        |_| (),
        vec![insert([v("1"), v(STRANGE)]), update_of([v("1"), N], false, [v("2"), v(STRANGE)])],
    ));
    const TEXT: &str = "q\"b\\s/\n\t\u{1}\u{e9}\u{1f40e}\u{7f}";
    let text = table("cdc.t", "a text!", &["a"], Identity::Default);
    holds(&case("text keys", vec![text], |_| (), vec![insert([v(TEXT)]), update_of([v(TEXT)], false, [v("plain")])]));
    let set: fn(&mut CaptureOptions) = |options| {
        options.keys = vec![KeyOptions { tables: "cdc.t".into(), columns: vec!["name".into(), "n".into()] }];
    };
    holds(&case("key columns", vec![rows(Identity::Full)], set, changes(true)));
    let set: fn(&mut CaptureOptions) = |options| {
        options.keys = vec![KeyOptions { tables: "cdc.*".into(), columns: vec!["n".into(), "name".into()] }];
    };
    holds(&case("key columns in another order", vec![rows(Identity::Full)], set, changes(true)));
}

const LONG: &str = {
    const X: [u8; 2100] = [b'x'; 2100];
    match str::from_utf8(&X) {
        Ok(text) => text,
        Err(_) => "",
    }
};

#[test]
fn what_was_not_sent_is_written_as_debezium_writes_it() {
    let toast = table("cdc.t", "id int!, big text, must text!, n int", &["id"], Identity::Default);
    holds(&case(
        "toast",
        vec![toast],
        |_| (),
        vec![
            insert([v("1"), v(LONG), v(LONG), v("1")]),
            update([v("1"), U, U, v("2")]),
            update_of([v("1"), N, N, N], false, [v("2"), U, U, v("2")]),
        ],
    ));
    const ONE: Row = &[v("1"), v(LONG), v("1")];
    const TWO: Row = &[v("1"), v(LONG), v("2")];
    let toast = table("cdc.t", "id int!, big text, n int", &["id"], Identity::Full);
    holds(&case(
        "toast full",
        vec![toast],
        |_| (),
        vec![insert(ONE), update_of(ONE, true, [v("1"), U, v("2")]), update_of(TWO, true, [v("2"), U, v("2")])],
    ));
    let masked = table("cdc.t", "id int!, big text, long text, n int", &["id"], Identity::Default);
    let set: fn(&mut CaptureOptions) = |options| {
        mask(options, &["big"], &hash("SHA-256"));
        mask(options, &["long"], &MaskForm::Truncate(7));
    };
    holds(&case(
        "mask toast",
        vec![masked],
        set,
        vec![insert([v("1"), v(LONG), v(LONG), v("1")]), update([v("1"), U, U, v("2")])],
    ));
}

#[test]
fn what_is_left_out_is_what_debezium_leaves_out() {
    let done = || vec![insert([v("1")]), update_of([v("1")], false, [v("2")]), delete([v("2")], false)];
    let one = || vec![table("cdc.t", "id int!", &["id"], Identity::Default)];
    holds(&case("tombstones off", one(), |options| options.tombstones = false, done()));
    holds(&case("skip u", one(), |options| options.skipped.update = true, done()));
    holds(&case("skip d", one(), |options| options.skipped.delete = true, done()));
    holds(&case("skip c", one(), |options| options.skipped.create = true, done()));
    const A: Row = &[v("1"), v("a"), v("b")];
    const B: Row = &[v("1"), v("a"), v("c")];
    const C: Row = &[v("1"), v("b"), v("c")];
    let three = |identity| vec![table("cdc.t", "id int!, name text, secret text", &["id"], identity)];
    let set: fn(&mut CaptureOptions) = |options| {
        options.skip_unchanged = true;
        options.columns_except = vec!["cdc.t.secret".into()];
    };
    holds(&case(
        "skip unchanged",
        three(Identity::Full),
        set,
        vec![insert(A), update_of(A, true, B), update_of(B, true, C), update_of(C, true, C), delete(C, true)],
    ));
    let set: fn(&mut CaptureOptions) =
        |options| options.columns_except = vec!["cdc.t.secret".into(), "cdc.t.id".into()];
    holds(&case(
        "columns out",
        three(Identity::Default),
        set,
        vec![insert(A), update_of([v("1"), N, N], false, [v("2"), v("a"), v("b")]), delete([v("2"), N, N], false)],
    ));
}

#[test]
fn masks_are_debeziums() {
    let masked = || vec![table("cdc.t", "id int!, a text, b varchar20!, c char5", &["id"], Identity::Default)];
    let done = |text: Value<'static>| {
        vec![
            insert([v("1"), text, v("bbbbbbbbbb"), v("ccc  ")]),
            insert([v("2"), N, v(""), N]),
            update_of([v("2"), N, N, N], false, [v("3"), N, v(""), N]),
            delete([v("1"), N, N, N], false),
            delete([v("3"), N, N, N], false),
        ]
    };
    let horse = v("gr\u{fc}\u{df}e \u{1f40e}!");
    let set: fn(&mut CaptureOptions) = |options| mask(options, &["a", "b", "c"], &MaskForm::Asterisks(4));
    holds(&case("mask", masked(), set, done(horse)));
    let set: fn(&mut CaptureOptions) = |options| mask(options, &["a", "b", "c"], &hash("SHA-256"));
    holds(&case("hash", masked(), set, done(horse)));
    let set: fn(&mut CaptureOptions) = |options| mask(options, &["a", "b"], &hash("SHA-512"));
    holds(&case("hash of a short column", masked(), set, done(horse)));
}

#[test]
fn transactions_and_messages_are_told_as_debezium_tells_them() {
    holds(&case(
        "messages",
        vec![],
        |_| (),
        vec![Do::Message("pre\"fix", b"con\"tent"), Do::Message("loose", b""), Do::Message("", b"x")],
    ));
    const BYTES: &[u8] = b"\xfb\xff\x00";
    let content = || vec![Do::Message("p", BYTES)];
    holds(&case("messages in hex", vec![], |options| options.types.binary = Binary::Hex, content()));
    holds(&case("messages in base64", vec![], |options| options.types.binary = Binary::Base64, content()));
    let set: fn(&mut CaptureOptions) = |options| options.types.binary = Binary::Base64UrlSafe;
    holds(&case("messages in base64 for URLs", vec![], set, content()));
    let set: fn(&mut CaptureOptions) = |options| {
        options.transaction_topic = Some("app.transaction".into());
        options.skipped.delete = true;
        options.skipped.truncate = true;
    };
    let one = table("cdc.t", "id int!, name text", &["id"], Identity::Default);
    holds(&case(
        "transactions skipped",
        vec![one],
        set,
        vec![
            Do::Begin,
            insert([v("1"), v("a")]),
            insert([v("2"), v("b")]),
            delete([v("2"), N], false),
            update_of([v("1"), N], false, [v("3"), v("a")]),
            TRUNCATE,
            Do::End,
            Do::Begin,
            Do::End,
            Do::Begin,
        ],
    ));
}

#[test]
fn where_a_change_comes_from_is_told_as_debezium_tells_it() {
    let one = |name: &str| table(name, "id int!", &["id"], Identity::Default);
    let tables = vec![one("cdc.a"), one("cdc.b"), one("cdc.c")];
    holds(&case(
        "snapshot",
        tables,
        |_| (),
        vec![
            read(0, [v("1")]),
            read(0, [v("2")]),
            read(0, [v("3")]),
            read(1, [v("1")]),
            read(2, [v("1")]),
            read(2, [v("2")]),
        ],
    ));
    let beside = vec![read(0, [v("1")]), read(0, [v("2")])];
    holds(&case("incremental snapshot", vec![one("cdc.t")], |_| (), beside));
    holds(&case("xmin", vec![one("cdc.t")], |_| (), vec![insert([v("1")])]));
    holds(&case("origin", vec![one("cdc.t")], |_| (), vec![insert([v("1")]), insert([v("2")])]));
    let done = vec![insert([v("1")]), update_of([v("1")], false, [v("2")])];
    holds(&case("context off", vec![one("cdc.t")], |_| (), done));
}
