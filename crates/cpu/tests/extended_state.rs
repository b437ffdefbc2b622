//! XSAVE and its relatives (Intel SDM vol. 1, chapter 13).

mod common;

use common::{
    CODE, DATA, Machine, assemble,
    registers::{Asm, Code, check_fault, ready, ready_on},
};
use iced_x86::code_asm::*;
use rstest::rstest;
use warmboot_cpu::{
    Cpu, Model, State, Stop,
    fpu::{Extended, xcr0},
    models::{HASWELL, MAX, QEMU64},
    state::{cr0, cr4},
};

const HEADER: u64 = DATA + 512;
const UPPER: u64 = DATA + 576;
const MXCSR: u64 = DATA + 24;
const XMM: u64 = DATA + 160;

/// Mask `eax`, after `prepare`; memory and registers are looked at by the caller.
fn run(code: Code, mask: u64, prepare: impl Fn(&mut Machine)) -> Machine {
    run_on(&MAX, code, mask, prepare)
}

fn run_on(model: &'static Model, code: Code, mask: u64, prepare: impl Fn(&mut Machine)) -> Machine {
    let (mut machine, _) = ready_on(model, code);
    machine.bus.poke(DATA, &[0xee; 832]);
    machine.bus.poke(HEADER, &[0; 64]);
    let state = machine.cpu.state_mut();
    state.gpr[0] = mask;
    state.gpr[2] = 0;
    prepare(&mut machine);
    assert_eq!(machine.run().1, Stop::Halt);
    machine
}

/// All that can be in use.
fn used(state: &mut State) {
    state.fpu.registers[0] = Extended { sign_exponent: 0x4000, significand: 0x1234 };
    state.sse.registers[1] = [0x11, 0x22];
    state.avx.upper[1] = [0x33, 0x44];
    state.sse.mxcsr = 0x1fa0;
}

const UNTOUCHED: u64 = 0xeeee_eeee_eeee_eeee;

/// What is written: XSTATE_BV, FCW (or what was there), MXCSR, XMM1 and the upper half of YMM1.
#[rstest]
#[case::nothing(|a: Asm| a.xsave(ptr(esi)), 0, true, [0x105, 0xeeee, 0xeeee, 0xee, 0xee])]
#[case::x87(|a: Asm| a.xsave(ptr(esi)), 1, true, [0x105, 0x37f, 0xeeee, 0xee, 0xee])]
#[case::sse(|a: Asm| a.xsave(ptr(esi)), 2, true, [0x107, 0xeeee, 0x1fa0, 0x11, 0xee])]
#[case::avx_has_mxcsr(|a: Asm| a.xsave(ptr(esi)), 4, true, [0x105, 0xeeee, 0x1fa0, 0xee, 0x33])]
#[case::all(|a: Asm| a.xsave(ptr(esi)), 7, true, [0x107, 0x37f, 0x1fa0, 0x11, 0x33])]
#[case::more_than_enabled(|a: Asm| a.xsave(ptr(esi)), 0xffff_ffff, true, [0x107, 0x37f, 0x1fa0, 0x11, 0x33])]
#[case::initial_is_written_too(|a: Asm| a.xsave(ptr(esi)), 7, false, [0x100, 0x37f, 0x1f80, 0, 0])]
#[case::optimized(|a: Asm| a.xsaveopt(ptr(esi)), 7, true, [0x107, 0x37f, 0x1fa0, 0x11, 0x33])]
#[case::optimized_initial(|a: Asm| a.xsaveopt(ptr(esi)), 7, false, [0x100, 0xeeee, 0x1f80, 0xee, 0xee])]
fn saves(#[case] code: Code, #[case] mask: u64, #[case] in_use: bool, #[case] expect: [u64; 5]) {
    let machine = run(code, mask, |machine| {
        machine.bus.poke(HEADER, &[5, 1]);
        machine.bus.poke(HEADER + 8, &[0xdd; 56]);
        let state = machine.cpu.state_mut();
        state.fpu.control = 0x37f;
        if in_use {
            used(state);
        }
    });
    let bus = &machine.bus;
    let got = [
        bus.peek(HEADER, 8),
        bus.peek(DATA, 2),
        bus.peek(MXCSR, 2),
        bus.peek(XMM + 16, 1),
        bus.peek(UPPER + 16, 1),
    ];
    assert_eq!(got, expect, "{got:x?}");
    // The rest of the header and what is the program's own stay.
    assert_eq!(bus.peek(HEADER + 8, 8), 0xdddd_dddd_dddd_dddd);
    assert_eq!(bus.peek(DATA + 416, 8), UNTOUCHED);
    // XMM8 is not there outside 64-bit mode.
    assert_eq!(bus.peek(XMM + 8 * 16, 8), UNTOUCHED);
    assert_eq!(bus.peek(UPPER + 8 * 16, 8), UNTOUCHED);
}

