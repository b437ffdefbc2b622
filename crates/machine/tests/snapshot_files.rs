//! Files that are not what [`Machine::save`] made: cut short, changed, or made by hand with a right
//! checksum. Every one gives a typed error or a machine that runs; none a panic, a hang or memory
//! out of proportion.

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::limits;
use rstest::rstest;
use serde_json::Value;
use warmboot_machine::{
    BlockSource, Config, Drive, DriveKind, Firmware, Machine, MemorySource, Slot, Snapshot, SnapshotError,
    VirtioInterface,
};

/// Where the header's length stands, and where the header begins (see `snapshot/mod.rs`).
const LENGTHS: usize = 22;
const HEADER: usize = 38;
const CHECKSUM: usize = 32;

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// A machine of 1 MiB of that type, with every kind of drive it has and all ports.
fn machine(machine: &str, firmware: Vec<u8>) -> Machine {
    let drive = |at, kind, size: usize| Drive {
        at,
        kind,
        source: image(size),
        name: "image".into(),
        read_only: false,
        latency: 20_000,
    };
    let drives = match machine {
        Q35 => vec![
            drive(Slot::Sata(0), DriveKind::HardDisk, 1 << 20),
            drive(Slot::Sata(2), DriveKind::Cdrom, 1 << 18),
            drive(Slot::Virtio(1), DriveKind::HardDisk, 1 << 18),
        ],
        _ => vec![
            drive(Slot::Ide { channel: 0, unit: 0 }, DriveKind::HardDisk, 1 << 20),
            drive(Slot::Ide { channel: 1, unit: 0 }, DriveKind::Cdrom, 1 << 18),
            drive(Slot::Floppy(0), DriveKind::Floppy, 1440 << 10),
            drive(Slot::Virtio(1), DriveKind::HardDisk, 1 << 18),
        ],
    };
    let config = Config {
        machine: machine.into(),
        firmware: Firmware { name: "test".into(), bytes: firmware.into() },
        memory: 1 << 20,
        serial: true,
        debug_exit: Some(0xf4),
        drives,
        rng: true,
        virtio: Some(VirtioInterface::Modern),
        ..Config::default()
    };
    Machine::new(&config).expect("a machine")
}

const I440FX: &str = "pc-i440fx-7.2";
const Q35: &str = "pc-q35-7.2";

fn image(size: usize) -> Arc<dyn BlockSource> {
    Arc::new(MemorySource((0..size).map(|at| (at / 512) as u8).collect()))
}

/// Reads a file and makes its machine.
fn load(bytes: &[u8]) -> Result<Machine, SnapshotError> {
    Machine::load(bytes, &mut |drive| Some(image(drive.size.min(4 << 20) as usize)))
}

fn rom(name: &str) -> Vec<u8> {
    (warmboot_test_roms::find(name).expect("a ROM of ours").build)().expect("it assembles")
}

/// A snapshot of `instructions` into a ROM.
fn saved(firmware: Vec<u8>, instructions: u64) -> Vec<u8> {
    saved_on(I440FX, firmware, instructions)
}

fn saved_on(kind: &str, firmware: Vec<u8>, instructions: u64) -> Vec<u8> {
    let mut machine = machine(kind, firmware);
    machine.run(&[], limits(instructions, None)).expect("no conditions");
    machine.save().expect("saved")
}

#[test]
fn every_truncation_is_refused() {
    let bytes = saved(rom("hello"), 20_000);
    assert!(load(&bytes).is_ok());
    for length in 0..bytes.len() {
        let error = load(&bytes[..length]).err().unwrap_or_else(|| panic!("{length} bytes were taken"));
        assert!(
            matches!(error, SnapshotError::Truncated { length: is, .. } if is == length as u64),
            "{error}"
        );
    }
}

