//! The firmware configuration device (fw_cfg): how an emulator tells firmware what the machine is.
//!
//! QEMU documentation: docs/specs/fw_cfg. A 16-bit selector at 510h picks an item, whose bytes come
//! out of 511h one after another; past the end there are zeros. Named items ("files") get keys from
//! 20h on and are listed in a directory. The DMA interface at 514h takes the big-endian address of
//! a descriptor and moves the bytes in a [`Chip::service`] call.

use crate::{Chip, Effects, GuestMemory, Region, ResetKind, Space};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// The selector port; data follows at the next.
pub const SELECTOR: u16 = 0x510;
/// The DMA address register, eight ports, big-endian.
pub const DMA: u16 = 0x514;

/// Key of the signature item.
pub const KEY_SIGNATURE: u16 = 0x0000;
/// Key of the interface version bitmap.
pub const KEY_ID: u16 = 0x0001;
/// Key of the file directory.
pub const KEY_FILE_DIRECTORY: u16 = 0x0019;
/// Key of the first file.
pub const KEY_FILE_FIRST: u16 = 0x0020;
/// Bit of keys whose meaning the architecture gives.
pub const KEY_ARCHITECTURE: u16 = 0x8000;
/// Bit of the selector that once asked to write; it is no part of the key.
const WRITE_CHANNEL: u16 = 0x4000;

/// Bit of the ID item: the DMA interface is there.
pub const ID_DMA: u32 = 1 << 1;

const SIGNATURE: &[u8; 4] = b"QEMU";
const DMA_SIGNATURE: &[u8; 8] = b"QEMU CFG";
const NAME_LENGTH: usize = 56;
/// Longest item. QEMU has no such limit; it keeps sizes within a directory entry's 32 bits.
const LONGEST: usize = u32::MAX as usize;

const CONTROL_ERROR: u32 = 1 << 0;
const CONTROL_READ: u32 = 1 << 1;
const CONTROL_SKIP: u32 = 1 << 2;
const CONTROL_SELECT: u32 = 1 << 3;
const CONTROL_WRITE: u32 = 1 << 4;

/// Most zeros one DMA read gives past the end of an item, so that a descriptor with a length of
/// 4 GiB does not keep the host busy; more is answered with the error bit.
const MOST_ZEROS: u32 = 16 << 20;

/// How an item is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// By a fixed number.
    Number(u16),
    /// By a name in the file directory.
    File(String),
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// How it is found.
    pub key: Key,
    /// Its contents at power-on.
    pub bytes: Vec<u8>,
    /// The guest may write it by DMA.
    pub writable: bool,
}

impl Item {
    /// A read-only item with a fixed number.
    #[must_use]
    pub fn number(key: u16, bytes: impl Into<Vec<u8>>) -> Item {
        Item { key: Key::Number(key), bytes: bytes.into(), writable: false }
    }

    /// A read-only file.
    #[must_use]
    pub fn file(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Item {
        Item { key: Key::File(name.into()), bytes: bytes.into(), writable: false }
    }
}

/// What a list of items can be refused for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ItemError {
    /// A number that is reserved for files or out of range.
    #[error("fw_cfg key {0:#06x} is not one for a fixed item")]
    Number(u16),
    /// The same key or name twice.
    #[error("fw_cfg item {0:?} is given twice")]
    Twice(Key),
    /// A name that does not fit a directory entry.
    #[error("fw_cfg file name {0:?} is empty, has a zero byte or is longer than 55 bytes")]
    Name(String),
    /// More files than the directory holds.
    #[error("{0} fw_cfg files do not fit the directory's {1} slots")]
    Files(usize, u16),
    /// More than 4 GiB in one item.
    #[error("fw_cfg item {0:?} is larger than 4 GiB")]
    Large(Key),
}

/// How this device is built.
#[derive(Clone, Debug)]
pub struct Config {
    /// The DMA interface is there (since QEMU 2.5's machine types).
    pub dma: bool,
    /// Slots of the file directory: 16 on machine types up to 2.8, then 32.
    pub file_slots: u16,
    /// Everything but the signature, the ID and the directory, which the device makes itself. Files
    /// get their keys in this order; today's emulator sorts them by name first, the machine types
    /// up to 2.5 have an order of their own.
    pub items: Vec<Item>,
}

