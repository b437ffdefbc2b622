//! Operand widths as a type parameter: one function per instruction, generic over these.

use std::fmt::Debug;

/// An operand width: `u8`, `u16`, `u32` or `u64`.
///
/// Instructions compute in 64 bits and cut the result with [`Width::from_u64`]; the compiler
/// turns that back into arithmetic of the width itself.
pub trait Width: Copy + Eq + Ord + Debug + Default + Send + Sync + 'static {
    /// Size in bytes.
    const BYTES: usize;
    /// Size in bits.
    const BITS: u32;

    /// The low bits of `value`.
    fn from_u64(value: u64) -> Self;

    /// Zero-extended.
    fn to_u64(self) -> u64;

    /// Sign-extended.
    fn to_i64(self) -> i64;

    /// Little-endian at `offset` of `bytes`, if it lies within.
    fn read_from(bytes: &[u8], offset: usize) -> Option<Self>;

    /// Little-endian to `offset` of `bytes`; says whether it lay within.
    fn write_to(self, bytes: &mut [u8], offset: usize) -> bool;

    /// The most significant bit.
    #[inline(always)]
    fn sign(self) -> bool {
        self.to_i64() < 0
    }

    /// All ones.
    #[inline(always)]
    fn ones() -> Self {
        Self::from_u64(u64::MAX)
    }

    /// The sum, cut to the width.
    #[inline(always)]
    fn wrapping_add(self, other: Self) -> Self {
        Self::from_u64(self.to_u64().wrapping_add(other.to_u64()))
    }

    /// The difference, cut to the width.
    #[inline(always)]
    fn wrapping_sub(self, other: Self) -> Self {
        Self::from_u64(self.to_u64().wrapping_sub(other.to_u64()))
    }

    /// Bit `index`, counted modulo the width.
    #[inline(always)]
    fn bit(self, index: u32) -> bool {
        (self.to_u64() >> (index & (Self::BITS - 1))) & 1 != 0
    }
}

macro_rules! width {
    ($unsigned:ty, $signed:ty) => {
        impl Width for $unsigned {
            const BYTES: usize = size_of::<$unsigned>();
            const BITS: u32 = <$unsigned>::BITS;

            #[inline(always)]
            fn from_u64(value: u64) -> Self {
                value as $unsigned
            }

            #[inline(always)]
            fn to_u64(self) -> u64 {
                u64::from(self)
            }

            #[inline(always)]
            fn to_i64(self) -> i64 {
                i64::from(self as $signed)
            }

            #[inline(always)]
            fn read_from(bytes: &[u8], offset: usize) -> Option<Self> {
                let end = offset.checked_add(Self::BYTES)?;
                let bytes = bytes.get(offset..end)?;
                Some(<$unsigned>::from_le_bytes(bytes.try_into().ok()?))
            }

            #[inline(always)]
            fn write_to(self, bytes: &mut [u8], offset: usize) -> bool {
                let place = offset.checked_add(Self::BYTES).and_then(|end| bytes.get_mut(offset..end));
                match place {
                    Some(place) => {
                        place.copy_from_slice(&self.to_le_bytes());
                        true
                    }
                    None => false,
                }
            }
        }
    };
}

width!(u8, i8);
width!(u16, i16);
width!(u32, i32);
width!(u64, i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extends_and_cuts() {
        assert_eq!(u8::from_u64(0x1ff), 0xff);
        assert_eq!(0xffu8.to_i64(), -1);
        assert_eq!(0x8000u16.to_u64(), 0x8000);
        assert!(0x8000u16.sign());
        assert_eq!(u32::MAX.wrapping_add(2), 1);
        assert!(1u16.bit(16), "bit numbers are modulo the width");
    }

    #[test]
    fn never_reads_or_writes_outside() {
        let mut bytes = [1, 2, 3, 4];
        assert_eq!(u16::read_from(&bytes, 2), Some(0x0403));
        assert_eq!(u16::read_from(&bytes, 3), None);
        assert_eq!(u16::read_from(&bytes, usize::MAX), None);
        assert!(!0u32.write_to(&mut bytes, 1));
        assert!(0xaabbu16.write_to(&mut bytes, 1));
        assert_eq!(bytes, [1, 0xbb, 0xaa, 4]);
    }
}
