//! What is written to watched bytes and registers, by whom and when; which bytes are read, where that is asked;
//! and which bytes a run writes.
//!
//! An observer: it costs nothing when absent, and no digest depends on it. The processor tells of its
//! writes to watched chunks of RAM ([`warmboot_cpu::Bus::stored`]), bus masters and the board tell of
//! theirs, and after whatever changes memory or the address map by other ways (a reset, a load, the
//! host) the watched bytes are looked at again.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};
use serde_json::Value;
use warmboot_cpu::{Cycle, Load, Observed, Store};
use warmboot_memory::{BlockId, FlatView, Frame, Memory, PAGE_SIZE, Target};

use crate::{ConfigError, ResetPath, devices::Slot, trace::Access};

/// Events kept unless another limit is set.
pub const DEFAULT_HISTORY_LIMIT: usize = 10_000;
/// Most bytes one watch covers.
const LONGEST_WATCH: u64 = 64 << 10;

/// What can be watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Watched {
    /// Bytes of physical memory, as the processor sees them outside SMM.
    Memory {
        /// First address.
        address: u64,
        /// How many.
        length: u64,
    },
    /// Bytes of physical memory that a processor's instructions read. What fetches code, walks page tables or
    /// is a bus master is not recorded.
    Reads {
        /// First address.
        address: u64,
        /// How many.
        length: u64,
    },
    /// A chip's register, or all below a part of its state, as [`crate::Machine::chip_register`] takes
    /// it. Recorded when its value changes: writing a register its own value leaves no trace.
    Register {
        /// The chip.
        chip: String,
        /// Names and indices joined by dots.
        register: String,
    },
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Watched::Memory { address, length: 1 } => write!(f, "{address:#x}"),
            Watched::Memory { address, length } => write!(f, "{address:#x}+{length}"),
            Watched::Reads { address, length } => write!(f, "reads of {address:#x}+{length}"),
            Watched::Register { chip, register } => write!(f, "{chip}.{register}"),
        }
    }
}

impl FromStr for Watched {
    type Err = ConfigError;

    /// `0xf7290`, `0xf7290+4` or `CHIP.REGISTER`.
    fn from_str(text: &str) -> Result<Watched, ConfigError> {
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let (address, length) = text.split_once('+').unwrap_or((text, "1"));
            return match (number(address), number(length)) {
                (Some(address), Some(length)) => Ok(Watched::Memory { address, length }),
                _ => Err(ConfigError::new(format!("watch `{text}`: expected ADDRESS or ADDRESS+LENGTH"))),
            };
        }
        match text.split_once('.') {
            Some((chip, register)) if !chip.is_empty() && !register.is_empty() => {
                Ok(Watched::Register { chip: chip.to_owned(), register: register.to_owned() })
            }
            _ => Err(ConfigError::new(format!(
                "watch `{text}`: expected ADDRESS, ADDRESS+LENGTH or CHIP.REGISTER"
            ))),
        }
    }
}

/// Where code is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Code {
    /// CS.
    pub selector: u16,
    /// EIP.
    pub offset: u64,
    /// The linear address of both.
    pub linear: u64,
}

/// Who wrote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writer {
    /// The processor: the instruction at [`Event::code`], or an interrupt taken just before it.
    Processor,
    /// A chip, as a bus master.
    BusMaster(String),
    /// A chip by itself, as time passed.
    Chip(String),
    /// A reset.
    Reset(#[serde(serialize_with = "shown")] ResetPath),
    /// The state of another machine was loaded.
    Load,
    /// The host: a key, a debugger.
    Host,
}

fn shown<S: Serializer>(path: &ResetPath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Writer::Processor => f.write_str("processor"),
            Writer::BusMaster(chip) => write!(f, "bus master {chip}"),
            Writer::Chip(chip) => write!(f, "{chip}"),
            Writer::Reset(path) => write!(f, "reset {path}"),
            Writer::Load => f.write_str("load"),
            Writer::Host => f.write_str("host"),
        }
    }
}

