//! QEMU 0.13 without KVM (2010): before the memory API, with PAM.

use warmboot_chipset::port92::ResetBit;
use warmboot_cpu::Hypervisor;

use super::{Access, Generation, PamModes, Suspend, qemu::QEMU};

/// Port 92h was seen to ignore bit 0 in the sources of these years, not on a running 0.13.
pub(super) const QEMU_0_13: Generation = Generation {
    name: "qemu-0.13",
    about: "QEMU 0.13 of 2010 without KVM: PAM works (mode 2 is PCI) and is not reset; no port CF9h; \
            \"Shutdown\" to port 8900h powers off",
    pam: PamModes::WriteOnlyIsPci,
    ram_hole: true,
    pm_ports_survive_reset: true,
    bios_restored: false,
    option_roms: Access::ReadWrite,
    rom_sockets: false,
    debug_port_reads: 0xff,
    lint0_ext_int: true,
    hypervisor: Hypervisor::Silent,
    unknown_msrs_ignored: true,
    microcode_revision: false,
    port_92_reset: ResetBit::Ignored,
    port_cf9_reset: None,
    shutdown_port: true,
    reset_clears_shutdown_status: false,
    suspend: Suspend::ResumesAtOnce,
    ..QEMU
};
