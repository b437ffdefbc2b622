//! RHEL-6's SeaBIOS 0.6.1.2: as 0.6.1, with a boot list of its own, which POST resets every time.
//!
//! Proves that clearing the boot list does not bring back disks lost in the middle of a read: no
//! variable of the firmware is to blame.

use super::{Lists, Recipe, Variable, v0_6_1};
use crate::{Kind, TestRom};

pub(crate) const ROM: TestRom = TestRom {
    name: RECIPE.name,
    about: "RHEL-6's SeaBIOS at a reset: as 0.6.1, with its own boot list",
    kind: Kind::Firmware,
    build: || super::bytes(&RECIPE),
    symbols: Some(|| super::symbols(&RECIPE)),
};

pub(super) const RECIPE: Recipe = Recipe {
    name: "reset-el6",
    banner: "Start bios (version 0.6.1.2-warmboot.el6)",
    variables: VARIABLES,
    lists: Lists {
        boot_count: 0xf_61b8,
        cd_count: 0xf_6204,
        id_map: 0xf_6208,
        heap: 0xf_6300,
        pm1a_control: 0xf_6280,
    },
    ..v0_6_1::RECIPE
};

// IDMap is not reset: the count guards it.
const VARIABLES: &[Variable] = &[
    Variable { name: "BEVCount", at: 0xf_61b8, size: 4, cleared: true },
    Variable { name: "CDCount", at: 0xf_6204, size: 4, cleared: true },
    Variable { name: "IDMap", at: 0xf_6208, size: 8, cleared: false },
    Variable { name: "acpi_pm1a_cnt", at: 0xf_6280, size: 4, cleared: false },
    Variable { name: "FSegHeap", at: 0xf_6300, size: 0x80, cleared: true },
];
