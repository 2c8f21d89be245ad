//! Every type of the comparison with its edge values: one row a type, so that what is covered can be read here.

use crate::compare::workload::values;
use crate::random::Random;

/// A type of a column, with values that are known to be hard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Type {
    /// Names its columns, and it in the rules and the report.
    pub(super) name: &'static str,
    /// As `create table` wants it.
    pub(super) sql: &'static str,
    /// SQL expressions; the first one is also the default of columns that have one.
    pub(super) values: &'static [&'static str],
    /// Makes further values; none: the edge values are all.
    pub(super) random: Option<fn(&mut Random) -> String>,
    /// Whether it can be a primary key.
    pub(super) key: bool,
}

/// Types that share a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) types: &'static [Type],
}

const fn plain(name: &'static str, sql: &'static str, values: &'static [&'static str]) -> Type {
    Type { name, sql, values, random: None, key: false }
}

const fn keyed(name: &'static str, sql: &'static str, values: &'static [&'static str]) -> Type {
    Type { name, sql, values, random: None, key: true }
}

const fn random(of: Type, random: fn(&mut Random) -> String) -> Type {
    Type { random: Some(random), ..of }
}

/// What the types need before their tables are made.
pub(super) const PREPARATION: &str = "\
create extension hstore;
create extension citext;
create extension ltree;
create extension isn;
create type mood as enum ('sad', 'ok', 'very happy', 'it''s \"odd\"', 'ünïcode 🐎', '');
create type pair as (a int, b text);
create type nested as (p pair, n numeric(8,2)[], m mood);
create type float_range as range (subtype = float8);
create domain positive as int check (value > 0);
create domain short_text as varchar(5);
create domain money_like as numeric(6,2);
create domain money_again as money_like;
create domain texts as text[];
create domain stamp as timestamp(3);
";

