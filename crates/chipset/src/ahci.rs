//! 82801I (ICH9) SATA controller in AHCI mode, function 31.2: six ports of one drive.
//!
//! Data sheet: Intel 316972-004, chapter 15; Serial ATA AHCI 1.0. Where those leave a choice,
//! QEMU 7.2's is taken. The drives are those of [`crate::ide`]: what a command does is one code,
//! whichever way it comes. Everything the guest programs is bounded: a list has 32 commands, a
//! command 65,535 descriptors, and data is moved in pieces of at most 4 MiB.

mod fis;
mod port;
#[cfg(test)]
mod tests;

pub use fis::Issued;
pub use port::{Port, Queued};

use crate::disk::{Disk, Overlay};
use crate::ide::bus_master::NoMemory;
use crate::ide::{Attachment, DriveKind};
use crate::local_apic::message_of_msi;
use crate::pci::{self, ConfigSpace, Identity};
use crate::{Chip, Effects, GuestMemory, Moment, Region, ResetKind, Space};
use port::Worker;
use serde::{Deserialize, Serialize};

/// Output pin: INTA#.
pub const INTA: u8 = 0;
/// Ports.
pub const PORTS: usize = 6;

/// SIDPBA, ports through which the registers can be reached by index (section 15.1.17).
const INDEX_BAR: u8 = 0x20;
const INDEX_LENGTH: u64 = 32;
/// In them: the index, then the data.
const INDEX: u64 = 0x10;
const DATA: u64 = 0x14;
/// ABAR, the registers in memory (section 15.1.18), 4 KiB as on QEMU.
const ABAR: u8 = 0x24;
const REGISTERS_LENGTH: u64 = 0x1000;
/// Message signalled interrupts: control, address, data.
const MSI_CONTROL: u8 = 0x82;
const MSI_ADDRESS: u8 = 0x84;
const MSI_DATA: u8 = 0x8c;

/// Capabilities, as a list of (offset, bytes): MSI with 64-bit addresses, SATA index and data ports.
const CAPABILITIES: [(u8, &[u8]); 3] = [
    (0x34, &[0x80]),
    (0x80, &[0x05, 0xa8, 0x80, 0x00]),
    (0xa8, &[0x12, 0x00, 0x10, 0x00, 0x48, 0x00, 0x00, 0x00]),
];
/// MAP (section 15.1.28): AHCI mode.
const MAP: u8 = 0x90;
const MAP_AHCI: u8 = 0x40;

/// Generic registers (section 15.4.1).
const CAP: u64 = 0x00;
const GHC: u64 = 0x04;
const IS: u64 = 0x08;
const PI: u64 = 0x0c;
const VS: u64 = 0x10;
const PORT_REGISTERS: u64 = 0x100;
const PORT_LENGTH: u64 = 0x80;

/// 64-bit addresses, command queuing, AHCI only, generation 1, 32 commands, 6 ports.
const CAP_VALUE: u32 = 0xc014_1f05;
const VERSION_1_0: u32 = 0x0001_0000;
const GHC_RESET: u32 = 1 << 0;
const GHC_INTERRUPTS: u32 = 1 << 1;
const GHC_AHCI: u32 = 1 << 31;

/// Everything a snapshot carries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// PCI configuration space.
    pub config: ConfigSpace,
    /// GHC, global control.
    pub global_control: u32,
    /// IS, ports that want an interrupt, one bit each.
    pub interrupt_status: u32,
    /// The index that the index register holds.
    pub index: u32,
    /// The ports.
    pub ports: [Port; PORTS],
}

/// The controller.
#[derive(Clone, Debug)]
pub struct Ahci {
    state: State,
    /// The drive of each port; the second of each pair is never there.
    attached: [[Option<Attachment>; 2]; PORTS],
}

impl Default for Ahci {
    fn default() -> Ahci {
        Ahci::new()
    }
}

