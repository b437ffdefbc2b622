//! Machines for tests: built from the project's own ROMs, so that no firmware is needed.

use warmboot_machine::{Adapter, Config, Firmware, Limits, Machine, Path, Vga};

/// A machine with one of our ROMs.
#[allow(dead_code, reason = "not every test file boots a ROM")]
pub fn machine(rom: &str, path: Path) -> Machine {
    let rom = warmboot_test_roms::find(rom).expect("a ROM of ours");
    with_image((rom.build)().expect("it assembles"), path)
}

/// A machine with any image.
pub fn with_image(bytes: Vec<u8>, path: Path) -> Machine {
    Machine::new(&config(bytes, path)).expect("a machine")
}

/// What that is built from.
pub fn config(bytes: Vec<u8>, path: Path) -> Config {
    let firmware = Firmware { name: "test".into(), bytes: bytes.into() };
    Config { firmware, serial: true, debug_exit: Some(0xf4), path, ..Config::default() }
}

/// A machine with one of our ROMs and a display adapter, whose ROM nobody runs.
#[allow(dead_code, reason = "not every test file looks at a screen")]
pub fn with_display(rom: &str, path: Path) -> Machine {
    let rom = warmboot_test_roms::find(rom).expect("a ROM of ours");
    let config = config((rom.build)().expect("it assembles"), path);
    let rom = Firmware { name: "test".into(), bytes: vec![0x55, 0xaa, 1, 0xcb].into() };
    Machine::new(&Config { vga: Some(Vga { adapter: Adapter::Std, rom }), ..config }).expect("a machine")
}

/// Limits of `instructions` and a minute of virtual time, in slices of `slice`.
pub fn limits(instructions: u64, slice: Option<u64>) -> Limits {
    Limits { instructions: Some(instructions), time: Some(60_000_000_000), slice }
}
