//! A real i440FX/PIIX3 board, as its data sheets say: Intel 290549-001 (82441FX), 290550-002 (82371SB).
//!
//! The debug port is kept, as a card in a slot would be, so that what firmware says can be read.

use warmboot_chipset::port92::ResetBit;
use warmboot_cpu::Hypervisor;

use super::{Access, Generation, PamModes, Suspend};
use crate::reset::ResetTable;

pub(super) const HARDWARE: Generation = Generation {
    name: "hardware",
    about: "the data sheets: PAM reads and writes go separate ways, a hard reset clears PAM and SMRAM, D_LCK locks, \
            and most resets are INIT",
    pam: PamModes::Separate,
    pam_reset: true,
    ram_hole: true,
    smram: true,
    smram_lock: true,
    smi: true,
    smm_marked_initialised: false,
    pm_ports_survive_reset: false,
    bios_low: Access::ReadOnly,
    bios_high: Access::ReadOnly,
    bios_restored: false,
    option_roms: Access::ReadOnly,
    rom_sockets: true,
    debug_port_reads: 0xe9,
    unmapped_reads: 0xff,
    lint0_ext_int: false,
    hypervisor: Hypervisor::None,
    unknown_msrs_ignored: false,
    microcode_revision: false,
    port_92_reset: ResetBit::Edge,
    port_cf9_reset: Some(ResetBit::Edge),
    shutdown_port: false,
    reset_clears_shutdown_status: false,
    suspend_marks_cmos: false,
    suspend: Suspend::Waits,
    post_load_shadow_bios: false,
    resets: ResetTable::HARDWARE,
};
