//! Control registers and IA32_EFER: what may be written when, and what follows (Intel SDM vol. 3A, 2.5,
//! 4.1 and 9.8.5).

use crate::{
    Bus, Core, Exception, Exec,
    features::Feature,
    state::{cr0, cr4, efer},
};

const FAULT: Exception = Exception::general_protection(0);

/// Bit 63 of what is written to CR3: keep the translations of the process-context identifier.
const KEEP: u64 = 1 << 63;
/// The process-context identifier in CR3.
const PCID: u64 = 0xfff;
/// The task priority register in the local APIC's page.
const TASK_PRIORITY: u64 = 0x80;
/// Its number as a model-specific register, less 800h.
const TASK_PRIORITY_NUMBER: u8 = 8;
const APIC_ENABLED: u64 = 1 << 11;
const APIC_EXTENDED: u64 = 1 << 10;

impl Core {
    /// Whether there is a CRn.
    pub(crate) fn has_control(&self, index: u8) -> bool {
        matches!(index, 0 | 2 | 3 | 4) || (index == 8 && self.in_64_bit_mode())
    }

    /// CR0, with the change to and from long mode that PG makes.
    pub(crate) fn set_cr0<B: Bus>(&mut self, bus: &mut B, value: u64) -> Exec {
        if value >> 32 != 0 {
            return Err(FAULT);
        }
        let value = (value & cr0::ALL) | cr0::ET;
        let old = self.state.cr0;
        if value & cr0::PG != 0 && value & cr0::PE == 0 {
            return Err(FAULT);
        }
        if value & cr0::NW != 0 && value & cr0::CD == 0 {
            return Err(FAULT);
        }
        let turns_on = value & !old & cr0::PG != 0;
        let turns_off = old & !value & cr0::PG != 0;
        if turns_on && self.state.msrs.efer & efer::LME != 0 {
            let busy_16 = matches!(self.state.tr.kind(), 1 | 3);
            if self.state.cr4 & cr4::PAE == 0 || self.state.cs().long() || busy_16 {
                return Err(FAULT);
            }
            self.state.msrs.efer |= efer::LMA;
        } else if turns_on && self.state.cr4 & cr4::PAE != 0 {
            let cr3 = self.state.cr3;
            self.load_pdptes(bus, cr3)?;
        }
        if turns_off {
            if self.in_64_bit_mode() || self.state.cr4 & cr4::PCIDE != 0 {
                return Err(FAULT);
            }
            self.state.msrs.efer &= !efer::LMA;
        }
        self.state.cr0 = value;
        if (old ^ value) & (cr0::PG | cr0::WP) != 0 {
            self.flush_tlb();
        }
        if (old ^ value) & (cr0::PE | cr0::PG) != 0 {
            self.refresh();
        }
        self.end_block();
        Ok(())
    }

    pub(crate) fn set_cr3<B: Bus>(&mut self, bus: &mut B, value: u64) -> Exec {
        let mut value = value;
        if self.state.long_mode() {
            if self.state.cr4 & cr4::PCIDE != 0 {
                value &= !KEEP;
            }
            if value & (u64::MAX << self.model.physical_bits) != 0 {
                return Err(FAULT);
            }
        } else {
            value &= 0xffff_ffff;
            if self.state.paging() && self.state.cr4 & cr4::PAE != 0 {
                self.load_pdptes(bus, value)?;
            }
        }
        self.state.cr3 = value;
        self.flush_tlb();
        self.end_block();
        Ok(())
    }

    pub(crate) fn set_cr4<B: Bus>(&mut self, bus: &mut B, value: u64) -> Exec {
        if value & !self.model.cr4 != 0 {
            return Err(FAULT);
        }
        let changed = self.state.cr4 ^ value;
        let long = self.state.long_mode();
        if long && changed & (cr4::PAE | cr4::LA57) != 0 {
            return Err(FAULT);
        }
        if changed & value & cr4::PCIDE != 0 && (!long || self.state.cr3 & PCID != 0) {
            return Err(FAULT);
        }
        if changed & cr4::PAGING != 0 {
            if self.state.paging() && value & cr4::PAE != 0 && !long {
                let cr3 = self.state.cr3;
                self.load_pdptes(bus, cr3)?;
            }
            self.flush_tlb();
        }
        self.state.cr4 = value;
        self.end_block();
        Ok(())
    }

    /// IA32_EFER: LMA is not written, and LME not while paging is on.
    pub(crate) fn set_efer(&mut self, value: u64) -> Exec {
        let settable = self.model.efer();
        let old = self.state.msrs.efer;
        let shown = if settable & efer::LME != 0 { efer::LMA } else { 0 };
        if value & !(settable | shown) != 0 || ((old ^ value) & efer::LME != 0 && self.state.paging()) {
            return Err(FAULT);
        }
        self.state.msrs.efer = (value & settable) | (old & efer::LMA);
        self.flush_tlb();
        Ok(())
    }

    /// Where the local APIC is, if there is one and it is on.
    fn local_apic(&self) -> Option<u64> {
        let base = self.state.msrs.apic_base;
        (self.model.features.has(Feature::Apic) && base & APIC_ENABLED != 0).then_some(base & !0xfff)
    }

    /// CR8: bits 4-7 of the local APIC's task priority register (vol. 3A, 10.8.6.1).
    pub(crate) fn task_priority<B: Bus>(&mut self, bus: &mut B) -> u64 {
        if self.state.msrs.apic_base & APIC_EXTENDED != 0 {
            self.device_touched();
            return bus.apic_register(self.cycle(), TASK_PRIORITY_NUMBER).unwrap_or(0) >> 4 & 15;
        }
        match self.local_apic() {
            Some(base) => self.read_physical(bus, base + TASK_PRIORITY, 4) >> 4 & 15,
            None => self.state.cr8,
        }
    }

    pub(crate) fn set_task_priority<B: Bus>(&mut self, bus: &mut B, value: u64) -> Exec {
        if value > 15 {
            return Err(FAULT);
        }
        if self.state.msrs.apic_base & APIC_EXTENDED != 0 {
            self.device_touched();
            // The register takes every priority, so that nothing is refused.
            bus.set_apic_register(self.cycle(), TASK_PRIORITY_NUMBER, value << 4);
            return Ok(());
        }
        match self.local_apic() {
            Some(base) => self.write_physical(bus, base + TASK_PRIORITY, 4, value << 4),
            None => self.state.cr8 = value,
        }
        Ok(())
    }
}
