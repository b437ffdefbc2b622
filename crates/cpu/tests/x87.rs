//! x87: each row is one instruction with all registers before and what changed, as a processor gave it
//! (the elementary functions: correctly rounded); then what the manual says of modes, faults and formats.

mod common;

use common::{
    CODE, DATA, Machine,
    registers::{Asm, Code, check, check_fault, ready},
};
use iced_x86::code_asm::*;
use rstest::rstest;
use warmboot_cpu::{
    Path, State, Stop,
    fpu::{Extended, Pointer},
    state::cr0,
};

#[rstest]
#[case::one_third(|a: Asm| a.fdiv_2(st0, st1), "st0=3fff:8000000000000000 st1=4000:c000000000000000", "sw=0220 st0=3ffd:aaaaaaaaaaaaaaab")]
#[case::one_third_up(|a: Asm| a.fdiv_2(st0, st1), "cw=0b7f st0=3fff:8000000000000000 st1=4000:c000000000000000", "sw=0220 st0=3ffd:aaaaaaaaaaaaaaab")]
#[case::one_third_down(|a: Asm| a.fdiv_2(st0, st1), "cw=077f st0=3fff:8000000000000000 st1=4000:c000000000000000", "sw=0020 st0=3ffd:aaaaaaaaaaaaaaaa")]
#[case::one_third_single(|a: Asm| a.fdiv_2(st0, st1), "cw=007f st0=3fff:8000000000000000 st1=4000:c000000000000000", "sw=0220 st0=3ffd:aaaaab0000000000")]
#[case::one_third_double(|a: Asm| a.fdiv_2(st0, st1), "cw=027f st0=3fff:8000000000000000 st1=4000:c000000000000000", "sw=0020 st0=3ffd:aaaaaaaaaaaaa800")]
#[case::pops(|a: Asm| a.fdivp(st1, st0), "st0=3fff:8000000000000000 st1=4000:c000000000000000", "sw=0800 st7=empty")]
#[case::reversed_pops(|a: Asm| a.fdivrp(st1, st0), "st0=3fff:8000000000000000 st1=4000:c000000000000000", "sw=0a20 st0=3ffd:aaaaaaaaaaaaaaab st7=empty")]
#[case::difference_is_plus_zero(|a: Asm| a.fsub_2(st0, st1), "st0=4000:c000000000000000 st1=4000:c000000000000000", "sw=0000 st0=0000:0000000000000000")]
#[case::difference_is_minus_zero(|a: Asm| a.fsub_2(st0, st1), "cw=077f st0=4000:c000000000000000 st1=4000:c000000000000000", "sw=0000 st0=8000:0000000000000000")]
#[case::overflow(|a: Asm| a.fmul_2(st0, st1), "st0=7ffe:8000000000000000 st1=4001:8000000000000000", "sw=0228 st0=7fff:8000000000000000")]
#[case::overflow_cut(|a: Asm| a.fmul_2(st0, st1), "cw=0f7f st0=7ffe:8000000000000000 st1=4001:8000000000000000", "sw=0028 st0=7ffe:ffffffffffffffff")]
#[case::overflow_unmasked(|a: Asm| a.fmul_2(st0, st1), "cw=0377 st0=7ffe:c000000000000000 st1=4001:c000000000000001", "sw=82a8 st0=2001:9000000000000001")]
#[case::underflow(|a: Asm| a.fmul_2(st0, st1), "st0=0001:c000000000000001 st1=3ffe:8000000000000000", "sw=0030 st0=0000:6000000000000000")]
#[case::underflow_unmasked(|a: Asm| a.fmul_2(st0, st1), "cw=036f st0=0001:8000000000000000 st1=3ff0:8000000000000000", "sw=8090 st0=5ff2:8000000000000000")]
#[case::exact_denormal_is_no_underflow(|a: Asm| a.fmul_2(st0, st1), "st0=0001:8000000000000000 st1=3ffe:8000000000000000", "sw=0000 st0=0000:4000000000000000")]
#[case::denormal_operand(|a: Asm| a.fadd_2(st0, st1), "st0=0000:0000000000000001 st1=0000:0000000000000001", "sw=0002 st0=0000:0000000000000002")]
#[case::denormal_unmasked(|a: Asm| a.fadd_2(st0, st1), "cw=037d st0=0000:0000000000000001 st1=3fff:8000000000000000", "sw=8082")]
#[case::by_zero(|a: Asm| a.fdiv_2(st0, st1), "st0=bfff:8000000000000000 st1=0000:0000000000000000", "sw=0004 st0=ffff:8000000000000000")]
#[case::by_zero_unmasked(|a: Asm| a.fdiv_2(st0, st1), "cw=037b st0=bfff:8000000000000000 st1=0000:0000000000000000", "sw=8084")]
#[case::denormal_by_zero(|a: Asm| a.fdiv_2(st0, st1), "st0=0000:0000000000000001 st1=0000:0000000000000000", "sw=0004 st0=7fff:8000000000000000")]
#[case::infinities(|a: Asm| a.fsub_2(st0, st1), "st0=7fff:8000000000000000 st1=7fff:8000000000000000", "sw=0001 st0=ffff:c000000000000000")]
#[case::invalid_unmasked(|a: Asm| a.fsub_2(st0, st1), "cw=037e st0=7fff:8000000000000000 st1=7fff:8000000000000000", "sw=8081")]
#[case::larger_nan(|a: Asm| a.fadd_2(st0, st1), "st0=7fff:c000000000000001 st1=ffff:c000000000000002", "sw=0000 st0=ffff:c000000000000002")]
#[case::signaling_nan(|a: Asm| a.fadd_2(st0, st1), "st0=7fff:8000000000000001 st1=3fff:8000000000000000", "sw=0001 st0=7fff:c000000000000001")]
#[case::quiet_and_signaling(|a: Asm| a.fadd_2(st0, st1), "st0=7fff:c000000000000001 st1=ffff:a000000000000000", "sw=0001")]
#[case::unnormal(|a: Asm| a.fadd_2(st0, st1), "st0=3fff:4000000000000000 st1=3fff:8000000000000000", "sw=0001 st0=ffff:c000000000000000")]
#[case::pseudo_infinity(|a: Asm| a.fadd_2(st0, st1), "st0=7fff:0000000000000000 st1=3fff:8000000000000000", "sw=0001 st0=ffff:c000000000000000")]
#[case::empty(|a: Asm| a.fadd_2(st0, st1), "sw=0200 st0=3fff:8000000000000000", "sw=0041 st0=ffff:c000000000000000")]
#[case::empty_unmasked(|a: Asm| a.faddp(st1, st0), "cw=037e st0=3fff:8000000000000000", "sw=80c1")]
#[case::single_memory(|a: Asm| a.fsub(dword_ptr(esi)), "st0=3fff:8000000000000000 m=cdcccc3d", "sw=0000 st0=3ffe:e666666000000000")]
#[case::double_memory(|a: Asm| a.fsubr(qword_ptr(esi)), "st0=3fff:8000000000000000 m=9a9999999999b93f", "sw=0000 st0=bffe:e666666666666600")]
#[case::integer_memory(|a: Asm| a.fimul(word_ptr(esi)), "st0=3fff:8000000000000000 m=feff", "sw=0000 st0=c000:8000000000000000")]
#[case::square_root(|a: Asm| a.fsqrt(), "st0=4000:8000000000000000", "sw=0020 st0=3fff:b504f333f9de6484")]
#[case::square_root_single(|a: Asm| a.fsqrt(), "cw=007f st0=4000:8000000000000000", "sw=0020 st0=3fff:b504f30000000000")]
#[case::square_root_of_minus_zero(|a: Asm| a.fsqrt(), "st0=8000:0000000000000000", "sw=0000")]
#[case::square_root_of_negative(|a: Asm| a.fsqrt(), "st0=bfff:8000000000000000", "sw=0001 st0=ffff:c000000000000000")]
#[case::remainder(|a: Asm| a.fprem(), "st0=4001:ea00000000000000 st1=4000:8000000000000000", "sw=4200 st0=3fff:a800000000000000")]
#[case::remainder_nearest(|a: Asm| a.fprem1(), "st0=4001:ea00000000000000 st1=4000:8000000000000000", "sw=0100 st0=bffe:b000000000000000")]
#[case::remainder_partial(|a: Asm| a.fprem(), "st0=4063:e3a5b2c1d0f4e697 st1=4000:c000000000000001", "sw=0400 st0=403f:8f4e695d07866fda")]
#[case::remainder_keeps_codes_of_nan(|a: Asm| a.fprem(), "sw=4700 st0=7fff:c000000000000001 st1=4000:c000000000000001", "sw=4100")]
#[case::round(|a: Asm| a.frndint(), "st0=4000:a000000000000000", "sw=0020 st0=4000:8000000000000000")]
#[case::round_up(|a: Asm| a.frndint(), "cw=0b7f st0=4000:a000000000000000", "sw=0220 st0=4000:c000000000000000")]
#[case::scale(|a: Asm| a.fscale(), "st0=3fff:c000000000000000 st1=c000:f000000000000000", "sw=0000 st0=3ffc:c000000000000000")]
#[case::scale_vanishes_unmasked(|a: Asm| a.fscale(), "cw=036f st0=3fff:c000000000000000 st1=c03d:f000000000000000", "sw=80b0 st0=0000:0000000000000000")]
#[case::scale_zero_by_infinity(|a: Asm| a.fscale(), "st0=0000:0000000000000000 st1=7fff:8000000000000000", "sw=0001 st0=ffff:c000000000000000")]
#[case::extract(|a: Asm| a.fxtract(), "st0=c005:c800000000000000", "sw=3800 st0=bfff:c800000000000000 st1=4001:c000000000000000")]
#[case::extract_zero(|a: Asm| a.fxtract(), "st0=8000:0000000000000000", "sw=3804 st0=8000:0000000000000000 st1=ffff:8000000000000000")]
#[case::change_sign_of_signaling(|a: Asm| a.fchs(), "st0=7fff:8000000000000001", "sw=0000 st0=ffff:8000000000000001")]
#[case::absolute(|a: Asm| a.fabs(), "sw=0200 st0=c000:8000000000000000", "sw=0000 st0=4000:8000000000000000")]
fn arithmetic(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

#[rstest]
#[case::load_single(|a: Asm| a.fld(dword_ptr(esi)), "m=cdcccc3d", "sw=3800 st0=3ffb:cccccd0000000000")]
#[case::load_double(|a: Asm| a.fld(qword_ptr(esi)), "m=9a9999999999b9bf", "sw=3800 st0=bffb:ccccccccccccd000")]
#[case::load_denormal(|a: Asm| a.fld(dword_ptr(esi)), "m=01000000", "sw=3802 st0=3f6a:8000000000000000")]
#[case::load_denormal_unmasked(|a: Asm| a.fld(dword_ptr(esi)), "cw=037d m=01000000", "sw=b882 st0=3f6a:8000000000000000")]
#[case::load_signaling(|a: Asm| a.fld(dword_ptr(esi)), "m=010080ff", "sw=3801 st0=ffff:c000010000000000")]
#[case::load_signaling_unmasked(|a: Asm| a.fld(dword_ptr(esi)), "cw=037e m=010080ff", "sw=8081")]
#[case::load_extended(|a: Asm| a.fld(tword_ptr(esi)), "m=0100000000000080ff7f", "sw=3800 st0=7fff:8000000000000001")]
#[case::load_word(|a: Asm| a.fild(word_ptr(esi)), "m=0080", "sw=3800 st0=c00e:8000000000000000")]
#[case::load_quadword(|a: Asm| a.fild(qword_ptr(esi)), "m=ffffffffffffff7f", "sw=3800 st0=403d:fffffffffffffffe")]
#[case::load_decimal(|a: Asm| a.fbld(tword_ptr(esi)), "m=56341200000000000080", "sw=3800 st0=c00f:f120000000000000")]
#[case::load_onto_full_stack(|a: Asm| a.fld1(), "st0=3fff:8000000000000000 st7=3fff:8000000000000000", "sw=3a41 st0=ffff:c000000000000000")]
#[case::load_register(|a: Asm| a.fld(st1), "sw=0200 st0=3fff:8000000000000000 st1=4000:8000000000000000", "sw=3800 st0=4000:8000000000000000")]
#[case::load_empty(|a: Asm| a.fld(st1), "st0=3fff:8000000000000000 st7=3fff:8000000000000000", "sw=3841 st0=ffff:c000000000000000")]
#[case::pi(|a: Asm| a.fldpi(), "cw=037f", "sw=3800 st0=4000:c90fdaa22168c235")]
#[case::pi_down(|a: Asm| a.fldpi(), "cw=077f", "sw=3800 st0=4000:c90fdaa22168c234")]
#[case::log2_of_10(|a: Asm| a.fldl2t(), "cw=037f", "sw=3800 st0=4000:d49a784bcd1b8afe")]
#[case::log2_of_10_up(|a: Asm| a.fldl2t(), "cw=0b7f", "sw=3800 st0=4000:d49a784bcd1b8aff")]
#[case::log2_of_e(|a: Asm| a.fldl2e(), "cw=037f", "sw=3800 st0=3fff:b8aa3b295c17f0bc")]
#[case::log10_of_2(|a: Asm| a.fldlg2(), "cw=037f", "sw=3800 st0=3ffd:9a209a84fbcff799")]
#[case::ln_of_2(|a: Asm| a.fldln2(), "cw=0f7f", "sw=3800 st0=3ffe:b17217f7d1cf79ab")]
#[case::store_single(|a: Asm| a.fst(dword_ptr(esi)), "st0=3ffd:aaaaaaaaaaaaaaab", "sw=0220 m=abaaaa3e")]
#[case::store_double_pops(|a: Asm| a.fstp(qword_ptr(esi)), "st0=3ffd:aaaaaaaaaaaaaaab", "sw=0820 st7=empty m=555555555555d53f")]
#[case::store_double_denormal(|a: Asm| a.fstp(qword_ptr(esi)), "st0=3be0:c000000000000000", "sw=0800 st7=empty m=00000c00")]
#[case::store_overflow_unmasked(|a: Asm| a.fstp(qword_ptr(esi)), "cw=0377 st0=5000:c000000000000000 m=1122", "sw=8088")]
#[case::store_signaling(|a: Asm| a.fstp(dword_ptr(esi)), "st0=7fff:8123456789abcdef", "sw=0801 st7=empty m=4523c17f")]
#[case::store_empty(|a: Asm| a.fstp(dword_ptr(esi)), "st1=3fff:8000000000000000", "sw=0841 m=0000c0ff")]
#[case::store_extended(|a: Asm| a.fstp(tword_ptr(esi)), "st0=7fff:8000000000000001", "sw=0800 st7=empty m=0100000000000080ff7f")]
#[case::store_integer(|a: Asm| a.fist(word_ptr(esi)), "st0=c000:a000000000000000", "sw=0020 m=feff")]
#[case::store_integer_up(|a: Asm| a.fistp(dword_ptr(esi)), "cw=0b7f st0=4000:a000000000000000", "sw=0a20 st7=empty m=03")]
#[case::store_integer_cut(|a: Asm| a.fisttp(dword_ptr(esi)), "cw=0b7f st0=4000:e000000000000000", "sw=0820 st7=empty m=03")]
#[case::store_too_large(|a: Asm| a.fist(word_ptr(esi)), "st0=400e:8000000000000000", "sw=0001 m=0080")]
#[case::store_least(|a: Asm| a.fist(word_ptr(esi)), "st0=c00e:8000000000000000", "sw=0000 m=0080")]
#[case::store_too_large_unmasked(|a: Asm| a.fistp(word_ptr(esi)), "cw=037e st0=400e:8000000000000000 m=3344", "sw=8081")]
#[case::store_decimal(|a: Asm| a.fbstp(tword_ptr(esi)), "st0=c00f:f120800000000000", "sw=0800 st7=empty m=57341200000000000080")]
#[case::store_decimal_too_large(|a: Asm| a.fbstp(tword_ptr(esi)), "st0=403a:de0b6b3a76400000", "sw=0801 st7=empty m=00000000000000c0ffff")]
#[case::exchange(|a: Asm| a.fxch(st0, st1), "st0=3fff:8000000000000000 st1=4000:8000000000000000", "sw=0000 st0=4000:8000000000000000 st1=3fff:8000000000000000")]
#[case::exchange_with_empty(|a: Asm| a.fxch(st0, st1), "st0=3fff:8000000000000000", "sw=0041 st0=ffff:c000000000000000 st1=3fff:8000000000000000")]
#[case::move_if_below(|a: Asm| a.fcmovb(st0, st1), "flags=3 st0=3fff:8000000000000000 st1=4000:8000000000000000", "sw=0000 st0=4000:8000000000000000")]
#[case::no_move(|a: Asm| a.fcmovnu(st0, st1), "flags=6 st0=3fff:8000000000000000 st1=4000:8000000000000000", "sw=0000")]
#[case::free(|a: Asm| a.ffree(st1), "sw=0200 st0=3fff:8000000000000000 st1=4000:8000000000000000", "sw=0000 st1=empty")]
#[case::increment_top(|a: Asm| a.fincstp(), "sw=3800 st0=3fff:8000000000000000", "sw=0000")]
#[case::decrement_top(|a: Asm| a.fdecstp(), "st0=3fff:8000000000000000", "sw=3800")]
#[case::initialize(|a: Asm| a.fninit(), "cw=0040 sw=5abf st0=3fff:8000000000000000", "sw=0000 cw=037f st3=empty")]
#[case::clear(|a: Asm| a.fnclex(), "cw=0340 sw=ffff", "sw=7f00")]
#[case::load_control(|a: Asm| a.fldcw(word_ptr(esi)), "cw=037f sw=0001 m=00f0", "sw=8081 cw=1040")]
#[case::store_control(|a: Asm| a.fnstcw(word_ptr(esi)), "cw=0c7f", "sw=0000 m=7f0c")]
#[case::store_status(|a: Asm| a.fnstsw(ax), "eax=12345678 sw=4123 cw=037f", "sw=4123 eax=12344123")]
fn transfer(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

#[rstest]
#[case::greater(|a: Asm| a.fcom_2(st0, st1), "sw=4700 st0=4000:8000000000000000 st1=3fff:8000000000000000", "sw=0000")]
#[case::less_in_memory(|a: Asm| a.fcomp(dword_ptr(esi)), "st0=bfff:8000000000000000 m=0000803f", "sw=0900 st7=empty")]
#[case::equal_zeros(|a: Asm| a.fucom(st0, st1), "st0=8000:0000000000000000 st1=0000:0000000000000000", "sw=4000")]
#[case::unordered(|a: Asm| a.fcom_2(st0, st1), "st0=7fff:c000000000000000 st1=3fff:8000000000000000", "sw=4501")]
#[case::unordered_quiet(|a: Asm| a.fucom(st0, st1), "st0=7fff:c000000000000000 st1=3fff:8000000000000000", "sw=4500")]
#[case::unordered_unmasked(|a: Asm| a.fcompp(), "cw=037e st0=7fff:c000000000000000 st1=3fff:8000000000000000", "sw=c581")]
#[case::integer(|a: Asm| a.ficom(word_ptr(esi)), "st0=c000:8000000000000000 m=feff", "sw=4000")]
#[case::flags_less(|a: Asm| a.fcomi(st0, st1), "flags=8d7 st0=3fff:8000000000000000 st1=4000:8000000000000000", "sw=0000 flags=1")]
#[case::flags_unordered(|a: Asm| a.fucomip(st0, st1), "flags=2 st0=7fff:c000000000000000 st1=4000:8000000000000000", "sw=0800 st7=empty flags=45")]
#[case::test(|a: Asm| a.ftst(), "st0=8000:0000000000000000", "sw=4000")]
#[case::examine_empty(|a: Asm| a.fxam(), "cw=037f", "sw=4100")]
#[case::examine_normal(|a: Asm| a.fxam(), "st0=bfff:8000000000000000", "sw=0600")]
#[case::examine_nan(|a: Asm| a.fxam(), "st0=7fff:8000000000000001", "sw=0100")]
#[case::examine_unnormal(|a: Asm| a.fxam(), "st0=bfff:0000000000000001", "sw=0200")]
#[case::examine_denormal(|a: Asm| a.fxam(), "st0=8000:8000000000000001", "sw=4600")]
fn compare(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

#[rstest]
#[case::sine(|a: Asm| a.fsin(), "st0=3fff:8000000000000000", "sw=0220 st0=3ffe:d76aa47848677021")]
#[case::sine_of_pi(|a: Asm| a.fsin(), "st0=4000:c90fdaa22168c235", "sw=0220 st0=bfbf:8000000000000000")]
#[case::sine_far(|a: Asm| a.fsin(), "st0=403e:8000000000000000", "sw=0400")]
#[case::sine_large(|a: Asm| a.fsin(), "st0=c03d:8000000000000000", "sw=0020 st0=3ffe:b506a9dd559cf157")]
#[case::cosine(|a: Asm| a.fcos(), "st0=4005:c800000000000000", "sw=0220 st0=3ffe:dcc0edfb32fefb21")]
#[case::sine_and_cosine(|a: Asm| a.fsincos(), "st0=bffe:8000000000000000", "sw=3a20 st0=3ffe:e0a94032dbea7cee st1=bffd:f57743a2582f7f44")]
#[case::tangent(|a: Asm| a.fptan(), "st0=3fff:c000000000000000", "sw=3820 st0=3fff:8000000000000000 st1=4002:e19f6a85c43bbad3")]
#[case::tangent_of_infinity(|a: Asm| a.fptan(), "st0=7fff:8000000000000000", "sw=3801 st0=ffff:c000000000000000 st1=ffff:c000000000000000")]
#[case::arc_tangent(|a: Asm| a.fpatan(), "st0=4000:8000000000000000 st1=3fff:8000000000000000", "sw=0820 st0=3ffd:ed63382b0dda7b45 st7=empty")]
#[case::arc_tangent_left(|a: Asm| a.fpatan(), "st0=c000:8000000000000000 st1=bfff:8000000000000000", "sw=0820 st0=c000:ab63739cbfad72cc st7=empty")]
#[case::arc_tangent_steep(|a: Asm| a.fpatan(), "st0=bffd:8000000000000000 st1=3fff:c000000000000000", "sw=0a20 st0=3fff:de3372265e039fa1 st7=empty")]
#[case::arc_tangent_zero_left(|a: Asm| a.fpatan(), "st0=8000:0000000000000000 st1=8000:0000000000000000", "sw=0a20 st0=c000:c90fdaa22168c235 st7=empty")]
#[case::arc_tangent_infinities(|a: Asm| a.fpatan(), "st0=ffff:8000000000000000 st1=7fff:8000000000000000", "sw=0a20 st0=4000:96cbe3f9990e91a8 st7=empty")]
#[case::exponential(|a: Asm| a.f2xm1(), "st0=3ffe:8000000000000000", "sw=0020 st0=3ffd:d413cccfe7799211")]
#[case::exponential_of_minus_1(|a: Asm| a.f2xm1(), "st0=bfff:8000000000000000", "sw=0020 st0=bffe:8000000000000000")]
#[case::logarithm(|a: Asm| a.fyl2x(), "st0=4000:c000000000000000 st1=3fff:8000000000000000", "sw=0a20 st0=3fff:cae00d1cfdeb43d0 st7=empty")]
#[case::logarithm_of_power(|a: Asm| a.fyl2x(), "st0=4002:8000000000000000 st1=4000:c000000000000000", "sw=0820 st0=4002:9000000000000000 st7=empty")]
#[case::logarithm_of_zero(|a: Asm| a.fyl2x(), "st0=0000:0000000000000000 st1=4000:c000000000000000", "sw=0804 st0=ffff:8000000000000000 st7=empty")]
#[case::logarithm_of_negative(|a: Asm| a.fyl2x(), "st0=bfff:8000000000000000 st1=4000:c000000000000000", "sw=0801 st0=ffff:c000000000000000 st7=empty")]
#[case::logarithm_near_1(|a: Asm| a.fyl2xp1(), "st0=3fbe:8000000000000000 st1=3fff:8000000000000000", "sw=0a20 st0=3fbe:b8aa3b295c17f0bc st7=empty")]
#[case::logarithm_near_1_negative(|a: Asm| a.fyl2xp1(), "st0=bffc:8000000000000000 st1=3fff:8000000000000000", "sw=0820 st0=bffc:c544c055fde99333 st7=empty")]
fn elementary(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after);
}

/// What is done before an instruction, with which the state is to be made ready.
type Prepare = fn(&mut Machine);

#[rstest]
#[case::not_there(|a: Asm| a.fld1(), |m: &mut Machine| m.cpu.state_mut().cr0 |= cr0::EM, Some(7))]
#[case::switched(|a: Asm| a.fnstcw(word_ptr(esi)), |m: &mut Machine| m.cpu.state_mut().cr0 |= cr0::TS, Some(7))]
#[case::wait_switched(|a: Asm| a.wait(), |m: &mut Machine| m.cpu.state_mut().cr0 |= cr0::TS | cr0::MP, Some(7))]
#[case::wait_not_monitored(|a: Asm| a.wait(), |m: &mut Machine| m.cpu.state_mut().cr0 |= cr0::TS, None)]
#[case::wait_not_there(|a: Asm| a.wait(), |m: &mut Machine| m.cpu.state_mut().cr0 |= cr0::EM, None)]
#[case::pending(|a: Asm| a.fld1(), |m: &mut Machine| m.cpu.state_mut().fpu.status = 0x8081, Some(16))]
#[case::pending_wait(|a: Asm| a.wait(), |m: &mut Machine| m.cpu.state_mut().fpu.status = 0x8081, Some(16))]
#[case::pending_but_not_waiting(|a: Asm| a.fnstsw(ax), |m: &mut Machine| m.cpu.state_mut().fpu.status = 0x8081, None)]
#[case::pending_cleared(|a: Asm| { a.fnclex()?; a.fld1() }, |m: &mut Machine| m.cpu.state_mut().fpu.status = 0x8081, None)]
#[case::ignored(|a: Asm| a.fld1(), |m: &mut Machine| {
    let state = m.cpu.state_mut();
    state.cr0 &= !cr0::NE;
    state.fpu.status = 0x8081;
    state.fpu.ignore_numeric_error = true;
}, None)]
#[case::fxsave_unaligned(|a: Asm| a.fxsave(ptr(esi + 8)), |_: &mut Machine| {}, Some(13))]
#[case::mxcsr_reserved(|a: Asm| a.fxrstor(ptr(esi)), |m: &mut Machine| m.bus.poke32(DATA + 24, 0x1_0000), Some(13))]
fn faults(#[case] code: Code, #[case] prepare: Prepare, #[case] vector: Option<u64>) {
    check_fault(code, prepare, vector);
}

