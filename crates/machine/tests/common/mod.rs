//! Machines for tests: built from the project's own ROMs, so that no firmware is needed.

use warmboot_machine::{Config, Firmware, Limits, Machine, Path};

/// A machine with one of our ROMs.
#[allow(dead_code, reason = "not every test file boots a ROM")]
pub fn machine(rom: &str, path: Path) -> Machine {
    let rom = warmboot_test_roms::find(rom).expect("a ROM of ours");
    with_image((rom.build)().expect("it assembles"), path)
}

/// A machine with any image.
pub fn with_image(bytes: Vec<u8>, path: Path) -> Machine {
    let firmware = Firmware { name: "test".into(), bytes: bytes.into() };
    let config = Config { firmware, serial: true, debug_exit: Some(0xf4), path, ..Config::default() };
    Machine::new(&config).expect("a machine")
}

/// Limits of `instructions` and a minute of virtual time, in slices of `slice`.
pub fn limits(instructions: u64, slice: Option<u64>) -> Limits {
    Limits { instructions: Some(instructions), time: Some(60_000_000_000), slice }
}
