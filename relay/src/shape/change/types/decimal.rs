//! `numeric`, of any number of digits: the unscaled number in two's complement, as Java's `BigDecimal` has it.
//!
//! <https://www.postgresql.org/docs/current/datatype-numeric.html#DATATYPE-NUMERIC-DECIMAL>

use crate::shape::change::types::float;
use crate::shape::change::types::misfit::Misfit;
use crate::shape::change::types::options::Decimal;
use crate::shape::json;

/// Digits of a `numeric` at most: 131 072 before the point and 16 383 behind it.
const DIGITS_MAX: usize = 131_072 + 16_383;

/// The modifier of a `numeric` is its precision and its scale, plus this.
const MODIFIER_OFFSET: i32 = 4;

/// How a `numeric` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numeric {
    /// `Decimal`, with as many digits behind the point as the type says.
    Precise {
        /// All digits.
        precision: i32,
        /// Those behind the point.
        scale: usize,
    },
    /// `VariableScaleDecimal`.
    Variable,
    /// The nearest double.
    Double,
    /// Its text; with as many digits behind the point as the type says.
    Text(usize),
}

impl Numeric {
    /// As `form` says, with the precision and the scale of the type's modifier.
    pub(super) fn new(form: Decimal, modifier: i32) -> Self {
        match (form, Self::precise(modifier)) {
            (Decimal::Precise, precise) => precise,
            (Decimal::Double, _) => Self::Double,
            (Decimal::Text, Self::Precise { scale, .. }) => Self::Text(scale),
            (Decimal::Text, _) => Self::Text(0),
        }
    }

    fn precise(modifier: i32) -> Self {
        if modifier < MODIFIER_OFFSET {
            return Self::Variable;
        }
        let modifier = modifier - MODIFIER_OFFSET;
        // The scale is a signed number of 11 bits: https://www.postgresql.org/docs/15/release-15.html.
        let (precision, scale) = (modifier >> 16 & 0xffff, ((modifier & 0x7ff) ^ 0x400) - 0x400);
        match usize::try_from(scale) {
            Ok(scale) => Self::Precise { precision, scale },
            Err(_) => Self::Precise { precision: precision - scale, scale: 0 },
        }
    }

    /// Appends what `numeric_out` printed.
    pub(super) fn write(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
        if matches!(text, b"NaN" | b"Infinity" | b"-Infinity") {
            return match self {
                Self::Precise { .. } | Self::Variable => Err(Misfit::NoPlace),
                Self::Double | Self::Text(_) => float::write(text, float::Width::Double, out),
            };
        }
        let number = Number::read(text).ok_or(Misfit::NotOfType)?;
        match self {
            Self::Precise { scale, .. } => number.unscaled(scale, out),
            Self::Variable => {
                let number = number.trimmed();
                out.extend_from_slice(br#"{"scale":"#);
                json::integer(number.fraction.len() as i64, out);
                out.extend_from_slice(br#","value":"#);
                number.unscaled(number.fraction.len(), out)?;
                out.push(b'}');
                Ok(())
            }
            Self::Double => float::nearest(text, out),
            Self::Text(_) => {
                out.push(b'"');
                out.extend_from_slice(text);
                out.push(b'"');
                Ok(())
            }
        }
    }
}

/// A decimal number: its sign, and its digits before and behind the point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'t> {
    pub(super) negative: bool,
    pub(super) whole: &'t [u8],
    pub(super) fraction: &'t [u8],
}

impl<'t> Number<'t> {
    fn read(text: &'t [u8]) -> Option<Self> {
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
            Some(at) => (&digits[..at], &digits[at + 1..]),
            None => (digits, &digits[..0]),
        };
        let are_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        let is_pointed = whole.len() < digits.len();
        (!whole.is_empty()
            && is_pointed != fraction.is_empty()
            && digits.len() <= DIGITS_MAX
            && are_digits(whole)
            && are_digits(fraction))
        .then_some(Self { negative, whole, fraction })
    }

    /// Without zeros at its end behind the point.
    fn trimmed(self) -> Self {
        let end = self.fraction.iter().rposition(|digit| *digit != b'0').map_or(0, |at| at + 1);
        Self { fraction: &self.fraction[..end], ..self }
    }

    /// Appends the number without its point, after `scale` digits behind it, in Base64.
    fn unscaled(&self, scale: usize, out: &mut Vec<u8>) -> Result<(), Misfit> {
        let (kept, rest) = self.fraction.split_at(scale.min(self.fraction.len()));
        if rest.iter().any(|digit| *digit != b'0') {
            return Err(Misfit::NotOfType);
        }
        let zeros = scale - kept.len();
        let digits = || self.whole.iter().chain(kept).map(|digit| digit - b'0').chain(std::iter::repeat_n(0, zeros));
        // 38 digits fit into 127 bits.
        if self.whole.len() + scale <= 38 {
            let value = digits().fold(0_i128, |sum, digit| sum * 10 + i128::from(digit));
            twos_complement(if self.negative { -value } else { value }, out);
        } else {
            large(digits(), self.negative, out);
        }
        Ok(())
    }
}

