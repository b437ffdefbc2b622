//! The data instructions, as tables: each row runs from all arithmetic flags clear and from all
//! set, on the cached and on the plain path, in real mode.

use iced_x86::{IcedError, code_asm::*};
use proptest::prelude::*;
use rstest::rstest;
use warmboot_cpu::{
    Cpu, Path, Stop,
    flags::bit,
    models,
    state::{Segment, State},
    testing::FlatBus,
};

type Asm<'a> = &'a mut CodeAssembler;
type Code = fn(Asm) -> Result<(), IcedError>;

const CODE: u64 = 0x1000;
const STACK: u64 = 0x8000;
/// The handler of vector N is a HLT at HANDLERS + N.
const HANDLERS: u64 = 0x2000;
const NAMES: [&str; 8] = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
const FLAGS: [(char, u32); 6] =
    [('o', bit::OF), ('s', bit::SF), ('z', bit::ZF), ('a', bit::AF), ('p', bit::PF), ('c', bit::CF)];

/// `eax=12 [2000]=1234`: registers, and memory of as many bytes as there are pairs of digits.
fn settings(text: &str) -> impl Iterator<Item = (&str, u64, usize)> {
    text.split_whitespace().filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        Some((name, u64::from_str_radix(value, 16).unwrap(), value.len() / 2))
    })
}

fn memory(name: &str) -> Option<u64> {
    let address = name.strip_prefix('[')?.strip_suffix(']')?;
    Some(u64::from_str_radix(address, 16).unwrap())
}

fn prepared(code: &[u8], change: impl FnOnce(&mut State)) -> (Cpu<FlatBus>, FlatBus) {
    let mut bus = FlatBus::new(0x110_000);
    bus.poke(CODE, code);
    for vector in 0..32 {
        bus.poke32(vector * 4, (HANDLERS + vector) as u32);
        bus.poke(HANDLERS + vector, &[0xf4]);
    }
    let mut cpu = Cpu::new(&models::QEMU64, 0);
    let state = cpu.state_mut();
    for segment in &mut state.segments {
        *segment = Segment { rights: segment.rights, ..Segment::real_mode(0) };
    }
    state.rip = CODE;
    state.gpr[4] = STACK;
    change(state);
    (cpu, bus)
}

fn run(cpu: &mut Cpu<FlatBus>, bus: &mut FlatBus, path: Path) {
    for _ in 0..100 {
        if cpu.run(bus, 100_000, path).stop == Stop::Halt {
            return;
        }
    }
    panic!("the program does not end: {:?}", cpu.state());
}

/// Runs `code` and a HLT from `before`; compares what `after` mentions and the flags OSZAPC, where
/// `.` means unchanged, `?` anything. `#N` in `after` expects exception N, which leaves everything as it was.
fn check(code: Code, before: &str, after: &str, flags: &str) {
    let mut assembler = CodeAssembler::new(16).unwrap();
    code(&mut assembler).unwrap();
    assembler.hlt().unwrap();
    let code = assembler.assemble(CODE).unwrap();
    for (start, path) in
        [(0, Path::Cached), (bit::ARITHMETIC, Path::Cached), (0, Path::Plain), (bit::ARITHMETIC, Path::Plain)]
    {
        let (mut cpu, mut bus) = prepared(&code, |state| {
            state.flags.set_bits(start);
            for (name, value, _) in settings(before) {
                if let Some(index) = NAMES.iter().position(|known| *known == name) {
                    state.gpr[index] = value;
                }
            }
        });
        for (name, value, size) in settings(before) {
            if let Some(address) = memory(name) {
                bus.poke(address, &value.to_le_bytes()[..size]);
            }
        }
        run(&mut cpu, &mut bus, path);
        let context = format!("from flags {start:x}, {path:?}: {:x?}", cpu.state().gpr);
        for (name, value, size) in settings(after) {
            match memory(name) {
                Some(address) => {
                    assert_eq!(bus.peek(address, size as u8), value, "{name} {context}");
                }
                None => {
                    let index = NAMES.iter().position(|known| *known == name).unwrap();
                    assert_eq!(cpu.state().gpr[index], value, "{name} {context}");
                }
            }
        }
        let mut got = cpu.state().flags.bits();
        let vector = after.split_whitespace().find_map(|word| word.strip_prefix('#'));
        match vector {
            Some(vector) => {
                let handler = HANDLERS + vector.parse::<u64>().unwrap();
                assert_eq!(cpu.state().rip, handler + 1, "{context}");
                assert_eq!(bus.peek(STACK - 6, 2), CODE, "{context}");
                got = bus.peek(STACK - 2, 2) as u32;
            }
            None => assert_eq!(cpu.state().rip, CODE + code.len() as u64, "{context}"),
        }
        for (expected, (name, mask)) in flags.chars().zip(FLAGS) {
            let expected = match expected {
                '?' => continue,
                '.' => start & mask != 0,
                digit => digit == '1',
            };
            assert_eq!(got & mask != 0, expected, "flag {name} {context}");
        }
    }
}

