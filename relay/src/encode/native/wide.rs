//! Whole numbers of up to 256 bits, as far as columns of them need: built from digits, scaled, laid out.

/// A magnitude of 256 bits; the lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wide([u64; 4]);

/// The powers of ten in 64 bits.
pub(super) const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut at = 1;
    while at < 20 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

impl Wide {
    pub(super) fn from_u64(value: u64) -> Self {
        Self([value, 0, 0, 0])
    }

    pub(super) fn from_u128(value: u128) -> Self {
        Self([value as u64, (value >> 64) as u64, 0, 0])
    }

    /// The digits, if they are some, and not too many.
    pub(super) fn from_digits(digits: &[u8]) -> Option<Self> {
        let mut sum = Self::default();
        for chunk in digits.chunks(19) {
            let mut part = 0;
            for digit in chunk {
                part = part * 10 + u64::from(digit.wrapping_sub(b'0')).min(10);
            }
            if !chunk.iter().all(u8::is_ascii_digit) {
                return None;
            }
            sum = sum.times(POWERS[chunk.len()])?.plus(part)?;
        }
        Some(sum)
    }

    /// Ten to the power of `exponent`, if 256 bits hold it.
    pub(super) fn power_of_ten(exponent: u32) -> Option<Self> {
        Self::from_u64(1).shifted(exponent)
    }

    pub(super) fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// Its value, if 64 bits hold it.
    #[inline]
    pub(super) fn as_u64(self) -> Option<u64> {
        let [low, high @ ..] = self.0;
        (high == [0; 3]).then_some(low)
    }

    pub(super) fn is_below(self, other: Self) -> bool {
        self.0.iter().rev().lt(other.0.iter().rev())
    }

    /// With so many zeros behind it.
    pub(super) fn shifted(mut self, mut zeros: u32) -> Option<Self> {
        if self.is_zero() {
            return Some(self);
        }
        while zeros > 0 {
            let step = zeros.min(19);
            self = self.times(POWERS[step as usize])?;
            zeros -= step;
        }
        Some(self)
    }

    /// Without the last `digits` digits, if those are zeros.
    pub(super) fn unshifted(mut self, mut digits: u32) -> Option<Self> {
        while digits > 0 && !self.is_zero() {
            let step = digits.min(19);
            let (quotient, rest) = self.divided(POWERS[step as usize]);
            if rest != 0 {
                return None;
            }
            self = quotient;
            digits -= step;
        }
        Some(self)
    }

    /// Its decimal digits, appended.
    pub(super) fn print(mut self, out: &mut Vec<u8>) {
        let mut digits = [0; 78];
        let mut at = digits.len();
        loop {
            let (quotient, rest) = self.divided(10);
            at -= 1;
            digits[at] = b'0' + rest as u8;
            self = quotient;
            if self.is_zero() {
                break;
            }
        }
        out.extend_from_slice(&digits[at..]);
    }

