//! Which of several faults comes first, and which instructions are none: found by comparing with the
//! processor of a host (`cargo xtask silicon`), an AMD EPYC of the third generation.

mod common;

use common::{DATA, Machine};
use rstest::rstest;
use warmboot_cpu::{
    Stop,
    fpu::Extended,
    models::{MAX, Model, QEMU64},
    state::{cr4, gpr},
};

/// Nothing is mapped here.
const NOWHERE: u64 = 0x4000_0000;
/// 2^8191, which overflows every shorter format.
const LARGE: Extended = Extended { sign_exponent: 0x5ffe, significand: 1 << 63 };

/// A user's 64-bit `code` with RBX = `at`, all exceptions of x87 enabled, ST(0) = `first`: the exception,
/// its error code and CR2.
fn check(
    model: &'static Model,
    code: &[u8],
    at: u64,
    first: Option<Extended>,
    expect: Option<(u64, Option<u64>, u64)>,
) {
    let mut machine = Machine::long(model, 3, code);
    let state = machine.cpu.state_mut();
    state.cr4 |= cr4::OSFXSR;
    state.gpr[usize::from(gpr::RBX)] = at;
    state.fpu.control = 0x340;
    state.fpu.registers[0] = first.unwrap_or_default();
    state.fpu.valid = u8::from(first.is_some());
    let (_, stop) = machine.run();
    // HLT behind the instruction is a user's #GP(0).
    assert_eq!(stop, Stop::Halt);
    let after = machine.stack_quad(usize::from(machine.vector() != Some(6)) as u64) - common::CODE;
    let through = after == code.len() as u64 - 1;
    let error = (machine.vector() != Some(6)).then(|| machine.stack_quad(0));
    let found = machine.vector().filter(|_| !through).map(|vector| (vector, error, machine.state().cr2));
    assert_eq!(found, expect);
    if expect.is_some() && first.is_some() {
        assert_eq!(machine.state().fpu.status, 0, "nothing was raised");
    }
}

const PAGE: Option<(u64, Option<u64>, u64)> = Some((14, Some(6), NOWHERE));
const PROTECTION: Option<(u64, Option<u64>, u64)> = Some((13, Some(0), 0));

#[rstest]
#[case::store_that_overflows(&[0xd9, 0x13, 0xf4], NOWHERE, Some(LARGE), PAGE)]
#[case::integer_that_overflows(&[0xdb, 0x13, 0xf4], NOWHERE, Some(LARGE), PAGE)]
#[case::decimal_that_overflows(&[0xdf, 0x33, 0xf4], NOWHERE, Some(LARGE), PAGE)]
#[case::store_of_nothing(&[0xd9, 0x1b, 0xf4], NOWHERE, None, PAGE)]
#[case::extended_of_nothing(&[0xdb, 0x3b, 0xf4], NOWHERE, None, PAGE)]
#[case::first_byte_of_sixteen(&[0x0f, 0x11, 0x03, 0xf4], NOWHERE, None, PAGE)]
#[case::fxsave_misaligned_nowhere(&[0x0f, 0xae, 0x03, 0xf4], NOWHERE + 8, None, PROTECTION)]
#[case::cmpxchg16b_misaligned_nowhere(&[0x48, 0x0f, 0xc7, 0x0b, 0xf4], NOWHERE + 8, None, PROTECTION)]
#[case::reachable(&[0xd9, 0x13, 0xf4], DATA, None, None)]
fn memory_first(
    #[case] code: &[u8],
    #[case] at: u64,
    #[case] first: Option<Extended>,
    #[case] expect: Option<(u64, Option<u64>, u64)>,
) {
    check(&MAX, code, at, first, expect);
}

#[rstest]
#[case::prefetch_of_a_register_amd(&QEMU64, &[0x0f, 0x0d, 0xc0, 0xf4], Some((6, None, 0)))]
#[case::prefetch_of_a_register_intel(&MAX, &[0x0f, 0x0d, 0xc0, 0xf4], None)]
#[case::sysexit_amd(&QEMU64, &[0x0f, 0x35, 0xf4], PROTECTION)]
#[case::sysexit_intel(&MAX, &[0x0f, 0x35, 0xf4], PROTECTION)]
fn vendors(
    #[case] model: &'static Model,
    #[case] code: &[u8],
    #[case] expect: Option<(u64, Option<u64>, u64)>,
) {
    check(model, code, DATA, None, expect);
}
