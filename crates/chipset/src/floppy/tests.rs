use super::*;
use crate::disk::{BlockSource, MemorySource, ZeroSource};
use crate::replay::{Bench, pattern};
use proptest::prelude::*;
use rstest::rstest;
use std::sync::Arc;

fn memory(bytes: Vec<u8>) -> Disk {
    Disk::new(Arc::new(MemorySource(bytes.into())))
}

/// The drives of the recording: a 1.44 MB and a 720 KB diskette.
fn bench() -> Bench<Floppy> {
    let mut chip = Floppy::new();
    chip.attach(0, memory(pattern(1440 << 10)), FloppyKind::Mb288);
    chip.attach(1, memory(pattern(720 << 10)), FloppyKind::Mb288);
    Bench::new(chip)
}

#[test]
fn as_qemu_did() {
    let recording = match std::env::var("REPLAY_FDC") {
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