#[rstest]
#[case::add_overflows(|a: Asm| a.add(ax, bx), "eax=7fff ebx=1", "eax=8000", "110110")]
#[case::add_carries(|a: Asm| a.add(al, bl), "eax=12ff ebx=1", "eax=1200", "001111")]
#[case::add_high_bytes(|a: Asm| a.add(ah, bh), "eax=1200 ebx=3400", "eax=4600", "000000")]
#[case::add_memory(|a: Asm| a.add(word_ptr(si), ax), "eax=1 esi=3000 [3000]=ffff", "[3000]=0000", "001111")]
#[case::add_across_pages(|a: Asm| a.add(dword_ptr(si), 1), "esi=2ffe [2ffe]=ffffffff", "[2ffe]=00000000", "001111")]
#[case::add_sign_extends(|a: Asm| a.add(eax, -1), "eax=0", "eax=ffffffff", "010010")]
#[case::adc_adds_carry(|a: Asm| { a.stc()?; a.adc(al, 0) }, "eax=ff", "eax=0", "001111")]
#[case::adc_without(|a: Asm| { a.clc()?; a.adc(eax, ebx) }, "eax=1 ebx=2", "eax=3", "000010")]
#[case::adc_carries_by_carry_alone(|a: Asm| { a.stc()?; a.adc(eax, ebx) }, "eax=5 ebx=ffffffff", "eax=5", "000111")]
#[case::sub_borrows(|a: Asm| a.sub(ax, bx), "eax=1 ebx=2", "eax=ffff", "010111")]
#[case::sub_overflows(|a: Asm| a.sub(eax, 1), "eax=80000000", "eax=7fffffff", "100110")]
#[case::sbb_takes_carry(|a: Asm| { a.stc()?; a.sbb(al, al) }, "eax=5512", "eax=55ff", "010111")]
#[case::cmp_changes_nothing(|a: Asm| a.cmp(byte_ptr(si), 5), "esi=3000 [3000]=05", "[3000]=05", "001010")]
#[case::cmp_register_with_memory(|a: Asm| a.cmp(ax, word_ptr(si)), "eax=0 esi=3000 [3000]=0001", "eax=0", "010111")]
#[case::inc_keeps_carry(|a: Asm| a.inc(ax), "eax=7fff", "eax=8000", "11011.")]
#[case::inc_to_zero(|a: Asm| a.inc(byte_ptr(si)), "esi=3000 [3000]=ff", "[3000]=00", "00111.")]
#[case::dec_keeps_carry(|a: Asm| a.dec(eax), "eax=80000000", "eax=7fffffff", "10011.")]
#[case::neg_of_lowest(|a: Asm| a.neg(al), "eax=80", "eax=80", "110001")]
#[case::neg_of_zero(|a: Asm| a.neg(ax), "eax=0", "eax=0", "001010")]
#[case::neg_memory(|a: Asm| a.neg(word_ptr(si)), "esi=3000 [3000]=0001", "[3000]=ffff", "010111")]
#[case::xadd_exchanges(|a: Asm| a.xadd(ax, bx), "eax=1 ebx=2", "eax=3 ebx=1", "000010")]
#[case::xadd_to_itself(|a: Asm| a.xadd(eax, eax), "eax=4", "eax=8", "000000")]
#[case::xadd_memory(|a: Asm| a.xadd(byte_ptr(si), bh), "esi=3000 ebx=100 [3000]=02", "ebx=200 [3000]=03", "000010")]
#[case::cmpxchg_equal(|a: Asm| a.cmpxchg(word_ptr(si), bx), "eax=5 ebx=7 esi=3000 [3000]=0005", "eax=5 [3000]=0007", "001010")]
#[case::cmpxchg_unequal(|a: Asm| a.cmpxchg(word_ptr(si), bx), "eax=5 ebx=7 esi=3000 [3000]=0006", "eax=6 [3000]=0006", "010111")]
#[case::cmpxchg8b_equal(|a: Asm| a.cmpxchg8b(qword_ptr(si)), "eax=1 edx=2 ebx=3 ecx=4 esi=3000 [3000]=0000000200000001", "[3000]=0000000400000003 eax=1", "..1...")]
#[case::cmpxchg8b_unequal(|a: Asm| a.cmpxchg8b(qword_ptr(si)), "eax=1 edx=2 esi=3000 [3000]=0000000200000009", "eax=9 edx=2 [3000]=0000000200000009", "..0...")]
fn arithmetic(#[case] code: Code, #[case] before: &str, #[case] after: &str, #[case] flags: &str) {
    check(code, before, after, flags);
}

