//! Values by chance, and the edge values that several types share; all of them SQL expressions.

use crate::random::Random;

/// Texts that break what takes text for harmless.
pub(super) const TEXTS: [&str; 10] = [
    "''",
    "'plain'",
    "'it''s \"quoted\"'",
    "E'back\\\\slash \\t \\n \\r \\b \\f \\x01 \\x1f \\x7f'",
    "'ünïcödé ß Ω 漢字 🐎 👨‍👩‍👧'",
    "U&'\\2028\\2029\\FEFF\\200B'",
    "'</script><!-- & -->'",
    "'null'",
    "'__debezium_unavailable_value'",
    "repeat('long ', 600)",
];

/// JSON whose text must arrive as Postgres prints it.
pub(super) const JSONS: [&str; 12] = [
    "'{}'",
    "'null'",
    "'true'",
    "'\"text\"'",
    "'[]'",
    "'1.10'",
    "'{\"b\": 1, \"a\": {\"c\": [1, 2.50, null]}}'",
    "'{\"n\": 12345678901234567890.123456789}'",
    "'{\"u\": \"ü 🐎 \\u00e9 \\\" \\\\ \\n\"}'",
    "'[1e400, -0, 1E+2]'",
    "'{\"\": \"\", \" \": [[], {}]}'",
    "'  {\"blank\" :  1}  '",
];

pub(super) fn int4(random: &mut Random) -> String {
    (random.bits() as i32).to_string()
}

pub(super) fn int8(random: &mut Random) -> String {
    let shift = random.below(64);
    ((random.bits() as i64) >> shift).max(i64::MIN + 1).to_string()
}

/// Decimal fractions of few digits, as people write them.
pub(super) fn float4(random: &mut Random) -> String {
    format!("{}e{}", random.below(20_000) as i64 - 10_000, random.below(20) as i64 - 10)
}

pub(super) fn float8(random: &mut Random) -> String {
    format!("{}e{}", random.below(2_000_000_000) as i64 - 1_000_000_000, random.below(40) as i64 - 20)
}

pub(super) fn numeric_10_2(random: &mut Random) -> String {
    let cents = random.below(19_999_999_999) as i64 - 9_999_999_999;
    format!("{cents}::numeric / 100")
}

pub(super) fn text(random: &mut Random) -> String {
    const LETTERS: [&str; 16] =
        ["a", "B", "é", "漢", "🐎", "\"", "''", "\\", "/", "{", "}", ",", " ", "0", "<", "\u{301}"];
    let length = random.below(40);
    let letters: String = (0..length).map(|_| LETTERS[random.below(LETTERS.len() as u64) as usize]).collect();
    format!("'{letters}'")
}

/// Between 1900 and 2100, to the microsecond.
fn moment(random: &mut Random) -> String {
    let (days, micros) = (random.below(73_000), random.below(86_400_000_000));
    format!("'1900-01-01'::timestamp + '{days} days {micros} microseconds'::interval")
}

pub(super) fn timestamp(random: &mut Random) -> String {
    moment(random)
}

pub(super) fn timestamptz(random: &mut Random) -> String {
    format!("({}) at time zone 'UTC'", moment(random))
}

pub(super) fn interval(random: &mut Random) -> String {
    let mut part = |end: u64| random.below(end) as i64 - end as i64 / 2;
    let (months, days, micros) = (part(2_000), part(2_000), part(1_000_000_000_000));
    format!("'{months} months {days} days {micros} microseconds'")
}

pub(super) fn json(random: &mut Random) -> String {
    let (number, cents, text) = (random.bits() as i64, random.below(10_000), random.bits());
    format!(
        "'{{\"n\": {number}, \"price\": {}.{:02}, \"text\": \"{text:x} é\", \"none\": null}}'",
        cents / 100,
        cents % 100
    )
}

pub(super) fn bytea(random: &mut Random) -> String {
    let bytes: String = (0..random.below(48)).map(|_| format!("{:02x}", random.below(256))).collect();
    format!("'\\x{bytes}'")
}
