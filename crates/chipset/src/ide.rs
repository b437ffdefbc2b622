//! PIIX3 IDE interface (function 1): two channels of two drives, PIO and bus-master DMA.
//!
//! Intel 290550 (82371SB), sections 2.3 and 2.8; task file: ATA/ATAPI-6 (T13 1410D), chapter 7.
//! Where those leave a choice, QEMU 7.2's is taken: what an empty slot reads, what a reset leaves.
//!
//! Commands that touch a medium take the disk's latency of virtual time. Until then the drive shows
//! BSY (or, with DMA, DRQ), and the task file ignores writes, which is how a BIOS that probes a
//! channel in the middle of a read comes to lose its disks. Only the control block and a reset
//! always get through.

pub(crate) mod ata;
pub(crate) mod atapi;
pub(crate) mod bus_master;
mod identify;
mod smart;
#[cfg(test)]
mod tests;

pub use atapi::{MediumChange, Packet};
pub use bus_master::BusMaster;
pub use smart::Smart;

use crate::disk::{Disk, Geometry, Overlay};
use crate::pci::{self, ConfigSpace, Identity};
use crate::{Chip, Effects, GuestMemory, Moment, Region, ResetKind, Space};
use ata::{BSY, DRDY, DRQ, DSC, MOST_MULTIPLE};
use bus_master::{Change, INTERRUPT, NoMemory};
use serde::{Deserialize, Serialize};

/// Output pin: IRQ 14, the first channel's interrupt.
pub const IRQ14: u8 = 0;
/// Output pin: IRQ 15, the second channel's.
pub const IRQ15: u8 = 1;

/// BMIBA, the bus master's base address.
const BMIBA: u8 = 0x20;
/// Device control: interrupts are off.
const N_IEN: u8 = 0x02;
/// Device control: software reset.
const SRST: u8 = 0x04;
/// Device control: the task file shows the previous values.
const HOB: u8 = 0x80;
/// Device/head: bits that are always set.
const OBSOLETE: u8 = 0xa0;

/// Command blocks of the channels.
const COMMAND_BLOCK: [u64; 2] = [0x1f0, 0x170];
/// Control blocks: the alternate status and device control register.
const CONTROL_BLOCK: [u64; 2] = [0x3f6, 0x376];

const IDENTITY: Identity = Identity {
    id: (0x8086, 0x7010),
    revision: 0,
    class: (0x01, 0x01, 0x80), // IDE, legacy ports only, bus master
    header_type: 0,
    subsystem: (0x1af4, 0x1100),
};

/// What kind of drive is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DriveKind {
    /// An ATA hard disk.
    HardDisk,
    /// An ATAPI CD-ROM or DVD-ROM drive.
    Cdrom,
}

/// A drive that is plugged in. Wiring; what it remembers is in [`Drive`].
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its medium.
    pub disk: Disk,
    /// What it is.
    pub kind: DriveKind,
    /// Serial number, as QEMU numbers the slots.
    pub serial: String,
    /// Its geometry and translation; meaningless for a CD-ROM.
    pub geometry: Geometry,
}

impl Attachment {
    /// A drive whose serial number says that it is the `number`th, from 0, that could be there.
    pub(crate) fn new(disk: Disk, kind: DriveKind, number: usize) -> Attachment {
        let geometry = Geometry::guess(&disk);
        Attachment { disk, kind, serial: format!("QM{:05}", number + 1), geometry }
    }

    /// What such a drive remembers when it is new.
    pub(crate) fn drive(&self) -> Drive {
        Drive { heads: self.geometry.heads, sectors: self.geometry.sectors, ..Drive::default() }
    }

    /// Puts another medium into a CD-ROM drive; false if it is none.
    pub(crate) fn change_medium(&mut self, disk: Disk, drive: &mut Drive) -> bool {
        if self.kind != DriveKind::Cdrom {
            return false;
        }
        self.disk = disk;
        drive.overlay = Overlay::default();
        drive.packet.tray_open = false;
        drive.packet.change = MediumChange::Removed;
        drive.packet.new_medium = true;
        true
    }

