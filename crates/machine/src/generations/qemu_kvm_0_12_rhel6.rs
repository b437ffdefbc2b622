//! RHEL-6's qemu-kvm 0.12.1.2 with KVM: its PAM update returns early, and KVM strips the ROM flag.

use super::{Generation, Suspend, qemu_kvm_0_13::QEMU_KVM_0_13};

pub(super) const QEMU_KVM_0_12_RHEL6: Generation = Generation {
    name: "qemu-kvm-0.12-rhel6",
    about: "RHEL-6 qemu-kvm 0.12.1.2: PAM and SMRAM store but do nothing; one writable pc.bios in both places; \
            no SMM",
    suspend: Suspend::Waits,
    ..QEMU_KVM_0_13
};