#[test]
fn ten_thousand_mutations_are_refused() {
    let good = saved(rom("hello"), 20_000);
    let mut random = Random(0x5eed);
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..10_000 {
        let mut bytes = good.clone();
        let at = random.below(bytes.len());
        // Half of them where the frame is.
        let at = if random.below(4) == 0 { at % HEADER } else { at };
        let value = random.next();
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => {
                let end = (at + 1 + random.below(64)).min(bytes.len());
                bytes[at..end]
                    .iter_mut()
                    .zip(value.to_le_bytes().iter().cycle())
                    .for_each(|(to, from)| *to = *from);
            }
            2 => bytes.insert(at, value as u8),
            3 => drop(bytes.remove(at)),
            _ => {
                let end = (at + 8).min(bytes.len());
                bytes[at..end].copy_from_slice(&u64::MAX.to_le_bytes()[..end - at]);
            }
        }
        if bytes == good {
            continue;
        }
        let Err(error) = load(&bytes) else { panic!("a changed file was taken, at {at}") };
        kinds.insert(format!("{error:?}").split([' ', '{']).next().unwrap_or_default().to_owned());
    }
    let expect = ["Checksum", "Foreign", "Length", "Trailing", "Truncated", "Version"];
    assert!(expect.iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
}

/// The same file with another header or body, and the checksum that goes with it.
fn forge(good: &[u8], header: Option<&[u8]>, body: Option<&[u8]>) -> Vec<u8> {
    let (old_header, old_body) = parts(good);
    let (header, body) = (header.unwrap_or(old_header), body.unwrap_or(old_body));
    let mut bytes = good[..LENGTHS].to_vec();
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(header);
    bytes.extend(body);
    let checksum = blake3::hash(&bytes);
    bytes.extend(checksum.as_bytes());
    bytes
}

fn parts(good: &[u8]) -> (&[u8], &[u8]) {
    let length = u64::from_le_bytes(good[LENGTHS..LENGTHS + 8].try_into().expect("8 bytes")) as usize;
    good[HEADER..good.len() - CHECKSUM].split_at(length)
}

/// Hits the IDE, floppy, DMA, timer, interrupt, keyboard, CMOS, serial, PCI and fw_cfg ports with
/// pseudo-random reads and writes, for ever.
fn storm() -> Vec<u8> {
    const PORTS: [u16; 64] = [
        0x1f0, 0x1f1, 0x1f2, 0x1f3, 0x1f4, 0x1f5, 0x1f6, 0x1f7, 0x3f6, 0x170, 0x171, 0x172, 0x173, 0x174,
        0x175, 0x176, 0x177, 0x376, 0x3f2, 0x3f4, 0x3f5, 0x3f5, 0x3f7, 0x3f0, 0x00, 0x01, 0x04, 0x05, 0x08,
        0x0a, 0x0b, 0x0c, 0xd0, 0xd6, 0x81, 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x40, 0x41, 0x42, 0x43, 0x61,
        0x60, 0x64, 0x70, 0x71, 0x72, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0xcf8, 0xcfc, 0xcfd, 0x510,
        0x511, 0x514, 0x518, 0x402,
    ];
    #[rustfmt::skip]
    let code: &[u8] = &[
        0x66, 0x69, 0xdb, 0x6d, 0x4e, 0xc6, 0x41, // again: imul ebx,ebx,41C64E6Dh
        0x66, 0x81, 0xc3, 0x39, 0x30, 0x00, 0x00, // add ebx,3039h
        0x66, 0x89, 0xd8,                         // mov eax,ebx
        0x66, 0xc1, 0xe8, 0x12,                   // shr eax,18
        0x25, 0x7e, 0x00, 0x89, 0xc6,             // and ax,7Eh; mov si,ax
        0x2e, 0x8b, 0x94, 0x00, 0x01,             // mov dx,cs:[si+100h]
        0x66, 0x89, 0xd8, 0x66, 0xc1, 0xe8, 0x08, // mov eax,ebx; shr eax,8
        0xf6, 0xc7, 0x01, 0x74, 0x03,             // test bh,1; jz read
        0xee, 0xeb, 0xd2,                         // out dx,al; jmp again
        0xf6, 0xc7, 0x0e, 0x74, 0x03,             // read: test bh,0Eh; jz wide
        0xec, 0xeb, 0xca,                         // in al,dx; jmp again
        0x66, 0xed, 0xeb, 0xc6,                   // wide: in eax,dx; jmp again
    ];
    let mut image = vec![0xf4; 0x1_0000];
    image[..code.len()].copy_from_slice(code);
    for (index, port) in PORTS.iter().enumerate() {
        image[0x100 + 2 * index..][..2].copy_from_slice(&port.to_le_bytes());
    }
    image[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0x00]);
    image
}

