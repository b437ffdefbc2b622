//! `warmboot snapshot show`: one file, for a person or as JSON. Disk images are not needed.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use warmboot::{
    Machine,
    machine::{
        Snapshot,
        snapshot::{BlockSection, SavedConfig, SavedImage, VERSION},
    },
    scenario::{problem::InputError, snapshots},
};

use super::super::{Outcome, boot, output};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The snapshot
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print everything but the bytes of pages and images, as one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    warmboot: &'a str,
    digest: String,
    state_digest: String,
    power: &'static str,
    instructions: u64,
    virtual_time_ns: u64,
    resets: u64,
    config: &'a SavedConfig,
    processor: &'a warmboot::machine::snapshot::ProcessorSection,
    chips: Vec<Chip<'a>>,
    blocks: &'a [BlockSection],
}

#[derive(Serialize)]
struct Chip<'a> {
    name: &'a str,
    version: u32,
    state: Option<Value>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, InputError> {
    let snapshot = snapshots::read(&arguments.file)?;
    let machine = snapshot.machine_without_disks().map_err(|error| {
        InputError::new(format!("snapshot `{}` cannot be loaded: {error}", arguments.file.display()))
    })?;
    let text = if arguments.json { json(&snapshot, machine)? } else { text(&snapshot, machine) };
    output::print(text.as_bytes())?;
    Ok(Outcome::Expected)
}

fn json(snapshot: &Snapshot, mut machine: Machine) -> Result<String, InputError> {
    let header = snapshot.header();
    let chips = header.state.chips.iter().map(|chip| Chip {
        name: &chip.name,
        version: chip.version,
        state: machine.chip_state(&chip.name),
    });
    let chips = chips.collect();
    let report = Report {
        version: VERSION,
        warmboot: &header.warmboot,
        digest: machine.digest(),
        state_digest: machine.state_digest(),
        power: boot::power(machine.power()),
        instructions: machine.instructions(),
        virtual_time_ns: machine.virtual_time(),
        resets: machine.resets(),
        config: &header.config,
        processor: &header.state.processor,
        chips,
        blocks: &header.blocks,
    };
    let text = serde_json::to_string(&report).map_err(|error| InputError::new(error.to_string()))?;
    Ok(text + "\n")
}

fn text(snapshot: &Snapshot, mut machine: Machine) -> String {
    let header = snapshot.header();
    let SavedConfig {
        machine: kind,
        emulator,
        memory,
        firmware,
        flash,
        option_roms,
        kernel,
        vga,
        drives,
        ..
    } = &header.config;
    let mut text = format!(
        "snapshot      version {VERSION}, written by warmboot {}\n\
         machine       {kind} on {emulator}, {} MiB, CPU {}\n",
        header.warmboot,
        memory >> 20,
        header.state.processor.model,
    );
    // Writing to a string cannot fail.
    let _ = write_image(&mut text, "firmware", firmware);
    for flash in flash {
        let _ = write_image(&mut text, if flash.read_only { "flash ROM" } else { "flash" }, &flash.image);
    }
    for rom in option_roms {
        let _ = write_image(&mut text, "option ROM", rom);
    }
    if let Some(rom) = vga {
        let _ = write_image(&mut text, "VGA ROM", rom);
    }
    if let Some(kernel) = kernel {
        let _ = write_image(&mut text, "kernel", &kernel.image);
        if let Some(initrd) = &kernel.initrd {
            let _ = write_image(&mut text, "initrd", initrd);
        }
        let _ = writeln!(text, "command line  {}", kernel.append);
    }
    for drive in drives {
        let access = if drive.read_only { ", read-only" } else { "" };
        let written: usize = drive
            .at
            .parse()
            .map_or(0, |at| machine.disk_writes(at).iter().map(|(_, bytes)| bytes.len()).sum());
        let _ = writeln!(
            text,
            "drive         {} {:?} `{}`, {} bytes{access}, digest {}; {written} bytes written over it",
            drive.at, drive.kind, drive.name, drive.size, drive.digest
        );
    }
    let hex = |name| machine.register(name).unwrap_or_default();
    let _ = writeln!(
        text,
        "instructions  {} in {}.{:09} s of virtual time; {} resets; power {}\n\
         processor     cs:eip {:04x}:{:08x} (base {:08x})  eflags {:08x}  cr0 {:08x}  {:?}",
        machine.instructions(),
        machine.virtual_time() / 1_000_000_000,
        machine.virtual_time() % 1_000_000_000,
        machine.resets(),
        boot::power(machine.power()),
        hex("cs"),
        hex("eip"),
        hex("cs.base"),
        hex("eflags"),
        hex("cr0"),
        machine.processor().activity,
    );
    for names in [["eax", "ebx", "ecx", "edx"], ["esi", "edi", "ebp", "esp"]] {
        let registers = names.map(|name| format!("{name} {:08x}", hex(name)));
        let _ = writeln!(text, "              {}", registers.join("  "));
    }
    for (index, state) in machine.processors().enumerate().skip(1) {
        let hex = |name| machine.register(&format!("cpu{index}.{name}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "{:<13} cs:eip {:04x}:{:08x} (base {:08x})  eflags {:08x}  cr0 {:08x}  {:?}",
            format!("processor {index}"),
            hex("cs"),
            hex("eip"),
            hex("cs.base"),
            hex("eflags"),
            hex("cr0"),
            state.activity,
        );
    }
    for block in &header.blocks {
        let _ = writeln!(
            text,
            "block         {:<10} {:>12} bytes, {} pages that are not zero",
            block.name,
            block.size,
            block.pages.len()
        );
    }
    let chips: Vec<&str> = header.state.chips.iter().map(|chip| &*chip.name).collect();
    let _ = writeln!(text, "chips         {}", chips.join(" "));
    let _ = writeln!(
        text,
        "logs          {} bytes from the debug port, {} from COM1, {} notes",
        machine.debug_log().len(),
        machine.serial_log().len(),
        machine.notes().0.len() as u64 + machine.notes().1,
    );
    let _ = writeln!(text, "digest        {}", machine.digest());
    let _ = writeln!(text, "state digest  {}", machine.state_digest());
    text
}

fn write_image(text: &mut String, what: &str, image: &SavedImage) -> std::fmt::Result {
    writeln!(text, "{what:<13} {}, {} bytes, BLAKE3 {}", image.name, image.size, image.digest)
}