    /// What the drive calls itself.
    #[must_use]
    pub fn model(&self) -> &'static str {
        match self.kind {
            DriveKind::HardDisk => "QEMU HARDDISK",
            DriveKind::Cdrom => "QEMU DVD-ROM",
        }
    }
}

/// Everything a snapshot carries.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct State {
    /// PCI configuration space.
    pub config: ConfigSpace,
    /// The two channels.
    pub channels: [Channel; 2],
}

/// One channel: what its two drives share.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Channel {
    /// Device control register.
    pub control: u8,
    /// The selected drive, 0 or 1.
    pub selected: u8,
    /// Level of the interrupt line.
    pub interrupt: bool,
    /// What the selected drive is working on.
    pub operation: Option<Operation>,
    /// Bus-master registers.
    pub bus_master: BusMaster,
    /// Master and slave, whether there or not: both take what is written to the task file.
    pub drives: [Drive; 2],
}

/// Work that takes time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// What is done at the end.
    pub work: Work,
    /// When; `None` while a DMA command waits for the guest to start the bus master.
    pub due: Option<Moment>,
}

/// What an operation does when it is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Work {
    /// A block of sectors for a READ by PIO.
    ReadBlock,
    /// A block of sectors of a WRITE by PIO.
    WriteBlock,
    /// FLUSH CACHE.
    Flush,
    /// READ DMA.
    ReadDma,
    /// WRITE DMA.
    WriteDma,
    /// DATA SET MANAGEMENT, whose ranges come by DMA.
    Trim,
    /// The answer to a packet command, by DMA.
    PacketDma,
}

impl Work {
    pub(crate) fn needs_memory(self) -> bool {
        matches!(self, Work::ReadDma | Work::WriteDma | Work::Trim | Work::PacketDma)
    }
}

/// What the data register is for just now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing.
    #[default]
    None,
    /// Out: a reply that ends the command.
    Reply,
    /// Out: sectors of a READ; the next block follows.
    ReadSectors,
    /// Out: a piece of a packet command's answer.
    PacketReply,
    /// In: sectors of a WRITE.
    WriteSectors,
    /// In: a packet.
    Packet,
}

/// Registers as they were before the last write, for 48-bit commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Previous {
    /// Features.
    pub feature: u8,
    /// Sector count.
    pub count: u8,
    /// Sector number.
    pub sector: u8,
    /// Cylinder low.
    pub cylinder_low: u8,
    /// Cylinder high.
    pub cylinder_high: u8,
}

/// One drive's registers and memory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Drive {
    /// Features.
    pub feature: u8,
    /// Error.
    pub error: u8,
    /// Sector count; while a command runs, sectors still to do (up to 65,536).
    pub count: u32,
    /// Sector number, or LBA 0-7.
    pub sector: u8,
    /// Cylinder low, or LBA 8-15, or byte count limit.
    pub cylinder_low: u8,
    /// Cylinder high, or LBA 16-23, or byte count limit.
    pub cylinder_high: u8,
    /// Device/head.
    pub device: u8,
    /// Status.
    pub status: u8,
    /// The registers' previous contents.
    pub previous: Previous,
    /// The running command uses 48-bit addresses.
    pub ext: bool,
    /// Heads of the translation in use.
    pub heads: u8,
    /// Sectors per track of the translation in use.
    pub sectors: u8,
    /// Sectors per block of READ and WRITE MULTIPLE; 0 when off.
    pub multiple: u8,
    /// Sectors per block of the running command.
    pub block: u8,
    /// A software reset restores the translation (SET FEATURES CCh).
    pub revert: bool,
    /// IDENTIFY (PACKET) DEVICE data as first asked for and changed by SET FEATURES.
    pub identify: Vec<u8>,
    /// SMART.
    pub smart: Smart,
    /// Packet command state.
    pub packet: Packet,
    /// What the data register is for.
    pub phase: Phase,
    /// Data on its way.
    pub buffer: Vec<u8>,
    /// Next byte of `buffer` to move.
    pub position: usize,
    /// End of the bytes that may move before the drive acts again.
    pub end: usize,
    /// What has been written to the medium.
    pub overlay: Overlay,
}

impl Drive {
    /// Sectors of the next block of the running command.
    fn block_count(&self) -> u32 {
        self.count.min(self.block.into())
    }
}

