//! AVX, AVX2, FMA, F16C: each row is one instruction with all registers before and what changed, as a processor
//! gave it; then what the manual says of modes and faults.

mod common;

use common::{
    CODE, DATA, HIGH, Machine, assemble,
    registers::{Asm, Code, check, check_fault, ready},
};
use iced_x86::code_asm::*;
use rstest::rstest;
use warmboot_cpu::{
    State, Stop,
    fpu::xcr0,
    models,
    state::{cr0, cr4},
};

#[rstest]
#[case::load_narrow(|a: Asm| a.vmovups(xmm1, xmmword_ptr(esi + 1)), "ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f m=00112233445566778899aabbccddeeff01", "ymm1=1ffeeddccbbaa998877665544332211")]
#[case::store_wide(|a: Asm| a.vmovdqu(ymmword_ptr(esi + 3), ymm1), "ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f m=000000000000000000000000000000000000000000000000000000000000000000000000", "m=0000009f94939291908988878685848382818000fffefdfcfbfaf9f8f7f6f5f4f3f2f100")]
#[case::register_narrow(|a: Asm| a.vmovaps(xmm0, xmm1), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=8081828384858687888990919293949f")]
#[case::legacy_keeps_upper(|a: Asm| a.movaps(xmm0, xmm1), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=102030405060708090a0b0c0d0e0f108081828384858687888990919293949f")]
#[case::scalar(|a: Asm| a.vmovss_3(xmm0, xmm1, xmm2), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f ymm2=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=8081828384858687888990911d1e1f20")]
#[case::scalar_from_memory(|a: Asm| a.vmovsd(xmm0, qword_ptr(esi)), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 m=0102030405060708", "ymm0=807060504030201")]
#[case::high_half(|a: Asm| a.vmovhps_3(xmm0, xmm1, qword_ptr(esi)), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f m=0102030405060708", "ymm0=807060504030201888990919293949f")]
#[case::low_to_high(|a: Asm| a.vmovlhps(xmm0, xmm1, xmm2), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f ymm2=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=191a1b1c1d1e1f20888990919293949f")]
#[case::duplicate(|a: Asm| a.vmovddup(ymm0, ymm1), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=90a0b0c0d0e0f10090a0b0c0d0e0f10191a1b1c1d1e1f20191a1b1c1d1e1f20")]
#[case::general(|a: Asm| a.vmovd(xmm0, eax), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 eax=89abcdef", "ymm0=89abcdef")]
#[case::insert(|a: Asm| a.vpinsrw(xmm0, xmm1, eax, 5), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f eax=1234abcd", "ymm0=80818283abcd8687888990919293949f")]
#[case::extract(|a: Asm| a.vpextrb(eax, xmm0, 15), "ymm0=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "eax=80")]
#[case::insert_single(|a: Asm| a.vinsertps(xmm0, xmm1, xmm2, 0xd8), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=15161718808182831d1e1f20")]
#[case::signs(|a: Asm| a.vpmovmskb(eax, ymm0), "ymm0=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "eax=fffeffff")]
#[case::sign_of_singles(|a: Asm| a.vmovmskps(eax, ymm0), "ymm0=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "eax=ff")]
#[case::test(|a: Asm| a.vptest(ymm0, ymm1), "flags=8d5 ymm0=f00000000000000000000000000000000 ymm1=f00000000000000000000000000000001", "flags=0")]
#[case::test_signs(|a: Asm| a.vtestpd(ymm0, ymm1), "flags=8d5 ymm0=7fffffffffffffff8000000000000000 ymm1=8000000000000000", "flags=1")]
#[case::text(|a: Asm| a.vpcmpistrm(xmm1, xmm2, 0x44), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=7a615a41 ymm2=21646c726f77202c6f6c6c6548", "ymm0=ffffffffff0000ffffffffff flags=8c1")]
#[case::zero_all(|a: Asm| a.vzeroall(), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm7=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=0 ymm7=0")]
#[case::zero_upper(|a: Asm| a.vzeroupper(), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm7=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=1112131415161718191a1b1c1d1e1f20 ymm7=8081828384858687888990919293949f")]
fn moves(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

#[rstest]
#[case::add(|a: Asm| a.vpaddb(ymm0, ymm1, ymm2), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=f2f4f6f8fafcfe00020406080a0c0e1091939597999b9d9fa1a3abadafb1b3bf")]
#[case::add_narrow(|a: Asm| a.vpaddw(xmm0, xmm1, xmmword_ptr(esi + 1)), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f m=00112233445566778899aabbccddeeff0102", "ymm0=82807160514031201100f6e6d6c6b6b0")]
#[case::subtract_onto_itself(|a: Asm| a.vpsubq(ymm1, ymm2, ymm1), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm1=f0f0f0f0f0f0f0f0f0f0f0f0f0f0eff06f6f6f6f6f6f6f6f6f6f75757575757f")]
#[case::compare(|a: Asm| a.vpcmpgtb(ymm0, ymm1, ymm2), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff")]
#[case::multiply_add(|a: Asm| a.vpmaddwd(ymm0, ymm1, ymm2), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=ffcd81b4ff951984ff9d3194ffd6b9e4ee25854eeadf0a16e87c59c6e67fa91a")]
#[case::differences(|a: Asm| a.vpsadbw(ymm0, ymm1, ymm2), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=78000000000000006a0000000000000037800000000000003a6")]
#[case::block_differences(|a: Asm| a.vmpsadbw(ymm0, ymm1, ymm2, 0x2d), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=3dc03d803d403d003cc03c803c403c001e401e001dc01d801d401d001cc01c8")]
#[case::horizontal(|a: Asm| a.vphaddsw(ymm0, ymm1, ymm2), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=e5e6edeef5f6fcfe04060c0e14161c1e800080008000800024262c2e34363c3e")]
#[case::absolute(|a: Asm| a.vpabsd(ymm0, ymm1), "ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=e0d0c0c0a09080806050404020101007f7e7d7d7b7a797977766f6f6d6c6b61")]
#[case::shift_immediate(|a: Asm| a.vpsraw(ymm0, ymm1, 3), "ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=fe3efe7efebefeffff3fff7fffbfffe0f010f050f090f0d0f111f212f252f293")]
#[case::shift_by_register(|a: Asm| a.vpslld(ymm0, ymm1, xmm2), "ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f ymm2=7000000000000000000000000000000005", "ymm0=3e5e7e80bedeff003f5f7f80bfdfe0001030506090b0d0e011321220527293e0")]
#[case::shift_bytes(|a: Asm| a.vpsrldq(ymm0, ymm1, 5), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=102030405060708090a0b00000000001112131415161718191a1b")]
#[case::shift_each(|a: Asm| a.vpsllvd(ymm0, ymm1, ymm2), "ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f ymm2=1f0000002000000021ffffffff00000001000000040000000800000000", "ymm0=103050648586870899091009293949f")]
#[case::shift_each_wide(|a: Asm| a.vpsrlvq(ymm0, ymm1, ymm2), "ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f ymm2=4000000000000003f00000001000000000000000000000004", "ymm0=f1f2f3f4f5f6f7f000000000000000100000000000000000888990919293949")]
#[case::shift_each_sign(|a: Asm| a.vpsravd(xmm0, xmm1, xmm2), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f ymm2=1f000000400000021ffffffff", "ymm0=c040c141ffffffffffffffffffffffff")]
#[case::pack(|a: Asm| a.vpackuswb(ymm0, ymm1, ymm2), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=ffffffffffffffff0000000000000000ffffffffffffffff")]
#[case::unpack_high(|a: Asm| a.vpunpckhwd(ymm0, ymm1, ymm2), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=f1f20102f3f40304f5f60506f7f8070880811112828313148485151686871718")]
#[case::shuffle_bytes(|a: Asm| a.vpshufb(ymm0, ymm1, ymm2), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=1000000000000000000000000000000000")]
#[case::shuffle(|a: Asm| a.vpshufd(ymm0, ymm1, 0x1b), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=d0e0f10090a0b0c05060708010203041d1e1f20191a1b1c1516171811121314")]
#[case::align(|a: Asm| a.vpalignr(ymm0, ymm1, ymm2, 5), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=c0d0e0f10f1f2f3f4f5f6f7f8f9fafb1c1d1e1f208081828384858687888990")]
#[case::align_far(|a: Asm| a.vpalignr(xmm0, xmm1, xmm2, 19), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=1112131415161718191a1b1c1d")]
#[case::blend_words(|a: Asm| a.vpblendw(ymm0, ymm1, ymm2, 0x5a), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=102f3f40506f7f8f9fa0b0cfdfe0f10111282831516868788891b1c92931f20")]
#[case::blend_doublewords(|a: Asm| a.vpblendd(ymm0, ymm1, ymm2, 0x5a), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=1020304f5f6f7f8090a0b0cfdfeff008081828315161718888990911d1e1f20")]
#[case::blend_by_signs(|a: Asm| a.vpblendvb(ymm0, ymm1, ymm2, ymm3), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f ymm3=80007f80ff00ff00000000ff7f80ff0180007f80ff00ff00000000ff7f80ff01", "ymm0=f10203f4f506f708090a0bfc0dfeff108012138384168618191a1b911d939420")]
#[case::extend(|a: Asm| a.vpmovzxbw(ymm0, xmm1), "ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=8000810082008300840085008600870088008900900091009200930094009f")]
#[case::extend_from_memory(|a: Asm| a.vpmovsxbq(ymm0, dword_ptr(esi)), "m=80ff017f", "ymm0=7f0000000000000001ffffffffffffffffffffffffffffff80")]
#[case::encrypt(|a: Asm| a.vaesenc(xmm0, xmm1, xmm2), "ymm0=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f ymm1=7b5b54657374566563746f725d53475d ymm2=48692853686179295b477565726f6e5d", "ymm0=a8311c2f9fdba3c58b104b58ded7e595")]
#[case::carryless(|a: Asm| a.vpclmulqdq(xmm0, xmm1, xmm2, 0x10), "ymm0=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f ymm1=7b5b54657374566563746f725d53475d ymm2=48692853686179295b477565726f6e5d", "ymm0=1bd17c8d556ab5a17fa540ac2a281315")]
fn integers(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

#[rstest]
#[case::broadcast_byte(|a: Asm| a.vpbroadcastb(ymm0, xmm1), "ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f9f")]
#[case::broadcast_single(|a: Asm| a.vbroadcastss(xmm0, dword_ptr(esi)), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 m=01020304", "ymm0=4030201040302010403020104030201")]
#[case::broadcast_lane(|a: Asm| a.vbroadcastf128(ymm0, xmmword_ptr(esi)), "m=00112233445566778899aabbccddeeff", "ymm0=ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100")]
#[case::insert(|a: Asm| a.vinserti128(ymm0, ymm1, xmm2, 1), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=8081828384858687888990919293949f1112131415161718191a1b1c1d1e1f20")]
#[case::extract(|a: Asm| a.vextractf128(xmm0, ymm1, 1), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=f1f2f3f4f5f6f7f8f9fafbfcfdfeff00")]
#[case::lanes(|a: Asm| a.vperm2f128(ymm0, ymm1, ymm2, 0x21), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=8081828384858687888990919293949f0102030405060708090a0b0c0d0e0f10")]
#[case::lanes_zeroed(|a: Asm| a.vperm2i128(ymm0, ymm1, ymm2, 0x83), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=f1f2f3f4f5f6f7f8f9fafbfcfdfeff00")]
#[case::doublewords(|a: Asm| a.vpermd(ymm0, ymm1, ymm2), "ymm1=70000000600000005000000040000000300000002000000010000000f ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=f1f2f3f4f5f6f7f8f9fafbfcfdfeff00808182838485868788899091f1f2f3f4")]
#[case::quadwords(|a: Asm| a.vpermq(ymm0, ymm1, 0x1b), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=191a1b1c1d1e1f201112131415161718090a0b0c0d0e0f100102030405060708")]
#[case::within_lanes(|a: Asm| a.vpermilps(ymm0, ymm1, 0x1b), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=d0e0f10090a0b0c05060708010203041d1e1f20191a1b1c1516171811121314")]
#[case::doubles_within_lanes(|a: Asm| a.vpermilpd(ymm0, ymm1, 0b0110), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=90a0b0c0d0e0f1001020304050607081112131415161718191a1b1c1d1e1f20")]
#[case::by_register(|a: Asm| a.vpermilpd(ymm0, ymm1, ymm2), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=200000000000000010000000000000000fffffffffffffffd", "ymm0=102030405060708090a0b0c0d0e0f10191a1b1c1d1e1f20191a1b1c1d1e1f20")]
#[case::shuffle_doubles(|a: Asm| a.vshufpd(ymm0, ymm1, ymm2, 0b0110), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=f9fafbfcfdfeff0001020304050607088081828384858687191a1b1c1d1e1f20")]
#[case::blend_singles(|a: Asm| a.vblendps(ymm0, ymm1, ymm2, 0xa5), "ymm1=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=f1f2f3f405060708f9fafbfc0d0e0f101112131484858687191a1b1c9293949f")]
fn permutations(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

#[rstest]
#[case::packed(|a: Asm| a.vaddps(ymm0, ymm1, ymm2), "ymm1=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm2=40a0000040c0000040e00000410000003f8000003f0000003e8000003e000000", "ymm0=40c00000410000004120000041400000c0800000c0b0000040e8000041020000")]
#[case::exceptions_of_both_lanes(|a: Asm| a.vdivps(ymm0, ymm1, ymm2), "ymm1=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm2=40a0000040c0000000000000410000003f8000003f0000007f80000140400000", "mxcsr=1fa5 ymm0=3e4ccccd3eaaaaab7f8000003f000000c0a00000c14000007fc00001402aaaab")]
#[case::unmasked_in_the_upper_lane(|a: Asm| a.vdivps(ymm0, ymm1, ymm2), "mxcsr=1d80 ymm1=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm2=40a0000040c0000000000000410000003f8000003f0000003f80000040400000", "#19 mxcsr=1d84")]
#[case::scalar(|a: Asm| a.vmulsd(xmm0, xmm1, xmm2), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f ymm2=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "mxcsr=1fb0 ymm0=80818283848586878000000000000000")]
#[case::square_root(|a: Asm| a.vsqrtss(xmm0, xmm1, xmm2), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f ymm2=40000000", "mxcsr=1fa0 ymm0=8081828384858687888990913fb504f3")]
#[case::first_nan(|a: Asm| a.vmulpd(ymm0, ymm1, ymm2), "ymm1=7ff8000000000001fff00000000000020000000000000000 ymm2=7ff00000000000013ff00000000000007ff0000000000000", "mxcsr=1f81 ymm0=7ff8000000000001fff8000000000002fff8000000000000")]
#[case::greater_quietly(|a: Asm| a.vcmpps(ymm0, ymm1, ymm2, 0x1e), "ymm1=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm2=7fc000003f8000004040000040400000", "ymm0=ffffffffffffffffffffffffffffffff0000000000000000ffffffffffffffff")]
#[case::not_equal_ordered(|a: Asm| a.vcmppd(xmm0, xmm1, xmm2, 0x0c), "ymm1=7ff80000000000003ff0000000000000 ymm2=3ff00000000000004000000000000000", "ymm0=ffffffffffffffff")]
#[case::true_and_signaling(|a: Asm| a.vcmpss(xmm0, xmm1, xmm2, 0x1f), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990917fc00000 ymm2=3f800000", "mxcsr=1f81 ymm0=808182838485868788899091ffffffff")]
#[case::compare(|a: Asm| a.vucomisd(xmm0, xmm1), "ymm0=3ff0000000000000 ymm1=4000000000000000", "flags=1")]
#[case::horizontal(|a: Asm| a.vhsubps(ymm0, ymm1, ymm2), "ymm1=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm2=40a0000040c0000040e00000410000003f8000003f0000003e8000003e000000", "ymm0=3f8000003f8000003f8000003f800000bf000000be000000bf8000003f800000")]
#[case::alternating(|a: Asm| a.vaddsubpd(ymm0, ymm1, ymm2), "ymm1=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm2=40a0000040c0000040e00000410000003f8000003f0000003e8000003e000000", "mxcsr=1fa0 ymm0=40a0000440c01000c0dff80081dfc000c09ffff9817fe08040e0000040ffc000")]
#[case::dot_product(|a: Asm| a.vdpps(ymm0, ymm1, ymm2, 0x75), "ymm1=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm2=40a0000040c0000040e00000410000003f8000003f0000003e8000003e000000", "ymm0=42820000000000004282000000000000be80000000000000be800000")]
#[case::round(|a: Asm| a.vroundps(ymm0, ymm1, 1), "ymm1=3f0000003fc0000040200000bf0000003f0000003fc0000040200000bf800000", "mxcsr=1fa0 ymm0=3f80000040000000bf800000000000003f80000040000000bf800000")]
#[case::minimum(|a: Asm| a.vminps(ymm0, ymm1, ymm2), "ymm1=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm2=7fc0000040c0000040e00000410000003f8000003f0000003e8000003e000000", "mxcsr=1f81 ymm0=7fc00000400000004040000040800000c0a00000c0c000003e8000003e000000")]
#[case::widen(|a: Asm| a.vcvtps2pd(ymm0, xmm1), "ymm1=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000", "ymm0=c014000000000000c018000000000000401c0000000000004020000000000000")]
#[case::narrow(|a: Asm| a.vcvtpd2ps(xmm0, ymmword_ptr(esi)), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 m=000000000000f03f9a9999999999b93f000000000000f0470000000000000080", "mxcsr=1fa8 ymm0=800000007f8000003dcccccd3f800000")]
#[case::to_integers(|a: Asm| a.vcvttpd2dq(xmm0, ymm1), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=c00e000000000000400e00000000000041e0000000000000bfe0000000000000", "mxcsr=1fa1 ymm0=fffffffd000000038000000000000000")]
#[case::from_integers(|a: Asm| a.vcvtdq2pd(ymm0, xmm1), "ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f", "ymm0=c1dfdf9f5f400000c1dede9e5e400000c1dddd9bdbc00000c1db5b1ad8400000")]
#[case::from_general(|a: Asm| a.vcvtsi2sd(xmm0, xmm1, eax), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f eax=ffffffff", "ymm0=8081828384858687bff0000000000000")]
#[case::to_general(|a: Asm| a.vcvtss2si(eax, xmm0), "ymm0=40200000", "mxcsr=1fa0 eax=2")]
#[case::scalar_narrowed(|a: Asm| a.vcvtsd2ss(xmm0, xmm1, xmm2), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff008081828384858687888990919293949f ymm2=3fb999999999999a", "mxcsr=1fa0 ymm0=8081828384858687888990913dcccccd")]
#[case::load_control(|a: Asm| a.vldmxcsr(dword_ptr(esi)), "m=c0ff0000", "mxcsr=ffc0")]
#[case::load_reserved(|a: Asm| a.vldmxcsr(dword_ptr(esi)), "m=00000100", "#13")]
fn floats(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

#[rstest]
#[case::rounded_once(|a: Asm| a.vfmadd213sd(xmm0, xmm1, xmm2), "ymm0=102030405060708090a0b0c0d0e0f1011121314151617183ff0000000000001 ymm1=3ff0000000000001 ymm2=bff0000000000002", "ymm0=11121314151617183970000000000000")]
#[case::rounded_twice_it_is_zero(|a: Asm| a.vmulsd(xmm0, xmm1, xmm2), "ymm1=3ff0000000000001 ymm2=3ff0000000000001", "mxcsr=1fa0 ymm0=3ff0000000000002")]
#[case::order_132(|a: Asm| a.vfmadd132ps(ymm0, ymm1, ymm2), "ymm0=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm1=40a0000040c0000040e00000410000003f8000003f0000003e8000003e000000 ymm2=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000", "ymm0=40c00000412000004180000041c0000041d00000421200004245000042804000")]
#[case::order_231(|a: Asm| a.vfmsub231pd(ymm0, ymm1, ymmword_ptr(esi)), "ymm0=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm1=40a0000040c0000040e00000410000003f8000003f0000003e8000003e000000 m=000000000000f03f9a9999999999b93f000000000000f0470000000000000080", "mxcsr=1fa0 ymm0=bf8000004000000048e000004100000040a00001272667fac0e0000040ffc000")]
#[case::negated(|a: Asm| a.vfnmadd213ss(xmm0, xmm1, xmm2), "ymm0=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm1=40a0000040c0000040e00000410000003f8000003f0000003e8000003e000000 ymm2=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000", "ymm0=c0a00000c0c0000040e0000040e00000")]
#[case::alternating(|a: Asm| a.vfmaddsub213ps(xmm0, xmm1, xmm2), "ymm0=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm1=40a0000040c0000040e00000410000003f8000003f0000003e8000003e000000 ymm2=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000", "ymm0=c120000040400000410c0000c0e00000")]
#[case::alternating_otherwise(|a: Asm| a.vfmsubadd231ps(ymm0, ymm1, ymm2), "ymm0=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000 ymm1=40a0000040c0000040e00000410000003f8000003f0000003e8000003e000000 ymm2=3f800000400000004040000040800000c0a00000c0c0000040e0000041000000", "ymm0=4080000041600000419000004210000000000000c1100000c0a8000041100000")]
#[case::exact_zero_down(|a: Asm| a.vfnmsub132sd(xmm0, xmm1, xmm2), "mxcsr=3f80 ymm0=3ff0000000000000 ymm1=c000000000000000 ymm2=4000000000000000", "ymm0=8000000000000000")]
#[case::infinity_less_infinity(|a: Asm| a.vfmsub213ss(xmm0, xmm1, xmm2), "ymm0=7f800000 ymm1=3f800000 ymm2=7f800000", "mxcsr=1f81 ymm0=ffc00000")]
#[case::infinity_times_zero_and_nan(|a: Asm| a.vfmadd213ss(xmm0, xmm1, xmm2), "ymm0=7f800000 ymm1=0 ymm2=7fc00001", "ymm0=7fc00001")]
#[case::nan_of_a_factor(|a: Asm| a.vfmadd231ss(xmm0, xmm1, xmm2), "ymm0=7fc00003 ymm1=3f800000 ymm2=ff800002", "mxcsr=1f81 ymm0=ffc00002")]
#[case::nan_keeps_its_sign(|a: Asm| a.vfnmadd132ss(xmm0, xmm1, xmm2), "ymm0=7fc00003 ymm1=ffc00001 ymm2=ff800002", "mxcsr=1f81")]
#[case::underflow(|a: Asm| a.vfmadd213ss(xmm0, xmm1, xmm2), "ymm0=00800001 ymm1=3f000000 ymm2=80000001", "mxcsr=1fb2 ymm0=400000")]
#[case::flush(|a: Asm| a.vfmadd213ss(xmm0, xmm1, xmm2), "mxcsr=9f80 ymm0=00800001 ymm1=3f000000 ymm2=0", "mxcsr=9fb0 ymm0=0")]
#[case::overflow_unmasked(|a: Asm| a.vfmadd213sd(xmm0, xmm1, xmm2), "mxcsr=1b80 ymm0=7fe0000000000000 ymm1=4010000000000000 ymm2=3ff0000000000000", "#19 mxcsr=1ba8")]
fn fused(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

#[rstest]
#[case::widen(|a: Asm| a.vcvtph2ps(ymm0, xmm1), "ymm1=3c00c000000183ff7c00fc017e00fbff", "mxcsr=1f81 ymm0=3f800000c000000033800000b87fc0007f800000ffc020007fc00000c77fe000")]
#[case::widen_from_memory(|a: Asm| a.vcvtph2ps(xmm0, qword_ptr(esi)), "mxcsr=1fc0 ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 m=003c010000800100", "ymm0=3380000080000000338000003f800000")]
#[case::narrow(|a: Asm| a.vcvtps2ph(xmm0, ymm1, 0), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=3f801000477fefff477ff000338000003300000033000001387fc00000000001", "mxcsr=1fba ymm0=3c007bff7c0000010000000103ff0000")]
#[case::narrow_up_to_memory(|a: Asm| a.vcvtps2ph(qword_ptr(esi), xmm1, 2), "ymm1=3f801001bf801001330000007f800001 m=00000000000000000000", "mxcsr=1fb1 m=007e010000bc013c0000")]
#[case::narrow_as_the_register_says(|a: Asm| a.vcvtps2ph(xmm0, xmm1, 4), "mxcsr=ff80 ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=3f801fffbf801fff3300000038000fff", "mxcsr=ffb0 ymm0=3c00bc0000000200")]
#[case::unmasked(|a: Asm| a.vcvtps2ph(qword_ptr(esi), xmm1, 0), "mxcsr=0f80 ymm1=3f801001 m=0000000000000000", "#19 mxcsr=fa0")]
fn halves(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

#[rstest]
#[case::load(|a: Asm| a.vmaskmovps(ymm0, ymm1, ymmword_ptr(esi)), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=800000007fffffff80000000000000008000000080000000ffffffff00000001 m=0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=201f1e1d000000001817161500000000100f0e0d0c0b0a090807060500000000")]
#[case::load_narrow(|a: Asm| a.vpmaskmovq(xmm0, xmm1, xmmword_ptr(esi)), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=f1f2f3f4f5f6f7f8f9fafbfcfdfeff0080000000000000000000000000000000 m=0102030405060708090a0b0c0d0e0f10", "ymm0=100f0e0d0c0b0a090000000000000000")]
#[case::store(|a: Asm| a.vpmaskmovd(ymmword_ptr(esi), ymm1, ymm2), "ymm1=800000007fffffff80000000000000008000000080000000ffffffff00000001 ymm2=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 m=0000000000000000000000000000000000000000000000000000000000000000", "m=000000001c1b1a191817161514131211000000000c0b0a090000000004030201")]
#[case::store_doubles(|a: Asm| a.vmaskmovpd(xmmword_ptr(esi), xmm1, xmm2), "ymm1=80000000000000000000000000000000 ymm2=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 m=00000000000000000000000000000000", "m=00000000000000001817161514131211")]
#[case::gather(|a: Asm| a.vpgatherdd_3(ymm0, ptr(esi + ymm1 * 4), ymm2), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=7000000060000000500000004fffffffc000000020000000100000000 ymm2=80000000800000007fffffff80000000000000008000000080000000ffffffff m=0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=201f1e1d1c1b1a19090a0b0c14131211111213140c0b0a090807060504030201 ymm2=0")]
#[case::gather_few(|a: Asm| a.vgatherqps_3(xmm0, ptr(esi + xmm1 * 2), xmm2), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=30000000000000001 ymm2=f1f2f3f4f5f6f7f8f9fafbfcfdfeff00ffffffff00000000800000007fffffff m=0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=a0908071d1e1f20 ymm2=0")]
#[case::gather_by_quadwords(|a: Asm| a.vpgatherqq_3(ymm0, ptr(esi + ymm1), ymm2), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=18000000000000001000000000000000080000000000000001 ymm2=8000000000000000800000000000000000000000000000008000000000000000 m=0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=201f1e1d1c1b1a19181716151413121111121314151617180908070605040302 ymm2=0")]
#[case::gather_by_doublewords(|a: Asm| a.vgatherdpd_3(ymm0, ptr(esi + xmm1 * 8), ymm2), "ymm0=102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 ymm1=3000000020000000100000000 ymm2=8000000000000000800000000000000000000000000000008000000000000000 m=0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", "ymm0=201f1e1d1c1b1a19181716151413121111121314151617180807060504030201 ymm2=0")]
fn masked(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

fn change(machine: &mut Machine, change: fn(&mut State)) {
    change(machine.cpu.state_mut());
}

#[rstest]
#[case::not_switched_on(|a: Asm| a.vmovaps(ymm0, ymm1), |m: &mut Machine| change(m, |state| state.cr4 &= !cr4::OSXSAVE), Some(6))]
#[case::not_enabled(|a: Asm| a.vaddps(xmm0, xmm1, xmm2), |m: &mut Machine| change(m, |state| state.avx.xcr0 = 3), Some(6))]
#[case::no_fxsr_needed(|a: Asm| a.vaddps(xmm0, xmm1, xmm2), |m: &mut Machine| change(m, |state| state.cr4 &= !cr4::OSFXSR), None)]
#[case::emulation_does_not_matter(|a: Asm| a.vaddps(xmm0, xmm1, xmm2), |m: &mut Machine| change(m, |state| state.cr0 |= cr0::EM), None)]
#[case::switched(|a: Asm| a.vzeroupper(), |m: &mut Machine| change(m, |state| state.cr0 |= cr0::TS), Some(7))]
#[case::disabled_before_switched(|a: Asm| a.vpermq(ymm0, ymm1, 1), |m: &mut Machine| change(m, |state| {
    state.cr0 |= cr0::TS;
    state.avx.xcr0 = 1;
}), Some(6))]
#[case::unaligned(|a: Asm| a.vmovaps(ymm0, ymmword_ptr(esi + 16)), |_: &mut Machine| {}, Some(13))]
#[case::unaligned_narrow(|a: Asm| a.vmovdqa(xmmword_ptr(esi + 8), xmm0), |_: &mut Machine| {}, Some(13))]
#[case::unaligned_hint(|a: Asm| a.vmovntps(ymmword_ptr(esi + 16), ymm0), |_: &mut Machine| {}, Some(13))]
#[case::operand_needs_no_alignment(|a: Asm| a.vpaddb(ymm0, ymm1, ymmword_ptr(esi + 1)), |_: &mut Machine| {}, None)]
#[case::no_exceptions_wanted(|a: Asm| a.vdivss(xmm0, xmm1, xmm2), |m: &mut Machine| change(m, |state| {
    state.cr4 &= !cr4::OSXMMEXCPT;
    state.sse.mxcsr = 0;
}), Some(6))]
#[case::locked(|a: Asm| a.db(&[0xf0, 0xc5, 0xf8, 0x58, 0xc0]), |_: &mut Machine| {}, Some(6))]
#[case::after_a_prefix(|a: Asm| a.db(&[0x66, 0xc5, 0xf8, 0x58, 0xc0]), |_: &mut Machine| {}, Some(6))]
#[case::repeated(|a: Asm| a.db(&[0xf3, 0xc5, 0xf8, 0x58, 0xc0]), |_: &mut Machine| {}, Some(6))]
#[case::source_that_is_not_there(|a: Asm| a.db(&[0xc5, 0xf0, 0x51, 0xc0]), |_: &mut Machine| {}, Some(6))]
#[case::too_long_for_it(|a: Asm| a.db(&[0xc5, 0xfc, 0x12, 0x06]), |_: &mut Machine| {}, Some(6))]
#[case::same_register_in_a_gather(|a: Asm| a.vpgatherdd_3(ymm0, ptr(esi + ymm1), ymm0), |_: &mut Machine| {}, Some(6))]
#[case::same_index_in_a_gather(|a: Asm| a.vpgatherdd_3(ymm0, ptr(esi + ymm1), ymm1), |_: &mut Machine| {}, Some(6))]
fn faults(#[case] code: Code, #[case] prepare: fn(&mut Machine), #[case] vector: Option<u64>) {
    check_fault(code, prepare, vector);
}

