//! Today's QEMU, measured on 7.2 without KVM.

use warmboot_chipset::port92::ResetBit;
use warmboot_cpu::Hypervisor;

use super::{Access, Generation, PamModes, Suspend};
use crate::reset::ResetTable;

pub(super) const QEMU: Generation = Generation {
    name: "qemu",
    about: "today's QEMU (7.2): PAM mode 2 is RAM, no PAM reset, read-only BIOS with a pristine high copy",
    pam: PamModes::WriteOnlyIsRam,
    pam_reset: false,
    ram_hole: false,
    smram: true,
    smram_lock: false,
    smi: true,
    smm_marked_initialised: false,
    pm_ports_survive_reset: false,
    bios_low: Access::ReadOnly,
    bios_high: Access::ReadOnly,
    bios_restored: true,
    option_roms: Access::ReadOnly,
    rom_sockets: false,
    debug_port_reads: 0xe9,
    unmapped_reads: 0,
    lint0_ext_int: false,
    hypervisor: Hypervisor::Tcg,
    unknown_msrs_ignored: true,
    microcode_revision: true,
    port_92_reset: ResetBit::Edge,
    port_cf9_reset: Some(ResetBit::Level),
    shutdown_port: false,
    reset_clears_shutdown_status: true,
    suspend_marks_cmos: true,
    suspend: Suspend::Waits,
    post_load_shadow_bios: false,
    resets: ResetTable::EMULATOR,
};
