//! SeaBIOS 0.6.1 (2010): nothing notes that POST has run, so Ctrl+Alt+Del runs it again on hardware as it is.
//!
//! Proves that a soft reset in the middle of a disk read loses both disks of the channel, and that
//! without a read in flight none is lost, on every emulator; and that a bridge it does not know stops it.

use super::{DebugPort, Entry, I440FX, Lists, Pam, Reboot, Recipe, Shutdown, Variable};
use crate::{Kind, TestRom};

pub(crate) const ROM: TestRom = TestRom {
    name: RECIPE.name,
    about: "SeaBIOS 0.6.1's ways at a reset: POST runs again, disks are probed before they are reset",
    kind: Kind::Firmware,
    build: || super::bytes(&RECIPE),
    symbols: Some(|| super::symbols(&RECIPE)),
};

pub(super) const RECIPE: Recipe = Recipe {
    name: "reset-0.6.1",
    banner: "Start bios (version 0.6.1-warmboot)",
    debug: DebugPort::Blind,
    entry: Entry::Cmos,
    reboot: Reboot::Rerun,
    shutdown: Shutdown::None,
    bridges: &[I440FX],
    pam: Pam::Bytes,
    shadow_from: 0xf_0000,
    have_run_post: None,
    ready_to_boot: None,
    have_attempted_reboot: None,
    reset_before_probe: false,
    ahci: false,
    pm_base: 0xb000,
    first_controller: 0,
    variables: VARIABLES,
    lists: Lists {
        boot_count: 0xf_71a0,
        cd_count: 0xf_d701,
        id_map: 0xf_d704,
        heap: 0xf_7300,
        pm1a_control: 0xf_7280,
    },
};

// The boot list and the drive map are each one structure, as in the original: the list is forgotten at
// every POST; the counts and the map in `Drives` are too.
const VARIABLES: &[Variable] = &[
    Variable { name: "IPL", at: 0xf_71a0, size: 0x40, cleared: true },
    Variable { name: "acpi_pm1a_cnt", at: 0xf_7280, size: 4, cleared: false },
    Variable { name: "FSegHeap", at: 0xf_7300, size: 0x80, cleared: true },
    Variable { name: "Drives", at: 0xf_d700, size: 0x10, cleared: true },
];