/// With a VEX prefix an instruction of AVX is there in protected mode only; before that, and in a
/// processor without AVX, it is #UD.
#[rstest]
#[case::two_bytes(&[0xc5, 0xf8, 0x58, 0xc0])]
#[case::three_bytes(&[0xc4, 0xe1, 0x78, 0x58, 0xc0])]
fn not_in_real_mode(#[case] code: &[u8]) {
    let mut machine = Machine::real(code);
    let before = machine.state().clone();
    machine.cpu = warmboot_cpu::Cpu::new(&models::MAX, 0);
    let state = machine.cpu.state_mut();
    *state = before;
    state.cr4 |= cr4::OSXSAVE | cr4::OSFXSR;
    state.avx.xcr0 = 7;
    machine.run();
    assert_eq!(machine.vector(), Some(6));
}

#[test]
fn not_on_a_processor_without_it() {
    let mut machine = Machine::protected(0, &[0xc5, 0xf8, 0x58, 0xc0]);
    machine.run();
    assert_eq!(machine.vector(), Some(6));
}

/// A store of which a part cannot be written writes nothing; elements that are not chosen do not fault.
#[rstest]
#[case::whole(|a: Asm| a.vmovups(ymmword_ptr(esi), ymm0), 23, Some(13))]
#[case::masked_store(|a: Asm| a.vmaskmovps(ymmword_ptr(esi), ymm1, ymm0), 23, Some(13))]
#[case::masked_store_of_what_is_there(|a: Asm| a.vmaskmovps(ymmword_ptr(esi), ymm1, ymm0), 27, None)]
#[case::masked_load_of_what_is_there(|a: Asm| a.vmaskmovps(ymm2, ymm1, ymmword_ptr(esi)), 27, None)]
#[case::masked_load(|a: Asm| a.vmaskmovps(ymm2, ymm1, ymmword_ptr(esi)), 26, Some(13))]
fn all_or_nothing(#[case] code: Code, #[case] last: u32, #[case] vector: Option<u64>) {
    let (mut machine, _) = ready(code);
    let state = machine.cpu.state_mut();
    state.sse.registers[0] = [u64::MAX; 2];
    state.avx.upper[0] = [u64::MAX; 2];
    // Elements 1 and 6.
    state.sse.registers[1] = [1 << 63, 0];
    state.avx.upper[1] = [0, 1 << 31];
    state.segments[3].limit = DATA as u32 + last;
    let before = machine.state().clone();
    machine.run();
    assert_eq!(machine.vector(), vector);
    if vector.is_some() {
        assert_eq!(machine.bus.peek(DATA, 8), 0);
        assert_eq!((&machine.state().sse, &machine.state().avx), (&before.sse, &before.avx));
    }
}

