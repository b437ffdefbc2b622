//! Delivery of interrupts and exceptions (Intel SDM vol. 3A, chapter 6).

use crate::{
    Bus, Core, Exception, Exec, Occurrence,
    access::{Privilege, attention},
    descriptor::{Descriptor, error, kind, null},
    flags::bit,
    state::{Activity, Segment, Shadow, cr4, dr6, segment},
    task::Cause,
};

/// Where an event comes from, which decides privilege checks and the EXT bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// INTR or NMI.
    External,
    /// A fault or trap found by the processor; INT1 counts as one.
    Processor,
    /// INT n, INT3, INTO.
    Software,
}

/// What is to be delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) vector: u8,
    pub(crate) error: Option<u32>,
    pub(crate) source: Source,
}

impl Event {
    pub(crate) fn processor(exception: Exception) -> Event {
        Event {
            vector: exception.vector(),
            error: exception.error().map(u32::from),
            source: Source::Processor,
        }
    }

    pub(crate) fn external(vector: u8) -> Event {
        Event { vector, error: None, source: Source::External }
    }

    pub(crate) fn software(vector: u8) -> Event {
        Event { vector, error: None, source: Source::Software }
    }

    /// The EXT bit of an error code met while delivering this.
    pub(crate) fn ext(self) -> u32 {
        u32::from(self.source != Source::Software)
    }
}

/// Table 6-5: how exceptions combine to a double fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
}

fn class(vector: u8) -> Class {
    match vector {
        0 | 10..=13 => Class::Contributory,
        14 => Class::PageFault,
        _ => Class::Benign,
    }
}

const DOUBLE_FAULT: u8 = 8;

/// What follows when `second` is raised while `first` is delivered; `None` is shutdown.
fn combine(first: Event, second: Exception) -> Option<Event> {
    if first.source != Source::Processor {
        return Some(Event::processor(second));
    }
    let later = class(second.vector());
    if first.vector == DOUBLE_FAULT {
        return (later == Class::Benign).then(|| Event::processor(second));
    }
    let double = match class(first.vector) {
        Class::Benign => false,
        Class::Contributory => later == Class::Contributory,
        Class::PageFault => later != Class::Benign,
    };
    Some(if double {
        Event { vector: DOUBLE_FAULT, error: Some(0), source: Source::Processor }
    } else {
        Event::processor(second)
    })
}

/// Faults push RF set, so that the instruction can be restarted past its breakpoint (vol. 3B,
/// 17.3.1.1); traps, aborts and debug faults do not.
pub(crate) fn pushes_resume(event: Event) -> bool {
    event.source == Source::Processor && !matches!(event.vector, 1 | 3 | 4 | DOUBLE_FAULT | 18)
}

/// Events in a row of which none can be delivered, beyond which it is taken to go on for ever.
const MOST_EVENTS: u32 = 16;

impl Core {
    /// Raises `exception` at the current instruction: delivers it, or what comes of it.
    pub(crate) fn raise<B: Bus>(&mut self, bus: &mut B, exception: Exception) {
        if exception.vector() == 14 {
            self.state.cr2 = self.fault_address;
        }
        self.deliver(bus, Event::processor(exception));
    }

    /// Delivers an event, with double and triple faults.
    ///
    /// An alignment check whose delivery meets an alignment check, on a misaligned stack at CPL 3, is delivered
    /// again, and again: processors do nothing else any more until they are reset. Here that is a shutdown.
    pub(crate) fn deliver<B: Bus>(&mut self, bus: &mut B, event: Event) {
        let mut event = event;
        let mut left = MOST_EVENTS;
        self.state.shadow = Shadow::None;
        self.attention |= attention::END_BLOCK;
        while let Err(second) = self.enter_handler(bus, event) {
            left -= 1;
            let Some(next) = combine(event, second).filter(|_| left != 0) else {
                self.occurred(Occurrence::Shutdown);
                self.state.activity = Activity::Shutdown;
                return;
            };
            if second.vector() == 14 {
                self.state.cr2 = self.fault_address;
            }
            event = next;
        }
        self.state.activity = Activity::Running;
    }