/// What came of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The watched bytes have been written, possibly with the values they had.
    Written,
    /// The write went to a block that the address does not show; what is seen there stays.
    WrittenElsewhere,
    /// Nothing took the write: what is there is read-only or absent.
    Dropped,
    /// Another block answers the address from now on.
    Remapped,
    /// Nothing: a processor's instruction has read them.
    Read,
}

/// Bytes, or a register's value.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// Bytes in ascending order; hexadecimal digits in JSON and as text.
    Bytes(Vec<u8>),
    /// A register.
    Value(Value),
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Content::Value(value) => match value.as_u64() {
                Some(number) => write!(f, "{number:#x}"),
                None => value.fmt(f),
            },
        }
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Content::Bytes(_) => serializer.collect_str(self),
            Content::Value(value) => value.serialize(serializer),
        }
    }
}

/// One write to something watched.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Event {
    /// Which watch, in the order in which they were set.
    pub watch: usize,
    /// Instructions retired before the one that wrote: a run that ends at `instructions:N` stands
    /// just before it.
    pub instruction: u64,
    /// Who.
    pub by: Writer,
    /// The instruction; `None` where none was executing.
    pub code: Option<Code>,
    /// What came of it.
    pub effect: Effect,
    /// Address of the first byte, as the writer gave it; `None` for registers.
    pub address: Option<u64>,
    /// The block and offset written to (or that answers now), or the register.
    pub place: String,
    /// What was there; what was seen, where the write went elsewhere or nowhere.
    pub old: Content,
    /// What was written; what is seen now, after a remap.
    pub new: Content,
}

/// What has been recorded.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The first events, oldest first.
    pub events: &'a [Event],
    /// How many came after them.
    pub more: u64,
}

/// Which bytes of RAM have been written since recording began.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WrittenBytes {
    frames: BTreeMap<u32, Box<[u64; PAGE_SIZE / 64]>>,
}

impl WrittenBytes {
    /// Whether the byte at `offset` of a block of `memory` has been written.
    #[must_use]
    pub fn contains(&self, memory: &Memory, block: BlockId, offset: u64) -> bool {
        let page = PAGE_SIZE as u64;
        let Some(frame) = memory.frame_of(block, offset / page) else { return false };
        self.in_frame(frame, (offset % page) as usize)
    }

    /// Whether the byte at `offset` of a frame has been written.
    #[must_use]
    pub fn in_frame(&self, frame: Frame, offset: usize) -> bool {
        let word = self.frames.get(&frame.0).and_then(|bits| bits.get(offset / 64));
        word.is_some_and(|word| word >> (offset % 64) & 1 != 0)
    }

    /// The frames in which any byte has been written, in order.
    pub fn frames(&self) -> impl Iterator<Item = Frame> {
        self.frames.keys().map(|frame| Frame(*frame))
    }

    /// How many bytes have been written.
    #[must_use]
    pub fn count(&self) -> u64 {
        let words = self.frames.values().flat_map(|bits| bits.iter());
        words.map(|word| u64::from(word.count_ones())).sum()
    }

    fn add(&mut self, memory: &Memory, block: BlockId, offset: u64, length: usize) {
        let page = PAGE_SIZE as u64;
        for at in offset..offset.saturating_add(length as u64) {
            let Some(frame) = memory.frame_of(block, at / page) else { return };
            let bits = self.frames.entry(frame.0).or_insert_with(|| Box::new([0; PAGE_SIZE / 64]));
            let at = (at % page) as usize;
            if let Some(word) = bits.get_mut(at / 64) {
                *word |= 1 << (at % 64);
            }
        }
    }
}

/// A byte of a block. Blocks of two machines are the same if their names are.
#[derive(Clone, Debug)]
struct Place {
    block: BlockId,
    name: Arc<str>,
    offset: u64,
}

impl PartialEq for Place {
    fn eq(&self, other: &Place) -> bool {
        (&self.name, self.offset) == (&other.name, other.offset)
    }
}

