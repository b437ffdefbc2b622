//! SeaBIOS at commit 400c66cd: the entry point asks HaveRunPost, and HaveAttemptedReboot counts to one
//! before it gives up and switches the machine off by port 8900h.
//!
//! Proves that it survives where a reset restores the image, even if its own copy cannot, and that it
//! switches off at the second attempt where neither does. It knows the Q35 MCH, and AHCI disks.

use super::{Entry, I440FX, Lists, Q35, Reboot, Recipe, Variable, v244caf86};
use crate::{Kind, TestRom};

pub(crate) const ROM: TestRom = TestRom {
    name: RECIPE.name,
    about: "SeaBIOS 400c66cd's ways at a reset: HaveRunPost at the entry, one hard reboot, then a shutdown",
    kind: Kind::Firmware,
    build: || super::bytes(&RECIPE),
    symbols: Some(|| super::symbols(&RECIPE)),
};

pub(super) const RECIPE: Recipe = Recipe {
    name: "reset-400c66cd",
    banner: "Start bios (version 400c66cd-warmboot)",
    entry: Entry::HaveRunPost,
    reboot: Reboot::CopyAndCount,
    bridges: &[I440FX, Q35],
    have_run_post: Some(0xf_6cd4),
    have_attempted_reboot: Some(0xe_f78c),
    ahci: true,
    first_controller: 1,
    variables: VARIABLES,
    lists: Lists {
        boot_count: 0xf_6ce0,
        cd_count: 0xf_6ce4,
        id_map: 0xf_6ce8,
        heap: 0xf_6d00,
        pm1a_control: 0xf_6cd8,
    },
    ..v244caf86::RECIPE
};

const VARIABLES: &[Variable] = &[
    Variable { name: "HaveAttemptedReboot", at: 0xe_f78c, size: 1, cleared: false },
    Variable { name: "HaveRunPost", at: 0xf_6cd4, size: 4, cleared: false },
    Variable { name: "acpi_pm1a_cnt", at: 0xf_6cd8, size: 4, cleared: false },
    Variable { name: "BEVCount", at: 0xf_6ce0, size: 4, cleared: true },
    Variable { name: "CDCount", at: 0xf_6ce4, size: 4, cleared: true },
    Variable { name: "IDMap", at: 0xf_6ce8, size: 8, cleared: false },
    Variable { name: "FSegHeap", at: 0xf_6d00, size: 0x80, cleared: true },
];
