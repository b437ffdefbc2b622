//! `shadow_bios_after_incoming`: a guest that comes from an emulator without PAM has its BIOS in
//! `pc.bios` and `pc.rom` alone, while its PAM bytes say that E0000-FFFFF is RAM. Where PAM works, it
//! would go on in empty RAM; so the BIOS is copied there.
//!
//! A half of the area that holds anything is left alone: a guest from an emulator with PAM has its
//! live variables there.

use warmboot_memory::{BlockId, Memory};

use super::{Hook, HookError};

pub(super) const HOOK: Hook = Hook {
    wanted: |machine, to| {
        let by_default = machine.machine_type().shadow_bios_after_incoming
            && machine.board.generation.post_load_shadow_bios;
        to.shadow_bios.unwrap_or(by_default)
    },
    run,
};

/// Bytes of two segments.
const HALF: u64 = 128 << 10;
const MEBIBYTE: u64 = 1 << 20;

/// Where each half lies in `pc.ram`, which block has it, and what is said.
const HALVES: [(u64, &str, &str); 2] = [
    (0xe_0000, "pc.bios", "copying E and F segments from pc.bios to pc.ram"),
    (0xc_0000, "pc.rom", "copying C and D segments from pc.rom to pc.ram"),
];

fn run(memory: &mut Memory, messages: &mut Vec<String>) -> Result<(), HookError> {
    let ram = sized(memory, "pc.ram", "at least 1048576", |size| size >= MEBIBYTE)?;
    for (_, block, _) in HALVES {
        sized(memory, block, "131072", |size| size == HALF)?;
    }
    for (at, block, message) in HALVES {
        let from = sized(memory, block, "131072", |size| size == HALF)?;
        let mut bytes = vec![0; HALF as usize];
        // The sizes have been checked, so neither reading nor writing can leave a block.
        let there = memory.read_block(ram, at, &mut bytes);
        if there.is_err() || bytes.iter().any(|byte| *byte != 0) {
            continue;
        }
        if memory.read_block(from, 0, &mut bytes).and_then(|()| memory.write_block(ram, at, &bytes)).is_ok() {
            messages.push(message.into());
        }
    }
    Ok(())
}

/// The block `name`, if its size is right.
fn sized(
    memory: &Memory,
    block: &'static str,
    expected: &'static str,
    right: fn(u64) -> bool,
) -> Result<BlockId, HookError> {
    let id = memory.block(block);
    let found = id.map_or(0, |id| memory.info(id).size);
    let error = HookError { hook: "shadow_bios_after_incoming", block, expected, found };
    id.filter(|_| right(found)).ok_or(error)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Blocks of these sizes; pc.bios full of BB, pc.rom of CC.
    fn memory(ram: u64, bios: u64, rom: u64) -> Memory {
        let mut memory = Memory::new();
        for (name, size, byte) in [("pc.ram", ram, 0), ("pc.bios", bios, 0xbb), ("pc.rom", rom, 0xcc)] {
            let id = memory.add_block(name, size).expect("a block");
            memory.write_block(id, 0, &vec![byte; size as usize]).expect("inside");
        }
        memory
    }

    fn byte(memory: &Memory, offset: u64) -> u8 {
        let mut byte = [0];
        let ram = memory.block("pc.ram").expect("a block");
        memory.read_block(ram, offset, &mut byte).expect("inside");
        byte[0]
    }

    /// A byte already in `pc.ram` keeps its half from being copied, and only its half.
    #[rstest]
    #[case::both(None, [0xcc, 0xbb], &[0, 1])]
    #[case::variable_in_f(Some(0xf_7290), [0xcc, 0], &[1])]
    #[case::last_byte(Some(0xf_ffff), [0xcc, 0], &[1])]
    #[case::first_of_e(Some(0xe_0000), [0xcc, 1], &[1])]
    #[case::option_rom(Some(0xc_8000), [0, 0xbb], &[0])]
    #[case::elsewhere(Some(0xb_ffff), [0xcc, 0xbb], &[0, 1])]
    fn copies(#[case] live: Option<u64>, #[case] expect: [u8; 2], #[case] said: &[usize]) {
        let mut memory = memory(MEBIBYTE, HALF, HALF);
        if let Some(at) = live {
            let ram = memory.block("pc.ram").expect("a block");
            memory.write_block(ram, at, &[1]).expect("inside");
        }
        let mut messages = Vec::new();
        run(&mut memory, &mut messages).expect("right sizes");
        assert_eq!([byte(&memory, 0xc_0000), byte(&memory, 0xe_0000)], expect);
        let said: Vec<&str> = said.iter().map(|half| HALVES[*half].2).collect();
        assert_eq!(messages, said);
    }

    #[rstest]
    #[case::small_ram(MEBIBYTE - 4096, HALF, HALF, "pc.ram")]
    #[case::large_bios(MEBIBYTE, 2 * HALF, HALF, "pc.bios")]
    #[case::small_rom(MEBIBYTE, HALF, HALF / 2, "pc.rom")]
    fn refuses(#[case] ram: u64, #[case] bios: u64, #[case] rom: u64, #[case] block: &str) {
        let mut memory = memory(ram, bios, rom);
        let before = memory.digest();
        let error = run(&mut memory, &mut Vec::new()).expect_err("wrong sizes");
        assert_eq!(error.block, block);
        assert_eq!(memory.digest(), before);
    }
}
