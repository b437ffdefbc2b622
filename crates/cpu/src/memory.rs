//! From linear addresses to bytes: paging (Intel SDM vol. 3A, chapter 4), frames, the bus.

use crate::{
    Bus, Core, Cycle, Exception, Exec, Frame, Store,
    access::attention,
    state::{cr0, cr4, efer},
    tlb::{Access, Entry, NO_FRAME, chunks, context},
    width::Width,
};

/// Bits of page-table entries (tables 4-4 to 4-11).
mod entry {
    pub(super) const PRESENT: u64 = 1 << 0;
    pub(super) const WRITABLE: u64 = 1 << 1;
    pub(super) const USER: u64 = 1 << 2;
    pub(super) const ACCESSED: u64 = 1 << 5;
    pub(super) const DIRTY: u64 = 1 << 6;
    pub(super) const LARGE: u64 = 1 << 7;
    pub(super) const NO_EXECUTE: u64 = 1 << 63;
}

/// Bits of a page fault's error code (section 4.7).
mod fault {
    pub(super) const PRESENT: u32 = 1 << 0;
    pub(super) const WRITE: u32 = 1 << 1;
    pub(super) const USER: u32 = 1 << 2;
    pub(super) const RESERVED: u32 = 1 << 3;
    pub(super) const FETCH: u32 = 1 << 4;
}

const LINEAR: u64 = 0xffff_ffff;

/// Where an access of at most the rest of a page goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) physical: u64,
    /// [`NO_FRAME`]: through the bus.
    pub(crate) frame: u32,
    /// For writes: where a read comes from.
    pub(crate) read_frame: u32,
}

impl Target {
    /// The same page seen by a read.
    fn read_side(self) -> Target {
        Target { frame: self.read_frame, ..self }
    }
}

/// A range of at most 8 bytes translated for writing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    first: Target,
    /// The part on the next page, and where it begins.
    second: Option<(Target, u8)>,
}

/// One step of a walk that is to be marked accessed or dirty.
#[derive(Clone, Copy, Default)]
struct Step {
    address: u64,
    value: u64,
    size: u8,
}

impl Core {
    /// The exact position of the current instruction.
    #[inline(always)]
    pub fn cycle(&self) -> Cycle {
        let cs = self.state.cs();
        Cycle { retired: self.retired, smm: self.state.smm, selector: cs.selector, code_base: cs.base }
    }

    /// Tells the machine where the instruction was whose accesses it has seen.
    #[inline]
    pub(crate) fn report<B: Bus>(&mut self, bus: &mut B, offset: u64) {
        if self.attention & (attention::DEVICE | attention::OBSERVED) != 0 {
            bus.executed(offset);
        }
    }

    /// Writes bytes of a frame, within it.
    fn store_frame<B: Bus>(&mut self, bus: &mut B, frame: Frame, physical: u64, size: u8, value: u64) {
        let offset = (physical & 0xfff) as usize;
        if self.watch.observes(frame.0, chunks(offset, size.into())) {
            let old = little_endian(bus.frame(frame), offset, size.into());
            let store = Store { physical, frame, offset: offset as u16, size, old, new: value };
            bus.stored(self.cycle(), store);
            self.attention |= attention::OBSERVED;
        }
        store_bytes(bus.frame_mut(frame), offset, size.into(), value);
    }

    /// Ends the run after this instruction, so that the machine can look.
    pub fn device_touched(&mut self) {
        self.attention |= attention::DEVICE;
    }

    pub(crate) fn tag_context(&self, user: bool) -> u64 {
        context::VALID | if user { context::USER } else { 0 } | if self.state.smm { context::SMM } else { 0 }
    }

    /// Forgets all translations and ends the current block.
    pub(crate) fn flush_tlb(&mut self) {
        self.tlb.flush();
        self.watch.forget_tables();
        self.attention |= attention::END_BLOCK;
    }

