//! SeaBIOS as coreboot's payload: a second POST resets the machine, and after a hardware reset a
//! bootblock loads the payload into RAM anew, its variables zero.
//!
//! Proves that where something outside the payload restores it, a plain hard reset is enough, on every
//! emulator, whether there is a pristine copy or not.

use super::{Entry, Reboot, Recipe, v1_12};
use crate::{Kind, TestRom};

pub(crate) const ROM: TestRom = TestRom {
    name: RECIPE.name,
    about: "SeaBIOS as a coreboot payload: a hard reset instead of a second POST, and a bootblock that loads it anew",
    kind: Kind::Firmware,
    build: || super::bytes(&RECIPE),
    symbols: Some(|| super::symbols(&RECIPE)),
};

pub(super) const RECIPE: Recipe = Recipe {
    name: "reset-coreboot",
    banner: "SeaBIOS (version 1.12.0-warmboot-coreboot)",
    entry: Entry::Bootblock,
    reboot: Reboot::Hard,
    ready_to_boot: None,
    ..v1_12::RECIPE
};