#[rstest]
#[case::and(|a: Asm| a.and(ax, bx), "eax=f0f0 ebx=8080", "eax=8080", "010000")]
#[case::and_sign_extends(|a: Asm| a.and(eax, -16), "eax=12345678", "eax=12345670", "000000")]
#[case::or(|a: Asm| a.or(al, ah), "eax=0102", "eax=0103", "000010")]
#[case::xor_clears(|a: Asm| a.xor(eax, eax), "eax=ffffffff", "eax=0", "001010")]
#[case::xor_memory(|a: Asm| a.xor(byte_ptr(si), 0xff_u32), "esi=3000 [3000]=0f", "[3000]=f0", "010010")]
#[case::test(|a: Asm| a.test(al, 0x80), "eax=80", "eax=80", "010000")]
#[case::test_memory(|a: Asm| a.test(dword_ptr(si), eax), "eax=1 esi=3000 [3000]=00000002", "[3000]=00000002", "001010")]
#[case::not(|a: Asm| a.not(ax), "eax=12345678", "eax=1234a987", "......")]
#[case::not_memory(|a: Asm| a.not(byte_ptr(si)), "esi=3000 [3000]=00", "[3000]=ff", "......")]
fn logic(#[case] code: Code, #[case] before: &str, #[case] after: &str, #[case] flags: &str) {
    check(code, before, after, flags);
}

#[rstest]
#[case::shl_by_one(|a: Asm| a.shl(al, 1), "eax=c0", "eax=80", "010001")]
#[case::shl_overflows(|a: Asm| a.shl(ax, 1), "eax=4000", "eax=8000", "110010")]
#[case::shl_by_nothing(|a: Asm| a.shl(ax, cl), "eax=1 ecx=20", "eax=1", "......")]
#[case::shl_count_is_modulo_32(|a: Asm| a.shl(eax, cl), "eax=1 ecx=21", "eax=2", "000000")]
#[case::shl_by_width(|a: Asm| a.shl(al, 8), "eax=101", "eax=100", "101011")]
#[case::shl_beyond_width(|a: Asm| a.shl(al, 9), "eax=1ff", "eax=100", "001010")]
#[case::shr_by_one(|a: Asm| a.shr(al, 1), "eax=81", "eax=40", "100001")]
#[case::shr_by_width(|a: Asm| a.shr(ax, cl), "eax=8000 ecx=10", "eax=0", "001011")]
#[case::sar_keeps_sign(|a: Asm| a.sar(ax, cl), "eax=8001 ecx=1", "eax=c000", "010011")]
#[case::sar_beyond_width(|a: Asm| a.sar(byte_ptr(si), 31), "esi=3000 [3000]=80", "[3000]=ff", "010011")]
#[case::rol_by_one(|a: Asm| a.rol(al, 1), "eax=81", "eax=03", "1....1")]
#[case::rol_by_width_sets_carry(|a: Asm| a.rol(al, 8), "eax=81", "eax=81", "0....1")]
#[case::ror_by_one(|a: Asm| a.ror(ax, 1), "eax=1", "eax=8000", "1....1")]
#[case::ror_32(|a: Asm| a.ror(eax, 4), "eax=12345678", "eax=81234567", "1....1")]
#[case::rcl_takes_carry(|a: Asm| { a.stc()?; a.rcl(al, 1) }, "eax=40", "eax=81", "1....0")]
#[case::rcl_full_circle(|a: Asm| { a.stc()?; a.rcl(al, 9) }, "eax=5a", "eax=5a", "1....1")]
#[case::rcr_takes_carry(|a: Asm| { a.stc()?; a.rcr(al, 1) }, "eax=1", "eax=80", "1....1")]
#[case::rcr_32(|a: Asm| { a.clc()?; a.rcr(eax, 31) }, "eax=80000001", "eax=5", "0....0")]
#[case::shld(|a: Asm| a.shld(ax, bx, 4), "eax=1234 ebx=abcd", "eax=234a", "100001")]
#[case::shld_by_cl(|a: Asm| a.shld(eax, ebx, cl), "eax=80000000 ebx=c0000000 ecx=1", "eax=1", "100001")]
#[case::shld_by_nothing(|a: Asm| a.shld(ax, bx, cl), "eax=1234 ebx=abcd ecx=20", "eax=1234", "......")]
#[case::shrd(|a: Asm| a.shrd(ax, bx, 4), "eax=1234 ebx=abcd", "eax=d123", "010000")]
#[case::shrd_memory(|a: Asm| a.shrd(dword_ptr(si), ebx, cl), "ebx=1 ecx=1 esi=3000 [3000]=00000001", "[3000]=80000000", "110011")]
fn shifts(#[case] code: Code, #[case] before: &str, #[case] after: &str, #[case] flags: &str) {
    check(code, before, after, flags);
}