/// From an area of ones: FCW, MXCSR, XMM1 and the upper half of YMM1 afterwards.
#[rstest]
#[case::all(7, 7, [0x1f7f & 0x3f3f | 0x40, 0x1f81, 0x77, 0x99])]
#[case::not_wanted(7, 0, [0x37f, 0x1fa0, 0x11, 0x33])]
#[case::not_there(0, 7, [0x37f, 0x1f81, 0, 0])]
#[case::sse_only(7, 2, [0x37f, 0x1f81, 0x77, 0x33])]
#[case::avx_takes_mxcsr(0, 4, [0x37f, 0x1f81, 0x11, 0])]
#[case::x87_leaves_mxcsr(0, 1, [0x37f, 0x1fa0, 0x11, 0x33])]
fn restores(#[case] present: u8, #[case] mask: u64, #[case] expect: [u64; 4]) {
    let machine = run(
        |a: Asm| a.xrstor(ptr(esi)),
        mask,
        |machine| {
            machine.bus.poke(HEADER, &[present]);
            machine.bus.poke(DATA, &[0x7f, 0x1f]);
            machine.bus.poke32(MXCSR, 0x1f81);
            machine.bus.poke64(XMM + 16, 0x77);
            machine.bus.poke64(UPPER + 16, 0x99);
            used(machine.cpu.state_mut());
        },
    );
    assert_eq!(machine.vector(), None);
    let state = machine.state();
    let got =
        [state.fpu.control.into(), state.sse.mxcsr.into(), state.sse.registers[1][0], state.avx.upper[1][0]];
    assert_eq!(got, expect, "{got:x?}");
}

/// An area that cannot be taken is #GP(0), and nothing is.
#[rstest]
#[case::component_not_enabled(0, 8)]
#[case::reserved_component(7, 0x80)]
#[case::compaction_without_format(8, 1)]
#[case::reserved(16, 1)]
#[case::reserved_end(23, 0x80)]
fn refused(#[case] at: u64, #[case] value: u8) {
    let machine = run(
        |a: Asm| a.xrstor(ptr(esi)),
        7,
        |machine| {
            machine.bus.poke32(MXCSR, 0x1f80);
            machine.bus.set_byte(HEADER + at, value);
            used(machine.cpu.state_mut());
        },
    );
    assert_eq!(machine.vector(), Some(13));
    assert_eq!(machine.state().sse.registers[1], [0x11, 0x22]);
}

const COMPACTED: u64 = 1 << 63;

/// XSAVEC: XSTATE_BV, XCOMP_BV, FCW, MXCSR, XMM1 and the upper half of YMM1, or what was there.
#[rstest]
#[case::all(7, used, [7, COMPACTED | 7, 0x37f, 0x1fa0, 0x11, 0x33])]
#[case::more_than_enabled(0xffff_ffff, used, [7, COMPACTED | 7, 0x37f, 0x1fa0, 0x11, 0x33])]
#[case::nothing(0, used, [0, COMPACTED, 0xeeee, 0xeeee, 0xee, 0xee])]
#[case::nothing_in_use(7, |_: &mut State| {}, [0, COMPACTED | 7, 0xeeee, 0xeeee, 0xee, 0xee])]
#[case::mxcsr_makes_sse_used(7, |state: &mut State| state.sse.mxcsr = 0x1fa0,
    [2, COMPACTED | 7, 0xeeee, 0x1fa0, 0, 0xee])]
#[case::avx_has_no_mxcsr(4, used, [4, COMPACTED | 4, 0xeeee, 0xeeee, 0xee, 0x33])]
fn compacts(#[case] mask: u64, #[case] prepare: fn(&mut State), #[case] expect: [u64; 6]) {
    let machine = run(
        |a: Asm| a.xsavec(ptr(esi)),
        mask,
        |machine| {
            machine.bus.poke(HEADER, &[0xdd; 64]);
            let state = machine.cpu.state_mut();
            (state.fpu.control, state.sse.mxcsr) = (0x37f, 0x1f80);
            prepare(state);
        },
    );
    let bus = &machine.bus;
    let got = [
        bus.peek(HEADER, 8),
        bus.peek(HEADER + 8, 8),
        bus.peek(DATA, 2),
        bus.peek(MXCSR, 2),
        bus.peek(XMM + 16, 1),
        bus.peek(UPPER + 16, 1),
    ];
    assert_eq!(got, expect, "{got:x?}");
    assert_eq!(bus.peek(HEADER + 16, 8), 0xdddd_dddd_dddd_dddd);
}