/// Without CR0.NE the processor tells of the exception, and stands still until an interrupt comes.
#[test]
fn without_numeric_exceptions_it_waits_for_an_interrupt() {
    let (mut machine, _) = ready(|a: Asm| a.fld1());
    let state = machine.cpu.state_mut();
    state.cr0 &= !cr0::NE;
    state.fpu.status = 0x8081;
    state.flags.set_interrupt(true);
    assert_eq!(machine.run_limit(10), (10, Stop::Budget));
    assert_eq!(machine.state().rip, CODE);
    assert_eq!(machine.bus.numeric_errors, 10);
    machine.cpu.set_interrupt_line(true);
    machine.bus.vector = Some(0x45);
    assert_eq!(machine.run_on(Path::Cached, 10, 10).1, Stop::Halt);
    assert_eq!(machine.vector(), Some(0x45));
    assert_eq!(u64::from(machine.stack(0)), CODE);
}

/// An environment as FSTENV stores it, from the same state in four formats.
#[rstest]
#[case::protected_32(true, true, "7f03ffff0040ffffffbfffff1122030008301505785634121000ffff")]
#[case::protected_16(true, false, "7f030040ffbf11220830785610000000")]
#[case::real_32(false, true, "7f03ffff0040ffffffbfffff9122ffff156500007857ffff00402301")]
#[case::real_16(false, false, "7f030040ffbf9122156578570040")]
fn environments(#[case] protected: bool, #[case] wide: bool, #[case] expect: &str) {
    let bytes: &[u8] = if wide == protected { &[0xd9, 0x36] } else { &[0x66, 0xd9, 0x36] };
    let mut code = bytes.to_vec();
    if !protected {
        code = [&[0x67], bytes].concat();
    }
    code.push(0xf4);
    let mut machine = if protected { Machine::protected(0, &code) } else { Machine::real(&code) };
    let state = machine.cpu.state_mut();
    state.gpr[6] = if protected { DATA } else { 0x900 };
    state.fpu.control = 0x37f;
    state.fpu.status = 0x4000;
    state.fpu.valid = 0x80;
    state.fpu.registers[7] = Extended { sign_exponent: 0x7fff, significand: 0 };
    state.fpu.opcode = 0x515;
    state.fpu.instruction = Pointer { selector: 0x3008, offset: 0x32211 };
    state.fpu.data = Pointer { selector: 0x10, offset: 0x1234_5678 };
    machine.run();
    let at = if protected { DATA } else { 0x900 };
    let length = expect.len() as u64 / 2;
    let got: String = (at..at + length).map(|at| format!("{:02x}", machine.bus.byte(at))).collect();
    assert_eq!(got, expect);
}