fn power_on() -> ConfigSpace {
    let identity = Identity {
        id: (0x8086, 0x2922),
        revision: 2,
        class: (0x01, 0x06, 0x01),
        header_type: 0x80,
        subsystem: (0x1af4, 0x1100),
    };
    let mut config = ConfigSpace::new(&identity, 0x0507);
    config.set_u16(pci::STATUS, 0x0010); // capabilities
    config.clear_by_one(0x07, &[0xf9]);
    config.set(pci::INTERRUPT_PIN, 1);
    config.writable(0x40, &[0xff; 0xc0]);
    config.set_u32(INDEX_BAR, 1); // I/O space
    config.writable(INDEX_BAR, &[0xe0, 0xff, 0xff, 0xff]);
    config.writable(ABAR, &[0x00, 0xf0, 0xff, 0xff]);
    for (offset, bytes) in CAPABILITIES {
        for (at, byte) in (offset..).zip(bytes) {
            config.set(at, *byte);
            config.writable(at, &[0]);
        }
    }
    config.writable(MSI_CONTROL, &[0x01]);
    config.writable(MSI_ADDRESS, &[0xfc]);
    config.set(MAP, MAP_AHCI);
    config
}

impl Ahci {
    /// A controller without drives, as at power-on.
    #[must_use]
    pub fn new() -> Ahci {
        let state = State {
            config: power_on(),
            global_control: GHC_AHCI,
            interrupt_status: 0,
            index: 0,
            ports: Default::default(),
        };
        let mut chip = Ahci { state, attached: Default::default() };
        chip.reset(ResetKind::PowerOn, &mut Effects::default());
        chip
    }

    /// Plugs a drive into `port`, 0-5; numbers past 5 are ignored. Machines are built so, before
    /// power-on. Serial numbers count two drives per port, as QEMU's do.
    pub fn attach(&mut self, port: u8, disk: Disk, kind: DriveKind) {
        let number = usize::from(port);
        let (Some(attached), Some(state)) = (self.attached.get_mut(number), self.state.ports.get_mut(number))
        else {
            return;
        };
        let attachment = Attachment::new(disk, kind, 2 * number);
        state.channel.drives[0] = attachment.drive();
        attached[0] = Some(attachment);
        state.reset(attached, &mut Effects::default());
    }

    /// Puts another medium into a CD-ROM drive, which tells the guest of it by unit attention.
    /// False if there is no such drive.
    pub fn change_medium(&mut self, port: u8, disk: Disk) -> bool {
        let number = usize::from(port);
        match (self.attached.get_mut(number), self.state.ports.get_mut(number)) {
            (Some([Some(attachment), _]), Some(state)) => {
                attachment.change_medium(disk, &mut state.channel.drives[0])
            }
            _ => false,
        }
    }

    /// The drive at `port`, if there is one.
    #[must_use]
    pub fn attachment(&self, port: u8) -> Option<&Attachment> {
        self.attached.get(usize::from(port))?[0].as_ref()
    }

    /// What the guest wrote to the drive at `port`.
    #[must_use]
    pub fn overlay(&self, port: u8) -> Option<&Overlay> {
        Some(&self.state.ports.get(usize::from(port))?.channel.drives[0].overlay)
    }

    /// Everything to save.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes saved state. Drives stay as they are attached; interrupt lines are the machine's to
    /// restore.
    pub fn restore(&mut self, state: State) {
        let mut config = self.state.config.clone();
        config.restore_bytes(&state.config);
        self.state = State { config, ..state };
        for port in &mut self.state.ports {
            port.channel.selected = 0;
            port.queue.truncate(32);
        }
    }

    fn memory_base(&self) -> Option<u64> {
        let enabled = self.state.config.get_u16(pci::COMMAND) & 2 != 0;
        let base = u64::from(self.state.config.get_u32(ABAR) & 0xffff_f000);
        (enabled && base != 0 && base != 0xffff_f000).then_some(base)
    }

    fn index_base(&self) -> Option<u64> {
        let enabled = self.state.config.get_u16(pci::COMMAND) & 1 != 0;
        let base = u64::from(self.state.config.get_u32(INDEX_BAR) & 0xffff_ffe0);
        (enabled && (0x20..0x1_0000).contains(&base)).then_some(base)
    }

