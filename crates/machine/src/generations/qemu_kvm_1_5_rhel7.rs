//! RHEL-7's qemu-kvm 1.5.3: the memory API, PAM that works under KVM, no port 8900h any more.

use warmboot_chipset::port92::ResetBit;
use warmboot_cpu::Hypervisor;

use super::{Access, Generation, PamModes, qemu::QEMU};

pub(super) const QEMU_KVM_1_5_RHEL7: Generation = Generation {
    name: "qemu-kvm-1.5-rhel7",
    about: "RHEL-7 qemu-kvm 1.5.3: PAM works (mode 2 is PCI) and is not reset; option ROMs writable; no SMM; \
            shadows the BIOS after an incoming migration",
    pam: PamModes::WriteOnlyIsPci,
    smi: false,
    smm_marked_initialised: true,
    lint0_ext_int: true,
    hypervisor: Hypervisor::Kvm,
    unknown_msrs_ignored: false,
    microcode_revision: false,
    pm_ports_survive_reset: true,
    option_roms: Access::ReadWrite,
    rom_sockets: false,
    port_92_reset: ResetBit::Level,
    reset_clears_shutdown_status: false,
    post_load_shadow_bios: true,
    ..QEMU
};
