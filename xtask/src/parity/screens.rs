//! Pictures of the screen in QEMU and in ours, dot by dot: `rom:screens` shows one in each kind of mode.
//!
//! Left out are two things that QEMU draws otherwise than an IBM VGA: text of 40 columns, whose characters
//! are 18 dots wide (nine at half the clock) and QEMU's 16, and the ninth dot of characters B0h to BFh, which
//! QEMU joins as only C0h to DFh are.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use warmboot_machine::{
    Condition, Config, Drive, DriveKind, Ended, Firmware, Limits, Machine, MemorySource, Picture, Slot,
};

use super::case::{Attachment, DriveImage, Image, MEMORY_MIB};
use super::{ParityError, find_firmware, ours, qemu};

const MACHINE: &str = "pc-i440fx-7.2";

/// What `rom:screens` shows, in its order, and how many bits of a component are compared: the converter's six
/// become eight in more than one way, and so do the five of 15-bit pixels.
const SCREENS: [(&str, u32); 13] = [
    ("text of 80 columns", 6),
    ("320 x 200, 4 colours", 6),
    ("640 x 200, 2 colours", 6),
    ("320 x 200, 16 colours", 6),
    ("640 x 350, 16 colours", 6),
    ("640 x 480, 16 colours", 6),
    ("320 x 200, 256 colours", 6),
    ("320 x 200, 256 colours, unchained", 6),
    ("640 x 480, VBE, 8 bits", 6),
    ("640 x 480, VBE, 15 bits", 5),
    ("640 x 480, VBE, 16 bits", 6),
    ("640 x 480, VBE, 24 bits", 6),
    ("640 x 480, VBE, 32 bits", 6),
];

/// How much virtual time one picture may take.
const LIMIT_NS: u64 = 60_000_000_000;

/// Compares the pictures if `screens` has `filter`; prints what it finds and gives how many there were and
/// how many differ.
pub fn compare(filter: &str, named: Option<&Path>, folder: &Path) -> Result<(usize, usize), ParityError> {
    if !"screens".contains(filter) {
        return Ok((0, 0));
    }
    let Some(firmware) = find_firmware(named, Image::Large.file_name()) else { return Ok((0, 0)) };
    let image = warmboot_test_roms::find("screens").map(|rom| (rom.build)());
    let image = image.and_then(Result::ok).ok_or_else(|| ParityError::Ours("no rom:screens".to_owned()))?;
    let words: Vec<String> = ('A'..).take(SCREENS.len()).map(|letter| format!("shown {letter}")).collect();
    let path = folder.join("screens.img");
    fs::write(&path, &image)
        .map_err(|source| ParityError::Io { what: path.display().to_string(), source })?;
    let disk = DriveImage { at: Attachment::HardDisk(0, 0), path, bytes: image.len() as u64 };
    let theirs = qemu::pictures(MACHINE, &firmware, &disk, &words)?;
    let ours = pictures(&firmware, image, &words)?;
    let mut differing = 0;
    for (((name, bits), ours), theirs) in SCREENS.iter().zip(&ours).zip(&theirs) {
        let found = difference(ours, theirs, *bits);
        let word = if found.is_some() { "DIFFERS" } else { "equal" };
        println!("screens-{MACHINE}, {name}: {word}; {} x {} dots", theirs.width, theirs.height);
        if let Some(line) = found {
            println!("    {line}");
            differing += 1;
        }
    }
    Ok((SCREENS.len(), differing))
}

fn pictures(firmware: &Path, image: Vec<u8>, words: &[String]) -> Result<Vec<Picture>, ParityError> {
    let error = |error: warmboot_machine::ConfigError| ParityError::Ours(error.to_string());
    let bytes = fs::read(firmware)
        .map_err(|source| ParityError::Io { what: firmware.display().to_string(), source })?;
    let drive = Drive {
        at: Slot::Ide { channel: 0, unit: 0 },
        kind: DriveKind::HardDisk,
        source: Arc::new(MemorySource(image.into())),
        name: "rom:screens".to_owned(),
        read_only: false,
        latency: 0,
    };
    let config = Config {
        machine: MACHINE.to_owned(),
        memory: MEMORY_MIB << 20,
        firmware: Firmware { name: firmware.display().to_string(), bytes: bytes.into() },
        vga: Some(ours::vga()?),
        drives: vec![drive],
        ..Config::default()
    };
    let mut machine = Machine::new(&config).map_err(error)?;
    let mut pictures = Vec::new();
    for word in words {
        let limits = Limits { time: Some(machine.virtual_time() + LIMIT_NS), ..Limits::default() };
        match machine.run(&[Condition::Debug(word.clone())], limits).map_err(error)? {
            Ended::Condition(_) => {}
            ended => return Err(ParityError::Ours(format!("no `{word}`: {ended:?}"))),
        }
        pictures.extend(machine.screen());
        machine.press("space").map_err(error)?;
    }
    Ok(pictures)
}

/// The first dot in which two pictures differ, and how many do, in the upper bits of each component. The cursor,
/// which QEMU's host makes blink, is let pass where nothing else differs.
pub fn difference(ours: &Picture, theirs: &Picture, bits: u32) -> Option<String> {
    if (ours.width, ours.height) != (theirs.width, theirs.height) {
        return Some(format!(
            "{} x {} dots, QEMU has {} x {}",
            ours.width, ours.height, theirs.width, theirs.height
        ));
    }
    let dots = ours.pixels.chunks(3).zip(theirs.pixels.chunks(3)).enumerate();
    let close = |ours: &[u8], theirs: &[u8]| {
        ours.iter().zip(theirs).all(|(ours, theirs)| (ours ^ theirs) >> (8 - bits) == 0)
    };
    let differing: Vec<(usize, &[u8], &[u8])> = dots
        .filter(|(_, (ours, theirs))| !close(ours, theirs))
        .map(|(at, (ours, theirs))| (at, ours, theirs))
        .collect();
    let (at, ours_dot, theirs_dot) = *differing.first()?;
    let width = ours.width as usize;
    let across = |at: usize| at % width;
    let last = differing.last().map_or(at, |(at, ..)| *at);
    let is_cursor = |(dot, ..): &(usize, &[u8], &[u8])| {
        (across(at)..across(at) + CURSOR.0).contains(&across(*dot)) && last / width < at / width + CURSOR.1
    };
    if differing.iter().all(is_cursor) {
        return None;
    }
    Some(format!(
        "{} dots differ, the first at {}, {}: {ours_dot:02x?}, QEMU has {theirs_dot:02x?}",
        differing.len(),
        across(at),
        at / width
    ))
}

/// Bits of a component in text.
pub const TEXT_BITS: u32 = 6;

/// Most dots and lines of a cursor.
const CURSOR: (usize, usize) = (9, 3);
