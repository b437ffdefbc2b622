//! One instruction on x87, MMX, SSE and AVX registers written as text, compared in all of them.
//!
//! The expected values in the tables that use this are those a real processor gave.

use iced_x86::{IcedError, code_asm::CodeAssembler};
use warmboot_cpu::{
    Cpu, Model, State, Stop,
    features::Feature,
    flags::{Flags, bit},
    fpu::{Extended, xcr0},
    models,
    state::{cr0, cr4, gpr},
};

use super::{CODE, DATA, Machine, assemble};

pub type Asm<'a> = &'a mut CodeAssembler;
pub type Code = fn(Asm) -> Result<(), IcedError>;

/// What a text sets, or expects.
#[derive(Clone, Debug)]
struct Registers {
    state: State,
    memory: Vec<u8>,
    vector: Option<u64>,
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).expect("hexadecimal")
}

/// Sixteen bytes, low half first.
fn halves(text: &str) -> [u64; 2] {
    let value = u128::from_str_radix(text, 16).expect("hexadecimal");
    [value as u64, (value >> 64) as u64]
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| hex(&text[2 * at..2 * at + 2]) as u8).collect()
}

/// Number of the register that is ST(`index`).
fn physical(state: &State, index: &str) -> usize {
    let top = usize::from(state.fpu.status >> 11 & 7);
    (top + hex(index) as usize) & 7
}

fn set_stack(state: &mut State, index: &str, value: &str) {
    let at = physical(state, index);
    state.fpu.valid &= !(1 << at);
    if let Some((sign_exponent, significand)) = value.split_once(':') {
        state.fpu.valid |= 1 << at;
        state.fpu.registers[at] =
            Extended { sign_exponent: hex(sign_exponent) as u16, significand: hex(significand) };
    }
}

impl Registers {
    /// `cw=37f sw=0 st0=3fff:8000000000000000 mm1=12 xmm2=34 ymm3=56 mxcsr=1f80 eax=1 flags=45 m=0011 #19`:
    /// `m` is memory at ESI, byte by byte; `st1=empty`; `#19` an exception.
    fn apply(&mut self, text: &str) {
        let state = &mut self.state;
        for word in text.split_whitespace() {
            if let Some(vector) = word.strip_prefix('#') {
                self.vector = vector.parse().ok();
                continue;
            }
            let (name, value) = word.split_once('=').expect("name=value");
            match name {
                "cw" => state.fpu.control = hex(value) as u16,
                "sw" => state.fpu.status = hex(value) as u16,
                "mxcsr" => state.sse.mxcsr = hex(value) as u32,
                "eax" => state.gpr[0] = hex(value),
                "ecx" => state.gpr[1] = hex(value),
                "edx" => state.gpr[2] = hex(value),
                "edi" => state.gpr[7] = hex(value),
                "flags" => state.flags.set_arithmetic(hex(value) as u32),
                "m" => {
                    let bytes = bytes(value);
                    let length = self.memory.len().max(bytes.len());
                    self.memory.resize(length, 0);
                    self.memory[..bytes.len()].copy_from_slice(&bytes);
                }
                _ if name.starts_with("st") => set_stack(state, &name[2..], value),
                _ if name.starts_with("mm") => {
                    let at = hex(&name[2..]) as usize;
                    state.fpu.valid = 0xff;
                    state.fpu.registers[at] = Extended { sign_exponent: 0xffff, significand: hex(value) };
                }
                _ if name.starts_with("xmm") => {
                    state.sse.registers[hex(&name[3..]) as usize] = halves(value);
                }
                _ if name.starts_with("ymm") => {
                    let at = hex(&name[3..]) as usize;
                    let (high, low) = value.split_at(value.len().saturating_sub(32));
                    state.sse.registers[at] = halves(low);
                    state.avx.upper[at] = halves(if high.is_empty() { "0" } else { high });
                }
                _ => panic!("no register is called {name}"),
            }
        }
    }
}