impl Place {
    fn of(target: Target, memory: &Memory) -> Option<Place> {
        match target {
            Target::Block { block, offset } => {
                Some(Place { block, name: memory.info(block).name.into(), offset })
            }
            Target::Device { .. } | Target::Nothing => None,
        }
    }

    fn advanced(&self, distance: u64) -> Place {
        Place { offset: self.offset.wrapping_add(distance), ..self.clone() }
    }

    fn text(place: Option<&Place>) -> String {
        place.map_or("nothing".to_owned(), |place| format!("{}@{:#x}", place.name, place.offset))
    }
}

/// Bytes with consecutive addresses that one range of the view answers.
#[derive(Clone, Debug)]
struct Segment {
    address: u64,
    length: u64,
    read: Option<Place>,
    write: Option<Place>,
}

/// Memory that watches are resolved in.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub memory: &'a Memory,
    pub view: &'a FlatView,
}

impl Seen<'_> {
    /// Who answers `length` bytes from `address` on.
    fn segments(self, address: u64, length: u64) -> Vec<Segment> {
        let end = address.saturating_add(length);
        let mut segments = Vec::new();
        let mut at = address;
        while at < end {
            let range = self.view.lookup(at);
            let stop = match range {
                Some(range) => range.end.saturating_add(1).min(end),
                None => self
                    .view
                    .ranges()
                    .iter()
                    .map(|range| range.start)
                    .find(|start| *start > at)
                    .map_or(end, |start| start.min(end)),
            };
            segments.push(Segment {
                address: at,
                length: stop - at,
                read: range.and_then(|range| Place::of(range.read_at(at), self.memory)),
                write: range.and_then(|range| Place::of(range.write_at(at), self.memory)),
            });
            at = stop;
        }
        segments
    }

    /// What reads of these segments give: all ones where no block answers.
    fn bytes(self, segments: &[Segment]) -> Vec<u8> {
        let mut seen = Vec::new();
        for segment in segments {
            let start = seen.len();
            seen.resize(start + segment.length as usize, 0xff);
            if let (Some(place), Some(bytes)) = (&segment.read, seen.get_mut(start..)) {
                // A block range lies within its block, so this cannot fail; ones stay if it did.
                let _ = self.memory.read_block(place.block, place.offset, bytes);
            }
        }
        seen
    }
}

