//! How instructions reach registers and memory: segmentation, operands, the stack.

use crate::{
    Bus, Exception, Exec, Frame, Occurrence, Op, Operand, OperandKind, State,
    flags::{Flags, bit},
    memory::Range,
    models::{Hypervisor, Model},
    state::{Segment, cr0, cr4, gpr, segment},
    tlb::{Access, Entry, Tlb, Watch, chunks, context},
    width::Width,
};

/// Why the engine must look up after an instruction.
pub(crate) mod attention {
    /// The code or the mode may have changed: leave the block, look at events.
    pub(crate) const END_BLOCK: u16 = 1;
    /// The machine must look: the run ends.
    pub(crate) const DEVICE: u16 = 2;
    /// A REP instruction has iterations left.
    pub(crate) const REPEAT: u16 = 4;
    /// The instruction keeps RF (IRET, task switch), or entered a handler (INT n): no single-step.
    pub(crate) const NO_TRAP: u16 = 8;
    /// A task switch has happened: a fault belongs to the new task.
    pub(crate) const NEW_TASK: u16 = 16;
    /// RF stays as the instruction set it.
    pub(crate) const KEEP_RESUME: u16 = 32;
    /// The instruction sets [`crate::state::Shadow`] itself.
    pub(crate) const SHADOW: u16 = 64;
    /// A store was made that the machine is told of.
    pub(crate) const OBSERVED: u16 = 128;
    /// A branch was taken: the next instruction is not the block's next one. Nothing else
    /// has to be looked at.
    pub(crate) const JUMPED: u16 = 256;
}

/// How code is decoded: the default operand and address size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Bits {
    Sixteen,
    ThirtyTwo,
    /// 64-bit mode.
    SixtyFour,
}

impl Bits {
    /// As iced-x86 wants it.
    pub(crate) fn bitness(self) -> u32 {
        16 << self as u8
    }
}

/// Whose rights an access to memory has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Privilege {
    /// CPL 3.
    User,
    /// CPL 0 to 2.
    Supervisor,
    /// Descriptor tables and task state segments, whatever CPL is ("implicit supervisor-mode accesses",
    /// vol. 3A, 4.6).
    System,
}

impl Privilege {
    /// That of an instruction at privilege level `cpl`.
    #[inline(always)]
    pub(crate) fn at(cpl: u8) -> Privilege {
        if cpl == 3 { Privilege::User } else { Privilege::Supervisor }
    }
}

/// What of a segment register is checked at each access, computed when it is loaded.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct View {
    base: u64,
    /// First offset that cannot be read; zero when the slow path must decide.
    read_end: u64,
    /// First offset that cannot be written; zero when the slow path must decide.
    write_end: u64,
}

/// One CPU's state with what is derived from it (TLB): what handlers are given.
#[derive(Debug)]
pub struct Core {
    /// The architectural state.
    pub state: State,
    pub(crate) model: &'static Model,
    pub(crate) hypervisor: Hypervisor,
    /// Unknown MSRs read zero and ignore writes, as TCG has it; otherwise #GP.
    pub(crate) unknown_msrs_ignored: bool,
    /// What IA32_BIOS_SIGN_ID reads whatever is written to it, unless that is zero.
    pub(crate) microcode: u64,
    /// The first processor: starts at reset, the others wait.
    pub(crate) bootstrap: bool,
    /// Which processor of the machine this is; its initial APIC id.
    pub(crate) index: u8,
    /// How many processors its package has.
    pub(crate) cores: u8,
    pub(crate) tlb: Tlb,
    pub(crate) watch: Watch,
    /// Writes to decoded code: (frame, offset, length), to be applied to the cache.
    pub(crate) written: Vec<(u32, u16, u16)>,
    views: [View; 8],
    stack_mask: u64,
    /// Which code is decoded and how far its addresses go.
    pub(crate) bits: Bits,
    /// The part of a linear address an instruction can form: 32 or 64 bits.
    pub(crate) linear_mask: u64,
    /// The same of descriptor tables and task state segments: 64 bits in all of long mode.
    pub(crate) system_mask: u64,
    /// An offset can be jumped to when, added to this, it is at most `code_limit`.
    code_bias: u64,
    code_limit: u64,
    /// What a fast TLB hit must have in its tag besides the page.
    pub(crate) context: u64,
    /// The same of a fetch, which no data breakpoint concerns.
    pub(crate) fetch_context: u64,
    /// How often all translations were forgotten, or CS has got another limit.
    flushes: u64,
    /// What a linear address of code is checked, translated and decoded with: the same number promises
    /// the same block.
    pub(crate) code_stamp: u64,
    pub(crate) a20_mask: u64,
    /// TLB and decoded blocks may be used.
    pub(crate) cached: bool,
    /// One instruction at a time, with all checks.
    pub(crate) single: bool,
    pub(crate) uncacheable_walk: bool,
    /// The linear address last walked for: that of a page fault, for CR2.
    pub(crate) fault_address: u64,
    pub(crate) attention: u16,
    pub(crate) retired: u64,
    pub(crate) budget_end: u64,
    /// Data and I/O breakpoints this instruction met.
    pub(crate) debug_hits: u32,
    /// What has happened in this run beside instructions, if that is recorded; then each such thing also
    /// ends the run.
    pub(crate) occurrences: Option<Vec<Occurrence>>,
}

