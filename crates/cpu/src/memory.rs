//! From linear addresses to bytes: translations, frames, the bus.

use crate::{
    Bus, Core, Cycle, Exception, Exec, Frame, Load, Store,
    access::{Privilege, attention},
    state::{cr0, cr4},
    tlb::{Access, Entry, NO_FRAME, chunks, context},
    width::Width,
};

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

    /// What a translation for an access with these rights has in its tag.
    pub(crate) fn tag_context(&self, privilege: Privilege) -> u64 {
        let smm = if self.state.smm { context::SMM } else { 0 };
        let whose = match privilege {
            Privilege::User => context::USER,
            Privilege::Supervisor
                if self.state.cr4 & cr4::SMAP != 0 && self.state.flags.alignment_check() =>
            {
                context::USER_OPEN
            }
            Privilege::Supervisor | Privilege::System => 0,
        };
        context::VALID | whose | smm
    }

    /// Translates `linear` (one page).
    pub(crate) fn resolve<B: Bus>(
        &mut self,
        bus: &mut B,
        linear: u64,
        access: Access,
        privilege: Privilege,
    ) -> Result<Target, Exception> {
        let context = self.tag_context(privilege);
        if self.cached
            && let Some(slot) = self.tlb.find_any(access, linear, context)
        {
            return Ok(Target {
                physical: slot.physical | (linear & 0xfff),
                frame: slot.frame,
                read_frame: slot.read_frame,
            });
        }
        if self.state.long_mode() && !self.state.canonical(linear) {
            return Err(Exception::general_protection(0));
        }
        self.uncacheable_walk = false;
        let physical = if self.state.paging() {
            // Whatever fault this is, a page fault is always the last one.
            self.fault_address = linear;
            self.walk(bus, linear, access, privilege)?
        } else {
            linear
        } & self.a20_mask;
        let page = bus.page(physical & !0xfff, self.state.smm);
        let read_frame = page.read.map_or(NO_FRAME, |frame| frame.0);
        let frame = match access {
            Access::Write => page.write.map_or(NO_FRAME, |frame| frame.0),
            Access::Read | Access::Fetch => read_frame,
        };
        if self.cached && !self.uncacheable_walk {
            let told = access == Access::Read && self.watch.observed_reads(frame) != 0;
            let device = if frame == NO_FRAME || told { context::DEVICE } else { 0 };
            let watched = match access {
                Access::Write => self.watch.chunks(frame),
                Access::Read | Access::Fetch => 0,
            };
            let tag = (linear & !0xfff) | context | device;
            let entry = Entry { tag, physical: physical & !0xfff, watched, frame, read_frame };
            self.tlb.insert(access, entry);
            if access != Access::Fetch && frame != NO_FRAME {
                bus.hold(self.tlb.place(access, linear), Frame(frame));
            }
        }
        Ok(Target { physical, frame, read_frame })
    }

    /// The frame that the code at `linear` is fetched from, where its translation is kept.
    pub(crate) fn kept_fetch(&self, linear: u64) -> Option<Frame> {
        self.tlb.find(Access::Fetch, linear, self.fetch_context).map(|slot| Frame(slot.frame))
    }

    pub(crate) fn read_table<B: Bus>(&mut self, bus: &mut B, address: u64, size: u8) -> u64 {
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
    pub(crate) fn write_table<B: Bus>(&mut self, bus: &mut B, address: u64, size: u8, value: u64) {
        let physical = address & self.a20_mask;
        let page = bus.page(physical & !0xfff, self.state.smm);
        match page.write {
            Some(frame) => {
                let offset = (physical & 0xfff) as usize;
                self.store_frame(bus, frame, physical, size, value);
                self.code_hit(frame, offset, size.into());
                self.watch.tell_others(frame.0, offset, size.into(), false);
            }
            None => {
                self.device_touched();
                bus.write(self.cycle(), physical, size, value);
            }
        }
    }

    /// Notes a write of decoded code.
    fn code_hit(&mut self, frame: Frame, offset: usize, length: usize) {
        if self.watch.is_code(frame.0, offset, length) {
            self.written.push((frame.0, offset as u16, length as u16));
            self.attention |= attention::END_BLOCK;
        }
    }

    /// Whether page-table entries that `length` bytes at `offset` belong to say that something is present: from others
    /// no translation was made.
    fn was_present(&self, table: &[u8; 4096], offset: usize, length: usize) -> bool {
        let entry = if self.state.cr4 & cr4::PAE != 0 { 8 } else { 4 };
        let end = (offset + length).min(table.len());
        let mut entries = (offset & !(entry - 1)..end).step_by(entry);
        entries.any(|at| table.get(at).is_none_or(|low| low & 1 != 0))
    }

    /// Notices that bytes of a frame have changed: decoded code and translations made from them
    /// are dropped; `present` is false where no translation can have been ([`Core::was_present`]).
    #[cold]
    pub(crate) fn frame_written(&mut self, frame: Frame, offset: usize, length: usize, present: bool) {
        self.code_hit(frame, offset, length);
        if present && self.watch.is_table(frame.0, chunks(offset, length)) {
            self.flush_tlb();
        }
    }

    pub(crate) fn read_part<B: Bus>(&mut self, bus: &mut B, target: Target, size: u8) -> u64 {
        if target.frame == NO_FRAME {
            self.device_touched();
            bus.read(self.cycle(), target.physical, size)
        } else {
            let (frame, offset) = (Frame(target.frame), (target.physical & 0xfff) as usize);
            if self.watch.observed_reads(frame.0) & chunks(offset, size.into()) != 0 {
                bus.loaded(
                    self.cycle(),
                    Load { physical: target.physical, frame, offset: offset as u16, size },
                );
                self.attention |= attention::OBSERVED;
            }
            little_endian(bus.frame(frame), offset, size.into())
        }
    }

    fn write_part<B: Bus>(&mut self, bus: &mut B, target: Target, size: u8, value: u64) {
        if target.frame == NO_FRAME {
            self.device_touched();
            bus.write(self.cycle(), target.physical, size, value);
        } else {
            let frame = Frame(target.frame);
            let offset = (target.physical & 0xfff) as usize;
            let length = usize::from(size);
            let present = self.was_present(bus.frame(frame), offset, length);
            self.store_frame(bus, frame, target.physical, size, value);
            if self.watch.chunks(target.frame) != 0 {
                self.frame_written(frame, offset, length, present);
                self.watch.tell_others(frame.0, offset, length, true);
            }
        }
    }

    /// Reads a value at a linear address.
    #[inline(always)]
    pub(crate) fn read_linear<W: Width, B: Bus>(&mut self, bus: &mut B, linear: u64) -> Result<W, Exception> {
        if let Some(slot) = self.tlb.find(Access::Read, linear, self.context)
            && let Some(value) = W::read_from(bus.frame(Frame(slot.frame)), (linear & 0xfff) as usize)
        {
            bus.hold(self.tlb.place(Access::Read, linear), Frame(slot.frame));
            return Ok(value);
        }
        let value = self.read_slow(bus, linear, W::BYTES as u8, self.privilege())?;
        Ok(W::from_u64(value))
    }

    /// Writes a value at a linear address, on a page that may be watched, or not in the TLB.
    #[inline(never)]
    pub(crate) fn write_watched<W: Width, B: Bus>(&mut self, bus: &mut B, linear: u64, value: W) -> Exec {
        let offset = (linear & 0xfff) as usize;
        if let Some(slot) = self.tlb.find(Access::Write, linear, self.context)
            && offset + W::BYTES <= 4096
        {
            let frame = slot.frame;
            let watched = slot.watched & chunks(offset, W::BYTES) != 0;
            if !watched || self.watch.beside(frame, offset, W::BYTES) {
                if watched {
                    // The next write there shall be quick.
                    self.tlb.keep_near(linear, self.watch.bits_at(frame, offset));
                }
                value.write_to(bus.frame_mut(Frame(frame)), offset);
                bus.hold(self.tlb.place(Access::Write, linear), Frame(frame));
                return Ok(());
            }
        }
        self.write_slow(bus, linear, W::BYTES as u8, value.to_u64(), self.privilege())
    }

    /// Reads 1-8 bytes at a linear address with the rights of a user or of the system.
    #[cold]
    pub(crate) fn read_slow<B: Bus>(
        &mut self,
        bus: &mut B,
        linear: u64,
        size: u8,
        privilege: Privilege,
    ) -> Result<u64, Exception> {
        let mask = self.linear_part(privilege);
        let linear = linear & mask;
        let room = 4096 - (linear & 0xfff);
        self.check_last(linear, size.into())?;
        let first = self.resolve(bus, linear, Access::Read, privilege)?;
        let value = if u64::from(size) <= room {
            self.check_alignment(linear, size, privilege)?;
            self.read_part(bus, first, size)
        } else {
            let second = self.resolve(bus, linear.wrapping_add(room) & mask, Access::Read, privilege)?;
            self.check_alignment(linear, size, privilege)?;
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
        privilege: Privilege,
    ) -> Exec {
        let range = self.resolve_range(bus, linear, size, privilege)?;
        self.write_range(bus, &range, size, value);
        Ok(())
    }

    /// Translates 1-8 bytes for reading and writing.
    pub(crate) fn resolve_range<B: Bus>(
        &mut self,
        bus: &mut B,
        linear: u64,
        size: u8,
        privilege: Privilege,
    ) -> Result<Range, Exception> {
        let mask = self.linear_part(privilege);
        let linear = linear & mask;
        let room = 4096 - (linear & 0xfff);
        self.check_last(linear, size.into())?;
        let first = self.resolve(bus, linear, Access::Write, privilege)?;
        let second = if u64::from(size) > room {
            let next = linear.wrapping_add(room) & mask;
            Some((self.resolve(bus, next, Access::Write, privilege)?, room as u8))
        } else {
            None
        };
        self.check_alignment(linear, size, privilege)?;
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
        privilege: Privilege,
    ) -> Exec {
        if length == 0 {
            return Ok(());
        }
        let mask = self.linear_part(privilege);
        let linear = linear & mask;
        self.check_last(linear, length)?;
        // No instruction touches more than a few hundred bytes at once.
        let pages = ((linear & 0xfff) + (length - 1).min(0xffff)) >> 12;
        self.resolve(bus, linear, access, privilege)?;
        for page in 1..=pages {
            let next = (linear & !0xfff).wrapping_add(page * 4096) & mask;
            self.resolve(bus, next, access, privilege)?;
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
        self.read_slow(bus, linear, size, Privilege::System)
    }

    /// Writes a descriptor table or TSS.
    pub(crate) fn write_system<B: Bus>(&mut self, bus: &mut B, linear: u64, size: u8, value: u64) -> Exec {
        self.write_slow(bus, linear, size, value, Privilege::System)
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

    /// The last byte of an access must have a canonical address too, and that comes before what its pages
    /// say (seen on a Zen 3; Bochs has it so).
    fn check_last(&self, linear: u64, length: u64) -> Exec {
        if self.state.long_mode() && !self.canonical_range(linear, length) {
            return Err(Exception::general_protection(0));
        }
        Ok(())
    }

    /// #AC, for user accesses when CR0.AM and EFLAGS.AC are set (section 6.15).
    fn check_alignment(&self, linear: u64, size: u8, privilege: Privilege) -> Exec {
        if privilege == Privilege::User
            && linear & u64::from(size.wrapping_sub(1)) != 0
            && size.is_power_of_two()
            && self.state.cr0 & cr0::AM != 0
            && self.state.flags.alignment_check()
        {
            return Err(Exception::with_error(17, 0));
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
            let start = self.state.dr[index as usize] & !(length - 1);
            let overlaps =
                start.wrapping_sub(linear) < u64::from(size) || linear.wrapping_sub(start) < length;
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