/// Watched bytes.
#[derive(Clone, Debug)]
struct Bytes {
    address: u64,
    segments: Vec<Segment>,
    /// What is seen there.
    seen: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Item {
    Bytes(Bytes),
    /// Of these, reads are recorded.
    Reads(Bytes),
    Register {
        chip: String,
        register: String,
        last: Value,
    },
}

/// A part of a write that concerns a watch: what came of it, and from where to where in what was
/// written.
type Part = (Effect, usize, usize);

/// Watched bytes that a second look found changed.
struct Found {
    effect: Effect,
    address: u64,
    place: String,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Bytes {
    fn new(address: u64, length: u64, seen: Seen<'_>) -> Bytes {
        let segments = seen.segments(address, length);
        Bytes { address, seen: seen.bytes(&segments), segments }
    }

    /// Takes note of bytes written to a block.
    fn block_written(&mut self, block: BlockId, offset: u64, new: &[u8]) -> Vec<Part> {
        let mut parts = Vec::new();
        for segment in &self.segments {
            let hit = |place: &Option<Place>| {
                let place = place.as_ref().filter(|place| place.block == block)?;
                let (from, to) = overlap(place.offset, segment.length, offset, new.len())?;
                Some((from, to, offset + from as u64 - place.offset))
            };
            if let Some((from, to, within)) = hit(&segment.read) {
                let at = (segment.address - self.address + within) as usize;
                if let (Some(seen), Some(new)) = (self.seen.get_mut(at..at + (to - from)), new.get(from..to))
                {
                    seen.copy_from_slice(new);
                }
                parts.push((Effect::Written, from, to));
            } else if let Some((from, to, _)) = hit(&segment.write) {
                parts.push((Effect::WrittenElsewhere, from, to));
            }
        }
        parts
    }

    /// Looks again after something else than a write that was told of.
    fn look(&mut self, now: Seen<'_>) -> Vec<Found> {
        let length = self.seen.len() as u64;
        let fresh = Bytes::new(self.address, length, now);
        let mut edges: Vec<u64> =
            self.segments.iter().chain(&fresh.segments).map(|segment| segment.address).collect();
        edges.sort_unstable();
        edges.dedup();
        edges.push(self.address.saturating_add(length));
        let mut found = Vec::new();
        for (start, end) in edges.iter().zip(edges.iter().skip(1)) {
            let (from, to) = ((start - self.address) as usize, (end - self.address) as usize);
            let (Some(old), Some(new)) = (self.seen.get(from..to), fresh.seen.get(from..to)) else {
                continue;
            };
            let (before, after) = (self.read_at(*start), fresh.read_at(*start));
            if before != after {
                let place = format!("{} -> {}", Place::text(before.as_ref()), Place::text(after.as_ref()));
                let (effect, address) = (Effect::Remapped, *start);
                found.push(Found { effect, address, place, old: old.to_vec(), new: new.to_vec() });
            } else if let Some(first) = old.iter().zip(new).position(|(old, new)| old != new) {
                let last = old.iter().zip(new).rposition(|(old, new)| old != new).unwrap_or(first);
                let place = after.map(|place| place.advanced(first as u64));
                let place = Place::text(place.as_ref());
                let cut = |bytes: &[u8]| bytes.get(first..=last).unwrap_or_default().to_vec();
                let (effect, address) = (Effect::Written, start + first as u64);
                found.push(Found { effect, address, place, old: cut(old), new: cut(new) });
            }
        }
        *self = fresh;
        found
    }

    /// What answers reads of `address`.
    fn read_at(&self, address: u64) -> Option<Place> {
        let segment = self.segments.iter().rev().find(|segment| segment.address <= address)?;
        Some(segment.read.as_ref()?.advanced(address - segment.address))
    }
}

/// Where `length` bytes from `at` on meet what begins at `start`: from where to where in them.
fn overlap(start: u64, size: u64, at: u64, length: usize) -> Option<(usize, usize)> {
    let end = start.saturating_add(size).min(at.saturating_add(length as u64));
    let from = start.max(at);
    (from < end).then(|| ((from - at) as usize, (end - at) as usize))
}

/// A register's value in a chip's state.
pub(crate) fn register_of<'a>(state: &'a Value, register: &str) -> Option<&'a Value> {
    register.split('.').try_fold(state, |value, name| match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        other => other.get(name),
    })
}

fn register_in(slots: &[Slot], chip: &str, register: &str) -> Option<Value> {
    let state = slots.iter().find(|slot| slot.name == chip)?.device.state().ok()?;
    register_of(&state, register).cloned()
}

impl Item {
    fn new(watched: &Watched, seen: Seen<'_>, slots: &[Slot]) -> Result<Item, ConfigError> {
        let bad = |why: String| ConfigError::new(format!("watch `{watched}`: {why}"));
        match watched {
            Watched::Memory { address, length } => {
                if !(1..=LONGEST_WATCH).contains(length) || address.checked_add(*length).is_none() {
                    return Err(bad(format!("expected 1 to {LONGEST_WATCH} bytes")));
                }
                Ok(Item::Bytes(Bytes::new(*address, *length, seen)))
            }
            Watched::Reads { address, length } => {
                let written = Watched::Memory { address: *address, length: *length };
                match Item::new(&written, seen, slots)? {
                    Item::Bytes(bytes) => Ok(Item::Reads(bytes)),
                    other => Ok(other),
                }
            }
            Watched::Register { chip, register } => {
                let Some(slot) = slots.iter().find(|slot| slot.name == chip) else {
                    let names: Vec<&str> = slots.iter().map(|slot| slot.name).collect();
                    return Err(bad(format!("there is no chip `{chip}`; there are {}", names.join(", "))));
                };
                let state = slot.device.state().unwrap_or_default();
                let last = register_of(&state, register).cloned();
                let last = last.ok_or_else(|| bad(format!("`{chip}` has no such register")))?;
                Ok(Item::Register { chip: chip.clone(), register: register.clone(), last })
            }
        }
    }
}