/// A memory or register operand translated once, with write intent: reading and writing it cannot
/// fault any more.
#[derive(Debug)]
pub struct Place(Where);

#[derive(Debug)]
enum Where {
    Register(u8),
    HighByte(u8),
    /// In one frame, which nobody watches.
    Direct {
        frame: Frame,
        offset: u16,
    },
    Memory(Range),
    Nowhere,
}

/// Where in its page a linear address is.
#[inline(always)]
fn within(linear: u64) -> usize {
    (linear & 0xfff) as usize
}

impl Core {
    pub(crate) fn new(model: &'static Model, index: u8) -> Core {
        let bootstrap = index == 0;
        let mut core = Core {
            state: State::reset(model, bootstrap),
            model,
            hypervisor: Hypervisor::None,
            unknown_msrs_ignored: false,
            microcode: 0,
            bootstrap,
            index,
            cores: 1,
            tlb: Tlb::new(index),
            watch: Watch::default(),
            written: Vec::new(),
            views: [View::default(); 8],
            stack_mask: 0xffff,
            bits: Bits::Sixteen,
            linear_mask: 0xffff_ffff,
            system_mask: 0xffff_ffff,
            code_bias: 0,
            code_limit: 0xffff,
            context: context::NEVER,
            fetch_context: context::NEVER,
            flushes: 0,
            code_stamp: 0,
            a20_mask: u64::MAX,
            cached: true,
            single: false,
            uncacheable_walk: false,
            fault_address: 0,
            attention: 0,
            retired: 0,
            budget_end: 0,
            debug_hits: 0,
            occurrences: None,
        };
        core.refresh();
        core
    }

    /// Recomputes everything derived from segment registers and modes.
    pub(crate) fn refresh(&mut self) {
        self.refresh_code();
        for index in 0..6 {
            self.refresh_view(index);
        }
        self.refresh_mode();
    }

    /// Recomputes what depends on flags, CPL and control registers.
    pub(crate) fn refresh_mode(&mut self) {
        let state = &self.state;
        let breakpoints = state.dr[7];
        let data_breakpoints = breakpoints & 0xff != 0 && breakpoints & 0x1111_0000 != 0;
        let user = state.cpl == 3;
        self.fetch_context = self.tag_context(self.privilege());
        self.refresh_stamp();
        let state = &self.state;
        let alignment = user && state.cr0 & cr0::AM != 0 && state.flags.alignment_check();
        self.context =
            if !self.cached || data_breakpoints || alignment { context::NEVER } else { self.fetch_context };
    }

    fn refresh_stamp(&mut self) {
        self.code_stamp = (self.flushes << 16) | (self.fetch_context << 2) | self.bits as u64;
    }

    /// Forgets all translations and ends the current block.
    pub(crate) fn flush_tlb(&mut self) {
        self.tlb.flush();
        self.watch.forget_tables();
        self.flushes = self.flushes.wrapping_add(1);
        self.refresh_stamp();
        self.attention |= attention::END_BLOCK;
    }

    /// Takes note of what no instruction does, if that is recorded.
    pub(crate) fn occurred(&mut self, occurrence: Occurrence) {
        if let Some(occurrences) = &mut self.occurrences {
            occurrences.push(occurrence);
        }
    }

    /// Recomputes what depends on CS and on long mode.
    fn refresh_code(&mut self) {
        let state = &self.state;
        let cs = state.cs();
        let reach = (self.code_bias, self.code_limit);
        self.bits = match (state.code_64(), cs.big()) {
            (true, _) => Bits::SixtyFour,
            (false, true) => Bits::ThirtyTwo,
            (false, false) => Bits::Sixteen,
        };
        self.system_mask = if state.long_mode() { u64::MAX } else { 0xffff_ffff };
        if self.bits == Bits::SixtyFour {
            self.linear_mask = u64::MAX;
            // Canonical addresses lie half above and half below zero.
            self.code_bias = if state.cr4 & cr4::LA57 != 0 { 1 << 56 } else { 1 << 47 };
            self.code_limit = 2 * self.code_bias - 1;
        } else {
            self.linear_mask = 0xffff_ffff;
            self.code_bias = 0;
            self.code_limit = cs.limit.into();
        }
        if reach != (self.code_bias, self.code_limit) {
            // What lay within the limit may not any more.
            self.flushes = self.flushes.wrapping_add(1);
        }
        self.refresh_stamp();
    }

    /// In 64-bit mode.
    #[inline(always)]
    pub(crate) fn in_64_bit_mode(&self) -> bool {
        self.bits == Bits::SixtyFour
    }

    /// With whose rights the current instruction reaches its memory operands.
    #[inline(always)]
    pub(crate) fn privilege(&self) -> Privilege {
        Privilege::at(self.state.cpl)
    }

