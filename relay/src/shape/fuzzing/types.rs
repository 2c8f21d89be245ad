//! Values of captured columns: whatever a column is said to be and whatever it holds, what is written is JSON, and what is not
//! written leaves no trace.

use arbitrary::{Arbitrary, Unstructured};
use serde::de::IgnoredAny;

use crate::shape::change::table::{Column, DataType, Field, TypeKind};
use crate::shape::change::types::{Binary, ColumnWriter, Decimal, Hstore, Interval, Others, Time, TypeOptions};

/// Types that have a form of their own, and one that has none.
const OIDS: [u32; 39] = [
    16, 17, 18, 19, 20, 21, 22, 23, 25, 26, 30, 114, 142, 600, 603, 700, 701, 790, 829, 869, 1042, 1043, 1082, 1083,
    1114, 1184, 1186, 1266, 1560, 1562, 1700, 2950, 3614, 3802, 3904, 3906, 3910, 3912, 3220,
];

/// Types of extensions, and two that no extension brings.
const NAMES: [&str; 10] =
    ["hstore", "citext", "ltree", "isbn", "geometry", "geography", "vector", "halfvec", "sparsevec", "a \"b\""];

/// A type, within a type at most.
#[derive(Debug, Arbitrary)]
enum Of {
    Builtin(u8),
    Extension(u8),
    Enum(Vec<String>),
    Array(u8),
    ArrayOfExtension(u8),
    ArrayOfArrays(u8),
    Domain(u8, i32),
    Composite(u8),
    Range(u8),
    Multirange,
    Pseudo,
}

impl Of {
    fn data_type(self) -> DataType {
        let builtin = |at: u8| named(OIDS[usize::from(at) % OIDS.len()], "pg_catalog", "t", TypeKind::Base);
        let extension = |at: u8| named(70_000, "public", NAMES[usize::from(at) % NAMES.len()], TypeKind::Base);
        let array = |element: DataType| named(70_001, "public", "_t", TypeKind::Array { element: Box::new(element) });
        let own = |kind| named(70_002, "public", "own", kind);
        match self {
            Self::Builtin(at) => builtin(at),
            Self::Extension(at) => extension(at),
            Self::Enum(labels) => own(TypeKind::Enum { labels }),
            Self::Array(at) => array(builtin(at)),
            Self::ArrayOfExtension(at) => array(extension(at)),
            Self::ArrayOfArrays(at) => {
                array(own(TypeKind::Domain { base: Box::new(array(builtin(at))), modifier: -1 }))
            }
            Self::Domain(at, modifier) => own(TypeKind::Domain { base: Box::new(builtin(at)), modifier }),
            Self::Composite(at) => {
                let field = Field { name: "f".to_owned(), of: builtin(at), modifier: -1 };
                own(TypeKind::Composite { fields: vec![field] })
            }
            Self::Range(at) => own(TypeKind::Range { subtype: Box::new(builtin(at)) }),
            Self::Multirange => own(TypeKind::Multirange { range: Box::new(builtin(0)) }),
            Self::Pseudo => own(TypeKind::Pseudo),
        }
    }
}

fn named(oid: u32, schema: &str, name: &str, kind: TypeKind) -> DataType {
    DataType { oid, schema: schema.to_owned(), name: name.to_owned(), kind }
}

/// A column, how its values are written, and one.
#[derive(Debug, Arbitrary)]
struct Case<'c> {
    of: Of,
    modifier: i32,
    optional: bool,
    has_default: bool,
    default: Option<String>,
    unavailable: String,
    decimal: u8,
    money_fraction_digits: u8,
    time: u8,
    interval: bool,
    binary: u8,
    hstore: bool,
    nested: bool,
    texts: [&'c [u8]; 2],
}

impl Case<'_> {
    fn options(&self) -> TypeOptions {
        TypeOptions {
            unavailable: self.unavailable.clone(),
            decimal: [Decimal::Precise, Decimal::Double, Decimal::Text][usize::from(self.decimal) % 3],
            // As many as the configuration takes.
            money_fraction_digits: self.money_fraction_digits % 19,
            time: [
                Time::Adaptive,
                Time::AdaptiveTimeMicroseconds,
                Time::Connect,
                Time::IsoString,
                Time::Microseconds,
                Time::Nanoseconds,
            ][usize::from(self.time) % 6],
            interval: [Interval::Numeric, Interval::IsoString][usize::from(self.interval)],
            binary: [Binary::Bytes, Binary::Base64, Binary::Base64UrlSafe, Binary::Hex][usize::from(self.binary) % 4],
            hstore: [Hstore::Json, Hstore::Map][usize::from(self.hstore)],
            nested: self.nested,
            others: Others::Text,
        }
    }
}

/// A column of any type, and values of it or not.
///
/// # Panics
/// If something is written that is no JSON, or something of what is not written.
pub fn write_types(data: &[u8]) {
    let Ok(case) = Case::arbitrary(&mut Unstructured::new(data)) else { return };
    let options = case.options();
    let column = Column {
        name: "c".to_owned(),
        of: case.of.data_type(),
        modifier: case.modifier,
        optional: case.optional,
        default: case.default,
        has_default: case.has_default,
        generated: false,
    };
    let writer = ColumnWriter::new(&column, &options).expect("no type is refused");
    let mut out = Vec::new();
    writer.placeholder(&mut out);
    assert_json(&out);
    assert_json(writer.schema(Some("a \"b\"")).as_bytes());
    assert_json(writer.zero_json().as_bytes());
    if let Some(default) = writer.default_json() {
        assert_json(default.as_bytes());
    }
    for text in case.texts {
        out.clear();
        out.extend_from_slice(b"{");
        match writer.write(text, &mut out) {
            Ok(()) => assert_json(&out[1..]),
            Err(_) => assert_eq!(out, b"{"),
        }
    }
}

fn assert_json(text: &[u8]) {
    let read = serde_json::from_slice::<IgnoredAny>(text);
    assert!(read.is_ok(), "{:?} is no JSON", String::from_utf8_lossy(text));
}
