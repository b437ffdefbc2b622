//! What answers each address: the region tree of an i440FX machine, drawn from PAM, SMRAM and the
//! chips' own regions, and the flat views derived from it.
//!
//! The tree is drawn afresh whenever a chip asks for a remap; nothing of it is saved.

use std::sync::Arc;

use warmboot_chipset::{
    Space,
    host_bridge::{Segment, Shadow},
};
use warmboot_memory::{BlockId, FlatView, Memory, RegionId, Regions};

use crate::{
    Board, ConfigError,
    board::{CONFIG_DATA_TAG, CONFIG_WINDOW_TAG, UNASSIGNED_TAG},
    devices::Device,
    generations::{Access, PamModes},
    tables,
};

/// The RAM blocks of a PC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    pub ram: BlockId,
    pub bios: BlockId,
    pub rom: BlockId,
    pub ram_size: u64,
    pub bios_size: u64,
}

/// Size of the option-ROM block at C0000.
pub(crate) const OPTION_ROM_SIZE: u64 = 0x2_0000;
/// 4 GiB, where the BIOS ends.
const FOUR_GIB: u64 = 1 << 32;
/// The whole of a 64-bit address space.
const WHOLE: u128 = 1 << 64;
/// Where pc.ram is not mapped on emulators from before the memory API, and on hardware.
const HOLE_START: u64 = 0xa_0000;
const HOLE_END: u64 = 0x10_0000;
/// The I/O address space.
const IO_SIZE: u128 = 1 << 16;

/// One flat view per address space. A bus master sees what a processor outside SMM sees.
#[derive(Clone)]
pub(crate) struct Views {
    pub memory: FlatView,
    pub smm: FlatView,
    pub io: FlatView,
    /// Length and widest access of each chip region, sorted by tag.
    shapes: Vec<(u32, u64, u8)>,
}

impl Views {
    /// Views of nothing, before the first drawing.
    pub fn empty() -> Views {
        let mut regions = Regions::new();
        let root = regions.container("empty", WHOLE);
        let view = FlatView::new(&regions, root);
        Views { memory: view.clone(), smm: view.clone(), io: view, shapes: Vec::new() }
    }

    /// The most bytes the chip region `tag` takes at once at `offset`.
    pub fn most(&self, tag: u32, offset: u64) -> u8 {
        let found = self.shapes.binary_search_by_key(&tag, |(tag, ..)| *tag);
        let Some((_, length, widest)) = found.ok().and_then(|index| self.shapes.get(index)) else { return 1 };
        u8::try_from(length.saturating_sub(offset)).unwrap_or(u8::MAX).clamp(1, (*widest).max(1))
    }
}

/// Priorities above those of the other chips: QEMU's local APIC page wins over everything, the byte
/// at CF9h over CONFIG_ADDRESS around it, and what PCI base addresses map over what is fixed.
const PRIORITIES: [(&str, i32); 8] = [
    ("apic-msi", 4096),
    ("piix3-reset-control", 1),
    ("lpc-reset-control", 1),
    ("lpc-rcrb-mmio", 1),
    // Over pc.bios, of which only the part below 1 MiB shows.
    ("system.flash0", 1),
    ("system.flash1", 1),
    ("ahci", 1),
    ("ahci-idp", 1),
];

/// Makes the blocks of a PC with `ram` bytes and a BIOS image.
pub(crate) fn blocks(memory: &mut Memory, ram: u64, bios: &[u8]) -> Result<Blocks, ConfigError> {
    let failed = |error: warmboot_memory::MemoryError| ConfigError::new(error.to_string());
    let bios_size = bios.len() as u64;
    let blocks = Blocks {
        ram: memory.add_block("pc.ram", ram).map_err(failed)?,
        bios: memory.add_block("pc.bios", bios_size).map_err(failed)?,
        rom: memory.add_block("pc.rom", OPTION_ROM_SIZE).map_err(failed)?,
        ram_size: ram,
        bios_size,
    };
    memory.write_block(blocks.bios, 0, bios).map_err(failed)?;
    Ok(blocks)
}

impl Board {
    /// Draws the region tree from the chips' state and derives the flat views.
    pub(crate) fn draw(&mut self) {
        self.redraw = false;
        let mut regions = Regions::new();
        let mut shapes = vec![(CONFIG_DATA_TAG, 4, 4), (UNASSIGNED_TAG, 1 << 16, 4)];
        let io = regions.mmio("io", IO_SIZE, UNASSIGNED_TAG);
        let system = regions.container("system", WHOLE);
        let smm = regions.container("memory-smm", WHOLE);
        // Every mapping below lies inside its parent, so the tree cannot refuse it; were a chip to
        // report nonsense, its region stays unmapped and reads as the bus does.
        let _ = self.draw_into(&mut regions, &mut shapes, [system, smm, io]);
        shapes.sort_unstable();
        self.views = Arc::new(Views {
            memory: FlatView::new(&regions, system),
            smm: FlatView::new(&regions, smm),
            io: FlatView::new(&regions, io),
            shapes,
        });
    }