/// Where PKRU is: four bytes, behind the components that XCOMP_BV names before it.
#[rstest]
#[case::standard(|a: Asm| a.xsave(ptr(esi)), 0x207, DATA + 0xa80)]
#[case::behind_avx(|a: Asm| a.xsavec(ptr(esi)), 0x207, UPPER + 256)]
#[case::behind_nothing(|a: Asm| a.xsavec(ptr(esi)), 0x203, UPPER)]
fn keys(#[case] code: Code, #[case] mask: u64, #[case] at: u64) {
    let machine = run(code, mask, |machine| {
        machine.bus.poke(DATA, &[0xee; 0xb00]);
        let state = machine.cpu.state_mut();
        (state.avx.xcr0, state.pkru) = (0x207, 0x5555_5554);
    });
    assert_eq!(machine.bus.peek(at, 8), 0xeeee_eeee_5555_5554);
}

/// From a compacted area of ones: MXCSR, XMM1 and the upper half of YMM1 afterwards.
#[rstest]
#[case::all(7, COMPACTED | 7, 7, Some([0x1f81, 0x77, 0x99]))]
#[case::not_there(0, COMPACTED | 7, 7, Some([0x1f80, 0, 0]))]
#[case::mxcsr_is_of_sse(4, COMPACTED | 4, 4, Some([0x1fa0, 0x11, 0x99]))]
#[case::x87_leaves_mxcsr(1, COMPACTED | 1, 1, Some([0x1fa0, 0x11, 0x33]))]
#[case::not_named(7, COMPACTED | 3, 7, None)]
#[case::not_enabled(0, COMPACTED | 8, 7, None)]
#[case::the_format_is_no_component(COMPACTED, COMPACTED | 7, 7, None)]
fn expands(
    #[case] present: u64,
    #[case] compaction: u64,
    #[case] mask: u64,
    #[case] expect: Option<[u64; 3]>,
) {
    let restore = |model, reserved| {
        run_on(
            model,
            |a: Asm| a.xrstor(ptr(esi)),
            mask,
            |machine| {
                machine.bus.poke64(HEADER, present);
                machine.bus.poke64(HEADER + 8, compaction);
                machine.bus.set_byte(HEADER + 63, reserved);
                machine.bus.poke32(MXCSR, 0x1f81);
                machine.bus.poke64(XMM + 16, 0x77);
                machine.bus.poke64(UPPER + 16, 0x99);
                used(machine.cpu.state_mut());
            },
        )
    };
    let machine = restore(&MAX, 0);
    assert_eq!(machine.vector(), if expect.is_some() { None } else { Some(13) });
    let state = machine.state();
    let got = [state.sse.mxcsr.into(), state.sse.registers[1][0], state.avx.upper[1][0]];
    assert_eq!(got, expect.unwrap_or([0x1fa0, 0x11, 0x33]), "{got:x?}");
    // Nothing of the header's end is allowed here, and nothing of it all without XSAVEC.
    assert_eq!(restore(&MAX, 1).vector(), Some(13));
    assert_eq!(restore(&HASWELL, 0).vector(), Some(13));
}

/// XGETBV with ECX = 1: what is enabled and in use.
#[rstest]
#[case::all(&MAX, used, 7, Some(7))]
#[case::not_enabled(&MAX, used, 3, Some(3))]
#[case::mxcsr_does_not_count(&MAX, |state: &mut State| state.sse.mxcsr = 0x1fa0, 7, Some(0))]
#[case::not_offered(&HASWELL, used, 7, None)]
fn in_use(
    #[case] model: &'static Model,
    #[case] prepare: fn(&mut State),
    #[case] enabled: u64,
    #[case] expect: Option<u64>,
) {
    let machine = run_on(
        model,
        |a: Asm| a.xgetbv(),
        0xffff,
        |machine| {
            let state = machine.cpu.state_mut();
            (state.fpu.control, state.avx.xcr0, state.gpr[1]) = (0x37f, enabled, 1);
            prepare(state);
        },
    );
    assert_eq!(machine.vector(), if expect.is_some() { None } else { Some(13) });
    assert_eq!(machine.state().gpr[0], expect.unwrap_or(0xffff));
}

