//! A VGA with the Bochs VBE extensions and a linear frame buffer: QEMU's standard VGA (PCI 1234:1111)
//! and the same on the ISA bus.
//!
//! VGA registers: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem", and FreeVGA's
//! hardware reference. Display interface: Bochs' "VBE Display API" (`vbe_display_api.txt`). PCI function,
//! memory-mapped registers and EDID: QEMU's `docs/specs/standard-vga.rst`, and measured on QEMU 7.2.
//!
//! The adapter's memory is a RAM block, in which a cell of four bytes holds one byte of each plane: as
//! Super VGAs have it, one address counts for a dot's four planes whatever mode wrote it. (An IBM VGA
//! leaves gaps between the cells in odd/even and chain-4 modes.) A window onto it that needs no logic is
//! mapped as RAM ([`Vga::direct`]); any other access comes here, with the memory lent.

mod code_page;
mod dispi;
mod edid;
mod picture;
mod planes;
mod ports;
mod text;
mod timing;

use serde::{Deserialize, Serialize};

use crate::pci::{self, ConfigSpace, Identity};
use crate::{Chip, Effects, Moment, Region, ResetKind, Space};

pub use picture::Picture;
pub use text::{Cell, Cells};

/// The adapter's memory on a PCI board.
pub const PCI_MEMORY: u64 = 16 << 20;
/// And on an ISA board.
pub const ISA_MEMORY: u64 = 8 << 20;
/// Where an ISA board shows it as one piece.
const ISA_FRAME_BUFFER: u64 = 0xe000_0000;

/// Numbers of the regions.
pub mod region {
    /// CRT controller at its monochrome address.
    pub const MONOCHROME: u8 = 0;
    /// Input status 1 and feature control at theirs.
    pub const MONOCHROME_STATUS: u8 = 1;
    /// 3C0h to 3CFh.
    pub const PORTS: u8 = 2;
    /// CRT controller at its colour address.
    pub const COLOUR: u8 = 3;
    /// Input status 1 and feature control at theirs.
    pub const COLOUR_STATUS: u8 = 4;
    /// Index and data of the display interface.
    pub const DISPI: u8 = 5;
    /// A0000h to BFFFFh, through the planes' logic.
    pub const WINDOW: u8 = 6;
    /// The part of it that is plain memory now.
    pub const DIRECT: u8 = 7;
    /// All of the adapter's memory.
    pub const FRAME_BUFFER: u8 = 8;
    /// The memory-mapped registers; the four below lie in them.
    pub const REGISTERS: u8 = 9;
    /// EDID.
    pub const EDID: u8 = 10;
    /// The ports from 3C0h on.
    pub const REGISTERS_PORTS: u8 = 11;
    /// The display interface's registers.
    pub const REGISTERS_DISPI: u8 = 12;
    /// Byte order.
    pub const REGISTERS_EXTENDED: u8 = 13;
    /// The expansion ROM.
    pub const ROM: u8 = 14;
}

/// Name of the window's region.
pub const WINDOW_NAME: &str = "vga-lowmem";
const WINDOW_BASE: u64 = 0xa_0000;
const WINDOW_LENGTH: u64 = 0x2_0000;

/// Second base address register, of the memory-mapped registers; the first is the memory's.
const BAR2: u8 = 0x18;
/// Expansion ROM base address.
const ROM_BAR: u8 = 0x30;
const ROM_ENABLE: u32 = 1;
const MEMORY_ENABLE: u16 = 1 << 1;
const PREFETCHABLE: u32 = 1 << 3;
const REGISTERS_LENGTH: u64 = 0x1000;
/// First byte and length of each part of the memory-mapped registers.
const EDID_AT: (u64, u64) = (0, 0x180);
const PORTS_AT: (u64, u64) = (0x400, 0x20);
const DISPI_AT: (u64, u64) = (0x500, 0x16);
const EXTENDED_AT: (u64, u64) = (0x600, 8);
/// The extended registers: their length, then the frame buffer's byte order.
const BYTE_ORDER: u64 = 4;
const LITTLE_ENDIAN: u32 = 0x1e1e_1e1e;
const BIG_ENDIAN: u32 = 0xbebe_bebe;

