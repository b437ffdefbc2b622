//! One AHCI port: its registers, and the drive's work on the guest's command list.

use super::fis::{self, Issued};
use crate::ide::ata::{ABRT, BSY, DRDY, DRQ, DSC, ERR};
use crate::ide::atapi::{PACKET, Sent};
use crate::ide::{Attachment, Bus, Channel, DriveKind, Host, Operation, Phase, Work};
use crate::{Effects, GuestMemory, Moment};
use serde::{Deserialize, Serialize};

/// PxIS bits (section 3.3.5).
pub(super) const DHRS: u32 = 1 << 0;
pub(super) const PSS: u32 = 1 << 1;
pub(super) const SDBS: u32 = 1 << 3;
pub(super) const OFS: u32 = 1 << 24;
pub(super) const TFES: u32 = 1 << 30;
/// What of PxIE can be set.
const IE_MASK: u32 = 0xfdc0_00ff;

/// PxCMD bits (section 3.3.7).
const ST: u32 = 1 << 0;
const SUD: u32 = 1 << 1;
const POD: u32 = 1 << 2;
const FRE: u32 = 1 << 4;
const FR: u32 = 1 << 14;
const CR: u32 = 1 << 15;
/// PxCMD bits the guest cannot set, and the interface state it asks for, which is reached at once.
const CMD_READ_ONLY: u32 = 0x007d_ffe0;
const ICC: u32 = 0xf000_0000;

/// PxSCTL: device detection.
const DET: u32 = 0x0f;
/// PxSSTS: a drive is there, generation 1, active.
const SSTS_PRESENT: u32 = 0x113;
const TFD_RESET: u32 = 0x7f;
/// Status of a disk and of a CD-ROM drive after a port reset, as QEMU has it.
const STATUS_DISK: u8 = 0x30;
const STATUS_CDROM: u8 = 0x70;

/// READ and WRITE FPDMA QUEUED.
const READ_QUEUED: u8 = 0x60;
const WRITE_QUEUED: u8 = 0x61;
/// NCQ NON-DATA, SEND and RECEIVE FPDMA QUEUED, which the drive does not take.
const OTHER_QUEUED: [u8; 3] = [0x63, 0x64, 0x65];
/// Commands in a list.
const SLOTS: u8 = 32;

/// Bytes of a packet command's answer that are moved at once: a disc may be read by one command.
const MOST_AT_ONCE: u64 = 4 << 20;

/// A queued command (NCQ) the drive has taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Queued {
    /// Its header.
    pub command: Issued,
    /// Its number, 0-31.
    pub tag: u8,
    /// First sector.
    pub address: i64,
    /// Sectors.
    pub count: u32,
    /// Data goes to the drive; `None` for a command the drive does not take.
    pub write: Option<bool>,
    /// When the drive has done it.
    pub due: Moment,
}

/// Registers of a port and what its drive does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// PxCLB and PxCLBU.
    pub command_list: u64,
    /// PxFB and PxFBU.
    pub receive_area: u64,
    /// PxIS.
    pub interrupt_status: u32,
    /// PxIE.
    pub interrupt_enable: u32,
    /// PxCMD.
    pub command: u32,
    /// PxTFD.
    pub task_file: u32,
    /// PxSIG.
    pub signature: u32,
    /// PxSCTL.
    pub control: u32,
    /// PxSERR.
    pub error: u32,
    /// PxSACT.
    pub active: u32,
    /// PxCI.
    pub issue: u32,
    /// The drive's first frame, with its signature, has been sent.
    pub signature_sent: bool,
    /// The guest has set SRST and not yet cleared it.
    pub resetting: bool,
    /// The command the drive works on.
    pub running: Option<Issued>,
    /// Queued commands, at most 32, in the order they came.
    pub queue: Vec<Queued>,
    /// The drive; it is the first of two, the other is never there.
    pub channel: Channel,
}