    fn refresh_view(&mut self, index: usize) {
        if self.bits == Bits::SixtyFour {
            // No limit and no type is checked; whether the address is canonical is seen where it is
            // translated, because no other is ever in the TLB.
            let based = matches!(index as u8, segment::FS | segment::GS);
            let base = if based { self.state.segments[index].base } else { 0 };
            self.views[index] = View { base, read_end: u64::MAX, write_end: u64::MAX };
            if index == usize::from(segment::SS) {
                self.stack_mask = u64::MAX;
            }
            return;
        }
        let eight_thousand = self.state.eight_thousand();
        let segment = self.state.segments[index];
        let end = u64::from(segment.limit) + 1;
        let simple = segment.present() && !segment.expand_down();
        let read = simple && (eight_thousand || segment.readable());
        let write = simple && (eight_thousand || segment.writable());
        self.views[index] = View {
            base: segment.base,
            read_end: if read { end } else { 0 },
            write_end: if write { end } else { 0 },
        };
        if index == usize::from(segment::SS) {
            self.stack_mask = if segment.big() { 0xffff_ffff } else { 0xffff };
        }
    }

    /// Replaces a segment register, hidden part included.
    pub(crate) fn set_segment(&mut self, index: u8, value: Segment) {
        if let Some(slot) = self.state.segments.get_mut(usize::from(index)) {
            *slot = value;
            if index == segment::CS {
                let before = self.bits;
                self.refresh_code();
                if (before == Bits::SixtyFour) != (self.bits == Bits::SixtyFour) {
                    self.refresh();
                    return;
                }
            }
            self.refresh_view(usize::from(index));
        }
    }

    /// Sets the base of FS or GS alone.
    pub(crate) fn set_base(&mut self, index: u8, base: u64) {
        let segment = self.state.segments.get(usize::from(index)).copied().unwrap_or_default();
        self.set_segment(index, Segment { base, ..segment });
    }

    /// Sets CPL and what depends on it.
    pub(crate) fn set_cpl(&mut self, cpl: u8) {
        self.state.cpl = cpl;
        self.refresh_mode();
    }

    /// Sets EFLAGS whole, and what depends on it.
    pub(crate) fn set_flags(&mut self, bits: u32) {
        let was_v8086 = self.state.v8086();
        self.state.flags.set_bits((bits & bit::ALL) | bit::FIXED);
        if was_v8086 != self.state.v8086() {
            self.refresh();
        } else {
            self.refresh_mode();
        }
        self.attention |= attention::END_BLOCK;
    }

    /// Leaves the block after this instruction and looks at events and modes.
    pub(crate) fn end_block(&mut self) {
        self.attention |= attention::END_BLOCK;
    }

    /// The fault of a bad access through segment `index`: #SS(0) or #GP(0).
    fn segment_fault(index: u8) -> Exception {
        if index == segment::SS { Exception::stack(0) } else { Exception::general_protection(0) }
    }

    /// Checks type and limit (SDM vol. 3A, 5.3 and 5.5) and gives the linear address.
    #[cold]
    pub(crate) fn check_segment(
        &self,
        index: u8,
        offset: u64,
        length: u64,
        write: bool,
    ) -> Result<u64, Exception> {
        let fault = Core::segment_fault(index);
        if self.in_64_bit_mode() {
            let linear = self.views[usize::from(index & 7)].base.wrapping_add(offset);
            return self.canonical_range(linear, length).then_some(linear).ok_or(fault);
        }
        let Some(segment) = self.state.segments.get(usize::from(index)) else {
            return Err(fault);
        };
        self.check_in(segment, offset, length, write).ok_or(fault)
    }

    /// Whether the first and the last of `length` bytes are at canonical addresses.
    pub(crate) fn canonical_range(&self, linear: u64, length: u64) -> bool {
        let last = linear.wrapping_add(length.max(1) - 1);
        self.state.canonical(linear) && self.state.canonical(last)
    }

    /// The linear address of `segment:offset` in 64-bit mode, not checked; `None` in other modes.
    pub(crate) fn linear_64(&self, index: u8, offset: u64) -> Option<u64> {
        self.in_64_bit_mode().then(|| self.views[usize::from(index & 7)].base.wrapping_add(offset))
    }

    /// A translation says #GP(0) of an address that is not canonical, and nothing else does; through
    /// SS it is #SS(0).
    #[cold]
    fn not_canonical(index: u8, exception: Exception) -> Exception {
        if exception.vector() == 13 { Core::segment_fault(index) } else { exception }
    }

    /// As [`Core::check_segment`], for a segment that is not loaded yet.
    pub(crate) fn check_in(&self, segment: &Segment, offset: u64, length: u64, write: bool) -> Option<u64> {
        if self.in_64_bit_mode() {
            return self.canonical_range(offset, length).then_some(offset);
        }
        let typed =
            self.state.eight_thousand() || if write { segment.writable() } else { segment.readable() };
        if !segment.present() || !typed {
            return None;
        }
        let last = offset.checked_add(length.max(1) - 1)?;
        let limit = u64::from(segment.limit);
        let within = if segment.expand_down() {
            let top = if segment.big() { 0xffff_ffff } else { 0xffff };
            offset > limit && last <= top
        } else {
            last <= limit
        };
        within.then(|| segment.base.wrapping_add(offset) & 0xffff_ffff)
    }