    /// Translates `linear` (one page).
    pub(crate) fn resolve<B: Bus>(
        &mut self,
        bus: &mut B,
        linear: u64,
        access: Access,
        user: bool,
    ) -> Result<Target, Exception> {
        let tag = (linear & !0xfff) | self.tag_context(user);
        if self.cached
            && let Some(slot) = self.tlb.slot(access, linear)
            && slot.tag & !context::DEVICE == tag
        {
            return Ok(Target {
                physical: slot.physical | (linear & 0xfff),
                frame: slot.frame,
                read_frame: slot.read_frame,
            });
        }
        self.uncacheable_walk = false;
        let physical =
            if self.state.paging() { self.walk(bus, linear, access, user)? } else { linear } & self.a20_mask;
        let page = bus.page(physical & !0xfff, self.state.smm);
        let read_frame = page.read.map_or(NO_FRAME, |frame| frame.0);
        let frame = match access {
            Access::Write => page.write.map_or(NO_FRAME, |frame| frame.0),
            Access::Read | Access::Fetch => read_frame,
        };
        if self.cached && !self.uncacheable_walk {
            let device = if frame == NO_FRAME { context::DEVICE } else { 0 };
            let watched = match access {
                Access::Write => self.watch.chunks(frame),
                Access::Read | Access::Fetch => 0,
            };
            let entry = Entry { tag: tag | device, physical: physical & !0xfff, watched, frame, read_frame };
            self.tlb.insert(access, entry);
        }
        Ok(Target { physical, frame, read_frame })
    }

    /// Walks the page tables and sets accessed and dirty bits, once nothing can fault any more.
    fn walk<B: Bus>(
        &mut self,
        bus: &mut B,
        linear: u64,
        access: Access,
        user: bool,
    ) -> Result<u64, Exception> {
        let no_execute = self.state.msrs.efer & efer::NXE != 0 && self.state.cr4 & cr4::PAE != 0;
        let reasons = if access == Access::Write { fault::WRITE } else { 0 }
            | if user { fault::USER } else { 0 }
            | if access == Access::Fetch && no_execute { fault::FETCH } else { 0 };
        let page_fault = |more: u32| Exception { vector: 14, error: Some(reasons | more), address: linear };

        let pae = self.state.cr4 & cr4::PAE != 0;
        let beyond = u64::MAX << self.model.physical_bits;
        let mut rights = entry::WRITABLE | entry::USER;
        let mut forbids = 0;
        let mut steps = [Step::default(); 2];
        let size = if pae { 8 } else { 4 };

        // The directory entry.
        let directory = if pae {
            let pointer = self.state.pdpte[(linear >> 30) as usize & 3];
            if pointer & entry::PRESENT == 0 {
                return Err(page_fault(0));
            }
            (pointer & 0x000f_ffff_ffff_f000) + ((linear >> 21) & 0x1ff) * 8
        } else {
            (self.state.cr3 & 0xffff_f000) + ((linear >> 22) & 0x3ff) * 4
        };
        let upper = self.read_table(bus, directory, size);
        if upper & entry::PRESENT == 0 {
            return Err(page_fault(0));
        }
        let reserved = |value: u64, large: u64| {
            let high = if pae {
                (beyond & !entry::NO_EXECUTE) | if no_execute { 0 } else { entry::NO_EXECUTE }
            } else {
                0
            };
            value & (high | large) != 0
        };
        steps[0] = Step { address: directory, value: upper, size };
        rights &= upper;
        forbids |= upper;
        let large = upper & entry::LARGE != 0 && (pae || self.state.cr4 & cr4::PSE != 0);
        let physical = if large && pae {
            if reserved(upper, 0x001f_e000) {
                return Err(page_fault(fault::PRESENT | fault::RESERVED));
            }
            (upper & 0x000f_ffff_ffe0_0000) | (linear & 0x001f_ffff)
        } else if large {
            let high = (upper >> 13) & 0xff;
            if upper & (1 << 21) != 0 || (high << 32) & beyond != 0 {
                return Err(page_fault(fault::PRESENT | fault::RESERVED));
            }
            (upper & 0xffc0_0000) | (high << 32) | (linear & 0x003f_ffff)
        } else {
            if reserved(upper, 0) {
                return Err(page_fault(fault::PRESENT | fault::RESERVED));
            }
            let table = if pae {
                (upper & 0x000f_ffff_ffff_f000) + ((linear >> 12) & 0x1ff) * 8
            } else {
                (upper & 0xffff_f000) + ((linear >> 12) & 0x3ff) * 4
            };
            let lower = self.read_table(bus, table, size);
            if lower & entry::PRESENT == 0 {
                return Err(page_fault(0));
            }
            if reserved(lower, 0) {
                return Err(page_fault(fault::PRESENT | fault::RESERVED));
            }
            steps[1] = Step { address: table, value: lower, size };
            rights &= lower;
            forbids |= lower;
            let frame = if pae { 0x000f_ffff_ffff_f000 } else { 0xffff_f000 };
            (lower & frame) | (linear & 0xfff)
        };

        let denied = (user && rights & entry::USER == 0)
            || (access == Access::Write
                && rights & entry::WRITABLE == 0
                && (user || self.state.cr0 & cr0::WP != 0))
            || (access == Access::Fetch && no_execute && forbids & entry::NO_EXECUTE != 0);
        if denied {
            return Err(page_fault(fault::PRESENT));
        }
        let leaf = usize::from(!large);
        for (index, step) in steps.iter().enumerate().take(leaf + 1) {
            let mut value = step.value | entry::ACCESSED;
            if index == leaf && access == Access::Write {
                value |= entry::DIRTY;
            }
            if value != step.value {
                self.write_table(bus, step.address, step.size, value);
            }
        }
        Ok(physical)
    }

