//! Bytes decide a machine and what is done to it, mostly to the chip that this target is named after:
//! `warmboot_machine::fuzz` says how.

#![no_main]

use std::sync::LazyLock;

use warmboot_machine::fuzz::{self, CHIPS, FuzzedChip};

static CHIP: LazyLock<&FuzzedChip> = LazyLock::new(|| {
    let name = env!("CARGO_BIN_NAME").trim_start_matches("chip-");
    CHIPS.iter().find(|chip| chip.name == name).expect("a target is named after a chip")
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = fuzz::run(input, Some(&CHIP));
});