/// Bytes of the header that the standard format leaves alone are not looked at.
#[test]
fn the_end_of_the_header_does_not_matter() {
    let machine = run(
        |a: Asm| a.xrstor(ptr(esi)),
        7,
        |machine| {
            machine.bus.poke32(MXCSR, 0x1f80);
            machine.bus.poke(HEADER + 24, &[0xff; 40]);
        },
    );
    assert_eq!(machine.vector(), None);
}

#[test]
fn reserved_bits_of_mxcsr_are_refused() {
    let machine = run(|a: Asm| a.xrstor(ptr(esi)), 4, |machine| machine.bus.poke32(MXCSR, 0x1_0000));
    assert_eq!(machine.vector(), Some(13));
}

fn change(machine: &mut Machine, change: fn(&mut State)) {
    change(machine.cpu.state_mut());
}

#[rstest]
#[case::get_not_switched_on(|a: Asm| a.xgetbv(), |m: &mut Machine| change(m, |state| state.cr4 = 0), Some(6))]
#[case::set_not_switched_on(|a: Asm| a.xsetbv(), |m: &mut Machine| change(m, |state| state.cr4 = 0), Some(6))]
#[case::save_not_switched_on(|a: Asm| a.xsave(ptr(esi)), |m: &mut Machine| change(m, |state| state.cr4 = 0), Some(6))]
#[case::save_switched(|a: Asm| a.xsave(ptr(esi)), |m: &mut Machine| change(m, |state| state.cr0 |= cr0::TS), Some(7))]
#[case::restore_switched(|a: Asm| a.xrstor(ptr(esi)), |m: &mut Machine| change(m, |state| state.cr0 |= cr0::TS), Some(7))]
#[case::emulation_does_not_matter(|a: Asm| a.xsave(ptr(esi)), |m: &mut Machine| change(m, |state| state.cr0 |= cr0::EM), None)]
#[case::get_while_switched(|a: Asm| a.xgetbv(), |m: &mut Machine| change(m, |state| state.cr0 |= cr0::TS), None)]
#[case::get_other(|a: Asm| a.xgetbv(), |m: &mut Machine| change(m, |state| state.gpr[1] = 2), Some(13))]
#[case::set_other(|a: Asm| a.xsetbv(), |m: &mut Machine| change(m, |state| state.gpr[1] = 1), Some(13))]
#[case::unaligned(|a: Asm| a.xsave(ptr(esi + 32)), |_: &mut Machine| {}, Some(13))]
#[case::unaligned_restore(|a: Asm| a.xrstor(ptr(esi + 16)), |_: &mut Machine| {}, Some(13))]
#[case::beyond_the_segment(|a: Asm| a.xsave(ptr(esi)), |m: &mut Machine| change(m, |state| {
    state.gpr[0] = 7;
    state.segments[3].limit = DATA as u32 + 831;
}), None)]
#[case::within_the_segment(|a: Asm| a.xsave(ptr(esi)), |m: &mut Machine| change(m, |state| {
    state.gpr[0] = 7;
    state.segments[3].limit = DATA as u32 + 830;
}), Some(13))]
#[case::locked(|a: Asm| a.db(&[0xf0, 0x0f, 0xae, 0x26]), |_: &mut Machine| {}, Some(6))]
#[case::not_offered(|a: Asm| a.xsaves(ptr(esi)), |_: &mut Machine| {}, Some(6))]
fn faults(#[case] code: Code, #[case] prepare: fn(&mut Machine), #[case] vector: Option<u64>) {
    check_fault(code, prepare, vector);
}

/// XSETBV: which values XCR0 takes.
#[rstest]
#[case::x87(1, true)]
#[case::sse(3, true)]
#[case::avx(7, true)]
#[case::keys(0x207, true)]
#[case::without_x87(6, false)]
#[case::avx_without_sse(5, false)]
#[case::not_offered(0xf, false)]
#[case::reserved(1 << 63 | 1, false)]
fn enables(#[case] value: u64, #[case] taken: bool) {
    let (mut machine, _) = ready(|a: Asm| a.xsetbv());
    let state = machine.cpu.state_mut();
    (state.gpr[0], state.gpr[2], state.gpr[1]) = (value & 0xffff_ffff, value >> 32, 0);
    machine.run();
    assert_eq!(machine.vector(), if taken { None } else { Some(13) });
    assert_eq!(machine.state().avx.xcr0, if taken { value } else { 7 });
}

