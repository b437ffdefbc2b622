//! Random code: no panic, and the cached path, the plain path and any slicing agree in every bit.

mod common;

use common::{CODE, DATA, DIRECTORY, Machine, TABLE, long};
use rstest::rstest;
use warmboot_cpu::{
    flags::Flags,
    models,
    state::{cr0, cr4},
};

/// Xorshift: seeds are printed by the failing case's name.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Opcodes that random bytes seldom hit, with an operand at a useful address.
const SEEDS: [&[u8]; 24] = [
    &[0xf3, 0xa4],
    &[0xf3, 0xab],
    &[0xf2, 0xae],
    &[0x8e, 0xd8],
    &[0x8e, 0xd0],
    &[0x0f, 0x22, 0xd8],
    &[0x9d],
    &[0xcf],
    &[0xcb],
    &[0xfb],
    &[0x17],
    &[0xc8, 8, 0, 2],
    &[0x60],
    &[0x61],
    &[0x0f, 0x01, 0x38],
    &[0xf0, 0x0f, 0xb1, 0x0d, 0, 0, 3, 0],
    &[0x48, 0xcf],
    &[0x48, 0xcb],
    &[0x0f, 0x05],
    &[0x48, 0x0f, 0x07],
    &[0x0f, 0x01, 0xf8],
    &[0xf3, 0x48, 0xa5],
    &[0x44, 0x0f, 0x22, 0xc0],
    &[0x48, 0x0f, 0xc7, 0x0b],
];

fn fill(machine: &mut Machine, random: &mut Random) {
    let mut at = CODE;
    while at < CODE + 0x1800 {
        if random.next().is_multiple_of(4) {
            let seed = SEEDS[(random.next() % SEEDS.len() as u64) as usize];
            machine.bus.poke(at, seed);
            at += seed.len() as u64;
        } else {
            machine.bus.set_byte(at, random.next() as u8);
            at += 1;
        }
    }
    for offset in (0..0x1000).step_by(8) {
        machine.bus.poke64(DATA + offset, random.next());
    }
    let state = machine.cpu.state_mut();
    for index in [0, 1, 2, 3, 5, 6, 7] {
        state.gpr[index] = match random.next() % 4 {
            0 => random.next() & 0xff,
            1 => DATA + (random.next() & 0xfff),
            2 => CODE + (random.next() & 0xfff),
            _ => random.next() & 0xffff_ffff,
        };
    }
    state.flags = Flags::from((random.next() as u32 & 0x4_0fd5) | 2);
}

#[rstest]
fn random_code(#[values(0, 1, 2, 3, 4, 5, 6)] mode: u8, #[values(1, 2, 3, 4, 5, 6, 7, 8)] group: u64) {
    for seed in 0..12 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (group << 32 | seed << 8 | u64::from(mode)));
        for _ in 0..8 {
            random.next();
        }
        let mut machine = match mode {
            0 => Machine::real(&[]),
            1 => Machine::protected(0, &[]),
            2 => Machine::protected(3, &[]),
            3 => paged(),
            4 => Machine::long(&models::MAX, 0, &[]),
            5 => Machine::long(&models::MAX, 3, &[]),
            _ => compatibility(),
        };
        fill(&mut machine, &mut random);
        machine.run_limit(400);
    }
}

/// Firsts of what a conditional jump may make one op with, each to be followed by a ModR/M byte and, if so
/// said, an immediate byte. A digit fixes the byte's middle field.
const FIRSTS: [(u8, Option<u8>, bool); 22] = [
    (0x38, None, false),
    (0x39, None, false),
    (0x3a, None, false),
    (0x3b, None, false),
    (0x84, None, false),
    (0x85, None, false),
    (0x00, None, false),
    (0x03, None, false),
    (0x28, None, false),
    (0x2b, None, false),
    (0x21, None, false),
    (0x0b, None, false),
    (0x80, Some(7), true),
    (0x83, Some(7), true),
    (0x83, Some(0), true),
    (0x83, Some(5), true),
    (0x83, Some(4), true),
    (0x83, Some(1), true),
    (0xfe, Some(0), false),
    (0xff, Some(1), false),
    (0xd1, Some(5), false),
    (0xc1, Some(5), true),
];

/// One of them with operands, of any width.
fn first(random: &mut Random, long: bool) -> Vec<u8> {
    let (opcode, field, immediate) = FIRSTS[(random.next() % FIRSTS.len() as u64) as usize];
    let field = field.unwrap_or(random.next() as u8 & 7);
    // A register, or what EBX, EDI or both point to.
    let place = if random.next().is_multiple_of(3) {
        1 + 6 * (random.next() as u8 & 1)
    } else {
        0xc0 | random.next() as u8 & 7
    };
    let mut bytes = Vec::new();
    match random.next() % 6 {
        0 => bytes.push(0x66),
        1 if long => bytes.push(0x48),
        _ => {}
    }
    bytes.extend([opcode, place | field << 3]);
    if immediate {
        bytes.push([0, 1, 2, 0x7f, 0x80, 0xff][(random.next() % 6) as usize]);
    }
    bytes
}

