//! Hardware task switches (Intel SDM vol. 3A, chapter 7).

use crate::{
    Bus, Core, Exception, Exec,
    access::{Privilege, attention},
    descriptor::{Descriptor, error, kind, null, rpl},
    flags::bit,
    state::{Segment, cr0, cr4, dr6, rights, segment},
    tlb::Access,
};

/// What makes the processor switch tasks (table 7-2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    Jump,
    Call,
    Return,
    /// Through a task gate of the IDT; `ext` goes into error codes, `resume` sets RF in the image.
    Interrupt {
        ext: u32,
        resume: bool,
    },
}

impl Cause {
    fn ext(self) -> u32 {
        match self {
            Cause::Interrupt { ext, .. } => ext,
            _ => 0,
        }
    }

    fn nests(self) -> bool {
        matches!(self, Cause::Call | Cause::Interrupt { .. })
    }
}

/// Offsets of a task state segment (figures 7-2 and 7-10).
struct Layout {
    /// Bytes of a register.
    size: u8,
    /// IP or EIP; FLAGS and the eight general registers follow.
    ip: u64,
    /// ES; CS, SS, DS (FS, GS) follow.
    segments: u64,
    count: u8,
    ldt: u64,
    /// Smallest limit.
    limit: u32,
}

const LAYOUT_16: Layout = Layout { size: 2, ip: 0x0e, segments: 0x22, count: 4, ldt: 0x2a, limit: 0x2b };
const LAYOUT_32: Layout = Layout { size: 4, ip: 0x20, segments: 0x48, count: 6, ldt: 0x60, limit: 0x67 };

impl Layout {
    fn of(kind: u8) -> &'static Layout {
        if kind & 8 != 0 { &LAYOUT_32 } else { &LAYOUT_16 }
    }

    /// Bytes from the first saved register to the last saved selector.
    fn saved(&self) -> u64 {
        self.segments + u64::from(self.count) * u64::from(self.size) - self.ip
    }
}

const CR3: u64 = 0x1c;
const TRAP: u64 = 0x64;
const BUSY: u32 = 1 << 9;

impl Core {
    /// A task switch through a task gate whose TSS selector is `selector`.
    pub(crate) fn switch_by_gate<B: Bus>(&mut self, bus: &mut B, selector: u16, cause: Cause) -> Exec {
        let code = error(selector) | cause.ext();
        let fault = Exception::general_protection(code);
        if selector & 4 != 0 {
            return Err(fault);
        }
        let descriptor = self.descriptor(bus, selector)?.ok_or(fault)?;
        if !matches!(descriptor.system(), Some(kind::TSS_16 | kind::TSS_32)) {
            return Err(fault);
        }
        if !descriptor.present() {
            return Err(Exception::not_present(code));
        }
        self.switch_task(bus, selector, &descriptor, cause)
    }

    /// IRET with NT set: back to the task in the link field.
    pub(crate) fn return_to_task<B: Bus>(&mut self, bus: &mut B) -> Exec {
        let selector = self.read_system(bus, self.state.tr.base, 2)? as u16;
        let fault = Exception::invalid_tss(error(selector));
        if selector & 4 != 0 {
            return Err(fault);
        }
        let descriptor = self.descriptor(bus, selector)?.ok_or(fault)?;
        if !matches!(descriptor.system(), Some(kind::TSS_16_BUSY | kind::TSS_32_BUSY)) {
            return Err(fault);
        }
        if !descriptor.present() {
            return Err(Exception::not_present(error(selector)));
        }
        self.switch_task(bus, selector, &descriptor, Cause::Return)
    }