/// A machine of the model that has nearly everything, whose next instructions are `code` and a HLT, with
/// x87, SSE and AVX switched on.
pub fn ready(code: Code) -> (Machine, u64) {
    ready_on(&models::MAX, code)
}

pub fn ready_on(model: &'static Model, code: Code) -> (Machine, u64) {
    let mut code = assemble(32, CODE, code);
    let length = code.len() as u64;
    code.push(0xf4);
    let mut machine = Machine::protected(0, &code);
    let before = machine.state().clone();
    machine.cpu = Cpu::new(model, 0);
    let state = machine.cpu.state_mut();
    *state = before;
    state.cr0 |= cr0::NE;
    state.cr4 |= cr4::OSFXSR | cr4::OSXMMEXCPT;
    if model.features.has(Feature::Xsave) {
        state.cr4 |= cr4::OSXSAVE;
        state.avx.xcr0 = xcr0::X87 | xcr0::SSE | xcr0::AVX;
    }
    state.fpu.control = 0x37f;
    state.fpu.valid = 0;
    state.gpr[usize::from(gpr::RSI)] = DATA;
    (machine, length)
}

/// Runs `code` from `before`, and expects `before` changed by `after` in all registers and in the
/// memory mentioned.
pub fn check(code: Code, before: &str, after: &str) {
    check_on(&models::MAX, code, before, after);
}

/// As [`check`], on another model.
pub fn check_on(model: &'static Model, code: Code, before: &str, after: &str) {
    let (mut machine, length) = ready_on(model, code);
    let state = machine.state().clone();
    let mut registers = Registers { state, memory: Vec::new(), vector: None };
    registers.apply(before);
    *machine.cpu.state_mut() = registers.state.clone();
    machine.bus.poke(DATA, &registers.memory);
    assert_eq!(machine.run().1, Stop::Halt);
    registers.apply(after);

    let got = machine.state();
    let expected = &registers.state;
    assert_eq!(machine.vector(), registers.vector, "vector");
    if registers.vector.is_none() {
        assert_eq!(got.rip, CODE + length + 1);
    }
    let stack = |state: &State| (state.fpu.control, state.fpu.status, state.fpu.valid);
    assert_eq!(
        stack(got),
        stack(expected),
        "control, status, tags: {:x?} {:x?}",
        stack(got),
        stack(expected)
    );
    for index in 0..8 {
        if got.fpu.valid >> index & 1 != 0 {
            let (got, expected) = (got.fpu.registers[index], expected.fpu.registers[index]);
            assert_eq!(got, expected, "R{index}: {got:x?}, expected {expected:x?}");
        }
    }
    assert_eq!(got.sse, expected.sse, "{:x?}, expected {:x?}", got.sse, expected.sse);
    assert_eq!(got.avx, expected.avx, "{:x?}, expected {:x?}", got.avx, expected.avx);
    if registers.vector.is_none() {
        let arithmetic = |flags: Flags| flags.bits() & bit::ARITHMETIC;
        assert_eq!(got.gpr[..3], expected.gpr[..3], "{:x?}", got.gpr);
        assert_eq!(arithmetic(got.flags), arithmetic(expected.flags));
    }
    let memory: Vec<u8> = (DATA..).take(registers.memory.len()).map(|at| machine.bus.byte(at)).collect();
    assert_eq!(memory, registers.memory, "{memory:02x?}");
}

/// Runs an instruction, after `prepare`, and expects this exception of it, or none.
pub fn check_fault(code: Code, prepare: impl Fn(&mut Machine), vector: Option<u64>) {
    let (mut machine, _) = ready(code);
    prepare(&mut machine);
    assert_eq!(machine.run().1, Stop::Halt);
    assert_eq!(machine.vector(), vector);
    if vector.is_some() {
        // An error code lies below where it happened.
        assert_eq!(u64::from(machine.stack(if vector == Some(13) { 1 } else { 0 })), CODE);
    }
}
