//! SeaBIOS 1.12 and later: HaveRunPost is 1 during POST, 2 when ready to boot, 3 when a reboot was tried
//! with no pristine copy below 4 GiB to restore the image from.
//!
//! Proves that the copy with the flag cleared last works where there is a pristine copy, and that the
//! second attempt elsewhere ends in a shutdown by PM1a_CNT. Says nothing where port 402h does not read
//! E9h.

use super::{DebugPort, Lists, Pam, Reboot, Recipe, Shutdown, Variable, v400c66cd};
use crate::{Kind, TestRom};

pub(crate) const ROM: TestRom = TestRom {
    name: RECIPE.name,
    about: "SeaBIOS 1.12's ways at a reset and later: HaveRunPost counts from 0 to 3",
    kind: Kind::Firmware,
    build: || super::bytes(&RECIPE),
    symbols: Some(|| super::symbols(&RECIPE)),
};

pub(super) const RECIPE: Recipe = Recipe {
    name: "reset-1.12",
    banner: "SeaBIOS (version 1.12.0-warmboot)",
    debug: DebugPort::IfPresent,
    reboot: Reboot::CopyIfPristine,
    shutdown: Shutdown::Pm1aControl,
    pam: Pam::Dwords,
    have_run_post: Some(0xf_5588),
    ready_to_boot: Some(2),
    have_attempted_reboot: None,
    pm_base: 0x600,
    variables: VARIABLES,
    lists: Lists {
        boot_count: 0xf_55a0,
        cd_count: 0xf_55a4,
        id_map: 0xf_55a8,
        heap: 0xf_5600,
        pm1a_control: 0xf_558c,
    },
    ..v400c66cd::RECIPE
};

const VARIABLES: &[Variable] = &[
    Variable { name: "HaveRunPost", at: 0xf_5588, size: 4, cleared: false },
    Variable { name: "acpi_pm1a_cnt", at: 0xf_558c, size: 4, cleared: false },
    Variable { name: "BEVCount", at: 0xf_55a0, size: 4, cleared: true },
    Variable { name: "CDCount", at: 0xf_55a4, size: 4, cleared: true },
    Variable { name: "IDMap", at: 0xf_55a8, size: 8, cleared: false },
    Variable { name: "FSegHeap", at: 0xf_5600, size: 0x80, cleared: true },
];
