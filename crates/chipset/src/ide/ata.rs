//! ATA commands: what a hard disk does, and the part of the command set a CD-ROM drive shares.
//!
//! ATA/ATAPI-6 (T13 1410D), chapter 8. Where the standard leaves a choice, QEMU's is taken.

use super::bus_master::Segment;
use super::{Attachment, Bus, Drive, DriveKind, Host, Operation, Phase, Work, identify};
use crate::GuestMemory;
use crate::disk::SECTOR;

/// Status: busy; no other bit of the task file means anything.
pub(crate) const BSY: u8 = 0x80;
/// Status: ready.
pub(crate) const DRDY: u8 = 0x40;
/// Status: seek complete.
pub(crate) const DSC: u8 = 0x10;
/// Status: data request.
pub(crate) const DRQ: u8 = 0x08;
/// Status: error (CHK for packet devices).
pub(crate) const ERR: u8 = 0x01;
/// Error: command aborted.
pub(crate) const ABRT: u8 = 0x04;
/// Device/head: addresses are LBA.
const LBA: u8 = 0x40;
/// Most sectors of one READ MULTIPLE block.
pub(super) const MOST_MULTIPLE: u8 = 16;
/// DEVICE RESET, the one command that is taken while busy.
pub(super) const DEVICE_RESET: u8 = 0x08;

/// What a command code asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    CheckPowerMode,
    DataSetManagement,
    DeviceReset,
    ExecuteDiagnostic,
    FlushCache,
    /// SECURITY FREEZE LOCK, which CompactFlash calls WEAR LEVEL and ends with a count of zero.
    FreezeLock,
    IdentifyDevice,
    IdentifyPacket,
    InitializeParameters,
    /// Power and seek commands that change nothing one could see.
    Nothing,
    Packet,
    ReadDma {
        ext: bool,
    },
    ReadMultiple {
        ext: bool,
    },
    ReadNativeMax {
        ext: bool,
    },
    ReadSectors {
        ext: bool,
    },
    SetFeatures,
    SetMultiple,
    Smart,
    Verify {
        ext: bool,
    },
    WriteDma {
        ext: bool,
    },
    WriteMultiple {
        ext: bool,
    },
    WriteSectors {
        ext: bool,
    },
}

/// Which drives take a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Takes {
    Disk,
    Cdrom,
    Both,
}

/// The command set: code → (action, who takes it, DSC is set at the end). Codes that are not here
/// abort, NOP among them, as its definition wants.
fn command(code: u8) -> Option<(Action, Takes, bool)> {
    use Action as A;
    use Takes::{Both, Cdrom, Disk};
    Some(match code {
        0x06 => (A::DataSetManagement, Disk, false),
        DEVICE_RESET => (A::DeviceReset, Cdrom, false),
        0x10 => (A::Nothing, Disk, true), // RECALIBRATE
        0x20 => (A::ReadSectors { ext: false }, Both, false),
        0x21 => (A::ReadSectors { ext: false }, Disk, false),
        0x24 => (A::ReadSectors { ext: true }, Disk, false),
        0x25 => (A::ReadDma { ext: true }, Disk, false),
        0x27 => (A::ReadNativeMax { ext: true }, Disk, true),
        0x29 => (A::ReadMultiple { ext: true }, Disk, false),
        0x30 | 0x31 | 0x3c => (A::WriteSectors { ext: false }, Disk, false),
        0x34 => (A::WriteSectors { ext: true }, Disk, false),
        0x35 => (A::WriteDma { ext: true }, Disk, false),
        0x39 => (A::WriteMultiple { ext: true }, Disk, false),
        0x40 | 0x41 => (A::Verify { ext: false }, Disk, true),
        0x42 => (A::Verify { ext: true }, Disk, true),
        0x70 => (A::Nothing, Disk, true), // SEEK
        0x90 => (A::ExecuteDiagnostic, Both, false),
        0x91 => (A::InitializeParameters, Disk, true),
        // STANDBY IMMEDIATE, IDLE IMMEDIATE, STANDBY, IDLE, SLEEP and their older codes
        0x94..=0x97 | 0x99 | 0xe0..=0xe3 | 0xe6 => (A::Nothing, Disk, false),
        0x98 | 0xe5 => (A::CheckPowerMode, Disk, true),
        0xa0 => (A::Packet, Cdrom, false),
        0xa1 => (A::IdentifyPacket, Cdrom, false),
        0xb0 => (A::Smart, Disk, true),
        0xc4 => (A::ReadMultiple { ext: false }, Disk, false),
        0xc5 => (A::WriteMultiple { ext: false }, Disk, false),
        0xc6 => (A::SetMultiple, Disk, true),
        0xc8 | 0xc9 => (A::ReadDma { ext: false }, Disk, false),
        0xca | 0xcb => (A::WriteDma { ext: false }, Disk, false),
        0xe7 => (A::FlushCache, Both, false),
        0xea => (A::FlushCache, Disk, false),
        0xec => (A::IdentifyDevice, Both, false),
        0xef => (A::SetFeatures, Both, true),
        0xf5 => (A::FreezeLock, Disk, true),
        0xf8 => (A::ReadNativeMax { ext: false }, Disk, true),
        _ => return None,
    })
}