/// Appends a number as Java's `BigInteger` has it, in the fewest bytes that keep its sign, in Base64 and quotes.
pub(super) fn twos_complement(value: i128, out: &mut Vec<u8>) {
    // A byte more than the number needs would only repeat its sign.
    let bits = if value < 0 { value.leading_ones() } else { value.leading_zeros() } as usize;
    let bytes = value.to_be_bytes();
    quoted(&bytes[(bits - 1) / 8..], out);
}

/// The same of a number that is larger.
fn large(digits: impl Iterator<Item = u8>, negative: bool, out: &mut Vec<u8>) {
    const CHUNK: u64 = 10_u64.pow(18);
    // From the lowest on, in 64 bits each.
    let mut limbs: Vec<u64> = Vec::new();
    let mut add = |factor: u64, chunk: u64| {
        let mut carry = u128::from(chunk);
        for limb in &mut limbs {
            carry += u128::from(*limb) * u128::from(factor);
            *limb = carry as u64;
            carry >>= 64;
        }
        if carry > 0 {
            limbs.push(carry as u64);
        }
    };
    let (mut chunk, mut factor) = (0, 1);
    for digit in digits {
        (chunk, factor) = (chunk * 10 + u64::from(digit), factor * 10);
        if factor == CHUNK {
            add(factor, chunk);
            (chunk, factor) = (0, 1);
        }
    }
    add(factor, chunk);
    if negative {
        let mut carry = true;
        for limb in &mut limbs {
            (*limb, carry) = (!*limb).overflowing_add(u64::from(carry));
        }
    }
    let sign: u8 = if negative && limbs.iter().any(|limb| *limb != 0) { 0xff } else { 0 };
    let bytes: Vec<u8> = std::iter::once(sign).chain(limbs.iter().rev().flat_map(|limb| limb.to_be_bytes())).collect();
    let repeats = |pair: &[u8]| pair[0] == sign && (pair[1] ^ sign) < 0x80;
    let skipped = bytes.windows(2).take_while(|pair| repeats(pair)).count();
    quoted(&bytes[skipped..], out);
}

fn quoted(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    json::base64(bytes, out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(numeric: Numeric, text: &str) -> Result<String, Misfit> {
        let mut out = Vec::new();
        numeric.write(text.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    fn large_of(value: i128) -> String {
        let mut out = Vec::new();
        large(value.unsigned_abs().to_string().bytes().map(|byte| byte - b'0'), value < 0, &mut out);
        String::from_utf8(out).expect("text")
    }

    proptest! {
        #[test]
        fn both_ways_of_reckoning_agree(value in any::<i128>(), shift in 0_u32..127) {
            let value = value >> shift;
            let mut out = Vec::new();
            twos_complement(value, &mut out);
            prop_assert_eq!(large_of(value), String::from_utf8(out).expect("text"));
        }
    }

    #[test]
    fn numbers_are_in_the_fewest_bytes_that_keep_their_sign() {
        for (value, expected) in
            [(0, "AA=="), (1, "AQ=="), (-1, "/w=="), (127, "fw=="), (128, "AIA="), (-128, "gA=="), (-129, "/38=")]
        {
            let mut out = Vec::new();
            twos_complement(value, &mut out);
            assert_eq!(String::from_utf8(out).expect("text"), format!("\"{expected}\""), "{value}");
            assert_eq!(large_of(value), format!("\"{expected}\""), "{value}");
        }
    }

    #[test]
    fn the_scale_is_that_of_the_type() {
        let scale = |precision: i32, scale: i32| Numeric::precise((precision << 16 | scale & 0x7ff) + MODIFIER_OFFSET);
        assert_eq!(scale(10, 2), Numeric::Precise { precision: 10, scale: 2 });
        assert_eq!(scale(5, -2), Numeric::Precise { precision: 7, scale: 0 });
        assert_eq!(scale(3, 5), Numeric::Precise { precision: 3, scale: 5 });
        assert_eq!(Numeric::precise(-1), Numeric::Variable);
        // A default may be written with fewer digits than the column has.
        assert_eq!(written(scale(10, 2), "1.5"), written(scale(10, 2), "1.50"));
        assert_eq!(written(scale(10, 2), "1.500"), written(scale(10, 2), "1.50"));
        assert_eq!(written(scale(10, 2), "1.501"), Err(Misfit::NotOfType));
    }

    #[test]
    fn what_is_no_number_is_not_written() {
        for wrong in ["", "-", ".", "1.", ".5", "1e5", "+1", "1,5", "nan", "1.2.3", "١"] {
            for numeric in [Numeric::Variable, Numeric::Text(2), Numeric::Double] {
                assert_eq!(written(numeric, wrong), Err(Misfit::NotOfType), "{wrong}");
            }
        }
    }
}
