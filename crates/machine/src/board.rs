//! The board: memory, chips and clock, wired together; the processor's bus.
//!
//! A chip's access is made here and its effects are applied here, in one visible place
//! ([`Board::apply`]); which pin leads where is in `wiring.rs`, what answers an address in `map.rs`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use warmboot_chipset::{Effects, FlashStore, GuestMemory, Moment, Power, rtc};
use warmboot_cpu::{Bus, Cycle, Frame, Load, Page, Store};
use warmboot_memory::{BlockId, FlatView, Memory, PAGE_SIZE, Range, Target};

use crate::{
    ConfigError,
    clock::{Clock, cost},
    devices::{Device, Slot},
    generations::{Generation, Suspend},
    history::{Observer, Seen, Writer},
    machine_types::MachineType,
    map::{self, Views},
    reset::ResetPath,
    trace::Reached,
};

/// What the processor must be told after a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Signal {
    Nmi,
    Smi,
    Init,
    StartUp(u8),
    /// IGNNE#: the processor goes on in spite of an x87 exception.
    IgnoreNumericError,
}

/// A signal and the number of the processor that gets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub processor: usize,
    pub signal: Signal,
}

/// Whether the machine has power.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum PowerState {
    /// Running.
    #[default]
    On,
    /// Soft off.
    Off,
    /// Suspended to RAM.
    Suspended,
}

/// State of the wires between chips, as a snapshot carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wires {
    /// For each ISA/GSI interrupt line, which slots drive it (bit = slot index).
    pub interrupts: [u64; 24],
    /// The PIC's INTR output.
    pub pic_interrupt: bool,
    /// Address line 20 is not masked.
    pub a20: bool,
    /// Power.
    pub power: PowerState,
}

/// Logs and taps for the host; never part of a digest. Forks share the logs until one adds to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attachments {
    pub debug_log: Arc<Vec<u8>>,
    pub serial_log: Arc<Vec<u8>>,
    pub parallel_log: Arc<Vec<u8>>,
    pub notes: Arc<Vec<String>>,
    pub notes_dropped: u64,
    /// Ports a condition waits for, and the last write that matched: index of the condition.
    pub port_watch: Vec<(u16, Option<u32>)>,
    pub port_hit: Option<usize>,
    /// The path of the last reset, for a condition that waits for it.
    pub reset_hit: Option<ResetPath>,
    /// Somebody may still press a key or send a byte.
    pub input_expected: bool,
}

/// At most this many notes are kept; the rest are counted.
const NOTES_KEPT: usize = 256;

/// At most so many bytes of each log are kept: a guest can print for ever.
const LOG_KEPT: usize = 256 << 20;

/// Adds a byte to a log; false when it has `most` already.
fn log_byte(log: &mut Arc<Vec<u8>>, byte: u8, most: usize) -> bool {
    let room = log.len() < most;
    if room {
        Arc::make_mut(log).push(byte);
    }
    room
}

/// Everything of a machine but its processor.
pub struct Board {
    pub(crate) generation: Generation,
    pub(crate) machine_type: &'static MachineType,
    pub(crate) memory: Memory,
    pub(crate) blocks: map::Blocks,
    pub(crate) slots: Vec<Slot>,
    pub(crate) views: Arc<Views>,
    pub(crate) clock: Clock,
    pub(crate) wires: Wires,
    pub(crate) attachments: Attachments,
    /// How many processors there are.
    pub(crate) processors: usize,
    /// Number of the one that runs; the first between runs.
    pub(crate) current: usize,
    // Requests collected during an access, taken by the machine before the next instruction.
    pub(crate) signals: Vec<Sent>,
    pub(crate) reset_request: Option<ResetPath>,
    pub(crate) debug_exit: Option<u32>,
    pub(crate) panicked: bool,
    pub(crate) redraw: bool,
    pub(crate) a20_changed: bool,
    /// Frames a bus master wrote, for the processor's decoded code.
    pub(crate) written: Vec<(Frame, u16, u16)>,
    /// What is watched and recorded, if anything; never part of a digest.
    pub(crate) observer: Option<Box<Observer>>,
}

