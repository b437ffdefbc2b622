//! qemu-kvm 0.13 with KVM (2010), as RHEL-6's.

use warmboot_cpu::Hypervisor;

use super::{Access, Generation, PamModes, qemu_0_13::QEMU_0_13};

pub(super) const QEMU_KVM_0_13: Generation = Generation {
    name: "qemu-kvm-0.13",
    about: "qemu-kvm 0.13 of 2010: PAM and SMRAM store but do nothing; one writable pc.bios in both places; no SMM",
    pam: PamModes::Inert,
    smram: false,
    smi: false,
    smm_marked_initialised: true,
    hypervisor: Hypervisor::Kvm,
    unknown_msrs_ignored: false,
    microcode_revision: false,
    bios_low: Access::ReadWrite,
    bios_high: Access::ReadWrite,
    ..QEMU_0_13
};