/// The controller.
#[derive(Clone, Debug)]
pub struct IdeController {
    state: State,
    attached: [[Option<Attachment>; 2]; 2],
}

impl Default for IdeController {
    fn default() -> IdeController {
        IdeController::new()
    }
}

impl IdeController {
    /// A controller without drives, as at power-on.
    #[must_use]
    pub fn new() -> IdeController {
        let mut config = ConfigSpace::new(&IDENTITY, 0x0507);
        config.set_u16(pci::STATUS, 0x0280); // fast back-to-back, medium DEVSEL timing
        config.set_u32(BMIBA, 1); // I/O space
        config.writable(BMIBA, &[0xf0, 0xff, 0xff, 0xff]);
        // IDETIM and the rest: kept for the guest, without effect.
        config.writable(0x40, &[0xff; 0xc0]);
        let mut chip = IdeController {
            state: State { config, channels: Default::default() },
            attached: Default::default(),
        };
        chip.reset(ResetKind::PowerOn, &mut Effects::default());
        chip
    }

    /// Plugs a drive into `unit` (0 master, 1 slave) of `channel` (0 or 1). Machines are built so,
    /// before power-on. Numbers past 1 are taken modulo 2.
    pub fn attach(&mut self, channel: u8, unit: u8, disk: Disk, kind: DriveKind) {
        let (channel, unit) = (usize::from(channel & 1), usize::from(unit & 1));
        let attachment = Attachment::new(disk, kind, channel * 2 + unit);
        self.state.channels[channel].drives[unit] = attachment.drive();
        self.attached[channel][unit] = Some(attachment);
        let mut fx = Effects::default();
        self.bus(channel, &mut fx).reset_drive(unit);
    }

    /// Puts another medium into a CD-ROM drive, which tells the guest of it by unit attention.
    /// False if there is no such drive.
    pub fn change_medium(&mut self, channel: u8, unit: u8, disk: Disk) -> bool {
        let (channel, unit) = (usize::from(channel & 1), usize::from(unit & 1));
        let drive = &mut self.state.channels[channel].drives[unit];
        self.attached[channel][unit].as_mut().is_some_and(|attachment| attachment.change_medium(disk, drive))
    }

    /// The drive at `unit` of `channel`, if there is one: kind, medium and geometry, as the machine
    /// needs them for CMOS and firmware tables.
    #[must_use]
    pub fn attachment(&self, channel: u8, unit: u8) -> Option<&Attachment> {
        self.attached.get(usize::from(channel))?.get(usize::from(unit))?.as_ref()
    }

    /// What the guest wrote to the drive at `unit` of `channel`.
    #[must_use]
    pub fn overlay(&self, channel: u8, unit: u8) -> Option<&Overlay> {
        Some(&self.state.channels.get(usize::from(channel))?.drives.get(usize::from(unit))?.overlay)
    }

    /// Everything to save.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes saved state. Drives stay as they are attached; interrupt lines are the machine's to
    /// restore.
    pub fn restore(&mut self, state: State) {
        self.state.config.restore_bytes(&state.config);
        self.state.channels = state.channels;
        for channel in &mut self.state.channels {
            channel.selected &= 1;
        }
    }

    fn bus<'a>(&'a mut self, channel: usize, fx: &'a mut Effects) -> Bus<'a> {
        Bus {
            channel: &mut self.state.channels[channel & 1],
            attached: &self.attached[channel & 1],
            host: Host::Ports(if channel & 1 == 0 { IRQ14 } else { IRQ15 }),
            fx,
        }
    }

    /// Where the bus master's registers are, if the guest has enabled them.
    fn bus_master_base(&self) -> Option<u64> {
        let enabled = self.state.config.get_u16(pci::COMMAND) & 1 != 0;
        let base = u64::from(self.state.config.get_u32(BMIBA) & 0xffff_fff0);
        (enabled && (0x10..0x1_0000).contains(&base)).then_some(base)
    }
}

/// Who stands between the drives and the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Host {
    /// The task file in I/O ports, a bus master, and this interrupt pin.
    Ports(u8),
    /// An AHCI port: DMA needs no start, and the controller asks [`Channel::interrupt`] itself.
    Ahci,
}