#[rstest]
#[case::mul_byte(|a: Asm| a.mul(bl), "eax=ff10 ebx=10", "eax=100", "1????1")]
#[case::mul_fits(|a: Asm| a.mul(bx), "eax=10 edx=ffff ebx=10", "eax=100 edx=0", "0????0")]
#[case::mul_wide(|a: Asm| a.mul(ebx), "eax=ffffffff ebx=ffffffff", "eax=1 edx=fffffffe", "1????1")]
#[case::imul_byte(|a: Asm| a.imul(bl), "eax=fe ebx=3", "eax=fffa", "0????0")]
#[case::imul_wide(|a: Asm| a.imul(ebx), "eax=80000000 ebx=80000000", "eax=0 edx=40000000", "1????1")]
#[case::imul_two(|a: Asm| a.imul_2(ax, bx), "eax=4000 ebx=2", "eax=8000", "1????1")]
#[case::imul_three(|a: Asm| a.imul_3(eax, dword_ptr(si), -2), "esi=3000 [3000]=00000003", "eax=fffffffa", "0????0")]
#[case::div_byte(|a: Asm| a.div(bl), "eax=107 ebx=10", "eax=0710", "......")]
#[case::div_wide(|a: Asm| a.div(ebx), "eax=0 edx=1 ebx=2", "eax=80000000 edx=0", "......")]
#[case::div_by_zero(|a: Asm| a.div(bx), "eax=5 ebx=0", "eax=5 #0", "......")]
#[case::div_overflows(|a: Asm| a.div(bx), "eax=0 edx=1 ebx=1", "eax=0 edx=1 #0", "......")]
#[case::idiv_truncates(|a: Asm| a.idiv(bl), "eax=fff9 ebx=2", "eax=fffd", "......")]
#[case::idiv_lowest_quotient(|a: Asm| a.idiv(bl), "eax=ff80 ebx=1", "eax=80", "......")]
#[case::idiv_overflows(|a: Asm| a.idiv(bl), "eax=ff80 ebx=ff", "eax=ff80 #0", "......")]
#[case::idiv_lowest_by_minus_one(|a: Asm| a.idiv(ebx), "eax=0 edx=80000000 ebx=ffffffff", "#0", "......")]
#[case::aam(|a: Asm| a.aam(10), "eax=ff2a", "eax=0402", "000000")]
#[case::aam_zero(|a: Asm| a.aam(0), "eax=1", "eax=1 #0", "......")]
#[case::aad(|a: Asm| a.aad(10), "eax=0402", "eax=2a", "000000")]
#[case::daa(|a: Asm| { a.add(al, bl)?; a.daa() }, "eax=79 ebx=35", "eax=14", "?00111")]
#[case::das(|a: Asm| { a.sub(al, bl)?; a.das() }, "eax=35 ebx=47", "eax=88", "?10111")]
#[case::aaa(|a: Asm| { a.add(al, bl)?; a.aaa() }, "eax=8 ebx=9", "eax=0107", "???1?1")]
#[case::aas(|a: Asm| { a.sub(al, bl)?; a.aas() }, "eax=0203 ebx=5", "eax=0108", "???1?1")]
fn multiply(#[case] code: Code, #[case] before: &str, #[case] after: &str, #[case] flags: &str) {
    check(code, before, after, flags);
}

