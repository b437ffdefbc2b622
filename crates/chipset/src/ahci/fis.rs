//! Frames a drive and an AHCI port exchange, and the guest's lists of memory that go with them.
//!
//! Serial ATA AHCI 1.0, sections 3.2, 4.2 and 10.3; Serial ATA 2.6, section 10.3 (frames).

use crate::GuestMemory;
use crate::ide::Drive;
use crate::ide::bus_master::Segment;

/// Register, host to device.
pub(super) const REGISTER_H2D: u8 = 0x27;
const REGISTER_D2H: u8 = 0x34;
const PIO_SETUP: u8 = 0x5f;
const SET_DEVICE_BITS: u8 = 0xa1;

/// Where the guest's receive area has each frame.
pub(super) const RECEIVE_PIO_SETUP: u64 = 0x20;
pub(super) const RECEIVE_D2H: u64 = 0x40;
pub(super) const RECEIVE_SET_DEVICE_BITS: u64 = 0x58;

/// Frame byte 1: an interrupt is wanted.
const INTERRUPT: u8 = 1 << 6;

/// Bytes of a command table before its descriptors.
const COMMAND_TABLE: u64 = 0x80;
/// Where in it the packet is.
const PACKET_AT: usize = 0x40;
/// Command header: the packet is there, and data goes to the drive.
const ATAPI: u16 = 1 << 5;

/// One command of a port's list, as far as it must be remembered while it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Issued {
    /// Slot in the list, 0-31.
    pub slot: u8,
    /// Address of the command header, whose byte count is updated.
    pub header: u64,
    /// Address of the command table.
    pub table: u64,
    /// Length of its descriptor table.
    pub descriptors: u16,
    /// The command table holds a packet.
    pub atapi: bool,
    /// Bytes moved so far.
    pub moved: u64,
    /// The first data block has gone: from then on both directions interrupt.
    pub first_block_done: bool,
}

impl Issued {
    /// Reads the header of `slot` from the command list at `list`.
    pub(super) fn read(memory: &mut dyn GuestMemory, list: u64, slot: u8) -> Issued {
        let header = list.wrapping_add(32 * u64::from(slot));
        let mut bytes = [0; 16];
        memory.read(header, &mut bytes);
        let [a, b, c, d, ..] = bytes;
        let (flags, descriptors) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        let table = u64::from_le_bytes([
            bytes[8] & 0x80,
            bytes[9],
            bytes[10],
            bytes[11],
            bytes[12],
            bytes[13],
            bytes[14],
            bytes[15],
        ]);
        Issued {
            slot,
            header,
            table,
            descriptors,
            atapi: flags & ATAPI != 0,
            moved: 0,
            first_block_done: false,
        }
    }

    /// Reads the command frame, and the packet behind it.
    pub(super) fn command(&self, memory: &mut dyn GuestMemory) -> ([u8; 20], [u8; 12]) {
        let mut bytes = [0; PACKET_AT + 12];
        memory.read(self.table, &mut bytes);
        let (mut frame, mut packet) = ([0; 20], [0; 12]);
        frame.copy_from_slice(&bytes[..20]);
        packet.copy_from_slice(&bytes[PACKET_AT..]);
        (frame, packet)
    }

    /// Tells the guest how much has been moved.
    pub(super) fn commit(&self, memory: &mut dyn GuestMemory) {
        memory.write(self.header.wrapping_add(4), &(self.moved as u32).to_le_bytes());
    }

    /// The stretches of memory of the command, in order. There are at most 65,535 of at most 4 MiB.
    pub(super) fn scatter(&self, memory: &mut dyn GuestMemory) -> Scatter {
        let mut bytes = vec![0; 16 * usize::from(self.descriptors)];
        memory.read(self.table.wrapping_add(COMMAND_TABLE), &mut bytes);
        let mut total = 0;
        let mut stretches = Vec::with_capacity(self.descriptors.into());
        for entry in bytes.chunks_exact(16) {
            let [a, b, c, d, e, f, g, h, .., i, j, k, l] = entry else { continue };
            let address = u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            let length = (u32::from_le_bytes([*i, *j, *k, *l]) & 0x3f_ffff) as usize + 1;
            stretches.push((total, Segment { address, length }));
            total += length as u64;
        }
        Scatter { stretches, total }
    }
}

/// A descriptor table: each stretch with how many bytes are before it.
pub(super) struct Scatter {
    stretches: Vec<(u64, Segment)>,
    total: u64,
}

impl Scatter {
    /// The stretch at byte `from`, cut to at most `limit`.
    pub(super) fn at(&self, from: u64, limit: usize) -> Option<Segment> {
        let index = self.stretches.partition_point(|(start, _)| *start <= from).checked_sub(1)?;
        let (start, segment) = self.stretches.get(index)?;
        let into = from - start;
        let left = (segment.length as u64).checked_sub(into).filter(|left| *left > 0)?;
        let length = limit.min(usize::try_from(left).unwrap_or(usize::MAX));
        Some(Segment { address: segment.address.wrapping_add(into), length })
    }

    /// The stretches for `length` bytes from byte `from` on; `None` when there are too few.
    pub(super) fn part(&self, from: u64, length: usize) -> Option<Vec<Segment>> {
        if from.checked_add(length as u64)? > self.total {
            return None;
        }
        let mut segments = Vec::new();
        let mut done = 0;
        while done < length {
            let segment = self.at(from + done as u64, length - done)?;
            done += segment.length;
            segments.push(segment);
        }
        Some(segments)
    }
}

/// The drive's registers as both kinds of frame carry them.
fn registers(kind: u8, drive: &Drive) -> [u8; 20] {
    let mut frame = [0; 20];
    frame[..14].copy_from_slice(&[
        kind,
        INTERRUPT,
        drive.status,
        drive.error,
        drive.sector,
        drive.cylinder_low,
        drive.cylinder_high,
        drive.device,
        drive.previous.sector,
        drive.previous.cylinder_low,
        drive.previous.cylinder_high,
        0,
        drive.count as u8,
        (drive.count >> 8) as u8,
    ]);
    frame
}

/// Register, device to host.
pub(super) fn device_to_host(drive: &Drive) -> [u8; 20] {
    registers(REGISTER_D2H, drive)
}

/// PIO setup for `length` bytes.
pub(super) fn pio_setup(drive: &Drive, length: usize, interrupt: bool) -> [u8; 20] {
    let mut frame = registers(PIO_SETUP, drive);
    frame[1] = if interrupt { INTERRUPT } else { 0 };
    frame[15] = drive.status;
    frame[16..18].copy_from_slice(&(length as u16).to_le_bytes());
    frame
}

/// Set device bits: queued commands `finished`, one bit each, are done.
pub(super) fn set_device_bits(drive: &Drive, finished: u32) -> [u8; 8] {
    let [a, b, c, d] = finished.to_le_bytes();
    [SET_DEVICE_BITS, INTERRUPT, drive.status & 0x77, drive.error, a, b, c, d]
}

/// Takes a command frame into the drive's registers.
pub(super) fn load(drive: &mut Drive, frame: &[u8; 20]) {
    drive.feature = frame[3];
    drive.sector = frame[4];
    drive.cylinder_low = frame[5];
    drive.cylinder_high = frame[6];
    drive.device = frame[7];
    drive.previous.sector = frame[8];
    drive.previous.cylinder_low = frame[9];
    drive.previous.cylinder_high = frame[10];
    drive.previous.feature = frame[11];
    drive.count = frame[12].into();
    drive.previous.count = frame[13];
}