    #[inline(always)]
    fn linear_for_read(&self, index: u8, offset: u64, length: u64) -> Result<u64, Exception> {
        let view = &self.views[usize::from(index & 7)];
        if offset.saturating_add(length) <= view.read_end {
            Ok(view.base.wrapping_add(offset) & self.linear_mask)
        } else {
            self.check_segment(index, offset, length, false)
        }
    }

    #[inline(always)]
    fn linear_for_write(&self, index: u8, offset: u64, length: u64) -> Result<u64, Exception> {
        let view = &self.views[usize::from(index & 7)];
        if offset.saturating_add(length) <= view.write_end {
            Ok(view.base.wrapping_add(offset) & self.linear_mask)
        } else {
            self.check_segment(index, offset, length, true)
        }
    }

    /// Reads `op`'s operand `which` (a register, memory, the immediate or a segment selector).
    #[inline(always)]
    pub fn load<W: Width, B: Bus>(&mut self, bus: &mut B, op: &Op, which: Operand) -> Result<W, Exception> {
        Ok(match which.kind {
            OperandKind::Register => W::from_u64(self.register(which.number)),
            OperandKind::HighByte => W::from_u64(self.register(which.number) >> 8),
            OperandKind::Memory => {
                let offset = self.effective_address(op);
                return self.load_at(bus, op.memory.segment, offset);
            }
            OperandKind::Immediate => W::from_u64(op.immediate),
            OperandKind::Segment => {
                let segment = self.state.segments.get(usize::from(which.number));
                W::from_u64(segment.map_or(0, |segment| u64::from(segment.selector)))
            }
            _ => W::from_u64(0),
        })
    }

    /// Writes it. For registers of width 32 the upper half is cleared.
    #[inline(always)]
    pub fn store<W: Width, B: Bus>(&mut self, bus: &mut B, op: &Op, which: Operand, value: W) -> Exec {
        match which.kind {
            OperandKind::Register => self.write_register::<W>(which.number, value),
            OperandKind::HighByte => self.write_high_byte(which.number, value.to_u64()),
            OperandKind::Memory => {
                let offset = self.effective_address(op);
                return self.store_at(bus, op.memory.segment, offset, value);
            }
            _ => {}
        }
        Ok(())
    }

    /// Translates `which` for reading and then writing.
    #[inline(always)]
    pub fn for_update<W: Width, B: Bus>(
        &mut self,
        bus: &mut B,
        op: &Op,
        which: Operand,
    ) -> Result<Place, Exception> {
        match which.kind {
            OperandKind::Register => Ok(Place(Where::Register(which.number))),
            OperandKind::HighByte => Ok(Place(Where::HighByte(which.number))),
            OperandKind::Memory => {
                let offset = self.effective_address(op);
                self.update_at::<W, B>(bus, op.memory.segment, offset)
            }
            _ => Ok(Place(Where::Nowhere)),
        }
    }

    /// The current value of a place.
    #[inline(always)]
    pub fn place_load<W: Width, B: Bus>(&mut self, bus: &mut B, place: &Place) -> W {
        match &place.0 {
            Where::Register(index) => W::from_u64(self.register(*index)),
            Where::HighByte(index) => W::from_u64(self.register(*index) >> 8),
            Where::Direct { frame, offset } => {
                W::read_from(bus.frame(*frame), usize::from(*offset)).unwrap_or_default()
            }
            Where::Memory(range) => W::from_u64(self.read_range(bus, range, W::BYTES as u8)),
            Where::Nowhere => W::from_u64(0),
        }
    }

    /// Writes a place.
    #[inline(always)]
    pub fn place_store<W: Width, B: Bus>(&mut self, bus: &mut B, place: &Place, value: W) {
        match &place.0 {
            Where::Register(index) => self.write_register::<W>(*index, value),
            Where::HighByte(index) => self.write_high_byte(*index, value.to_u64()),
            Where::Direct { frame, offset } => {
                value.write_to(bus.frame_mut(*frame), usize::from(*offset));
            }
            Where::Memory(range) => self.write_range(bus, range, W::BYTES as u8, value.to_u64()),
            Where::Nowhere => {}
        }
    }

    #[inline(always)]
    fn write_register<W: Width>(&mut self, index: u8, value: W) {
        let value = value.to_u64();
        let whole = match W::BYTES {
            1 => (self.register(index) & !0xff) | value,
            2 => (self.register(index) & !0xffff) | value,
            _ => value,
        };
        self.set_register(index, whole);
    }

    fn write_high_byte(&mut self, index: u8, value: u64) {
        let rest = self.register(index) & !0xff00;
        self.set_register(index, rest | ((value & 0xff) << 8));
    }

    /// Offset of the op's memory operand within its segment, cut to the address size.
    #[inline(always)]
    pub fn effective_address(&self, op: &Op) -> u64 {
        let memory = &op.memory;
        let index = self.register(memory.index) << (memory.scale & 3);
        let base = self.register(memory.base);
        let sum = base.wrapping_add(index).wrapping_add(memory.displacement);
        sum & memory.mask
    }