/// The bus it is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bus {
    /// PCI.
    Pci {
        /// Size of the expansion ROM, a power of two; none when zero.
        rom: u64,
        /// Registers are mapped into memory.
        registers: bool,
        /// There are extended registers: revision 2.
        extended: bool,
        /// There is EDID.
        edid: bool,
    },
    /// ISA, with the memory at a fixed address.
    Isa,
}

/// How an adapter is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The bus it is on.
    pub bus: Bus,
}

impl Config {
    /// Bytes of memory, a power of two.
    #[must_use]
    pub fn memory(self) -> u64 {
        match self.bus {
            Bus::Pci { .. } => PCI_MEMORY,
            Bus::Isa => ISA_MEMORY,
        }
    }
}

/// The digital-to-analogue converter: 256 colours of three components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dac {
    /// Pixel mask.
    pub mask: u8,
    /// Entry that is read next.
    pub read_index: u8,
    /// Entry that is written next.
    pub write_index: u8,
    /// Component of it: 0 red, 1 green, 2 blue.
    pub component: u8,
    /// The last index written was the one for reads.
    pub reads: bool,
    /// Components of an entry that is not complete.
    pub incoming: [u8; 3],
    /// The colours.
    pub colours: Vec<[u8; 3]>,
}

/// Everything a snapshot carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// PCI configuration space.
    pub config: Option<ConfigSpace>,
    /// Miscellaneous output.
    pub miscellaneous: u8,
    /// Feature control.
    pub feature_control: u8,
    /// Sequencer: index and registers.
    pub sequencer_index: u8,
    /// Sequencer registers.
    pub sequencer: [u8; 5],
    /// CRT controller: index.
    pub crt_index: u8,
    /// CRT controller registers.
    pub crt: [u8; 25],
    /// Graphics controller: index.
    pub graphics_index: u8,
    /// Graphics controller registers.
    pub graphics: [u8; 9],
    /// Attribute controller: index, with bit 5, palette address source.
    pub attribute_index: u8,
    /// The next write to 3C0h is data.
    pub attribute_data: bool,
    /// Attribute controller registers.
    pub attribute: [u8; 21],
    /// One byte of each plane, as last read.
    pub latches: [u8; 4],
    /// Digital-to-analogue converter.
    pub dac: Dac,
    /// Display interface: index.
    pub dispi_index: u16,
    /// Its registers.
    pub dispi: [u16; 10],
    /// Pixels of the linear frame buffer are big-endian.
    pub big_endian: bool,
    /// When a frame began.
    pub frame_start: Moment,
}

/// The adapter.
#[derive(Clone, Debug)]
pub struct Vga {
    state: State,
    wiring: Config,
}

/// Part of the window that is plain memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Direct {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub length: u64,
    /// Where in the adapter's memory.
    pub offset: u64,
}

impl Vga {
    /// An adapter with power just applied.
    #[must_use]
    pub fn new(wiring: Config) -> Vga {
        Vga { state: power_on(wiring, Moment(0)), wiring }
    }

    /// What is saved.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state; bits that no register has are left out.
    pub fn restore(&mut self, state: State) {
        let State { config, sequencer_index, crt_index, graphics_index, attribute_index, .. } = &state;
        let mut taken = State {
            config: self.state.config.clone(),
            sequencer_index: sequencer_index & ports::INDEX_SEQUENCER,
            crt_index: crt_index & ports::INDEX_CRT,
            graphics_index: graphics_index & ports::INDEX_GRAPHICS,
            attribute_index: attribute_index & ports::INDEX_ATTRIBUTE,
            ..state.clone()
        };
        if let (Some(ours), Some(saved)) = (&mut taken.config, config) {
            ours.restore_bytes(saved);
        }
        ports::keep_bits(&mut taken);
        self.state = taken;
        self.state.dispi = self.fitting(self.state.dispi);
    }