/// What FSAVE and FXSAVE store, FRSTOR and FXRSTOR bring back, whatever lay between.
#[rstest]
#[case::fsave(|a: Asm| { a.fnsave(ptr(esi))?; a.frstor(ptr(esi)) })]
#[case::fxsave(|a: Asm| { a.fxsave(ptr(esi))?; a.fninit()?; a.fldpi()?; a.fxrstor(ptr(esi)) })]
#[case::fstenv(|a: Asm| { a.fnstenv(ptr(esi))?; a.fninit()?; a.fldenv(ptr(esi)) })]
fn saved_and_restored(#[case] code: Code) {
    let (mut machine, _) = ready(code);
    let state = machine.cpu.state_mut();
    state.fpu.control = 0xb7f;
    state.fpu.status = 0x6921;
    state.fpu.valid = 0b1010_0110;
    state.sse.mxcsr = 0x9fc0;
    for index in 0..8 {
        let exponent = if index == 3 { 0 } else { 0x3fff + index as u16 };
        state.fpu.registers[index] = Extended { sign_exponent: exponent, significand: u64::MAX << index };
        state.sse.registers[index] = [index as u64, !(index as u64)];
    }
    let (fpu, sse) = (state.fpu.clone(), state.sse.clone());
    machine.run();
    let got = &machine.state().fpu;
    assert_eq!(
        (got.control, got.status, got.valid, got.registers),
        (fpu.control, fpu.status, fpu.valid, fpu.registers)
    );
    assert_eq!(machine.state().sse, sse);
}

/// A snapshot cannot bring in what no processor holds.
#[rstest]
#[case::opcode(|state: &mut State| state.fpu.opcode = 0x800, "fpu.opcode holds 0x800: expected at most 0x7ff")]
#[case::control(|state: &mut State| state.fpu.control = 0x2000, "fpu.control holds 0x2000: expected at most 0x1f7f")]
#[case::mxcsr(|state: &mut State| state.sse.mxcsr = 0x1_0000, "sse.mxcsr holds 0x10000: expected at most 0xffff")]
fn refused_states(#[case] change: fn(&mut State), #[case] expect: &str) {
    let (mut machine, _) = ready(|a: Asm| a.nop());
    let before = machine.state().clone();
    let mut state = before.clone();
    change(&mut state);
    let refusal = machine.cpu.restore(state, false).map_err(|error| error.to_string());
    assert_eq!(refusal, Err(expect.to_owned()));
    assert_eq!(*machine.state(), before);
}
