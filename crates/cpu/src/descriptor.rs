//! Descriptors and selectors (Intel SDM vol. 3A, 3.4 and 5.8).

use crate::{
    Bus, Core, Exception,
    state::{Segment, rights, segment},
};

/// System descriptor types (table 3-2). In long mode the 32-bit TSS, call gate, interrupt and trap gates
/// are the 64-bit ones, and the 16-bit ones and task gates do not exist.
pub(crate) mod kind {
    pub(crate) const TSS_16: u8 = 1;
    pub(crate) const LDT: u8 = 2;
    pub(crate) const TSS_16_BUSY: u8 = 3;
    pub(crate) const CALL_GATE_16: u8 = 4;
    pub(crate) const TASK_GATE: u8 = 5;
    pub(crate) const INTERRUPT_GATE_16: u8 = 6;
    pub(crate) const TRAP_GATE_16: u8 = 7;
    pub(crate) const TSS_32: u8 = 9;
    pub(crate) const TSS_32_BUSY: u8 = 11;
    pub(crate) const CALL_GATE_32: u8 = 12;
    pub(crate) const INTERRUPT_GATE_32: u8 = 14;
    pub(crate) const TRAP_GATE_32: u8 = 15;
}

/// The index and table of a selector, as an error code.
pub(crate) fn error(selector: u16) -> u32 {
    u32::from(selector & !3)
}

/// RPL, SDM 3.4.2.
pub(crate) fn rpl(selector: u16) -> u8 {
    (selector & 3) as u8
}

/// A selector that names no segment: index 0 of the GDT.
pub(crate) fn null(selector: u16) -> bool {
    selector & !3 == 0
}

/// Eight bytes of a descriptor table, and where they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub(crate) low: u32,
    pub(crate) high: u32,
    /// Long mode's system descriptors have sixteen bytes: bits 32-63 of base or offset.
    pub(crate) wide: u32,
    /// Linear address of the descriptor.
    pub(crate) address: u64,
}

impl Descriptor {
    /// The hidden part of a segment register loaded with it.
    pub(crate) fn segment(&self, selector: u16) -> Segment {
        let base = (self.low >> 16) | ((self.high & 0xff) << 16) | (self.high & 0xff00_0000);
        Segment {
            selector,
            base: u64::from(self.wide) << 32 | u64::from(base),
            limit: self.limit(),
            rights: ((self.high >> 8) & 0xf0ff) as u16,
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        let limit = (self.low & 0xffff) | (self.high & 0x000f_0000);
        if self.high & (1 << 23) != 0 { (limit << 12) | 0xfff } else { limit }
    }

    /// Type field, 0-15.
    pub(crate) fn kind(&self) -> u8 {
        ((self.high >> 8) & 15) as u8
    }

    /// The type field of a system descriptor; `None` for code and data.
    pub(crate) fn system(&self) -> Option<u8> {
        (self.high & (1 << 12) == 0).then(|| self.kind())
    }

    pub(crate) fn dpl(&self) -> u8 {
        ((self.high >> 13) & 3) as u8
    }

    pub(crate) fn present(&self) -> bool {
        self.high & (1 << 15) != 0
    }

    /// The selector in a gate.
    pub(crate) fn gate_selector(&self) -> u16 {
        (self.low >> 16) as u16
    }

    /// The entry point in a gate; 16-bit gates have only the lower half.
    pub(crate) fn gate_offset(&self) -> u64 {
        let low = self.low & 0xffff;
        let low = if self.kind() & 8 != 0 { low | (self.high & 0xffff_0000) } else { low };
        u64::from(self.wide) << 32 | u64::from(low)
    }

    /// Count of parameters a call gate copies.
    pub(crate) fn parameters(&self) -> usize {
        (self.high & 31) as usize
    }
}

impl Core {
    /// Reads the descriptor `selector` names; `None` when it lies outside its table.
    pub(crate) fn descriptor<B: Bus>(
        &mut self,
        bus: &mut B,
        selector: u16,
    ) -> Result<Option<Descriptor>, Exception> {
        let (base, limit) = if selector & 4 != 0 {
            if !self.state.ldtr.present() {
                return Ok(None);
            }
            (self.state.ldtr.base, self.state.ldtr.limit)
        } else {
            (self.state.gdtr.base, u32::from(self.state.gdtr.limit))
        };
        if u32::from(selector | 7) > limit {
            return Ok(None);
        }
        let address = base.wrapping_add(u64::from(selector & !7)) & self.system_mask;
        let raw = self.read_system(bus, address, 8)?;
        Ok(Some(Descriptor { low: raw as u32, high: (raw >> 32) as u32, wide: 0, address }))
    }

    /// Reads the second half of a system descriptor in long mode; `None` when it lies outside its table
    /// or is not one (vol. 3A, 3.5.2: the type field of its last four bytes must be zero). In other
    /// modes the descriptor is whole as it is.
    pub(crate) fn whole<B: Bus>(
        &mut self,
        bus: &mut B,
        selector: u16,
        descriptor: Descriptor,
    ) -> Result<Option<Descriptor>, Exception> {
        if !self.state.long_mode() {
            return Ok(Some(descriptor));
        }
        let limit = if selector & 4 != 0 { self.state.ldtr.limit } else { u32::from(self.state.gdtr.limit) };
        if u32::from(selector | 7) + 8 > limit {
            return Ok(None);
        }
        let raw = self.read_system(bus, descriptor.address.wrapping_add(8), 8)?;
        if raw >> 40 & 0x1f != 0 {
            return Ok(None);
        }
        Ok(Some(Descriptor { wide: raw as u32, ..descriptor }))
    }