/// PCI configuration mechanism 1's data window belongs to no chip: the tag of its I/O range.
pub(crate) const CONFIG_DATA_TAG: u32 = u32::MAX;
/// Nor does its window into memory.
pub(crate) const CONFIG_WINDOW_TAG: u32 = u32::MAX - 2;
/// Ports where nobody answers: what is left of the I/O space itself.
pub(crate) const UNASSIGNED_TAG: u32 = u32::MAX - 1;

impl Board {
    /// A copy that shares memory pages until one of the two writes them.
    pub(crate) fn fork(&mut self) -> Board {
        let memory = self.memory.fork();
        self.with_memory(memory)
    }

    /// Takes over the state of `other`; memory of its own stays where it is still needed.
    pub(crate) fn return_to(&mut self, other: &mut Board) {
        self.memory.return_to(&mut other.memory);
        *self = other.with_memory(std::mem::take(&mut self.memory));
    }

    /// A copy of everything but memory.
    fn with_memory(&self, memory: Memory) -> Board {
        Board {
            generation: self.generation,
            machine_type: self.machine_type,
            memory,
            blocks: self.blocks,
            slots: self.slots.clone(),
            views: self.views.clone(),
            clock: self.clock.clone(),
            wires: self.wires.clone(),
            attachments: self.attachments.clone(),
            processors: self.processors,
            current: self.current,
            signals: self.signals.clone(),
            reset_request: self.reset_request,
            debug_exit: self.debug_exit,
            panicked: self.panicked,
            redraw: self.redraw,
            a20_changed: self.a20_changed,
            written: self.written.clone(),
            observer: self.observer.clone(),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Calls a chip and applies what comes out. `at` is the moment of the access.
    fn with_chip<R>(
        &mut self,
        slot: usize,
        at: Moment,
        call: impl FnOnce(&mut dyn warmboot_chipset::Chip, &mut Effects) -> R,
    ) -> Option<R> {
        let mut effects = Effects::at(at);
        let result = call(self.slots.get_mut(slot)?.device.chip_mut(), &mut effects);
        self.apply(slot, effects);
        Some(result)
    }

    /// Applies a chip's effects: the one place where chips reach each other.
    pub(crate) fn apply(&mut self, slot: usize, mut effects: Effects) {
        let at = effects.now();
        self.look_at_chip(slot);
        for (channel, byte) in effects.output.drain(..) {
            self.host_output(slot, channel, byte);
        }
        for note in effects.notes.drain(..) {
            let name = self.slots.get(slot).map_or("?", |slot| slot.name);
            self.note(|| format!("{name}: {} at {:#x}, value {:#x}", note.what, note.at, note.value));
        }
        if let Some(on) = effects.a20
            && self.wires.a20 != on
        {
            self.wires.a20 = on;
            self.a20_changed = true;
        }
        for store in effects.flash.drain(..) {
            self.store_in_flash(slot, store);
        }
        if effects.zero > 0 {
            self.zero_display(slot, effects.zero);
        }
        self.redraw |= effects.remap;
        for (pin, level) in effects.lines.drain(..) {
            self.route(slot, pin, level, at);
        }
        for message in effects.messages.drain(..) {
            self.deliver(message);
        }
        for vector in effects.end_of_interrupt.drain(..) {
            self.end_of_interrupt(vector, at);
        }
        if effects.smi {
            let processor = self.reached_by_smi(slot);
            self.signal(processor, Signal::Smi);
        }
        if effects.init {
            self.signal_all(Signal::Init);
        }
        if let Some(request) = effects.reset {
            self.reset_request = Some(Generation::path_of(request));
        }
        match effects.power {
            Some(Power::Off) => self.wires.power = PowerState::Off,
            Some(Power::Suspend) => self.suspend(),
            Some(Power::DebugExit(status)) => self.debug_exit = Some(status),
            Some(Power::Panicked) => self.panicked = true,
            None => {}
        }
        if effects.service {
            self.service(slot, at);
        }
    }

    /// A flash chip changes its bytes, which are in the block of its name.
    fn store_in_flash(&mut self, slot: usize, store: FlashStore) {
        let block = self.slots.get(slot).and_then(|slot| self.memory.block(slot.name));
        let Some(block) = block else { return };
        let (mut at, length) = store.range();
        let end = at.saturating_add(length);
        while at < end {
            let mut bytes = [0; PAGE_SIZE];
            let within = at % PAGE_SIZE as u64;
            let length = (end - at).min(PAGE_SIZE as u64 - within);
            let Some(bytes) = bytes.get_mut(..length as usize) else { return };
            if self.memory.read_block(block, at, bytes).is_err() {
                return;
            }
            bytes.iter_mut().for_each(|byte| *byte = store.over(*byte));
            if self.memory.write_block(block, at, bytes).is_err() {
                return;
            }
            if let Some(frame) = self.memory.frame_of(block, at / PAGE_SIZE as u64) {
                self.written.push((Frame(frame.0), within as u16, length as u16));
            }
            at += length;
        }
        self.look();
    }

    /// The guest asked for S3. RAM stays; the rest is lost, which only a wake shows.
    fn suspend(&mut self) {
        if self.generation.suspend_marks_cmos
            && let Some(rtc) = self.rtc_mut()
        {
            rtc.set_cmos(rtc::SHUTDOWN_STATUS, rtc::SHUTDOWN_STATUS_S3);
        }
        match self.generation.suspend {
            Suspend::Waits => self.wires.power = PowerState::Suspended,
            Suspend::ResumesAtOnce => self.reset_request = Some(ResetPath::S3Resume),
        }
    }

    /// Somebody wakes the suspended machine.
    pub(crate) fn wake(&mut self) {
        let is_pm = |device: &Device| matches!(device, Device::Piix4Pm(_) | Device::Ich9Lpc(_));
        self.host_access(is_pm, |device, fx| match device {
            Device::Piix4Pm(pm) => pm.wake(fx),
            Device::Ich9Lpc(lpc) => lpc.wake(fx),
            _ => {}
        });
    }

    /// The button on the case goes to the power management function.
    pub(crate) fn press_power_button(&mut self) -> Result<(), ConfigError> {
        let is_pm = |device: &Device| matches!(device, Device::Piix4Pm(_) | Device::Ich9Lpc(_));
        self.outside(|_| Writer::Host);
        let pressed = self.host_access(is_pm, |device, fx| match device {
            Device::Piix4Pm(pm) => pm.press_power_button(fx),
            Device::Ich9Lpc(lpc) => lpc.press_power_button(fx),
            _ => {}
        });
        pressed.ok_or_else(|| ConfigError::new("this machine has no power button"))
    }

    fn host_output(&mut self, slot: usize, _channel: u8, byte: u8) {
        let log = match self.slots.get(slot).map(|slot| &*slot.device) {
            Some(Device::DebugPort(_)) => &mut self.attachments.debug_log,
            Some(Device::Uart(_)) => &mut self.attachments.serial_log,
            Some(Device::Parallel(_)) => &mut self.attachments.parallel_log,
            _ => return,
        };
        if !log_byte(log, byte, LOG_KEPT) {
            self.note(|| format!("output beyond {LOG_KEPT} bytes is not kept"));
        }
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.attachments.notes.len() < NOTES_KEPT {
            Arc::make_mut(&mut self.attachments.notes).push(text());
        } else {
            self.attachments.notes_dropped += 1;
        }
    }

    /// Lends guest memory to a bus master.
    fn service(&mut self, slot: usize, at: Moment) {
        let mut effects = Effects::at(at);
        // Each PCI chip checks the bus-master bit of its own COMMAND register.
        let before = self.act_as_bus_master(slot);
        let Board { slots, memory, views, written, observer, .. } = self;
        let Some(slot_ref) = slots.get_mut(slot) else { return };
        let mut lent = Lent { memory, view: &views.memory, written, observer: observer.as_deref_mut() };
        slot_ref.device.chip_mut().service(&mut lent, &mut effects);
        // One request, one call: a chip that wants more sets a deadline.
        effects.service = false;
        self.apply(slot, effects);
        self.act_as(before);
    }

    /// Runs the deadlines that have come, earliest first, ties by slot.
    pub(crate) fn run_events(&mut self) {
        let now = self.now();
        // A chip must move its deadline forward; the bound keeps a broken one from hanging us.
        for _ in 0..100_000 {
            let Some((deadline, slot)) = self.next_event() else { return };
            if deadline > now {
                return;
            }
            self.outside(|board| {
                Writer::Chip(board.slots.get(slot).map_or("?", |slot| slot.name).to_owned())
            });
            self.with_chip(slot, now, |chip, fx| chip.on_deadline(fx));
            self.run_floppy_dma(now);
        }
    }

    /// The earliest deadline and its slot.
    pub(crate) fn next_event(&mut self) -> Option<(Moment, usize)> {
        let deadlines = self.slots.iter_mut().enumerate();
        deadlines.filter_map(|(index, slot)| Some((slot.device.deadline()?, index))).min()
    }

    /// Resets every chip, in slot order.
    pub(crate) fn reset_chips(&mut self, kind: warmboot_chipset::ResetKind) {
        let now = self.now();
        for slot in 0..self.slots.len() {
            self.with_chip(slot, now, |chip, fx| chip.reset(kind, fx));
        }
        self.redraw = true;
    }

    /// Lets the host touch a chip (a key, a serial byte) with effects applied.
    pub(crate) fn host_access<R>(
        &mut self,
        select: impl Fn(&Device) -> bool,
        call: impl FnOnce(&mut Device, &mut Effects) -> R,
    ) -> Option<R> {
        let slot = self.slots.iter().position(|slot| select(&slot.device))?;
        let mut effects = Effects::at(self.now());
        let result = call(&mut self.slots[slot].device, &mut effects);
        self.apply(slot, effects);
        Some(result)
    }

    fn chip_read(&mut self, tag: u32, offset: u64, size: u8, reached: Reached, at: Moment) -> u64 {
        let (slot, index) = (self.own_chip((tag >> 8) as usize), tag as u8);
        if self.is_window(slot, index) {
            let access = self.begin_access(reached, Some((tag, offset)), size, false);
            let bits = self.window_read(slot, offset, size) & ones(size);
            self.end_access(access, bits);
            return bits;
        }
        let widest = self.views.most(tag, offset).min(size);
        let mut value = 0;
        let mut done = 0;
        while done < size {
            let part = power_of_two(widest.min(size - done));
            let at_offset = offset + u64::from(done);
            let access = self.begin_access(reached.plus(done), Some((tag, at_offset)), part, false);
            let bits = if tag == CONFIG_WINDOW_TAG {
                u64::from(self.config_read(self.window_target(at_offset), part, at))
            } else {
                let bits = self.with_chip(slot, at, |chip, fx| chip.read(index, at_offset, part, fx));
                bits.unwrap_or(u64::MAX)
            };
            let bits = bits & ones(part);
            self.end_access(access, bits);
            value |= bits << (8 * done);
            done += part;
        }
        value
    }

    fn chip_write(&mut self, (tag, offset): (u32, u64), size: u8, value: u64, reached: Reached, at: Moment) {
        let (slot, index) = (self.own_chip((tag >> 8) as usize), tag as u8);
        if self.is_window(slot, index) {
            let access = self.begin_access(reached, Some((tag, offset)), size, true);
            self.window_write(slot, offset, size, value);
            self.end_access(access, value);
            return;
        }
        let widest = self.views.most(tag, offset).min(size);
        let mut done = 0;
        while done < size {
            let part = power_of_two(widest.min(size - done));
            let bits = (value >> (8 * done)) & ones(part);
            let at_offset = offset + u64::from(done);
            let access = self.begin_access(reached.plus(done), Some((tag, at_offset)), part, true);
            self.end_access(access, bits);
            if tag == CONFIG_WINDOW_TAG {
                self.config_write(self.window_target(at_offset), part, bits as u32, at);
            } else {
                self.with_chip(slot, at, |chip, fx| chip.write(index, at_offset, part, bits, fx));
            }
            done += part;
        }
    }

    /// A configuration read; where no function is, all ones.
    fn config_read(&mut self, target: Option<(usize, u8)>, size: u8, at: Moment) -> u32 {
        let read =
            |(slot, register)| self.with_chip(slot, at, |chip, fx| chip.config_read(register, size, fx));
        target.and_then(read).unwrap_or(u32::MAX)
    }

    /// A configuration write; where no function is, it is lost.
    fn config_write(&mut self, target: Option<(usize, u8)>, size: u8, value: u32, at: Moment) {
        if let Some((slot, register)) = target {
            self.with_chip(slot, at, |chip, fx| chip.config_write(register, size, value, fx));
        }
    }

    /// An I/O read: each chip gets at most what its region takes at once and holds.
    fn io_read(&mut self, port: u16, size: u8, at: Moment) -> u64 {
        let mut value = 0;
        let mut done = 0;
        while done < size {
            let here = u64::from(port) + u64::from(done);
            let reached = Reached::port(here);
            let (target, part) = self.io_part(here, size - done, |range| range.read_at(here));
            let bits = match target {
                Some(Target::Device { tag: CONFIG_DATA_TAG, offset }) => {
                    let access = self.begin_access(reached, Some((CONFIG_DATA_TAG, offset)), part, false);
                    let bits = u64::from(self.config_read(self.config_target(offset), part, at));
                    self.end_access(access, bits & ones(part));
                    bits
                }
                Some(Target::Device { tag, offset }) if tag != UNASSIGNED_TAG => {
                    self.chip_read(tag, offset, part, reached, at)
                }
                _ => {
                    let access = self.begin_access(reached, None, part, false);
                    self.end_access(access, ones(part));
                    self.note(|| format!("read of port {here:#x}, where nothing answers"));
                    u64::MAX
                }
            };
            value |= (bits & ones(part)) << (8 * done);
            done += part;
        }
        value
    }

    fn io_write(&mut self, port: u16, size: u8, value: u64, at: Moment) {
        let mut done = 0;
        while done < size {
            let here = u64::from(port) + u64::from(done);
            let (target, part) = self.io_part(here, size - done, |range| range.write_at(here));
            let bits = value >> (8 * done) & ones(part);
            let reached = Reached::port(here);
            match target {
                Some(Target::Device { tag: CONFIG_DATA_TAG, offset }) => {
                    let access = self.begin_access(reached, Some((CONFIG_DATA_TAG, offset)), part, true);
                    self.end_access(access, bits);
                    self.config_write(self.config_target(offset), part, bits as u32, at);
                }
                Some(Target::Device { tag, offset }) if tag != UNASSIGNED_TAG => {
                    self.chip_write((tag, offset), part, bits, reached, at);
                }
                _ => {
                    let access = self.begin_access(reached, None, part, true);
                    self.end_access(access, bits);
                    self.note(|| format!("write of {bits:#x} to port {here:#x}, where nothing answers"));
                }
            }
            done += part;
        }
    }

    /// Who answers the port `here`, and how many of `left` bytes it takes.
    fn io_part(&self, here: u64, left: u8, target: impl Fn(&Range) -> Target) -> (Option<Target>, u8) {
        let target = self.views.io.lookup(here).map(target);
        let part = match target {
            Some(Target::Device { tag, offset }) => self.views.most(tag, offset).min(left),
            _ => left,
        };
        (target, power_of_two(part))
    }

    /// Reads memory as a processor in SMM or outside it sees it, without side effects: device ranges read
    /// all ones.
    pub(crate) fn peek_in(&self, smm: bool, address: u64, bytes: &mut [u8]) {
        let view = if smm { &self.views.smm } else { &self.views.memory };
        peek(&self.memory, view, address, bytes);
    }

    /// Reads memory as a bus master sees it, without side effects: device ranges read all ones.
    pub(crate) fn peek(&self, address: u64, bytes: &mut [u8]) {
        peek(&self.memory, &self.views.memory, address, bytes);
    }
}

impl Board {
    /// Guest memory as a bus master has it.
    pub(crate) fn lend(&mut self) -> impl GuestMemory + '_ {
        Lent {
            memory: &mut self.memory,
            view: &self.views.memory,
            written: &mut self.written,
            observer: self.observer.as_deref_mut(),
        }
    }
}

/// All ones in `size` bytes.
fn ones(size: u8) -> u64 {
    if size >= 8 { u64::MAX } else { (1 << (8 * u32::from(size))) - 1 }
}

/// The widest access of at most `size` bytes: there are none of three bytes.
fn power_of_two(size: u8) -> u8 {
    1 << size.max(1).ilog2()
}

fn peek(memory: &Memory, view: &FlatView, address: u64, bytes: &mut [u8]) {
    let mut done = 0;
    while done < bytes.len() {
        let here = address.wrapping_add(done as u64);
        let rest = bytes.len() - done;
        let step = match view.lookup(here) {
            Some(range) => {
                let available = (range.end - here).saturating_add(1).min(rest as u64) as usize;
                let part = &mut bytes[done..done + available];
                match range.read {
                    Target::Block { block, offset } => {
                        if memory.read_block(block, offset + (here - range.start), part).is_err() {
                            part.fill(0xff);
                        }
                    }
                    _ => part.fill(0xff),
                }
                available
            }
            None => {
                let step = unassigned(view, here, rest);
                bytes[done..done + step].fill(0xff);
                step
            }
        };
        done += step;
    }
}

/// How many of `rest` bytes from `here` on, where nothing answers, lie where nothing does. Never none, and
/// none beyond the last address, so that what goes on begins at zero again.
fn unassigned(view: &FlatView, here: u64, rest: usize) -> usize {
    let to_end = (u64::MAX - here).saturating_add(1);
    let step = view.unassigned_from(here).unwrap_or(to_end).min(to_end).min(rest as u64);
    step.max(1) as usize
}

/// Guest memory as a bus master has it for one service call.
struct Lent<'a> {
    memory: &'a mut Memory,
    view: &'a FlatView,
    written: &'a mut Vec<(Frame, u16, u16)>,
    observer: Option<&'a mut Observer>,
}

