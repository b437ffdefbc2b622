//! A split virtqueue: descriptors, what the driver makes available, what the device has used.
//!
//! VIRTIO 1.1, section 2.6. Everything the driver writes is checked: a chain has at most as many
//! descriptors as its table, and a table of indirect ones at most 1024.

use serde::{Deserialize, Serialize};

use crate::GuestMemory;

/// Vector of a queue or of the configuration that has none (section 4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xffff;

/// Flags of a descriptor (section 2.6.5).
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Bytes of a descriptor.
const DESCRIPTOR: u64 = 16;
/// The longest table of indirect descriptors.
const LONGEST_TABLE: u32 = 1024;
/// Flag of the available ring: the driver wants no interrupts (section 2.6.6).
const NO_INTERRUPT: u16 = 1;
/// The used ring of the legacy interface begins on such a boundary (section 2.6.2).
const LEGACY_ALIGNMENT: u64 = 4096;

/// What the driver wrote makes no sense: the device needs a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken(pub &'static str);

/// A piece of guest memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First address.
    pub address: u64,
    /// Bytes.
    pub length: u32,
}

/// Bytes of all spans.
#[must_use]
pub fn length(spans: &[Span]) -> u64 {
    spans.iter().map(|span| u64::from(span.length)).sum()
}

/// Bytes moved at once.
const PIECE: u64 = 0x1_0000;

/// The pieces of `spans` from byte `from` on, `length` bytes together, each as (address, bytes).
pub fn pieces(spans: &[Span], from: u64, length: u64) -> impl Iterator<Item = (u64, usize)> {
    let mut passed = 0_u64;
    spans.iter().flat_map(move |span| {
        let (start, end) = (passed, passed + u64::from(span.length));
        passed = end;
        let first = from.max(start);
        let behind = from.saturating_add(length).min(end);
        let address = span.address.wrapping_add(first - start);
        let bytes = behind.saturating_sub(first);
        (0..bytes.div_ceil(PIECE)).map(move |piece| {
            let done = piece * PIECE;
            (address.wrapping_add(done), (bytes - done).min(PIECE) as usize)
        })
    })
}

/// One request: what the device reads and what it writes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chain {
    /// Index of the first descriptor.
    pub head: u16,
    /// What the device reads.
    pub readable: Vec<Span>,
    /// What it writes.
    pub writable: Vec<Span>,
}

/// A queue: where it is, and how far the device has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Queue {
    /// Entries.
    pub queue_size: u16,
    /// The driver has set it up.
    pub queue_enable: bool,
    /// Its MSI-X vector.
    pub queue_msix_vector: u16,
    /// Address of the descriptor table.
    pub queue_desc: u64,
    /// Address of the available ring, the driver's area.
    pub queue_driver: u64,
    /// Address of the used ring, the device's area.
    pub queue_device: u64,
    /// The entry of the available ring that comes next.
    pub next_available: u16,
    /// The index of the used ring as the driver sees it.
    pub used_index: u16,
    /// What it was when the driver was last interrupted, if it has been.
    pub signalled: Option<u16>,
}

impl Queue {
    /// A queue of `size` entries that has not been set up.
    #[must_use]
    pub fn new(size: u16) -> Queue {
        Queue {
            queue_size: size,
            queue_enable: false,
            queue_msix_vector: NO_VECTOR,
            queue_desc: 0,
            queue_driver: 0,
            queue_device: 0,
            next_available: 0,
            used_index: 0,
            signalled: None,
        }
    }

    /// Sets it up in one piece from page `number` on, as the legacy interface has it.
    pub fn place(&mut self, number: u32) {
        let size = u64::from(self.queue_size);
        self.queue_desc = u64::from(number) * LEGACY_ALIGNMENT;
        self.queue_driver = self.queue_desc + DESCRIPTOR * size;
        self.queue_device = (self.queue_driver + 6 + 2 * size).next_multiple_of(LEGACY_ALIGNMENT);
        self.queue_enable = number != 0;
    }

    /// Forgets how far it has come, and waits to be set up again with `size` entries. Where it was stays
    /// in the registers.
    pub fn reset(&mut self, size: u16) {
        let Queue { queue_desc, queue_driver, queue_device, .. } = *self;
        *self = Queue { queue_desc, queue_driver, queue_device, ..Queue::new(size) };
    }

    /// The page it was set up from.
    #[must_use]
    pub fn page(&self) -> u32 {
        (self.queue_desc / LEGACY_ALIGNMENT) as u32
    }