#[rstest]
#[case::bt(|a: Asm| a.bt(ax, bx), "eax=10 ebx=14", "eax=10", ".....1")]
#[case::bts(|a: Asm| a.bts(eax, 31), "eax=0", "eax=80000000", ".....0")]
#[case::btr(|a: Asm| a.btr(ax, 0), "eax=ffff", "eax=fffe", ".....1")]
#[case::btc(|a: Asm| a.btc(ax, 1), "eax=ffff", "eax=fffd", ".....1")]
#[case::string_above(|a: Asm| a.bts(word_ptr(si), bx), "ebx=21 esi=3000", "[3004]=0002", ".....0")]
#[case::string_below(|a: Asm| a.btr(dword_ptr(si), ebx), "ebx=ffffffff esi=3000 [2ffc]=80000001", "[2ffc]=00000001", ".....1")]
#[case::string_wraps_the_offset(|a: Asm| a.bt(word_ptr(si), bx), "ebx=fff0 esi=0 [fffe]=0001", "", ".....1")]
#[case::immediate_stays_in_the_word(|a: Asm| a.bts(word_ptr(si), 16), "esi=3000", "[3000]=0001 [3002]=0000", ".....0")]
#[case::bsf(|a: Asm| a.bsf(ax, bx), "ebx=8000", "eax=f", "..0...")]
#[case::bsr(|a: Asm| a.bsr(eax, ebx), "ebx=00ffffff", "eax=17", "..0...")]
#[case::scan_of_zero_keeps_the_destination(|a: Asm| a.bsf(eax, ebx), "eax=77 ebx=0", "eax=77", "..1...")]
#[case::bswap(|a: Asm| a.bswap(eax), "eax=12345678", "eax=78563412", "......")]
#[case::bswap_16(|a: Asm| a.db(&[0x0f, 0xc8]), "eax=12345678", "eax=12340000", "......")]
fn bits(#[case] code: Code, #[case] before: &str, #[case] after: &str, #[case] flags: &str) {
    check(code, before, after, flags);
}

#[rstest]
#[case::mov_keeps_the_rest(|a: Asm| a.mov(al, 0x12), "eax=aabbccdd", "eax=aabbcc12")]
#[case::mov_high(|a: Asm| a.mov(ah, bl), "eax=aabbccdd ebx=11", "eax=aabb11dd")]
#[case::mov_memory(|a: Asm| a.mov(dword_ptr(bx + si + 2), 0x1234_5678), "ebx=2000 esi=1000", "[3002]=12345678")]
#[case::mov_direct(|a: Asm| a.db(&[0xa1, 0x00, 0x30]), "[3000]=beef", "eax=beef")]
#[case::scaled_index(|a: Asm| a.mov(al, byte_ptr(ebx + ecx * 8 + 1)), "ebx=2000 ecx=200 [3001]=5a", "eax=5a")]
#[case::movzx(|a: Asm| a.movzx(eax, bh), "eax=ffffffff ebx=8100", "eax=81")]
#[case::movsx(|a: Asm| a.movsx(eax, word_ptr(si)), "esi=3000 [3000]=8000", "eax=ffff8000")]
#[case::movsx_16(|a: Asm| a.movsx(ax, bl), "eax=12340000 ebx=80", "eax=1234ff80")]
#[case::xchg(|a: Asm| a.xchg(al, ah), "eax=1234", "eax=3412")]
#[case::xchg_memory(|a: Asm| a.xchg(word_ptr(si), bx), "ebx=1 esi=3000 [3000]=0002", "ebx=2 [3000]=0001")]
#[case::lea_wraps(|a: Asm| a.lea(eax, dword_ptr(bx + si)), "ebx=ffff esi=2", "eax=1")]
#[case::lea_cuts(|a: Asm| a.lea(ax, word_ptr(ebx + ebx)), "eax=77770000 ebx=18000", "eax=77770000")]
#[case::xlat(|a: Asm| a.xlatb(), "eax=10 ebx=2ff8 [3008]=99", "eax=99")]
#[case::cbw(|a: Asm| a.cbw(), "eax=12345680", "eax=1234ff80")]
#[case::cwde(|a: Asm| a.cwde(), "eax=8000", "eax=ffff8000")]
#[case::cwd(|a: Asm| a.cwd(), "eax=8000 edx=12345678", "edx=1234ffff")]
#[case::cdq(|a: Asm| a.cdq(), "eax=7fffffff edx=1", "edx=0")]
#[case::nop_touches_nothing(|a: Asm| a.db(&[0x0f, 0x1f, 0x06, 0xff, 0xff]), "eax=1", "eax=1")]
#[case::word_beyond_the_segment(|a: Asm| a.mov(ax, word_ptr(si)), "eax=1 esi=ffff", "eax=1 #13")]
#[case::read_modify_write_beyond(|a: Asm| a.inc(word_ptr(si)), "esi=ffff", "#13")]
fn moves(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after, "......");
}