impl GuestMemory for Lent<'_> {
    fn read(&mut self, address: u64, bytes: &mut [u8]) {
        peek(self.memory, self.view, address, bytes);
    }

    fn write(&mut self, address: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let here = address.wrapping_add(done as u64);
            let Some(range) = self.view.lookup(here) else {
                let step = unassigned(self.view, here, bytes.len() - done);
                if let (Some(observer), Some(part)) = (&mut self.observer, bytes.get(done..done + step)) {
                    observer.dropped(here, part);
                }
                done += step;
                continue;
            };
            // Page by page, so that the processor's decoded code can be told.
            let in_page = 4096 - (here & 0xfff);
            let available =
                (range.end - here).saturating_add(1).min(in_page).min((bytes.len() - done) as u64) as usize;
            let part = &bytes[done..done + available];
            if let (Target::Nothing, Some(observer)) = (range.write, &mut self.observer) {
                observer.dropped(here, part);
            }
            if let Target::Block { block, offset } = range.write {
                let offset = offset + (here - range.start);
                tell_of_write(self.observer.as_deref_mut(), self.memory, (block, offset), here, part);
                if self.memory.write_block(block, offset, part).is_ok() {
                    let frame = self.memory.frame_of(block, offset >> 12);
                    let entry =
                        frame.map(|frame| (Frame(frame.0), (offset & 0xfff) as u16, available as u16));
                    self.written.extend(entry);
                }
            }
            done += available;
        }
    }
}

