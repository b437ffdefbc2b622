//! Today's QEMU, measured on 7.2 without KVM.

use warmboot_chipset::port92::ResetBit;

use super::{Generation, PamModes};
use crate::reset::{Processor, ResetPath, ResetTable};

/// Every system reset of QEMU is the same full device reset.
const fn full(path: ResetPath) -> ResetTable {
    ResetTable { path, processor: Processor::Reset, chips: true, a20_on: true }
}

pub(super) const QEMU: Generation = Generation {
    name: "qemu",
    about: "today's QEMU (7.2): PAM mode 2 is RAM, no PAM reset, read-only BIOS with a pristine high copy",
    pam: PamModes::WriteOnlyIsRam,
    pam_reset: false,
    smram_lock: false,
    bios_writable: false,
    option_roms_writable: false,
    debug_port_reads: 0xe9,
    port_92_reset: ResetBit::Edge,
    port_cf9_reset: Some(ResetBit::Level),
    post_load_shadow_bios: false,
    resets: &[
        full(ResetPath::System),
        full(ResetPath::Keyboard),
        full(ResetPath::Port92),
        full(ResetPath::Cf9),
        full(ResetPath::TripleFault),
        ResetTable { path: ResetPath::Init, processor: Processor::Init, chips: false, a20_on: false },
    ],
};
