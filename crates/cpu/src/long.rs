//! Interrupts, exceptions and call gates in long mode (Intel SDM vol. 3A, 5.8.3.1 and 6.14).

use crate::{
    Bus, Core, Exception, Exec,
    access::Privilege,
    descriptor::{Descriptor, error, kind, null},
    exceptions::{Event, Source, pushes_resume},
    flags::bit,
    state::{Segment, gpr, segment},
};

/// Offsets in a 64-bit task state segment (figure 7-11).
const RSP0: u32 = 0x04;
const IST1: u32 = 0x24;

impl Core {
    /// Through a 64-bit gate of the IDT.
    pub(crate) fn enter_long<B: Bus>(&mut self, bus: &mut B, event: Event) -> Exec {
        let ext = event.ext();
        let code = u32::from(event.vector) * 8 + 2 + ext;
        let gate = self.interrupt_gate(bus, event, code)?;
        let (selector, mut target, segment) = self.gate_code(bus, &gate, ext)?;
        let offset = gate.gate_offset();
        let cpl = self.state.cpl;
        let inner = !segment.conforming() && segment.dpl() < cpl;
        let new_cpl = if inner { segment.dpl() } else { cpl };
        let old_rsp = self.register(gpr::RSP);
        let stack = match gate.interrupt_stack() {
            0 if inner => self.stack_of_level(bus, new_cpl, ext)?,
            0 => old_rsp,
            number => self.stack_pointer(bus, IST1 + 8 * (number - 1), ext)?,
        };
        if !self.state.canonical(offset) {
            return Err(Exception::general_protection(ext));
        }
        let mut flags = self.state.flags.bits();
        if pushes_resume(event) {
            flags |= bit::RF;
        }
        let frame = [
            u64::from(self.state.ss().selector),
            old_rsp,
            u64::from(flags),
            u64::from(self.state.cs().selector),
            self.state.rip,
            u64::from(event.error.unwrap_or(0)),
        ];
        let frame = &frame[..if event.error.is_some() { 6 } else { 5 }];
        self.mark_accessed(bus, &mut target)?;
        let rsp = self.push_long(bus, stack & !15, frame, new_cpl, Exception::stack(ext))?;

        // Nothing can fault from here on.
        let mut cleared = bit::TF | bit::NT | bit::RF | bit::VM;
        if gate.kind() == kind::INTERRUPT_GATE_32 {
            cleared |= bit::IF;
        }
        self.set_flags(self.state.flags.bits() & !cleared);
        self.enter_code(target.segment(selector), new_cpl, inner, rsp, offset);
        Ok(())
    }

    /// CALL through a 64-bit call gate.
    pub(crate) fn call_gate_long<B: Bus>(&mut self, bus: &mut B, gate: &Descriptor) -> Exec {
        let (selector, mut target, segment) = self.gate_code(bus, gate, 0)?;
        let offset = gate.gate_offset();
        let cpl = self.state.cpl;
        let inner = !segment.conforming() && segment.dpl() < cpl;
        let new_cpl = if inner { segment.dpl() } else { cpl };
        let old_rsp = self.register(gpr::RSP);
        let stack = if inner { self.stack_of_level(bus, new_cpl, 0)? } else { old_rsp };
        if !self.state.canonical(offset) {
            return Err(Exception::general_protection(0));
        }
        let ss = u64::from(self.state.ss().selector);
        let cs = u64::from(self.state.cs().selector);
        let frame = [ss, old_rsp, cs, self.state.rip];
        let frame = if inner { &frame[..] } else { &frame[2..] };
        self.mark_accessed(bus, &mut target)?;
        let rsp = self.push_long(bus, stack, frame, new_cpl, Exception::stack(0))?;
        self.enter_code(target.segment(selector), new_cpl, inner, rsp, offset);
        Ok(())
    }

    /// The sixteen bytes of an event's gate, checked.
    fn interrupt_gate<B: Bus>(
        &mut self,
        bus: &mut B,
        event: Event,
        code: u32,
    ) -> Result<Descriptor, Exception> {
        let entry = u64::from(event.vector) * 16;
        if entry + 15 > u64::from(self.state.idtr.limit) {
            return Err(Exception::general_protection(code));
        }
        let address = self.state.idtr.base.wrapping_add(entry);
        let raw = self.read_system(bus, address, 8)?;
        let wide = self.read_system(bus, address.wrapping_add(8), 4)? as u32;
        let gate = Descriptor { low: raw as u32, high: (raw >> 32) as u32, wide, address };
        if !matches!(gate.system(), Some(kind::INTERRUPT_GATE_32 | kind::TRAP_GATE_32)) {
            return Err(Exception::general_protection(code));
        }
        if event.source == Source::Software && gate.dpl() < self.state.cpl {
            return Err(Exception::general_protection(code));
        }
        if !gate.present() {
            return Err(Exception::not_present(code));
        }
        Ok(gate)
    }