#[rstest]
#[case::cmov_taken(|a: Asm| { a.test(ebx, ebx)?; a.cmovz(eax, ecx) }, "eax=1 ebx=0 ecx=9", "eax=9")]
#[case::cmov_not_taken(|a: Asm| { a.test(ebx, ebx)?; a.cmovnz(eax, ecx) }, "eax=1 ebx=0 ecx=9", "eax=1")]
#[case::cmov_signed(|a: Asm| { a.cmp(ebx, 1)?; a.cmovl(ax, cx) }, "eax=10001 ebx=ffffffff ecx=9", "eax=10009")]
#[case::set_taken(|a: Asm| { a.cmp(ebx, 1)?; a.seta(al) }, "eax=ffff ebx=2", "eax=ff01")]
#[case::set_memory(|a: Asm| { a.cmp(ebx, 1)?; a.setg(byte_ptr(si)) }, "ebx=1 esi=3000 [3000]=ff", "[3000]=00")]
#[case::lahf(|a: Asm| { a.cmp(bl, bl)?; a.lahf() }, "eax=ff00", "eax=4600")]
#[case::sahf_keeps_overflow(|a: Asm| { a.add(bl, bl)?; a.sahf()?; a.seto(al)?; a.setz(cl) }, "eax=4000 ebx=40 ecx=0", "eax=4001 ecx=1")]
#[case::salc(|a: Asm| { a.stc()?; a.db(&[0xd6]) }, "eax=1200", "eax=12ff")]
fn conditions(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after, "");
}

#[rstest]
#[case::push_sp_is_the_old_one(|a: Asm| a.push(sp), "", "esp=7ffe [7ffe]=8000")]
#[case::pop_sp_is_the_popped(|a: Asm| { a.push(0x1234)?; a.pop(sp) }, "", "esp=1234")]
#[case::push_sign_extends(|a: Asm| a.db(&[0x66, 0x6a, 0xff]), "", "esp=7ffc [7ffc]=ffffffff")]
#[case::push_memory(|a: Asm| a.push(word_ptr(si)), "esi=3000 [3000]=1234", "[7ffe]=1234")]
#[case::pop_by_new_esp(|a: Asm| { a.push(0x77)?; a.pop(word_ptr(esp + 0x100)) }, "", "esp=8000 [8100]=0077")]
#[case::wraps_to_the_top(|a: Asm| a.push(ax), "eax=1234 esp=0", "esp=fffe [fffe]=1234")]
#[case::high_half_stays(|a: Asm| a.push(ax), "eax=1234 esp=55558000", "esp=55557ffe [7ffe]=1234")]
#[case::pusha(|a: Asm| a.pusha(), "eax=1 ecx=2 edx=3 ebx=4 ebp=6 esi=7 edi=8", "esp=7ff0 [7ff0]=8000000600070008 [7ff8]=0001000200030004")]
#[case::popa_passes_sp_over(|a: Asm| { a.pushad()?; a.mov(eax, 0)?; a.popad() }, "eax=11111111 ebp=5", "eax=11111111 ebp=5 esp=8000")]
#[case::enter(|a: Asm| a.enter(0x10, 0), "ebp=5555", "esp=7fee ebp=7ffe [7ffe]=5555")]
#[case::enter_copies_the_display(|a: Asm| a.enter(4, 3), "ebp=6000 [5ffc]=22221111", "esp=7ff4 ebp=7ffe [7ffe]=6000 [7ffc]=2222 [7ffa]=1111")]
#[case::leave(|a: Asm| a.leave(), "esp=1 ebp=7000 [7000]=1234", "esp=7002 ebp=1234")]
fn stack(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after, "......");
}

#[rstest]
#[case::call_and_return(|a: Asm| {
    let mut over = a.create_label();
    let mut routine = a.create_label();
    a.call(routine)?;
    a.jmp(over)?;
    a.set_label(&mut routine)?;
    a.mov(al, 5)?;
    a.ret()?;
    a.set_label(&mut over)?;
    a.nop()
}, "eax=0", "eax=5 esp=8000")]
#[case::return_releases(|a: Asm| {
    let mut over = a.create_label();
    let mut routine = a.create_label();
    a.push(ax)?;
    a.push(ax)?;
    a.call(routine)?;
    a.jmp(over)?;
    a.set_label(&mut routine)?;
    a.ret_1(4)?;
    a.set_label(&mut over)?;
    a.nop()
}, "", "esp=8000")]
#[case::loop_counts(|a: Asm| {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.inc(ax)?;
    a.loop_(again)
}, "eax=0 ecx=12340005", "eax=5 ecx=12340000")]
#[case::loopne_ends_at_zero_flag(|a: Asm| {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.dec(ax)?;
    a.loopne(again)
}, "eax=2 ecx=9", "eax=0 ecx=7")]
#[case::jcxz(|a: Asm| {
    let mut over = a.create_label();
    a.jcxz(over)?;
    a.mov(al, 1)?;
    a.set_label(&mut over)?;
    a.nop()
}, "eax=0 ecx=10000", "eax=0")]
#[case::jecxz(|a: Asm| {
    let mut over = a.create_label();
    a.jecxz(over)?;
    a.mov(al, 1)?;
    a.set_label(&mut over)?;
    a.nop()
}, "eax=0 ecx=10000", "eax=1")]
#[case::beyond_the_limit_pushes_nothing(|a: Asm| a.db(&[0x66, 0xff, 0xd0]), "eax=10000", "esp=7ffa #13")]
fn branches(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after, "");
}