/// What a command's handler leaves to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Finished: clear BSY, interrupt.
    Complete,
    /// Status and interrupt are the handler's own affair, now or later.
    Handled,
}

impl Drive {
    /// The address in the task file, in the way the drive bit and the command say. Negative for the
    /// sector 0 that cylinders, heads and sectors do not have.
    pub(super) fn address(&self) -> i64 {
        let low =
            i64::from(self.sector) | i64::from(self.cylinder_low) << 8 | i64::from(self.cylinder_high) << 16;
        if self.device & LBA == 0 {
            let cylinder = i64::from(self.cylinder_high) << 8 | i64::from(self.cylinder_low);
            let track = cylinder * i64::from(self.heads) + i64::from(self.device & 15);
            track * i64::from(self.sectors) + i64::from(self.sector) - 1
        } else if self.ext {
            low | i64::from(self.previous.sector) << 24
                | i64::from(self.previous.cylinder_low) << 32
                | i64::from(self.previous.cylinder_high) << 40
        } else {
            low | i64::from(self.device & 15) << 24
        }
    }

    /// Puts `address` into the task file.
    fn set_address(&mut self, address: i64) {
        if self.device & LBA == 0 {
            // A guest may have set a geometry of no sectors; its addresses are as meaningless.
            let sectors = i64::from(self.sectors).max(1);
            let heads = i64::from(self.heads).max(1);
            let (cylinder, head) = (address / (sectors * heads), address / sectors % heads);
            self.cylinder_low = cylinder as u8;
            self.cylinder_high = (cylinder >> 8) as u8;
            self.device = self.device & 0xf0 | head as u8 & 15;
            self.sector = (address % sectors) as u8;
            self.sector = self.sector.wrapping_add(1);
            return;
        }
        self.sector = address as u8;
        self.cylinder_low = (address >> 8) as u8;
        self.cylinder_high = (address >> 16) as u8;
        if self.ext {
            self.previous.sector = (address >> 24) as u8;
            self.previous.cylinder_low = (address >> 32) as u8;
            self.previous.cylinder_high = (address >> 40) as u8;
        } else {
            self.device = self.device & 0xf0 | (address >> 24) as u8 & 15;
        }
    }

    /// Turns the sector count register, where 0 means most, into the count of sectors.
    fn take_count(&mut self, ext: bool) {
        self.ext = ext;
        let count = self.count & 0xff | if ext { u32::from(self.previous.count) << 8 } else { 0 };
        self.count = match (count, ext) {
            (0, false) => 256,
            (0, true) => 65_536,
            _ => count,
        };
    }

    /// Ends the command with ERR and ABRT.
    pub(super) fn abort(&mut self) {
        self.status = DRDY | ERR;
        self.error = ABRT;
        self.stop();
    }

    /// No data is wanted or to be had.
    pub(super) fn stop(&mut self) {
        self.phase = Phase::None;
        self.buffer.clear();
        self.position = 0;
        self.end = 0;
        self.status &= !DRQ;
    }

    /// Bytes the running DMA command moves.
    pub(crate) fn dma_bytes(&self) -> usize {
        self.count as usize * SECTOR as usize
    }