    /// Bytes of memory.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.wiring.memory()
    }

    /// Whether it is on PCI, and so its windows are the bus's.
    #[must_use]
    pub fn is_pci(&self) -> bool {
        self.state.config.is_some()
    }

    /// First address and length of the linear frame buffer, the memory-mapped registers and the ROM.
    fn bars(&self) -> [Option<(u64, u64)>; 3] {
        let (Some(config), Bus::Pci { rom, registers, .. }) = (&self.state.config, self.wiring.bus) else {
            return [Some((ISA_FRAME_BUFFER, self.memory())), None, None];
        };
        let decodes = config.get_u16(pci::COMMAND) & MEMORY_ENABLE != 0;
        let place = |bar: u8, length: u64| {
            let base = u64::from(config.get_u32(bar)) & !(length.max(16) - 1);
            (decodes && base != 0 && base + length < 1 << 32).then_some((base, length))
        };
        let shows_rom = rom != 0 && config.get_u32(ROM_BAR) & ROM_ENABLE != 0;
        [
            place(pci::BAR0, self.memory()),
            place(BAR2, REGISTERS_LENGTH).filter(|_| registers),
            place(ROM_BAR, rom).filter(|_| shows_rom),
        ]
    }

    /// Calls `change`, and asks for a remap if what is plain memory is so no more, or elsewhere.
    fn changing(&mut self, fx: &mut Effects, change: impl FnOnce(&mut Vga, &mut Effects)) {
        let (direct, period) = (self.direct(), self.frame().period);
        change(self, fx);
        if self.direct() != direct {
            fx.remap();
        }
        if self.frame().period != period {
            self.state.frame_start = fx.now();
        }
    }
}

fn power_on(wiring: Config, now: Moment) -> State {
    let Bus::Pci { rom, registers, extended, .. } = wiring.bus else { return cleared(None, now) };
    let identity = Identity {
        id: (0x1234, 0x1111),
        revision: if extended { 2 } else { 0 },
        class: (3, 0, 0),
        header_type: 0,
        subsystem: (0x1af4, 0x1100),
    };
    let mut config = ConfigSpace::new(&identity, 0x0507);
    config.clear_by_one(pci::STATUS + 1, &[0xf9]);
    config.writable(0x40, &[0xff; 0xc0]);
    let size_mask = |length: u64| ((length.wrapping_sub(1)) as u32 ^ u32::MAX).to_le_bytes();
    config.set_u32(pci::BAR0, PREFETCHABLE);
    config.writable(pci::BAR0, &size_mask(wiring.memory()));
    if registers {
        config.writable(BAR2, &size_mask(REGISTERS_LENGTH));
    }
    if rom != 0 {
        config.writable(ROM_BAR, &size_mask(rom));
        config.writable(ROM_BAR, &[ROM_ENABLE as u8]);
    }
    cleared(Some(config), now)
}

/// All registers as a reset leaves them.
fn cleared(config: Option<ConfigSpace>, now: Moment) -> State {
    State {
        config,
        miscellaneous: 0,
        feature_control: 0,
        sequencer_index: 0,
        sequencer: [0; 5],
        crt_index: 0,
        crt: [0; 25],
        graphics_index: 0,
        graphics: [0; 9],
        attribute_index: 0,
        attribute_data: false,
        attribute: [0; 21],
        latches: [0; 4],
        dac: Dac {
            mask: 0xff,
            read_index: 0,
            write_index: 0,
            component: 0,
            reads: false,
            incoming: [0; 3],
            colours: vec![[0; 3]; 256],
        },
        dispi_index: 0,
        dispi: dispi::RESET,
        big_endian: false,
        frame_start: now,
    }
}

