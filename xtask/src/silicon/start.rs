//! What a block starts from: random registers and memory.

use warmboot_silicon::{Registers, layout::Mode};

use super::{
    block::Block,
    excluded,
    needs::Indices,
    place::{FIRST, WINDOWS},
    random::Random,
};

/// Registers and the windows of the data.
#[derive(Clone)]
pub struct Start {
    /// Registers.
    pub registers: Registers,
    /// The windows, one after the other.
    pub memory: Vec<u8>,
}

/// Bytes of all windows.
pub fn window_bytes() -> usize {
    WINDOWS.iter().map(|(_, length)| length).sum()
}

/// Where in the windows the byte at this offset of the data is.
pub fn window_index(offset: u64) -> Option<usize> {
    let at = usize::try_from(offset.checked_sub(FIRST)?).ok()?;
    let mut before = 0;
    for (start, length) in WINDOWS {
        if (start..start + length).contains(&at) {
            return Some(before + at - start);
        }
        before += length;
    }
    None
}

/// Memory that the starts of one block have in common, but for what its operands are.
pub fn memory(random: &mut Random) -> Vec<u8> {
    let kind = random.next();
    let mut bytes = Vec::with_capacity(window_bytes());
    while bytes.len() < window_bytes() {
        for half in random.vector(kind) {
            bytes.extend(half.to_le_bytes());
        }
    }
    bytes.truncate(window_bytes());
    bytes
}

/// A start for `block`, over memory as `base`.
pub fn start(block: &Block, base: &[u8], random: &mut Random) -> Start {
    let mut registers = Registers { flags: 0x202 | random.next() & 0x8d5, ..Registers::default() };
    if random.once_in(4) {
        registers.flags |= 1 << 10;
    }
    general(&mut registers, block.mode, random);
    let mut memory = base.to_vec();
    for offset in block.items.iter().filter_map(|item| item.operand) {
        operand(&mut memory, offset, random);
    }
    for item in &block.items {
        let mnemonic = item.instruction.map(|instruction| instruction.mnemonic());
        if let (Some(offset), Some(mnemonic)) = (item.operand, mnemonic)
            && (excluded::saves_components(mnemonic) || excluded::restores_components(mnemonic))
        {
            area(&mut memory, offset, random);
        }
    }
    if block.vectors {
        vectors(&mut registers, random);
        for indices in block.items.iter().filter_map(|item| item.indices) {
            small_indices(&mut registers, indices, random);
        }
    }
    Start { registers, memory }
}

fn general(registers: &mut Registers, mode: Mode, random: &mut Random) {
    let count = if mode == Mode::SixtyFour { 16 } else { 8 };
    let mask = if mode == Mode::SixtyFour { u64::MAX } else { 0xffff_ffff };
    for index in 0..count {
        registers.general[index] = if index > 0 && random.once_in(6) {
            registers.general[random.below(index as u64) as usize]
        } else {
            random.general() & mask
        };
    }
}

/// An operand of one of the kinds there are.
fn operand(memory: &mut [u8], offset: u64, random: &mut Random) {
    let kind = random.below(6);
    let bytes: [u8; 16] = match kind {
        4 => {
            let (sign_exponent, significand) = random.extended(0x3fff);
            (u128::from(significand) | u128::from(sign_exponent) << 64).to_le_bytes()
        }
        // MXCSR and control words with bits that do not exist are rare.
        5 => u128::from(random.next() & 0xffff).to_le_bytes(),
        _ => {
            let [low, high] = random.vector(kind);
            (u128::from(low) | u128::from(high) << 64).to_le_bytes()
        }
    };
    for (at, byte) in (offset..).zip(bytes) {
        if let Some(place) = window_index(at).and_then(|index| memory.get_mut(index)) {
            *place = byte;
        }
    }
    // FXRSTOR's MXCSR.
    if random.once_in(2)
        && let Some(index) = window_index(offset + 24)
    {
        memory
            .iter_mut()
            .skip(index)
            .take(4)
            .zip((random.next() & 0xffff).to_le_bytes())
            .for_each(|(place, byte)| *place = byte);
    }
}