/// What is noted for a tracer.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Access(Access),
    /// A reset, and how many instructions had retired.
    Reset(u64, ResetPath),
}

/// Notes for a tracer, who takes them after each run.
#[derive(Clone, Debug, Default)]
struct Records {
    accesses: bool,
    records: Vec<Record>,
    /// Accesses from here on are of the instruction in progress, whose offset is not known yet.
    pending: usize,
}

/// Watches, and what has happened to them.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    items: Vec<Item>,
    events: Vec<Event>,
    limit: usize,
    more: u64,
    /// Events from here on are of the instruction in progress, whose offset is not known yet.
    pending: usize,
    in_progress: bool,
    writer: Writer,
    instruction: u64,
    code: Option<Code>,
    written: Option<WrittenBytes>,
    records: Option<Records>,
}

impl Default for Observer {
    fn default() -> Observer {
        Observer {
            items: Vec::new(),
            events: Vec::new(),
            limit: DEFAULT_HISTORY_LIMIT,
            more: 0,
            pending: 0,
            in_progress: false,
            writer: Writer::Host,
            instruction: 0,
            code: None,
            written: None,
            records: None,
        }
    }
}

impl Observer {
    /// Begins to watch; gives the number of the watch.
    pub(crate) fn watch(
        &mut self,
        watched: &Watched,
        seen: Seen<'_>,
        slots: &[Slot],
    ) -> Result<usize, ConfigError> {
        self.items.push(Item::new(watched, seen, slots)?);
        Ok(self.items.len() - 1)
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(crate) fn history(&self) -> History<'_> {
        History { events: &self.events, more: self.more }
    }

    pub(crate) fn record_written(&mut self, on: bool) {
        self.written = on.then(WrittenBytes::default);
    }

    pub(crate) fn written(&self) -> Option<&WrittenBytes> {
        self.written.as_ref()
    }

    /// Begins to note resets for a tracer, and accesses to chips if they are wanted; or forgets them all.
    pub(crate) fn trace(&mut self, on: bool, accesses: bool) {
        if on {
            self.records.get_or_insert_default().accesses = accesses;
        } else {
            self.records = None;
        }
    }

    /// What has been noted since it was last taken.
    pub(crate) fn take_records(&mut self) -> Vec<Record> {
        let Some(records) = &mut self.records else { return Vec::new() };
        records.pending = 0;
        std::mem::take(&mut records.records)
    }

    /// The instruction that makes an access now, where accesses are noted.
    pub(crate) fn noted_access(&self) -> Option<(u64, Option<Code>)> {
        let records = self.records.as_ref().filter(|records| records.accesses);
        records.map(|_| (self.instruction, self.code))
    }

    pub(crate) fn note_access(&mut self, access: Access) {
        if let Some(records) = &mut self.records {
            records.records.push(Record::Access(access));
        }
    }

    /// What the processor must tell of.
    pub(crate) fn observed(&self, memory: &Memory) -> Observed {
        let mut observed = Observed { all: self.written.is_some(), ..Observed::default() };
        let bytes = self.items.iter().filter_map(|item| match item {
            Item::Bytes(bytes) => Some((bytes, false)),
            Item::Reads(bytes) => Some((bytes, true)),
            Item::Register { .. } => None,
        });
        for (segment, reads) in
            bytes.flat_map(|(bytes, reads)| bytes.segments.iter().map(move |segment| (segment, reads)))
        {
            let written = segment.write.as_ref().filter(|_| !reads);
            for place in segment.read.iter().chain(written) {
                let page = PAGE_SIZE as u64;
                let mut at = place.offset;
                let end = place.offset + segment.length;
                while at < end {
                    let next = ((at / page + 1) * page).min(end);
                    if let Some(frame) = memory.frame_of(place.block, at / page) {
                        let add = if reads { Observed::add_reads } else { Observed::add };
                        add(&mut observed, frame.0, (at % page) as usize, (next - at) as usize);
                    }
                    at = next;
                }
            }
        }
        observed
    }