    /// Enters the handler of `event`, or faults with nothing changed (but for a task gate, whose
    /// faults belong to the new task).
    pub(crate) fn enter_handler<B: Bus>(&mut self, bus: &mut B, event: Event) -> Exec {
        if event.source == Source::Processor {
            self.occurred(Occurrence::Exception { vector: event.vector, error: event.error });
        }
        if event.vector == 1 && event.source == Source::Processor {
            // Any #DB lets the handler use the debug registers.
            self.state.dr[7] &= !(1 << 13);
        }
        if self.state.long_mode() {
            self.enter_long(bus, event)
        } else if self.state.protected() {
            self.enter_protected(bus, event)
        } else {
            self.enter_real(bus, event)
        }
    }

    /// Through the interrupt vector table at IDTR's base (section 20.1.4).
    fn enter_real<B: Bus>(&mut self, bus: &mut B, event: Event) -> Exec {
        let entry = u64::from(event.vector) * 4;
        if entry + 3 > u64::from(self.state.idtr.limit) {
            return Err(Exception::general_protection(u32::from(event.vector) * 8 + 2));
        }
        let address = self.state.idtr.base.wrapping_add(entry);
        let pointer = self.read_system(bus, address, 4)?;
        self.enter_8086(bus, pointer as u32)
    }

    /// Pushes FLAGS, CS, IP and goes to `pointer`, in real mode or redirected v8086 mode.
    fn enter_8086<B: Bus>(&mut self, bus: &mut B, pointer: u32) -> Exec {
        let sp = self.register(crate::state::gpr::RSP);
        for pushed in [2_u64, 4, 6] {
            let offset = sp.wrapping_sub(pushed) & self.stack_mask();
            self.probe(bus, segment::SS, offset, 2, true)?;
        }
        let mut flags = self.state.flags.bits();
        let mut cleared = bit::IF | bit::TF | bit::AC | bit::RF;
        if self.state.v8086() {
            cleared = bit::TF | bit::RF | bit::NT;
            if self.state.flags.iopl() < 3 {
                // Virtual-8086 extensions: the image shows VIF as IF, and IOPL 3 (section 20.3.3).
                let image = if flags & bit::VIF != 0 { bit::IF } else { 0 };
                flags = (flags & !bit::IF) | image | bit::IOPL;
                cleared |= bit::VIF;
            } else {
                cleared |= bit::IF;
            }
        }
        self.push::<u16, B>(bus, flags as u16)?;
        self.push::<u16, B>(bus, self.state.cs().selector)?;
        self.push::<u16, B>(bus, self.state.rip as u16)?;
        self.load_segment_8086(segment::CS, (pointer >> 16) as u16);
        self.state.rip = u64::from(pointer & 0xffff);
        self.set_flags(self.state.flags.bits() & !cleared);
        Ok(())
    }

    /// INT n in v8086 mode with CR4.VME: whether the TSS' redirection bitmap sends it to the 8086
    /// handler (table 20-2). Done here in full when it does.
    pub(crate) fn redirected<B: Bus>(&mut self, bus: &mut B, vector: u8) -> Result<bool, Exception> {
        if !self.state.v8086() || self.state.cr4 & cr4::VME == 0 {
            return Ok(false);
        }
        let tr = self.state.tr;
        if tr.limit < 0x67 {
            return Ok(false);
        }
        let map = self.read_system(bus, tr.base.wrapping_add(0x66), 2)?;
        let at = map.wrapping_sub(32).wrapping_add(u64::from(vector >> 3)) & 0xffff;
        if at > u64::from(tr.limit) || map < 32 {
            return Ok(false);
        }
        let byte = self.read_system(bus, tr.base.wrapping_add(at), 1)?;
        if byte & (1 << (vector & 7)) != 0 {
            return Ok(false);
        }
        let pointer = self.read_slow(bus, u64::from(vector) * 4, 4, Privilege::User)?;
        self.enter_8086(bus, pointer as u32)?;
        Ok(true)
    }

