//! Flags that an instruction leaves undefined: they are not compared, and no later instruction reads them.

use iced_x86::{Instruction, Mnemonic, OpKind};

/// CF, PF, AF, ZF, SF and OF in RFLAGS.
pub const CF: u32 = 1 << 0;
const PF: u32 = 1 << 2;
const AF: u32 = 1 << 4;
const ZF: u32 = 1 << 6;
const SF: u32 = 1 << 7;
const OF: u32 = 1 << 11;
/// The six that arithmetic sets.
pub const STATUS: u32 = CF | PF | AF | ZF | SF | OF;

/// When a row counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// The count, as masked, is not zero.
    Counted,
    /// The count, as masked, is more than one.
    Beyond1,
    /// The count, as masked, is more than the operand has bits, or as many.
    AsLong,
}

/// Mnemonics, when, which flags, and where the manual says so (Intel SDM vol. 2, "Flags Affected").
type Row = (&'static [Mnemonic], When, u32, &'static str);

const ROWS: &[Row] = &[
    (&[Mnemonic::And, Mnemonic::Or, Mnemonic::Xor, Mnemonic::Test], When::Always, AF, "AND, OR, XOR, TEST"),
    (&[Mnemonic::Andn], When::Always, AF | PF, "ANDN"),
    (&[Mnemonic::Mul, Mnemonic::Imul], When::Always, SF | ZF | AF | PF, "MUL, IMUL"),
    (&[Mnemonic::Div, Mnemonic::Idiv], When::Always, STATUS, "DIV, IDIV"),
    (&[Mnemonic::Aaa, Mnemonic::Aas], When::Always, OF | SF | ZF | PF, "AAA, AAS"),
    (&[Mnemonic::Aad, Mnemonic::Aam], When::Always, OF | AF | CF, "AAD, AAM"),
    (&[Mnemonic::Daa, Mnemonic::Das], When::Always, OF, "DAA, DAS"),
    (
        &[Mnemonic::Bt, Mnemonic::Bts, Mnemonic::Btr, Mnemonic::Btc],
        When::Always,
        OF | SF | AF | PF,
        "BT, BTS, BTR, BTC",
    ),
    (&[Mnemonic::Bsf, Mnemonic::Bsr], When::Always, CF | OF | SF | AF | PF, "BSF, BSR"),
    (&[Mnemonic::Lzcnt, Mnemonic::Tzcnt], When::Always, OF | SF | AF | PF, "LZCNT, TZCNT"),
    (&[Mnemonic::Bextr], When::Always, AF | SF | PF, "BEXTR"),
    (
        &[Mnemonic::Blsi, Mnemonic::Blsmsk, Mnemonic::Blsr, Mnemonic::Bzhi],
        When::Always,
        AF | PF,
        "BLSI, BLSMSK, BLSR, BZHI",
    ),
    (&[Mnemonic::Shl, Mnemonic::Sal, Mnemonic::Shr, Mnemonic::Sar], When::Counted, AF, "SAL/SAR/SHL/SHR"),
    (&[Mnemonic::Shl, Mnemonic::Sal, Mnemonic::Shr, Mnemonic::Sar], When::Beyond1, OF, "SAL/SAR/SHL/SHR"),
    (&[Mnemonic::Shl, Mnemonic::Sal, Mnemonic::Shr], When::AsLong, CF, "SAL/SAR/SHL/SHR"),
    (&[Mnemonic::Rol, Mnemonic::Ror, Mnemonic::Rcl, Mnemonic::Rcr], When::Beyond1, OF, "RCL/RCR/ROL/ROR"),
    (&[Mnemonic::Shld, Mnemonic::Shrd], When::Counted, AF, "SHLD, SHRD"),
    (&[Mnemonic::Shld, Mnemonic::Shrd], When::Beyond1, OF, "SHLD, SHRD"),
];

/// The undefined flags of `instruction`, whose count, if it is in CL, is `cl`.
pub fn flags(instruction: &Instruction, cl: Option<u8>) -> u32 {
    let count = count(instruction, cl);
    let bits = operand_bits(instruction);
    ROWS.iter()
        .filter(|(mnemonics, when, _, _)| {
            mnemonics.contains(&instruction.mnemonic())
                && match when {
                    When::Always => true,
                    When::Counted => count != Some(0),
                    When::Beyond1 => count.is_none_or(|count| count > 1),
                    When::AsLong => count.is_none_or(|count| count >= bits),
                }
        })
        .fold(0, |all, (_, _, flags, _)| all | flags)
}