/// The places of a value's numbers, texts and lists. A list of numbers counts once, or PCI
/// configuration spaces would be all there is.
fn leaves<'a>(value: &'a mut Value, into: &mut Vec<&'a mut Value>) {
    let plain = value.as_array().is_some_and(|items| items.iter().all(Value::is_u64));
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|value| leaves(value, into)),
        other if plain => into.push(other),
        Value::Array(items) => items.iter_mut().for_each(|item| leaves(item, into)),
        other => into.push(other),
    }
}

/// Another value of the kind.
fn change(value: &mut Value, random: &mut Random) {
    let number = |random: &mut Random| match random.below(8) {
        0 => Value::from(0),
        1 => Value::from(u64::MAX),
        2 => Value::from(i64::MIN),
        3 => Value::from(u64::from(u32::MAX)),
        4 => Value::from(1_u64 << random.below(64)),
        5 => Value::from((random.next() % 70_000).wrapping_sub(1)),
        _ => Value::from(random.next() % 256),
    };
    match value {
        Value::Number(_) => *value = number(random),
        Value::Bool(is) => *is = !*is,
        Value::Null => *value = number(random),
        Value::Array(items) if items.is_empty() || random.below(4) == 0 => {
            *value = Value::Array((0..random.below(600)).map(|at| Value::from(at % 256)).collect());
        }
        Value::Array(items) => match random.below(3) {
            0 => drop(items.pop()),
            _ => {
                let at = random.below(items.len());
                items[at] = number(random);
            }
        },
        Value::String(text) => text.push('x'),
        Value::Object(_) => *value = Value::Null,
    }
}

/// Runs a loaded machine some way; it may end however it likes, but soon.
fn runs(mut machine: Machine) {
    let start = Instant::now();
    let _ = machine.run(&[], limits(machine.instructions().saturating_add(20_000), None));
    machine.digest();
    machine.state_digest();
    machine.save().expect("what runs can be saved");
    assert!(start.elapsed() < Duration::from_secs(20), "it hangs");
}