/// One channel during one access.
pub(crate) struct Bus<'a> {
    pub(crate) channel: &'a mut Channel,
    pub(crate) attached: &'a [Option<Attachment>; 2],
    pub(crate) host: Host,
    pub(crate) fx: &'a mut Effects,
}

impl<'a> Bus<'a> {
    /// The selected drive's registers.
    pub(crate) fn drive(&mut self) -> &mut Drive {
        &mut self.channel.drives[usize::from(self.channel.selected & 1)]
    }

    /// The selected drive, if it is there.
    fn attached(&self) -> Option<&'a Attachment> {
        self.attached[usize::from(self.channel.selected & 1)].as_ref()
    }

    /// What the selected drive is; an empty slot behaves like a hard disk.
    fn kind(&self) -> DriveKind {
        self.attached().map_or(DriveKind::HardDisk, |attachment| attachment.kind)
    }

    fn empty(&self) -> bool {
        self.attached.iter().all(Option::is_none)
    }

    /// Raises the interrupt unless the guest has turned it off.
    fn raise(&mut self) {
        match self.host {
            Host::Ahci => self.channel.interrupt = true,
            Host::Ports(pin) if self.channel.control & N_IEN == 0 => {
                self.channel.bus_master.status |= INTERRUPT;
                self.channel.interrupt = true;
                self.fx.line(pin, true);
            }
            Host::Ports(_) => {}
        }
    }

    fn lower(&mut self) {
        self.channel.interrupt = false;
        if let Host::Ports(pin) = self.host {
            self.fx.line(pin, false);
        }
    }

    // Resets.

    /// What every reset does to a drive (section 9.2).
    fn reset_drive(&mut self, unit: usize) {
        let attachment = self.attached[unit & 1].as_ref();
        let drive = &mut self.channel.drives[unit & 1];
        if std::mem::take(&mut drive.revert)
            && let Some(attachment) = attachment
        {
            (drive.heads, drive.sectors) = (attachment.geometry.heads, attachment.geometry.sectors);
        }
        drive.stop();
        drive.feature = 0;
        drive.error = 0;
        drive.previous = Previous::default();
        drive.device = OBSOLETE;
        drive.status = DRDY | DSC;
        drive.ext = false;
        drive.multiple = MOST_MULTIPLE;
        drive.block = 0;
        drive.packet.reset();
        self.set_signature(unit);
    }

    /// The register contents that tell what a drive is (table 13).
    fn set_signature(&mut self, unit: usize) {
        let kind = self.attached[unit & 1].as_ref().map(|attachment| attachment.kind);
        let drive = &mut self.channel.drives[unit & 1];
        drive.device &= 0xf0;
        drive.count = 1;
        drive.sector = 1;
        (drive.cylinder_low, drive.cylinder_high) = match kind {
            Some(DriveKind::HardDisk) => (0x00, 0x00),
            Some(DriveKind::Cdrom) => (0x14, 0xeb),
            None => (0xff, 0xff),
        };
    }

    /// EXECUTE DEVICE DIAGNOSTIC (section 8.11): error 01h means passed; a packet device does not
    /// report ready and does not interrupt.
    fn diagnose(&mut self, unit: usize) {
        self.channel.drives[unit & 1].device = OBSOLETE;
        self.set_signature(unit);
        let packet =
            matches!(&self.attached[unit & 1], Some(attachment) if attachment.kind == DriveKind::Cdrom);
        let drive = &mut self.channel.drives[unit & 1];
        drive.error = 1;
        drive.status = if packet { 0 } else { DRDY | DSC };
        if !packet {
            self.raise();
        }
    }

    /// Ends what is going on in both drives.
    pub(crate) fn reset_channel(&mut self) {
        self.channel.operation = None;
        for unit in 0..2 {
            self.reset_drive(unit);
        }
    }

    /// A write to the device control register, which is taken in every state.
    fn control(&mut self, value: u8) {
        let reset = value & SRST != 0 && self.channel.control & SRST == 0;
        self.channel.control = value;
        if reset {
            self.reset_channel();
            for unit in 0..2 {
                self.diagnose(unit);
            }
            // The reset is over at once: the next SRST is one again, as on QEMU.
            self.channel.control &= !SRST;
        }
    }

    // The command block.

    fn read_register(&mut self, register: u64) -> u8 {
        let absent = self.channel.selected != 0 && self.attached().is_none();
        if register == 7 {
            let status = self.status();
            self.lower();
            return status;
        }
        if self.empty() || register == 1 && absent {
            return 0;
        }
        let previous = self.channel.control & HOB != 0;
        let drive = self.drive();
        match (register, previous) {
            (1, false) => drive.error,
            (1, true) => drive.previous.feature,
            (2, false) => drive.count as u8,
            (2, true) => drive.previous.count,
            (3, false) => drive.sector,
            (3, true) => drive.previous.sector,
            (4, false) => drive.cylinder_low,
            (4, true) => drive.previous.cylinder_low,
            (5, false) => drive.cylinder_high,
            (5, true) => drive.previous.cylinder_high,
            _ => drive.device,
        }
    }

    /// Status without acknowledging the interrupt; an absent drive reads 0.
    fn status(&mut self) -> u8 {
        let absent = self.channel.selected != 0 && self.attached().is_none();
        if self.empty() || absent { 0 } else { self.drive().status }
    }

    fn write_register(&mut self, register: u64, value: u8) {
        if register != 7 && self.drive().status & (BSY | DRQ) != 0 {
            return;
        }
        if register != 0 {
            self.channel.control &= !HOB;
        }
        if register == 7 {
            return self.command(value);
        }
        for drive in &mut self.channel.drives {
            match register {
                1 => drive.previous.feature = std::mem::replace(&mut drive.feature, value),
                2 => {
                    drive.previous.count = drive.count as u8;
                    drive.count = value.into();
                }
                3 => drive.previous.sector = std::mem::replace(&mut drive.sector, value),
                4 => drive.previous.cylinder_low = std::mem::replace(&mut drive.cylinder_low, value),
                5 => drive.previous.cylinder_high = std::mem::replace(&mut drive.cylinder_high, value),
                6 => drive.device = value | OBSOLETE,
                _ => {}
            }
        }
        if register == 6 {
            self.channel.selected = value >> 4 & 1;
        }
    }

    fn read_data(&mut self, size: u8) -> u64 {
        let drive = self.drive();
        let out = matches!(drive.phase, Phase::Reply | Phase::ReadSectors | Phase::PacketReply);
        let end = drive.position.saturating_add(size.into());
        if drive.status & DRQ == 0 || !out || end > drive.end {
            return 0;
        }
        let bytes = drive.buffer.get(drive.position..end).unwrap_or(&[]);
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        drive.position = end;
        self.moved();
        value
    }

    fn write_data(&mut self, size: u8, value: u64) {
        let drive = self.drive();
        let into = matches!(drive.phase, Phase::WriteSectors | Phase::Packet);
        let end = drive.position.saturating_add(size.into());
        if drive.status & DRQ == 0 || !into || end > drive.end {
            return;
        }
        if let Some(bytes) = drive.buffer.get_mut(drive.position..end) {
            bytes.copy_from_slice(&value.to_le_bytes()[..usize::from(size)]);
        }
        drive.position = end;
        self.moved();
    }

    /// Acts when the last byte has gone through the data register.
    pub(crate) fn moved(&mut self) {
        let drive = self.drive();
        if drive.position < drive.end {
            return;
        }
        drive.status &= !DRQ;
        match drive.phase {
            Phase::None | Phase::Reply => drive.stop(),
            Phase::ReadSectors => self.read_block(),
            Phase::PacketReply => self.next_piece(),
            Phase::WriteSectors => self.write_block(),
            Phase::Packet => {
                drive.phase = Phase::None;
                self.run_packet();
            }
        }
    }

    // Time.

    /// The operation is due and needs no guest memory.
    pub(crate) fn finish(&mut self) {
        let Some(operation) = self.channel.operation.take() else { return };
        let Some(attachment) = self.attached() else { return };
        match operation.work {
            Work::ReadBlock if attachment.kind == DriveKind::Cdrom => self.finish_packet_read(attachment),
            Work::ReadBlock => self.finish_read(attachment),
            Work::WriteBlock => self.finish_write(attachment),
            Work::Flush => self.finish_flush(),
            Work::ReadDma | Work::WriteDma | Work::Trim | Work::PacketDma => {}
        }
    }

    /// The operation is due and moves data from or to guest memory.
    fn transfer(&mut self, memory: &mut dyn GuestMemory) {
        let Some(operation) = self.channel.operation.take() else { return };
        let Some(attachment) = self.attached() else { return };
        match operation.work {
            Work::PacketDma => self.run_packet_dma(attachment, memory),
            work => self.run_dma(work, attachment, memory),
        }
    }

    /// A write to BMICOM or BMISTA.
    fn write_bus_master(&mut self, offset: u64, size: u8, value: u64) {
        if offset >= 4 {
            return self.channel.bus_master.write_table(offset, size, value);
        }
        match self.channel.bus_master.write(offset, size, value as u8) {
            Change::Nothing => {}
            Change::Started => {
                self.channel.bus_master.set_active(true);
                if let (Some(operation), Some(attachment)) = (self.channel.operation, self.attached())
                    && operation.work.needs_memory()
                    && operation.due.is_none()
                {
                    let due = Some(attachment.disk.done_at(self.fx.now()));
                    self.channel.operation = Some(Operation { due, ..operation });
                }
            }
            Change::Stopped => match &mut self.channel.operation {
                // As on QEMU a transfer cannot be stopped half way: it is done now.
                Some(Operation { work, due: due @ Some(_) }) if work.needs_memory() => {
                    *due = Some(self.fx.now());
                    self.fx.service();
                }
                _ => self.channel.bus_master.set_active(false),
            },
        }
    }
}