    /// Moves what a DMA command asks for, [`Drive::dma_bytes`] in all, and ends the command; true
    /// when it went well.
    pub(crate) fn finish_dma(
        &mut self,
        work: Work,
        attachment: &Attachment,
        segments: &[Segment],
        memory: &mut dyn GuestMemory,
    ) -> bool {
        let (address, count) = (self.address(), self.count);
        let done = match work {
            Work::Trim => segments.iter().all(|segment| {
                let mut ranges = vec![0; segment.length];
                memory.read(segment.address, &mut ranges);
                ranges.chunks_exact(8).all(|range| trim_fits(range, attachment))
            }),
            _ => self.move_sectors(work, attachment, (address, count), segments, memory),
        };
        if done {
            self.set_address(address.wrapping_add(count.into()));
            self.count = 0;
            self.status = DRDY | DSC;
        } else {
            self.abort();
        }
        done
    }

    /// Moves `count` sectors from `address` on between the medium and `segments`; false when they
    /// are not on the disk or it refuses.
    pub(crate) fn move_sectors(
        &mut self,
        work: Work,
        attachment: &Attachment,
        (address, count): (i64, u32),
        segments: &[Segment],
        memory: &mut dyn GuestMemory,
    ) -> bool {
        if !in_range(address, count, attachment) {
            return false;
        }
        let mut offset = byte(address);
        segments.iter().all(|segment| {
            let mut data = vec![0; segment.length];
            let moved = if work == Work::ReadDma {
                let read = attachment.disk.read(&self.overlay, offset, &mut data);
                read.map(|()| memory.write(segment.address, &data))
            } else {
                memory.read(segment.address, &mut data);
                attachment.disk.write(&mut self.overlay, offset, &data)
            };
            offset += segment.length as u64;
            moved.is_ok()
        })
    }

    /// Offers `data` to be read, or room for as much to be written.
    pub(super) fn offer(&mut self, data: Vec<u8>, phase: Phase) {
        self.position = 0;
        self.end = data.len();
        self.buffer = data;
        self.phase = phase;
        if self.status & ERR == 0 {
            self.status |= DRQ;
        }
    }
}