/// An item as the device keeps it.
#[derive(Clone, Debug)]
struct Entry {
    bytes: Arc<[u8]>,
    writable: bool,
}

/// Everything a snapshot carries. The items come with the machine; only what the guest wrote into
/// them is here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    selector: u16,
    offset: u32,
    dma_address: u64,
    dma_pending: bool,
    written: BTreeMap<u16, Vec<u8>>,
}

/// The device.
#[derive(Clone, Debug)]
pub struct FwCfg {
    state: State,
    dma: bool,
    entries: Arc<BTreeMap<u16, Entry>>,
}

impl FwCfg {
    /// A device with these items.
    ///
    /// # Errors
    ///
    /// When an item's key, name or size cannot be, is given twice, or the directory is full.
    pub fn new(config: Config) -> Result<FwCfg, ItemError> {
        let mut entries = BTreeMap::new();
        let mut add = |number: u16, key: Key, bytes: Vec<u8>, writable: bool| {
            if bytes.len() > LONGEST {
                return Err(ItemError::Large(key));
            }
            let entry = Entry { bytes: bytes.into(), writable };
            entries.insert(number, entry).map_or(Ok(()), |_| Err(ItemError::Twice(key)))
        };
        let id = 1 | if config.dma { ID_DMA } else { 0 };
        add(KEY_SIGNATURE, Key::Number(KEY_SIGNATURE), SIGNATURE.to_vec(), false)?;
        add(KEY_ID, Key::Number(KEY_ID), id.to_le_bytes().to_vec(), false)?;

        let mut files: Vec<(String, usize)> = Vec::new();
        for item in config.items {
            let number = match &item.key {
                Key::Number(number) => fixed(*number)?,
                Key::File(name) => {
                    file_name(name)?;
                    if files.iter().any(|(other, _)| other == name) {
                        return Err(ItemError::Twice(item.key));
                    }
                    files.push((name.clone(), item.bytes.len()));
                    // Beyond 16 bits there are far too many, which is said below.
                    KEY_FILE_FIRST.saturating_add(u16::try_from(files.len() - 1).unwrap_or(u16::MAX))
                }
            };
            if files.len() > usize::from(config.file_slots) {
                return Err(ItemError::Files(files.len(), config.file_slots));
            }
            add(number, item.key, item.bytes, item.writable)?;
        }
        let listing = directory(&files, config.file_slots);
        add(KEY_FILE_DIRECTORY, Key::Number(KEY_FILE_DIRECTORY), listing, false)?;
        Ok(FwCfg { state: State::default(), dma: config.dma, entries: Arc::new(entries) })
    }

    /// What is saved.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state. What it holds for items that are not writable here, or of another size,
    /// is left out.
    pub fn restore(&mut self, mut state: State) {
        state.written.retain(|key, bytes| {
            self.entries.get(key).is_some_and(|entry| entry.writable && entry.bytes.len() == bytes.len())
        });
        self.state = state;
    }

    /// The bytes of the item `key` now.
    #[must_use]
    pub fn item(&self, key: u16) -> Option<&[u8]> {
        let written = self.state.written.get(&key).map(Vec::as_slice);
        written.or_else(|| self.entries.get(&key).map(|entry| &*entry.bytes))
    }

    fn select(&mut self, key: u16) {
        self.state.selector = key & !WRITE_CHANNEL;
        self.state.offset = 0;
    }

    /// What is left of the selected item.
    fn rest(&self) -> &[u8] {
        let item = self.item(self.state.selector).unwrap_or(&[]);
        item.get(self.state.offset as usize..).unwrap_or(&[])
    }

    /// One byte from the data port.
    fn next(&mut self) -> u8 {
        let Some(byte) = self.rest().first().copied() else {
            return 0;
        };
        self.state.offset += 1;
        byte
    }