/// A header whose checksum is right but whose values are not: refused in words, or a machine that
/// runs.
#[rstest]
fn forged_state(#[values(1, 2, 3, 4)] seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let bases = [
        saved(storm(), 3_000 * seed),
        saved(storm(), 777 * seed + 50_000),
        saved(rom("hello"), 5_000 * seed),
        saved_on(Q35, storm(), 4_444 * seed),
    ];
    let (mut taken, mut refused) = (0, 0);
    // WARMBOOT_FORGERIES=5000 looks longer.
    let forgeries = std::env::var("WARMBOOT_FORGERIES").map_or(100, |count| count.parse().expect("a number"));
    for _ in 0..forgeries {
        let good = &bases[random.below(bases.len())];
        let (header, _) = parts(good);
        let mut header: Value = serde_json::from_slice(header).expect("JSON");
        let part = match random.below(10) {
            0 => &mut header["config"],
            1 => &mut header,
            2 => &mut header["state"]["processor"],
            3 => &mut header["state"]["wires"],
            _ => {
                let chips = header["state"]["chips"].as_array_mut().expect("chips");
                let at = random.below(chips.len());
                &mut chips[at]["state"]
            }
        };
        let mut places = Vec::new();
        leaves(part, &mut places);
        if places.is_empty() {
            continue;
        }
        for _ in 0..=random.below(3) {
            let at = random.below(places.len());
            change(places[at], &mut random);
        }
        let text = serde_json::to_vec(&header).expect("JSON");
        match load(&forge(good, Some(&text), None)) {
            Ok(machine) => {
                taken += 1;
                runs(machine);
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(
        taken > forgeries / 10 && refused > forgeries / 10,
        "{taken} taken, {refused} refused: the test looks at too little"
    );
}

/// A body whose checksum is right but which does not expand to the pages of the header.
#[test]
fn forged_body() {
    let good = saved(rom("hello"), 20_000);
    let (_, body) = parts(&good);
    let mut random = Random(0xb0d1);
    for _ in 0..400 {
        let mut changed = body.to_vec();
        let at = random.below(changed.len());
        match random.below(3) {
            0 => changed[at] ^= 1 << random.below(8),
            1 => changed.truncate(at),
            _ => changed.insert(at, random.next() as u8),
        }
        if let Ok(machine) = load(&forge(&good, None, Some(&changed))) {
            // Bytes that are in no page: what the debug port said.
            assert_ne!(machine.debug_log().len() + machine.serial_log().len(), 0, "at {at}");
        }
    }
}

/// What a header can claim is bounded by what the file can hold, and by what this program knows.
#[rstest]
#[case::blobs("/blobs", Value::from(vec![u64::MAX; 3]), "too few to hold the 18446744073709551615 of the header")]
#[case::one_blob("/blobs/0", Value::from(1_u64 << 50), "too few to hold the 1125899906")]
#[case::block("/blocks/0/size", Value::from(1_u64 << 60), "has 1152921504606846976 bytes: expected 1048576")]
#[case::page(
    "/blocks/0/pages/0/0",
    Value::from(u64::MAX),
    "page 18446744073709551615 is out of order or beyond"
)]
#[case::page_digest("/blocks/0/pages/0/1", Value::from("00"), "of RAM block `pc.ram` has digest")]
#[case::memory("/config/memory", Value::from(1_u64 << 50), "expected 1 MiB to 64 GiB")]
#[case::count(
    "/state/clock/instructions",
    Value::from(u64::MAX),
    "the clock in the snapshot: 18446744073709551615"
)]
#[case::unknown_chip(
    "/state/chips/0/name",
    Value::from("i450gx"),
    "chip `i450gx` in the snapshot: this machine has none"
)]
#[case::version("/state/chips/0/version", Value::from(9), "has version 9: expected 1")]
#[case::extra("/state/chips/0", serde_json::json!({"name": "i440fx", "version": 1, "state": {}, "more": 1}), "unknown field `more`")]
#[case::drive("/config/drives/0/digest", Value::from("00"), "digest `00` of ide0-0")]
#[case::slot("/config/drives/0/at", Value::from("ide9-9"), "unknown drive slot `ide9-9`")]
#[case::machine("/config/machine", Value::from("pc-i440fx-99"), "unknown machine `pc-i440fx-99`")]
#[case::image("/config/firmware/digest", Value::from("00"), "blob 0 is not `test` of 65536 bytes")]
#[case::model("/state/processor/model", Value::from("z80"), "has model `z80`")]
#[case::wide("/state/processor/state/gpr/16", Value::from(1), "the register that reads zero holds 0x1")]
#[case::mode("/state/processor/state/cr0", Value::from(1_u64 << 31), "paging without protection")]
#[case::wires("/state/wires/interrupts/3", Value::from(1_u64 << 63), "driven by a chip that is not there")]
fn claims(#[case] place: &str, #[case] value: Value, #[case] expect: &str) {
    let good = saved(rom("hello"), 20_000);
    let mut header: Value = serde_json::from_slice(parts(&good).0).expect("JSON");
    *header.pointer_mut(place).expect("there is such a place") = value;
    let text = serde_json::to_vec(&header).expect("JSON");
    let error = load(&forge(&good, Some(&text), None)).err().expect("refused").to_string();
    assert!(error.contains(expect), "{error}");
}

#[test]
fn what_is_read_is_what_was_forged() {
    let good = saved(rom("hello"), 20_000);
    assert_eq!(forge(&good, None, None), good);
    assert!(Snapshot::read(&good).expect("read").expanded() > 0);
}