    /// Whether code of this segment can run: not 64-bit and 32-bit at once.
    pub(crate) fn runnable(&self, code: &Segment) -> bool {
        !(self.state.long_mode() && code.long() && code.big())
    }

    /// Whether `offset` can be jumped to in `code`.
    pub(crate) fn offset_in(&self, code: &Segment, offset: u64) -> bool {
        if self.state.long_mode() && code.long() {
            self.state.canonical(offset)
        } else {
            offset <= u64::from(code.limit)
        }
    }

    /// SS with a null selector, as 64-bit mode allows below level 3; it still has the level.
    pub(crate) fn null_stack(selector: u16, cpl: u8) -> Segment {
        Segment { selector, rights: u16::from(cpl) << rights::DPL_SHIFT, ..Segment::default() }
    }

    /// Sets the accessed bit of a code or data descriptor in memory, and in `descriptor`.
    pub(crate) fn mark_accessed<B: Bus>(
        &mut self,
        bus: &mut B,
        descriptor: &mut Descriptor,
    ) -> Result<(), Exception> {
        if descriptor.high & 0x100 == 0 {
            descriptor.high |= 0x100;
            let byte = u64::from((descriptor.high >> 8) & 0xff);
            self.write_system(bus, descriptor.address.wrapping_add(5), 1, byte)?;
        }
        Ok(())
    }

    /// Loads ES, SS, DS, FS or GS as MOV and POP do (SDM vol. 2B, MOV).
    pub(crate) fn load_segment<B: Bus>(
        &mut self,
        bus: &mut B,
        index: u8,
        selector: u16,
    ) -> Result<(), Exception> {
        if self.state.eight_thousand() {
            self.load_segment_8086(index, selector);
            return Ok(());
        }
        let cpl = self.state.cpl;
        let value = if index == segment::SS && self.in_64_bit_mode() && null(selector) && cpl < 3 {
            if rpl(selector) != cpl {
                return Err(Exception::general_protection(0));
            }
            Core::null_stack(selector, cpl)
        } else if index == segment::SS {
            self.stack_segment(bus, selector, cpl, Exception::general_protection, 0)?
        } else {
            self.data_segment(bus, selector, Exception::general_protection)?
        };
        self.set_segment(index, value);
        Ok(())
    }

    /// Loads a segment register in real or v8086 mode. Real mode leaves limit and size alone
    /// ("big real mode"); v8086 mode sets them.
    pub(crate) fn load_segment_8086(&mut self, index: u8, selector: u16) {
        let Some(old) = self.state.segments.get(usize::from(index)) else {
            return;
        };
        let value = if self.state.v8086() {
            Segment { rights: rights::REAL_MODE | (3 << rights::DPL_SHIFT), ..Segment::real_mode(selector) }
        } else {
            Segment {
                limit: old.limit,
                rights: rights::REAL_MODE | (old.rights & (rights::BIG | rights::GRANULARITY)),
                ..Segment::real_mode(selector)
            }
        };
        self.set_segment(index, value);
    }

    /// Checks `selector` for SS at privilege level `cpl`; `fault` makes #GP or #TS of an error code.
    pub(crate) fn stack_segment<B: Bus>(
        &mut self,
        bus: &mut B,
        selector: u16,
        cpl: u8,
        fault: fn(u32) -> Exception,
        external: u32,
    ) -> Result<Segment, Exception> {
        if null(selector) {
            return Err(fault(external));
        }
        let code = error(selector) | external;
        let mut descriptor = self.descriptor(bus, selector)?.ok_or(fault(code))?;
        let segment = descriptor.segment(selector);
        if rpl(selector) != cpl || segment.dpl() != cpl || !segment.writable() {
            return Err(fault(code));
        }
        if !segment.present() {
            return Err(Exception::stack(code));
        }
        self.mark_accessed(bus, &mut descriptor)?;
        Ok(descriptor.segment(selector))
    }

    /// Checks `selector` for a data segment register at the current privilege level.
    pub(crate) fn data_segment<B: Bus>(
        &mut self,
        bus: &mut B,
        selector: u16,
        fault: fn(u32) -> Exception,
    ) -> Result<Segment, Exception> {
        if null(selector) {
            return Ok(Segment { selector, ..Segment::default() });
        }
        let code = error(selector);
        let mut descriptor = self.descriptor(bus, selector)?.ok_or(fault(code))?;
        let segment = descriptor.segment(selector);
        let privilege = rpl(selector).max(self.state.cpl);
        if !segment.readable() || (!segment.conforming() && segment.dpl() < privilege) {
            return Err(fault(code));
        }
        if !segment.present() {
            return Err(Exception::not_present(code));
        }
        self.mark_accessed(bus, &mut descriptor)?;
        Ok(descriptor.segment(selector))
    }

    /// After a return to an outer level: data segments it may not use become null (SDM vol. 3A,
    /// 5.8.6).
    pub(crate) fn drop_inner_segments(&mut self) {
        for index in [segment::ES, segment::DS, segment::FS, segment::GS] {
            let segment = self.state.segments[usize::from(index)];
            if self.state.long_mode() && null(segment.selector) {
                // The base of FS or GS is not the selector's.
                continue;
            }
            let usable = segment.present() && (segment.conforming() || segment.dpl() >= self.state.cpl);
            if !usable && !null(segment.selector) || !segment.present() {
                self.set_segment(index, Segment::default());
            }
        }
    }
}
