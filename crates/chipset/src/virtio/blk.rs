//! The block device: reads, writes and flushes a disk behind its copy-on-write layer.
//!
//! VIRTIO 1.1, section 5.2; what is offered and what the fields say is QEMU 7.2's.

use serde::{Deserialize, Serialize};

use super::{
    Facts, Function, Identity,
    queue::{Broken, Chain, Span, length, pieces},
};
use crate::{
    GuestMemory,
    disk::{Disk, Geometry, Overlay, SECTOR},
};

/// Features (section 5.2.3).
const SEG_MAX: u64 = 1 << 2;
const GEOMETRY: u64 = 1 << 4;
const RO: u64 = 1 << 5;
const BLK_SIZE: u64 = 1 << 6;
/// SCSI commands, of the legacy interface; offered and not served, as QEMU has it.
const SCSI: u64 = 1 << 7;
const FLUSH: u64 = 1 << 9;
const TOPOLOGY: u64 = 1 << 10;
const CONFIG_WCE: u64 = 1 << 11;
const MQ: u64 = 1 << 12;
const DISCARD: u64 = 1 << 13;
const WRITE_ZEROES: u64 = 1 << 14;

/// Fields of the configuration that a driver can write or that end it (section 5.2.4).
const WRITEBACK: u64 = 32;
const BASIC_LENGTH: usize = 36;
const DISCARD_LENGTH: usize = 57;
/// The most sectors of one discard or write of zeros.
const MOST_DISCARDED: u32 = 0x3f_ffff;

/// Types of request (section 5.2.6).
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH_REQUEST: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD_REQUEST: u32 = 11;
const WRITE_ZEROES_REQUEST: u32 = 13;
/// Earlier requests come first: they always do here.
const BARRIER: u32 = 1 << 31;
/// A write of zeros may give the sectors back.
const UNMAP: u32 = 1;

/// Outcomes.
const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;

/// Bytes of a request before its data.
const HEADER: u64 = 16;
/// Bytes of one range to discard or fill.
const RANGE: usize = 16;
/// Bytes of the serial number, which is empty.
const SERIAL: u64 = 20;
/// The most data of one request; longer ones fail.
const MOST: u64 = 64 << 20;

/// What a snapshot carries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// The cache writes back; a driver can say so, and nothing depends on it.
    pub writeback: bool,
    /// What the guest wrote.
    pub overlay: Overlay,
}

/// A disk.
#[derive(Clone, Debug)]
pub struct Blk {
    state: State,
    disk: Disk,
    geometry: Geometry,
    queues: u16,
}

impl Blk {
    /// A device with this disk, and so many queues.
    #[must_use]
    pub fn new(disk: Disk, queues: u16) -> Blk {
        let geometry = Geometry::guess(&disk);
        let state = State { writeback: true, overlay: Overlay::default() };
        Blk { state, disk, geometry, queues: queues.max(1) }
    }

    /// What the guest wrote.
    #[must_use]
    pub fn overlay(&self) -> &Overlay {
        &self.state.overlay
    }

    /// Does what the header asks for, and gives the outcome.
    fn execute(&mut self, kind: u32, sector: u64, chain: &Chain, memory: &mut dyn GuestMemory) -> u8 {
        let data = length(&chain.writable) - 1;
        match kind & !BARRIER {
            IN => self.read(sector, &chain.writable, data, memory),
            OUT => self.write(sector, &chain.readable, memory),
            FLUSH_REQUEST => OK,
            GET_ID => {
                let zeros = [0; SERIAL as usize];
                for (address, bytes) in pieces(&chain.writable, 0, data.min(SERIAL)) {
                    memory.write(address, zeros.get(..bytes).unwrap_or_default());
                }
                OK
            }
            DISCARD_REQUEST => self.change_range(&chain.readable, false, memory),
            WRITE_ZEROES_REQUEST => self.change_range(&chain.readable, true, memory),
            _ => UNSUPP,
        }
    }

    /// First byte of a range of `length` bytes that lies on the disk in whole sectors.
    fn place(&self, sector: u64, length: u64) -> Option<u64> {
        let first = sector.checked_mul(SECTOR)?;
        let inside = first.checked_add(length)?.div_ceil(SECTOR) <= self.disk.sectors();
        (inside && length <= MOST && length.is_multiple_of(SECTOR)).then_some(first)
    }

    fn read(&self, sector: u64, spans: &[Span], data: u64, memory: &mut dyn GuestMemory) -> u8 {
        let Some(mut at) = self.place(sector, data) else { return IOERR };
        for (address, bytes) in pieces(spans, 0, data) {
            let mut buffer = vec![0; bytes];
            if self.disk.read(&self.state.overlay, at, &mut buffer).is_err() {
                return IOERR;
            }
            memory.write(address, &buffer);
            at += bytes as u64;
        }
        OK
    }

    fn write(&mut self, sector: u64, spans: &[Span], memory: &mut dyn GuestMemory) -> u8 {
        let data = length(spans) - HEADER;
        let Some(mut at) = self.place(sector, data) else { return IOERR };
        for (address, bytes) in pieces(spans, HEADER, data) {
            let mut buffer = vec![0; bytes];
            memory.read(address, &mut buffer);
            if self.disk.write(&mut self.state.overlay, at, &buffer).is_err() {
                return IOERR;
            }
            at += bytes as u64;
        }
        OK
    }