/// A gather that faults keeps what it has read, as a processor does, and goes on from there.
#[test]
fn a_gather_goes_on_after_a_fault() {
    let (mut machine, _) = ready(|a: Asm| a.vpgatherdd_3(ymm0, ptr(esi + ymm1 * 4), ymm2));
    machine.bus.poke(DATA, &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]);
    let state = machine.cpu.state_mut();
    state.sse.registers[0] = [u64::MAX; 2];
    state.avx.upper[0] = [u64::MAX; 2];
    // Indexes 0, 1, 2, 0 and four times 3; all chosen but the second.
    state.sse.registers[1] = [1 << 32, 2];
    state.avx.upper[1] = [3 << 32 | 3; 2];
    state.sse.registers[2] = [0x7fff_ffff_8000_0001, u64::MAX];
    state.avx.upper[2] = [u64::MAX; 2];
    state.segments[3].limit = DATA as u32 + 11;
    machine.run();
    assert_eq!(machine.vector(), Some(13));
    let state = machine.state();
    assert_eq!((state.sse.registers[2], state.avx.upper[2]), ([0; 2], [u64::MAX; 2]));
    assert_eq!(
        (state.sse.registers[0], state.avx.upper[0]),
        ([0xffff_ffff_0000_0001, 1 << 32 | 3], [u64::MAX; 2])
    );

    let state = machine.cpu.state_mut();
    state.activity = warmboot_cpu::state::Activity::Running;
    state.segments[3].limit = u32::MAX;
    state.rip = CODE;
    machine.run();
    assert_eq!(machine.vector(), None);
    let state = machine.state();
    assert_eq!((state.sse.registers[2], state.avx.upper[2]), ([0; 2], [0; 2]));
    assert_eq!(state.avx.upper[0], [4 << 32 | 4; 2]);
}