/// Tells of bytes that are about to be written to a block.
pub(crate) fn tell_of_write(
    observer: Option<&mut Observer>,
    memory: &Memory,
    (block, offset): (BlockId, u64),
    address: u64,
    new: &[u8],
) {
    let Some(observer) = observer else { return };
    let mut old = vec![0; new.len()];
    if memory.read_block(block, offset, &mut old).is_ok() {
        observer.block_written(memory, (block, offset), address, &old, new);
    }
}

/// What the observer is told, when there is one.
impl Board {
    /// An access of the processor begins, at the moment given back.
    fn begin(&mut self, cycle: Cycle) -> Moment {
        if let Some(observer) = &mut self.observer {
            observer.cycle(self.clock.instructions, cycle);
        }
        self.clock.access(cycle.retired)
    }

    /// Something else than an instruction acts from now on.
    pub(crate) fn outside(&mut self, writer: impl FnOnce(&Board) -> Writer) {
        if self.observer.is_some() {
            let writer = writer(self);
            let instructions = self.clock.instructions;
            if let Some(observer) = &mut self.observer {
                observer.outside(writer, instructions);
            }
        }
    }

    /// The chip in `slot` writes memory from now on; gives who acted before.
    pub(crate) fn act_as_bus_master(&mut self, slot: usize) -> Option<Writer> {
        let name = self.slots.get(slot)?.name;
        Some(self.observer.as_mut()?.bus_master(name))
    }