    fn draw_into(
        &self,
        regions: &mut Regions,
        shapes: &mut Vec<(u32, u64, u8)>,
        [system, smm, io]: [RegionId; 3],
    ) -> Result<(), warmboot_memory::RegionError> {
        let Blocks { ram, bios, rom, ram_size, bios_size } = self.blocks;
        let (below, above) = tables::ram_layout(self.machine_type, ram_size);
        let pc_ram = regions.ram("pc.ram", ram, 0, u128::from(ram_size), false);
        if self.generation.ram_hole {
            let low = regions.alias("ram-below-640k", pc_ram, 0, u128::from(HOLE_START));
            regions.map(system, low, 0, 0)?;
            let rest = below.saturating_sub(HOLE_END);
            let high = regions.alias("ram-above-1m", pc_ram, HOLE_END, u128::from(rest));
            regions.map(system, high, HOLE_END, 0)?;
        } else {
            let low = regions.alias("ram-below-4g", pc_ram, 0, u128::from(below));
            regions.map(system, low, 0, 0)?;
        }
        if above > 0 {
            let high = regions.alias("ram-above-4g", pc_ram, below, u128::from(above));
            regions.map(system, high, FOUR_GIB, 0)?;
        }

        let pci = regions.container("pci", WHOLE);
        regions.map(system, pci, 0, -1)?;
        // Without a bridge to PCI, the ROMs lie in the system's own space, over RAM.
        let bus = if self.bridge().is_some() { pci } else { system };
        let read_only = |access: Access| access == Access::ReadOnly;
        // Two views of one block, so that each can be writable or not.
        let pc_bios = regions.ram("pc.bios", bios, 0, u128::from(bios_size), false);
        let bios_high = regions.alias("bios-high", pc_bios, 0, u128::from(bios_size));
        regions.set_read_only(bios_high, read_only(self.generation.bios_high));
        regions.map(bus, bios_high, FOUR_GIB - bios_size, 0)?;
        let isa_size = bios_size.min(0x2_0000);
        let isa_bios = regions.alias("isa-bios", pc_bios, bios_size - isa_size, u128::from(isa_size));
        regions.set_read_only(isa_bios, read_only(self.generation.bios_low));
        regions.map(bus, isa_bios, 0x10_0000 - isa_size, 1)?;
        let option_roms = read_only(self.generation.option_roms);
        let pc_rom = regions.ram("pc.rom", rom, 0, u128::from(OPTION_ROM_SIZE), option_roms);
        regions.map(bus, pc_rom, 0xc_0000, 1)?;

        self.draw_shadows(regions, system, pc_ram, pci)?;

        // What a processor in SMM sees: the same, with SMRAM over A0000.
        let all = regions.alias("memory", system, 0, WHOLE);
        regions.map(smm, all, 0, 0)?;
        let smram_low = regions.alias("smram-low", pc_ram, 0xa_0000, 0x2_0000);
        regions.map(smm, smram_low, 0xa_0000, 1)?;
        let shown = self.generation.smram && self.bridge().is_some_and(|bridge| bridge.smram().enabled);
        regions.set_enabled(smram_low, shown);

        self.draw_bridge_windows(regions, shapes, [system, smm, pc_ram])?;
        if self.bridge().is_some() {
            let config_data = regions.mmio("pci-conf-data", 4, CONFIG_DATA_TAG);
            regions.map(io, config_data, 0xcfc, 0)?;
        }
        self.draw_display(regions, shapes, bus)?;
        for (slot, device) in self.slots.iter().enumerate() {
            for region in device.device.chip().regions() {
                if region.space == Space::Memory && matches!(*device.device, Device::Vga(_)) {
                    continue;
                }
                let tag = (slot as u32) << 8 | u32::from(region.index);
                shapes.push((tag, region.length, region.widest));
                let mut mapped = regions.mmio(region.name, u128::from(region.length), tag);
                if let (Device::Flash(flash), Some(block)) = (&*device.device, self.memory.block(region.name))
                    && flash.reads_array()
                {
                    let length = u128::from(region.length);
                    let array = regions.ram(region.name, block, 0, length, false);
                    mapped = regions.split(region.name, array, mapped, length);
                }
                let raised = PRIORITIES.iter().find(|(name, _)| *name == region.name);
                let virtio = matches!(*device.device, Device::VirtioBlk(_) | Device::VirtioRng(_));
                let base_address = virtio || matches!(*device.device, Device::Ich9Smbus(_));
                let priority = raised.map_or(i32::from(base_address), |(_, priority)| *priority);
                let parent = match region.space {
                    Space::Io => io,
                    // On the bus RAM comes before what base addresses map.
                    Space::Memory if virtio => bus,
                    Space::Memory => system,
                };
                regions.map(parent, mapped, region.base, priority)?;
            }
        }
        Ok(())
    }