impl Chip for IdeController {
    fn regions(&self) -> Vec<Region> {
        let region =
            |index, name, base, length| Region { index, name, space: Space::Io, base, length, widest: 4 };
        let mut regions = vec![
            region(0, "ide", COMMAND_BLOCK[0], 8),
            region(1, "ide", COMMAND_BLOCK[1], 8),
            region(2, "ide", CONTROL_BLOCK[0], 1),
            region(3, "ide", CONTROL_BLOCK[1], 1),
        ];
        if let Some(base) = self.bus_master_base() {
            regions.push(region(4, "piix-bmdma", base, 4));
            regions.push(region(6, "bmdma", base + 4, 4));
            regions.push(region(5, "piix-bmdma", base + 8, 4));
            regions.push(region(7, "bmdma", base + 12, 4));
        }
        regions
    }

    fn register_name(&self, index: u8, offset: u64, write: bool) -> Option<String> {
        const COMMAND: [[&str; 2]; 8] = [
            ["DATA", "DATA"],
            ["ERROR", "FEATURES"],
            ["SECTOR_COUNT", "SECTOR_COUNT"],
            ["SECTOR_NUMBER", "SECTOR_NUMBER"],
            ["CYLINDER_LOW", "CYLINDER_LOW"],
            ["CYLINDER_HIGH", "CYLINDER_HIGH"],
            ["DEVICE_HEAD", "DEVICE_HEAD"],
            ["STATUS", "COMMAND"],
        ];
        let channel = if index & 1 == 0 { "PRIMARY" } else { "SECONDARY" };
        let name = match index {
            0 | 1 => *COMMAND.get(usize::try_from(offset).ok()?)?.get(usize::from(write))?,
            2 | 3 if write => "DEVICE_CONTROL",
            2 | 3 => "ALTERNATE_STATUS",
            4 | 5 if offset == 0 => "BMIC",
            4 | 5 if offset == 2 => "BMIS",
            6 | 7 => "BMIDTP",
            _ => return None,
        };
        Some(format!("{channel}.{name}"))
    }