/// Programs of such pairs whose jumps go anywhere within: as one op and as two, as loops within a block and
/// block by block, they do the same, wherever the budget ends.
#[rstest]
fn pairs_and_loops(#[values(0, 1, 3, 4, 6)] mode: u8, #[values(1, 2, 3, 4, 5, 6)] group: u64) {
    for seed in 0..40 {
        let mut random = Random(0x6a09_e667_f3bc_c908 ^ (group << 32 | seed << 8 | u64::from(mode)));
        for _ in 0..8 {
            random.next();
        }
        let mut machine = match mode {
            0 => Machine::real(&[]),
            1 => Machine::protected(0, &[]),
            3 => paged(),
            4 => Machine::long(&models::MAX, 0, &[]),
            _ => compatibility(),
        };
        let mut firsts: Vec<Vec<u8>> = (0..10).map(|_| first(&mut random, mode == 4)).collect();
        if mode != 4 {
            // Something that is no part of a pair.
            firsts[(random.next() % 10) as usize] = vec![0x40 | random.next() as u8 & 7];
        }
        // A pair each, with two bytes of jump.
        let starts: Vec<usize> = firsts
            .iter()
            .scan(0, |at, bytes| {
                let start = *at;
                *at += bytes.len() + 2;
                Some(start)
            })
            .collect();
        let mut code = Vec::new();
        for bytes in &firsts {
            code.extend(bytes);
            // To a pair, or to its jump, or to where no op begins.
            let target =
                starts[(random.next() % 10) as usize] + [0, 0, 0, 1, 2][(random.next() % 5) as usize];
            let away = target as i64 - (code.len() as i64 + 2);
            code.extend([0x70 | random.next() as u8 & 15, away as u8]);
        }
        code.extend([0xeb, (-(code.len() as i64) - 2) as u8]);
        fill(&mut machine, &mut random);
        machine.bus.poke(CODE, &code);
        if seed.is_multiple_of(4) {
            // Where some jumps are beyond.
            machine.cpu.state_mut().segments[1].limit = CODE as u32 * u32::from(mode != 0) + 20;
        }
        machine.run_limit(1500 + seed);
    }
}