    /// As [`Core::effective_address`], of a memory operand without an index.
    #[inline(always)]
    pub(crate) fn based_address(&self, op: &Op) -> u64 {
        let memory = &op.memory;
        self.register(memory.base).wrapping_add(memory.displacement) & memory.mask
    }

    /// Reads memory at `segment:offset` (segment in encoding order), checking limits, rights, pages.
    #[inline(always)]
    pub fn load_at<W: Width, B: Bus>(
        &mut self,
        bus: &mut B,
        segment: u8,
        offset: u64,
    ) -> Result<W, Exception> {
        match self.load_quickly(bus, segment, offset) {
            Some(value) => Ok(value),
            None => self.load_slowly(bus, segment, offset),
        }
    }

    /// As [`Core::load_at`], and goes on with the value. What cannot be read quickly is read, and gone on
    /// with, out of line: what is inlined calls nothing, and so has nothing to keep for afterwards.
    #[inline(always)]
    pub(crate) fn load_then<W: Width, B: Bus>(
        &mut self,
        bus: &mut B,
        segment: u8,
        offset: u64,
        then: impl FnOnce(&mut Core, &mut B, W) -> Exec,
    ) -> Exec {
        match self.load_quickly(bus, segment, offset) {
            Some(value) => then(self, bus, value),
            None => self.load_slowly_then(bus, segment, offset, then),
        }
    }

    #[cold]
    #[inline(never)]
    fn load_slowly_then<W: Width, B: Bus>(
        &mut self,
        bus: &mut B,
        segment: u8,
        offset: u64,
        then: impl FnOnce(&mut Core, &mut B, W) -> Exec,
    ) -> Exec {
        let value = self.load_slowly(bus, segment, offset)?;
        then(self, bus, value)
    }

    /// The value at `segment:offset` where its translation is known and nothing stands in the way.
    #[inline(always)]
    pub(crate) fn load_quickly<W: Width, B: Bus>(&self, bus: &B, segment: u8, offset: u64) -> Option<W> {
        let (frame, place, within) = self.readable(segment, offset, W::BYTES)?;
        W::read_from(bus.held(place, frame)?, within)
    }

    /// The frame that has `segment:offset`, where it is held, and where in it that is, where the translation is
    /// known and nothing stands in the way of reading `length` bytes, if the frame has as many.
    #[inline(always)]
    fn readable(&self, segment: u8, offset: u64, length: usize) -> Option<(Frame, usize, usize)> {
        let view = &self.views[usize::from(segment & 7)];
        let linear = view.base.wrapping_add(offset) & self.linear_mask;
        let slot = self.tlb.find(Access::Read, linear, self.context)?;
        let within = within(linear);
        // An end beyond 64 bits lies in another page.
        let place = self.tlb.place(Access::Read, linear);
        (offset.wrapping_add(length as u64) <= view.read_end).then_some((Frame(slot.frame), place, within))
    }

    /// As [`Core::readable`], for writing up to 64 bytes: the translation, and the linear address. Nobody
    /// watches anything in the chunks they lie in.
    #[inline(always)]
    fn writable(&self, segment: u8, offset: u64, length: usize) -> Option<(&Entry, u64)> {
        let beside = |watched: u64, within: usize| {
            let chunk = |at: usize| watched >> ((at >> 6) & 63) & 1;
            watched == 0 || (chunk(within) == 0 && chunk(within + length - 1) == 0)
        };
        self.known_to_write(segment, offset, length)
            .filter(|(slot, linear)| beside(slot.watched, within(*linear)))
    }

