//! Processor registers by name, as scenarios and reports spell them.

use warmboot_cpu::State;

use crate::ConfigError;

const GENERAL: [[&str; 3]; 16] = [
    ["rax", "eax", "ax"],
    ["rcx", "ecx", "cx"],
    ["rdx", "edx", "dx"],
    ["rbx", "ebx", "bx"],
    ["rsp", "esp", "sp"],
    ["rbp", "ebp", "bp"],
    ["rsi", "esi", "si"],
    ["rdi", "edi", "di"],
    ["r8", "r8d", "r8w"],
    ["r9", "r9d", "r9w"],
    ["r10", "r10d", "r10w"],
    ["r11", "r11d", "r11w"],
    ["r12", "r12d", "r12w"],
    ["r13", "r13d", "r13w"],
    ["r14", "r14d", "r14w"],
    ["r15", "r15d", "r15w"],
];
const LOW: [&str; 4] = ["al", "cl", "dl", "bl"];
const HIGH: [&str; 4] = ["ah", "ch", "dh", "bh"];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];

/// The number of the processor a name is of, and the name without it: `cpu1.eax` is the second's.
pub(crate) fn processor_of(name: &str) -> (usize, &str) {
    let numbered = || {
        let (number, name) = name.strip_prefix("cpu")?.split_once('.')?;
        Some((number.parse().ok()?, name))
    };
    numbered().unwrap_or((0, name))
}

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
    if let Some(value) = extended(state, name) {
        return Some(value);
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

/// Registers of x87, MMX, SSE and AVX. What is wider than 64 bits has parts: `st0.significand` and
/// `st0.sign_exponent`, and the quadwords `xmm0.0` and `xmm0.1`, `ymm0.0` to `ymm0.3`, from the lowest up.
fn extended(state: &State, name: &str) -> Option<u64> {
    let fpu = &state.fpu;
    match name {
        "fcw" => return Some(fpu.control.into()),
        "fsw" => return Some(fpu.status.into()),
        "ftw" => return Some(fpu.tags().into()),
        "fop" => return Some(fpu.opcode.into()),
        "mxcsr" => return Some(state.sse.mxcsr.into()),
        "xcr0" => return Some(state.avx.xcr0),
        _ => {}
    }
    if let Some(index) = numbered(name, "mm", 8) {
        return fpu.registers.get(index).map(|register| register.significand);
    }
    let (register, part) = name.split_once('.')?;
    if let Some(index) = numbered(register, "st", 8) {
        let register = fpu.st(index as u8);
        return match part {
            "significand" => Some(register.significand),
            "sign_exponent" => Some(register.sign_exponent.into()),
            _ => None,
        };
    }
    let (index, quadwords) = numbered(register, "xmm", 16)
        .map(|index| (index, 2))
        .or_else(|| numbered(register, "ymm", 16).map(|index| (index, 4)))?;
    let quadword = numbered(part, "", quadwords)?;
    let half = if quadword < 2 { state.sse.registers.get(index) } else { state.avx.upper.get(index) };
    half.and_then(|half| half.get(quadword % 2)).copied()
}

/// The number below `count` that follows `prefix`, as a person writes it.
fn numbered(name: &str, prefix: &str, count: usize) -> Option<usize> {
    let digits = name.strip_prefix(prefix)?;
    digits.parse().ok().filter(|number: &usize| *number < count && number.to_string() == digits)
}

/// Sets the register called `name`: a general one or a part of it, the instruction pointer, EFLAGS.
pub(crate) fn write(state: &mut State, name: &str, value: u64) -> Result<(), ConfigError> {
    let (mask, shift) = shape(name)
        .ok_or_else(|| ConfigError::new(format!("register `{name}` cannot be set, or does not exist")))?;
    if value & !mask != 0 {
        return Err(ConfigError::new(format!("register `{name}` cannot hold {value:#x}")));
    }
    let merge = |old: u64| (old & !(mask << shift)) | value << shift;
    if matches!(name, "eflags" | "flags") {
        state.flags.set_bits(u32::try_from(value).unwrap_or(0));
    } else if matches!(name, "rip" | "eip" | "ip") {
        state.rip = merge(state.rip);
    } else if let Some(register) = index(name).and_then(|index| state.gpr.get_mut(index)) {
        *register = merge(*register);
    }
    Ok(())
}

/// The general register that `name` is or is part of.
fn index(name: &str) -> Option<usize> {
    let part = |names: &[&str]| names.iter().position(|known| *known == name);
    GENERAL.iter().position(|names| names.contains(&name)).or_else(|| part(&LOW)).or_else(|| part(&HIGH))
}

/// The bits a name stands for, and how far they are from bit 0.
fn shape(name: &str) -> Option<(u64, u32)> {
    match name {
        "rip" => return Some((u64::MAX, 0)),
        "eip" | "eflags" | "flags" => return Some((0xffff_ffff, 0)),
        "ip" => return Some((0xffff, 0)),
        _ => {}
    }
    if LOW.contains(&name) {
        return Some((0xff, 0));
    }
    if HIGH.contains(&name) {
        return Some((0xff, 8));
    }
    let width = GENERAL.iter().find_map(|names| names.iter().position(|known| *known == name))?;
    [u64::MAX, 0xffff_ffff, 0xffff].get(width).map(|mask| (*mask, 0))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("eax", 0x1234_5678, Ok("rax"), 0xffff_ffff_1234_5678)]
    #[case("ah", 0x12, Ok("rax"), 0xffff_ffff_ffff_12ff)]
    #[case("di", 1, Ok("rdi"), 0xffff_ffff_ffff_0001)]
    #[case("r15w", 1, Ok("r15"), 0xffff_ffff_ffff_0001)]
    #[case("ip", 5, Ok("rip"), 5)]
    #[case("eflags", 0x202, Ok("eflags"), 0x202)]
    #[case("al", 0x100, Err("register `al` cannot hold 0x100"), 0)]
    #[case("cr0", 0, Err("register `cr0` cannot be set, or does not exist"), 0)]
    fn setting(
        #[case] name: &str,
        #[case] value: u64,
        #[case] expect: Result<&str, &str>,
        #[case] after: u64,
    ) {
        let mut state = State::default();
        state.gpr[..16].fill(u64::MAX);
        state.rip = 0;
        match (write(&mut state, name, value), expect) {
            (Ok(()), Ok(whole)) => assert_eq!(read(&state, whole), Some(after)),
            (Err(error), Err(expect)) => assert_eq!(error.to_string(), expect),
            (result, _) => panic!("{result:?}"),
        }
    }

    #[rstest]
    #[case("fcw", Some(0x37f))]
    #[case("fsw", Some(0x3000))]
    #[case::tags_of_r0_to_r7("ftw", Some(0xff3f & !0x3000 | 0x1000))]
    #[case("fop", Some(0x1d9))]
    #[case("mxcsr", Some(0x1f80))]
    #[case("xcr0", Some(7))]
    #[case::relative_to_top("st0.significand", Some(0))]
    #[case("st5.significand", Some(0x8000_0000_0000_0003))]
    #[case("st5.sign_exponent", Some(0xbfff))]
    #[case::not_relative("mm3", Some(0x8000_0000_0000_0003))]
    #[case("xmm15.0", Some(0x150))]
    #[case("xmm15.1", Some(0x151))]
    #[case("ymm15.1", Some(0x151))]
    #[case("ymm15.2", Some(0x152))]
    #[case("ymm15.3", Some(0x153))]
    #[case::too_wide_for_one("xmm0", None)]
    #[case("st0", None)]
    #[case("st8.significand", None)]
    #[case("st0.exponent", None)]
    #[case("mm8", None)]
    #[case("mm03", None)]
    #[case("xmm0.2", None)]
    #[case("ymm0.4", None)]
    #[case("ymm16.0", None)]
    fn numeric(#[case] name: &str, #[case] expect: Option<u64>) {
        let mut state = State::default();
        (state.fpu.control, state.fpu.status, state.fpu.opcode) = (0x37f, 6 << 11, 0x1d9);
        (state.sse.mxcsr, state.avx.xcr0) = (0x1f80, 7);
        // R3 is -1.5 and a bit, R6 a zero, the others are empty.
        state.fpu.valid = 1 << 3 | 1 << 6;
        state.fpu.registers[3].significand = 0x8000_0000_0000_0003;
        state.fpu.registers[3].sign_exponent = 0xbfff;
        state.sse.registers[15] = [0x150, 0x151];
        state.avx.upper[15] = [0x152, 0x153];
        assert_eq!(read(&state, name), expect);
    }
}