impl Default for Port {
    fn default() -> Port {
        Port {
            command_list: 0,
            receive_area: 0,
            interrupt_status: 0,
            interrupt_enable: 0,
            command: SUD | POD,
            task_file: TFD_RESET,
            signature: u32::MAX,
            control: 0,
            error: 0,
            active: 0,
            issue: 0,
            signature_sent: false,
            resetting: false,
            running: None,
            queue: Vec::new(),
            channel: Channel::default(),
        }
    }
}

impl Port {
    /// Reads the register at `offset`, a multiple of four below 80h.
    pub(super) fn read(&self, offset: u64, present: bool) -> Option<u32> {
        Some(match offset {
            0x00 => self.command_list as u32,
            0x04 => (self.command_list >> 32) as u32,
            0x08 => self.receive_area as u32,
            0x0c => (self.receive_area >> 32) as u32,
            0x10 => self.interrupt_status,
            0x14 => self.interrupt_enable,
            0x18 => self.command,
            0x20 => self.task_file,
            0x24 => self.signature,
            0x28 => u32::from(present) * SSTS_PRESENT,
            0x2c => self.control,
            0x30 => self.error,
            0x34 => self.active,
            0x38 => self.issue,
            _ => return None,
        })
    }

    /// Writes the register at `offset`; true when it can be written.
    pub(super) fn write(
        &mut self,
        offset: u64,
        value: u32,
        attached: &[Option<Attachment>; 2],
        fx: &mut Effects,
    ) -> bool {
        match offset {
            0x00 => self.command_list = self.command_list & !0xffff_ffff | u64::from(value),
            0x04 => self.command_list = self.command_list & 0xffff_ffff | u64::from(value) << 32,
            0x08 => self.receive_area = self.receive_area & !0xffff_ffff | u64::from(value),
            0x0c => self.receive_area = self.receive_area & 0xffff_ffff | u64::from(value) << 32,
            0x10 => self.interrupt_status &= !value,
            0x14 => self.interrupt_enable = value & IE_MASK,
            0x18 => self.write_command(value, fx),
            0x2c => {
                if self.control & DET == 1 && value & DET == 0 {
                    self.reset(attached, fx);
                    fx.service();
                }
                self.control = value;
            }
            0x30 => self.error &= !value,
            0x34 => self.active |= value,
            0x38 => {
                self.issue |= value;
                fx.service();
            }
            _ => return false,
        }
        true
    }

    /// PxCMD: starting and stopping the command list and the receiving of frames is over at once.
    fn write_command(&mut self, value: u32, fx: &mut Effects) {
        let kept = self.command & CMD_READ_ONLY & !(CR | FR);
        self.command = kept | value & !(CMD_READ_ONLY | ICC);
        if self.command & ST != 0 {
            self.command |= CR;
        } else {
            self.issue = 0;
            self.active = 0;
        }
        if self.command & FRE != 0 {
            self.command |= FR;
        }
        fx.service();
    }

    /// What HBA reset and the reset line do beyond a port reset.
    pub(super) fn reset_registers(&mut self) {
        self.interrupt_status = 0;
        self.interrupt_enable = 0;
        self.control = 0;
        self.command = SUD | POD;
        self.issue = 0;
        self.resetting = false;
    }

    /// A port reset (COMRESET), or the software reset by SRST: the drive starts anew.
    pub(super) fn reset(&mut self, attached: &[Option<Attachment>; 2], fx: &mut Effects) {
        self.error = 0;
        self.active = 0;
        self.task_file = TFD_RESET;
        self.signature = u32::MAX;
        self.signature_sent = false;
        self.resetting = false;
        if let Some(issued) = self.running.take() {
            self.issue &= !(1 << (issued.slot & 31));
        }
        self.queue.clear();
        self.bus(attached, fx).reset_channel();
        self.channel.interrupt = false;
        if let Some(attachment) = &attached[0] {
            let drive = &mut self.channel.drives[0];
            drive.error = 1;
            drive.status = match attachment.kind {
                DriveKind::HardDisk => STATUS_DISK,
                DriveKind::Cdrom => STATUS_CDROM,
            };
        }
    }