/// Opcode, whether a ModR/M byte follows and with which middle field, bytes of an immediate.
type Form = (&'static [u8], Option<Option<u8>>, usize);

/// What is run without a call, and what only looks like it.
const COMMONEST: [Form; 68] = [
    (&[0x8b], Some(None), 0),
    (&[0x89], Some(None), 0),
    (&[0x8c], Some(None), 0),
    (&[0x01], Some(None), 0),
    (&[0x03], Some(None), 0),
    (&[0x29], Some(None), 0),
    (&[0x2b], Some(None), 0),
    (&[0x31], Some(None), 0),
    (&[0x33], Some(None), 0),
    (&[0x39], Some(None), 0),
    (&[0x3b], Some(None), 0),
    (&[0x8d], Some(None), 0),
    (&[0x0f, 0xaf], Some(None), 0),
    (&[0x0f, 0xb6], Some(None), 0),
    (&[0x0f, 0xb7], Some(None), 0),
    (&[0x83], Some(Some(0)), 1),
    (&[0x83], Some(Some(4)), 1),
    (&[0xc1], Some(Some(5)), 1),
    (&[0xc1], Some(Some(4)), 1),
    (&[0xd1], Some(Some(5)), 0),
    (&[0xff], Some(Some(0)), 0),
    (&[0xff], Some(Some(1)), 0),
    (&[0xb8], None, 4),
    (&[0x56], None, 0),
    (&[0x5a], None, 0),
    (&[0xe8, 0, 0, 0, 0], None, 0),
    (&[0xc3], None, 0),
    (&[0x11], Some(None), 0),
    (&[0x19], Some(None), 0),
    (&[0x21], Some(None), 0),
    (&[0x09], Some(None), 0),
    (&[0x38], Some(None), 0),
    (&[0x85], Some(None), 0),
    (&[0x88], Some(None), 0),
    (&[0x8a], Some(None), 0),
    (&[0x0f, 0xbe], Some(None), 0),
    (&[0x0f, 0xbf], Some(None), 0),
    (&[0x83], Some(Some(1)), 1),
    (&[0x83], Some(Some(5)), 1),
    (&[0x83], Some(Some(7)), 1),
    (&[0x80], Some(Some(7)), 1),
    (&[0xc6], Some(Some(0)), 1),
    (&[0xc7], Some(Some(0)), 4),
    (&[0xb0], None, 1),
    (&[0xf6], Some(Some(0)), 1),
    (&[0xf7], Some(Some(2)), 0),
    (&[0xf7], Some(Some(3)), 0),
    (&[0xc1], Some(Some(7)), 1),
    (&[0xd3], Some(Some(4)), 0),
    (&[0xd3], Some(Some(5)), 0),
    (&[0xd3], Some(Some(7)), 0),
    (&[0x0f, 0x92], Some(None), 0),
    (&[0x0f, 0x94], Some(None), 0),
    (&[0x0f, 0x95], Some(None), 0),
    (&[0x0f, 0x97], Some(None), 0),
    (&[0x0f, 0x42], Some(None), 0),
    (&[0x0f, 0x43], Some(None), 0),
    (&[0x0f, 0x44], Some(None), 0),
    (&[0x0f, 0x45], Some(None), 0),
    (&[0x6a], None, 1),
    (&[0x68], None, 4),
    (&[0xff], Some(Some(6)), 0),
    (&[0xff], Some(Some(4)), 0),
    (&[0x72, 0], None, 0),
    (&[0x75, 0], None, 0),
    (&[0x76, 0], None, 0),
    (&[0x78, 0], None, 0),
    (&[0xeb, 0], None, 0),
];

/// Random rows of them, of any width, with faults between them and the budget's end anywhere.
#[rstest]
fn the_commonest(#[values(1, 2, 3, 4, 5, 6)] mode: u8, #[values(1, 2, 3, 4, 5, 6)] group: u64) {
    for seed in 0..30 {
        let mut random = Random(0xbb67_ae85_84ca_a73b ^ (group << 32 | seed << 8 | u64::from(mode)));
        for _ in 0..8 {
            random.next();
        }
        let mut machine = match mode {
            1 => Machine::protected(0, &[]),
            2 => Machine::protected(3, &[]),
            3 => paged(),
            4 => Machine::long(&models::MAX, 0, &[]),
            5 => Machine::long(&models::MAX, 3, &[]),
            _ => compatibility(),
        };
        let mut code = Vec::new();
        for _ in 0..20 {
            let (opcode, fields, immediate) = COMMONEST[(random.next() % COMMONEST.len() as u64) as usize];
            match random.next() % 5 {
                0 if immediate != 4 => code.push(0x66),
                1 | 2 if (4..=5).contains(&mode) && immediate != 4 => code.push(0x48),
                _ => {}
            }
            code.extend(opcode);
            if let Some(field) = fields {
                // A register, or what ECX or EDI points to.
                let registers = opcode != [0x8d] && !random.next().is_multiple_of(3);
                let place = if registers {
                    0xc0 | random.next() as u8 & 7
                } else {
                    1 + 6 * (random.next() as u8 & 1)
                };
                code.push(place | field.unwrap_or(random.next() as u8 & 7) << 3);
            }
            code.extend((0..immediate).map(|_| random.next() as u8));
        }
        code.extend([0xe9, 0, 0, 0, 0]);
        let back = -(code.len() as i32);
        let at = code.len() - 4;
        code[at..].copy_from_slice(&back.to_le_bytes());
        fill(&mut machine, &mut random);
        machine.bus.poke(CODE, &code);
        let gpr = &mut machine.cpu.state_mut().gpr;
        (gpr[1], gpr[7]) = (DATA + 0x100, DATA + 0xffe);
        machine.run_limit(300 + seed);
    }
}

/// Flags that the instruction behind the next one sets anew, but which are seen before that: EAX + EBX carries, and
/// EBP points to where no page is.
#[rstest]
#[case::a_load_faults(&[0x01, 0xd8, 0x8b, 0x4d, 0x00, 0x01, 0xd8])]
#[case::a_store_faults(&[0x01, 0xd8, 0x89, 0x4d, 0x00, 0x01, 0xd8])]
#[case::a_push_faults(&[0x89, 0xec, 0x01, 0xd8, 0x50, 0x01, 0xd8])]
#[case::a_count_is_zero(&[0x01, 0xd8, 0xc1, 0xe1, 0x20, 0x9c, 0x01, 0xd8])]
#[case::inc_keeps_carry(&[0x01, 0xd8, 0x41, 0x9c, 0x01, 0xd8])]
#[case::a_condition_asks(&[0x01, 0xd8, 0x0f, 0x92, 0xc1, 0x01, 0xd8])]
#[case::a_carry_is_added(&[0x01, 0xd8, 0x11, 0xd9, 0x01, 0xd8])]
#[case::a_branch_leaves(&[0x01, 0xd8, 0x72, 0x02, 0x01, 0xd8, 0x9c])]
#[case::a_pair_keeps_carry_and_leaves(&[
    0x01, 0xd8, 0x49, 0x75, 0x0b, 0x01, 0xd8, 0x41, 0x83, 0xea, 0x01, 0x83, 0xd1, 0x00, 0xeb, 0xf0, 0x9c,
])]
fn flags_that_are_seen(#[case] code: &[u8]) {
    let mut machine = paged();
    machine.bus.poke(CODE, code);
    machine.bus.set_byte(CODE + code.len() as u64, 0xf4);
    let gpr = &mut machine.cpu.state_mut().gpr;
    (gpr[0], gpr[3], gpr[5]) = (0xffff_ffff, 0xffff_ffff, 0x50_0000);
    // Rounds until the pair leaves: blocks go on beyond a branch only when they are run often.
    (gpr[1], gpr[2]) = (1, 40);
    machine.run_limit(500);
}