    /// Through the IDT (section 6.12).
    fn enter_protected<B: Bus>(&mut self, bus: &mut B, event: Event) -> Exec {
        let ext = event.ext();
        let code = u32::from(event.vector) * 8 + 2 + ext;
        let entry = u64::from(event.vector) * 8;
        if entry + 7 > u64::from(self.state.idtr.limit) {
            return Err(Exception::general_protection(code));
        }
        let address = self.state.idtr.base.wrapping_add(entry) & self.system_mask;
        let raw = self.read_system(bus, address, 8)?;
        let gate = Descriptor { low: raw as u32, high: (raw >> 32) as u32, wide: 0, address };
        let kind = gate.system().filter(|kind| {
            matches!(
                *kind,
                kind::TASK_GATE
                    | kind::INTERRUPT_GATE_16
                    | kind::TRAP_GATE_16
                    | kind::INTERRUPT_GATE_32
                    | kind::TRAP_GATE_32
            )
        });
        let kind = kind.ok_or(Exception::general_protection(code))?;
        if event.source == Source::Software && gate.dpl() < self.state.cpl {
            return Err(Exception::general_protection(code));
        }
        if !gate.present() {
            return Err(Exception::not_present(code));
        }
        if kind == kind::TASK_GATE {
            let resume = pushes_resume(event);
            return self.enter_task(bus, gate.gate_selector(), event.error, ext, resume);
        }
        self.enter_gate(bus, event, &gate)
    }

    /// A task gate in the IDT (section 6.12.2).
    fn enter_task<B: Bus>(
        &mut self,
        bus: &mut B,
        selector: u16,
        error_code: Option<u32>,
        ext: u32,
        resume: bool,
    ) -> Exec {
        self.switch_by_gate(bus, selector, Cause::Interrupt { ext, resume })?;
        if let Some(value) = error_code {
            let big = self.state.tr.rights & 8 != 0;
            let size = if big { 4 } else { 2 };
            let sp = self.register(crate::state::gpr::RSP);
            let stack = *self.state.ss();
            let privilege = self.privilege();
            let values = [u64::from(value)];
            let sp = self.push_frame(bus, &stack, sp, &values, size, privilege, Exception::stack(ext))?;
            self.set_sp(sp);
        }
        Ok(())
    }

    /// An interrupt or trap gate (sections 6.12.1 and 20.3.1).
    fn enter_gate<B: Bus>(&mut self, bus: &mut B, event: Event, gate: &Descriptor) -> Exec {
        let ext = event.ext();
        let size: u8 = if gate.kind() & 8 != 0 { 4 } else { 2 };
        let selector = gate.gate_selector();
        if null(selector) {
            return Err(Exception::general_protection(ext));
        }
        let fault = Exception::general_protection(error(selector) | ext);
        let mut target = self.descriptor(bus, selector)?.ok_or(fault)?;
        let code = target.segment(selector);
        let cpl = self.state.cpl;
        if !code.code() || code.dpl() > cpl {
            return Err(fault);
        }
        if !code.present() {
            return Err(Exception::not_present(error(selector) | ext));
        }
        let v8086 = self.state.v8086();
        let inner = !code.conforming() && code.dpl() < cpl;
        if v8086 && (!inner || code.dpl() != 0) {
            return Err(fault);
        }
        let offset = gate.gate_offset();
        let new_cpl = if inner { code.dpl() } else { cpl };

        let old_rsp = self.register(crate::state::gpr::RSP);
        let (stack, sp, stack_fault) = if inner {
            let (stack, sp) = self.inner_stack(bus, new_cpl, ext)?;
            (stack, sp, Exception::stack(error(stack.selector) | ext))
        } else {
            (*self.state.ss(), old_rsp, Exception::stack(ext))
        };
        if offset > u64::from(code.limit) {
            return Err(Exception::general_protection(ext));
        }

        let mut flags = self.state.flags.bits();
        if pushes_resume(event) {
            flags |= bit::RF;
        }
        let selector_of = |index: u8| u64::from(self.state.segments[usize::from(index)].selector);
        let mut frame = [0; 10];
        let mut count = 0;
        let mut put = |value: u64| {
            if let Some(slot) = frame.get_mut(count) {
                *slot = value;
            }
            count += 1;
        };
        if v8086 {
            for index in [segment::GS, segment::FS, segment::DS, segment::ES] {
                put(selector_of(index));
            }
        }
        if inner {
            put(selector_of(segment::SS));
            put(old_rsp);
        }
        put(flags.into());
        put(selector_of(segment::CS));
        put(self.state.rip);
        if let Some(value) = event.error {
            put(value.into());
        }
        let frame = frame.get(..count).unwrap_or(&[]);
        self.mark_accessed(bus, &mut target)?;
        let privilege = Privilege::at(new_cpl);
        let sp = self.push_frame(bus, &stack, sp, frame, size, privilege, stack_fault)?;

        // Nothing can fault from here on.
        let mut cleared = bit::TF | bit::NT | bit::RF | bit::VM;
        if matches!(gate.kind(), kind::INTERRUPT_GATE_16 | kind::INTERRUPT_GATE_32) {
            cleared |= bit::IF;
        }
        self.state.cpl = new_cpl;
        self.set_flags(self.state.flags.bits() & !cleared);
        if inner {
            self.set_segment(segment::SS, stack);
        }
        self.set_sp(sp);
        let mut code = target.segment(selector);
        code.selector = (selector & !3) | u16::from(new_cpl);
        self.set_segment(segment::CS, code);
        self.state.rip = offset;
        if v8086 {
            for index in [segment::ES, segment::DS, segment::FS, segment::GS] {
                self.set_segment(index, Segment::default());
            }
        }
        self.refresh_mode();
        Ok(())
    }