#[rstest]
#[case::movsb(|a: Asm| a.rep().movsb(), "ecx=4 esi=3000 edi=4000 [3000]=44332211", "ecx=0 esi=3004 edi=4004 [4000]=44332211")]
#[case::movsd_downwards(|a: Asm| { a.std()?; a.rep().movsd()?; a.cld() }, "ecx=2 esi=3004 edi=4004 [3000]=1111111122222222", "ecx=0 esi=2ffc edi=3ffc [4000]=1111111122222222")]
#[case::pattern_spreads(|a: Asm| a.rep().movsb(), "ecx=5 esi=3000 edi=3001 [3000]=aa", "[3000]=aaaaaaaaaaaa")]
#[case::stosw(|a: Asm| a.rep().stosw(), "eax=beef ecx=3 edi=4000", "edi=4006 [4000]=beefbeefbeef")]
#[case::across_pages(|a: Asm| a.rep().stosd(), "eax=11223344 ecx=2 edi=4ffa", "edi=5002 [4ffa]=1122334411223344")]
#[case::index_wraps(|a: Asm| a.rep().stosb(), "eax=5a ecx=2 edi=ffff", "edi=1 [ffff]=5a")]
#[case::lods(|a: Asm| a.rep().lodsb(), "eax=ff00 ecx=3 esi=3000 [3000]=332211", "eax=ff33 esi=3003")]
#[case::nothing(|a: Asm| a.rep().movsb(), "ecx=10000 esi=3000 edi=4000", "ecx=10000 esi=3000 edi=4000")]
#[case::word_beyond_the_limit(|a: Asm| a.rep().movsw(), "ecx=3 esi=3000 edi=fffd [3000]=2211", "ecx=2 esi=3002 edi=ffff [fffd]=2211 #13")]
fn strings(#[case] code: Code, #[case] before: &str, #[case] after: &str) {
    check(code, before, after, "......");
}

#[rstest]
#[case::cmps_ends_at_difference(|a: Asm| a.repe().cmpsb(), "ecx=9 esi=3000 edi=4000 [3000]=1122 [4000]=3322", "ecx=7 esi=3002 edi=4002", "010111")]
#[case::scas_finds(|a: Asm| a.repne().scasb(), "eax=00 ecx=9 edi=4000 [4000]=0066ffff", "ecx=5 edi=4004", "001010")]
#[case::scas_alone(|a: Asm| a.scasw(), "eax=1 edi=4000 [4000]=0002", "edi=4002", "010111")]
#[case::no_iteration_keeps_flags(|a: Asm| a.repe().cmpsb(), "ecx=0", "ecx=0", "......")]
fn comparing_strings(#[case] code: Code, #[case] before: &str, #[case] after: &str, #[case] flags: &str) {
    check(code, before, after, flags);
}

/// One 16-bit-code program on both paths, compared in everything, with the state after.
fn on_both_paths(code: &[u8], fill: impl Fn(&mut FlatBus), change: impl Fn(&mut State)) -> (State, FlatBus) {
    let mut code = code.to_vec();
    code.push(0xf4);
    let [cached, plain] = [Path::Cached, Path::Plain].map(|path| {
        let (mut cpu, mut bus) = prepared(&code, &change);
        fill(&mut bus);
        run(&mut cpu, &mut bus, path);
        (cpu.state().clone(), bus)
    });
    assert_eq!(cached.0, plain.0);
    for address in 0..0x10000 {
        assert_eq!(cached.1.byte(address), plain.1.byte(address), "at {address:x}");
    }
    cached
}

