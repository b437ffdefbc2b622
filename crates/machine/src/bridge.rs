//! The host bridge, whichever chip set has it: what the address map and PCI configuration cycles
//! are decided by.

use warmboot_chipset::{
    host_bridge::HostBridge,
    mch::{Mch, Window},
    pam::{Segment, Shadow, Smram},
    pci::Selected,
};

use crate::Board;

/// The board's host bridge.
#[derive(Clone, Copy)]
pub(crate) enum Bridge<'a> {
    /// 82441FX.
    I440fx(&'a HostBridge),
    /// 82Q35 MCH.
    Q35(&'a Mch),
}

impl Bridge<'_> {
    /// The thirteen PAM segments and what each asks for.
    pub fn shadows(self) -> [(Segment, Shadow); 13] {
        match self {
            Bridge::I440fx(bridge) => bridge.shadows(),
            Bridge::Q35(bridge) => bridge.shadows(),
        }
    }

    /// What SMRAM says about A0000h-BFFFFh.
    pub fn smram(self) -> Smram {
        match self {
            Bridge::I440fx(bridge) => bridge.smram(),
            Bridge::Q35(bridge) => bridge.smram(),
        }
    }

    /// RAM that only a processor in system management mode sees.
    pub fn tseg(self) -> Option<Window> {
        match self {
            Bridge::I440fx(_) => None,
            Bridge::Q35(bridge) => bridge.tseg(),
        }
    }

    /// Where memory accesses are configuration cycles.
    pub fn config_window(self) -> Option<Window> {
        match self {
            Bridge::I440fx(_) => None,
            Bridge::Q35(bridge) => bridge.config_window(),
        }
    }

    /// Which register an access to CONFIG_DATA port CFCh + `lane` goes to.
    pub fn selected(self, lane: u8) -> Option<Selected> {
        match self {
            Bridge::I440fx(bridge) => bridge.selected(lane),
            Bridge::Q35(bridge) => bridge.selected(lane),
        }
    }
}

/// The register that an access at `offset` of the configuration window goes to; `None` above the
/// 256 bytes that conventional functions have.
fn selected_in_window(offset: u64) -> Option<Selected> {
    let register = u8::try_from(offset & 0xfff).ok()?;
    Some(Selected {
        bus: (offset >> 20) as u8,
        device: (offset >> 15) as u8 & 31,
        function: (offset >> 12) as u8 & 7,
        register,
    })
}

impl Board {
    /// The host bridge; `None` on a machine without PCI.
    pub(crate) fn bridge(&self) -> Option<Bridge<'_>> {
        let i440fx = self.host_bridge().map(Bridge::I440fx);
        i440fx.or_else(|| self.mch().map(Bridge::Q35))
    }

    /// The function that CONFIG_DATA port CFCh + `lane` reaches, and the register.
    pub(crate) fn config_target(&self, lane: u64) -> Option<(usize, u8)> {
        self.function(self.bridge()?.selected(lane as u8)?)
    }

    /// The function that `offset` of the configuration window reaches, and the register.
    pub(crate) fn window_target(&self, offset: u64) -> Option<(usize, u8)> {
        self.function(selected_in_window(offset)?)
    }

    /// The register that `offset` of the configuration window, or of CONFIG_DATA, selects.
    pub(crate) fn config_selected(&self, in_memory: bool, offset: u64) -> Option<Selected> {
        if in_memory { selected_in_window(offset) } else { self.bridge()?.selected(offset as u8) }
    }

    pub(crate) fn function(&self, selected: Selected) -> Option<(usize, u8)> {
        let devfn = selected.device << 3 | selected.function;
        let slot = self.slots.iter().position(|slot| slot.devfn == Some(devfn))?;
        (selected.bus == 0).then_some((slot, selected.register))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::first(0, Some((0, 0, 0, 0)))]
    #[case::lpc(0xf_8040, Some((0, 31, 0, 0x40)))]
    #[case::second_bus(0x11_a004, Some((1, 3, 2, 4)))]
    #[case::last_register(0x0ff, Some((0, 0, 0, 0xff)))]
    #[case::extended(0x100, None)]
    fn window(#[case] offset: u64, #[case] expect: Option<(u8, u8, u8, u8)>) {
        let found = selected_in_window(offset);
        assert_eq!(found.map(|at| (at.bus, at.device, at.function, at.register)), expect);
    }
}