    /// Section 7.3. Nothing is written before everything that belongs to the old task has been
    /// checked; later faults belong to the new task.
    pub(crate) fn switch_task<B: Bus>(
        &mut self,
        bus: &mut B,
        selector: u16,
        descriptor: &Descriptor,
        cause: Cause,
    ) -> Exec {
        let ext = cause.ext();
        let new = Layout::of(descriptor.kind());
        let old = Layout::of(self.state.tr.kind());
        if descriptor.limit() < new.limit {
            return Err(Exception::invalid_tss(error(selector) | ext));
        }
        let old_tr = self.state.tr;
        if old_tr.limit < old.limit {
            return Err(Exception::invalid_tss(error(old_tr.selector) | ext));
        }
        let base = descriptor.segment(selector).base;
        let old_base = old_tr.base;

        // Probes.
        self.probe_linear(bus, old_base.wrapping_add(old.ip), old.saved(), Access::Write, Privilege::System)?;
        if cause.nests() {
            self.probe_linear(bus, base, 2, Access::Write, Privilege::System)?;
        }
        let old_descriptor = self.state.gdtr.base.wrapping_add(u64::from(old_tr.selector & !7)) & 0xffff_ffff;
        let frees_old = matches!(cause, Cause::Jump | Cause::Return);
        if frees_old {
            self.probe_linear(bus, old_descriptor.wrapping_add(4), 4, Access::Write, Privilege::System)?;
        }
        if cause != Cause::Return {
            let at = descriptor.address.wrapping_add(4);
            self.probe_linear(bus, at, 4, Access::Write, Privilege::System)?;
        }

        // The new task's registers, read before anything is written.
        let image = self.read_image(bus, base, new)?;

        // The old task's.
        let mut flags = self.state.flags.bits();
        if cause == Cause::Return {
            flags &= !bit::NT;
        }
        if matches!(cause, Cause::Interrupt { resume: true, .. }) {
            flags |= bit::RF;
        }
        self.save_image(bus, old_base, old, flags)?;
        if frees_old {
            let high = self.read_system(bus, old_descriptor.wrapping_add(4), 4)? as u32;
            let free = u64::from(high & !BUSY);
            self.write_system(bus, old_descriptor.wrapping_add(4), 4, free)?;
        }
        if cause.nests() {
            self.write_system(bus, base, 2, u64::from(old_tr.selector))?;
        }
        let mut high = descriptor.high;
        if cause != Cause::Return {
            high |= BUSY;
            self.write_system(bus, descriptor.address.wrapping_add(4), 4, u64::from(high))?;
        }

        // The point of no return.
        self.attention |=
            attention::NEW_TASK | attention::NO_TRAP | attention::KEEP_RESUME | attention::END_BLOCK;
        self.state.tr = Descriptor { high: high | BUSY, ..*descriptor }.segment(selector);
        self.state.cr0 |= cr0::TS;
        self.state.dr[7] &= !0x155;
        self.load_image(bus, &image, new, cause)?;
        if image.trap {
            self.state.pending.debug |= dr6::BT;
        }
        Ok(())
    }

    fn read_image<B: Bus>(&mut self, bus: &mut B, base: u64, layout: &Layout) -> Result<Image, Exception> {
        let size = layout.size;
        let mut image = Image::default();
        let mut at = base.wrapping_add(layout.ip);
        let mut next = |core: &mut Core, bus: &mut B| {
            let value = core.read_system(bus, at, size);
            at = at.wrapping_add(u64::from(size));
            value
        };
        image.rip = next(self, bus)?;
        image.flags = next(self, bus)? as u32;
        for register in &mut image.registers {
            *register = next(self, bus)?;
            if size == 2 {
                // The upper halves are undefined (7.6); what other implementations do.
                *register |= 0xffff_0000;
            }
        }
        let selectors = base.wrapping_add(layout.segments);
        for (index, selector) in (0..layout.count).zip(&mut image.selectors) {
            let at = selectors.wrapping_add(u64::from(index * size));
            *selector = self.read_system(bus, at, 2)? as u16;
        }
        image.ldt = self.read_system(bus, base.wrapping_add(layout.ldt), 2)? as u16;
        if size == 4 {
            image.cr3 = Some(self.read_system(bus, base.wrapping_add(CR3), 4)?);
            image.trap = self.read_system(bus, base.wrapping_add(TRAP), 2)? & 1 != 0;
        }
        Ok(image)
    }

    fn save_image<B: Bus>(&mut self, bus: &mut B, base: u64, layout: &Layout, flags: u32) -> Exec {
        let size = layout.size;
        let mut values = [0; 10];
        values[0] = self.state.rip;
        values[1] = u64::from(flags);
        values[2..].copy_from_slice(&self.state.gpr[..8]);
        let mut at = base.wrapping_add(layout.ip);
        for value in values {
            self.write_system(bus, at, size, value)?;
            at = at.wrapping_add(u64::from(size));
        }
        for index in 0..layout.count {
            let at = base.wrapping_add(layout.segments + u64::from(index * size));
            let selector = self.state.segments[usize::from(index)].selector;
            self.write_system(bus, at, 2, u64::from(selector))?;
        }
        Ok(())
    }