/// Whether the result itself is undefined (Intel SDM vol. 2, SHLD, SHRD, BSWAP).
pub fn result(instruction: &Instruction, cl: Option<u8>) -> bool {
    match instruction.mnemonic() {
        Mnemonic::Shld | Mnemonic::Shrd => {
            count(instruction, cl).is_none_or(|count| count > operand_bits(instruction))
        }
        Mnemonic::Bswap => operand_bits(instruction) == 16,
        _ => false,
    }
}

/// Bits of the first operand.
pub fn operand_bits(instruction: &Instruction) -> u32 {
    let bytes = match instruction.op_kind(0) {
        _ if instruction.op_count() == 0 => 4,
        OpKind::Register => instruction.op0_register().size(),
        _ => instruction.memory_size().size(),
    };
    8 * bytes as u32
}

/// Whether it shifts or rotates by a count.
pub fn shifts(instruction: &Instruction) -> bool {
    let counted =
        |(mnemonics, when, _, _): &Row| *when != When::Always && mnemonics.contains(&instruction.mnemonic());
    ROWS.iter().any(counted)
}

/// Whether the last operand is a count in CL.
pub fn counts_by_cl(instruction: &Instruction) -> bool {
    let last = instruction.op_count().wrapping_sub(1);
    let shifts = ROWS
        .iter()
        .any(|(mnemonics, when, _, _)| *when != When::Always && mnemonics.contains(&instruction.mnemonic()));
    shifts && last < 5 && instruction.op_kind(last) == OpKind::Register
}

/// What a shift or rotation shifts by: the count masked to 5 bits, to 6 for 64-bit operands.
pub fn count(instruction: &Instruction, cl: Option<u8>) -> Option<u32> {
    let mask = if operand_bits(instruction) == 64 { 63 } else { 31 };
    let last = instruction.op_count().wrapping_sub(1);
    let count = match last {
        1.. if last < 5 && instruction.op_kind(last) == OpKind::Immediate8 => Some(instruction.immediate8()),
        1.. if last < 5 => cl,
        _ => Some(1),
    };
    count.map(|count| u32::from(count) & mask)
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, RflagsBits};
    use rstest::rstest;

    use super::*;

    /// Every instruction that iced-x86 says leaves flags undefined has a row with at least these.
    #[test]
    fn as_many_as_the_decoder_knows() {
        let (known, ours) = (
            [RflagsBits::CF, RflagsBits::PF, RflagsBits::AF, RflagsBits::ZF, RflagsBits::SF, RflagsBits::OF],
            [CF, PF, AF, ZF, SF, OF],
        );
        let listed = |mnemonic| ROWS.iter().any(|(mnemonics, ..)| mnemonics.contains(&mnemonic));
        for code in Code::values().filter(|code| listed(code.mnemonic())) {
            let mut instruction = Instruction::default();
            instruction.set_code(code);
            let theirs = instruction.rflags_undefined();
            let expect = known.iter().zip(ours).filter(|(bit, _)| theirs & **bit != 0);
            let expect = expect.fold(0, |all, (_, flag)| all | flag);
            let all = ROWS.iter().filter(|(mnemonics, ..)| mnemonics.contains(&code.mnemonic()));
            let own = all.fold(0, |all, (_, _, flags, _)| all | flags);
            assert_eq!(expect & !own, 0, "{code:?}");
        }
    }

    #[rstest]
    #[case::no_shift(&[0xc1, 0xe0, 0x20], None, 0)]
    #[case::by_one(&[0xd1, 0xe0], None, AF)]
    #[case::all_out(&[0xc0, 0xe0, 0x08], None, AF | OF | CF)]
    #[case::cl(&[0xd3, 0xe0], Some(33), AF)]
    #[case::unknown(&[0xd3, 0xe0], None, AF | OF | CF)]
    #[case::double(&[0x0f, 0xa4, 0xc8, 0x02], None, AF | OF)]
    #[case::rotation(&[0xc1, 0xc0, 0x01], None, 0)]
    #[case::addition(&[0x01, 0xc0], None, 0)]
    fn shifts(#[case] bytes: &[u8], #[case] cl: Option<u8>, #[case] expect: u32) {
        let instruction = iced_x86::Decoder::new(32, bytes, 0).decode();
        assert_eq!(flags(&instruction, cl), expect);
    }
}