impl Chip for Vga {
    fn regions(&self) -> Vec<Region> {
        use region::{
            COLOUR, COLOUR_STATUS, DIRECT, DISPI, EDID, FRAME_BUFFER, MONOCHROME, MONOCHROME_STATUS, PORTS,
            REGISTERS, REGISTERS_DISPI, REGISTERS_EXTENDED, REGISTERS_PORTS, ROM, WINDOW,
        };
        let io = |index, name, base, length, widest| Region {
            index,
            name,
            space: Space::Io,
            base,
            length,
            widest,
        };
        let memory = |index, name, (base, length), widest| Region {
            index,
            name,
            space: Space::Memory,
            base,
            length,
            widest,
        };
        let mut regions = vec![
            io(MONOCHROME, "vga", 0x3b4, 2, 1),
            io(MONOCHROME_STATUS, "vga", 0x3ba, 1, 1),
            io(PORTS, "vga", 0x3c0, 16, 1),
            io(COLOUR, "vga", 0x3d4, 2, 1),
            io(COLOUR_STATUS, "vga", 0x3da, 1, 1),
            io(DISPI, "vbe", 0x1ce, 4, 2),
            memory(WINDOW, WINDOW_NAME, (WINDOW_BASE, WINDOW_LENGTH), 1),
        ];
        if let Some(Direct { base, length, .. }) = self.direct() {
            regions.push(memory(DIRECT, "vga.chain4", (base, length), 8));
        }
        let [frame_buffer, registers, rom] = self.bars();
        regions.extend(frame_buffer.map(|place| memory(FRAME_BUFFER, "vga.vram", place, 8)));
        if let (Some((base, length)), Bus::Pci { extended, edid, .. }) = (registers, self.wiring.bus) {
            let part = |index, name, (at, length), widest| memory(index, name, (base + at, length), widest);
            regions.push(memory(REGISTERS, "vga.mmio", (base, length), 4));
            if edid {
                regions.push(part(EDID, "edid", EDID_AT, 4));
            }
            regions.push(part(REGISTERS_PORTS, "vga ioports remapped", PORTS_AT, 1));
            regions.push(part(REGISTERS_DISPI, "bochs dispi interface", DISPI_AT, 2));
            if extended {
                regions.push(part(REGISTERS_EXTENDED, "qemu extended regs", EXTENDED_AT, 4));
            }
        }
        regions.extend(rom.map(|place| memory(ROM, "vga.rom", place, 8)));
        regions
    }

    fn register_name(&self, index: u8, offset: u64, write: bool) -> Option<String> {
        let state = &self.state;
        let crt = ["CRT_INDEX".to_owned(), format!("CRT[{:02x}]", state.crt_index)];
        let port = match index {
            region::PORTS | region::REGISTERS_PORTS => 0x3c0 + offset,
            region::MONOCHROME | region::COLOUR => return crt.get(usize::try_from(offset).ok()?).cloned(),
            region::MONOCHROME_STATUS | region::COLOUR_STATUS if write => 0x3ca,
            region::MONOCHROME_STATUS | region::COLOUR_STATUS => return Some("INPUT_STATUS_1".to_owned()),
            region::DISPI if offset == 0 => return Some("DISPI_INDEX".to_owned()),
            region::DISPI => return Some(format!("DISPI[{:x}]", state.dispi_index)),
            region::REGISTERS_DISPI => return Some(format!("DISPI[{:x}]", offset / 2)),
            _ => return None,
        };
        Some(match (port, write) {
            (0x3c0, true) if state.attribute_data => {
                format!("ATTRIBUTE[{:02x}]", state.attribute_index & 0x1f)
            }
            (0x3c0, _) => "ATTRIBUTE_INDEX".to_owned(),
            (0x3c1, _) => format!("ATTRIBUTE[{:02x}]", state.attribute_index & 0x1f),
            (0x3c2, true) | (0x3cc, false) => "MISCELLANEOUS_OUTPUT".to_owned(),
            (0x3c2, false) => "INPUT_STATUS_0".to_owned(),
            (0x3c4, _) => "SEQUENCER_INDEX".to_owned(),
            (0x3c5, _) => format!("SEQUENCER[{:02x}]", state.sequencer_index),
            (0x3c6, _) => "PEL_MASK".to_owned(),
            (0x3c7, true) => "PEL_READ_INDEX".to_owned(),
            (0x3c7, false) => "DAC_STATE".to_owned(),
            (0x3c8, _) => "PEL_WRITE_INDEX".to_owned(),
            (0x3c9, _) => "PEL_DATA".to_owned(),
            (0x3ca, _) => "FEATURE_CONTROL".to_owned(),
            (0x3ce, _) => "GRAPHICS_INDEX".to_owned(),
            (0x3cf, _) => format!("GRAPHICS[{:02x}]", state.graphics_index),
            _ => return None,
        })
    }

