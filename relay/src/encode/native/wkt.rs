//! Geometries as text: well-known binary, as PostGIS keeps it, becomes well-known text, as `readWKT…` of ClickHouse takes it.
//!
//! <https://postgis.net/docs/using_postgis_dbmanagement.html#OGC_EWKB>

use std::io::Write;

use crate::encode::native::base64;
use crate::encode::native::fields::Fields;
use crate::encode::native::misfit::What;
use crate::encode::native::value::{Text, Value};

/// Geometries in geometries at most.
const DEPTH_MAX: usize = 32;

/// Appends the text of a struct with well-known binary: `SRID=4326;POINT (1 2)`, without the reference system where none is said.
/// Tells whether it was one: of a kind that has no text here (curves, surfaces) or of other members it was not.
pub(super) fn append(json: &str, out: &mut Vec<u8>) -> Result<bool, What> {
    let Some((binary, srid)) = members(json)? else { return Ok(false) };
    let mut bytes = Vec::new();
    base64::append(&binary.decoded()?, &mut bytes)?;
    let mut text = Vec::new();
    let mut reader = Reader { rest: &bytes, little: true, dimensions: 2, srid: None };
    if reader.geometry(&mut text, 0).is_none() || !reader.rest.is_empty() {
        return Ok(false);
    }
    match srid.or(reader.srid.map(i64::from)) {
        Some(srid) if srid != 0 => out.extend_from_slice(format!("SRID={srid};").as_bytes()),
        _ => {}
    }
    out.extend_from_slice(&text);
    Ok(true)
}

/// The binary and the reference system of `{"wkb":…,"srid":…}`; coordinates beside them say nothing more.
fn members(json: &str) -> Result<Option<(Text<'_>, Option<i64>)>, What> {
    let mut fields = Fields::of(json);
    let (mut binary, mut srid) = (None, None);
    while let Some((name, value)) = fields.member()? {
        match (name.verbatim(), Value::read(value)?) {
            (Some("wkb"), Value::Text(text)) => binary = Some(text),
            (Some("srid"), Value::Number(number)) => srid = number.parse().ok(),
            (Some("srid"), Value::Null) | (Some("x" | "y"), Value::Number(_)) => {}
            _ => return Ok(None),
        }
    }
    Ok(binary.map(|binary| (binary, srid)))
}

struct Reader<'r> {
    rest: &'r [u8],
    little: bool,
    /// Coordinates of a point.
    dimensions: usize,
    srid: Option<u32>,
}

impl Reader<'_> {
    /// A geometry with its name; none if it is of a kind that is not known, or cut short.
    fn geometry(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        let (kind, suffix) = self.head()?;
        let name = match kind {
            1 => "POINT",
            2 => "LINESTRING",
            3 => "POLYGON",
            4 => "MULTIPOINT",
            5 => "MULTILINESTRING",
            6 => "MULTIPOLYGON",
            7 => "GEOMETRYCOLLECTION",
            _ => return None,
        };
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(suffix.as_bytes());
        out.push(b' ');
        if kind == 7 {
            return self.list(out, |reader, out| reader.geometry(out, depth + 1));
        }
        self.body(kind, out)
    }

    fn body(&mut self, kind: u32, out: &mut Vec<u8>) -> Option<()> {
        match kind {
            1 => {
                let start = out.len();
                out.push(b'(');
                self.coordinates(out)?;
                out.push(b')');
                // A point of no coordinates is written as one of none that are numbers.
                if out[start..].starts_with(b"(NaN") {
                    out.truncate(start);
                    out.extend_from_slice(b"EMPTY");
                }
                Some(())
            }
            2 => self.list(out, Self::coordinates),
            3 => self.list(out, |reader, out| reader.body(2, out)),
            // Each part has a head of its own.
            4..=6 => self.list(out, |reader, out| {
                let (part, _) = reader.head()?;
                if part == kind - 3 { reader.body(part, out) } else { None }
            }),
            _ => None,
        }
    }

    fn list(&mut self, out: &mut Vec<u8>, mut item: impl FnMut(&mut Self, &mut Vec<u8>) -> Option<()>) -> Option<()> {
        let count = self.number()?;
        if count == 0 {
            out.extend_from_slice(b"EMPTY");
            return Some(());
        }
        for at in 0..count {
            out.extend_from_slice(if at == 0 { b"(" } else { b", " });
            item(self, out)?;
        }
        out.push(b')');
        Some(())
    }

    fn coordinates(&mut self, out: &mut Vec<u8>) -> Option<()> {
        for at in 0..self.dimensions {
            if at > 0 {
                out.push(b' ');
            }
            let (bytes, rest) = self.rest.split_first_chunk::<8>()?;
            self.rest = rest;
            let value = if self.little { f64::from_le_bytes(*bytes) } else { f64::from_be_bytes(*bytes) };
            write!(out, "{value}").ok()?;
        }
        Some(())
    }

    /// The kind of what follows, and what its name ends in: the order of bytes, the dimensions and the reference system are read.
    fn head(&mut self) -> Option<(u32, &'static str)> {
        let (order, rest) = self.rest.split_first()?;
        self.little = *order == 1;
        self.rest = rest;
        let kind = self.number()?;
        if kind & 0x2000_0000 != 0 {
            self.srid = Some(self.number()?);
        }
        // Either high bits, or thousands.
        let low = kind & 0x0fff_ffff;
        let (has_z, has_m) = match low / 1000 {
            0 => (kind & 0x8000_0000 != 0, kind & 0x4000_0000 != 0),
            1 => (true, false),
            2 => (false, true),
            3 => (true, true),
            _ => return None,
        };
        self.dimensions = 2 + usize::from(has_z) + usize::from(has_m);
        let suffix = match (has_z, has_m) {
            (false, false) => "",
            (true, false) => " Z",
            (false, true) => " M",
            (true, true) => " ZM",
        };
        Some((low % 1000, suffix))
    }

    fn number(&mut self) -> Option<u32> {
        let (bytes, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(if self.little { u32::from_le_bytes(*bytes) } else { u32::from_be_bytes(*bytes) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(json: &str) -> Option<String> {
        let mut out = Vec::new();
        let known = append(json, &mut out).expect("readable");
        known.then(|| String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_point_is_told_with_its_reference_system() {
        let plain = r#"{"x":1.0,"y":2.0,"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA","srid":null}"#;
        assert_eq!(text(plain).as_deref(), Some("POINT (1 2)"));
        let known = r#"{"wkb":"AQEAACDmEAAAAAAAAAAA8D8AAAAAAAAAQA==","srid":4326}"#;
        assert_eq!(text(known).as_deref(), Some("SRID=4326;POINT (1 2)"));
        assert_eq!(text(r#"{"wkb":"AQcAAAAAAAAA","srid":null}"#).as_deref(), Some("GEOMETRYCOLLECTION EMPTY"));
    }

    #[test]
    fn what_is_no_geometry_has_no_text() {
        for json in [r#"{"a":1}"#, "{}", r#"{"wkb":"AQEAAAA=","srid":null}"#, r#"{"wkb":"AQkAAAAAAAAA","srid":null}"#] {
            assert_eq!(text(json), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd_to_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut reader = Reader { rest: &bytes, little: true, dimensions: 2, srid: None };
            let _ = reader.geometry(&mut Vec::new(), 0);
        }
    }
}