/// 64-bit mode: registers from 8 on, and indexes of 64 bits that go anywhere.
#[test]
fn registers_and_addresses_of_64_bit_mode() {
    let code = assemble(64, CODE, |a| {
        a.vpaddd(ymm8, ymm15, ymm9)?;
        a.vpgatherqq_3(xmm10, ptr(rax + xmm11 * 8), xmm12)?;
        a.vzeroupper()?;
        a.hlt()
    });
    let mut machine = Machine::long(&models::MAX, 0, &code);
    machine.bus.poke64(DATA, 0x1234);
    let state = machine.cpu.state_mut();
    state.cr4 |= cr4::OSXSAVE;
    state.avx.xcr0 = 7;
    state.gpr[0] = HIGH + DATA + 0x8000;
    state.sse.registers[15] = [1, 2];
    state.sse.registers[9] = [3, 4];
    state.avx.upper[9] = [5, 6];
    state.sse.registers[11] = [0u64.wrapping_sub(0x1000), 0];
    state.sse.registers[12] = [u64::MAX, 0];
    assert_eq!(machine.run().1, Stop::Halt);
    let state = machine.state();
    assert_eq!(state.sse.registers[8], [4, 6]);
    assert_eq!(state.sse.registers[10], [0x1234, 0]);
    assert_eq!(state.avx.upper, [[0; 2]; 16]);
}

/// Outside 64-bit mode there are eight registers, and the others stay.
#[test]
fn registers_that_are_not_there_stay() {
    let (mut machine, _) = ready(|a: Asm| a.vzeroall());
    let state = machine.cpu.state_mut();
    state.avx.upper = [[7; 2]; 16];
    state.sse.registers = [[8; 2]; 16];
    machine.run();
    let state = machine.state();
    assert_eq!((state.avx.upper[7], state.avx.upper[8]), ([0; 2], [7; 2]));
    assert_eq!((state.sse.registers[7], state.sse.registers[8]), ([0; 2], [8; 2]));
}

/// INIT# leaves the registers and XCR0, RESET# does not.
#[test]
fn init_and_reset() {
    let (mut machine, _) = ready(|a: Asm| a.nop());
    let state = machine.cpu.state_mut();
    state.avx.upper[3] = [1, 2];
    machine.cpu.init();
    let state = machine.state();
    assert_eq!((state.avx.xcr0, state.avx.upper[3], state.cr4 & cr4::OSXSAVE), (7, [1, 2], 0));
    machine.cpu.reset();
    let state = machine.state();
    assert_eq!((state.avx.xcr0, state.avx.upper[3]), (xcr0::X87, [0; 2]));
}