    fn config_register_name(&self, offset: u8) -> Option<String> {
        const NAMES: [(u64, &str); 6] = [
            (0x40, "IDETIM0"),
            (0x42, "IDETIM1"),
            (0x44, "SIDETIM"),
            (0x48, "UDMACTL"),
            (0x4a, "UDMATIM0"),
            (0x4b, "UDMATIM1"),
        ];
        pci::register_name(offset).map(str::to_owned).or_else(|| crate::name_of(&NAMES, offset.into()))
    }

    fn read(&mut self, index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        let mut bus = self.bus(usize::from(index & 1), fx);
        match index >> 1 {
            // The data register is 16 or 32 bits wide; a byte read takes a word and drops half.
            0 if offset == 0 => match size {
                4 => bus.read_data(4),
                2 => bus.read_data(2),
                _ => bus.read_data(2) & 0xff,
            },
            0 if size <= 2 => (0..u64::from(size)).fold(0, |value, byte| {
                value | u64::from(bus.read_register((offset + byte) & 7)) << (8 * byte)
            }),
            1 => bus.status().into(),
            2 => bus.channel.bus_master.read(offset, size),
            3 => bus.channel.bus_master.read_table(offset),
            _ => u64::MAX,
        }
    }

    fn write(&mut self, index: u8, offset: u64, size: u8, value: u64, fx: &mut Effects) {
        let mut bus = self.bus(usize::from(index & 1), fx);
        match index >> 1 {
            0 if offset == 0 && (size == 2 || size == 4) => {
                bus.write_data(size, value);
            }
            0 if size <= 2 => {
                for byte in 0..u64::from(size) {
                    bus.write_register((offset + byte) & 7, (value >> (8 * byte)) as u8);
                }
            }
            1 => bus.control(value as u8),
            2 => bus.write_bus_master(offset & 3, size, value),
            3 => bus.write_bus_master(4 + (offset & 3), size, value),
            _ => {}
        }
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        self.state.config.reset();
        for number in 0..2 {
            let mut bus = self.bus(number, fx);
            bus.channel.control = 0;
            bus.channel.selected = 0;
            bus.channel.bus_master = BusMaster::default();
            bus.reset_channel();
            bus.lower();
            if kind == ResetKind::PowerOn {
                // The medium keeps what was written; all else a drive knows goes with the power.
                for unit in 0..2 {
                    let (heads, sectors) = bus.attached[unit].as_ref().map_or((0, 0), |attachment| {
                        (attachment.geometry.heads, attachment.geometry.sectors)
                    });
                    let overlay = std::mem::take(&mut bus.channel.drives[unit].overlay);
                    bus.channel.drives[unit] = Drive { heads, sectors, overlay, ..Drive::default() };
                    bus.reset_drive(unit);
                }
            }
        }
        if kind == ResetKind::PowerOn {
            for register in 0x40..=0xff {
                self.state.config.set(register, 0);
            }
        }
        fx.remap();
    }