    fn load_image<B: Bus>(&mut self, bus: &mut B, image: &Image, layout: &Layout, cause: Cause) -> Exec {
        let ext = cause.ext();
        let wide = layout.size == 4;
        self.state.rip = image.rip;
        for (slot, value) in self.state.gpr.iter_mut().zip(image.registers) {
            *slot = value;
        }
        let mut flags = image.flags;
        if cause.nests() {
            flags |= bit::NT;
        }
        if !wide {
            flags &= 0xffff;
        }
        // Selectors first, hidden parts later: until then nothing can be used.
        for (index, selector) in (0..).zip(image.selectors) {
            self.set_segment(index, Segment { selector, ..Segment::default() });
        }
        self.state.ldtr = Segment { selector: image.ldt, ..Segment::default() };
        let v8086 = wide && flags & bit::VM != 0;
        self.state.cpl = if v8086 { 3 } else { rpl(image.selectors[1]) };
        self.set_flags(flags);
        if let Some(cr3) = image.cr3
            && self.state.paging()
        {
            if self.state.cr4 & cr4::PAE != 0 {
                self.load_pdptes(bus, cr3)?;
            }
            self.state.cr3 = cr3;
            self.flush_tlb();
        }
        self.load_ldt(bus, image.ldt, ext)?;
        if v8086 {
            for (index, selector) in (0..).zip(image.selectors) {
                self.load_segment_8086(index, selector);
            }
        } else {
            self.load_task_segments(bus, image, ext)?;
        }
        self.refresh();
        if self.state.rip > u64::from(self.state.cs().limit) {
            return Err(Exception::general_protection(ext));
        }
        Ok(())
    }

    fn load_ldt<B: Bus>(&mut self, bus: &mut B, selector: u16, ext: u32) -> Exec {
        if null(selector) {
            return Ok(());
        }
        let fault = Exception::invalid_tss(error(selector) | ext);
        if selector & 4 != 0 {
            return Err(fault);
        }
        let descriptor = self.descriptor(bus, selector)?.ok_or(fault)?;
        if descriptor.system() != Some(kind::LDT) || !descriptor.present() {
            return Err(fault);
        }
        self.state.ldtr = descriptor.segment(selector);
        Ok(())
    }

    fn load_task_segments<B: Bus>(&mut self, bus: &mut B, image: &Image, ext: u32) -> Exec {
        let cpl = self.state.cpl;
        let selector = image.selectors[usize::from(segment::SS)];
        let stack = self.stack_segment(bus, selector, cpl, Exception::invalid_tss, ext)?;
        self.set_segment(segment::SS, stack);

        for index in [segment::ES, segment::DS, segment::FS, segment::GS] {
            let selector = image.selectors[usize::from(index)];
            let data = self.data_segment(bus, selector, Exception::invalid_tss).map_err(|fault| {
                fault
                    .error()
                    .map_or(fault, |error| Exception::with_error(fault.vector(), u32::from(error) | ext))
            })?;
            self.set_segment(index, data);
        }

        let selector = image.selectors[usize::from(segment::CS)];
        let fault = Exception::invalid_tss(error(selector) | ext);
        if null(selector) {
            return Err(Exception::invalid_tss(ext));
        }
        let mut descriptor = self.descriptor(bus, selector)?.ok_or(fault)?;
        let code = descriptor.segment(selector);
        let allowed = if code.conforming() { code.dpl() <= cpl } else { code.dpl() == cpl };
        if !code.code() || !allowed {
            return Err(fault);
        }
        if code.rights & rights::PRESENT == 0 {
            return Err(Exception::not_present(error(selector) | ext));
        }
        self.mark_accessed(bus, &mut descriptor)?;
        self.set_segment(segment::CS, descriptor.segment(selector));
        Ok(())
    }
}

/// What is read from the new task's TSS.
#[derive(Default)]
struct Image {
    rip: u64,
    flags: u32,
    registers: [u64; 8],
    selectors: [u16; 6],
    ldt: u16,
    cr3: Option<u64>,
    trap: bool,
}
