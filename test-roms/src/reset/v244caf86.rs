//! SeaBIOS at commit 244caf86: a POST that finds HaveRunPost set restores the image from below 4 GiB and
//! resets the machine; if the flag survives that, it switches the machine off by port 8900h.
//!
//! Proves that this works where the copy below 4 GiB is pristine, switches off where it is not, and
//! hangs where nobody listens at port 8900h.

use super::{Lists, Reboot, Recipe, Shutdown, Variable, v0_6_1};
use crate::{Kind, TestRom};

pub(crate) const ROM: TestRom = TestRom {
    name: RECIPE.name,
    about: "SeaBIOS 244caf86's ways at a reset: a hard reboot, or a shutdown if the image cannot be restored",
    kind: Kind::Firmware,
    build: || super::bytes(&RECIPE),
    symbols: Some(|| super::symbols(&RECIPE)),
};

pub(super) const RECIPE: Recipe = Recipe {
    name: "reset-244caf86",
    banner: "Start bios (version 244caf86-warmboot)",
    reboot: Reboot::CopyOnce,
    shutdown: Shutdown::Port8900,
    shadow_from: 0xe_0000,
    have_run_post: Some(0xf_7290),
    variables: VARIABLES,
    lists: Lists {
        boot_count: 0xf_71a0,
        cd_count: 0xf_71a4,
        id_map: 0xf_71a8,
        heap: 0xf_7300,
        pm1a_control: 0xf_7294,
    },
    ..v0_6_1::RECIPE
};

const VARIABLES: &[Variable] = &[
    Variable { name: "BEVCount", at: 0xf_71a0, size: 4, cleared: true },
    Variable { name: "CDCount", at: 0xf_71a4, size: 4, cleared: true },
    Variable { name: "IDMap", at: 0xf_71a8, size: 8, cleared: false },
    Variable { name: "HaveRunPost", at: 0xf_7290, size: 4, cleared: false },
    Variable { name: "acpi_pm1a_cnt", at: 0xf_7294, size: 4, cleared: false },
    Variable { name: "FSegHeap", at: 0xf_7300, size: 0x80, cleared: true },
];