    /// Back to who acted before.
    pub(crate) fn act_as(&mut self, writer: Option<Writer>) {
        if let (Some(observer), Some(writer)) = (&mut self.observer, writer) {
            observer.set_writer(writer);
        }
    }

    /// A chip may have changed: looks at the watched registers of it.
    pub(crate) fn look_at_chip(&mut self, slot: usize) {
        if let (Some(observer), Some(slot)) = (&mut self.observer, self.slots.get(slot)) {
            observer.look_at_chip(Some(slot.name), &self.slots);
        }
    }

    /// Memory, the address map or any chip may have changed: looks at all that is watched.
    pub(crate) fn look(&mut self) {
        if let Some(observer) = &mut self.observer {
            observer.look(Seen { memory: &self.memory, view: &self.views.memory });
            observer.look_at_chip(None, &self.slots);
        }
    }
}

impl Bus for Board {
    fn stored(&mut self, cycle: Cycle, store: Store) {
        if let Some(observer) = &mut self.observer {
            observer.cycle(self.clock.instructions, cycle);
            observer.stored(&store, &self.memory);
        }
    }

    fn loaded(&mut self, cycle: Cycle, load: Load) {
        if let Some(observer) = &mut self.observer {
            observer.cycle(self.clock.instructions, cycle);
            observer.loaded(&load, &self.memory);
        }
    }