    fn bus<'a>(&'a mut self, attached: &'a [Option<Attachment>; 2], fx: &'a mut Effects) -> Bus<'a> {
        Bus { channel: &mut self.channel, attached, host: Host::Ahci, fx }
    }

    /// The drive is at work on a command.
    fn busy(&self) -> bool {
        self.channel.operation.is_some() || self.channel.drives[0].status & (BSY | DRQ) != 0
    }

    /// When the drive next has done something.
    pub(super) fn due(&self) -> Option<Moment> {
        let operation = self.channel.operation.and_then(|operation| operation.due);
        operation.into_iter().chain(self.queue.iter().map(|queued| queued.due)).min()
    }

    /// Moves every moment by `delta` nanoseconds.
    pub(super) fn shift_time(&mut self, delta: i64) {
        if let Some(Operation { due: Some(due), .. }) = &mut self.channel.operation {
            due.shift(delta);
        }
        for queued in &mut self.queue {
            queued.due.shift(delta);
        }
    }
}

/// A port with a drive, at work on guest memory.
pub(super) struct Worker<'a> {
    pub(super) port: &'a mut Port,
    pub(super) attached: &'a [Option<Attachment>; 2],
    pub(super) memory: &'a mut dyn GuestMemory,
    pub(super) fx: &'a mut Effects,
}