    fn read_register(&self, offset: u64) -> Option<u32> {
        Some(match offset {
            CAP => CAP_VALUE,
            GHC => self.state.global_control,
            IS => self.state.interrupt_status,
            PI => (1 << PORTS) - 1,
            VS => VERSION_1_0,
            _ => {
                let (number, register) = port_of(offset)?;
                let present = self.attached.get(number)?[0].is_some();
                return self.state.ports.get(number)?.read(register, present);
            }
        })
    }

    /// A read of `size` bytes at any `offset` of the registers.
    fn read_memory(&self, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        let low = self.read_register(offset & !3);
        if low.is_none() {
            fx.note("AHCI register", offset, 0);
        }
        let high =
            if (offset & 3) + u64::from(size) > 4 { self.read_register((offset & !3) + 4) } else { None };
        let value = u64::from(high.unwrap_or(0)) << 32 | u64::from(low.unwrap_or(0));
        value >> (8 * (offset & 3))
    }

    /// A write; registers take any size, but only at their first byte.
    fn write_memory(&mut self, offset: u64, value: u32, fx: &mut Effects) {
        match offset {
            GHC if value & GHC_RESET != 0 => self.reset_controller(fx),
            GHC => self.state.global_control = value & GHC_INTERRUPTS | GHC_AHCI,
            // The ports' own registers hold the causes.
            IS => {}
            _ => {
                let taken = port_of(offset).is_some_and(|(number, register)| {
                    match (self.state.ports.get_mut(number), self.attached.get(number)) {
                        (Some(port), Some(attached)) => port.write(register, value, attached, fx),
                        _ => false,
                    }
                });
                if !taken {
                    fx.note("AHCI register", offset, value.into());
                }
            }
        }
        self.drive(fx);
    }

    /// HBA reset (section 10.4.3), which the reset line does, too.
    fn reset_controller(&mut self, fx: &mut Effects) {
        self.state.global_control = GHC_AHCI;
        for (port, attached) in self.state.ports.iter_mut().zip(&self.attached) {
            port.reset_registers();
            port.reset(attached, fx);
        }
    }

    /// Gathers the ports' interrupts into IS and drives the interrupt.
    fn drive(&mut self, fx: &mut Effects) {
        let wants = |port: &Port| port.interrupt_status & port.interrupt_enable != 0;
        let ports = self.state.ports.iter().enumerate().filter(|(_, port)| wants(port));
        self.state.interrupt_status = ports.fold(0, |status, (number, _)| status | 1 << number);
        let wanted = self.state.interrupt_status != 0 && self.state.global_control & GHC_INTERRUPTS != 0;
        let config = &self.state.config;
        if config.get(MSI_CONTROL) & 1 == 0 {
            fx.line(INTA, wanted && config.get_u16(pci::COMMAND) & pci::INTERRUPT_DISABLE == 0);
        } else if wanted {
            let (address, data) = (config.get_u32(MSI_ADDRESS), config.get_u16(MSI_DATA));
            fx.messages.extend(message_of_msi(address.into(), data.into()));
        }
    }
}

/// Port and register of an offset.
fn port_of(offset: u64) -> Option<(usize, u64)> {
    let from = offset.checked_sub(PORT_REGISTERS)?;
    let number = usize::try_from(from / PORT_LENGTH).ok().filter(|number| *number < PORTS)?;
    Some((number, from % PORT_LENGTH))
}

/// The two regions.
const MEMORY: u8 = 0;
const PORTS_BY_INDEX: u8 = 1;

impl Chip for Ahci {
    fn regions(&self) -> Vec<Region> {
        let memory = self.memory_base().map(|base| Region {
            index: MEMORY,
            name: "ahci",
            space: Space::Memory,
            base,
            length: REGISTERS_LENGTH,
            widest: 4,
        });
        let ports = self.index_base().map(|base| Region {
            index: PORTS_BY_INDEX,
            name: "ahci-idp",
            space: Space::Io,
            base,
            length: INDEX_LENGTH,
            widest: 4,
        });
        memory.into_iter().chain(ports).collect()
    }

