//! ATAPI packet commands of a CD-ROM or DVD-ROM drive.
//!
//! SFF-8020i and MMC-3 (T10 1363-D). Sense codes and data are those of QEMU 7.2's drive.

use super::ata::{ABRT, BSY, DRDY, DRQ, DSC, ERR};
use super::bus_master::{Segment, Walk};
use super::{Attachment, Bus, Channel, Drive, Phase, Work, identify};
use crate::GuestMemory;
use serde::{Deserialize, Serialize};

/// Interrupt reason, in the sector count register: the transfer is a command packet or status.
const COMMAND_OR_DATA: u32 = 1;
/// Interrupt reason: the transfer is to the host.
const TO_HOST: u32 = 2;
/// Bytes of a command packet.
pub(crate) const PACKET: usize = 12;
/// Bytes of a block.
const BLOCK: usize = 2048;
/// Bytes of a block with its header and error correction.
const RAW_BLOCK: usize = 2352;
/// 512-byte sectors of the largest CD (80 minutes); what is larger is a DVD.
const LARGEST_CD: u64 = 80 * 60 * 75 * 4;

/// Sense keys (MMC-3 table A.1).
mod key {
    pub(super) const NO_SENSE: u8 = 0;
    pub(super) const NOT_READY: u8 = 2;
    pub(super) const ILLEGAL_REQUEST: u8 = 5;
    pub(super) const UNIT_ATTENTION: u8 = 6;
}

/// Additional sense codes.
mod code {
    pub(super) const ILLEGAL_OPCODE: u8 = 0x20;
    pub(super) const BLOCK_OUT_OF_RANGE: u8 = 0x21;
    pub(super) const INVALID_FIELD: u8 = 0x24;
    pub(super) const MEDIUM_MAY_HAVE_CHANGED: u8 = 0x28;
    pub(super) const INCOMPATIBLE_FORMAT: u8 = 0x30;
    pub(super) const SAVING_NOT_SUPPORTED: u8 = 0x39;
    pub(super) const MEDIUM_NOT_PRESENT: u8 = 0x3a;
    pub(super) const DATA_PHASE_ERROR: u8 = 0x4b;
    pub(super) const REMOVAL_PREVENTED: u8 = 0x53;
}

/// Whether the guest has yet to be told of a new medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum MediumChange {
    /// Nothing to tell.
    #[default]
    None,
    /// First it must see the drive empty.
    Removed,
    /// Then that a medium may have come.
    Inserted,
}

/// What a packet drive has beside the ATA registers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Packet {
    /// Sense key of the last error.
    pub sense_key: u8,
    /// Additional sense code of the last error.
    pub sense_code: u8,
    /// The tray is out.
    pub tray_open: bool,
    /// The guest has locked the tray.
    pub tray_locked: bool,
    /// A medium change the guest does not know of.
    pub change: MediumChange,
    /// GET EVENT STATUS has to report a new medium.
    pub new_medium: bool,
    /// The command asked for its data by bus master.
    pub dma: bool,
    /// Next block to read; `None` when the whole answer is in the buffer.
    pub block: Option<u32>,
    /// Bytes per block read, 2048 or 2352.
    pub block_bytes: u32,
    /// Bytes of the answer not yet offered.
    pub remaining: u64,
    /// Bytes of the current piece (at most the byte count limit) not yet offered.
    pub piece: u32,
}

impl Packet {
    /// What every reset does: no sense, no lock, tray in.
    pub(super) fn reset(&mut self) {
        *self = Packet { new_medium: self.new_medium, ..Packet::default() };
    }
}

/// How sending an answer by DMA ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// The guest has all of it.
    All,
    /// The guest has as much as is sent at once, and more is to come.
    Part,
    /// Its descriptors were too short.
    Short,
    /// The medium could not be read.
    Unreadable,
}

/// What to check before a packet command runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rules {
    /// Runs in spite of a unit attention.
    attention: bool,
    /// Needs a medium.
    medium: bool,
    /// Transfers data always, so that a byte count limit of zero is an error.
    data: bool,
}