impl Worker<'_> {
    /// Does all that can be done now: each command of the list is looked at once at most, so that a
    /// list cannot keep us here.
    pub(super) fn work(&mut self) {
        self.send_signature();
        self.finish_due();
        self.finish_queued();
        for _ in 0..=SLOTS {
            if self.port.running.is_some() {
                if self.port.busy() {
                    return;
                }
                self.complete();
            }
            let Some(slot) = self.next_slot() else { return };
            self.begin(slot);
        }
    }

    /// The drive's first frame goes out as soon as the guest receives frames.
    fn send_signature(&mut self) {
        if self.port.signature_sent || self.attached[0].is_none() || self.port.command & FR == 0 {
            return;
        }
        self.port.signature_sent = true;
        self.send_registers();
        let drive = &self.port.channel.drives[0];
        let bytes = [drive.count as u8, drive.sector, drive.cylinder_low, drive.cylinder_high];
        self.port.signature = u32::from_le_bytes(bytes);
    }

    /// Writes a frame into the receive area; false when the guest receives none.
    fn receive(&mut self, offset: u64, frame: &[u8]) -> bool {
        let receives = self.port.command & FR != 0;
        if receives {
            self.memory.write((self.port.receive_area & !0xff).wrapping_add(offset), frame);
        }
        receives
    }

    fn send_registers(&mut self) {
        let frame = fis::device_to_host(&self.port.channel.drives[0]);
        if self.receive(fis::RECEIVE_D2H, &frame) {
            self.show_status(DHRS);
        }
    }

    fn send_pio_setup(&mut self, length: usize, interrupt: bool) {
        let frame = fis::pio_setup(&self.port.channel.drives[0], length, interrupt);
        if self.receive(fis::RECEIVE_PIO_SETUP, &frame) {
            self.show_status(if interrupt { PSS } else { 0 });
        }
    }

    /// Status and error have come with a frame.
    fn show_status(&mut self, cause: u32) {
        let drive = &self.port.channel.drives[0];
        self.port.task_file = u32::from(drive.error) << 8 | u32::from(drive.status);
        self.port.interrupt_status |= cause | if drive.status & ERR != 0 { TFES } else { 0 };
    }

    /// The lowest command that can be begun.
    fn next_slot(&self) -> Option<u8> {
        let ready = self.port.command & CR != 0 && self.attached[0].is_some() && !self.port.busy();
        (ready && self.port.issue != 0).then(|| self.port.issue.trailing_zeros() as u8)
    }

    fn begin(&mut self, slot: u8) {
        let issued = Issued::read(self.memory, self.port.command_list & !0x3ff, slot);
        let (frame, packet) = issued.command(self.memory);
        let addressed = frame[1] & 0x7f == 0;
        if frame[0] != fis::REGISTER_H2D || !addressed {
            self.fx.note("frame that is no command to the drive", frame[0].into(), frame[1].into());
            return self.port.issue &= !(1 << slot);
        }
        if frame[1] & 0x80 == 0 {
            return self.write_control(slot, frame[15]);
        }
        if matches!(frame[2], READ_QUEUED | WRITE_QUEUED) || OTHER_QUEUED.contains(&frame[2]) {
            return self.begin_queued(issued, &frame);
        }
        issued.commit(self.memory);
        self.port.running = Some(issued);
        fis::load(&mut self.port.channel.drives[0], &frame);
        self.port.bus(self.attached, self.fx).command(frame[2]);
        self.give_packet(packet);
        self.move_data();
    }

    /// A frame with the device control register: SRST, set and then cleared, resets the drive.
    fn write_control(&mut self, slot: u8, control: u8) {
        const SRST: u8 = 1 << 2;
        self.port.issue &= !(1 << slot);
        if control & SRST != 0 {
            self.port.resetting = true;
        } else if self.port.resetting {
            let issue = self.port.issue;
            self.port.reset(self.attached, self.fx);
            self.port.issue = issue;
            self.send_signature();
        }
    }

    /// PACKET asks for twelve bytes, which the command table holds already.
    fn give_packet(&mut self, packet: [u8; PACKET]) {
        let atapi = self.port.running.is_some_and(|issued| issued.atapi);
        if !atapi || self.port.channel.drives[0].phase != Phase::Packet {
            return;
        }
        self.send_pio_setup(PACKET, false);
        if let Some(issued) = &mut self.port.running {
            issued.first_block_done = true;
        }
        let drive = &mut self.port.channel.drives[0];
        drive.buffer = packet.to_vec();
        drive.position = drive.end;
        self.port.bus(self.attached, self.fx).moved();
    }

    /// Moves what would go through the data register, block after block, as long as the drive has
    /// or wants some.
    fn move_data(&mut self) {
        let Some(mut issued) = self.port.running else { return };
        let mut scatter = None;
        loop {
            let drive = &mut self.port.channel.drives[0];
            let length = drive.end.saturating_sub(drive.position);
            let into_drive = drive.phase == Phase::WriteSectors;
            let wanted =
                into_drive || matches!(drive.phase, Phase::Reply | Phase::ReadSectors | Phase::PacketReply);
            // An empty block would never end.
            if drive.status & DRQ == 0 || self.port.channel.operation.is_some() || !wanted || length == 0 {
                break;
            }
            let interrupt = issued.first_block_done || !into_drive;
            self.send_pio_setup(length, interrupt);
            let scatter = scatter.get_or_insert_with(|| issued.scatter(self.memory));
            let drive = &mut self.port.channel.drives[0];
            match scatter.part(issued.moved, length) {
                Some(segments) => {
                    let mut at = drive.position;
                    for segment in segments {
                        if let Some(bytes) = drive.buffer.get_mut(at..at + segment.length) {
                            if into_drive {
                                self.memory.read(segment.address, bytes);
                            } else {
                                self.memory.write(segment.address, bytes);
                            }
                        }
                        at += segment.length;
                    }
                    issued.moved += length as u64;
                }
                // Too few descriptors: the data is lost.
                None => self.port.interrupt_status |= OFS,
            }
            drive.position = drive.end;
            issued.first_block_done = true;
            self.port.bus(self.attached, self.fx).moved();
        }
        self.port.running = Some(issued);
    }

    /// The drive has done what it took time for.
    fn finish_due(&mut self) {
        let Some(Operation { work, due: Some(due) }) = self.port.channel.operation else { return };
        if due > self.fx.now() {
            return;
        }
        if work.needs_memory() {
            self.port.channel.operation = None;
            self.finish_dma(work);
        } else {
            self.port.bus(self.attached, self.fx).finish();
        }
        self.move_data();
    }

    fn finish_dma(&mut self, work: Work) {
        let (Some(mut issued), Some(attachment)) = (self.port.running, &self.attached[0]) else { return };
        let scatter = issued.scatter(self.memory);
        let drive = &mut self.port.channel.drives[0];
        if work == Work::PacketDma {
            let mut next = |_: &mut dyn GuestMemory, limit: usize| {
                let segment = scatter.at(issued.moved, limit)?;
                issued.moved += segment.length as u64;
                Some(segment)
            };
            let sent = drive.send_answer(attachment, self.memory, MOST_AT_ONCE, &mut next);
            if sent == Sent::Part {
                let due = Some(attachment.disk.done_at(self.fx.now()));
                self.port.channel.operation = Some(Operation { work, due });
            } else {
                if sent == Sent::Short {
                    self.port.interrupt_status |= OFS;
                }
                self.port.bus(self.attached, self.fx).packet_sent(sent);
            }
        } else {
            let bytes = drive.dma_bytes();
            match scatter.part(0, bytes) {
                Some(segments) => {
                    if drive.finish_dma(work, attachment, &segments, self.memory) {
                        issued.moved = bytes as u64;
                    }
                }
                // Too few descriptors: the command ends and has moved nothing, as on QEMU.
                None => drive.status = DRDY | DSC,
            }
        }
        self.port.running = Some(issued);
    }

    /// The running command is over.
    fn complete(&mut self) {
        let Some(issued) = self.port.running.take() else { return };
        issued.commit(self.memory);
        self.port.channel.interrupt = false;
        self.port.issue &= !(1 << (issued.slot & 31));
        self.send_registers();
    }

    /// Queued commands leave the list at once; the drive works on them side by side.
    fn begin_queued(&mut self, issued: Issued, frame: &[u8; 20]) {
        self.port.issue &= !(1 << (issued.slot & 31));
        let tag = frame[12] >> 3;
        let Some(attachment) = &self.attached[0] else { return };
        if self.port.queue.iter().any(|queued| queued.tag == tag) {
            return self.fx.note("queued command with a tag in use", tag.into(), 0);
        }
        let address = [frame[4], frame[5], frame[6], frame[8], frame[9], frame[10]];
        let count = u32::from(frame[11]) << 8 | u32::from(frame[3]);
        self.port.queue.push(Queued {
            command: issued,
            tag,
            address: address.iter().rev().fold(0, |value, byte| value << 8 | i64::from(*byte)),
            count: if count == 0 { 0x1_0000 } else { count },
            write: match (attachment.kind, frame[2]) {
                (DriveKind::HardDisk, READ_QUEUED) => Some(false),
                (DriveKind::HardDisk, WRITE_QUEUED) => Some(true),
                _ => None,
            },
            due: attachment.disk.done_at(self.fx.now()),
        });
    }

    fn finish_queued(&mut self) {
        let now = self.fx.now();
        let (done, waiting) =
            std::mem::take(&mut self.port.queue).into_iter().partition(|queued| queued.due <= now);
        self.port.queue = waiting;
        let done: Vec<Queued> = done;
        for queued in done {
            self.finish_queued_command(queued);
        }
    }

    fn finish_queued_command(&mut self, mut queued: Queued) {
        let Some(attachment) = &self.attached[0] else { return };
        let bytes = queued.count as usize * 512;
        let segments = queued.command.scatter(self.memory).part(0, bytes);
        if segments.is_none() {
            self.port.interrupt_status |= OFS;
        }
        let drive = &mut self.port.channel.drives[0];
        let moved = match (queued.write, segments) {
            (Some(write), Some(segments)) => {
                let work = if write { Work::WriteDma } else { Work::ReadDma };
                drive.move_sectors(work, attachment, (queued.address, queued.count), &segments, self.memory)
            }
            _ => false,
        };
        let tag = 1 << (queued.tag & 31);
        let finished = if moved {
            queued.command.moved = bytes as u64;
            (drive.error, drive.status) = (0, DRDY | DSC);
            tag
        } else {
            (drive.error, drive.status) = (ABRT, DRDY | ERR);
            self.port.error |= tag;
            0
        };
        queued.command.commit(self.memory);
        let frame = fis::set_device_bits(&self.port.channel.drives[0], finished);
        if self.receive(fis::RECEIVE_SET_DEVICE_BITS, &frame) {
            self.show_status(SDBS);
            self.port.active &= !finished;
        }
    }
}