    /// The page of a translation for writing.
    #[inline(always)]
    fn held_of<'a, B: Bus>(&self, bus: &'a mut B, slot: &Entry, linear: u64) -> Option<&'a mut [u8; 4096]> {
        bus.held_mut(self.tlb.place(Access::Write, linear), Frame(slot.frame))
    }

    /// As [`Core::writable`], whoever watches.
    #[inline(always)]
    fn known_to_write(&self, segment: u8, offset: u64, length: usize) -> Option<(&Entry, u64)> {
        let view = &self.views[usize::from(segment & 7)];
        let linear = view.base.wrapping_add(offset) & self.linear_mask;
        let slot = self.tlb.find(Access::Write, linear, self.context)?;
        (offset.wrapping_add(length as u64) <= view.write_end).then_some((slot, linear))
    }

    #[cold]
    #[inline(never)]
    fn load_slowly<W: Width, B: Bus>(
        &mut self,
        bus: &mut B,
        segment: u8,
        offset: u64,
    ) -> Result<W, Exception> {
        let linear = self.linear_for_read(segment, offset, W::BYTES as u64)?;
        self.read_linear(bus, linear).map_err(|exception| Core::not_canonical(segment, exception))
    }

    /// Writes memory at `segment:offset`.
    #[inline(always)]
    pub fn store_at<W: Width, B: Bus>(&mut self, bus: &mut B, segment: u8, offset: u64, value: W) -> Exec {
        if self.store_quickly(bus, segment, offset, value) {
            return Ok(());
        }
        self.store_slowly(bus, segment, offset, value)
    }

    /// Writes the value where its translation is known and nothing stands in the way; false: nothing was
    /// written.
    #[inline(always)]
    pub(crate) fn store_quickly<W: Width, B: Bus>(
        &self,
        bus: &mut B,
        segment: u8,
        offset: u64,
        value: W,
    ) -> bool {
        let Some((slot, linear)) = self.writable(segment, offset, W::BYTES) else { return false };
        self.held_of(bus, slot, linear).is_some_and(|page| value.write_to(page, within(linear)))
    }

    /// As [`Core::store_at`], of what could not be written quickly: most often there is something in the page
    /// that is watched, and these bytes are beside it.
    #[inline(never)]
    fn store_slowly<W: Width, B: Bus>(&mut self, bus: &mut B, segment: u8, offset: u64, value: W) -> Exec {
        if self.store_beside(bus, segment, offset, value) {
            return Ok(());
        }
        self.store_watched(bus, segment, offset, value)
    }

    /// Writes the value beside what is watched in its page; false: nothing was written.
    #[inline(always)]
    fn store_beside<W: Width, B: Bus>(&self, bus: &mut B, segment: u8, offset: u64, value: W) -> bool {
        let Some((slot, linear)) = self.known_to_write(segment, offset, W::BYTES) else { return false };
        self.tlb.is_beside(linear, W::BYTES)
            && self.held_of(bus, slot, linear).is_some_and(|page| value.write_to(page, within(linear)))
    }

    #[cold]
    #[inline(never)]
    fn store_watched<W: Width, B: Bus>(&mut self, bus: &mut B, segment: u8, offset: u64, value: W) -> Exec {
        let linear = self.linear_for_write(segment, offset, W::BYTES as u64)?;
        self.write_watched(bus, linear, value).map_err(|exception| Core::not_canonical(segment, exception))
    }

    /// Replaces the value at `segment:offset` by what `change` makes of it, where that can be done
    /// quickly; gives `change` back where not.
    #[inline(always)]
    pub(crate) fn update_quickly<W: Width, B: Bus, F: FnOnce(&mut Flags, W) -> W>(
        &mut self,
        bus: &mut B,
        segment: u8,
        offset: u64,
        change: F,
    ) -> Result<(), F> {
        let Some((slot, linear)) = self.writable(segment, offset, W::BYTES) else { return Err(change) };
        if slot.frame != slot.read_frame {
            return Err(change);
        }
        let Some(page) = self.held_of(bus, slot, linear) else { return Err(change) };
        let Some(before) = W::read_from(page, within(linear)) else { return Err(change) };
        change(&mut self.state.flags, before).write_to(page, within(linear));
        Ok(())
    }

    /// The `N` bytes at `segment:offset`, where they can be read, all in one page whose translation is
    /// known, and nothing stands in the way.
    #[inline(always)]
    pub(crate) fn bytes_at<'a, const N: usize, B: Bus>(
        &self,
        bus: &'a B,
        segment: u8,
        offset: u64,
    ) -> Option<&'a [u8; N]> {
        let (frame, _, within) = self.readable(segment, offset, N)?;
        bus.frame(frame).get(within..)?.first_chunk()
    }

    /// As [`Core::bytes_at`], to be written.
    #[inline(always)]
    pub(crate) fn bytes_at_mut<'a, const N: usize, B: Bus>(
        &self,
        bus: &'a mut B,
        segment: u8,
        offset: u64,
    ) -> Option<&'a mut [u8; N]> {
        let (slot, linear) = self.writable(segment, offset, N)?;
        bus.frame_mut(Frame(slot.frame)).get_mut(within(linear)..)?.first_chunk_mut()
    }

    /// The bytes from the beginning of a page up to and with `segment:offset`, to be written, where the
    /// page's translation is known and nothing stands in the way.
    pub(crate) fn page_up_to<'a, B: Bus>(
        &self,
        bus: &'a mut B,
        segment: u8,
        offset: u64,
    ) -> Option<&'a mut [u8]> {
        let (slot, linear) = self.writable(segment, offset, 1)?;
        // Who watches any of the page's bytes wants each write.
        (slot.watched == 0).then(|| bus.frame_mut(Frame(slot.frame)).get_mut(..=within(linear)))?
    }

    /// Translates memory at `segment:offset` for reading and then writing.
    #[inline(always)]
    pub fn update_at<W: Width, B: Bus>(
        &mut self,
        bus: &mut B,
        segment: u8,
        offset: u64,
    ) -> Result<Place, Exception> {
        let linear = self.linear_for_write(segment, offset, W::BYTES as u64)?;
        let within = within(linear);
        if let Some(slot) = self.tlb.find(Access::Write, linear, self.context)
            && slot.frame == slot.read_frame
            && within + W::BYTES <= 4096
            && slot.watched == 0
        {
            return Ok(Place(Where::Direct { frame: Frame(slot.frame), offset: within as u16 }));
        }
        self.update_watched(bus, segment, linear, W::BYTES as u8)
    }

    /// As [`Core::update_at`], for what could not be done quickly.
    #[inline(always)]
    pub(crate) fn update_slowly_at<W: Width, B: Bus>(
        &mut self,
        bus: &mut B,
        segment: u8,
        offset: u64,
    ) -> Result<Place, Exception> {
        let linear = self.linear_for_write(segment, offset, W::BYTES as u64)?;
        self.update_watched(bus, segment, linear, W::BYTES as u8)
    }

    /// As [`Core::update_at`], where the page is watched or not in the TLB.
    #[inline(never)]
    fn update_watched<B: Bus>(
        &mut self,
        bus: &mut B,
        segment: u8,
        linear: u64,
        size: u8,
    ) -> Result<Place, Exception> {
        let (within, length) = (within(linear), usize::from(size));
        if let Some(slot) = self.tlb.find(Access::Write, linear, self.context)
            && slot.frame == slot.read_frame
            && within + length <= 4096
            && (slot.watched & chunks(within, length) == 0 || self.watch.beside(slot.frame, within, length))
        {
            bus.hold(self.tlb.place(Access::Write, linear), Frame(slot.frame));
            return Ok(Place(Where::Direct { frame: Frame(slot.frame), offset: within as u16 }));
        }
        let range = self
            .resolve_range(bus, linear, size, self.privilege())
            .map_err(|exception| Core::not_canonical(segment, exception))?;
        Ok(Place(Where::Memory(range)))
    }

    /// Whether the linear address of `segment:offset` is a multiple of `alignment`, a power of two;
    /// #GP(0) when not.
    pub(crate) fn aligned(&self, segment: u8, offset: u64, alignment: u64) -> Exec {
        let view = &self.views[usize::from(segment & 7)];
        match view.base.wrapping_add(offset) & (alignment - 1) {
            0 => Ok(()),
            _ => Err(Exception::general_protection(0)),
        }
    }

    /// Checks that `length` bytes at `segment:offset` can be written (or read), page by page.
    pub fn probe<B: Bus>(&mut self, bus: &mut B, segment: u8, offset: u64, length: u64, write: bool) -> Exec {
        if length == 0 {
            return Ok(());
        }
        let linear = self.check_segment(segment, offset, length, write)?;
        let access = if write { Access::Write } else { Access::Read };
        self.probe_linear(bus, linear, length, access, self.privilege())
    }

    /// Pushes a value; SP changes only when the store succeeded.
    #[inline(always)]
    pub fn push<W: Width, B: Bus>(&mut self, bus: &mut B, value: W) -> Exec {
        if self.push_quickly(bus, value) { Ok(()) } else { self.push_slowly(bus, value) }
    }

    /// As [`Core::push`], where that can be done quickly; false: nothing was done.
    #[inline(always)]
    pub(crate) fn push_quickly<W: Width, B: Bus>(&mut self, bus: &mut B, value: W) -> bool {
        let rsp = self.register(gpr::RSP);
        let offset = rsp.wrapping_sub(W::BYTES as u64) & self.stack_mask;
        let stored = self.store_quickly(bus, segment::SS, offset, value);
        if stored {
            self.set_register(gpr::RSP, (rsp & !self.stack_mask) | offset);
        }
        stored
    }

    #[inline(never)]
    pub(crate) fn push_slowly<W: Width, B: Bus>(&mut self, bus: &mut B, value: W) -> Exec {
        let rsp = self.register(gpr::RSP);
        let offset = rsp.wrapping_sub(W::BYTES as u64) & self.stack_mask;
        if !self.store_beside(bus, segment::SS, offset, value) {
            self.store_watched(bus, segment::SS, offset, value)?;
        }
        self.set_register(gpr::RSP, (rsp & !self.stack_mask) | offset);
        Ok(())
    }

    /// Pops a value; SP changes only when the load succeeded.
    #[inline(always)]
    pub fn pop<W: Width, B: Bus>(&mut self, bus: &mut B) -> Result<W, Exception> {
        let rsp = self.register(gpr::RSP);
        let value = self.load_at(bus, segment::SS, rsp & self.stack_mask)?;
        self.adjust_sp(W::BYTES as i64);
        Ok(value)
    }

    /// As [`Core::pop`], and goes on with the value as [`Core::load_then`] does.
    #[inline(always)]
    pub(crate) fn pop_then<W: Width, B: Bus>(
        &mut self,
        bus: &mut B,
        then: impl FnOnce(&mut Core, &mut B, W) -> Exec,
    ) -> Exec {
        let offset = self.register(gpr::RSP) & self.stack_mask;
        self.load_then(bus, segment::SS, offset, |core, bus, value| {
            core.adjust_sp(W::BYTES as i64);
            then(core, bus, value)
        })
    }

    /// Reads the stack at SP + `displacement` without changing SP.
    pub fn peek<W: Width, B: Bus>(&mut self, bus: &mut B, displacement: u64) -> Result<W, Exception> {
        let offset = self.register(gpr::RSP).wrapping_add(displacement) & self.stack_mask;
        self.load_at(bus, segment::SS, offset)
    }

    /// FFFFh or FFFFFFFFh, as SS's B bit says.
    #[inline(always)]
    pub fn stack_mask(&self) -> u64 {
        self.stack_mask
    }

    /// Adds to SP within the stack's width.
    #[inline(always)]
    pub fn adjust_sp(&mut self, delta: i64) {
        let rsp = self.register(gpr::RSP);
        let next = rsp.wrapping_add_signed(delta) & self.stack_mask;
        self.set_register(gpr::RSP, (rsp & !self.stack_mask) | next);
    }

    /// Sets SP (16-bit stack) or ESP.
    pub(crate) fn set_sp(&mut self, value: u64) {
        let rsp = self.register(gpr::RSP);
        self.set_register(gpr::RSP, (rsp & !self.stack_mask) | (value & self.stack_mask));
    }

    /// Checks `offset` against the CS limit and makes it the next instruction (16-bit operand size
    /// cuts it to 16 bits first, done by the caller).
    #[inline(always)]
    pub fn near_jump(&mut self, offset: u64) -> Exec {
        if !self.can_jump_to(offset) {
            return Err(Exception::general_protection(0));
        }
        self.state.rip = offset;
        Ok(())
    }

    /// The offset in the code segment that a near branch's `immediate` says.
    #[inline(always)]
    pub(crate) fn target_of(&self, immediate: u64) -> u64 {
        self.block_base().wrapping_add(immediate) & self.linear_mask
    }

    /// As [`Core::near_jump`], for an instruction behind which its block may go on.
    #[inline(always)]
    pub(crate) fn branch(&mut self, offset: u64) -> Exec {
        if !self.can_jump_to(offset) {
            return Err(Exception::general_protection(0));
        }
        self.take_branch(offset);
        Ok(())
    }

    /// Makes `offset`, which can be jumped to, the next instruction.
    #[inline(always)]
    pub(crate) fn take_branch(&mut self, offset: u64) {
        self.state.rip = offset;
        // Where more is to be looked at, this is found too. Stored whole: a store of one bit's byte, read
        // back whole, would have to reach the cache first.
        if self.attention == 0 {
            self.attention = attention::JUMPED;
        }
    }

    /// Whether `offset` is within CS's limit, or canonical in 64-bit mode.
    #[inline(always)]
    pub(crate) fn can_jump_to(&self, offset: u64) -> bool {
        offset.wrapping_add(self.code_bias) <= self.code_limit
    }

    /// How many bytes of code there are from `offset` on; 0 when it cannot be jumped to.
    #[inline(always)]
    pub(crate) fn code_room(&self, offset: u64) -> u64 {
        // The limit is far below the largest number.
        (self.code_limit + 1).saturating_sub(offset.wrapping_add(self.code_bias))
    }

    /// The linear address of the next instruction.
    #[inline(always)]
    pub(crate) fn linear_rip(&self) -> u64 {
        self.views[usize::from(segment::CS)].base.wrapping_add(self.state.rip) & self.linear_mask
    }

    /// The part of a linear address that counts for an access with these rights.
    #[inline(always)]
    pub(crate) fn linear_part(&self, privilege: Privilege) -> u64 {
        if privilege == Privilege::System { self.system_mask } else { self.linear_mask }
    }

    /// General register, whole.
    #[inline(always)]
    pub fn register(&self, index: u8) -> u64 {
        self.state.gpr[usize::from(index & 31)]
    }

    /// What the running block's offsets are relative to; zero in a single step.
    #[inline(always)]
    pub(crate) fn block_base(&self) -> u64 {
        self.state.gpr[usize::from(gpr::BLOCK)]
    }

    /// Says what the offsets of what is run next are relative to.
    #[inline(always)]
    pub(crate) fn set_block_base(&mut self, base: u64) {
        self.state.gpr[usize::from(gpr::BLOCK)] = base;
    }

    /// Sets a general register whole.
    #[inline(always)]
    pub fn set_register(&mut self, index: u8, value: u64) {
        self.state.gpr[usize::from(index & 31)] = value;
    }

    /// General register number `index` modulo 16, whole.
    #[inline(always)]
    pub(crate) fn general(&self, index: u8) -> u64 {
        self.state.gpr[usize::from(index & 15)]
    }

    /// Sets it.
    #[inline(always)]
    pub(crate) fn set_general(&mut self, index: u8, value: u64) {
        self.state.gpr[usize::from(index & 15)] = value;
    }

    /// How many more instructions (or REP iterations), counting this one, may retire before the
    /// machine must look at its events. At least 1; 1 on the plain path.
    #[inline(always)]
    pub fn budget(&self) -> u64 {
        if self.single { 1 } else { self.budget_end.saturating_sub(self.retired).max(1) }
    }

    /// Records that this op retired `count` instructions rather than one (REP iterations).
    pub fn retired_many(&mut self, count: u64) {
        self.retired = self.retired.wrapping_add(count).wrapping_sub(1);
        self.attention |= attention::END_BLOCK;
    }

    /// Makes the engine execute this instruction again (REP not finished), after looking at
    /// interrupts.
    pub fn repeat_instruction(&mut self) {
        self.attention |= attention::REPEAT;
    }

    /// PAUSE: the machine lets virtual time pass.
    pub fn pause<B: Bus>(&mut self, bus: &mut B) {
        bus.pause(self.cycle());
        self.device_touched();
    }
}