    fn deadline(&self) -> Option<Moment> {
        self.state.channels.iter().filter_map(|channel| channel.operation?.due).min()
    }

    fn on_deadline(&mut self, fx: &mut Effects) {
        for number in 0..2 {
            let mut bus = self.bus(number, fx);
            match bus.channel.operation {
                Some(Operation { work, due: Some(due) }) if due <= bus.fx.now() => {
                    if work.needs_memory() {
                        bus.fx.service();
                    } else {
                        bus.finish();
                    }
                }
                _ => {}
            }
        }
    }

    fn service(&mut self, memory: &mut dyn GuestMemory, fx: &mut Effects) {
        let mastering = self.state.config.get_u16(pci::COMMAND) & 4 != 0;
        for number in 0..2 {
            let mut bus = self.bus(number, fx);
            let due = matches!(
                bus.channel.operation,
                Some(Operation { work, due: Some(due) }) if work.needs_memory() && due <= bus.fx.now()
            );
            if due {
                if mastering {
                    bus.transfer(memory);
                } else {
                    bus.transfer(&mut NoMemory);
                }
                // A guest that stopped the bus master waited for this.
                if bus.channel.bus_master.command & bus_master::START == 0 {
                    bus.channel.bus_master.set_active(false);
                }
            }
        }
    }

    fn pci_config(&self) -> Option<&ConfigSpace> {
        Some(&self.state.config)
    }

    fn config_write(&mut self, offset: u8, size: u8, value: u32, fx: &mut Effects) {
        let before = self.bus_master_base();
        self.state.config.write(offset, size, value);
        if self.bus_master_base() != before {
            fx.remap();
        }
    }

    fn shift_time(&mut self, delta: i64) {
        for channel in &mut self.state.channels {
            if let Some(Operation { due: Some(due), .. }) = &mut channel.operation {
                due.shift(delta);
            }
        }
    }
}