impl Bus<'_> {
    /// A write to the command register.
    pub(crate) fn command(&mut self, code: u8) {
        self.lower();
        if self.channel.selected != 0 && self.attached().is_none() {
            return;
        }
        let kind = self.kind();
        let drive = self.drive();
        if drive.status & (BSY | DRQ) != 0 && !(code == DEVICE_RESET && kind == DriveKind::Cdrom) {
            return;
        }
        let taken = command(code).filter(|(_, takes, _)| match kind {
            DriveKind::HardDisk => *takes != Takes::Cdrom,
            DriveKind::Cdrom => *takes != Takes::Disk,
        });
        let Some((action, _, seek_complete)) = taken else {
            drive.abort();
            self.raise();
            return;
        };
        drive.status = DRDY | BSY;
        drive.error = 0;
        if self.act(action) == Outcome::Complete {
            let drive = self.drive();
            drive.status &= !BSY;
            if seek_complete && drive.error == 0 {
                drive.status |= DSC;
            }
            self.raise();
        }
    }

    fn act(&mut self, action: Action) -> Outcome {
        use Outcome::{Complete, Handled};
        let Some(attachment) = self.attached() else {
            return self.act_absent(action);
        };
        let host = self.host;
        match action {
            Action::Nothing => return Complete,
            Action::CheckPowerMode => self.drive().count = 0xff,
            Action::FreezeLock => self.drive().count = 0,
            Action::DataSetManagement => return self.data_set_management(),
            Action::DeviceReset => {
                self.channel.operation = None;
                let unit = usize::from(self.channel.selected);
                self.reset_drive(unit);
                self.drive().status = 0;
                return Handled;
            }
            Action::ExecuteDiagnostic => {
                self.diagnose(usize::from(self.channel.selected));
                return Handled;
            }
            Action::FlushCache => {
                self.begin(Work::Flush, attachment);
                return Handled;
            }
            Action::IdentifyDevice if attachment.kind == DriveKind::Cdrom => {
                self.set_signature(usize::from(self.channel.selected));
                self.drive().abort();
            }
            Action::IdentifyDevice => {
                let drive = self.drive();
                if drive.identify.is_empty() {
                    drive.identify =
                        identify::hard_disk(attachment, drive.heads, drive.sectors, drive.multiple);
                    if host == Host::Ahci {
                        identify::add_queue(&mut drive.identify);
                    }
                }
                let data = drive.identify.clone();
                return self.reply(data);
            }
            Action::IdentifyPacket => {
                let drive = self.drive();
                if drive.identify.is_empty() {
                    drive.identify = identify::cdrom(attachment);
                    if host == Host::Ahci {
                        identify::add_queue(&mut drive.identify);
                    }
                }
                let data = drive.identify.clone();
                return self.reply(data);
            }
            Action::InitializeParameters => {
                let drive = self.drive();
                drive.heads = (drive.device & 15) + 1;
                drive.sectors = drive.count as u8;
            }
            Action::Packet => return self.packet(),
            Action::ReadSectors { .. } if attachment.kind == DriveKind::Cdrom => {
                // ATA/ATAPI-4 section 8.27.5.2: aborted, but with the signature in place.
                self.set_signature(usize::from(self.channel.selected));
                self.drive().abort();
            }
            Action::ReadSectors { ext } => {
                self.drive().take_count(ext);
                self.drive().block = 1;
                self.read_block();
                return Handled;
            }
            Action::ReadMultiple { ext } if self.drive().multiple != 0 => {
                self.drive().take_count(ext);
                self.drive().block = self.drive().multiple;
                self.read_block();
                return Handled;
            }
            Action::WriteSectors { ext } => {
                self.drive().take_count(ext);
                self.drive().block = 1;
                self.ask_for_block();
                return Handled;
            }
            Action::WriteMultiple { ext } if self.drive().multiple != 0 => {
                self.drive().take_count(ext);
                self.drive().block = self.drive().multiple;
                self.ask_for_block();
                return Handled;
            }
            Action::ReadMultiple { .. } | Action::WriteMultiple { .. } => self.drive().abort(),
            Action::ReadDma { ext } => {
                self.drive().take_count(ext);
                return self.begin_dma(Work::ReadDma);
            }
            Action::WriteDma { ext } => {
                self.drive().take_count(ext);
                return self.begin_dma(Work::WriteDma);
            }
            Action::ReadNativeMax { ext } => self.read_native_max(ext, attachment),
            Action::SetFeatures => return self.set_features(attachment),
            Action::SetMultiple => {
                let drive = self.drive();
                let count = drive.count as u8;
                if count != 0 && (count > MOST_MULTIPLE || !count.is_power_of_two()) {
                    drive.abort();
                } else {
                    drive.multiple = count;
                }
            }
            Action::Smart => return self.smart(),
            Action::Verify { ext } => self.drive().take_count(ext),
        }
        Complete
    }

    /// Drive 0 is not there but drive 1 is, and answers for it: what needs no medium works.
    fn act_absent(&mut self, action: Action) -> Outcome {
        match action {
            Action::Nothing => {}
            Action::CheckPowerMode => self.drive().count = 0xff,
            Action::FreezeLock => self.drive().count = 0,
            Action::Verify { ext } => self.drive().take_count(ext),
            Action::SetMultiple => {
                let drive = self.drive();
                let count = drive.count as u8;
                if count != 0 && (count > MOST_MULTIPLE || !count.is_power_of_two()) {
                    drive.abort();
                } else {
                    drive.multiple = count;
                }
            }
            Action::FlushCache => self.drive().status = DRDY | DSC,
            Action::ExecuteDiagnostic => {
                self.diagnose(usize::from(self.channel.selected));
                return Outcome::Handled;
            }
            Action::Smart => return self.smart(),
            _ => self.drive().abort(),
        }
        Outcome::Complete
    }

    /// A sector of data at once, with an interrupt.
    fn reply(&mut self, data: Vec<u8>) -> Outcome {
        let drive = self.drive();
        drive.status = DRDY | DSC;
        drive.offer(data, Phase::Reply);
        self.raise();
        Outcome::Handled
    }

    /// Starts `work` that takes the disk's latency; BSY is set until then.
    pub(super) fn begin(&mut self, work: Work, attachment: &Attachment) {
        let due = attachment.disk.done_at(self.fx.now());
        self.drive().status |= BSY;
        self.channel.operation = Some(Operation { work, due: Some(due) });
    }

    /// Starts a transfer by bus master; it runs once the guest has started that, too. Meanwhile the
    /// drive shows DRQ, not BSY, as QEMU's do.
    pub(super) fn begin_dma_work(&mut self, work: Work) {
        let due = match self.attached() {
            Some(attachment) if self.host == Host::Ahci || self.channel.bus_master.active() => {
                Some(attachment.disk.done_at(self.fx.now()))
            }
            _ => None,
        };
        self.channel.operation = Some(Operation { work, due });
    }

    fn begin_dma(&mut self, work: Work) -> Outcome {
        self.drive().status = DRDY | DSC | DRQ;
        self.begin_dma_work(work);
        Outcome::Handled
    }

    fn data_set_management(&mut self) -> Outcome {
        if self.drive().feature == 1 {
            return self.begin_dma(Work::Trim);
        }
        self.drive().abort();
        Outcome::Complete
    }

    fn read_native_max(&mut self, ext: bool, attachment: &Attachment) {
        let total = attachment.disk.sectors();
        let drive = self.drive();
        if total == 0 {
            return drive.abort();
        }
        drive.take_count(ext);
        drive.set_address((total - 1) as i64);
    }

    /// SET FEATURES, table 43.
    fn set_features(&mut self, attachment: &Attachment) -> Outcome {
        let drive = self.drive();
        match drive.feature {
            0x02 => identify::set_word(&mut drive.identify, 85, 0x4021),
            0x82 => {
                identify::set_word(&mut drive.identify, 85, 0x4001);
                self.begin(Work::Flush, attachment);
                return Outcome::Handled;
            }
            0x03 => {
                if !identify::select_mode(&mut drive.identify, drive.count as u8) {
                    drive.abort();
                }
            }
            0xcc => drive.revert = true,
            0x66 => drive.revert = false,
            // read look-ahead, power management, acoustic management, release interrupt
            0x05 | 0x42 | 0x55 | 0x67 | 0x69 | 0x85 | 0x96 | 0x9a | 0xaa | 0xc2 => {}
            _ => drive.abort(),
        }
        Outcome::Complete
    }

    // Data in and out.

    /// Begins reading the next block of a READ command, or ends the command.
    pub(super) fn read_block(&mut self) {
        let attached = self.attached();
        let drive = self.drive();
        drive.status = DRDY | DSC;
        drive.error = 0;
        let Some(attachment) = attached.filter(|_| drive.count != 0) else {
            return drive.stop();
        };
        if !in_range(drive.address(), drive.block_count(), attachment) {
            drive.abort();
            return self.raise();
        }
        self.begin(Work::ReadBlock, attachment);
    }

    /// The disk has the block of a READ command.
    pub(super) fn finish_read(&mut self, attachment: &Attachment) {
        let drive = self.drive();
        drive.status &= !BSY;
        let count = drive.block_count();
        let address = drive.address();
        let mut data = vec![0; count as usize * SECTOR as usize];
        if attachment.disk.read(&drive.overlay, byte(address), &mut data).is_err() {
            drive.abort();
        } else {
            drive.set_address(address + i64::from(count));
            drive.count -= count;
            drive.offer(data, Phase::ReadSectors);
        }
        self.raise();
    }

    /// Asks the guest for the first block of a WRITE command.
    fn ask_for_block(&mut self) {
        let drive = self.drive();
        drive.status = DRDY | DSC;
        let length = drive.block_count() as usize * SECTOR as usize;
        drive.offer(vec![0; length], Phase::WriteSectors);
    }

    /// The guest has given a block: begins to write it.
    pub(super) fn write_block(&mut self) {
        let attached = self.attached();
        let drive = self.drive();
        drive.status = DRDY | DSC;
        let (address, count) = (drive.address(), drive.block_count());
        match attached.filter(|attachment| in_range(address, count, attachment)) {
            Some(attachment) => self.begin(Work::WriteBlock, attachment),
            None => {
                drive.abort();
                self.raise();
            }
        }
    }

    /// The disk has taken the block.
    pub(super) fn finish_write(&mut self, attachment: &Attachment) {
        let drive = self.drive();
        drive.status &= !BSY;
        let (address, count) = (drive.address(), drive.block_count());
        let data = std::mem::take(&mut drive.buffer);
        if attachment.disk.write(&mut drive.overlay, byte(address), &data).is_err() {
            drive.abort();
        } else {
            drive.set_address(address + i64::from(count));
            drive.count -= count;
            let length = drive.block_count() as usize * SECTOR as usize;
            if length == 0 {
                drive.stop();
            } else {
                drive.offer(vec![0; length], Phase::WriteSectors);
            }
        }
        self.raise();
    }

    /// FLUSH CACHE is done: what was written is already kept.
    pub(super) fn finish_flush(&mut self) {
        self.drive().status = DRDY | DSC;
        self.raise();
    }

    // Transfers by bus master.

    /// Runs READ DMA, WRITE DMA or the ranges of DATA SET MANAGEMENT at the time they are due.
    pub(super) fn run_dma(&mut self, work: Work, attachment: &Attachment, memory: &mut dyn GuestMemory) {
        let bytes = self.drive().dma_bytes();
        let master = &mut self.channel.bus_master;
        let mut walk = super::bus_master::Walk::new(master);
        let (segments, described) = walk.gather(master, memory, bytes);
        if described < bytes {
            // Descriptors too short: ACTIVE clears without an interrupt (section 3.1 of the bus
            // master specification).
            self.drive().status = DRDY | DSC;
            return self.channel.bus_master.set_active(false);
        }
        let done = self.drive().finish_dma(work, attachment, &segments, memory);
        // ACTIVE stays when the descriptors describe more than the command moved.
        self.channel.bus_master.set_active(done && described > bytes);
        self.raise();
    }

    // SMART, chapter 8.55.

    fn smart(&mut self) -> Outcome {
        const READ_DATA: u8 = 0xd0;
        const READ_THRESHOLDS: u8 = 0xd1;
        const AUTOSAVE: u8 = 0xd2;
        const EXECUTE_OFFLINE: u8 = 0xd4;
        const READ_LOG: u8 = 0xd5;
        const ENABLE: u8 = 0xd8;
        const DISABLE: u8 = 0xd9;
        const RETURN_STATUS: u8 = 0xda;
        let drive = self.drive();
        let key = (drive.cylinder_high, drive.cylinder_low) == (0xc2, 0x4f);
        if !key || !(drive.smart.enabled || drive.feature == ENABLE) {
            drive.abort();
            return Outcome::Complete;
        }
        match (drive.feature, drive.sector) {
            (ENABLE, _) => drive.smart.enabled = true,
            (DISABLE, _) => drive.smart.enabled = false,
            (AUTOSAVE, 0) => drive.smart.autosave = false,
            (AUTOSAVE, 0xf1) => drive.smart.autosave = true,
            (RETURN_STATUS, _) => {} // the key in the cylinder registers says: no threshold passed
            (EXECUTE_OFFLINE, kind @ 0..=2) => drive.smart.record(kind),
            (READ_DATA, _) => {
                let data = smart_page(|page| drive.smart.data(page));
                return self.reply(data);
            }
            (READ_THRESHOLDS, _) => return self.reply(smart_page(super::Smart::thresholds)),
            (READ_LOG, 1) => return self.reply(smart_page(|_| ())),
            (READ_LOG, 6) => {
                let data = smart_page(|page| drive.smart.self_test_log(page));
                return self.reply(data);
            }
            _ => drive.abort(),
        }
        Outcome::Complete
    }
}

/// A SMART page: version 1, whatever `fill` adds, and a last byte that makes the sum zero.
fn smart_page(fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut page = vec![0; SECTOR as usize];
    page[0] = 1;
    fill(&mut page);
    page[511] = page[..511].iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    page
}

/// `count` sectors from `address` lie on the disk.
fn in_range(address: i64, count: u32, attachment: &Attachment) -> bool {
    let total = attachment.disk.sectors();
    u64::try_from(address)
        .ok()
        .and_then(|address| address.checked_add(count.into()))
        .is_some_and(|end| end <= total)
}

/// One range of DATA SET MANAGEMENT (48 bits of address, 16 of count) is empty or on the disk.
/// Trimming drops nothing: reading old data back is what the standard allows, and QEMU's default.
fn trim_fits(range: &[u8], attachment: &Attachment) -> bool {
    let entry = range.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let (address, count) = (entry & 0xffff_ffff_ffff, (entry >> 48) as u32);
    count == 0 || in_range(address as i64, count, attachment)
}

/// Where sector `address` begins.
fn byte(address: i64) -> u64 {
    (address as u64).saturating_mul(SECTOR)
}