    /// Discards one range, which changes nothing, or fills it with zeros.
    fn change_range(&mut self, spans: &[Span], fill: bool, memory: &mut dyn GuestMemory) -> u8 {
        // One range at a time is what the configuration says.
        if length(spans) - HEADER != RANGE as u64 {
            return IOERR;
        }
        let mut range = [0; RANGE];
        gather(spans, HEADER, &mut range, memory);
        let [a, b, c, d, e, f, g, h, i, j, k, l, flags @ ..] = range;
        let sector = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let count = u32::from_le_bytes([i, j, k, l]);
        if u32::from_le_bytes(flags) & !(if fill { UNMAP } else { 0 }) != 0 {
            return UNSUPP;
        }
        let inside = sector.checked_add(count.into()).is_some_and(|end| end <= self.disk.sectors());
        if !inside || count > MOST_DISCARDED || self.disk.read_only {
            return IOERR;
        }
        let (mut at, mut left) = (sector * SECTOR, if fill { u64::from(count) * SECTOR } else { 0 });
        let zeros = [0; Overlay::CLUSTER as usize];
        while left > 0 {
            let part = left.min(Overlay::CLUSTER - at % Overlay::CLUSTER);
            let bytes = zeros.get(..part as usize).unwrap_or_default();
            if self.disk.write(&mut self.state.overlay, at, bytes).is_err() {
                return IOERR;
            }
            (at, left) = (at + part, left - part);
        }
        OK
    }
}

/// Fills `bytes` from byte `from` of `spans` on.
fn gather(spans: &[Span], from: u64, bytes: &mut [u8], memory: &mut dyn GuestMemory) {
    let mut rest = bytes;
    for (address, count) in pieces(spans, from, rest.len() as u64) {
        let (part, behind) = rest.split_at_mut(count.min(rest.len()));
        memory.read(address, part);
        rest = behind;
    }
}

impl Function for Blk {
    type State = State;

    const IDENTITY: Identity = Identity {
        number: 2,
        class: (0x01, 0x00),
        regions: [
            "virtio-pci",
            "virtio-blk-pci-msix",
            "virtio-pci-common-virtio-blk",
            "virtio-pci-isr-virtio-blk",
            "virtio-pci-device-virtio-blk",
            "virtio-pci-notify-virtio-blk",
        ],
    };

    fn state(&self) -> &State {
        &self.state
    }

    fn restore(&mut self, state: State) {
        self.state = state;
    }

    fn features(&self, facts: Facts) -> u64 {
        let when = |has: bool, features: u64| if has { features } else { 0 };
        SEG_MAX
            | GEOMETRY
            | BLK_SIZE
            | FLUSH
            | TOPOLOGY
            | CONFIG_WCE
            | when(self.queues > 1, MQ)
            | when(self.disk.read_only, RO)
            | when(facts.discard, DISCARD | WRITE_ZEROES)
            | when(!facts.interface.is_modern(), SCSI)
    }

    fn has_any_layout(facts: Facts) -> bool {
        facts.interface.is_modern()
    }

    fn has_msix(_facts: Facts) -> bool {
        true
    }

    fn queues(&self) -> u16 {
        self.queues
    }

    fn queue_size(facts: Facts) -> u16 {
        facts.blk_queue_size
    }

    fn config(&self, facts: Facts) -> Vec<u8> {
        let mut config = Vec::new();
        config.extend(self.disk.sectors().to_le_bytes());
        config.extend(0_u32.to_le_bytes()); // size_max: no bound
        config.extend((u32::from(facts.blk_queue_size) - 2).to_le_bytes()); // seg_max
        config.extend(self.geometry.cylinders.to_le_bytes());
        config.extend([self.geometry.heads, self.geometry.sectors]);
        config.extend((SECTOR as u32).to_le_bytes()); // blk_size
        config.extend([0; 8]); // topology: nothing better than a block
        config.extend([u8::from(self.state.writeback), 0]);
        config.extend(self.queues.to_le_bytes()); // num_queues
        for value in [MOST_DISCARDED, 1, 1, MOST_DISCARDED, 1, 1] {
            config.extend(value.to_le_bytes());
        }
        config.truncate(if facts.discard { DISCARD_LENGTH } else { BASIC_LENGTH });
        config
    }

    fn config_write(&mut self, offset: u64, value: u64) {
        if offset == WRITEBACK {
            self.state.writeback = value & 1 != 0;
        }
    }

    fn reset(&mut self) {
        self.state.writeback = true;
    }

    fn latency_ns(&self) -> u64 {
        self.disk.latency_ns
    }

    fn serve(&mut self, chain: &Chain, memory: &mut dyn GuestMemory) -> Result<u32, Broken> {
        let written = length(&chain.writable);
        if length(&chain.readable) < HEADER || written < 1 {
            return Err(Broken("a request has no header or no place for its outcome"));
        }
        let mut header = [0; HEADER as usize];
        gather(&chain.readable, 0, &mut header, memory);
        let [a, b, c, d, _, _, _, _, sector @ ..] = header;
        let kind = u32::from_le_bytes([a, b, c, d]);
        let outcome = self.execute(kind, u64::from_le_bytes(sector), chain, memory);
        for (address, _) in pieces(&chain.writable, written - 1, 1) {
            memory.write(address, &[outcome]);
        }
        Ok(u32::try_from(written).unwrap_or(u32::MAX))
    }
}
