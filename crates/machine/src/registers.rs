//! Processor registers by name, as scenarios and reports spell them.

use warmboot_cpu::State;

const GENERAL: [[&str; 3]; 8] = [
    ["rax", "eax", "ax"],
    ["rcx", "ecx", "cx"],
    ["rdx", "edx", "dx"],
    ["rbx", "ebx", "bx"],
    ["rsp", "esp", "sp"],
    ["rbp", "ebp", "bp"],
    ["rsi", "esi", "si"],
    ["rdi", "edi", "di"],
];
const LOW: [&str; 4] = ["al", "cl", "dl", "bl"];
const HIGH: [&str; 4] = ["ah", "ch", "dh", "bh"];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];

/// The value of the register called `name`, in lower case.
pub(crate) fn read(state: &State, name: &str) -> Option<u64> {
    for (value, names) in state.gpr.iter().zip(GENERAL) {
        let masks = [u64::MAX, 0xffff_ffff, 0xffff];
        if let Some(width) = names.iter().position(|known| *known == name) {
            return masks.get(width).map(|mask| value & mask);
        }
    }
    if let Some(index) = LOW.iter().position(|known| *known == name) {
        return state.gpr.get(index).map(|value| value & 0xff);
    }
    if let Some(index) = HIGH.iter().position(|known| *known == name) {
        return state.gpr.get(index).map(|value| value >> 8 & 0xff);
    }
    if let Some(index) = SEGMENTS.iter().position(|known| *known == name) {
        return state.segments.get(index).map(|segment| u64::from(segment.selector));
    }
    if let Some(base) = name.strip_suffix(".base") {
        let index = SEGMENTS.iter().position(|known| *known == base)?;
        return state.segments.get(index).map(|segment| segment.base);
    }
    Some(match name {
        "rip" => state.rip,
        "eip" => state.rip & 0xffff_ffff,
        "ip" => state.rip & 0xffff,
        "eflags" | "flags" => u64::from(state.flags.bits()),
        "cr0" => state.cr0,
        "cr2" => state.cr2,
        "cr3" => state.cr3,
        "cr4" => state.cr4,
        "ldtr" => u64::from(state.ldtr.selector),
        "tr" => u64::from(state.tr.selector),
        "smbase" => u64::from(state.smbase),
        "cpl" => u64::from(state.cpl),
        _ => return None,
    })
}