    fn read_table<B: Bus>(&mut self, bus: &mut B, address: u64, size: u8) -> u64 {
        let physical = address & self.a20_mask;
        let page = bus.page(physical & !0xfff, self.state.smm);
        match page.read {
            Some(frame) => {
                let offset = (physical & 0xfff) as usize;
                if self.cached {
                    self.watch.add_tables(&mut self.tlb, frame.0, chunks(offset, size.into()));
                }
                little_endian(bus.frame(frame), offset, size.into())
            }
            None => {
                self.uncacheable_walk = true;
                self.device_touched();
                bus.read(self.cycle(), physical, size)
            }
        }
    }

    /// Sets accessed and dirty bits: changes no translation, so the TLB stays.
    fn write_table<B: Bus>(&mut self, bus: &mut B, address: u64, size: u8, value: u64) {
        let physical = address & self.a20_mask;
        let page = bus.page(physical & !0xfff, self.state.smm);
        match page.write {
            Some(frame) => {
                let offset = (physical & 0xfff) as usize;
                self.store_frame(bus, frame, physical, size, value);
                self.code_hit(frame, offset, size.into());
            }
            None => {
                self.device_touched();
                bus.write(self.cycle(), physical, size, value);
            }
        }
    }

    /// Loads the four PDPTE registers from CR3's table (section 4.4.1).
    pub(crate) fn load_pdptes<B: Bus>(&mut self, bus: &mut B, cr3: u64) -> Exec {
        let reserved = (u64::MAX << self.model.physical_bits) | 0x1e6;
        let mut pointers = [0; 4];
        for (index, pointer) in (0..).zip(&mut pointers) {
            *pointer = self.read_table(bus, (cr3 & 0xffff_ffe0) + index * 8, 8);
            if *pointer & entry::PRESENT != 0 && *pointer & reserved != 0 {
                return Err(Exception::general_protection(0));
            }
        }
        self.state.pdpte = pointers;
        Ok(())
    }

    /// Notes a write of decoded code.
    fn code_hit(&mut self, frame: Frame, offset: usize, length: usize) {
        let (code, _) = self.watch.hit(frame.0, chunks(offset, length));
        if code {
            self.written.push((frame.0, offset as u16, length as u16));
            self.attention |= attention::END_BLOCK;
        }
    }

    /// Notices that bytes of a frame have changed: decoded code and translations made from them
    /// are dropped.
    #[cold]
    pub(crate) fn frame_written(&mut self, frame: Frame, offset: usize, length: usize) {
        let (code, tables) = self.watch.hit(frame.0, chunks(offset, length));
        if code {
            self.written.push((frame.0, offset as u16, length as u16));
            self.attention |= attention::END_BLOCK;
        }
        if tables {
            self.flush_tlb();
        }
    }

    pub(crate) fn read_part<B: Bus>(&mut self, bus: &mut B, target: Target, size: u8) -> u64 {
        if target.frame == NO_FRAME {
            self.device_touched();
            bus.read(self.cycle(), target.physical, size)
        } else {
            let page = bus.frame(Frame(target.frame));
            little_endian(page, (target.physical & 0xfff) as usize, size.into())
        }
    }

    fn write_part<B: Bus>(&mut self, bus: &mut B, target: Target, size: u8, value: u64) {
        if target.frame == NO_FRAME {
            self.device_touched();
            bus.write(self.cycle(), target.physical, size, value);
        } else {
            let frame = Frame(target.frame);
            let offset = (target.physical & 0xfff) as usize;
            self.store_frame(bus, frame, target.physical, size, value);
            if self.watch.chunks(target.frame) != 0 {
                self.frame_written(frame, offset, size.into());
            }
        }
    }

