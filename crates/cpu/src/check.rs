//! Whether a saved state is one a processor can be in: a snapshot may hold anything.

use crate::{
    Feature, Model,
    fpu::MXCSR_MASK,
    state::{State, cr0, cr4, dr6, efer},
};

/// What no processor can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateError {
    /// A register is wider than it is.
    #[error("{register} holds {value:#x}: expected at most {most:#x}")]
    Wide {
        /// Its name.
        register: &'static str,
        /// What it was to hold.
        value: u64,
        /// The most it can hold.
        most: u64,
    },
    /// Bits are set that contradict each other.
    #[error("{register} holds {value:#x}: {why}")]
    Contradiction {
        /// The register.
        register: &'static str,
        /// What it was to hold.
        value: u64,
        /// What it contradicts.
        why: &'static str,
    },
}

const HALF: u64 = u32::MAX as u64;

impl State {
    /// Checks widths and what the engine takes for granted. Without long mode `model`'s registers and
    /// addresses have 32 bits.
    ///
    /// # Errors
    /// The first register that is wrong.
    pub fn check(&self, model: &Model) -> Result<(), StateError> {
        let widest = if model.features.has(Feature::LongMode) { u64::MAX } else { HALF };
        let at_most = |register, value, most| match value > most {
            true => Err(StateError::Wide { register, value, most }),
            false => Ok(()),
        };
        let (zero, general) = (self.gpr[16], &self.gpr[..16]);
        at_most("the register that reads zero", zero, 0)?;
        for value in general {
            at_most("a general register", *value, widest)?;
        }
        for segment in self.segments.iter().chain([&self.ldtr, &self.tr]) {
            at_most("a segment base", segment.base, widest)?;
        }
        for (register, value) in [
            ("gdtr.base", self.gdtr.base),
            ("idtr.base", self.idtr.base),
            ("cr2", self.cr2),
            ("cr3", self.cr3),
        ] {
            at_most(register, value, widest)?;
        }
        at_most("rip", self.rip, if self.code_64() { u64::MAX } else { HALF })?;
        for value in self.dr {
            at_most("a debug register", value, widest)?;
        }
        at_most("cr8", self.cr8, 15)?;
        at_most("cpl", self.cpl.into(), 3)?;
        at_most("fpu.opcode", self.fpu.opcode.into(), 0x7ff)?;
        at_most("fpu.control", self.fpu.control.into(), 0x1f7f)?;
        at_most("sse.mxcsr", self.sse.mxcsr.into(), MXCSR_MASK.into())?;
        at_most("pending.debug", self.pending.debug.into(), dr6::FIXED | 0xffff)?;
        self.check_modes(model)
    }

    fn check_modes(&self, model: &Model) -> Result<(), StateError> {
        let wrong = |register, value, why| Err(StateError::Contradiction { register, value, why });
        if self.cr0 & !cr0::ALL != 0 {
            return wrong("cr0", self.cr0, "a bit no such processor has");
        }
        if self.paging() && !self.protected() {
            return wrong("cr0", self.cr0, "paging without protection");
        }
        if self.cr4 & !model.cr4 != 0 {
            return wrong("cr4", self.cr4, "a bit no such processor has");
        }
        let xcr0 = self.avx.xcr0;
        if !model.allows_xcr0(xcr0) {
            return wrong("xcr0", xcr0, "components no such processor has, or that need others");
        }
        let upper = self.avx.upper.as_flattened().iter().copied().find(|half| *half != 0);
        if let Some(half) = upper.filter(|_| !model.features.has(Feature::Avx)) {
            return wrong("the upper half of a YMM register", half, "no such processor has AVX");
        }
        let efer = self.msrs.efer;
        if efer & !(model.efer() | efer::LMA) != 0 {
            return wrong("efer", efer, "a bit no such processor has");
        }
        let long = efer & efer::LME != 0 && self.paging();
        if long != self.long_mode() {
            return wrong("efer", efer, "LMA is LME and CR0.PG");
        }
        if long && (self.cr4 & cr4::PAE == 0 || self.v8086()) {
            return wrong("efer", efer, "long mode without PAE, or with v8086 mode");
        }
        let (real, virtual_8086) = (!self.protected(), self.protected() && self.v8086());
        if real && self.cpl != 0 || virtual_8086 && self.cpl != 3 {
            return wrong("cpl", self.cpl.into(), "not the level of the processor's mode");
        }
        Ok(())
    }
}