/// All of them.
pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "whole",
        types: &[
            keyed("bool", "bool", &["true", "false"]),
            keyed("bit_1", "bit(1)", &["B'1'", "B'0'"]),
            keyed("bit_12", "bit(12)", &["B'100000000001'", "B'000000000000'", "B'111111111111'"]),
            plain(
                "bit_64",
                "bit(64)",
                &[
                    "B'1000000000000000000000000000000000000000000000000000000000000001'",
                    "(-1)::bigint::bit(64)",
                    "1::bigint::bit(64)",
                    "0::bigint::bit(64)",
                ],
            ),
            plain("varbit", "bit varying", &["B''", "B'1'", "B'0'", "B'101010101'", "B'1111111111111111111'"]),
            plain("varbit_20", "bit varying(20)", &["B'01'", "B''", "B'00000000000000000001'"]),
            plain("varbit_1", "bit varying(1)", &["B'1'", "B'0'"]),
            keyed("int2", "int2", &["0", "-32768", "32767"]),
            random(keyed("int4", "int4", &["0", "-2147483648", "2147483647", "-1"]), values::int4),
            random(
                keyed("int8", "int8", &["0", "-9223372036854775808", "9223372036854775807", "9007199254740993"]),
                values::int8,
            ),
            keyed("oid", "oid", &["'0'", "'4294967295'", "'26'"]),
        ],
    },
    Group {
        name: "fraction",
        types: &[
            random(
                plain(
                    "float4",
                    "float4",
                    &[
                        "0",
                        "'-0'",
                        "1.1",
                        "16777217",
                        "3.4028235e38",
                        "-3.4028235e38",
                        "1e-45",
                        "1.17549435e-38",
                        "1e7",
                        "9999999",
                        "0.001",
                        "0.0009999",
                        "123456.79",
                    ],
                ),
                values::float4,
            ),
            random(
                keyed(
                    "float8",
                    "float8",
                    &[
                        "0",
                        "'-0'",
                        "1.1",
                        "0.1",
                        "1e7",
                        "1e-3",
                        "9999999.999",
                        "1.7976931348623157e308",
                        "5e-324",
                        "2.2250738585072014e-308",
                        "123456789012345680",
                        "1e21",
                        "1e22",
                        "1e23",
                        "2e-3",
                        "4.35",
                        "100",
                    ],
                ),
                values::float8,
            ),
            random(
                keyed("numeric_10_2", "numeric(10,2)", &["0", "-0.01", "99999999.99", "-99999999.99", "1.10", "1"]),
                values::numeric_10_2,
            ),
            keyed("numeric_5", "numeric(5)", &["0", "-99999", "99999", "128", "-128", "-129", "256"]),
            plain(
                "numeric_38_10",
                "numeric(38,10)",
                &[
                    "0",
                    "9999999999999999999999999999.9999999999",
                    "-9999999999999999999999999999.9999999999",
                    "0.0000000001",
                ],
            ),
            plain("numeric_3_5", "numeric(3,5)", &["0", "0.00999", "-0.00001"]),
            plain("numeric_3_neg2", "numeric(3,-2)", &["0", "12300", "-99900", "100"]),
            keyed(
                "numeric",
                "numeric",
                &[
                    "0",
                    "0.00",
                    "1.10",
                    "-1.10",
                    "100",
                    "1e20",
                    "1e-20",
                    "123456789012345678901234567890.123456789",
                    "(repeat('9', 200) || '.' || repeat('1', 100))::numeric",
                    "10000",
                    "0.0001",
                    "-32768",
                ],
            ),
            keyed(
                "money",
                "money",
                &["'0'", "'-0.01'", "'92233720368547758.07'", "'-92233720368547758.08'", "'1234.56'"],
            ),
        ],
    },
    Group {
        name: "letters",
        types: &[
            random(keyed("text", "text", &values::TEXTS), values::text),
            keyed("varchar", "varchar", &["''", "'a'", "'  blanks  '", "E'tab\\tnew\\nline'"]),
            keyed("varchar_5", "varchar(5)", &["''", "'12345'", "'ünïço'", "'🐎🐎🐎🐎🐎'"]),
            keyed("char_5", "char(5)", &["''", "'ab'", "'12345'", "'é'"]),
            plain("char_any", "\"char\"", &["'a'", "''", "'\"'"]),
            plain("name", "name", &["'a name'", "''", "repeat('n', 63)::name"]),
            keyed("citext", "citext", &["'CaSe'", "''", "'ÜBER'"]),
            plain("xml", "xml", &["'<a b=\"c\">d &amp; e</a>'", "'<é/>'", "'text'", "'<a><![CDATA[x]]></a>'"]),
            plain("ltree", "ltree", &["'Top.Science'", "''", "'a.b_1.c'"]),
            plain("tsvector", "tsvector", &["''", "'a:1A fat:2B,4C cat:5D'", "'''with blank'' \"q\"'::tsvector"]),
            plain("isbn", "isbn", &["'978-0-393-04002-9'", "'0-901690-54-6'"]),
        ],
    },
    Group {
        name: "moments",
        types: &[
            keyed(
                "date",
                "date",
                // Every other value is a key in the snapshot: not those that Debezium's gets wrong, here and below.
                &[
                    "'1970-01-01'",
                    "'0001-12-31 BC'",
                    "'2024-02-29'",
                    "'4713-01-01 BC'",
                    "'9999-12-31'",
                    "'1582-10-10'",
                    "'0001-01-01'",
                    "'1900-03-01'",
                    "'10000-01-01'",
                ],
            ),
            keyed("time", "time", &["'00:00'", "'23:59:59.999999'", "'12:34:56.789'", "'00:00:00.000001'"]),
            plain("time_0", "time(0)", &["'00:00'", "'23:59:59'"]),
            keyed("time_3", "time(3)", &["'00:00'", "'23:59:59.999'", "'12:00:00.5'"]),
            plain("time_4", "time(4)", &["'00:00'", "'23:59:59.9999'"]),
            random(
                keyed(
                    "timestamp",
                    "timestamp",
                    &[
                        "'1970-01-01'",
                        "'2024-02-29 23:59:59.999999'",
                        "'0001-01-01 00:00:00'",
                        "'0044-03-15 12:00:00 BC'",
                        "'9999-12-31 23:59:59.999999'",
                        "'infinity'",
                        "'1969-12-31 23:59:59.999999'",
                        "'-infinity'",
                        "'1582-10-05 00:00:00'",
                        "'1900-01-01 00:00:00.1'",
                    ],
                ),
                values::timestamp,
            ),
            plain("timestamp_0", "timestamp(0)", &["'1970-01-01'", "'2024-02-29 23:59:59'", "'infinity'"]),
            keyed(
                "timestamp_3",
                "timestamp(3)",
                &[
                    "'1970-01-01'",
                    "'-infinity'",
                    "'2024-02-29 23:59:59.999'",
                    "'infinity'",
                    "'0044-03-15 12:00:00.5 BC'",
                ],
            ),
            random(
                keyed(
                    "timestamptz",
                    "timestamptz",
                    &[
                        "'1970-01-01Z'",
                        "'2024-02-29 23:59:59.999999+05:30'",
                        "'0001-01-01 00:00:00Z'",
                        "'9999-12-31 23:59:59.999999Z'",
                        "'2024-07-01 12:00:00.100Z'",
                        "'2024-07-01 12:00:00.123Z'",
                        "'2024-07-01 12:00Z'",
                        "'0044-03-15 12:00:00Z BC'",
                        "'infinity'",
                        "'-infinity'",
                    ],
                ),
                values::timestamptz,
            ),
            plain("timestamptz_0", "timestamptz(0)", &["'1970-01-01Z'", "'2024-02-29 23:59:59Z'"]),
            plain("timestamptz_3", "timestamptz(3)", &["'1970-01-01Z'", "'2024-02-29 23:59:59.120Z'"]),
            plain(
                "timetz",
                "timetz",
                &["'00:00Z'", "'23:59:59.999999+00'", "'12:34:56.789+05:30'", "'01:00:00-15:59'", "'12:00:00.100Z'"],
            ),
            plain("timetz_3", "timetz(3)", &["'00:00Z'", "'23:59:59.120-03'"]),
            random(
                plain(
                    "interval",
                    "interval",
                    &[
                        "'0'",
                        "'1 year 2 months 3 days 04:05:06.78'",
                        "'-1 year -2 mons +3 days -04:05:06.789'",
                        "'178000000 years'",
                        "'-00:00:00.000001'",
                        "'1 mon'",
                        "'36500 days'",
                        "'999999:59:59.999999'",
                        "'1 day -00:00:01'",
                    ],
                ),
                values::interval,
            ),
            plain("interval_year", "interval year to month", &["'1-2'", "'-10-11'"]),
        ],
    },
    Group {
        name: "things",
        types: &[
            random(plain("json", "json", &values::JSONS), values::json),
            random(plain("jsonb", "jsonb", &values::JSONS), values::json),
            keyed(
                "uuid",
                "uuid",
                &[
                    "'00000000-0000-0000-0000-000000000000'",
                    "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
                    "'018f3b2c-7b1a-7c3d-8e4f-0123456789ab'",
                ],
            ),
            keyed("mood", "mood", &["'sad'", "'very happy'", "'it''s \"odd\"'", "'ünïcode 🐎'", "''"]),
            random(
                keyed("bytea", "bytea", &["''", "'\\x00'", "'\\xff00'", "'\\x0123456789abcdef'", "'\\xfbff'"]),
                values::bytea,
            ),
            plain(
                "hstore",
                "hstore",
                &[
                    "''",
                    "'a=>1'",
                    "'a=>NULL, b=>\"NULL\"'",
                    "'\"q\\\"uote\"=>\"back\\\\slash\", \"é 🐎\"=>\"\"'",
                    "hstore(array['x','y','z'], array['1',null,E'\\n'])",
                ],
            ),
            keyed("inet", "inet", &["'192.168.0.1'", "'10.0.0.0/8'", "'::1'", "'2001:db8::/32'", "'0.0.0.0/0'"]),
            plain("cidr", "cidr", &["'192.168.0.0/24'", "'::/0'"]),
            plain("macaddr", "macaddr", &["'08:00:2b:01:02:03'", "'00:00:00:00:00:00'"]),
            plain("macaddr8", "macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
            plain("int4range", "int4range", &["'empty'", "'[1,10)'", "'(,)'", "'[5,)'", "'(,7]'"]),
            plain("int8range", "int8range", &["'empty'", "'[-9223372036854775808,0)'"]),
            plain("numrange", "numrange", &["'empty'", "'[1.10,2.200]'", "'(,)'"]),
            plain("tsrange", "tsrange", &["'empty'", "'[2024-01-01,2024-01-02)'", "'[-infinity,infinity]'"]),
            plain("tstzrange", "tstzrange", &["'empty'", "'[2024-01-01Z,2024-01-02 12:00+05)'"]),
            plain("daterange", "daterange", &["'empty'", "'[2024-01-01,)'", "'[2024-01-01,2024-01-05]'"]),
        ],
    },
    Group {
        name: "shapes",
        types: &[
            plain("point", "point", &["'(0,0)'", "'(1.5,-2.25)'", "'(1e300,1e-300)'", "'(0.1,-0)'"]),
            plain("box", "box", &["'((0,0),(1,1))'"]),
            plain("lseg", "lseg", &["'[(0,0),(1,1)]'"]),
            plain("path", "path", &["'[(0,0),(1,1),(2,0)]'", "'((0,0),(1,1))'"]),
            plain("polygon", "polygon", &["'((0,0),(1,1),(2,0))'"]),
            plain("circle", "circle", &["'<(0,0),1.5>'"]),
            plain("line", "line", &["'{1,2,3}'"]),
        ],
    },
    Group {
        name: "lists",
        types: &[
            plain("bool_array", "bool[]", &["'{}'", "'{t,f,NULL}'"]),
            plain("int2_array", "int2[]", &["'{}'", "'{1,-32768,NULL}'"]),
            plain("int4_array", "int4[]", &["'{}'", "'{1,NULL,-2147483648}'"]),
            plain("int8_array", "int8[]", &["'{}'", "'{9223372036854775807,NULL}'"]),
            plain("float4_array", "float4[]", &["'{}'", "'{1.1,NULL,-0,1e10}'"]),
            plain("float8_array", "float8[]", &["'{}'", "'{0.1,NULL,1e300}'"]),
            plain(
                "text_array",
                "text[]",
                &[
                    "'{}'",
                    "'{a,NULL,\"NULL\",\"\"}'",
                    "array['q\"uote', 'back\\slash', 'com,ma', '{brace}', ' blank ', E'\\n']",
                    "'{é,🐎}'",
                ],
            ),
            plain("varchar_array", "varchar(3)[]", &["'{}'", "'{abc,NULL}'"]),
            plain("char_array", "char(3)[]", &["'{}'", "'{a,NULL}'"]),
            plain("numeric_6_2_array", "numeric(6,2)[]", &["'{}'", "'{1.10,NULL,-9999.99}'"]),
            plain("date_array", "date[]", &["'{}'", "'{2024-02-29,NULL}'"]),
            plain("time_array", "time[]", &["'{}'", "'{12:34:56.789,NULL}'"]),
            plain("timetz_array", "timetz[]", &["'{}'", "'{12:34:56.789+02,NULL}'"]),
            plain("timestamp_array", "timestamp[]", &["'{}'", "'{2024-02-29 12:00:00.123456,NULL}'"]),
            plain("timestamptz_array", "timestamptz[]", &["'{}'", "'{2024-02-29 12:00:00.123456+02,NULL}'"]),
            plain("uuid_array", "uuid[]", &["'{}'", "'{00000000-0000-0000-0000-000000000000,NULL}'"]),
            plain("json_array", "json[]", &["'{}'", "array['{\"a\": 1}', null, '\"x\"']::json[]"]),
            plain("jsonb_array", "jsonb[]", &["'{}'", "array['{\"a\": 1.10}', null, '[]']::jsonb[]"]),
            plain("bytea_array", "bytea[]", &["'{}'", "array['\\x00ff', null, '']::bytea[]"]),
            plain("inet_array", "inet[]", &["'{}'", "'{10.0.0.1,NULL}'"]),
            plain("cidr_array", "cidr[]", &["'{}'", "'{10.0.0.0/8,NULL}'"]),
            plain("macaddr_array", "macaddr[]", &["'{}'", "'{08:00:2b:01:02:03,NULL}'"]),
            plain("oid_array", "oid[]", &["'{}'", "'{0,4294967295,NULL}'"]),
            plain("mood_array", "mood[]", &["'{}'", "array['sad', null, 'very happy']::mood[]"]),
            plain("citext_array", "citext[]", &["'{}'", "'{CaSe,NULL}'"]),
            plain("hstore_array", "hstore[]", &["'{}'", "array['a=>1'::hstore, null]"]),
            plain("ltree_array", "ltree[]", &["'{}'", "'{Top.Science,NULL}'"]),
            plain("int4range_array", "int4range[]", &["'{}'", "array['[1,5)'::int4range, null]"]),
            plain("tstzrange_array", "tstzrange[]", &["'{}'", "array['[2024-01-01Z,2024-01-02Z)'::tstzrange, null]"]),
            plain("int4_matrix", "int4[][]", &["'{}'", "'{{1,2},{3,NULL}}'"]),
            plain("text_matrix", "text[][]", &["'{}'", "'{{a,\"b,c\"},{NULL,\"\"}}'"]),
        ],
    },
    Group {
        name: "extreme",
        types: &[
            plain("numeric_special", "numeric", &["1", "'NaN'", "'Infinity'", "'-Infinity'"]),
            plain("numeric_10_2_special", "numeric(10,2)", &["1", "'NaN'"]),
            plain("float4_special", "float4", &["1", "'NaN'", "'Infinity'", "'-Infinity'"]),
            plain("float8_special", "float8", &["1", "'NaN'", "'Infinity'", "'-Infinity'"]),
            plain("date_extreme", "date", &["'1970-01-01'", "'infinity'", "'-infinity'", "'5874897-12-31'"]),
            plain("time_extreme", "time", &["'12:00'", "'24:00'"]),
            plain("timetz_extreme", "timetz", &["'12:00Z'", "'24:00Z'", "'24:00-15:59'"]),
            plain(
                "timestamp_extreme",
                "timestamp",
                &["'1970-01-01'", "'294276-12-31 23:59:59.999999'", "'4714-11-24 00:00:00 BC'", "'12345-01-01'"],
            ),
            plain(
                "timestamptz_extreme",
                "timestamptz",
                &["'1970-01-01Z'", "'294276-12-31 23:59:59.999999Z'", "'4714-11-24 00:00:00Z BC'", "'12345-01-01Z'"],
            ),
        ],
    },
    Group {
        name: "made",
        types: &[
            keyed("positive", "positive", &["1", "2147483647"]),
            keyed("short_text", "short_text", &["''", "'12345'"]),
            plain("money_like", "money_like", &["1.10", "-9999.99"]),
            plain("money_again", "money_again", &["1.10", "9999.99"]),
            plain("stamp", "stamp", &["'2024-02-29 12:00:00.123'"]),
        ],
    },
    Group {
        name: "dropped",
        types: &[
            plain("pair", "pair", &["'(1,a)'", "'(,)'", "row(1, 'q\"uote')"]),
            plain("nested", "nested", &["row(row(1,'x'), array[1.10,null], 'sad')"]),
            plain("int4multirange", "int4multirange", &["'{}'", "'{[1,2),[5,7)}'"]),
            plain("float_range", "float_range", &["'[0.5,1.5)'"]),
            plain("pg_lsn", "pg_lsn", &["'0/0'", "'FFFFFFFF/FFFFFFFF'"]),
            plain("xid", "xid", &["'0'", "'4294967295'"]),
            plain("xid8", "xid8", &["'18446744073709551615'"]),
            plain("tid", "tid", &["'(0,1)'"]),
            plain("jsonpath", "jsonpath", &["'$.a[*]'"]),
            plain("tsquery", "tsquery", &["'fat & (rat | cat)'"]),
            plain("regclass", "regclass", &["'pg_class'"]),
            plain("money_array", "money[]", &["'{}'", "'{1.10,NULL}'"]),
            plain("name_array", "name[]", &["'{a,NULL}'"]),
            plain("interval_array", "interval[]", &["'{1 day,NULL}'"]),
            plain("varbit_array", "varbit[]", &["'{101,NULL}'"]),
            plain("xml_array", "xml[]", &["array['<a/>'::xml, null]"]),
            plain("point_array", "point[]", &["array['(1,2)'::point, null]"]),
            plain("numeric_array", "numeric[]", &["'{1.10,NULL,1e20}'"]),
            plain("pair_array", "pair[]", &["array[row(1,'x')::pair, null]"]),
            plain("positive_array", "positive[]", &["array[1, null]::positive[]"]),
            plain("texts", "texts", &["'{a,NULL}'"]),
        ],
    },
];