    /// Reads a value at a linear address.
    #[inline(always)]
    pub(crate) fn read_linear<W: Width, B: Bus>(&mut self, bus: &mut B, linear: u64) -> Result<W, Exception> {
        if let Some(slot) = self.tlb.slot(Access::Read, linear)
            && slot.tag == (linear & !0xfff) | self.context
            && let Some(value) = W::read_from(bus.frame(Frame(slot.frame)), (linear & 0xfff) as usize)
        {
            return Ok(value);
        }
        let value = self.read_slow(bus, linear, W::BYTES as u8, self.state.cpl == 3)?;
        Ok(W::from_u64(value))
    }

    /// Writes a value at a linear address.
    #[inline(always)]
    pub(crate) fn write_linear<W: Width, B: Bus>(&mut self, bus: &mut B, linear: u64, value: W) -> Exec {
        let offset = (linear & 0xfff) as usize;
        if let Some(slot) = self.tlb.slot(Access::Write, linear)
            && slot.tag == (linear & !0xfff) | self.context
            && (slot.watched == 0 || slot.watched & chunks(offset, W::BYTES) == 0)
            && value.write_to(bus.frame_mut(Frame(slot.frame)), offset)
        {
            return Ok(());
        }
        self.write_slow(bus, linear, W::BYTES as u8, value.to_u64(), self.state.cpl == 3)
    }

    /// Reads 1-8 bytes at a linear address with the rights of a user or of the system.
    #[cold]
    pub(crate) fn read_slow<B: Bus>(
        &mut self,
        bus: &mut B,
        linear: u64,
        size: u8,
        user: bool,
    ) -> Result<u64, Exception> {
        let linear = linear & LINEAR;
        let room = 4096 - (linear & 0xfff);
        let first = self.resolve(bus, linear, Access::Read, user)?;
        let value = if u64::from(size) <= room {
            self.check_alignment(linear, size, user)?;
            self.read_part(bus, first, size)
        } else {
            let second = self.resolve(bus, (linear + room) & LINEAR, Access::Read, user)?;
            self.check_alignment(linear, size, user)?;
            self.read_parts(bus, first, (second, room as u8), size)
        };
        self.data_breakpoint(linear, size, false);
        Ok(value)
    }

    fn read_parts<B: Bus>(&mut self, bus: &mut B, first: Target, second: (Target, u8), size: u8) -> u64 {
        let mut value = 0;
        for index in 0..size {
            let target = part(first, second, index);
            value |= self.read_part(bus, target, 1) << (8 * u32::from(index));
        }
        value
    }

    /// Writes 1-8 bytes at a linear address: nothing is written when any part faults.
    #[cold]
    pub(crate) fn write_slow<B: Bus>(
        &mut self,
        bus: &mut B,
        linear: u64,
        size: u8,
        value: u64,
        user: bool,
    ) -> Exec {
        let range = self.resolve_range(bus, linear, size, user)?;
        self.write_range(bus, &range, size, value);
        Ok(())
    }

    /// Translates 1-8 bytes for reading and writing.
    pub(crate) fn resolve_range<B: Bus>(
        &mut self,
        bus: &mut B,
        linear: u64,
        size: u8,
        user: bool,
    ) -> Result<Range, Exception> {
        let linear = linear & LINEAR;
        let room = 4096 - (linear & 0xfff);
        let first = self.resolve(bus, linear, Access::Write, user)?;
        let second = if u64::from(size) > room {
            let next = (linear + room) & LINEAR;
            Some((self.resolve(bus, next, Access::Write, user)?, room as u8))
        } else {
            None
        };
        self.check_alignment(linear, size, user)?;
        self.data_breakpoint(linear, size, true);
        Ok(Range { first, second })
    }

    pub(crate) fn read_range<B: Bus>(&mut self, bus: &mut B, range: &Range, size: u8) -> u64 {
        let first = range.first.read_side();
        match range.second {
            None => self.read_part(bus, first, size),
            Some((second, at)) => self.read_parts(bus, first, (second.read_side(), at), size),
        }
    }

    pub(crate) fn write_range<B: Bus>(&mut self, bus: &mut B, range: &Range, size: u8, value: u64) {
        match range.second {
            None => self.write_part(bus, range.first, size, value),
            Some(second) => {
                for index in 0..size {
                    let byte = (value >> (8 * u32::from(index))) & 0xff;
                    self.write_part(bus, part(range.first, second, index), 1, byte);
                }
            }
        }
    }

