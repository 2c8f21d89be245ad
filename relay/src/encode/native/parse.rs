//! The text of a type, as `system.columns` has it, read.

use crate::encode::native::shape::Shape;

/// Types in types at most: beyond any table, and short of the stack's end.
const DEPTH_MAX: usize = 32;

/// What the text says, or what of it is not understood.
pub(super) fn parse(text: &str) -> Result<Shape, String> {
    let mut parser = Parser { rest: text.trim(), depth: 0 };
    let shape = parser.of_type()?;
    if parser.rest.is_empty() { Ok(shape) } else { Err(format!("{:?} follows the type", parser.rest)) }
}

struct Parser<'p> {
    rest: &'p str,
    depth: usize,
}

impl<'p> Parser<'p> {
    fn of_type(&mut self) -> Result<Shape, String> {
        let name = self.word()?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("it is too deep".to_owned());
        }
        let shape = match name {
            "Nullable" | "Array" | "LowCardinality" | "Map" | "Tuple" | "Nested" | "SimpleAggregateFunction" => {
                self.compound(name)
            }
            "Decimal" | "Decimal32" | "Decimal64" | "Decimal128" | "Decimal256" => self.decimal(name),
            "Enum8" | "Enum16" => self.labels(name == "Enum16"),
            "FixedString" | "DateTime" | "DateTime64" | "Time64" | "JSON" | "Object" => self.with_parameters(name),
            name => simple(name).ok_or_else(|| format!("there is no way to write {name}")),
        };
        self.depth -= 1;
        shape
    }

    fn compound(&mut self, name: &str) -> Result<Shape, String> {
        self.wanted('(')?;
        let shape = match name {
            "Nullable" => match self.of_type()? {
                of @ Shape::Nullable(_) => of,
                of => Shape::Nullable(Box::new(of)),
            },
            "Array" => Shape::Array(Box::new(self.of_type()?)),
            "LowCardinality" => self.of_type()?,
            "Map" => {
                let key = self.of_type()?;
                self.wanted(',')?;
                Shape::Map(Box::new(key), Box::new(self.of_type()?))
            }
            "Tuple" => Shape::Tuple(self.members()?),
            "Nested" => Shape::Array(Box::new(Shape::Tuple(self.members()?))),
            _ => {
                // The function, perhaps with parameters of its own, and then the type that is stored.
                self.word()?;
                if self.taken('(') {
                    self.skip()?;
                }
                self.wanted(',')?;
                self.of_type()?
            }
        };
        self.wanted(')')?;
        Ok(shape)
    }

    fn members(&mut self) -> Result<Vec<(Option<String>, Shape)>, String> {
        let mut members = Vec::new();
        loop {
            // A name stands before a type: what follows a lone type is a comma or the end.
            let before = self.rest;
            let name = if self.rest.starts_with(['`', '"']) {
                Some(self.quoted()?)
            } else {
                let word = self.word()?.to_owned();
                if self.rest.starts_with([',', ')', '(']) {
                    self.rest = before;
                    None
                } else {
                    Some(word)
                }
            };
            members.push((name, self.of_type()?));
            if !self.taken(',') {
                return Ok(members);
            }
        }
    }

    fn decimal(&mut self, name: &str) -> Result<Shape, String> {
        self.wanted('(')?;
        let first = self.number()?;
        let (precision, scale) = match name {
            "Decimal32" => (9, first),
            "Decimal64" => (18, first),
            "Decimal128" => (38, first),
            "Decimal256" => (76, first),
            _ if self.taken(',') => (first, self.number()?),
            _ => (first, 0),
        };
        self.wanted(')')?;
        match (u32::try_from(precision), u32::try_from(scale)) {
            (Ok(precision @ 1..=76), Ok(scale)) if scale <= precision => Ok(Shape::Decimal { precision, scale }),
            _ => Err("such a decimal there is none".to_owned()),
        }
    }

    fn labels(&mut self, wide: bool) -> Result<Shape, String> {
        let mut labels = Vec::new();
        self.wanted('(')?;
        loop {
            let label = self.quoted()?;
            self.wanted('=')?;
            let number = self.number()?;
            let fits = if wide { i16::try_from(number).ok() } else { i8::try_from(number).ok().map(i16::from) };
            labels.push((label, fits.ok_or("a label's number is out of range")?));
            if !self.taken(',') {
                break;
            }
        }
        self.wanted(')')?;
        Ok(Shape::Enum { wide, labels })
    }

    fn with_parameters(&mut self, name: &str) -> Result<Shape, String> {
        let open = self.taken('(');
        let shape = match name {
            "JSON" | "Object" => {
                if open {
                    self.skip()?;
                }
                return Ok(Shape::Json);
            }
            "DateTime" if !open => return Ok(Shape::DateTime(None)),
            "DateTime" => Shape::DateTime(Some(self.quoted()?)),
            "DateTime64" if !open => return Ok(Shape::DateTime64(3, None)),
            "Time64" if !open => return Ok(Shape::Time64(3)),
            _ if !open => return Err(format!("{name} has no length")),
            "FixedString" => match usize::try_from(self.number()?) {
                Ok(width @ 1..) => Shape::FixedString(width),
                _ => return Err("a text of no length".to_owned()),
            },
            _ => {
                let digits = u32::try_from(self.number()?).ok().filter(|digits| *digits <= 9);
                let digits = digits.ok_or("more than nine digits behind the second")?;
                match name {
                    "Time64" => Shape::Time64(digits),
                    _ if self.taken(',') => Shape::DateTime64(digits, Some(self.quoted()?)),
                    _ => Shape::DateTime64(digits, None),
                }
            }
        };
        self.wanted(')')?;
        Ok(shape)
    }

    /// What is left up to the parenthesis that ends the one just opened.
    fn skip(&mut self) -> Result<(), String> {
        let mut depth = 1;
        while depth > 0 {
            match self.rest.chars().next() {
                Some('\'' | '`' | '"') => {
                    self.quoted()?;
                    continue;
                }
                Some('(') => depth += 1,
                Some(')') => depth -= 1,
                Some(_) => {}
                None => return Err("a parenthesis is not closed".to_owned()),
            }
            let mut letters = self.rest.chars();
            letters.next();
            self.rest = letters.as_str();
        }
        self.rest = self.rest.trim_start();
        Ok(())
    }

    fn word(&mut self) -> Result<&'p str, String> {
        let end = self.rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if word.is_empty() {
            return Err("a name is missing".to_owned());
        }
        self.rest = rest.trim_start();
        Ok(word)
    }

    fn number(&mut self) -> Result<i64, String> {
        let end = self.rest.find(|letter: char| !letter.is_ascii_digit() && letter != '-');
        let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        digits.parse().map_err(|_| "a number is missing".to_owned())
    }

    /// A literal or a name in its quotes, with backslashes before what needs them.
    fn quoted(&mut self) -> Result<String, String> {
        let mut letters = self.rest.chars();
        let quote = letters.next().filter(|letter| matches!(letter, '\'' | '`' | '"')).ok_or("a quote is missing")?;
        let mut text = String::new();
        loop {
            match letters.next().ok_or("a quote is not closed")? {
                '\\' => text.push(escaped(letters.next().ok_or("a quote is not closed")?)),
                letter if letter == quote => {
                    if letters.as_str().starts_with(quote) {
                        letters.next();
                        text.push(quote);
                        continue;
                    }
                    self.rest = letters.as_str().trim_start();
                    return Ok(text);
                }
                letter => text.push(letter),
            }
        }
    }

    fn taken(&mut self, letter: char) -> bool {
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.map_or(self.rest, str::trim_start);
        rest.is_some()
    }

    fn wanted(&mut self, letter: char) -> Result<(), String> {
        if self.taken(letter) { Ok(()) } else { Err(format!("{letter:?} is missing")) }
    }
}