    fn register_name(&self, index: u8, offset: u64, _write: bool) -> Option<String> {
        const PORT_NAMES: [&str; 15] = [
            "CLB", "CLBU", "FB", "FBU", "IS", "IE", "CMD", "", "TFD", "SIG", "SSTS", "SCTL", "SERR", "SACT",
            "CI",
        ];
        let offset = match index {
            PORTS_BY_INDEX if offset == INDEX => return Some("INDEX".to_owned()),
            PORTS_BY_INDEX if offset == DATA => u64::from(self.state.index),
            PORTS_BY_INDEX => return None,
            _ => offset,
        };
        if let Some(within) = offset.checked_sub(PORT_REGISTERS) {
            let name = crate::name_at(&PORT_NAMES, within % PORT_LENGTH / 4)?;
            return Some(format!("P{}{name}", within / PORT_LENGTH));
        }
        crate::name_of(&[(CAP, "CAP"), (GHC, "GHC"), (IS, "IS"), (PI, "PI"), (VS, "VS")], offset)
    }

    fn read(&mut self, index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        match (index, offset) {
            (MEMORY, _) => self.read_memory(offset, size, fx),
            (_, INDEX) => self.state.index.into(),
            (_, DATA) => self.read_memory(self.state.index.into(), size, fx),
            _ => 0,
        }
    }

    fn write(&mut self, index: u8, offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        match (index, offset) {
            (MEMORY, _) => self.write_memory(offset, value as u32, fx),
            (_, INDEX) => self.state.index = value as u32 & (REGISTERS_LENGTH as u32 - 1) & !3,
            (_, DATA) => self.write_memory(self.state.index.into(), value as u32, fx),
            _ => fx.note("AHCI index ports", offset, value),
        }
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        match kind {
            ResetKind::System => {
                self.state.config.reset();
                self.state.config.set(MSI_CONTROL, 0x80);
                for register in MSI_ADDRESS..MSI_DATA + 4 {
                    self.state.config.set(register, 0);
                }
            }
            ResetKind::PowerOn => {
                self.state.config = power_on();
                // The medium keeps what was written; all else a drive knows goes with the power.
                for (port, attached) in self.state.ports.iter_mut().zip(&self.attached) {
                    let overlay = std::mem::take(&mut port.channel.drives[0].overlay);
                    *port = Port::default();
                    let drive = attached[0].as_ref().map(Attachment::drive).unwrap_or_default();
                    port.channel.drives[0] = crate::ide::Drive { overlay, ..drive };
                }
                self.state.index = 0;
            }
        }
        self.reset_controller(fx);
        self.drive(fx);
        fx.remap();
    }

    fn deadline(&self) -> Option<Moment> {
        self.state.ports.iter().filter_map(Port::due).min()
    }

    fn on_deadline(&mut self, fx: &mut Effects) {
        fx.service();
    }

    fn service(&mut self, memory: &mut dyn GuestMemory, fx: &mut Effects) {
        let mastering = self.state.config.get_u16(pci::COMMAND) & 4 != 0;
        let mut nothing = NoMemory;
        for (port, attached) in self.state.ports.iter_mut().zip(&self.attached) {
            let memory: &mut dyn GuestMemory = if mastering { &mut *memory } else { &mut nothing };
            Worker { port, attached, memory, fx }.work();
        }
        self.drive(fx);
    }

    fn pci_config(&self) -> Option<&ConfigSpace> {
        Some(&self.state.config)
    }

    fn config_write(&mut self, offset: u8, size: u8, value: u32, fx: &mut Effects) {
        let before = (self.memory_base(), self.index_base());
        self.state.config.write(offset, size, value);
        if before != (self.memory_base(), self.index_base()) {
            fx.remap();
        }
        // COMMAND may disable the pin; a message is sent once, when there is a cause.
        if self.state.config.get(MSI_CONTROL) & 1 == 0 {
            self.drive(fx);
        }
    }

    fn sends_messages(&self) -> bool {
        self.state.config.get(MSI_CONTROL) & 1 != 0
    }

    fn shift_time(&mut self, delta: i64) {
        self.state.ports.iter_mut().for_each(|port| port.shift_time(delta));
    }
}