    /// An access of the processor begins, in a run that began `before` instructions after power-on.
    pub(crate) fn cycle(&mut self, before: u64, cycle: Cycle) {
        self.writer = Writer::Processor;
        self.instruction = before + cycle.retired;
        // The offset comes when the instruction is over.
        self.code = Some(Code { selector: cycle.selector, offset: 0, linear: cycle.code_base });
        self.in_progress = true;
    }

    /// Something else than an instruction acts from now on, at `instructions` after power-on.
    pub(crate) fn outside(&mut self, writer: Writer, instructions: u64) {
        self.writer = writer;
        self.instruction = instructions;
        self.code = None;
        self.in_progress = false;
        self.pending = self.events.len();
        if let (Some(records), Writer::Reset(path)) = (&mut self.records, &self.writer) {
            records.records.push(Record::Reset(instructions, *path));
            records.pending = records.records.len();
        }
    }

    /// A chip acts as a bus master; gives who acted before.
    pub(crate) fn bus_master(&mut self, chip: &str) -> Writer {
        std::mem::replace(&mut self.writer, Writer::BusMaster(chip.to_owned()))
    }

    pub(crate) fn set_writer(&mut self, writer: Writer) {
        self.writer = writer;
    }

    /// The instruction that was in progress stood at `offset`.
    pub(crate) fn executed(&mut self, offset: u64) {
        let place = |code: Code| {
            let base = code.linear.wrapping_sub(code.offset);
            // Only 64-bit code is beyond 4 GiB, and there CS has no base.
            let beyond = offset >> 32 != 0;
            let linear = if beyond { offset } else { base.wrapping_add(offset) & 0xffff_ffff };
            Code { offset, linear, ..code }
        };
        if let Some(records) = &mut self.records {
            for record in records.records.iter_mut().skip(records.pending) {
                if let Record::Access(access) = record {
                    access.code = access.code.map(place);
                }
            }
            records.pending = records.records.len();
        }
        for event in self.events.iter_mut().skip(self.pending) {
            event.code = event.code.map(place);
        }
        self.pending = self.events.len();
        self.in_progress = false;
        // What settles after the instruction (a new address map) is its doing.
        self.code = self.code.map(place);
    }

    fn push(
        &mut self,
        watch: usize,
        effect: Effect,
        address: Option<u64>,
        place: String,
        old: Content,
        new: Content,
    ) {
        if self.events.len() >= self.limit {
            self.more += 1;
            return;
        }
        let (instruction, by, code) = (self.instruction, self.writer.clone(), self.code);
        self.events.push(Event { watch, instruction, by, code, effect, address, place, old, new });
        if !self.in_progress {
            self.pending = self.events.len();
        }
    }

    /// The processor is about to write to a frame.
    pub(crate) fn stored(&mut self, store: &Store, memory: &Memory) {
        let size = usize::from(store.size);
        let Some((block, first)) = memory.place_of(Frame(store.frame.0)) else { return };
        let (old, new) = (store.old.to_le_bytes(), store.new.to_le_bytes());
        if let (Some(old), Some(new)) = (old.get(..size), new.get(..size)) {
            self.block_written(memory, (block, first + u64::from(store.offset)), store.physical, old, new);
        }
    }

