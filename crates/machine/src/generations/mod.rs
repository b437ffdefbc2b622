//! Emulator generations: how a machine's address map is wired and what its resets do.
//!
//! One generation is one table row. A new one is a file with its row and a line in [`ALL`]; a new
//! difference is a field here, which `variation.rs` and `facts.rs` then refuse to leave out.

mod facts;
mod hardware;
mod qemu;
mod qemu_0_12_rhel6;
mod qemu_0_13;
mod qemu_kvm_0_12_rhel6;
mod qemu_kvm_0_13;
mod qemu_kvm_1_5_rhel7;
mod variation;

use serde::Serialize;
use warmboot_chipset::{ResetRequest, port92::ResetBit};
use warmboot_cpu::Hypervisor;

use crate::reset::{ResetPath, ResetRow, ResetTable};

pub use facts::PathFacts;
pub use variation::Variation;

/// What the four PAM modes show (82441FX data sheet 3.2.17 and what emulators made of it). Mode 0 is
/// PCI and mode 3 is RAM wherever PAM does anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum PamModes {
    /// The registers store and read back, and show nothing: C0000-FFFFF is always PCI.
    Inert,
    /// Mode 1 is RAM whose writes are dropped, mode 2 is PCI for reads and writes (QEMU before 2.0).
    WriteOnlyIsPci,
    /// Mode 1 is RAM whose writes are dropped, mode 2 is RAM for reads and writes (QEMU since 2.0).
    WriteOnlyIsRam,
    /// Mode 1 reads RAM and writes PCI, mode 2 reads PCI and writes RAM, as the chip does.
    Separate,
}

/// Whether the guest can write a memory region that holds a ROM's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Access {
    /// Writes are dropped.
    ReadOnly,
    /// Writes change the bytes.
    ReadWrite,
}

/// What writing SLP_EN with the type of S3 does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Suspend {
    /// The machine stops until somebody wakes it.
    Waits,
    /// The machine is reset and resumes at once (QEMU before 1.1, which could not wait).
    ResumesAtOnce,
}