    fn executed(&mut self, offset: u64) {
        if let Some(observer) = &mut self.observer {
            observer.executed(offset);
        }
    }

    fn page(&mut self, physical: u64, smm: bool) -> Page {
        let view = if smm { &self.views.smm } else { &self.views.memory };
        let (read, write) = view.page(&self.memory, physical);
        Page { read: read.map(|frame| Frame(frame.0)), write: write.map(|frame| Frame(frame.0)) }
    }

    #[inline]
    fn frame(&self, frame: Frame) -> &[u8; 4096] {
        self.memory.frame(warmboot_memory::Frame(frame.0))
    }

    #[inline]
    fn frame_mut(&mut self, frame: Frame) -> &mut [u8; 4096] {
        self.memory.frame_mut(warmboot_memory::Frame(frame.0))
    }

    fn hold(&mut self, place: usize, frame: Frame) {
        self.memory.hold(place, warmboot_memory::Frame(frame.0));
    }

    #[inline(always)]
    fn held(&self, place: usize, frame: Frame) -> Option<&[u8; 4096]> {
        debug_assert!(self.memory.held_frame(place).is_none_or(|held| held.0 == frame.0));
        self.memory.held(place)
    }

    #[inline(always)]
    fn held_mut(&mut self, place: usize, frame: Frame) -> Option<&mut [u8; 4096]> {
        debug_assert!(self.memory.held_frame(place).is_none_or(|held| held.0 == frame.0));
        self.memory.held_mut(place)
    }

