//! MMX, SSE up to SSE4.2, AES, PCLMULQDQ: each row is one instruction with all registers before and what changed, as
//! a processor gave it; then what the manual says of modes and faults.

mod common;

use common::{
    DATA, Machine,
    registers::{Asm, Code, check, check_fault, check_on, ready},
};
use iced_x86::code_asm::*;
use rstest::rstest;
use warmboot_cpu::{
    models,
    state::{cr0, cr4},
};

#[rstest]
#[case::add_wraps(|a: Asm| a.paddb(mm0, mm1), "mm0=ff01800000000001 mm1=01017f00ffffffff", "mm0=2ff00ffffff00")]
#[case::add_saturates(|a: Asm| a.paddsw(mm0, mm1), "mm0=7fff80007fff0001 mm1=0001ffff8000ffff", "mm0=7fff8000ffff0000")]
#[case::subtract_unsigned(|a: Asm| a.psubusb(mm0, mm1), "mm0=0102030405060708 mm1=0807060504030201", "mm0=1030507")]
#[case::from_memory(|a: Asm| a.pxor(mm1, qword_ptr(esi)), "mm1=ffffffffffffffff m=0123456789abcdef", "mm1=1032547698badcfe")]
#[case::unpack_low(|a: Asm| a.punpcklbw(mm0, dword_ptr(esi)), "mm0=8877665544332211 m=aabbccdd", "mm0=dd44cc33bb22aa11")]
#[case::unpack_high(|a: Asm| a.punpckhwd(mm0, mm1), "mm0=8877665544332211 mm1=ffeeddccbbaa9988", "mm0=ffee8877ddcc6655")]
#[case::pack(|a: Asm| a.packuswb(mm0, mm1), "mm0=0100ff8000ff0001 mm1=7fff80000080ffff", "mm0=ff008000ff00ff01")]
#[case::multiply_add(|a: Asm| a.pmaddwd(mm0, mm1), "mm0=8000800000027fff mm1=8000800000037fff", "mm0=800000003fff0007")]
#[case::shift_too_far(|a: Asm| a.psrlw(mm0, 16), "mm0=8000800000027fff", "mm0=0")]
#[case::shift_sign(|a: Asm| a.psrad(mm0, 40), "mm0=8000800000027fff", "mm0=ffffffff00000000")]
#[case::average(|a: Asm| a.pavgb(mm0, mm1), "mm0=00ff01fe02fd03fc mm1=01ff02fe02fc0300", "mm0=1ff02fe02fd037e")]
#[case::difference(|a: Asm| a.psadbw(mm0, mm1), "mm0=00ff01fe02fd03fc mm1=01ff02fe02fc0300", "mm0=ff")]
#[case::shuffle(|a: Asm| a.pshufw(mm0, mm1, 0x1b), "mm0=0 mm1=8877665544332211", "mm0=2211443366558877")]
#[case::signs(|a: Asm| a.pmovmskb(eax, mm0), "mm0=80017f80ff00ff00 eax=34567890", "eax=9a")]
#[case::insert(|a: Asm| a.pinsrw(mm0, eax, 6), "mm0=8877665544332211 eax=1234abcd", "mm0=8877abcd44332211")]
#[case::move_to_memory(|a: Asm| a.movd(dword_ptr(esi), mm0), "mm0=8877665544332211 m=0000000000", "m=11223344")]
#[case::shuffle_bytes(|a: Asm| a.pshufb(mm0, mm1), "mm0=8877665544332211 mm1=8000010203040f07", "mm0=11223344558888")]
#[case::absolute(|a: Asm| a.pabsw(mm0, mm1), "mm0=0 mm1=80007fffffff0001", "mm0=80007fff00010001")]
#[case::align(|a: Asm| a.palignr(mm0, mm1, 11), "mm0=8877665544332211 mm1=ffeeddccbbaa9988", "mm0=8877665544")]
fn mmx(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

#[rstest]
#[case::add(|a: Asm| a.paddq(xmm0, xmm1), "xmm0=ffffffffffffffff0000000000000001 xmm1=0000000000000002ffffffffffffffff", "xmm0=10000000000000000")]
#[case::compare(|a: Asm| a.pcmpgtd(xmm0, xmm1), "xmm0=80000000000000017fffffff00000000 xmm1=7fffffff000000008000000000000000", "xmm0=ffffffffffffffff00000000")]
#[case::compare_quadwords(|a: Asm| a.pcmpgtq(xmm0, xmm1), "xmm0=80000000000000017fffffff00000000 xmm1=7fffffff000000008000000000000000", "xmm0=ffffffffffffffff")]
#[case::multiply(|a: Asm| a.pmuludq(xmm0, xmm1), "xmm0=ffffffffffffffff1111111180000001 xmm1=0000000100000003ffffffff7fffffff", "xmm0=2fffffffd3fffffffffffffff")]
#[case::multiply_signed(|a: Asm| a.pmuldq(xmm0, xmm1), "xmm0=ffffffffffffffff1111111180000001 xmm1=0000000100000003ffffffff7fffffff", "xmm0=fffffffffffffffdc0000000ffffffff")]
#[case::multiply_rounded(|a: Asm| a.pmulhrsw(xmm0, xmm1), "xmm0=80007fff40000001ffff800012345678 xmm1=80007fff40004000000180007fff8000", "xmm0=80007ffe20000001000080001234a988")]
#[case::multiply_add_bytes(|a: Asm| a.pmaddubsw(xmm0, xmm1), "xmm0=ffff00ff7f7f0102030405060708090a xmm1=7f7f80807f80ffff01ff02fe03fd04fc", "xmm0=7fff8080ff81fffdfffffffefffdfffc")]
#[case::horizontal(|a: Asm| a.phaddsw(xmm0, xmm1), "xmm0=7fff000180000001ffff800012345678 xmm1=80007fff40004000000180007fff8000", "xmm0=ffff7fff8001ffff7fff8001800068ac")]
#[case::shift_bytes(|a: Asm| a.pslldq(xmm0, 5), "xmm0=0102030405060708090a0b0c0d0e0f10", "xmm0=60708090a0b0c0d0e0f100000000000")]
#[case::shift_by_register(|a: Asm| a.psraw(xmm0, xmm1), "xmm0=80017fff40000001ffff800012345678 xmm1=ffffffffffffffff0000000000000003", "xmm0=f0000fff08000000fffff00002460acf")]
#[case::shuffle(|a: Asm| a.pshufd(xmm0, xmm1, 0x1b), "xmm0=0 xmm1=0102030405060708090a0b0c0d0e0f10", "xmm0=d0e0f10090a0b0c0506070801020304")]
#[case::shuffle_high(|a: Asm| a.pshufhw(xmm0, xmm1, 0x1b), "xmm0=0 xmm1=0102030405060708090a0b0c0d0e0f10", "xmm0=708050603040102090a0b0c0d0e0f10")]
#[case::shuffle_bytes(|a: Asm| a.pshufb(xmm0, xmm1), "xmm0=0102030405060708090a0b0c0d0e0f10 xmm1=80000102030405060708090a0b0c1f1f", "xmm0=100f0e0d0c0b0a0908070605040101")]
#[case::blend(|a: Asm| a.pblendvb(xmm1, xmm2), "xmm0=80007f80ff00ff00000000ff7f80ff01 xmm1=0102030405060708090a0b0c0d0e0f10 xmm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff00", "xmm1=f10203f4f506f708090a0bfc0dfeff10")]
#[case::extend(|a: Asm| a.pmovsxbd(xmm0, dword_ptr(esi)), "xmm0=0 m=80ff017f", "xmm0=7f00000001ffffffffffffff80")]
#[case::minimum_position(|a: Asm| a.phminposuw(xmm0, xmm1), "xmm0=1 xmm1=0102000405060708000400040d0e0f10", "xmm0=20004")]
#[case::block_differences(|a: Asm| a.mpsadbw(xmm0, xmm1, 5), "xmm0=0102030405060708090a0b0c0d0e0f10 xmm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff00", "xmm0=3dc03d803d403d003cc03c803c403c0")]
#[case::pack_unsigned(|a: Asm| a.packusdw(xmm0, xmm1), "xmm0=00010000ffffffff0000ffff80000000 xmm1=7fffffff00000001000000020000fffe", "xmm0=ffff00010002fffeffff0000ffff0000")]
#[case::extract(|a: Asm| a.pextrb(eax, xmm0, 15), "xmm0=8102030405060708090a0b0c0d0e0f10", "eax=81")]
#[case::insert_single(|a: Asm| a.insertps(xmm0, xmm1, 0xd8), "xmm0=0102030405060708090a0b0c0d0e0f10 xmm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff00", "xmm0=5060708f1f2f3f40d0e0f10")]
#[case::test(|a: Asm| a.ptest(xmm0, xmm1), "flags=8d5 xmm0=f0 xmm1=30", "flags=1")]
#[case::signs(|a: Asm| a.movmskps(eax, xmm0), "xmm0=80000000000000010000000080000000", "eax=9")]
#[case::equal_any(|a: Asm| a.pcmpistri(xmm0, xmm1, 0x00), "xmm0=6f6165 xmm1=21646c726f77202c6f6c6c6568 ecx=0", "flags=c1 ecx=1")]
#[case::in_ranges(|a: Asm| a.pcmpistrm(xmm1, xmm2, 0x44), "xmm1=7a615a41 xmm2=21646c726f77202c6f6c6c6548 xmm0=1", "xmm0=ffffffffff0000ffffffffff flags=8c1")]
#[case::not_equal_each(|a: Asm| a.pcmpestri(xmm0, xmm1, 0x18), "eax=8 edx=8 ecx=0 xmm0=6162636465666768 xmm1=6162633465666768", "flags=c1 ecx=4")]
#[case::substring(|a: Asm| a.pcmpistri(xmm0, xmm1, 0x4d), "xmm0=00620061 xmm1=0062006100620061 ecx=0", "flags=8c1 ecx=2")]
#[case::population(|a: Asm| a.popcnt(eax, ecx), "flags=8d5 eax=0 ecx=f0f01", "flags=0 eax=9")]
#[case::checksum(|a: Asm| a.crc32(eax, ecx), "eax=ffffffff ecx=12345678", "eax=4dece20c")]
fn integers(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

#[rstest]
#[case::third(|a: Asm| a.divss(xmm0, xmm1), "xmm0=ffffffff3f800000 xmm1=40400000", "mxcsr=1fa0 xmm0=ffffffff3eaaaaab")]
#[case::third_up(|a: Asm| a.divsd(xmm0, xmm1), "mxcsr=5f80 xmm0=3ff0000000000000 xmm1=4008000000000000", "mxcsr=5fa0 xmm0=3fd5555555555556")]
#[case::packed(|a: Asm| a.addps(xmm0, xmm1), "xmm0=7f7fffff000000017f80000040490fdb xmm1=7f7fffff00000001ff8000003f800000", "mxcsr=1fab xmm0=7f80000000000002ffc00000408487ee")]
#[case::first_nan(|a: Asm| a.mulps(xmm0, xmm1), "xmm0=7fc000017f8000017f80000000000000 xmm1=ffc00002ffc00002000000007f800000", "mxcsr=1f81 xmm0=7fc000017fc00001ffc00000ffc00000")]
#[case::denormals_are_zeros(|a: Asm| a.addsd(xmm0, xmm1), "mxcsr=1fc0 xmm0=8000000000000001 xmm1=8000000000000001", "xmm0=8000000000000000")]
#[case::flush_to_zero(|a: Asm| a.mulsd(xmm0, xmm1), "mxcsr=9f80 xmm0=8010000000000001 xmm1=3fe0000000000000", "mxcsr=9fb0 xmm0=8000000000000000")]
#[case::underflow(|a: Asm| a.mulsd(xmm0, xmm1), "xmm0=8010000000000001 xmm1=3fe0000000000000", "mxcsr=1fb0 xmm0=8008000000000000")]
#[case::divide_by_zero_unmasked(|a: Asm| a.divps(xmm0, xmm1), "mxcsr=1d80 xmm0=3f8000003f8000003f8000003f800000 xmm1=3f800000404000003f80000000000000", "#19 mxcsr=1d84")]
#[case::inexact_unmasked(|a: Asm| a.divss(xmm0, xmm1), "mxcsr=0f80 xmm0=3f800000 xmm1=40400000", "#19 mxcsr=fa0")]
#[case::exact_unmasked_underflow(|a: Asm| a.mulss(xmm0, xmm1), "mxcsr=1780 xmm0=00800000 xmm1=3f000000", "#19 mxcsr=1790")]
#[case::square_roots(|a: Asm| a.sqrtps(xmm0, xmm1), "xmm0=0 xmm1=40000000bf800000800000007f800000", "mxcsr=1fa1 xmm0=3fb504f3ffc00000800000007f800000")]
#[case::minimum_of_zeros(|a: Asm| a.minss(xmm0, xmm1), "xmm0=80000000 xmm1=0", "xmm0=0")]
#[case::maximum_of_nan(|a: Asm| a.maxsd(xmm0, xmm1), "xmm0=7ff8000000000000 xmm1=3ff0000000000000", "mxcsr=1f81 xmm0=3ff0000000000000")]
#[case::ordered(|a: Asm| a.cmpps(xmm2, xmm1, 7), "mxcsr=1f80 xmm1=80f00000000000007ff0000000000000 xmm2=0", "mxcsr=1f80 xmm1=80f00000000000007ff0000000000000 xmm2=ffffffffffffffff00000000ffffffff")]
#[case::not_less(|a: Asm| a.cmpps(xmm0, xmm1, 5), "xmm0=7fc00000000000003f80000040000000 xmm1=3f800000800000003f80000040400000", "mxcsr=1f81 xmm0=ffffffffffffffffffffffff00000000")]
#[case::unordered(|a: Asm| a.ucomiss(xmm0, xmm1), "xmm0=7fc00000 xmm1=3f800000", "flags=45")]
#[case::unordered_signals(|a: Asm| a.comisd(xmm0, xmm1), "xmm0=7ff8000000000000 xmm1=0", "mxcsr=1f81 flags=45")]
#[case::unordered_unmasked(|a: Asm| a.comisd(xmm0, xmm1), "mxcsr=1f00 flags=8d5 xmm0=7ff8000000000000 xmm1=0", "#19 mxcsr=1f01 flags=8d5")]
#[case::less(|a: Asm| a.comiss(xmm0, dword_ptr(esi)), "xmm0=bf800000 m=0000803f", "flags=1")]
#[case::round_to_even(|a: Asm| a.roundps(xmm0, xmm1, 0), "xmm0=0 xmm1=3f0000003fc0000040200000bf000000", "mxcsr=1fa0 xmm0=400000004000000080000000")]
#[case::round_silently(|a: Asm| a.roundsd(xmm0, xmm1, 0xa), "xmm0=0 xmm1=3ff8000000000000", "xmm0=4000000000000000")]
#[case::horizontal(|a: Asm| a.haddpd(xmm0, xmm1), "xmm0=3ff00000000000004000000000000000 xmm1=4010000000000000c020000000000000", "xmm0=c0100000000000004008000000000000")]
#[case::alternating(|a: Asm| a.addsubps(xmm0, xmm1), "xmm0=3f8000003f8000003f8000003f800000 xmm1=40000000400000004000000040000000", "xmm0=40400000bf80000040400000bf800000")]
#[case::dot_product(|a: Asm| a.dpps(xmm0, xmm1, 0x75), "xmm0=3f800000400000004040000040800000 xmm1=40a0000040c0000040e0000041000000", "xmm0=428200000000000042820000")]
#[case::widen(|a: Asm| a.cvtps2pd(xmm0, xmm1), "xmm0=0 xmm1=3f8ccccd7f800001", "mxcsr=1f81 xmm0=3ff19999a00000007ff8000020000000")]
#[case::narrow(|a: Asm| a.cvtpd2ps(xmm0, xmm1), "xmm0=ffffffffffffffffffffffffffffffff xmm1=3ff199999999999a47f0000000000000", "mxcsr=1fa8 xmm0=3f8ccccd7f800000")]
#[case::from_integers(|a: Asm| a.cvtdq2ps(xmm0, xmm1), "xmm0=0 xmm1=7fffffff800000000000000101000001", "mxcsr=1fa0 xmm0=4f000000cf0000003f8000004b800000")]
#[case::from_general(|a: Asm| a.cvtsi2ss(xmm0, eax), "eax=7fffffff xmm0=ffffffff00000000", "mxcsr=1fa0 xmm0=ffffffff4f000000")]
#[case::to_integers(|a: Asm| a.cvtps2dq(xmm0, xmm1), "xmm0=0 xmm1=4f0000003fc0000040200000cf000000", "mxcsr=1fa1 xmm0=80000000000000020000000280000000")]
#[case::to_general_cut(|a: Asm| a.cvttsd2si(eax, xmm0), "xmm0=c00e000000000000", "mxcsr=1fa0 eax=fffffffd")]
#[case::load_control(|a: Asm| a.ldmxcsr(dword_ptr(esi)), "m=c0ff0000", "mxcsr=ffc0")]
#[case::load_reserved(|a: Asm| a.ldmxcsr(dword_ptr(esi)), "m=00000100", "#13")]
#[case::scalar_from_memory(|a: Asm| a.movss(xmm0, dword_ptr(esi)), "xmm0=ffffffffffffffffffffffffffffffff m=0102030405060708", "xmm0=4030201")]
#[case::scalar_from_register(|a: Asm| a.movsd_2(xmm0, xmm1), "xmm0=ffffffffffffffffffffffffffffffff xmm1=102030405060708090a0b0c0d0e0f10", "xmm0=ffffffffffffffff090a0b0c0d0e0f10")]
#[case::duplicate(|a: Asm| a.movddup(xmm0, qword_ptr(esi)), "xmm0=0 m=0102030405060708", "xmm0=8070605040302010807060504030201")]
#[case::unaligned(|a: Asm| a.movdqu(xmmword_ptr(esi + 1), xmm0), "xmm0=102030405060708090a0b0c0d0e0f10 m=0000000000000000000000000000000000", "m=00100f0e0d0c0b0a0908070605040302010000000000000000000000")]
#[case::masked(|a: Asm| a.movmskpd(ecx, xmm0), "xmm0=80000000000000000000000000000000 ecx=5", "ecx=2")]
fn floats(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

#[rstest]
#[case::encrypt(|a: Asm| a.aesenc(xmm0, xmm1), "xmm0=7b5b54657374566563746f725d53475d xmm1=48692853686179295b477565726f6e5d", "xmm0=a8311c2f9fdba3c58b104b58ded7e595")]
#[case::encrypt_last(|a: Asm| a.aesenclast(xmm0, xmm1), "xmm0=7b5b54657374566563746f725d53475d xmm1=48692853686179295b477565726f6e5d", "xmm0=c7fb881e938c5964177ec42553fdc611")]
#[case::decrypt(|a: Asm| a.aesdec(xmm0, xmm1), "xmm0=7b5b54657374566563746f725d53475d xmm1=48692853686179295b477565726f6e5d", "xmm0=138ac342faea2787b58eb95eb730392a")]
#[case::decrypt_last(|a: Asm| a.aesdeclast(xmm0, xmm1), "xmm0=7b5b54657374566563746f725d53475d xmm1=48692853686179295b477565726f6e5d", "xmm0=c5a391ef6b317f95d410637b72a593d0")]
#[case::unmix(|a: Asm| a.aesimc(xmm0, xmm1), "xmm0=0 xmm1=48692853686179295b477565726f6e5d", "xmm0=597f8df109efaa15f39bc5a119d859b6")]
#[case::assist_key(|a: Asm| a.aeskeygenassist(xmm0, xmm1, 1), "xmm0=0 xmm1=3c4fcf098815f7aba6d2ae2816157e2b", "xmm0=1eb848beb848a013424b5e524b5e434")]
#[case::carryless(|a: Asm| a.pclmulqdq(xmm0, xmm1, 0x10), "xmm0=7b5b54657374566563746f725d53475d xmm1=48692853686179295b477565726f6e5d", "xmm0=1bd17c8d556ab5a17fa540ac2a281315")]
fn cryptography(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

/// SSE4A, which only AMD's have.
#[rstest]
#[case::extract_field(|a: Asm| a.extrq_3(xmm0, 12, 20), "xmm0=7b5b54657374566563746f725d53475d", "xmm0=5d5")]
#[case::insert_field(|a: Asm| a.insertq_4(xmm0, xmm1, 12, 20), "xmm0=7b5b54657374566563746f725d53475d xmm1=abc", "xmm0=63746f72abc3475d")]
fn fields(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check_on(&models::QEMU64_1_4, code, before, after);
}

#[rstest]
#[case::mmx_not_there(|a: Asm| a.paddb(mm0, mm1), |m: &mut Machine| m.cpu.state_mut().cr0 |= cr0::EM, Some(6))]
#[case::mmx_switched(|a: Asm| a.emms(), |m: &mut Machine| m.cpu.state_mut().cr0 |= cr0::TS, Some(7))]
#[case::mmx_pending(|a: Asm| a.movd(mm0, eax), |m: &mut Machine| m.cpu.state_mut().fpu.status = 0x8081, Some(16))]
#[case::mmx_without_fxsr(|a: Asm| a.pshufw(mm0, mm1, 0), |m: &mut Machine| m.cpu.state_mut().cr4 = 0, None)]
#[case::sse_without_fxsr(|a: Asm| a.movaps(xmm0, xmm1), |m: &mut Machine| m.cpu.state_mut().cr4 = 0, Some(6))]
#[case::sse_not_there(|a: Asm| a.pand(xmm0, xmm1), |m: &mut Machine| m.cpu.state_mut().cr0 |= cr0::EM, Some(6))]
#[case::sse_switched(|a: Asm| a.stmxcsr(dword_ptr(esi)), |m: &mut Machine| m.cpu.state_mut().cr0 |= cr0::TS, Some(7))]
#[case::sse_with_x87_pending(|a: Asm| a.addps(xmm0, xmm1), |m: &mut Machine| m.cpu.state_mut().fpu.status = 0x8081, None)]
#[case::conversion_with_x87_pending(|a: Asm| a.cvtps2pi(mm0, xmm1), |m: &mut Machine| m.cpu.state_mut().fpu.status = 0x8081, Some(16))]
#[case::fence_needs_nothing(|a: Asm| a.sfence(), |m: &mut Machine| m.cpu.state_mut().cr4 = 0, None)]
#[case::unaligned(|a: Asm| a.movaps(xmm0, xmmword_ptr(esi + 8)), |_: &mut Machine| {}, Some(13))]
#[case::unaligned_operand(|a: Asm| a.paddb(xmm0, xmmword_ptr(esi + 1)), |_: &mut Machine| {}, Some(13))]
#[case::text_needs_no_alignment(|a: Asm| a.pcmpistri(xmm0, xmmword_ptr(esi + 1), 0), |_: &mut Machine| {}, None)]
#[case::no_exceptions_wanted(|a: Asm| a.divss(xmm0, xmm1), |m: &mut Machine| {
    m.cpu.state_mut().cr4 = cr4::OSFXSR;
    m.cpu.state_mut().sse.mxcsr = 0;
}, Some(6))]
fn faults(#[case] code: Code, #[case] prepare: fn(&mut Machine), #[case] vector: Option<u64>) {
    check_fault(code, prepare, vector);
}

/// MMX takes x87's registers as they lie, marks all in use, and writes ones to sign and exponent; EMMS
/// gives them back.
#[rstest]
#[case::write(|a: Asm| a.movd(mm1, eax), 0, 0xff, [0x3fff, 0xffff])]
#[case::read(|a: Asm| a.movd(dword_ptr(esi), mm1), 0, 0xff, [0x3fff, 0x3fff])]
#[case::leave(|a: Asm| a.emms(), 0, 0, [0x3fff, 0x3fff])]
#[case::conversion_from_memory(|a: Asm| a.cvtpi2ps(xmm0, qword_ptr(esi)), 5, 0x21, [0x3fff, 0x3fff])]
#[case::conversion(|a: Asm| a.cvttpd2pi(mm1, xmm0), 0, 0xff, [0x3fff, 0xffff])]
fn aliases_x87(#[case] code: Code, #[case] top: u16, #[case] valid: u8, #[case] exponents: [u16; 2]) {
    let (mut machine, _) = ready(code);
    let fpu = &mut machine.cpu.state_mut().fpu;
    fpu.status = 5 << 11;
    fpu.valid = 0x21;
    for register in &mut fpu.registers {
        register.sign_exponent = 0x3fff;
    }
    machine.run();
    let fpu = &machine.state().fpu;
    assert_eq!((fpu.status, fpu.valid), (top << 11, valid));
    assert_eq!([fpu.registers[0].sign_exponent, fpu.registers[1].sign_exponent], exponents);
}

/// Sixteen bytes across a page that cannot be written leave the first one alone.
#[test]
fn a_store_is_all_or_nothing() {
    let (mut machine, _) = ready(|a: Asm| a.movups(xmmword_ptr(esi), xmm0));
    let state = machine.cpu.state_mut();
    state.sse.registers[0] = [u64::MAX; 2];
    state.segments[3].limit = DATA as u32 + 11;
    machine.run();
    assert_eq!(machine.vector(), Some(13));
    assert_eq!(machine.bus.peek(DATA, 8), 0);
}

/// MASKMOVDQU writes the bytes chosen, through the segment named, and probes no other.
#[test]
fn masked_bytes_through_a_segment() {
    let (mut machine, _) = ready(|a: Asm| {
        a.db(&[0x64])?;
        a.maskmovdqu(xmm0, xmm1)
    });
    let state = machine.cpu.state_mut();
    state.gpr[7] = 0x10;
    state.segments[4].base = DATA;
    state.segments[4].limit = 0x12;
    state.sse.registers[0] = [0x8877_6655_4433_2211, 0];
    state.sse.registers[1] = [0x0080_0080, 0];
    machine.run();
    assert_eq!(machine.vector(), None);
    assert_eq!(machine.bus.peek(DATA + 0x10, 8), 0x33_0011);
}
