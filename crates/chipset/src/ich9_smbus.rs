//! 82801I (ICH9) SMBus controller, function 31.3: configuration space around the host controller
//! and the memory-module EEPROMs of [`crate::smbus`].
//!
//! Data sheet: Intel 316972-004, chapter 20. The SMBus raises no interrupt here and block transfers
//! always go through the 32-byte buffer, whether E32B asks for that or not; firmware polls bytes.

use crate::pci::{self, ConfigSpace, Identity};
use crate::{Chip, Effects, Region, ResetKind, Space, smbus};
use serde::{Deserialize, Serialize};

/// SMB_BASE (section 20.1.11): 64 ports.
const SMB_BASE: u8 = 0x20;
/// HOSTC (section 20.1.16).
const HOSTC: u8 = 0x40;
/// HOSTC: the host controller answers.
const HST_EN: u8 = 1 << 0;
/// HOSTC: soft reset, which is over at once.
const SSRESET: u8 = 1 << 3;
/// Ports of the host controller.
const LENGTH: u64 = 64;

/// How this function is built.
#[derive(Clone, Debug)]
pub struct Config {
    /// Subsystem vendor and device.
    pub subsystem: (u16, u16),
    /// Memory-module EEPROMs on the bus, at most eight.
    pub eeproms: u8,
}

impl Default for Config {
    /// QEMU's.
    fn default() -> Config {
        Config { subsystem: (0x1af4, 0x1100), eeproms: 8 }
    }
}

/// Everything a snapshot carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    config: ConfigSpace,
    smbus: smbus::State,
}

/// The SMBus function, PCI function 00:1f.3.
#[derive(Clone, Debug)]
pub struct Ich9Smbus {
    state: State,
    wiring: Config,
}

fn power_on(wiring: &Config) -> ConfigSpace {
    let identity = Identity {
        id: (0x8086, 0x2930),
        revision: 2,
        class: (0x0c, 5, 0),
        header_type: 0x80,
        subsystem: wiring.subsystem,
    };
    let mut config = ConfigSpace::new(&identity, 0x0507);
    config.clear_by_one(0x07, &[0xf9]);
    config.writable(0x40, &[0xff; 0xc0]);
    config.set_u32(SMB_BASE, 1); // I/O space
    config.writable(SMB_BASE, &[0xc0, 0xff, 0xff, 0xff]);
    config.set(pci::INTERRUPT_PIN, 1);
    config
}

impl Ich9Smbus {
    /// A function with power just applied.
    #[must_use]
    pub fn new(wiring: Config) -> Ich9Smbus {
        let state = State { config: power_on(&wiring), smbus: smbus::State::new(wiring.eeproms) };
        Ich9Smbus { state, wiring }
    }

    /// What is saved.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state.
    pub fn restore(&mut self, state: State) {
        self.state.config.restore_bytes(&state.config);
        self.state.smbus = state.smbus;
    }

    /// I/O base of the host controller, when the function and the controller are enabled.
    #[must_use]
    pub fn smbus_base(&self) -> Option<u16> {
        let config = &self.state.config;
        let enabled = config.get_u16(pci::COMMAND) & 1 != 0 && config.get(HOSTC) & HST_EN != 0;
        let base = u16::try_from(config.get_u32(SMB_BASE) & !0x3f).ok()?;
        (enabled && base != 0).then_some(base)
    }
}

impl Chip for Ich9Smbus {
    fn regions(&self) -> Vec<Region> {
        let region = |base: u16| Region {
            index: 0,
            name: "pm-smbus",
            space: Space::Io,
            base: base.into(),
            length: LENGTH,
            widest: 1,
        };
        self.smbus_base().map(region).into_iter().collect()
    }

    fn register_name(&self, _index: u8, offset: u64, _write: bool) -> Option<String> {
        smbus::register_name(offset)
    }

    fn read(&mut self, _index: u8, offset: u64, _size: u8, _fx: &mut Effects) -> u64 {
        u64::from(self.state.smbus.read(offset))
    }

    fn write(&mut self, _index: u8, offset: u64, _size: u8, value: u64, _fx: &mut Effects) {
        self.state.smbus.write(offset, value as u8);
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        match kind {
            ResetKind::PowerOn => {
                self.state.config = power_on(&self.wiring);
                self.state.smbus = smbus::State::new(self.wiring.eeproms);
            }
            ResetKind::System => {
                // HOSTC keeps what it was, as on QEMU.
                self.state.config.reset();
                self.state.smbus.reset();
            }
        }
        fx.remap();
    }

    fn pci_config(&self) -> Option<&ConfigSpace> {
        Some(&self.state.config)
    }

    fn config_write(&mut self, offset: u8, size: u8, value: u32, fx: &mut Effects) {
        let before = self.smbus_base();
        self.state.config.write(offset, size, value);
        let hostc = self.state.config.get(HOSTC);
        if hostc & SSRESET != 0 {
            self.state.smbus.reset();
            self.state.config.set(HOSTC, hostc & !SSRESET);
        }
        if before != self.smbus_base() {
            fx.remap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// What is decoded after COMMAND, SMB_BASE and HOSTC were written, and HOSTC.
    #[rstest]
    #[case::power_on(0, 0x0, 0x00, None, 0x00)]
    #[case::enabled(1, 0x700, 0x01, Some(0x700), 0x01)]
    #[case::function_off(0, 0x700, 0x01, None, 0x01)]
    #[case::controller_off(1, 0x700, 0x00, None, 0x00)]
    #[case::soft_reset_is_over(1, 0x700, 0x09, Some(0x700), 0x01)]
    #[case::beyond_io(1, 0x1_0000, 0x01, None, 0x01)]
    fn decode(
        #[case] command: u32,
        #[case] base: u32,
        #[case] hostc: u32,
        #[case] expect: Option<u16>,
        #[case] reads: u8,
    ) {
        let mut chip = Ich9Smbus::new(Config::default());
        for (register, size, value) in [(pci::COMMAND, 2, command), (SMB_BASE, 4, base), (HOSTC, 1, hostc)] {
            chip.config_write(register, size, value, &mut Effects::default());
        }
        assert_eq!((chip.smbus_base(), chip.state.config.get(HOSTC)), (expect, reads));
    }

    #[test]
    fn reset_hides_the_ports_and_keeps_hostc() {
        let mut chip = Ich9Smbus::new(Config::default());
        chip.config_write(SMB_BASE, 4, 0x701, &mut Effects::default());
        chip.config_write(HOSTC, 1, 1, &mut Effects::default());
        chip.config_write(pci::COMMAND, 2, 0x103, &mut Effects::default());
        assert_eq!(chip.regions().len(), 1);
        let mut fx = Effects::default();
        chip.reset(ResetKind::System, &mut fx);
        assert!(fx.remap && chip.regions().is_empty());
        assert_eq!((chip.state.config.get(HOSTC), chip.state.config.get_u32(SMB_BASE)), (1, 1));
    }
}