fn simple(name: &str) -> Option<Shape> {
    let integer = |width: usize, signed: bool| Shape::Integer { width, signed };
    Some(match name {
        "Bool" => Shape::Bool,
        "Int8" => integer(1, true),
        "Int16" => integer(2, true),
        "Int32" => integer(4, true),
        "Int64" => integer(8, true),
        "Int128" => integer(16, true),
        "Int256" => integer(32, true),
        "UInt8" => integer(1, false),
        "UInt16" => integer(2, false),
        "UInt32" => integer(4, false),
        "UInt64" => integer(8, false),
        "UInt128" => integer(16, false),
        "UInt256" => integer(32, false),
        "Float32" => Shape::Float32,
        "Float64" => Shape::Float64,
        "String" => Shape::String,
        "UUID" => Shape::Uuid,
        "Date" => Shape::Date,
        "Date32" => Shape::Date32,
        "Time" => Shape::Time,
        "IPv4" => Shape::Ipv4,
        "IPv6" => Shape::Ipv6,
        "Point" => Shape::Point,
        _ => return None,
    })
}

fn escaped(letter: char) -> char {
    match letter {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        '0' => '\0',
        letter => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_reads_as_what_is_sent_for_it() {
        for (text, wire) in [
            ("UInt8", "UInt8"),
            ("Int256", "Int256"),
            ("Decimal(10, 2)", "Decimal(10, 2)"),
            ("Decimal(10)", "Decimal(10, 0)"),
            ("Decimal128(7)", "Decimal(38, 7)"),
            ("LowCardinality(Nullable(String))", "Nullable(String)"),
            ("Array(LowCardinality(String))", "Array(String)"),
            ("SimpleAggregateFunction(max, DateTime64(6, 'UTC'))", "DateTime64(6, 'UTC')"),
            ("SimpleAggregateFunction(groupArrayArray(10), Array(UInt8))", "Array(UInt8)"),
            ("DateTime('Europe/Berlin')", "DateTime('Europe/Berlin')"),
            ("DateTime64", "DateTime64(3)"),
            ("Time64(6)", "Time64(6)"),
            ("Map(String, Nullable(String))", "Map(String, Nullable(String))"),
            ("Tuple(x Float64, `a b` Array(Int8))", "Tuple(`x` Float64, `a b` Array(Int8))"),
            ("Tuple(UInt8, Tuple(String))", "Tuple(UInt8, Tuple(String))"),
            ("Nested(a UInt8, b String)", "Array(Tuple(`a` UInt8, `b` String))"),
            (r"Enum8('a' = 1, 'it\'s' = -2)", r"Enum8('a' = 1, 'it\'s' = -2)"),
            ("Enum16('' = 1000)", "Enum16('' = 1000)"),
            ("JSON(max_dynamic_paths=0, a.b UInt32, SKIP REGEXP ')')", "String"),
            ("FixedString(16)", "FixedString(16)"),
        ] {
            assert_eq!(parse(text).map(|shape| shape.to_string()), Ok(wire.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_type_or_not_writable_says_so() {
        for text in [
            "",
            "AggregateFunction(sum, UInt64)",
            "Variant(UInt8, String)",
            "Dynamic",
            "Array(",
            "Array(UInt8",
            "UInt8)",
            "Decimal(77, 0)",
            "Decimal(5, 6)",
            "FixedString",
            "FixedString(0)",
            "DateTime64(10)",
            "Enum8('a' = 200)",
            "Enum8('a",
            "Map(String)",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"Array(".repeat(10_000)).is_err());
    }
}