    fn read(&mut self, index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        match index {
            region::MONOCHROME => self.port_read(0x3b4 + offset as u16, fx),
            region::MONOCHROME_STATUS => self.port_read(0x3ba, fx),
            region::PORTS | region::REGISTERS_PORTS => self.port_read(0x3c0 + offset as u16, fx),
            region::COLOUR => self.port_read(0x3d4 + offset as u16, fx),
            region::COLOUR_STATUS => self.port_read(0x3da, fx),
            region::DISPI if offset == 0 => u64::from(self.state.dispi_index),
            region::DISPI => u64::from(self.dispi_read(self.state.dispi_index)),
            region::REGISTERS_DISPI => u64::from(self.dispi_read(offset as u16 / 2)) >> (8 * (offset & 1)),
            region::EDID => edid::read(offset, size),
            region::REGISTERS_EXTENDED => {
                let order = if self.state.big_endian { BIG_ENDIAN } else { LITTLE_ENDIAN };
                let both = EXTENDED_AT.1 | u64::from(order) << 32;
                both >> (8 * (offset & 7))
            }
            _ => {
                fx.note("display adapter: no register", offset, 0);
                u64::MAX
            }
        }
    }

    fn write(&mut self, index: u8, offset: u64, size: u8, value: u64, fx: &mut Effects) {
        let port = match index {
            region::MONOCHROME => 0x3b4 + offset as u16,
            region::MONOCHROME_STATUS => 0x3ba,
            region::PORTS | region::REGISTERS_PORTS => 0x3c0 + offset as u16,
            region::COLOUR => 0x3d4 + offset as u16,
            region::COLOUR_STATUS => 0x3da,
            region::DISPI if offset == 0 => {
                self.state.dispi_index = value as u16;
                return;
            }
            region::DISPI => {
                let index = self.state.dispi_index;
                self.changing(fx, |vga, fx| vga.dispi_write(index, value as u16, fx));
                return;
            }
            region::REGISTERS_DISPI if size == 2 => {
                self.changing(fx, |vga, fx| vga.dispi_write(offset as u16 / 2, value as u16, fx));
                return;
            }
            region::REGISTERS_EXTENDED if offset == BYTE_ORDER && size == 4 => {
                match value as u32 {
                    LITTLE_ENDIAN => self.state.big_endian = false,
                    BIG_ENDIAN => self.state.big_endian = true,
                    _ => fx.note("display adapter: no byte order", offset, value),
                }
                return;
            }
            _ => {
                fx.note("display adapter: no register", offset, value);
                return;
            }
        };
        self.changing(fx, |vga, fx| vga.port_write(port, value as u8, fx));
    }

    /// The memory stays as it is.
    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        let now = fx.now();
        self.state = match (kind, self.state.config.take()) {
            (ResetKind::System, Some(mut config)) => {
                config.reset();
                config.set_u32(ROM_BAR, 0);
                cleared(Some(config), now)
            }
            _ => power_on(self.wiring, now),
        };
        fx.remap();
    }

    fn pci_config(&self) -> Option<&ConfigSpace> {
        self.state.config.as_ref()
    }

    fn config_write(&mut self, offset: u8, size: u8, value: u32, fx: &mut Effects) {
        let before = self.bars();
        if let Some(config) = &mut self.state.config {
            config.write(offset, size, value);
        }
        if self.bars() != before {
            fx.remap();
        }
    }

    fn shift_time(&mut self, delta: i64) {
        self.state.frame_start.shift(delta);
        // Whole frames make no difference, so that none is left.
        let frame = self.frame();
        let elapsed = frame.elapsed(self.state.frame_start, Moment(0));
        self.state.frame_start = Moment(0);
        self.state.frame_start.shift((elapsed as i64).wrapping_neg());
    }
}

#[cfg(test)]
mod tests;