/// The header of an XSAVE area, of both formats, mostly one that can be loaded; and its MXCSR.
fn area(memory: &mut [u8], offset: u64, random: &mut Random) {
    const COMPACTED: u64 = 1 << 63;
    const KEYS: u64 = 1 << 9;
    let present = if random.once_in(10) { random.general() } else { random.next() & 7 };
    let more = random.next() & (7 | KEYS);
    let compaction = match random.below(16) {
        0 => random.general(),
        1 => random.next() & (7 | KEYS) | COMPACTED,
        2..=8 => present | more | COMPACTED,
        _ => 0,
    };
    let mut header = [0; 8];
    (header[0], header[1]) = (present, compaction);
    if random.once_in(6) {
        header[2 + random.below(6) as usize] = 1 << random.below(64);
    }
    let mut put = |at: u64, bytes: &[u8]| {
        for (at, byte) in (offset + at..).zip(bytes) {
            if let Some(place) = window_index(at).and_then(|index| memory.get_mut(index)) {
                *place = *byte;
            }
        }
    };
    for (at, word) in (512..).step_by(8).zip(header) {
        put(at, &word.to_le_bytes());
    }
    if !random.once_in(8) {
        put(24, &mxcsr(random).to_le_bytes());
    }
}

fn vectors(registers: &mut Registers, random: &mut Random) {
    let image = &mut registers.vectors;
    let masks = match random.below(8) {
        0..=4 => 0x3f,
        5 => 0,
        _ => random.next() as u16 & 0x3f,
    };
    let precision = random.pick(&[3, 3, 3, 2, 2, 0, 0, 3]);
    image.set_control(masks | 0x40 | random.next() as u16 & 0xc00 | precision << 8);
    let top = random.below(8) as u16;
    let flags = if random.once_in(2) { random.next() as u16 & masks } else { 0 };
    image.set_status(random.next() as u16 & 0x4700 | top << 11 | flags);
    image.set_valid(match random.below(10) {
        0 | 1 => random.next() as u8,
        2 => 0xff,
        _ => 0x3f_u8.rotate_left(top.into()),
    });
    let mut near = 0x3fff;
    let integers = random.once_in(2);
    for index in 0..8 {
        let value =
            if integers { (random.next() as u16, random.vector(2)[0]) } else { random.extended(near) };
        near = value.0 & 0x7fff;
        image.set_st(index, value);
    }
    image.set_mxcsr(mxcsr(random));
    let kind = random.next();
    for index in 0..16 {
        let value = random.vector(kind);
        image.set_xmm(index, if index > 0 && random.once_in(8) { image.xmm(index - 1) } else { value });
        let value = random.vector(kind);
        image.set_upper(index, value);
    }
}

fn mxcsr(random: &mut Random) -> u32 {
    let masks = match random.below(8) {
        0..=4 => 0x3f,
        5 => 0,
        _ => random.next() as u32 & 0x3f,
    };
    let flags = if random.once_in(2) { random.next() as u32 & 0x3f } else { 0 };
    let denormals = if random.once_in(4) { 1 << 6 } else { 0 };
    let flush = if random.once_in(4) { 1 << 15 } else { 0 };
    masks << 7 | (random.next() as u32 & 3) << 13 | flags | denormals | flush
}

/// A gather's indices mostly reach no further than the page.
fn small_indices(registers: &mut Registers, Indices { register, wide }: Indices, random: &mut Random) {
    let far = random.once_in(8);
    let mut index = || {
        let small = random.below(128) as i64 - 64;
        if far && random.once_in(4) { random.general() } else { small as u64 }
    };
    let mut half = || if wide { index() } else { index() & 0xffff_ffff | index() << 32 };
    let (low, high) = ([half(), half()], [half(), half()]);
    registers.vectors.set_xmm(register, low);
    registers.vectors.set_upper(register, high);
}