fn rules(operation: u8) -> Option<Rules> {
    let rules = |attention, medium, data| Some(Rules { attention, medium, data });
    match operation {
        0x00 | 0x2b => rules(false, true, false), // TEST UNIT READY, SEEK
        0x03 | 0x12 | 0x46 | 0x4a => rules(true, false, true), // REQUEST SENSE, INQUIRY, GET CONFIGURATION, GET EVENT STATUS
        0x1b | 0x1e | 0xbb => rules(false, false, false),      // START STOP UNIT, PREVENT ALLOW, SET CD SPEED
        // READ CAPACITY, READ(10), READ TOC, READ DISC INFORMATION, READ(12), READ DVD STRUCTURE
        0x25 | 0x28 | 0x43 | 0x51 | 0xa8 | 0xad => rules(false, true, true),
        0x5a | 0xbd => rules(false, false, true), // MODE SENSE(10), MECHANISM STATUS
        0xbe => rules(false, true, false),        // READ CD checks the limit itself
        _ => None,
    }
}

/// Blocks of the medium.
fn blocks(attachment: &Attachment) -> u64 {
    attachment.disk.sectors() / 4
}

fn be16(bytes: &[u8], at: usize) -> u32 {
    u32::from(byte(bytes, at)) << 8 | u32::from(byte(bytes, at + 1))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    be16(bytes, at) << 16 | be16(bytes, at + 2)
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Minutes, seconds and frames of a block.
fn minutes(block: u64) -> [u8; 3] {
    let frame = block + 150;
    [(frame / 75 / 60) as u8, (frame / 75 % 60) as u8, (frame % 75) as u8]
}

/// An address as READ TOC gives it, in either form.
fn address(block: u64, msf: bool) -> [u8; 4] {
    if msf {
        let [minute, second, frame] = minutes(block);
        [0, minute, second, frame]
    } else {
        (block as u32).to_be_bytes()
    }
}

fn padded(text: &str, length: usize) -> Vec<u8> {
    text.bytes().chain(std::iter::repeat(b' ')).take(length).collect()
}

impl Drive {
    /// The byte count limit the guest put into the cylinder registers.
    fn byte_count_limit(&self) -> u32 {
        match u32::from(self.cylinder_high) << 8 | u32::from(self.cylinder_low) {
            0xffff => 0xfffe,
            limit => limit,
        }
    }

    fn reason(&mut self, reason: u32) {
        self.count = self.count & !7 | reason;
    }
}

impl Bus<'_> {
    /// PACKET: asks for the twelve bytes of the command.
    pub(super) fn packet(&mut self) -> super::ata::Outcome {
        let drive = self.drive();
        if drive.feature & 2 != 0 {
            drive.abort(); // no overlapped commands
            return super::ata::Outcome::Complete;
        }
        drive.status = DRDY | DSC;
        drive.packet.dma = drive.feature & 1 != 0;
        drive.count = COMMAND_OR_DATA;
        drive.offer(vec![0; PACKET], Phase::Packet);
        super::ata::Outcome::Handled
    }

    fn medium(&mut self) -> Option<&Attachment> {
        let open = self.drive().packet.tray_open;
        self.attached().filter(|attachment| !open && attachment.disk.sectors() > 0)
    }

    /// The packet is complete: checks it against the drive's state and runs it.
    pub(super) fn run_packet(&mut self) {
        let packet = std::mem::take(&mut self.drive().buffer);
        let operation = byte(&packet, 0);
        let rules = rules(operation);
        let attention = rules.is_some_and(|rules| rules.attention);
        let present = self.medium().is_some();
        let drive = self.drive();
        if drive.packet.sense_key == key::UNIT_ATTENTION && !attention {
            drive.stop();
            drive.error = key::UNIT_ATTENTION << 4 | 8; // media change requested
            drive.status = ERR;
            drive.count = 0;
            return self.raise();
        }
        if !attention && !drive.packet.tray_open && drive.packet.change != MediumChange::None {
            return if drive.packet.change == MediumChange::Removed {
                drive.packet.change = MediumChange::Inserted;
                self.fail(key::NOT_READY, code::MEDIUM_NOT_PRESENT);
            } else {
                drive.packet.change = MediumChange::None;
                self.fail(key::UNIT_ATTENTION, code::MEDIUM_MAY_HAVE_CHANGED);
            };
        }
        let Some(rules) = rules else {
            return self.fail(key::ILLEGAL_REQUEST, code::ILLEGAL_OPCODE);
        };
        if rules.medium && !present {
            return self.fail(key::NOT_READY, code::MEDIUM_NOT_PRESENT);
        }
        if rules.data && !self.limit_fits() {
            return;
        }
        self.dispatch(operation, &packet);
    }

    /// A PIO transfer needs a byte count limit; without one the command aborts as an ATA command
    /// does, and, like QEMU's, without an interrupt.
    fn limit_fits(&mut self) -> bool {
        let drive = self.drive();
        let fits = drive.packet.dma || drive.byte_count_limit() != 0;
        if !fits {
            drive.abort();
            debug_assert_eq!(drive.error, ABRT);
        }
        fits
    }

    fn dispatch(&mut self, operation: u8, packet: &[u8]) {
        let limit = be16(packet, 7) as usize;
        match operation {
            0x00 | 0xbb => self.succeed(),
            0x03 => {
                let mut data = vec![0; 18];
                let sense = &mut self.drive().packet;
                (data[0], data[2], data[7], data[12]) = (0xf0, sense.sense_key, 10, sense.sense_code);
                if sense.sense_key == key::UNIT_ATTENTION {
                    sense.sense_key = key::NO_SENSE;
                }
                self.answer(data, byte(packet, 4).into());
            }
            0x12 => self.inquiry(packet),
            0x1b => self.start_stop(byte(packet, 4)),
            0x1e => {
                self.drive().packet.tray_locked = byte(packet, 4) & 1 != 0;
                self.succeed();
            }
            0x25 => {
                let last = self.blocks().wrapping_sub(1) as u32;
                let data = [last.to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat();
                self.answer(data, 8);
            }
            0x28 => self.read(be32(packet, 2), be16(packet, 7), BLOCK),
            0xa8 => self.read(be32(packet, 2), be32(packet, 6), BLOCK),
            0x2b => {
                if u64::from(be32(packet, 2)) < self.blocks() {
                    self.succeed();
                } else {
                    self.fail(key::ILLEGAL_REQUEST, code::BLOCK_OUT_OF_RANGE);
                }
            }
            0x43 => self.read_toc(packet, limit),
            0x46 => self.get_configuration(packet, limit),
            0x4a => self.get_event_status(packet, limit),
            0x51 if byte(packet, 1) & 7 == 0 => {
                let mut data = vec![0; 34];
                // complete, finalised disc of one session and one track, unrestricted use
                data[1..8].copy_from_slice(&[32, 0x0e, 1, 1, 1, 1, 0x20]);
                self.answer(data, limit);
            }
            0x5a => self.mode_sense(byte(packet, 2), limit),
            0xad => self.read_dvd_structure(packet),
            0xbd => self.answer(vec![0, 0, 0, 0, 0, 1, 0, 0], be16(packet, 8) as usize),
            0xbe => self.read_cd(packet),
            _ => self.fail(key::ILLEGAL_REQUEST, code::INVALID_FIELD),
        }
    }

    fn blocks(&self) -> u64 {
        self.attached().map_or(0, blocks)
    }

    // How commands end.

    fn succeed(&mut self) {
        let drive = self.drive();
        drive.error = 0;
        drive.status = DRDY | DSC;
        drive.reason(COMMAND_OR_DATA | TO_HOST);
        drive.stop();
        self.raise();
    }

    fn fail(&mut self, sense_key: u8, sense_code: u8) {
        let drive = self.drive();
        drive.error = sense_key << 4;
        drive.status = DRDY | ERR;
        drive.reason(COMMAND_OR_DATA | TO_HOST);
        (drive.packet.sense_key, drive.packet.sense_code) = (sense_key, sense_code);
        drive.stop();
        self.raise();
    }

    /// Sends at most `limit` bytes of `data`.
    fn answer(&mut self, mut data: Vec<u8>, limit: usize) {
        data.truncate(limit);
        let drive = self.drive();
        drive.packet.block = None;
        drive.packet.remaining = data.len() as u64;
        drive.packet.piece = 0;
        drive.status = DRDY | DSC;
        drive.buffer = data;
        drive.end = 0;
        if drive.packet.dma {
            drive.status |= DRQ;
            self.begin_dma_work(Work::PacketDma);
        } else {
            self.next_piece();
        }
    }

    /// Reads `count` blocks from `first`.
    fn read(&mut self, first: u32, count: u32, block_bytes: usize) {
        if count == 0 {
            return self.succeed();
        }
        let end = u64::from(first) + u64::from(count);
        if end > self.blocks() {
            return self.fail(key::ILLEGAL_REQUEST, code::BLOCK_OUT_OF_RANGE);
        }
        let drive = self.drive();
        drive.packet.block = Some(first);
        drive.packet.block_bytes = block_bytes as u32;
        drive.packet.remaining = u64::from(count) * block_bytes as u64;
        drive.packet.piece = 0;
        drive.buffer.clear();
        drive.end = 0;
        if drive.packet.dma {
            drive.status = DRDY | DSC | DRQ | BSY;
            self.begin_dma_work(Work::PacketDma);
        } else {
            self.next_piece();
        }
    }

    /// Offers the next bytes of the answer, begins to read the next block, or ends the command.
    pub(super) fn next_piece(&mut self) {
        let attached = self.attached();
        let drive = self.drive();
        if drive.packet.remaining == 0 {
            return self.succeed();
        }
        if drive.packet.block.is_some() && drive.end >= drive.buffer.len() {
            if drive.packet.piece == 0 {
                return match attached {
                    Some(attachment) => self.begin(Work::ReadBlock, attachment),
                    None => self.fail(key::NOT_READY, code::MEDIUM_NOT_PRESENT),
                };
            }
            // Within one piece the guest does not look at the status: no wait is possible.
            if !attached.is_some_and(|attachment| drive.load_block(attachment)) {
                return self.fail(key::ILLEGAL_REQUEST, code::BLOCK_OUT_OF_RANGE);
            }
        }
        if drive.packet.piece == 0 {
            let limit = u64::from(drive.byte_count_limit());
            let piece = if drive.packet.remaining > limit { limit & !1 } else { drive.packet.remaining };
            drive.reason(TO_HOST);
            drive.cylinder_low = piece as u8;
            drive.cylinder_high = (piece >> 8) as u8;
            drive.packet.piece = piece as u32;
            self.raise();
        }
        let drive = self.drive();
        let length = drive.buffer.len().saturating_sub(drive.end).min(drive.packet.piece as usize);
        drive.position = drive.end;
        drive.end += length;
        drive.packet.remaining = drive.packet.remaining.saturating_sub(length as u64);
        drive.packet.piece -= length as u32;
        drive.phase = Phase::PacketReply;
        drive.status |= DRQ;
    }

    /// The disc has delivered the block READ waited for.
    pub(super) fn finish_packet_read(&mut self, attachment: &Attachment) {
        let drive = self.drive();
        if drive.load_block(attachment) {
            drive.status &= !BSY;
            self.next_piece();
        } else {
            self.fail(key::ILLEGAL_REQUEST, code::BLOCK_OUT_OF_RANGE);
        }
    }

    /// Sends the whole answer by bus master. When the descriptors end first, ACTIVE clears and the
    /// drive stays as it is, waiting for more that never comes.
    pub(super) fn run_packet_dma(&mut self, attachment: &Attachment, memory: &mut dyn GuestMemory) {
        let Channel { bus_master, drives, selected, .. } = &mut *self.channel;
        let mut walk = Walk::new(bus_master);
        let drive = &mut drives[usize::from(*selected & 1)];
        let mut next = |memory: &mut dyn GuestMemory, limit: usize| walk.next(bus_master, memory, limit);
        // What the descriptors of one walk can take is bounded already.
        let sent = drive.send_answer(attachment, memory, u64::MAX, &mut next);
        self.channel.bus_master.set_active(false);
        match sent {
            Sent::Short | Sent::Part => {}
            Sent::All | Sent::Unreadable => self.packet_sent(sent),
        }
    }

    /// Ends a packet command whose answer went by DMA.
    pub(crate) fn packet_sent(&mut self, sent: Sent) {
        if sent == Sent::Unreadable {
            return self.fail(key::ILLEGAL_REQUEST, code::BLOCK_OUT_OF_RANGE);
        }
        let drive = self.drive();
        drive.stop();
        drive.status = DRDY | DSC;
        drive.reason(COMMAND_OR_DATA | TO_HOST);
        self.raise();
    }

    // Commands.

    fn inquiry(&mut self, packet: &[u8]) {
        let limit = usize::from(byte(packet, 4));
        let Some(attachment) = self.attached() else { return };
        if byte(packet, 1) & 1 == 0 {
            let mut data = vec![0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0]; // CD-ROM, removable, ATAPI
            data.extend(padded("QEMU", 8));
            data.extend(padded(attachment.model(), 16));
            data.extend(padded(identify::FIRMWARE, 4));
            return self.answer(data, limit);
        }
        // Vital product data (SPC-3 section 7.6).
        let page = byte(packet, 2);
        let mut data = vec![0x05, page, 0, 0];
        match page {
            0x00 => data.extend([0x00, 0x83]),
            0x83 if limit < 4 + 24 => {
                return self.fail(key::ILLEGAL_REQUEST, code::DATA_PHASE_ERROR);
            }
            0x83 => {
                data.extend([2, 0, 0, 20]);
                data.extend(padded(&attachment.serial, 20));
                if limit >= 4 + 24 + 72 {
                    data.extend([2, 1, 0, 68]);
                    data.extend(padded("ATA", 8));
                    data.extend(padded(attachment.model(), 40));
                    data.extend(padded(&attachment.serial, 20));
                }
            }
            _ => return self.fail(key::ILLEGAL_REQUEST, code::INVALID_FIELD),
        }
        data[3] = (data.len() - 4) as u8;
        self.answer(data, limit);
    }

    fn start_stop(&mut self, flags: u8) {
        let (start, load_eject, power) = (flags & 1 != 0, flags & 2 != 0, flags & 0xf0);
        if power == 0 && load_eject {
            let packet = &mut self.drive().packet;
            if !start && !packet.tray_open && packet.tray_locked {
                return self.fail(key::NOT_READY, code::REMOVAL_PREVENTED);
            }
            packet.tray_open = !start;
        }
        self.succeed();
    }

    fn read_toc(&mut self, packet: &[u8], limit: usize) {
        let (msf, track, end) = (byte(packet, 1) & 2 != 0, byte(packet, 6), self.blocks());
        let mut data = vec![0, 0, 1, 1];
        match byte(packet, 9) >> 6 {
            // one data track and the lead-out
            0 if track <= 1 || track == 0xaa => {
                if track <= 1 {
                    data.extend([0, 0x14, 1, 0]);
                    data.extend(address(0, msf));
                }
                data.extend([0, 0x16, 0xaa, 0]);
                data.extend(address(end, msf));
            }
            // one session
            1 => data.extend([0; 8]),
            // the same in the form of the lead-in
            2 => {
                let entries = [
                    (0xa0, [0, 1, 0, 0]),
                    (0xa1, [0, 1, 0, 0]),
                    (0xa2, address(end, msf)),
                    (1, address(0, msf)),
                ];
                for (point, place) in entries {
                    data.extend([1, 0x14, 0, point, 0, 0, 0]);
                    data.extend(place);
                }
            }
            _ => return self.fail(key::ILLEGAL_REQUEST, code::INVALID_FIELD),
        }
        let length = (data.len() - 2) as u16;
        data[..2].copy_from_slice(&length.to_be_bytes());
        self.answer(data, limit);
    }

    fn get_configuration(&mut self, packet: &[u8], limit: usize) {
        const DVD_ROM: u16 = 0x10;
        const CD_ROM: u16 = 0x08;
        if be16(packet, 2) != 0 {
            return self.fail(key::ILLEGAL_REQUEST, code::INVALID_FIELD);
        }
        let current = match self.medium().map(|attachment| attachment.disk.sectors()) {
            Some(sectors) if sectors > LARGEST_CD => DVD_ROM,
            Some(_) => CD_ROM,
            None => 0,
        };
        let mut data = vec![0, 0, 0, 16, 0, 0];
        data.extend(current.to_be_bytes());
        data.extend([0, 0, 3, 8]); // feature 0, the profile list: persistent and current
        for profile in [DVD_ROM, CD_ROM] {
            data.extend(profile.to_be_bytes());
            data.extend([u8::from(profile == current), 0]);
        }
        self.answer(data, limit);
    }

    fn get_event_status(&mut self, packet: &[u8], limit: usize) {
        const MEDIA: u8 = 4;
        if byte(packet, 1) & 1 == 0 {
            return self.fail(key::ILLEGAL_REQUEST, code::INVALID_FIELD); // polling only
        }
        if byte(packet, 4) & 1 << MEDIA == 0 {
            return self.answer(vec![0, 0, 0x80, 1 << MEDIA], limit);
        }
        let state = &mut self.drive().packet;
        let event = if state.tray_open { 0 } else { 2 * u8::from(std::mem::take(&mut state.new_medium)) };
        let status = if state.tray_open { 1 } else { 2 };
        self.answer(vec![0, 4, MEDIA, 1 << MEDIA, event, status, 0, 0], limit);
    }

    fn mode_sense(&mut self, page: u8, limit: usize) {
        match page >> 6 {
            0 => {}
            3 => return self.fail(key::ILLEGAL_REQUEST, code::SAVING_NOT_SUPPORTED),
            _ => return self.fail(key::ILLEGAL_REQUEST, code::INVALID_FIELD),
        }
        let locked = if self.drive().packet.tray_locked { 0x02 } else { 0 };
        let parameters: &[u8] = match page & 0x3f {
            0x01 => &[0x01, 6, 0, 5, 0, 0, 0, 0], // error recovery: five retries
            0x0e => &[0x0e, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // audio control
            // capabilities: reads what it can, locks and ejects, 512 KiB of buffer, speed 704 KB/s
            0x2a => &[
                0x2a,
                20,
                0x3b,
                0,
                0x71,
                0x60,
                0x29 | locked,
                0,
                0x02,
                0xc0,
                0,
                2,
                0x02,
                0,
                0x02,
                0xc0,
                0,
                0,
                0,
                0,
                0,
                0,
            ],
            _ => return self.fail(key::ILLEGAL_REQUEST, code::INVALID_FIELD),
        };
        let mut data = vec![0, 6 + parameters.len() as u8, 0x70, 0, 0, 0, 0, 0]; // door closed, no disc type
        data.extend(parameters);
        self.answer(data, limit);
    }

    fn read_cd(&mut self, packet: &[u8]) {
        let count = be32(packet, 5) & 0x00ff_ffff;
        let wanted = byte(packet, 9) & 0xf8;
        let first = be32(packet, 2);
        if count != 0 && u64::from(first) + u64::from(count) > self.blocks() {
            return self.fail(key::ILLEGAL_REQUEST, code::BLOCK_OUT_OF_RANGE);
        }
        if count == 0 || wanted == 0 {
            return self.succeed();
        }
        if !self.limit_fits() {
            return;
        }
        match wanted {
            0x10 => self.read(first, count, BLOCK),
            0xf8 => self.read(first, count, RAW_BLOCK),
            _ => self.fail(key::ILLEGAL_REQUEST, code::INVALID_FIELD),
        }
    }

    fn read_dvd_structure(&mut self, packet: &[u8]) {
        let (media, layer, format, limit) =
            (byte(packet, 1), byte(packet, 6), byte(packet, 7), be16(packet, 8) as usize);
        let dvd = self.attached().is_some_and(|attachment| attachment.disk.sectors() > LARGEST_CD);
        if format < 0xff && !dvd {
            return self.fail(key::ILLEGAL_REQUEST, code::INCOMPATIBLE_FORMAT);
        }
        let last = (self.blocks().saturating_sub(1) as u32).to_be_bytes();
        let mut data = vec![0; 4];
        match (media, format, layer) {
            (0, 0x00, 0) => {
                data.extend([1, 0x0f, 1, 0, 0, 0, 0, 0]); // DVD-ROM, 120 mm, one layer
                data.extend(last);
                data.extend(last);
                data.resize(BLOCK + 4, 0);
            }
            (0, 0x01, _) => data.extend([0; 4]), // no copyright, no region
            (0, 0x04, _) => data.resize(BLOCK + 4, 0),
            (0, 0xff, _) => {
                for (format, length) in [(0, BLOCK + 4), (1, 8), (3, 192), (4, BLOCK + 4)] {
                    data.extend([format, 0x40]);
                    data.extend((length as u16).to_be_bytes());
                }
            }
            _ => return self.fail(key::ILLEGAL_REQUEST, code::INVALID_FIELD),
        }
        let length = (data.len() - 2) as u16;
        data[..2].copy_from_slice(&length.to_be_bytes());
        self.answer(data, limit);
    }
}

impl Drive {
    /// Sends the rest of a packet command's answer, about `most` bytes at once, into the stretches of memory that
    /// `next` gives, each at most as long as it is told.
    pub(crate) fn send_answer(
        &mut self,
        attachment: &Attachment,
        memory: &mut dyn GuestMemory,
        most: u64,
        next: &mut dyn FnMut(&mut dyn GuestMemory, usize) -> Option<Segment>,
    ) -> Sent {
        let end = self.packet.remaining.saturating_sub(most);
        while self.packet.remaining != 0 {
            if end != 0 && self.packet.remaining <= end {
                return Sent::Part;
            }
            if self.packet.block.is_some() && !self.load_block(attachment) {
                return Sent::Unreadable;
            }
            let mut data = self.buffer.as_slice();
            while !data.is_empty() {
                let Some(segment) = next(memory, data.len()) else { return Sent::Short };
                let (part, behind) = data.split_at(segment.length.min(data.len()));
                memory.write(segment.address, part);
                data = behind;
            }
            self.packet.remaining = match self.packet.block {
                Some(_) => self.packet.remaining.saturating_sub(self.buffer.len() as u64),
                None => 0, // an answer that is in the buffer goes in one piece
            };
        }
        Sent::All
    }

    /// Reads the next block into the buffer; false if the image cannot be read.
    fn load_block(&mut self, attachment: &Attachment) -> bool {
        let Some(block) = self.packet.block else { return false };
        let mut data = vec![0; BLOCK];
        if attachment.disk.read(&self.overlay, u64::from(block) * BLOCK as u64, &mut data).is_err() {
            return false;
        }
        if self.packet.block_bytes as usize == RAW_BLOCK {
            // sync, address and mode 1 before the data; error correction, which is zero, behind it
            let mut raw = vec![0xff; 12];
            (raw[0], raw[11]) = (0, 0);
            raw.extend(minutes(block.into()));
            raw.push(1);
            raw.append(&mut data);
            raw.resize(RAW_BLOCK, 0);
            data = raw;
        }
        self.buffer = data;
        self.end = 0;
        self.position = 0;
        self.packet.block = Some(block.wrapping_add(1));
        true
    }
}