    /// Checks that every page of a linear range can be read or written.
    pub(crate) fn probe_linear<B: Bus>(
        &mut self,
        bus: &mut B,
        linear: u64,
        length: u64,
        access: Access,
        user: bool,
    ) -> Exec {
        if length == 0 {
            return Ok(());
        }
        let linear = linear & LINEAR;
        // No instruction touches more than a few hundred bytes at once.
        let pages = ((linear & 0xfff) + (length - 1).min(0xffff)) >> 12;
        self.resolve(bus, linear & LINEAR, access, user)?;
        for page in 1..=pages {
            let next = ((linear & !0xfff) + page * 4096) & LINEAR;
            self.resolve(bus, next, access, user)?;
        }
        Ok(())
    }

    /// Reads a descriptor table or TSS: with the system's rights whatever CPL is.
    pub(crate) fn read_system<B: Bus>(
        &mut self,
        bus: &mut B,
        linear: u64,
        size: u8,
    ) -> Result<u64, Exception> {
        self.read_slow(bus, linear, size, false)
    }

    /// Writes a descriptor table or TSS.
    pub(crate) fn write_system<B: Bus>(&mut self, bus: &mut B, linear: u64, size: u8, value: u64) -> Exec {
        self.write_slow(bus, linear, size, value, false)
    }

    /// Reads physical memory (the SMM state save map).
    pub(crate) fn read_physical<B: Bus>(&mut self, bus: &mut B, physical: u64, size: u8) -> u64 {
        let physical = physical & self.a20_mask;
        let page = bus.page(physical & !0xfff, self.state.smm);
        let frame = page.read.map_or(NO_FRAME, |frame| frame.0);
        self.read_part(bus, Target { physical, frame, read_frame: frame }, size)
    }

    /// Writes physical memory.
    pub(crate) fn write_physical<B: Bus>(&mut self, bus: &mut B, physical: u64, size: u8, value: u64) {
        let physical = physical & self.a20_mask;
        let page = bus.page(physical & !0xfff, self.state.smm);
        let frame = page.write.map_or(NO_FRAME, |frame| frame.0);
        self.write_part(bus, Target { physical, frame, read_frame: frame }, size, value);
    }

    /// #AC, for user accesses when CR0.AM and EFLAGS.AC are set (section 6.15).
    fn check_alignment(&self, linear: u64, size: u8, user: bool) -> Exec {
        if user
            && linear & u64::from(size.wrapping_sub(1)) != 0
            && size.is_power_of_two()
            && self.state.cr0 & cr0::AM != 0
            && self.state.flags.alignment_check()
        {
            return Err(Exception { vector: 17, error: Some(0), address: 0 });
        }
        Ok(())
    }

    /// Records which of DR0-DR3 a data access hits (vol. 3B, 17.2.5).
    fn data_breakpoint(&mut self, linear: u64, size: u8, write: bool) {
        let control = self.state.dr[7];
        if control & 0xff == 0 {
            return;
        }
        for index in 0..4_u32 {
            let enabled = (control >> (2 * index)) & 3 != 0;
            let kind = (control >> (16 + 4 * index)) & 3;
            let length = match (control >> (18 + 4 * index)) & 3 {
                0 => 1,
                1 => 2,
                2 => 8,
                _ => 4,
            };
            let start = self.state.dr[index as usize] & LINEAR & !(length - 1);
            let overlaps = start < linear + u64::from(size) && linear < start + length;
            if enabled && overlaps && (kind == 3 || (kind == 1 && write)) {
                self.debug_hits |= 1 << index;
            }
        }
    }
}

fn part(first: Target, second: (Target, u8), index: u8) -> Target {
    if index < second.1 {
        Target { physical: first.physical + u64::from(index), ..first }
    } else {
        Target { physical: second.0.physical + u64::from(index - second.1), ..second.0 }
    }
}

fn little_endian(page: &[u8; 4096], offset: usize, size: usize) -> u64 {
    let mut bytes = [0; 8];
    if let (Some(from), Some(to)) = (page.get(offset..offset + size), bytes.get_mut(..size)) {
        to.copy_from_slice(from);
    }
    u64::from_le_bytes(bytes)
}

fn store_bytes(page: &mut [u8; 4096], offset: usize, size: usize, value: u64) {
    let bytes = value.to_le_bytes();
    if let (Some(from), Some(to)) = (bytes.get(..size), page.get_mut(offset..offset + size)) {
        to.copy_from_slice(from);
    }
}
