//! RHEL-6's qemu-kvm 0.12.1.2 run without KVM: PAM works.

use super::{Generation, Suspend, qemu_0_13::QEMU_0_13};

pub(super) const QEMU_0_12_RHEL6: Generation = Generation {
    name: "qemu-0.12-rhel6",
    about: "RHEL-6's qemu-kvm 0.12.1.2 without KVM: PAM works (mode 2 is PCI) and is not reset; no port CF9h; \
            \"Shutdown\" to port 8900h powers off",
    // RHEL-6 got real suspend to RAM by backport.
    suspend: Suspend::Waits,
    ..QEMU_0_13
};