/// Facts about one emulator generation that firmware can see.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Generation {
    /// Name for `--emulator`.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// PAM semantics.
    pub pam: PamModes,
    /// A system reset gives PAM and SMRAM their power-on values.
    pub pam_reset: bool,
    /// pc.ram is not mapped at A0000-FFFFF but where PAM or SMRAM show it. Since QEMU 1.0 it is mapped
    /// there, below everything else, and shows through an A0000 that no display adapter covers.
    pub ram_hole: bool,
    /// The SMRAM register does what it says; otherwise it stores and reads back.
    pub smram: bool,
    /// D_LCK makes the SMRAM register read-only until it is reset.
    pub smram_lock: bool,
    /// An SMI reaches the processor. KVM had no system management mode before Linux 4.2.
    pub smi: bool,
    /// The power management function comes out of reset with APMC_EN set (PIIX4 configuration
    /// register 5Bh = 02h), which firmware takes for "SMM is set up already".
    pub smm_marked_initialised: bool,
    /// A reset clears the PIIX4's PMREGMISC, but its power-management ports answer until firmware
    /// writes that register: so firmware that has not run POST can still switch off.
    pub pm_ports_survive_reset: bool,
    /// The last 128 KiB of pc.bios at E0000-FFFFF.
    pub bios_low: Access,
    /// All of pc.bios below 4 GiB.
    pub bios_high: Access,
    /// A system reset writes the BIOS image into pc.bios afresh, if the guest could have changed it.
    /// RHEL-6 and QEMU 0.13 free the image after its first use.
    pub bios_restored: bool,
    /// pc.rom at C0000-DFFFF.
    pub option_roms: Access,
    /// Option ROMs and that of a display adapter on ISA answer in there, as a card's ROM does; emulators give
    /// them to firmware through fw_cfg alone.
    pub rom_sockets: bool,
    /// What a read of ports 402h and E9h returns. E9h tells SeaBIOS since 1.8 that somebody listens.
    pub debug_port_reads: u8,
    /// Each byte of a processor's read from memory addresses where nothing answers: zero in emulators,
    /// ones on a bus that nobody drives.
    pub unmapped_reads: u8,
    /// A reset leaves LINT0 of the bootstrap processor's local APIC at ExtINT and unmasked: interrupts of the
    /// 8259A arrive though firmware has switched the APIC on and set nothing. QEMU had that until 2.4,
    /// whatever the machine type; INIT masks it everywhere.
    pub lint0_ext_int: bool,
    /// What CPUID tells of a hypervisor. Machine types up to 2.8 hide TCG's name.
    pub hypervisor: Hypervisor,
    /// Model-specific registers that there are not read zero and ignore writes, as TCG has it; KVM and
    /// processors raise #GP.
    pub unknown_msrs_ignored: bool,
    /// IA32_BIOS_SIGN_ID tells a revision of microcode, as QEMU has it since 5.0, whatever is written to it.
    pub microcode_revision: bool,
    /// How port 92h bit 0 resets; its A20 gate works in all generations.
    pub port_92_reset: ResetBit,
    /// How port CF9h bit 2 resets; `None` where the port is absent.
    pub port_cf9_reset: Option<ResetBit>,
    /// Writing "Shutdown" to port 8900h switches the machine off. QEMU had that until December 2012.
    pub shutdown_port: bool,
    /// A system reset clears the CMOS shutdown status 0Fh unless it says S3 (QEMU since 2.12).
    pub reset_clears_shutdown_status: bool,
    /// Suspending to RAM writes FEh to the CMOS shutdown status, an emulators' message to SeaBIOS.
    pub suspend_marks_cmos: bool,
    /// What suspending to RAM does.
    pub suspend: Suspend,
    /// Hooks run after an incoming migration, among them [`crate::hooks::shadow_bios`].
    pub post_load_shadow_bios: bool,
    /// Who resets what.
    pub resets: ResetTable,
}

/// Every generation there is.
pub const ALL: &[&Generation] = &[
    &qemu_kvm_0_12_rhel6::QEMU_KVM_0_12_RHEL6,
    &qemu_0_12_rhel6::QEMU_0_12_RHEL6,
    &qemu_kvm_0_13::QEMU_KVM_0_13,
    &qemu_0_13::QEMU_0_13,
    &qemu_kvm_1_5_rhel7::QEMU_KVM_1_5_RHEL7,
    &qemu::QEMU,
    &hardware::HARDWARE,
];

/// The generation called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Generation> {
    ALL.iter().copied().find(|generation| generation.name == name)
}

impl Generation {
    /// What a reset by `path` does.
    #[must_use]
    pub fn reset(&self, path: ResetPath) -> ResetRow {
        self.resets.row(path)
    }

    /// The path a chip's request stands for.
    #[must_use]
    pub fn path_of(request: ResetRequest) -> ResetPath {
        match request {
            ResetRequest::KeyboardController => ResetPath::Keyboard,
            ResetRequest::Port92 => ResetPath::Port92,
            ResetRequest::PortCf9 => ResetPath::Cf9,
            ResetRequest::PortCf9Soft => ResetPath::Cf9Soft,
        }
    }

    /// The guest can change pc.bios in one place or the other.
    #[must_use]
    pub fn bios_writable(&self) -> bool {
        self.bios_low == Access::ReadWrite || self.bios_high == Access::ReadWrite
    }

    /// The bytes below 4 GiB stay those of the BIOS image while the guest changes those at F0000, which
    /// is what firmware relies on to copy itself afresh: what it changes is shadow RAM.
    #[must_use]
    pub fn pristine_copy(&self) -> bool {
        self.pam != PamModes::Inert && !self.bios_writable()
    }
}
