//! Which machine an input describes.

use std::sync::Arc;

use warmboot_chipset::{
    disk::{BlockSource, MemorySource, ZeroSource},
    virtio::Interface,
};

use super::source::Source;
use crate::{
    Adapter, Config, Drive, DriveKind, Firmware, Flash, Generation, Machine, MachineType, Slot, Vga,
    generations, machine_types,
};

/// A chip to be fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct FuzzedChip {
    /// Its name here and in `--chip`.
    pub name: &'static str,
    /// What its names on boards begin with.
    pub(super) slot: &'static str,
    /// Which boards have it.
    on: fn(&MachineType, &Generation) -> bool,
}

fn any(_: &MachineType, _: &Generation) -> bool {
    true
}

fn q35(machine: &MachineType, _: &Generation) -> bool {
    machine.name.contains("q35")
}

fn i440fx(machine: &MachineType, generation: &Generation) -> bool {
    !machine.is_isa() && !q35(machine, generation)
}

fn pci(machine: &MachineType, _: &Generation) -> bool {
    !machine.is_isa()
}

const fn chip(
    name: &'static str,
    slot: &'static str,
    on: fn(&MachineType, &Generation) -> bool,
) -> FuzzedChip {
    FuzzedChip { name, slot, on }
}

/// Every chip, in the order of the alphabet.
pub const CHIPS: &[FuzzedChip] = &[
    chip("ahci", "ich9-ahci", q35),
    chip("debug-exit", "debug-exit", any),
    chip("debug-port", "debugcon", any),
    chip("dma", "dma", any),
    chip("flash", "system.flash", pci),
    chip("floppy", "fdc", |machine, generation| !q35(machine, generation)),
    chip("fw-cfg", "fw_cfg", any),
    chip("host-bridge", "i440fx", i440fx),
    chip("hpet", "hpet", |machine, _| machine.hpet),
    chip("i8042", "i8042", any),
    chip("ich9-lpc", "ich9-lpc", q35),
    chip("ich9-smbus", "ich9-smbus", q35),
    chip("ide", "piix3-ide", i440fx),
    chip("ide-isa", "isa-ide", |machine, _| machine.is_isa()),
    chip("io-apic", "ioapic", |machine, _| machine.io_apic_version.is_some()),
    chip("local-apic", "apic", pci),
    chip("mch", "mch", q35),
    chip("parallel", "lpt1", any),
    chip("pic", "pic", any),
    chip("piix3", "piix3", i440fx),
    chip("piix4-pm", "piix4-pm", i440fx),
    chip("pit", "pit", any),
    chip("port92", "port92", any),
    chip("post-code", "post-code", any),
    chip("pvpanic", "pvpanic", any),
    chip("rtc", "rtc", any),
    chip("shutdown-port", "shutdown-port", |_, generation| generation.shutdown_port),
    chip("uart", "com1", any),
    chip("vga", "vga", any),
    chip("virtio-blk", "virtio-blk", pci),
    chip("virtio-rng", "virtio-rng", pci),
];

/// The machine, standing at its reset vector. `None` when there is no such, which no row allows.
pub(super) fn machine(source: &mut Source<'_>, chip: Option<&FuzzedChip>) -> Option<Machine> {
    let rows: Vec<_> = machine_types::ALL
        .iter()
        .flat_map(|machine| generations::ALL.iter().map(move |generation| (*machine, *generation)))
        .filter(|(machine, generation)| chip.is_none_or(|chip| (chip.on)(machine, generation)))
        .collect();
    // Half of the machines are of other families than the one with most types.
    let others: Vec<_> = rows.iter().copied().filter(|(machine, _)| !i440fx(machine, rows[0].1)).collect();
    let rows = if others.is_empty() || source.once_in(2) { rows } else { others };
    let (machine, generation) = rows.get(usize::from(source.word()) % rows.len().max(1))?;
    let config = config(source, machine, generation, chip);
    let mut machine = match Machine::new(&config) {
        Ok(machine) => machine,
        Err(error) => panic!("a machine that was chosen to be possible: {error}: {config:?}"),
    };
    // Interrupts end at once, and an SMI does.
    for vector in 0..256_u64 {
        machine.write_memory(4 * vector, &[HANDLER as u8, (HANDLER >> 8) as u8, 0x00, 0xf0]);
    }
    machine.write_memory(0x3_8000, &[0x0f, 0xaa]);
    Some(machine)
}

/// Where in the BIOS interrupts are ended.
const HANDLER: usize = 0x100;

/// A BIOS that waits for interrupts.
fn bios(size: usize) -> Arc<[u8]> {
    let mut image = vec![0xf4; size];
    let segment = size - 0x1_0000;
    let mut put = |at: usize, code: &[u8]| image[segment + at..][..code.len()].copy_from_slice(code);
    put(0, &[0xfb, 0xf4, 0xeb, 0xfc]); // STI; HLT; JMP to it
    // PUSH AX; MOV AL,20h; OUT A0h,AL; OUT 20h,AL; POP AX; IRET
    put(HANDLER, &[0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf]);
    put(0xfff0, &[0xea, 0x00, 0x00, 0x00, 0xf0]); // JMP F000:0000
    image.into()
}