    /// The processor is about to read from a frame.
    pub(crate) fn loaded(&mut self, load: &Load, memory: &Memory) {
        let Some((block, first)) = memory.place_of(Frame(load.frame.0)) else { return };
        let at = first + u64::from(load.offset);
        for watch in 0..self.items.len() {
            let Some(Item::Reads(bytes)) = self.items.get(watch) else { continue };
            let there = bytes.segments.iter().find_map(|segment| {
                let place = segment.read.as_ref().filter(|place| place.block == block)?;
                overlap(place.offset, segment.length, at, load.size.into())
            });
            let Some((from, to)) = there else { continue };
            let mut read = vec![0xff; to - from];
            // A block range lies within its block, so this cannot fail.
            let _ = memory.read_block(block, at + from as u64, &mut read);
            let place = format!("{}@{:#x}", memory.info(block).name, at + from as u64);
            let address = Some(load.physical.wrapping_add(from as u64));
            let read = Content::Bytes(read);
            self.push(watch, Effect::Read, address, place, read.clone(), read);
        }
    }

    /// Bytes of a block are written, at `address` as the writer gave it.
    pub(crate) fn block_written(
        &mut self,
        memory: &Memory,
        (block, offset): (BlockId, u64),
        address: u64,
        old: &[u8],
        new: &[u8],
    ) {
        if let Some(written) = &mut self.written {
            written.add(memory, block, offset, new.len());
        }
        for watch in 0..self.items.len() {
            let Some(Item::Bytes(bytes)) = self.items.get_mut(watch) else { continue };
            for (effect, from, to) in bytes.block_written(block, offset, new) {
                let (Some(old), Some(new)) = (old.get(from..to), new.get(from..to)) else { continue };
                let place = format!("{}@{:#x}", memory.info(block).name, offset + from as u64);
                let [old, new] = [old, new].map(|bytes| Content::Bytes(bytes.to_vec()));
                self.push(watch, effect, Some(address.wrapping_add(from as u64)), place, old, new);
            }
        }
    }

    /// Nothing takes bytes written at `address`.
    pub(crate) fn dropped(&mut self, address: u64, new: &[u8]) {
        for watch in 0..self.items.len() {
            let Some(Item::Bytes(bytes)) = self.items.get(watch) else { continue };
            let Some((from, to)) = overlap(bytes.address, bytes.seen.len() as u64, address, new.len()) else {
                continue;
            };
            let first = address + from as u64;
            let at = (first - bytes.address) as usize;
            let old = bytes.seen.get(at..at + (to - from)).unwrap_or_default().to_vec();
            let place = Place::text(bytes.read_at(first).as_ref());
            let new = Content::Bytes(new.get(from..to).unwrap_or_default().to_vec());
            self.push(watch, Effect::Dropped, Some(first), place, Content::Bytes(old), new);
        }
    }

    /// Looks at watched memory again, after it or the address map may have changed.
    pub(crate) fn look(&mut self, seen: Seen<'_>) {
        for watch in 0..self.items.len() {
            let bytes = match self.items.get_mut(watch) {
                Some(Item::Bytes(bytes)) => bytes,
                Some(Item::Reads(bytes)) => {
                    *bytes = Bytes::new(bytes.address, bytes.seen.len() as u64, seen);
                    continue;
                }
                _ => continue,
            };
            for Found { effect, address, place, old, new } in bytes.look(seen) {
                let [old, new] = [old, new].map(Content::Bytes);
                self.push(watch, effect, Some(address), place, old, new);
            }
        }
    }

    /// Looks at the watched registers of `chip`, or of all chips, after an access.
    pub(crate) fn look_at_chip(&mut self, chip: Option<&str>, slots: &[Slot]) {
        for watch in 0..self.items.len() {
            let Some(Item::Register { chip: of, register, last }) = self.items.get_mut(watch) else {
                continue;
            };
            if chip.is_some_and(|chip| chip != of) {
                continue;
            }
            // A chip that another machine does not have keeps its last value.
            let Some(now) = register_in(slots, of, register).filter(|now| now != last) else { continue };
            let place = format!("{of}.{register}");
            let old = std::mem::replace(last, now.clone());
            self.push(watch, Effect::Written, None, place, Content::Value(old), Content::Value(now));
        }
    }
}
