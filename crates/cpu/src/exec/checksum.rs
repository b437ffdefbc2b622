//! CRC32 (Intel SDM vol. 2A): the checksum of iSCSI, with the polynomial 11EDC6F41h. Sets no flag.

use iced_x86::{Code, Instruction};

use super::operands::{read_register, write_register};
use crate::{Bus, Core, Exec, Handler, Op, width::Width};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Crc32_r32_rm8 | Code::Crc32_r64_rm8 => crc32::<B, u8>,
        Code::Crc32_r32_rm16 => crc32::<B, u16>,
        Code::Crc32_r32_rm32 => crc32::<B, u32>,
        Code::Crc32_r64_rm64 => crc32::<B, u64>,
        _ => return None,
    })
}

/// The polynomial with its bits in reverse order, without the highest.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The checksum has 32 bits; a 64-bit destination is cleared above them.
fn crc32<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let data: W = core.load(bus, op, op.src)?;
    let mut checksum: u32 = read_register(core, op.dst);
    for byte in data.to_u64().to_le_bytes().into_iter().take(W::BYTES) {
        checksum ^= u32::from(byte);
        for _ in 0..8 {
            let reduce = if checksum & 1 != 0 { POLYNOMIAL } else { 0 };
            checksum = checksum >> 1 ^ reduce;
        }
    }
    write_register(core, op.dst, checksum);
    Ok(())
}
