//! `money`, as the locale of the database prints it.
//!
//! The text has a currency's sign, separators of thousands and perhaps brackets for less than nothing, all of which
//! `lc_monetary` chooses: <https://www.postgresql.org/docs/current/datatype-money.html>.

use crate::shape::change::types::decimal::twos_complement;
use crate::shape::change::types::float;
use crate::shape::change::types::misfit::Misfit;
use crate::shape::change::types::options::Decimal;
use crate::shape::json;

/// Digits of 64 bits, and a zero before the point.
const DIGITS_MAX: usize = 20;

/// How `money` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Money {
    pub(super) form: Decimal,
    /// Digits behind the point where it is written precisely.
    pub(super) fraction_digits: u8,
}

impl Money {
    /// Appends what `cash_out` printed.
    pub(super) fn write(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
        let amount = Amount::read(text, self.fraction_digits).ok_or(Misfit::NotOfType)?;
        match self.form {
            Decimal::Precise => twos_complement(amount.rounded(u32::from(self.fraction_digits)), out),
            Decimal::Double => {
                let mut plain = Vec::with_capacity(DIGITS_MAX + 2);
                amount.print(&mut plain);
                return float::nearest(&plain, out);
            }
            Decimal::Text => {
                out.push(b'"');
                amount.print(out);
                out.push(b'"');
            }
        }
        Ok(())
    }
}

/// So many of the smallest coin.
struct Amount {
    coins: i128,
    negative: bool,
    /// How many digits of it stand behind the point.
    fraction: u32,
}

impl Amount {
    /// The last separator is the point if it is not one of thousands: those stand before three digits, and are all the same.
    /// Where that says nothing the point stands before as many digits as are `expected`.
    fn read(text: &[u8], expected: u8) -> Option<Self> {
        let (mut coins, mut digits, mut behind, mut negative) = (0_i128, 0_usize, 0_u32, false);
        let (mut last, mut other, mut separators) = (None, false, 0);
        for byte in text {
            match byte {
                b'0'..=b'9' => {
                    coins = coins * 10 + i128::from(byte - b'0');
                    (digits, behind) = (digits + 1, behind + 1);
                    if digits > DIGITS_MAX {
                        return None;
                    }
                }
                b'.' | b',' if digits > 0 => {
                    other |= last.is_some_and(|last| last != *byte);
                    (last, behind, separators) = (Some(*byte), 0, separators + 1);
                }
                b'-' | b'(' => negative = true,
                _ => {}
            }
        }
        let is_point = separators > 0
            && behind > 0
            && (behind != 3 || other || (separators == 1 && behind == u32::from(expected)));
        let fraction = if is_point { behind } else { 0 };
        (digits > 0).then_some(Self { coins, negative, fraction })
    }

    /// With so many digits behind the point, rounded away from nothing where the half of the last is cut off.
    fn rounded(&self, digits: u32) -> i128 {
        let value = match digits.checked_sub(self.fraction) {
            // 20 digits and 18 more fit into 127 bits.
            Some(more) => self.coins.saturating_mul(10_i128.saturating_pow(more)),
            None => {
                let unit = 10_i128.pow(self.fraction - digits);
                (self.coins + unit / 2) / unit
            }
        };
        if self.negative { -value } else { value }
    }

    fn print(&self, out: &mut Vec<u8>) {
        let unit = 10_i128.pow(self.fraction);
        if self.negative {
            out.push(b'-');
        }
        json::integer(i64::try_from(self.coins / unit).unwrap_or(i64::MAX), out);
        if self.fraction > 0 {
            out.push(b'.');
            let rest = self.coins % unit;
            let digits = (0..self.fraction).rev().map(|place| b'0' + (rest / 10_i128.pow(place) % 10) as u8);
            out.extend(digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(money: &str, fraction_digits: u8) -> Option<String> {
        let mut out = Vec::new();
        Money { form: Decimal::Text, fraction_digits }.write(money.as_bytes(), &mut out).ok()?;
        Some(String::from_utf8(out).expect("text").trim_matches('"').to_owned())
    }

    #[test]
    fn every_locale_is_read() {
        for (money, digits, expected) in [
            ("$1,234.56", 2, "1234.56"),
            ("-$1,234.56", 2, "-1234.56"),
            ("($1,234.56)", 2, "-1234.56"),
            ("1.234.567,89 €", 2, "1234567.89"),
            ("R$ 0,05", 2, "0.05"),
            ("CHF 1'234.50", 2, "1234.50"),
            ("1 234,56 kr", 2, "1234.56"),
            ("¥1,234", 0, "1234"),
            ("¥1,234,567", 2, "1234567"),
            ("¥7", 2, "7"),
            ("KWD 1.234", 3, "1.234"),
            ("KWD 1,234.500", 3, "1234.500"),
            ("Kč 92,233,720,368,547,758.07", 2, "92233720368547758.07"),
            ("Rs.1,234.56", 2, "1234.56"),
        ] {
            assert_eq!(text(money, digits).as_deref(), Some(expected), "{money}");
        }
        for wrong in ["", "$", "-", "NaN", "123456789012345678901"] {
            assert_eq!(text(wrong, 2), None, "{wrong}");
        }
    }
}