    fn read(&mut self, cycle: Cycle, physical: u64, size: u8) -> u64 {
        let at = self.begin(cycle);
        let mut value = 0;
        let mut done = 0;
        while done < size {
            let here = physical + u64::from(done);
            let view = if cycle.smm { &self.views.smm } else { &self.views.memory };
            let Some(range) = view.lookup(here) else {
                let bits = u64::from(self.generation.unmapped_reads);
                let access = self.begin_access(Reached::memory(here), None, 1, false);
                self.end_access(access, bits);
                value |= bits << (8 * done);
                done += 1;
                continue;
            };
            let part = (range.end - here).saturating_add(1).min(u64::from(size - done)) as u8;
            let offset_in = here - range.start;
            let bits = match range.read {
                Target::Device { tag, offset } => {
                    self.chip_read(tag, offset + offset_in, part, Reached::memory(here), at)
                }
                Target::Block { block, offset } => {
                    let mut bytes = [0xff; 8];
                    let taken = bytes.get_mut(..usize::from(part)).unwrap_or_default();
                    // A block range lies within its block, so this cannot fail; ones if it did.
                    let _ = self.memory.read_block(block, offset + offset_in, taken);
                    u64::from_le_bytes(bytes) & ones(part)
                }
                Target::Nothing => {
                    let bits = u64::from_ne_bytes([self.generation.unmapped_reads; 8]) & ones(part);
                    let access = self.begin_access(Reached::memory(here), None, part, false);
                    self.end_access(access, bits);
                    bits
                }
            };
            value |= bits << (8 * done);
            done += part;
        }
        value
    }