    /// The number that these bytes are in two's complement, the highest first: whether it is negative, and its magnitude.
    pub(super) fn from_twos_complement(bytes: &[u8]) -> Option<(bool, Self)> {
        let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
        let filler = if negative { 0xff } else { 0 };
        let leading = bytes.iter().take_while(|byte| **byte == filler).count();
        let bytes = &bytes[leading..];
        let mut whole = [filler; 32];
        whole.get_mut(32_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
        // A number that fills all the bytes has its sign in the byte before them.
        let (words, _) = whole.as_chunks::<8>();
        let mut limbs = [0; 4];
        for (limb, word) in limbs.iter_mut().rev().zip(words) {
            *limb = u64::from_be_bytes(*word);
        }
        let magnitude = if negative { Self(limbs).negated() } else { Self(limbs) };
        Some((negative, magnitude))
    }

    /// Its bytes in two's complement, the lowest first, if `width` of them hold it.
    pub(super) fn bytes(self, negative: bool, signed: bool, width: usize) -> Option<[u8; 32]> {
        let negative = negative && !self.is_zero();
        if negative && !signed {
            return None;
        }
        let limbs = if negative { self.negated() } else { self };
        let mut bytes = [0; 32];
        for (target, limb) in bytes.chunks_exact_mut(8).zip(limbs.0) {
            target.copy_from_slice(&limb.to_le_bytes());
        }
        let filler = if negative { 0xff } else { 0 };
        let fits_above = bytes[width..].iter().all(|byte| *byte == filler);
        let sign_is_right = !signed || (bytes[width - 1] & 0x80 != 0) == negative;
        (fits_above && sign_is_right).then_some(bytes)
    }

    fn negated(self) -> Self {
        let mut carry = true;
        Self(self.0.map(|limb| {
            let (sum, over) = (!limb).overflowing_add(u64::from(carry));
            carry = over;
            sum
        }))
    }

    fn times(self, factor: u64) -> Option<Self> {
        let mut carry = 0;
        let limbs = self.0.map(|limb| {
            let product = u128::from(limb) * u128::from(factor) + carry;
            carry = product >> 64;
            product as u64
        });
        (carry == 0).then_some(Self(limbs))
    }

    fn plus(self, addend: u64) -> Option<Self> {
        let mut carry = addend;
        let limbs = self.0.map(|limb| {
            let (sum, over) = limb.overflowing_add(carry);
            carry = u64::from(over);
            sum
        });
        (carry == 0).then_some(Self(limbs))
    }

    fn divided(self, divisor: u64) -> (Self, u64) {
        let mut rest = 0;
        let mut limbs = self.0;
        for limb in limbs.iter_mut().rev() {
            let dividend = rest << 64 | u128::from(*limb);
            *limb = (dividend / u128::from(divisor)) as u64;
            rest = dividend % u128::from(divisor);
        }
        (Self(limbs), rest as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(value: Wide) -> String {
        let mut out = Vec::new();
        value.print(&mut out);
        String::from_utf8(out).expect("digits")
    }

    #[test]
    fn the_largest_has_78_digits_and_no_more_fit() {
        let largest = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        assert_eq!(Wide::from_digits(largest.as_bytes()).map(printed).as_deref(), Some(largest));
        let beyond = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        assert_eq!(Wide::from_digits(beyond.as_bytes()), None);
        assert_eq!(Wide::from_digits(b"1x"), None);
        assert_eq!(Wide::power_of_ten(77).map(printed), Some(format!("1{}", "0".repeat(77))));
        assert_eq!(Wide::power_of_ten(78), None);
    }

    #[test]
    fn a_width_holds_what_its_integers_hold() {
        for (value, width, fits) in
            [(127_i128, 1, true), (128, 1, false), (-128, 1, true), (-129, 1, false), (0, 1, true)]
        {
            let magnitude = Wide::from_u128(value.unsigned_abs());
            assert_eq!(magnitude.bytes(value < 0, true, width).is_some(), fits, "{value}");
        }
        assert!(Wide::from_u64(255).bytes(false, false, 1).is_some());
        assert!(Wide::from_u64(256).bytes(false, false, 1).is_none());
        assert!(Wide::from_u64(1).bytes(true, false, 8).is_none());
        assert!(Wide::from_u64(0).bytes(true, false, 8).is_some());
    }

    proptest! {
        #[test]
        fn bytes_are_those_of_the_machine(value in any::<i128>()) {
            let magnitude = Wide::from_u128(value.unsigned_abs());
            let bytes = magnitude.bytes(value < 0, true, 16).expect("it fits");
            prop_assert_eq!(&bytes[..16], &value.to_le_bytes());
            let read = Wide::from_twos_complement(&value.to_be_bytes());
            prop_assert_eq!(read, Some((value < 0, magnitude)));
            prop_assert_eq!(printed(magnitude), value.unsigned_abs().to_string());
        }

        #[test]
        fn zeros_come_and_go(value in any::<u128>(), zeros in 0..38_u32) {
            let value = Wide::from_u128(value);
            let shifted = value.shifted(zeros).expect("it fits");
            prop_assert_eq!(shifted.unshifted(zeros), Some(value));
        }
    }
}