    /// Moves on by at most `count` bytes, within the item.
    fn skip(&mut self, count: u32) {
        let rest = u32::try_from(self.rest().len()).unwrap_or(u32::MAX);
        self.state.offset = self.state.offset.saturating_add(count.min(rest));
    }

    /// Carries out one descriptor and returns its new control word.
    fn transfer(&mut self, control: u32, length: u32, address: u64, memory: &mut dyn GuestMemory) -> u32 {
        if control & CONTROL_SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        let done = if control & CONTROL_READ != 0 {
            self.transfer_out(length, address, memory)
        } else if control & CONTROL_WRITE != 0 {
            self.transfer_in(length, address, memory)
        } else {
            if control & CONTROL_SKIP != 0 {
                self.skip(length);
            }
            true
        };
        if done { 0 } else { CONTROL_ERROR }
    }

    fn transfer_out(&mut self, length: u32, address: u64, memory: &mut dyn GuestMemory) -> bool {
        let rest = self.rest();
        let count = rest.len().min(length as usize);
        memory.write(address, &rest[..count]);
        self.skip(length);
        let mut zeros = length - count as u32;
        let within = zeros <= MOST_ZEROS;
        zeros = zeros.min(MOST_ZEROS);
        let mut to = address.wrapping_add(count as u64);
        while zeros > 0 {
            let part = zeros.min(4096);
            memory.write(to, &[0; 4096][..part as usize]);
            to = to.wrapping_add(u64::from(part));
            zeros -= part;
        }
        within
    }

    /// A write must fit the rest of a writable item; nothing is written otherwise.
    fn transfer_in(&mut self, length: u32, address: u64, memory: &mut dyn GuestMemory) -> bool {
        if length == 0 {
            return true;
        }
        let key = self.state.selector;
        let Some(entry) = self.entries.get(&key).filter(|entry| entry.writable) else {
            return false;
        };
        let (from, count) = (self.state.offset as usize, length as usize);
        if from.saturating_add(count) > entry.bytes.len() {
            return false;
        }
        let bytes = self.state.written.entry(key).or_insert_with(|| entry.bytes.to_vec());
        let Some(target) = bytes.get_mut(from..from + count) else {
            return false;
        };
        memory.read(address, target);
        self.state.offset += length;
        true
    }
}

/// Checks a fixed key: not the device's own, not a file's.
fn fixed(number: u16) -> Result<u16, ItemError> {
    let own = [KEY_SIGNATURE, KEY_ID, KEY_FILE_DIRECTORY].contains(&number);
    let within = number & !KEY_ARCHITECTURE < KEY_FILE_FIRST;
    if own || !within { Err(ItemError::Number(number)) } else { Ok(number) }
}

fn file_name(name: &str) -> Result<(), ItemError> {
    let fits = (1..NAME_LENGTH).contains(&name.len()) && !name.bytes().any(|byte| byte == 0);
    if fits { Ok(()) } else { Err(ItemError::Name(name.to_owned())) }
}

