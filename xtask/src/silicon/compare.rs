//! What must be the same after a block on both sides, and what the manual or a vendor leaves open.

use iced_x86::{Code, Instruction, Mnemonic};
use warmboot_silicon::{End, Registers, layout::Mode};

use super::{
    block::Block,
    explained::{self, Explained},
    place::WINDOWS,
};

/// What a block left behind.
#[derive(Clone)]
pub struct Outcome {
    /// Registers.
    pub registers: Registers,
    /// How it ended.
    pub end: End,
    /// The windows of the data, one after the other.
    pub memory: Vec<u8>,
}

/// How two outcomes relate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All the same.
    Same,
    /// They differ where the manual allows it: for this reason.
    Allowed(&'static str),
    /// They differ: these registers or bytes.
    Different(Vec<String>),
}

/// Flags that are compared: all but RF, which is set in what a fault saves, and which no user reads.
const FLAGS: u64 = 0x003e_7fd5;

/// Compares what `block` left on the processor and in ours.
pub fn compare(block: &Block, silicon: &Outcome, ours: &Outcome, rules: &Explained) -> Verdict {
    let mut allowed = None;
    let mut found = Vec::new();
    let mut same_end = silicon.end == ours.end;
    if !same_end {
        match rules.end(block, silicon, ours.end) {
            Some((reason, true)) => return Verdict::Allowed(reason),
            Some((reason, false)) => {
                allowed = Some(reason);
                same_end = true;
            }
            None => found.push(format!("end: {:x?}, here {:x?}", silicon.end, ours.end)),
        }
    }
    let bits = if block.mode == Mode::SixtyFour { u64::MAX } else { 0xffff_ffff };
    let count = if block.mode == Mode::SixtyFour { 16 } else { 8 };
    let general = silicon.registers.general.iter().zip(&ours.registers.general).take(count).enumerate();
    for (index, (theirs, own)) in general {
        if (theirs ^ own) & bits != 0 {
            found.push(format!("{}={theirs:x}, here {own:x}", super::report::GENERAL[index]));
        }
    }
    let open = u64::from(undefined(block, silicon.end));
    let (theirs, own) = (silicon.registers.flags, ours.registers.flags);
    if (theirs ^ own) & FLAGS & !open != 0 {
        found.push(format!("flags={:x}, here {:x}", theirs & FLAGS, own & FLAGS));
    }
    if silicon.memory != ours.memory {
        memory(block, silicon, ours, rules, &mut found, &mut allowed);
    }
    if block.vectors && silicon.registers.vectors != ours.registers.vectors {
        vectors(block, silicon, ours, rules, &mut found, &mut allowed);
    }
    match (found.is_empty(), allowed) {
        (true, None) => Verdict::Same,
        (true, Some(reason)) => Verdict::Allowed(reason),
        (false, _) => match same_end
            .then(|| {
                rules.partly(block, silicon.end).or_else(|| explained::in_use(block, &silicon.registers))
            })
            .flatten()
        {
            Some(reason) => Verdict::Allowed(reason),
            None => Verdict::Different(found),
        },
    }
}

/// Flags that are undefined where the block ended.
fn undefined(block: &Block, end: End) -> u32 {
    let after = block.items.last().map_or(0, |item| item.undefined_after);
    let End::Fault { vector, at, .. } = end else { return after };
    // INT3 and INTO are traps: they are behind the instruction, and the next has not begun.
    let at = if matches!(vector, 3 | 4) { at.wrapping_sub(1) } else { at };
    match block.item_at(at) {
        Some(item) => item.undefined_before,
        // A branch went astray: which one, the address does not say.
        None => block.items.iter().fold(after, |all, item| all | item.undefined_after),
    }
}

/// Where window bytes are in the data.
pub fn place_of(mut index: usize) -> u64 {
    for (at, length) in WINDOWS {
        if index < length {
            return super::place::FIRST + (at + index) as u64;
        }
        index -= length;
    }
    0
}

fn memory(
    block: &Block,
    silicon: &Outcome,
    ours: &Outcome,
    rules: &Explained,
    found: &mut Vec<String>,
    allowed: &mut Option<&'static str>,
) {
    let differing: Vec<usize> =
        (0..silicon.memory.len()).filter(|index| silicon.memory[*index] != ours.memory[*index]).collect();
    let mut left = Vec::new();
    for index in differing {
        match rules.memory(block, place_of(index)) {
            Some(reason) => *allowed = Some(reason),
            None => left.push(index),
        }
    }
    if let Some(first) = left.first() {
        let end = (first + 16).min(silicon.memory.len());
        found.push(format!(
            "memory at {:x}: {:02x?}, here {:02x?} ({} bytes differ)",
            place_of(*first),
            &silicon.memory[*first..end],
            &ours.memory[*first..end],
            left.len()
        ));
    }
}