fn firmware(bytes: Arc<[u8]>) -> Firmware {
    Firmware { name: "fuzz".into(), bytes }
}

fn config(
    source: &mut Source<'_>,
    machine: &MachineType,
    generation: &Generation,
    chip: Option<&FuzzedChip>,
) -> Config {
    const MEMORY: [u64; 8] = [1 << 20, 2 << 20, 16 << 20, 16 << 20, 64 << 20, 128 << 20, 1 << 30, 5 << 30];
    let wanted = |name: &str| chip.is_some_and(|chip| chip.name == name);
    let mut has = |name: &str| !source.once_in(4) || wanted(name);
    let (serial, parallel, pvpanic) = (has("uart"), has("parallel"), has("pvpanic"));
    let (exit, vga, rng, flash) = (has("debug-exit"), has("vga"), has("virtio-rng"), has("flash"));
    let on_isa = source.once_in(4);
    let mut config = Config {
        machine: machine.name.into(),
        emulator: generation.name.into(),
        // A 486 has no local APIC.
        cpus: if source.once_in(2) || machine.is_isa() { 1 } else { 1 + u32::from(source.byte() & 3) },
        memory: source.pick(&MEMORY).unwrap_or(1 << 20),
        firmware: firmware(bios(0x2_0000)),
        serial,
        parallel,
        pvpanic,
        debug_exit: exit.then_some(0xf4),
        vga: vga.then(|| Vga {
            adapter: if on_isa { Adapter::Isa } else { Adapter::Std },
            rom: firmware(vec![0x55, 0xaa, 1, 0xcb].into()),
        }),
        rng: rng && !machine.is_isa(),
        virtio: source
            .pick(&[None, Some(Interface::Legacy), Some(Interface::Transitional), Some(Interface::Modern)])
            .flatten(),
        seed: source.byte().into(),
        drives: drives(source, machine),
        ..Config::default()
    };
    if flash && !machine.is_isa() && (wanted("flash") || source.once_in(2)) {
        let chip = |size, read_only| Flash { image: firmware(bios(size)), read_only };
        config.flash = vec![chip(0x2_0000, source.once_in(4)), chip(0x1_0000, false)];
        config.firmware = Config::low_firmware(&config.flash[0].image);
    }
    config
}

/// Disks, CDs and floppies of different sizes and speeds, wherever the machine takes them.
fn drives(source: &mut Source<'_>, machine: &MachineType) -> Vec<Drive> {
    let floppy_size = source.pick(&[1_474_560, 737_280, 163_840, 2_949_120, 1_000_000]).unwrap_or(1_474_560);
    let large = source.pick(&[1 << 20, 3 << 30, 200 << 30, 4 << 40]).unwrap_or(1 << 20);
    let pattern: Arc<[u8]> = (0..0x8_0000_u32).map(|at| (at >> 9 ^ at) as u8).collect();
    let zeros = |size| -> Arc<dyn BlockSource> { Arc::new(ZeroSource { size }) };
    let small = || -> Arc<dyn BlockSource> { Arc::new(MemorySource(pattern.clone())) };
    let (first, second) = if machine.name.contains("q35") {
        ([Slot::Sata(0), Slot::Sata(1)], [Slot::Sata(4), Slot::Sata(5)])
    } else {
        let ide = |channel, unit| Slot::Ide { channel, unit };
        ([ide(0, 0), ide(0, 1)], [ide(1, 0), ide(1, 1)])
    };
    let mut all = vec![
        (first[0], DriveKind::HardDisk, small()),
        (first[1], DriveKind::Cdrom, small()),
        (second[0], DriveKind::Cdrom, zeros(large)),
        (second[1], DriveKind::HardDisk, zeros(large)),
    ];
    if !machine.is_isa() {
        all.push((Slot::Virtio(0), DriveKind::HardDisk, small()));
        all.push((Slot::Virtio(3), DriveKind::HardDisk, zeros(large)));
    }
    if !machine.name.contains("q35") {
        all.push((Slot::Floppy(0), DriveKind::Floppy, zeros(floppy_size)));
        all.push((Slot::Floppy(1), DriveKind::Floppy, small()));
    }
    let mut drives = Vec::new();
    for (at, kind, image) in all {
        if source.once_in(8) {
            continue;
        }
        let latency = source.pick(&[0, 0, 1_000, 100_000, 50_000_000]).unwrap_or(0);
        let read_only = kind == DriveKind::Cdrom || source.once_in(8);
        drives.push(Drive { at, kind, source: image, name: "fuzz".into(), read_only, latency });
    }
    drives
}