/// The directory item: a count, then entries of size, key, two reserved bytes and a name, all
/// big-endian, as long as all slots need.
fn directory(files: &[(String, usize)], slots: u16) -> Vec<u8> {
    let mut bytes = (files.len() as u32).to_be_bytes().to_vec();
    for (key, (name, size)) in (KEY_FILE_FIRST..).zip(files) {
        bytes.extend((*size as u32).to_be_bytes());
        bytes.extend(key.to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(name.bytes());
        bytes.extend(std::iter::repeat_n(0, NAME_LENGTH - name.len()));
    }
    bytes.resize(4 + 64 * usize::from(slots), 0);
    bytes
}

impl Chip for FwCfg {
    fn regions(&self) -> Vec<Region> {
        let space = Space::Io;
        let base = u64::from(SELECTOR);
        let mut regions = vec![Region { index: 0, name: "fwcfg", space, base, length: 2, widest: 2 }];
        if self.dma {
            let base = u64::from(DMA);
            regions.push(Region { index: 1, name: "fwcfg.dma", space, base, length: 8, widest: 8 });
        }
        regions
    }

    fn register_name(&self, index: u8, offset: u64, _write: bool) -> Option<String> {
        match index {
            0 => crate::name_at(&["SELECTOR", "DATA"], offset),
            _ => crate::name_of(&[(0, "DMA_ADDRESS_HIGH"), (4, "DMA_ADDRESS_LOW")], offset),
        }
    }

    fn read(&mut self, index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        if index == 0 {
            if size == 1 {
                return u64::from(self.next());
            }
            fx.note("fw_cfg data read not as a byte", offset, 0);
            return 0;
        }
        let bytes = DMA_SIGNATURE.iter().skip(offset as usize).take(usize::from(size));
        bytes.rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn write(&mut self, index: u8, offset: u64, size: u8, value: u64, fx: &mut Effects) {
        let address = match (index, offset, size) {
            (0, 0, 2) => return self.select(value as u16),
            (1, 0, 4) => {
                let high = u64::from((value as u32).swap_bytes());
                self.state.dma_address = high << 32;
                return;
            }
            (1, 4, 4) => self.state.dma_address | u64::from((value as u32).swap_bytes()),
            (1, 0, 8) => value.swap_bytes(),
            // Writing data through 511h ended with QEMU 2.4.
            _ => return fx.note("fw_cfg write of a wrong size", offset, value),
        };
        self.state.dma_address = address;
        self.state.dma_pending = true;
        fx.service();
    }

    fn reset(&mut self, kind: ResetKind, _fx: &mut Effects) {
        let written = match kind {
            ResetKind::PowerOn => BTreeMap::new(),
            ResetKind::System => std::mem::take(&mut self.state.written),
        };
        self.state = State { written, ..State::default() };
    }

    fn service(&mut self, memory: &mut dyn GuestMemory, _fx: &mut Effects) {
        if !std::mem::take(&mut self.state.dma_pending) {
            return;
        }
        let descriptor = std::mem::take(&mut self.state.dma_address);
        let mut bytes = [0; 16];
        memory.read(descriptor, &mut bytes);
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let address = u64::from(word(8)) << 32 | u64::from(word(12));
        let control = self.transfer(word(0), word(4), address, memory);
        memory.write(descriptor, &control.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;
    use rstest::rstest;

    fn effects() -> Effects {
        Effects::at(Moment(0))
    }

    fn device() -> FwCfg {
        let items = vec![
            Item::number(0x000f, 1u16.to_le_bytes()),
            Item::file("etc/e820", [1, 2, 3, 4]),
            Item { writable: true, ..Item::file("etc/vmgenid_addr", [0; 8]) },
        ];
        FwCfg::new(Config { dma: true, file_slots: 16, items }).expect("good items")
    }

    fn read(device: &mut FwCfg, key: u16, count: usize) -> Vec<u8> {
        device.write(0, 0, 2, u64::from(key), &mut effects());
        (0..count).map(|_| device.read(0, 1, 1, &mut effects()) as u8).collect()
    }

    #[rstest]
    #[case::signature(0x0000, b"QEMU\0\0")]
    #[case::id(0x0001, &[3, 0, 0, 0, 0])]
    #[case::write_channel_is_no_key(0x4001, &[3, 0, 0, 0, 0])]
    #[case::fixed(0x000f, &[1, 0, 0])]
    #[case::count(0x0019, &[0, 0, 0, 2, 0, 0, 0, 4, 0, 0x20])]
    #[case::file(0x0020, &[1, 2, 3, 4, 0])]
    #[case::absent(0x3fff, &[0, 0])]
    fn items(#[case] key: u16, #[case] expect: &[u8]) {
        assert_eq!(read(&mut device(), key, expect.len()), expect);
    }

    #[rstest]
    #[case::old(16, 1028)]
    #[case::new(32, 2052)]
    fn directory_is_as_long_as_its_slots(#[case] file_slots: u16, #[case] expect: usize) {
        let device = FwCfg::new(Config { dma: false, file_slots, items: Vec::new() }).expect("no items");
        assert_eq!(device.item(KEY_FILE_DIRECTORY).map(<[u8]>::len), Some(expect));
    }

    #[rstest]
    #[case::own_key(vec![Item::number(0, [])], ItemError::Number(0))]
    #[case::file_key(vec![Item::number(0x20, [])], ItemError::Number(0x20))]
    #[case::twice(vec![Item::number(5, []), Item::number(5, [])], ItemError::Twice(Key::Number(5)))]
    #[case::no_name(vec![Item::file("", [])], ItemError::Name(String::new()))]
    #[case::full(vec![Item::file("a", []), Item::file("b", [])], ItemError::Files(2, 1))]
    fn refused(#[case] items: Vec<Item>, #[case] expect: ItemError) {
        let result = FwCfg::new(Config { dma: false, file_slots: 1, items });
        assert_eq!(result.err(), Some(expect));
    }

    struct Ram(Vec<u8>);

    impl GuestMemory for Ram {
        fn read(&mut self, address: u64, bytes: &mut [u8]) {
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = self.0.get(address as usize + index).copied().unwrap_or(0xff);
            }
        }

        fn write(&mut self, address: u64, bytes: &[u8]) {
            for (index, byte) in bytes.iter().enumerate() {
                if let Some(target) = self.0.get_mut(address as usize + index) {
                    *target = *byte;
                }
            }
        }
    }

    /// Runs one descriptor at 0 for a buffer at 32 and gives its control word and the buffer.
    fn dma(device: &mut FwCfg, control: u32, length: u32) -> (u32, Vec<u8>) {
        let mut memory = Ram(vec![0xcc; 48]);
        memory.write(0, &control.to_be_bytes());
        memory.write(4, &length.to_be_bytes());
        memory.write(8, &32u64.to_be_bytes());
        let mut fx = effects();
        device.write(1, 0, 4, 0, &mut fx);
        device.write(1, 4, 4, 0, &mut fx);
        assert!(fx.service);
        device.service(&mut memory, &mut fx);
        let control = [memory.0[0], memory.0[1], memory.0[2], memory.0[3]];
        (u32::from_be_bytes(control), memory.0[32..40].to_vec())
    }

    #[rstest]
    #[case::select_and_read(0x0020_000a, 6, 0, &[1, 2, 3, 4, 0, 0, 0xcc, 0xcc])]
    #[case::read_on(0x0000_0002, 2, 0, b"QE\xcc\xcc\xcc\xcc\xcc\xcc")]
    #[case::skip(0x0020_000c, 2, 0, &[0xcc; 8])]
    #[case::absent(0x0777_000a, 2, 0, &[0, 0, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc])]
    #[case::write_protected(0x0020_0018, 2, 1, &[0xcc; 8])]
    #[case::write(0x0021_0018, 8, 0, &[0xcc; 8])]
    #[case::write_past_end(0x0021_0018, 9, 1, &[0xcc; 8])]
    #[case::nothing(0x0000_0001, 4, 0, &[0xcc; 8])]
    #[case::far_too_long(0x0020_000a, u32::MAX, 1, &[1, 2, 3, 4, 0, 0, 0, 0])]
    fn descriptors(#[case] control: u32, #[case] length: u32, #[case] result: u32, #[case] buffer: &[u8]) {
        assert_eq!(dma(&mut device(), control, length), (result, buffer.to_vec()));
    }

    #[test]
    fn written_items_survive_reset_but_not_power() {
        let mut device = device();
        dma(&mut device, 0x0021_0018, 8);
        device.reset(ResetKind::System, &mut effects());
        assert_eq!(read(&mut device, 0x21, 2), [0xcc, 0xcc]);
        device.reset(ResetKind::PowerOn, &mut effects());
        assert_eq!(read(&mut device, 0x21, 2), [0, 0]);
    }

    #[test]
    fn dma_register_reads_as_its_signature() {
        let mut device = device();
        assert_eq!(device.read(1, 0, 4, &mut effects()), 0x554d_4551);
        assert_eq!(device.read(1, 4, 4, &mut effects()), 0x4746_4320);
    }
}
