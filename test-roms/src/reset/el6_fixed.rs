//! RHEL-6's SeaBIOS with a fix: one SRST (port 3F6h bit 2) per channel before it is probed.
//!
//! Proves that a stale status register is what loses the disks: with it cleared, both come back, on
//! every emulator and without a hard reset.

use super::{Recipe, el6};
use crate::{Kind, TestRom};

pub(crate) const ROM: TestRom = TestRom {
    name: RECIPE.name,
    about: "RHEL-6's SeaBIOS with one software reset of each disk channel before the probe",
    kind: Kind::Firmware,
    build: || super::bytes(&RECIPE),
    symbols: Some(|| super::symbols(&RECIPE)),
};

pub(super) const RECIPE: Recipe = Recipe {
    name: "reset-el6-fixed",
    banner: "Start bios (version 0.6.1.2-warmboot.el6_fixed)",
    reset_before_probe: true,
    ..el6::RECIPE
};
