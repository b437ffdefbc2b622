//! Where operands lie: mostly across the boundary of two pages that can be written, sometimes where an
//! access must fault.

use warmboot_silicon::layout::{READ_ONLY, WRITABLE, WRITABLE_PAGES};

use super::random::Random;

/// Offset of the first byte that can be written, from the beginning of the data.
pub const FIRST: u64 = WRITABLE * 4096;
/// Offset of the boundary of the two pages.
pub const MIDDLE: u64 = FIRST + 4096;
/// Offset of the first byte that is not there.
pub const END: u64 = FIRST + WRITABLE_PAGES * 4096;

/// The bytes that are given to a block and compared after it, as offsets from `FIRST`: (at, length).
pub const WINDOWS: [(usize, usize); 3] = [(0, 0x80), (0xe00, 0x600), (0x1f00, 0x100)];

/// An offset for an operand of `size` bytes.
pub fn operand(random: &mut Random, size: u64) -> u64 {
    match random.below(20) {
        0 => FIRST - random.below(size + 8),
        1 => END - random.below(size + 8),
        2 => END - 0x64 - random.below(size + 8),
        3 => READ_ONLY * 4096 + 0x800 + random.below(64),
        4 => END + 0x1000 + random.below(0x1000),
        5..=6 => MIDDLE - random.below(size + 1),
        7..=11 => MIDDLE - 0x100 + 16 * random.below(0x20),
        _ => within(random),
    }
}

/// An offset where nothing faults.
pub fn within(random: &mut Random) -> u64 {
    MIDDLE - 0x100 + random.below(0x200)
}

/// An offset for an XSAVE area: mostly within a window, where nothing faults.
pub fn area(random: &mut Random) -> u64 {
    match random.below(12) {
        0 => operand(random, 576),
        1 => END - 64 * random.below(16),
        2 => FIRST - 64 * random.below(16),
        _ => MIDDLE - 0x200 + 64 * random.below(11),
    }
}

/// An offset for the stack pointer.
pub fn stack(random: &mut Random) -> u64 {
    match random.below(24) {
        0 => FIRST + random.below(40),
        1 => END - random.below(40),
        _ => within(random),
    }
}