    /// The code segment a gate leads to, which must be 64-bit: its selector, descriptor and hidden part.
    pub(crate) fn gate_code<B: Bus>(
        &mut self,
        bus: &mut B,
        gate: &Descriptor,
        ext: u32,
    ) -> Result<(u16, Descriptor, Segment), Exception> {
        let selector = gate.gate_selector();
        if null(selector) {
            return Err(Exception::general_protection(ext));
        }
        let fault = Exception::general_protection(error(selector) | ext);
        let target = self.descriptor(bus, selector)?.ok_or(fault)?;
        let code = target.segment(selector);
        if !code.code() || code.dpl() > self.state.cpl || !code.long() || code.big() {
            return Err(fault);
        }
        if !code.present() {
            return Err(Exception::not_present(error(selector) | ext));
        }
        Ok((selector, target, code))
    }

    /// RSP of privilege level `level` from the TSS.
    fn stack_of_level<B: Bus>(&mut self, bus: &mut B, level: u8, ext: u32) -> Result<u64, Exception> {
        self.stack_pointer(bus, RSP0 + 8 * u32::from(level), ext)
    }

    /// A stack pointer at `offset` of the TSS.
    fn stack_pointer<B: Bus>(&mut self, bus: &mut B, offset: u32, ext: u32) -> Result<u64, Exception> {
        let tr = self.state.tr;
        if offset + 7 > tr.limit {
            return Err(Exception::invalid_tss(error(tr.selector) | ext));
        }
        let rsp = self.read_system(bus, tr.base.wrapping_add(u64::from(offset)), 8)?;
        if self.state.canonical(rsp) { Ok(rsp) } else { Err(Exception::stack(ext)) }
    }

    /// Pushes eight bytes each, in order, on a stack that may not be the current one: all or nothing.
    fn push_long<B: Bus>(
        &mut self,
        bus: &mut B,
        rsp: u64,
        values: &[u64],
        cpl: u8,
        fault: Exception,
    ) -> Result<u64, Exception> {
        // A supervisor's stack is at its 64-bit address even while compatibility mode is left.
        let outer = std::mem::replace(&mut self.linear_mask, u64::MAX);
        let pushed = self.push_whole(bus, rsp, values, Privilege::at(cpl), fault);
        self.linear_mask = outer;
        pushed
    }

    fn push_whole<B: Bus>(
        &mut self,
        bus: &mut B,
        rsp: u64,
        values: &[u64],
        privilege: Privilege,
        fault: Exception,
    ) -> Result<u64, Exception> {
        let slot = |index: usize| rsp.wrapping_sub(8 * (index as u64 + 1));
        for index in 0..values.len() {
            let at = slot(index);
            if !self.state.canonical(at) || !self.state.canonical(at.wrapping_add(7)) {
                return Err(fault);
            }
            self.resolve_range(bus, at, 8, privilege)?;
        }
        for (index, value) in values.iter().enumerate() {
            self.write_slow(bus, slot(index), 8, *value, privilege)?;
        }
        Ok(slot(values.len().wrapping_sub(1)))
    }

    /// Goes to 64-bit code at `cpl`; a new level has a null stack segment.
    fn enter_code(&mut self, code: Segment, cpl: u8, new_level: bool, rsp: u64, offset: u64) {
        self.state.cpl = cpl;
        if new_level {
            self.set_segment(segment::SS, Core::null_stack(u16::from(cpl), cpl));
        }
        let selector = (code.selector & !3) | u16::from(cpl);
        self.set_segment(segment::CS, Segment { selector, ..code });
        self.set_register(gpr::RSP, rsp);
        self.state.rip = offset;
        self.refresh_mode();
    }
}

impl Descriptor {
    /// IST of a 64-bit interrupt or trap gate: which stack of the TSS to use, 0 for none.
    fn interrupt_stack(&self) -> u32 {
        self.high & 7
    }
}