    /// How many requests the driver has made that were not taken yet.
    fn waiting(&self, memory: &mut dyn GuestMemory) -> Result<u16, Broken> {
        let index = word(memory, self.queue_driver.wrapping_add(2));
        let waiting = index.wrapping_sub(self.next_available);
        if waiting > self.queue_size {
            return Err(Broken("the available ring's index is too far ahead"));
        }
        Ok(waiting)
    }

    /// Whether there are requests.
    pub fn is_empty(&self, memory: &mut dyn GuestMemory) -> bool {
        self.waiting(memory) == Ok(0)
    }

    /// Takes the next request. With `event_index` the driver is told from which one on it must notify.
    pub fn take(&mut self, memory: &mut dyn GuestMemory, event_index: bool) -> Result<Option<Chain>, Broken> {
        if !self.queue_enable || self.queue_size == 0 || self.waiting(memory)? == 0 {
            return Ok(None);
        }
        let entry = u64::from(self.next_available % self.queue_size);
        let head = word(memory, self.queue_driver.wrapping_add(4 + 2 * entry));
        self.next_available = self.next_available.wrapping_add(1);
        let chain = self.follow(head, memory)?;
        if event_index {
            let place = self.queue_device.wrapping_add(4 + 8 * u64::from(self.queue_size));
            memory.write(place, &self.next_available.to_le_bytes());
        }
        Ok(Some(chain))
    }

    /// Collects the descriptors of the chain that begins at `head`.
    fn follow(&self, head: u16, memory: &mut dyn GuestMemory) -> Result<Chain, Broken> {
        let mut chain = Chain { head, ..Chain::default() };
        let (mut table, mut entries) = (self.queue_desc, u32::from(self.queue_size));
        let (mut index, mut seen, mut indirect) = (u32::from(head), 0, false);
        loop {
            if index >= entries {
                return Err(Broken("a descriptor is outside of its table"));
            }
            if seen >= entries {
                return Err(Broken("the descriptors are a loop"));
            }
            seen += 1;
            let mut bytes = [0; DESCRIPTOR as usize];
            memory.read(table.wrapping_add(u64::from(index) * DESCRIPTOR), &mut bytes);
            let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
            let [i, j, k, l, m, n, o, p] = rest;
            let address = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            let length = u32::from_le_bytes([i, j, k, l]);
            let (flags, next) = (u16::from_le_bytes([m, n]), u16::from_le_bytes([o, p]));
            if flags & INDIRECT != 0 {
                let count = length / DESCRIPTOR as u32;
                let whole = length.is_multiple_of(DESCRIPTOR as u32) && (1..=LONGEST_TABLE).contains(&count);
                if indirect || !whole {
                    return Err(Broken("a table of indirect descriptors is within another, or no table"));
                }
                (table, entries, index, seen, indirect) = (address, count, 0, 0, true);
                continue;
            }
            if length == 0 {
                return Err(Broken("a descriptor is of nothing"));
            }
            if flags & WRITE != 0 {
                chain.writable.push(Span { address, length });
            } else if chain.writable.is_empty() {
                chain.readable.push(Span { address, length });
            } else {
                return Err(Broken("the device is to read behind what it is to write"));
            }
            if flags & NEXT == 0 {
                return Ok(chain);
            }
            index = next.into();
        }
    }

    /// Gives a request back, of which `written` bytes were filled.
    pub fn give_back(&mut self, head: u16, written: u32, memory: &mut dyn GuestMemory) {
        let entry = u64::from(self.used_index.checked_rem(self.queue_size).unwrap_or(0));
        let place = self.queue_device.wrapping_add(4 + 8 * entry);
        memory.write(place, &u32::from(head).to_le_bytes());
        memory.write(place.wrapping_add(4), &written.to_le_bytes());
        self.used_index = self.used_index.wrapping_add(1);
        memory.write(self.queue_device.wrapping_add(2), &self.used_index.to_le_bytes());
    }

    /// Whether the driver wants to be interrupted for what was used since it last was (section 2.6.7).
    pub fn wants_interrupt(&mut self, memory: &mut dyn GuestMemory, event_index: bool) -> bool {
        if !event_index {
            return word(memory, self.queue_driver) & NO_INTERRUPT == 0;
        }
        let event = word(memory, self.queue_driver.wrapping_add(4 + 2 * u64::from(self.queue_size)));
        let new = self.used_index;
        let since = |from: u16| new.wrapping_sub(from);
        let before = self.signalled.replace(new);
        before.is_none_or(|before| since(event).wrapping_sub(1) < since(before))
    }
}

fn word(memory: &mut dyn GuestMemory, address: u64) -> u16 {
    let mut bytes = [0; 2];
    memory.read(address, &mut bytes);
    u16::from_le_bytes(bytes)
}