fn vectors(
    block: &Block,
    silicon: &Outcome,
    ours: &Outcome,
    rules: &Explained,
    found: &mut Vec<String>,
    allowed: &mut Option<&'static str>,
) {
    let (theirs, own) = (&silicon.registers.vectors, &ours.registers.vectors);
    let only = match block.items.as_slice() {
        [item] => item.instruction,
        _ => None,
    };
    let transcendental = only.is_some_and(|instruction| is_transcendental(&instruction));
    let mut say = |name: String, theirs: u64, own: u64| {
        if theirs != own {
            found.push(format!("{name}={theirs:x}, here {own:x}"));
        }
    };
    say("cw".into(), theirs.control().into(), own.control().into());
    // C1 says whether the result was rounded up, which follows from the last bit.
    let open = if transcendental { 1 << 9 } else { 0 };
    say("sw".into(), u64::from(theirs.status() & !open), u64::from(own.status() & !open));
    say("tags".into(), theirs.valid().into(), own.valid().into());
    say("mxcsr".into(), theirs.mxcsr().into(), own.mxcsr().into());
    for index in 0..8 {
        let (left, right) = (theirs.st(index), own.st(index));
        if left == right {
            continue;
        }
        if left == (0, 0) && explained::can_be_switched(block) {
            *allowed = Some(explained::SWITCHED);
            continue;
        }
        if transcendental && index < 2 && ordinal(left).abs_diff(ordinal(right)) <= 1 {
            *allowed = Some(TRANSCENDENTAL);
            continue;
        }
        found
            .push(format!("st{index}={:04x}:{:016x}, here {:04x}:{:016x}", left.0, left.1, right.0, right.1));
    }
    let approximate = only.is_some_and(|instruction| is_approximate(&instruction));
    let mut pairs = Vec::new();
    for index in 0..16 {
        pairs.push((format!("xmm{index}"), theirs.xmm(index), own.xmm(index)));
        pairs.push((format!("ymm{index}-high"), theirs.upper(index), own.upper(index)));
    }
    for (name, left, right) in pairs.into_iter().filter(|(_, left, right)| left != right) {
        if approximate && lanes(left).into_iter().zip(lanes(right)).all(|(left, right)| near(left, right)) {
            *allowed = Some(APPROXIMATE);
        } else {
            found.push(format!(
                "{name}={:016x}{:016x}, here {:016x}{:016x}",
                left[1], left[0], right[1], right[0]
            ));
        }
    }
    if theirs.last() != own.last() {
        match rules.last_instruction(theirs.status()) {
            Some(reason) => *allowed = allowed.or(Some(reason)),
            None => found.push(format!("last x87 instruction {:x?}, here {:x?}", theirs.last(), own.last())),
        }
    }
}

/// Intel SDM vol. 1, 8.3.10: within 1 ulp.
const TRANSCENDENTAL: &str = "x87 transcendental, within 1 ulp (SDM vol. 1, 8.3.10)";
/// Intel SDM vol. 2, RCPPS and RSQRTPS: relative error at most 1.5 * 2^-12, on each side.
const APPROXIMATE: &str = "RCP or RSQRT, within 1.5 * 2^-12 on each side (SDM vol. 2, RCPPS, RSQRTPS)";

/// Whether its result is only near.
pub fn is_transcendental(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Code::F2xm1
            | Code::Fyl2x
            | Code::Fyl2xp1
            | Code::Fptan
            | Code::Fpatan
            | Code::Fsin
            | Code::Fcos
            | Code::Fsincos
    )
}

/// Whether its result is an approximation.
pub fn is_approximate(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Rcpps
            | Mnemonic::Rcpss
            | Mnemonic::Rsqrtps
            | Mnemonic::Rsqrtss
            | Mnemonic::Vrcpps
            | Mnemonic::Vrcpss
            | Mnemonic::Vrsqrtps
            | Mnemonic::Vrsqrtss
    )
}

/// The number of an extended value when all are counted in order: neighbours differ by one.
fn ordinal((sign_exponent, significand): (u16, u64)) -> i128 {
    let exponent = i128::from(sign_exponent & 0x7fff).max(1);
    let magnitude = (exponent << 63) + i128::from(significand) - (1 << 63);
    if sign_exponent >> 15 != 0 { -magnitude } else { magnitude }
}

fn lanes([low, high]: [u64; 2]) -> [u32; 4] {
    [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32]
}

fn near(left: u32, right: u32) -> bool {
    if left == right {
        return true;
    }
    let (left, right) = (f64::from(f32::from_bits(left)), f64::from(f32::from_bits(right)));
    let off = (left - right).abs();
    // Where the result is a denormal or nearly one, either may be flushed.
    off <= left.abs() * 3.0 / 4096.0 || off <= 1.2e-38
}