    /// The Q35 bridge's other windows: T-SEG, which nobody sees but a processor in SMM, and PCI
    /// configuration space in memory.
    fn draw_bridge_windows(
        &self,
        regions: &mut Regions,
        shapes: &mut Vec<(u32, u64, u8)>,
        [system, smm, pc_ram]: [RegionId; 3],
    ) -> Result<(), warmboot_memory::RegionError> {
        let Some(bridge) = self.bridge() else { return Ok(()) };
        if let Some(tseg) = bridge.tseg().filter(|_| self.generation.smram) {
            let length = u128::from(tseg.length);
            let hidden = regions.mmio("tseg-blackhole", length, UNASSIGNED_TAG);
            regions.map(system, hidden, tseg.base, 1)?;
            let seen = regions.alias("tseg-window", pc_ram, tseg.base, length);
            regions.map(smm, seen, tseg.base, 1)?;
        }
        if let Some(window) = bridge.config_window() {
            shapes.push((CONFIG_WINDOW_TAG, window.length, 4));
            let mapped = regions.mmio("pcie-mmcfg-mmio", window.length.into(), CONFIG_WINDOW_TAG);
            regions.map(system, mapped, window.base, 0)?;
        }
        Ok(())
    }

    /// PAM and SMRAM: 13 windows over C0000-FFFFF and one over A0000.
    fn draw_shadows(
        &self,
        regions: &mut Regions,
        system: RegionId,
        pc_ram: RegionId,
        pci: RegionId,
    ) -> Result<(), warmboot_memory::RegionError> {
        let Some(bridge) = self.bridge() else { return Ok(()) };
        if self.generation.smram {
            let open = bridge.smram().open;
            let target = if open { pc_ram } else { pci };
            let smram = regions.alias("smram-region", target, 0xa_0000, 0x2_0000);
            regions.map(system, smram, 0xa_0000, 1)?;
            // RAM lies below the window unless there is a hole in it.
            regions.set_enabled(smram, !open || self.generation.ram_hole);
        }
        if self.generation.pam == PamModes::Inert {
            return Ok(());
        }
        for (segment, shadow) in bridge.shadows() {
            let start = u64::from(segment.first);
            let window = self.window(regions, [pc_ram, pci], segment, shadow);
            regions.map(system, window, start, 1)?;
        }
        Ok(())
    }

    /// What one PAM segment shows.
    fn window(
        &self,
        regions: &mut Regions,
        [pc_ram, pci]: [RegionId; 2],
        segment: Segment,
        shadow: Shadow,
    ) -> RegionId {
        let (start, size) = (u64::from(segment.first), u128::from(segment.last - segment.first) + 1);
        let separate = self.generation.pam == PamModes::Separate;
        match shadow {
            Shadow::ReadRam | Shadow::WriteRam if separate => {
                let ram = regions.alias("pam-ram", pc_ram, start, size);
                let bus = regions.alias("pam-pci", pci, start, size);
                let (read, write) = if shadow == Shadow::ReadRam { (ram, bus) } else { (bus, ram) };
                regions.split("pam-split", read, write, size)
            }
            Shadow::WriteRam if self.generation.pam == PamModes::WriteOnlyIsPci => {
                regions.alias("pam-pci", pci, start, size)
            }
            Shadow::Pci => regions.alias("pam-pci", pci, start, size),
            Shadow::ReadRam => {
                let window = regions.alias("pam-rom", pc_ram, start, size);
                regions.set_read_only(window, true);
                window
            }
            Shadow::WriteRam | Shadow::Ram => regions.alias("pam-ram", pc_ram, start, size),
        }
    }

    /// The flat views as text, as `info mtree -f` of QEMU prints them.
    pub(crate) fn memory_map(&self) -> String {
        let views = &self.views;
        let spaces = [
            (&["memory", "bus masters"][..], "system", &views.memory),
            (&["cpu-smm-0"][..], "memory-smm", &views.smm),
            (&["I/O"][..], "io", &views.io),
        ];
        let mut text = String::new();
        for (number, (names, root, view)) in spaces.into_iter().enumerate() {
            text += &format!("FlatView #{number}\n");
            for name in names {
                text += &format!(" AS \"{name}\", root: {root}\n");
            }
            text += &format!(" Root memory region: {root}\n{view}\n");
        }
        text
    }
}