/// A program may read XCR0, but not change it.
#[rstest]
#[case::get(&[0x0f, 0x01, 0xd0], None)]
#[case::set(&[0x0f, 0x01, 0xd1], Some(13))]
fn at_ring_3(#[case] code: &[u8], #[case] vector: Option<u64>) {
    let mut code = code.to_vec();
    code.extend([0xcd, 0x40]);
    let mut machine = Machine::protected(3, &code);
    let before = machine.state().clone();
    machine.cpu = Cpu::new(&MAX, 0);
    let state = machine.cpu.state_mut();
    *state = before;
    state.cr4 |= cr4::OSXSAVE;
    (state.gpr[0], state.gpr[1]) = (3, 0);
    machine.run();
    assert_eq!(machine.vector(), vector.or(Some(0x40)));
    assert_eq!(machine.state().avx.xcr0, 1);
}

/// CPUID: leaf 1 tells whether the system has switched it on, leaf 0Dh how long what it has enabled is.
#[rstest]
#[case::x87(&HASWELL, 1, [576, 832])]
#[case::sse(&HASWELL, 3, [576, 832])]
#[case::avx(&HASWELL, 7, [832, 832])]
#[case::keys(&MAX, 0x207, [0xa88, 0xa88])]
#[case::keys_not_enabled(&MAX, 7, [832, 0xa88])]
fn cpuid(#[case] model: &'static Model, #[case] enabled: u64, #[case] expect: [u64; 2]) {
    let code = assemble(64, CODE, |a| {
        a.mov(eax, 0xd)?;
        a.xor(ecx, ecx)?;
        a.cpuid()?;
        a.mov(r8, rbx)?;
        a.mov(r9, rcx)?;
        a.mov(eax, 1)?;
        a.cpuid()?;
        a.hlt()
    });
    let mut machine = Machine::long(model, 0, &code);
    let state = machine.cpu.state_mut();
    state.cr4 |= cr4::OSXSAVE;
    state.avx.xcr0 = enabled;
    machine.run();
    let registers = machine.state().gpr;
    assert_eq!([registers[8], registers[9]], expect);
    assert_ne!(registers[1] & 1 << 27, 0);
}

/// In 64-bit mode all sixteen registers and whole pointers, and the keys of `max`.
#[test]
fn all_of_64_bit_mode() {
    let code = assemble(64, CODE, |a| {
        a.xsave64(ptr(rsi))?;
        a.hlt()
    });
    let mut machine = Machine::long(&MAX, 0, &code);
    let state = machine.cpu.state_mut();
    state.cr4 |= cr4::OSXSAVE;
    state.avx.xcr0 = 0x207;
    (state.gpr[6], state.gpr[0], state.gpr[2]) = (DATA, 0xffff_ffff, 0);
    state.fpu.instruction.offset = 0x1234_5678_9abc;
    state.sse.registers[15] = [1, 2];
    state.avx.upper[15] = [3, 4];
    state.pkru = 0x5555_5554;
    machine.run();
    assert_eq!(machine.bus.peek(HEADER, 8), 0x207);
    assert_eq!(machine.bus.peek(DATA + 8, 8), 0x1234_5678_9abc);
    assert_eq!(machine.bus.peek(XMM + 15 * 16, 8), 1);
    assert_eq!(machine.bus.peek(UPPER + 15 * 16 + 8, 8), 4);
    assert_eq!(machine.bus.peek(DATA + 0xa80, 8), 0x5555_5554);
}

/// A saved state that no such processor can be in is refused.
#[rstest]
#[case::as_it_starts(&HASWELL, |_: &mut State| {}, None)]
#[case::enabled(&HASWELL, |state: &mut State| state.avx.xcr0 = 7, None)]
#[case::component_it_has_not(&HASWELL, |state: &mut State| state.avx.xcr0 = 0x207, Some("xcr0"))]
#[case::avx_without_sse(&MAX, |state: &mut State| state.avx.xcr0 = 5, Some("xcr0"))]
#[case::without_x87(&MAX, |state: &mut State| state.avx.xcr0 = 0, Some("xcr0"))]
#[case::no_such_register(&QEMU64, |state: &mut State| state.avx.xcr0 = xcr0::X87 | xcr0::SSE, Some("xcr0"))]
#[case::no_such_half(&QEMU64, |state: &mut State| state.avx.upper[1] = [0, 1], Some("YMM"))]
fn saved_states(
    #[case] model: &'static Model,
    #[case] change: fn(&mut State),
    #[case] refusal: Option<&str>,
) {
    let mut cpu: Cpu<warmboot_cpu::testing::FlatBus> = Cpu::new(model, 0);
    let mut state = cpu.state().clone();
    change(&mut state);
    let error = cpu.restore(state, false).err().map(|error| error.to_string());
    assert_eq!(error.is_some(), refusal.is_some(), "{error:?}");
    assert!(error.unwrap_or_default().contains(refusal.unwrap_or_default()));
}