    /// SS:ESP for privilege level `level` from the TSS (section 7.2.1), checked.
    pub(crate) fn inner_stack<B: Bus>(
        &mut self,
        bus: &mut B,
        level: u8,
        ext: u32,
    ) -> Result<(Segment, u64), Exception> {
        let tr = self.state.tr;
        let fault = Exception::invalid_tss(error(tr.selector) | ext);
        let wide = tr.rights & 8 != 0;
        let (offset, size): (u32, u8) =
            if wide { (4 + 8 * u32::from(level), 4) } else { (2 + 4 * u32::from(level), 2) };
        if offset + 2 * u32::from(size) - 1 > tr.limit {
            return Err(fault);
        }
        let at = tr.base.wrapping_add(u64::from(offset));
        let sp = self.read_system(bus, at, size)?;
        let selector = self.read_system(bus, at.wrapping_add(u64::from(size)), 2)? as u16;
        let stack = self.stack_segment(bus, selector, level, Exception::invalid_tss, ext)?;
        Ok((stack, sp))
    }

    /// Pushes `values` in order on a stack that may not be loaded yet: all or nothing. Gives the
    /// new SP.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn push_frame<B: Bus>(
        &mut self,
        bus: &mut B,
        stack: &Segment,
        sp: u64,
        values: &[u64],
        size: u8,
        privilege: Privilege,
        fault: Exception,
    ) -> Result<u64, Exception> {
        let mask = match stack.big() {
            _ if self.in_64_bit_mode() => u64::MAX,
            true => 0xffff_ffff,
            false => 0xffff,
        };
        let mut offset = sp;
        for _ in values {
            offset = offset.wrapping_sub(u64::from(size)) & mask;
            let linear = self.check_in(stack, offset, u64::from(size), true).ok_or(fault)?;
            self.resolve_range(bus, linear, size, privilege)?;
        }
        let mut offset = sp;
        for value in values {
            offset = offset.wrapping_sub(u64::from(size)) & mask;
            let linear = self.check_in(stack, offset, u64::from(size), true).ok_or(fault)?;
            self.write_slow(bus, linear, size, *value, privilege)?;
        }
        Ok(offset)
    }

    /// #DB for `causes` (bits of DR6), as a trap or a fault at the current RIP.
    pub(crate) fn debug_exception<B: Bus>(&mut self, bus: &mut B, causes: u32) {
        self.state.dr[6] = (self.state.dr[6] & !u64::from(dr6::HITS)) | u64::from(causes);
        self.raise(bus, Exception::DEBUG);
    }
}
