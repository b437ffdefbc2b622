use super::*;
use crate::disk::MemorySource;
use crate::replay::{Bench, pattern};
use std::sync::Arc;

fn memory(bytes: Vec<u8>) -> Disk {
    Disk::new(Arc::new(MemorySource(bytes.into())))
}

/// The drives of the recording: 8 MiB, 100,100 bytes, and a CD of 3 MiB.
fn bench() -> Bench<IdeController> {
    let mut chip = IdeController::new();
    chip.attach(0, 0, memory(pattern(8 << 20)), DriveKind::HardDisk);
    chip.attach(0, 1, memory(pattern(100_100)), DriveKind::HardDisk);
    chip.attach(1, 0, memory(pattern(3 << 20)), DriveKind::Cdrom);
    let mut fx = Effects::default();
    chip.config_write(BMIBA, 4, 0xc000, &mut fx);
    chip.config_write(pci::COMMAND, 2, 5, &mut fx);
    Bench::new(chip)
}

/// Thousands of accesses, recorded on QEMU 7.2: random commands, packets and transfers.
#[test]
fn as_qemu_did() {
    let recording = match std::env::var("REPLAY_IDE") {
        Ok(p) => std::fs::read_to_string(p).unwrap(),
        _ => String::new(),
    };
    let differences = bench().replay(&recording);
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences[..differences.len().min(40)].join("\n")
    );
}