/// What a rotate or shift `reg` of group 2 does, one bit at a time.
fn shifted_by_bits(reg: u8, bits: u32, value: u32, count: u32, carry: bool) -> (u32, bool) {
    let top = 1_u32 << (bits - 1);
    let mask = top | (top - 1);
    let (mut value, mut carry) = (value & mask, carry);
    for _ in 0..count & 31 {
        let (high, low, old) = (value & top != 0, value & 1 != 0, carry);
        let (next, out) = match reg {
            0 => ((value << 1) | u32::from(high), high),
            1 => ((value >> 1) | if low { top } else { 0 }, low),
            2 => ((value << 1) | u32::from(old), high),
            3 => ((value >> 1) | if old { top } else { 0 }, low),
            5 => (value >> 1, low),
            7 => ((value >> 1) | (value & top), low),
            _ => (value << 1, high),
        };
        (value, carry) = (next & mask, out);
    }
    (value, carry)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shifts_are_repeated_single_steps(
        reg in 0..8_u8, width in 0..3_u32, value: u32, count: u8, carry: bool,
    ) {
        let bits = 8 << width;
        // SHL, SHR... eAX or AL, CL
        let prefix: &[u8] = if width == 2 { &[0x66] } else { &[] };
        let code = [prefix, &[0xd2 | u8::from(width != 0), 0xc0 | (reg << 3)]].concat();
        let (state, _) = on_both_paths(&code, |_| {}, |state| {
            state.gpr[0] = value.into();
            state.gpr[1] = count.into();
            state.flags.set_carry(carry);
        });
        let (expected, out) = shifted_by_bits(reg, bits, value, count.into(), carry);
        let mask = u64::MAX >> (64 - bits);
        prop_assert_eq!(state.gpr[0] & mask, u64::from(expected));
        prop_assert_eq!(state.gpr[0] & !mask, u64::from(value) & !mask);
        prop_assert_eq!(state.flags.carry(), out);
    }

    #[test]
    fn division_inverts_multiplication(a: u32, b: u32, rest: u32, signed: bool) {
        // MUL or IMUL EBX; ADD EAX, ESI; ADC EDX, 0; DIV or IDIV EBX
        let reg = if signed { 0x28 } else { 0x20 };
        let code = [0x66, 0xf7, 0xc3 | reg, 0x66, 0x01, 0xf0, 0x66, 0x83, 0xd2, 0,
            0x66, 0xf7, 0xc3 | reg | 0x10];
        let (a, b) = if signed { (a >> 1, b >> 1) } else { (a, b) };
        prop_assume!(b != 0);
        let (state, _) = on_both_paths(&code, |_| {}, |state| {
            state.gpr[0] = a.into();
            state.gpr[3] = b.into();
            state.gpr[6] = (rest % b).into();
        });
        prop_assert_eq!(state.gpr[0], u64::from(a));
        prop_assert_eq!(state.gpr[2], u64::from(rest % b));
    }

    /// REP of every string operation, in bulk and one by one, against copying by hand.
    #[test]
    fn repeated_strings_go_element_by_element(
        operation in 0..5_usize, width in 0..3_u32, down: bool, repne: bool,
        source in 0x3000..0x5000_u16, distance in -70..70_i16, near: bool,
        count in 0..3000_u16, seed: u8,
    ) {
        let target = if near { source.wrapping_add_signed(distance) } else { source ^ 0x8000 };
        let opcode = [0xa4, 0xa6, 0xaa, 0xac, 0xae][operation] | u8::from(width != 0);
        let prefix: &[u8] = if width == 2 { &[0x66] } else { &[] };
        let code = [prefix, &[if repne { 0xf2 } else { 0xf3 }, opcode]].concat();
        let size = 1_u16 << width;
        let count = count / size;
        let fill = |bus: &mut FlatBus| {
            for address in 0x2800..0xe000_u64 {
                bus.set_byte(address, if operation == 0 { (address as u8) ^ seed } else { 7 });
            }
            bus.set_byte(0x3800, seed);
        };
        let (state, bus) = on_both_paths(&code, fill, |state| {
            state.gpr[0] = 0x0707_0707;
            state.gpr[1] = count.into();
            state.gpr[6] = source.into();
            state.gpr[7] = target.into();
            state.flags.set_direction(down);
        });
        let done = count - state.gpr[1] as u16;
        let moved = |from: u16| {
            let way = done.wrapping_mul(size);
            if down { from.wrapping_sub(way) } else { from.wrapping_add(way) }
        };
        let (uses_source, uses_target) = (operation != 2 && operation != 4, operation != 3);
        prop_assert_eq!(state.gpr[6] as u16, if uses_source { moved(source) } else { source });
        prop_assert_eq!(state.gpr[7] as u16, if uses_target { moved(target) } else { target });
        if operation == 0 {
            let mut expected = FlatBus::new(0x110_000);
            fill(&mut expected);
            let step = if down { size.wrapping_neg() } else { size };
            let (mut from, mut to) = (source, target);
            for _ in 0..count {
                let value = expected.peek(from.into(), size as u8);
                expected.poke(to.into(), &value.to_le_bytes()[..usize::from(size)]);
                (from, to) = (from.wrapping_add(step), to.wrapping_add(step));
            }
            for address in 0x2800..0xe000 {
                prop_assert_eq!(bus.byte(address), expected.byte(address), "at {:x}", address);
            }
        }
    }
}