/// `while (count) place[--count] = value`, as compilers write it.
const FILL_32: &[u8] = &[0x85, 0xc9, 0x74, 0x06, 0x49, 0x88, 0x14, 0x08, 0xeb, 0xf6, 0xf4];
const FILL_32_HIGH: &[u8] = &[0x85, 0xc0, 0x74, 0x08, 0x48, 0x88, 0x6c, 0x03, 0x10, 0xeb, 0xf4, 0xf4];
const FILL_ZERO: &[u8] = &[0x85, 0xd2, 0x74, 0x07, 0x4a, 0xc6, 0x04, 0x10, 0x00, 0xeb, 0xf5, 0xf4];
const FILL_64: &[u8] = &[0x48, 0x85, 0xc9, 0x74, 0x08, 0x48, 0xff, 0xc9, 0x88, 0x14, 0x08, 0xeb, 0xf3, 0xf4];
/// The same with what must not be taken for it: the value in the counter, another scale, a store of a dword.
const OWN_COUNT: &[u8] = &[0x85, 0xc9, 0x74, 0x06, 0x49, 0x88, 0x0c, 0x08, 0xeb, 0xf6, 0xf4];
const SCALED: &[u8] = &[0x85, 0xc9, 0x74, 0x06, 0x49, 0x88, 0x14, 0x48, 0xeb, 0xf6, 0xf4];
const DWORDS: &[u8] = &[0x85, 0xc9, 0x74, 0x06, 0x49, 0x89, 0x14, 0x08, 0xeb, 0xf6, 0xf4];

/// Rounds taken at once leave what single ones leave: over pages, past the segment's end, over the loop
/// itself, and cut off by the budget.
#[rstest]
fn loops_that_fill(
    #[values(FILL_32, FILL_32_HIGH, FILL_ZERO, FILL_64, OWN_COUNT, SCALED, DWORDS)] code: &[u8],
    #[values(0, 1, 40, 4096, 9000)] count: u64,
    #[values(DATA, DATA + 0xffd, CODE - 5, 0xffff_fff0)] place: u64,
    #[values(true, false)] paging: bool,
    #[values(20_000, 20_003)] budget: u64,
) {
    let mut machine = match (code == FILL_64, paging) {
        (true, _) => Machine::long(&models::MAX, 3, &[]),
        (false, true) => paged(),
        (false, false) => Machine::protected(0, &[]),
    };
    machine.bus.poke(CODE, code);
    let gpr = &mut machine.cpu.state_mut().gpr;
    (gpr[0], gpr[1], gpr[2], gpr[3], gpr[5]) = (place, count, 0xa5, place, 0);
    if code == FILL_ZERO {
        gpr[2] = count;
    }
    if code == FILL_32_HIGH {
        gpr[0] = count;
        gpr[1] = 0x5a00;
    }
    machine.run_limit(budget);
}

/// 32-bit code under 64-bit handlers.
fn compatibility() -> Machine {
    let mut machine = Machine::long(&models::QEMU64, 3, &[]);
    let cs = &mut machine.cpu.state_mut().segments[1];
    (cs.selector, cs.rights) = (long::CODE_32_3, 0xc0fb);
    machine
}

/// The first 2 MiB mapped page by page, the page tables within them.
fn paged() -> Machine {
    let mut machine = Machine::protected(3, &[]);
    machine.bus.poke32(DIRECTORY, TABLE as u32 | 7);
    for page in 0..512 {
        machine.bus.poke32(TABLE + 4 * page, (page as u32) << 12 | 7);
    }
    // The tables are visible where random code looks, too.
    machine.bus.poke32(TABLE + 4 * (DATA >> 12), TABLE as u32 | 7);
    let state = machine.cpu.state_mut();
    state.cr3 = DIRECTORY;
    state.cr4 = cr4::PSE;
    state.cr0 |= cr0::PG | cr0::WP;
    machine
}
