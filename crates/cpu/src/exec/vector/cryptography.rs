//! AESENC and its relatives (FIPS 197), and PCLMULQDQ (Intel SDM vol. 2).

use iced_x86::{Instruction, Mnemonic};

use super::{
    lanes::{from_fn, get},
    packed::{Packed, operations, packed},
};
use crate::{Bus, Handler};

operations! {
    Encrypt: |a, b| keyed(mixed(substituted(shifted(a, 1), &FORWARD), [2, 3, 1, 1]), b);
    EncryptLast: |a, b| keyed(substituted(shifted(a, 1), &FORWARD), b);
    Decrypt: |a, b| keyed(mixed(substituted(shifted(a, 3), &INVERSE), UNMIX), b);
    DecryptLast: |a, b| keyed(substituted(shifted(a, 3), &INVERSE), b);
    Unmix: |a, b| mixed(b, UNMIX);
    AssistKey: |a, b, round| assisted(b, round);
    MultiplyCarryless: |a, b, halves| carryless(&a, &b, halves);
}

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::Aesenc | Mnemonic::Vaesenc => packed::<B, Encrypt>(instruction),
        Mnemonic::Aesenclast | Mnemonic::Vaesenclast => packed::<B, EncryptLast>(instruction),
        Mnemonic::Aesdec | Mnemonic::Vaesdec => packed::<B, Decrypt>(instruction),
        Mnemonic::Aesdeclast | Mnemonic::Vaesdeclast => packed::<B, DecryptLast>(instruction),
        Mnemonic::Aesimc | Mnemonic::Vaesimc => packed::<B, Unmix>(instruction),
        Mnemonic::Aeskeygenassist | Mnemonic::Vaeskeygenassist => packed::<B, AssistKey>(instruction),
        Mnemonic::Pclmulqdq | Mnemonic::Vpclmulqdq => packed::<B, MultiplyCarryless>(instruction),
        _ => None,
    }
}

/// A product in the field of 256 elements (FIPS 197, 4.2).
const fn product(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut sum) = (a, b, 0);
    while b != 0 {
        if b & 1 != 0 {
            sum ^= a;
        }
        a = a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    sum
}

/// The substitution of SubBytes, computed from its definition: inverse, then affine (5.1.1).
const FORWARD: [u8; 256] = {
    let mut table = [0; 256];
    let mut value = 0_usize;
    while value < 256 {
        // The inverse is the 254th power.
        let (mut inverse, mut power) = (1, 0);
        while power < 254 {
            inverse = product(inverse, value as u8);
            power += 1;
        }
        table[value] = inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4)
            ^ 0x63;
        value += 1;
    }
    table
};

/// The inverse of [`FORWARD`].
const INVERSE: [u8; 256] = {
    let mut table = [0; 256];
    let mut value = 0;
    while value < 256 {
        table[FORWARD[value] as usize] = value as u8;
        value += 1;
    }
    table
};

/// The first row of the matrix of InvMixColumns.
const UNMIX: [u8; 4] = [14, 11, 13, 9];

fn substituted<const N: usize>(state: [u8; N], table: &[u8; 256]) -> [u8; N] {
    state.map(|byte| table[usize::from(byte)])
}

/// ShiftRows: row r goes r columns to the left, or with `by` = 3 to the right.
fn shifted<const N: usize>(state: [u8; N], by: usize) -> [u8; N] {
    from_fn(|at| state[(at + 4 * by * (at % 4)) % N])
}

/// MixColumns with the matrix whose first row is given.
fn mixed<const N: usize>(state: [u8; N], row: [u8; 4]) -> [u8; N] {
    from_fn(|at| {
        let (column, line) = (at & !3, at & 3);
        (0..4).fold(0, |sum, from| sum ^ product(state[column + from], row[(from + 4 - line) % 4]))
    })
}

fn keyed<const N: usize>(state: [u8; N], key: [u8; N]) -> [u8; N] {
    super::lanes::each(state, key, |x: u8, y| x ^ y)
}

/// AESKEYGENASSIST: SubWord and RotWord of the odd doublewords.
fn assisted<const N: usize>(source: [u8; N], round: u8) -> [u8; N] {
    let substituted = substituted(source, &FORWARD);
    from_fn(|at| {
        let word: u32 = get(&substituted, at | 1);
        if at & 1 == 0 { word } else { word.rotate_right(8) ^ u32::from(round) }
    })
}

/// The product of polynomials over two elements, of the halves that the immediate names.
fn carryless<const N: usize>(a: &[u8; N], b: &[u8; N], halves: u8) -> [u8; N] {
    let x: u64 = get(a, usize::from(halves & 1));
    let y: u64 = get(b, usize::from(halves >> 4 & 1));
    let product = (0..64).filter(|bit| y >> bit & 1 != 0).fold(0_u128, |sum, bit| sum ^ u128::from(x) << bit);
    from_fn(|at| (product >> (64 * at)) as u64)
}