    fn write(&mut self, cycle: Cycle, physical: u64, size: u8, value: u64) {
        let at = self.begin(cycle);
        let mut done = 0;
        while done < size {
            let here = physical + u64::from(done);
            let view = if cycle.smm { &self.views.smm } else { &self.views.memory };
            let Some(range) = view.lookup(here) else {
                if let Some(observer) = &mut self.observer {
                    observer.dropped(here, &[(value >> (8 * done)) as u8]);
                }
                let access = self.begin_access(Reached::memory(here), None, 1, true);
                self.end_access(access, value >> (8 * done) & 0xff);
                done += 1;
                continue;
            };
            let part = (range.end - here).saturating_add(1).min(u64::from(size - done)) as u8;
            let offset_in = here - range.start;
            let bits = (value >> (8 * done)) & ones(part);
            match range.write {
                Target::Device { tag, offset } => {
                    let target = (tag, offset + offset_in);
                    self.chip_write(target, part, bits, Reached::memory(here), at);
                }
                Target::Block { block, offset } => {
                    let offset = offset + offset_in;
                    let bytes = bits.to_le_bytes();
                    let taken = bytes.get(..usize::from(part)).unwrap_or_default();
                    let observer = self.observer.as_deref_mut();
                    tell_of_write(observer, &self.memory, (block, offset), here, taken);
                    if self.memory.write_block(block, offset, taken).is_ok() {
                        let frame = self.memory.frame_of(block, offset >> 12);
                        let entry =
                            frame.map(|frame| (Frame(frame.0), (offset & 0xfff) as u16, u16::from(part)));
                        self.written.extend(entry);
                    }
                }
                Target::Nothing => {
                    let access = self.begin_access(Reached::memory(here), None, part, true);
                    self.end_access(access, bits);
                    let bytes = bits.to_le_bytes();
                    if let (Some(observer), Some(taken)) =
                        (&mut self.observer, bytes.get(..usize::from(part)))
                    {
                        observer.dropped(here, taken);
                    }
                }
            }
            done += part;
        }
    }

    fn port_read(&mut self, cycle: Cycle, port: u16, size: u8) -> u32 {
        let at = self.begin(cycle);
        self.clock.extra += cost::PORT;
        self.io_read(port, size, at) as u32
    }

    fn port_write(&mut self, cycle: Cycle, port: u16, size: u8, value: u32) {
        let at = self.begin(cycle);
        self.clock.extra += cost::PORT;
        self.io_write(port, size, u64::from(value), at);
        let watch = &self.attachments.port_watch;
        let hit = watch
            .iter()
            .position(|(watched, wanted)| *watched == port && wanted.is_none_or(|wanted| wanted == value));
        if hit.is_some() {
            self.attachments.port_hit = hit;
        }
        self.run_floppy_dma(at);
    }

    fn time(&mut self, cycle: Cycle) -> u64 {
        self.clock.own(cycle.retired)
    }

    fn pause(&mut self, _cycle: Cycle) {
        self.clock.extra += cost::PAUSE;
    }

    fn acknowledge_interrupt(&mut self, cycle: Cycle) -> Option<u8> {
        let at = self.begin(cycle);
        self.acknowledge(at)
    }

    fn apic_base_written(&mut self, cycle: Cycle, value: u64) {
        let at = self.begin(cycle);
        self.set_apic_base(self.current, value, at);
    }

    fn apic_register(&mut self, cycle: Cycle, number: u8) -> Option<u64> {
        let at = self.begin(cycle);
        let access = self.begin_apic_access(number, false);
        let found = self.with_local_apic(at, |apic, fx| apic.read_msr(number, fx)).flatten();
        // What is refused is an exception, and no access.
        if let Some(value) = found {
            self.end_access(access, value);
        }
        found
    }

    fn set_apic_register(&mut self, cycle: Cycle, number: u8, value: u64) -> bool {
        let at = self.begin(cycle);
        let access = self.begin_apic_access(number, true);
        let taken = self.with_local_apic(at, |apic, fx| apic.write_msr(number, value, fx)).unwrap_or(false);
        if taken {
            self.end_access(access, value);
        }
        taken
    }

    fn numeric_error(&mut self, cycle: Cycle) {
        let at = self.begin(cycle);
        self.coprocessor_error(true, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_end() {
        let mut log = Arc::new(Vec::new());
        let taken: Vec<bool> = b"abc".iter().map(|byte| log_byte(&mut log, *byte, 2)).collect();
        assert_eq!((taken, log.as_slice()), (vec![true, true, false], &b"ab"[..]));
    }
}
