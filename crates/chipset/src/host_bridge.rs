//! 82441FX PCI and memory controller (PMC): PAM and SMRAM, which decide what answers at
//! A0000h-FFFFFh, and CONFIG_ADDRESS, which selects a function's configuration register.
//!
//! Data sheet: Intel 290549-001, chapter 3. Which PAM modes an emulator really implements is not
//! decided here but by the machine's generation: this chip stores the bytes and says what they
//! mean. CONFIG_DATA (CFCh-CFFh) belongs to the machine, which knows the functions; it asks
//! [`HostBridge::selected`] whom an access goes to.

use crate::pam::{self, D_CLS, D_LCK, D_OPEN, G_SMRAME, SMRAM_RESET};
use crate::pci::{self, ConfigAddress, ConfigSpace, Identity};
use crate::{Chip, Effects, Region, ResetKind};
use serde::{Deserialize, Serialize};

pub use crate::pam::{SEGMENTS, Segment, Shadow, Smram};
pub use crate::pci::{CONFIG_ADDRESS, CONFIG_DATA, Selected};

/// First of the Programmable Attribute Map registers (section 3.2.17).
pub const PAM0: u8 = 0x59;
/// Last of them.
pub const PAM6: u8 = 0x5f;
/// System Management RAM Control (section 3.2.20).
pub const SMRAM: u8 = 0x72;
/// Memory size in units of 8 MiB, an emulators' addition that coreboot reads (a DRB register in
/// the data sheet).
const RAM_SIZE: u8 = 0x57;

/// How this bridge is built.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of RAM, for the memory size register.
    pub memory: u64,
    /// Subsystem vendor and device.
    pub subsystem: (u16, u16),
    /// A system reset clears PAM and SMRAM, as the chip does and QEMU does not.
    pub reset_clears_shadows: bool,
    /// D_LCK makes SMRAM read-only until a reset, as the chip does and QEMU does not.
    pub honours_lock: bool,
}

impl Default for Config {
    /// QEMU's, with 128 MiB.
    fn default() -> Config {
        Config {
            memory: 128 << 20,
            subsystem: (0x1af4, 0x1100),
            reset_clears_shadows: false,
            honours_lock: false,
        }
    }
}

/// Everything a snapshot carries; what the address map looks like is derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    config: ConfigSpace,
    config_address: ConfigAddress,
}

/// The host bridge, PCI function 00:00.0.
#[derive(Clone, Debug)]
pub struct HostBridge {
    state: State,
    wiring: Config,
}

impl HostBridge {
    /// A bridge with power just applied.
    #[must_use]
    pub fn new(wiring: Config) -> HostBridge {
        let config = power_on(&wiring);
        HostBridge { state: State { config, config_address: ConfigAddress::default() }, wiring }
    }

    /// What is saved.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state.
    pub fn restore(&mut self, state: State) {
        self.state.config.restore_bytes(&state.config);
        self.state.config_address = state.config_address;
    }

    /// The thirteen segments and what each asks for.
    #[must_use]
    pub fn shadows(&self) -> [(Segment, Shadow); 13] {
        pam::shadows(&self.state.config, PAM0)
    }

    /// What the SMRAM register asks for.
    #[must_use]
    pub fn smram(&self) -> Smram {
        let smram = self.state.config.get(SMRAM);
        Smram {
            open: smram & D_OPEN != 0,
            enabled: smram & G_SMRAME != 0,
            closed: smram & D_CLS != 0,
            locked: smram & D_LCK != 0 && self.wiring.honours_lock,
        }
    }

    /// CONFIG_ADDRESS as last written.
    #[must_use]
    pub fn config_address(&self) -> ConfigAddress {
        self.state.config_address
    }

    /// Which register an access to CONFIG_DATA port CFCh + `lane` goes to; `None` when
    /// CONFIG_ADDRESS is not enabled (bit 31), and the access then finds nobody.
    #[must_use]
    pub fn selected(&self, lane: u8) -> Option<Selected> {
        self.state.config_address.selected(lane)
    }
}

/// Power-on values (section 3.2), with the subsystem and memory size QEMU adds.
fn power_on(wiring: &Config) -> ConfigSpace {
    let identity = Identity {
        id: (0x8086, 0x1237),
        revision: 2,
        class: (6, 0, 0),
        header_type: 0,
        subsystem: wiring.subsystem,
    };
    let mut config = ConfigSpace::new(&identity, 0x0507);
    config.clear_by_one(0x07, &[0xf9]);
    config.writable(0x40, &[0xff; 0xc0]);
    config.set(RAM_SIZE, u8::try_from(wiring.memory >> 23).unwrap_or(0xff));
    config.set(SMRAM, SMRAM_RESET);
    config
}

impl Chip for HostBridge {
    fn regions(&self) -> Vec<Region> {
        vec![ConfigAddress::region(0)]
    }

    fn register_name(&self, _index: u8, _offset: u64, _write: bool) -> Option<String> {
        Some("CONFIG_ADDRESS".to_owned())
    }

    fn config_register_name(&self, offset: u8) -> Option<String> {
        const NAMES: [(u64, &str); 15] = [
            (0x50, "PMCCFG"),
            (0x52, "DETURBO"),
            (0x53, "DBC"),
            (0x54, "AXC"),
            (0x55, "DRT"),
            (0x57, "DRAMC"),
            (0x58, "DRAMT"),
            (0x68, "FDHC"),
            (0x70, "MTT"),
            (0x71, "CLT"),
            (0x72, "SMRAM"),
            (0x90, "ERRCMD"),
            (0x91, "ERRSTS"),
            (0x92, "ERRSTS"),
            (0x93, "TRC"),
        ];
        match offset {
            PAM0..=PAM6 => Some(format!("PAM{}", offset - PAM0)),
            0x60..=0x67 => Some(format!("DRB{}", offset - 0x60)),
            _ => pci::register_name(offset)
                .map(str::to_owned)
                .or_else(|| crate::name_of(&NAMES, offset.into())),
        }
    }

    fn read(&mut self, _index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        self.state.config_address.read(offset, size, fx)
    }

    fn write(&mut self, _index: u8, offset: u64, size: u8, value: u64, fx: &mut Effects) {
        self.state.config_address.write(offset, size, value, fx);
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        match kind {
            ResetKind::PowerOn => self.state.config = power_on(&self.wiring),
            ResetKind::System => {
                self.state.config.reset();
                if self.wiring.reset_clears_shadows {
                    for register in PAM0..=PAM6 {
                        self.state.config.set(register, 0);
                    }
                    self.state.config.set(SMRAM, SMRAM_RESET);
                }
            }
        }
        self.state.config_address = ConfigAddress::default();
        fx.remap();
    }

    fn pci_config(&self) -> Option<&ConfigSpace> {
        Some(&self.state.config)
    }

    fn config_write(&mut self, offset: u8, size: u8, value: u32, fx: &mut Effects) {
        let before = (self.shadows(), self.smram());
        let smram = self.state.config.get(SMRAM);
        self.state.config.write(offset, size, value);
        if before.1.locked {
            self.state.config.set(SMRAM, smram);
        } else if self.smram().locked {
            // Setting D_LCK clears D_OPEN in the same write.
            let smram = self.state.config.get(SMRAM) & !D_OPEN;
            self.state.config.set(SMRAM, smram);
        }
        if before != (self.shadows(), self.smram()) {
            fx.remap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;
    use rstest::rstest;

    fn effects() -> Effects {
        Effects::at(Moment(0))
    }

    #[track_caller]
    fn check_shadow(pam: [u8; 7], address: u32, expect: Shadow) {
        let mut bridge = HostBridge::new(Config::default());
        for (register, value) in (PAM0..=PAM6).zip(pam) {
            bridge.config_write(register, 1, u32::from(value), &mut effects());
        }
        let shadows = bridge.shadows();
        let found = shadows.iter().find(|(segment, _)| (segment.first..=segment.last).contains(&address));
        assert_eq!(found.map(|(_, shadow)| *shadow), Some(expect));
    }

    #[rstest]
    #[case::power_on([0; 7], 0xf0000, Shadow::Pci)]
    #[case::seabios_done([0x10, 0, 0, 0, 0, 0, 0], 0xfffff, Shadow::ReadRam)]
    #[case::low_nibble_of_pam0_rules_nothing([0x0f, 0, 0, 0, 0, 0, 0], 0xf0000, Shadow::Pci)]
    #[case::low_nibble_first([0, 0x01, 0, 0, 0, 0, 0], 0xc3fff, Shadow::ReadRam)]
    #[case::high_nibble_second([0, 0x20, 0, 0, 0, 0, 0], 0xc4000, Shadow::WriteRam)]
    #[case::last([0, 0, 0, 0, 0, 0, 0xf0], 0xec000, Shadow::Ram)]
    fn pam_nibbles(#[case] pam: [u8; 7], #[case] address: u32, #[case] expect: Shadow) {
        check_shadow(pam, address, expect);
    }

    #[rstest]
    #[case::small(64 << 20, 8)]
    #[case::largest_that_fits(2040 << 20, 255)]
    #[case::larger(8 << 30, 255)]
    fn memory_size(#[case] memory: u64, #[case] expect: u8) {
        let bridge = HostBridge::new(Config { memory, ..Config::default() });
        assert_eq!(bridge.state.config.get(RAM_SIZE), expect);
    }

    #[rstest]
    #[case::qemu_keeps(false, [0x33, 0x0a])]
    #[case::hardware_clears(true, [0x00, 0x02])]
    fn system_reset(#[case] reset_clears_shadows: bool, #[case] expect: [u8; 2]) {
        let mut bridge = HostBridge::new(Config { reset_clears_shadows, ..Config::default() });
        bridge.config_write(PAM0, 1, 0x33, &mut effects());
        bridge.config_write(SMRAM, 1, 0x0a, &mut effects());
        bridge.reset(ResetKind::System, &mut effects());
        assert_eq!([bridge.state.config.get(PAM0), bridge.state.config.get(SMRAM)], expect);
    }

    #[rstest]
    #[case::qemu_ignores(false, 0x4a)]
    #[case::hardware_locks(true, 0x1a)]
    fn smram_lock(#[case] honours_lock: bool, #[case] expect: u8) {
        let mut bridge = HostBridge::new(Config { honours_lock, ..Config::default() });
        bridge.config_write(SMRAM, 1, 0x5a, &mut effects());
        bridge.config_write(SMRAM, 1, 0x4a, &mut effects());
        assert_eq!(bridge.state.config.get(SMRAM), expect);
    }

    #[test]
    fn config_address_takes_dwords_only() {
        let mut bridge = HostBridge::new(Config::default());
        bridge.write(0, 0, 4, 0x8000_0b62, &mut effects());
        bridge.write(0, 0, 1, 0, &mut effects());
        bridge.write(0, 2, 2, 0, &mut effects());
        let expect = Selected { bus: 0, device: 1, function: 3, register: 0x63 };
        assert_eq!(bridge.selected(1), Some(expect));
        bridge.write(0, 0, 4, 0x0000_0b62, &mut effects());
        assert_eq!(bridge.selected(1), None);
    }

    #[test]
    fn remaps_only_on_change() {
        let mut bridge = HostBridge::new(Config::default());
        let mut fx = effects();
        bridge.config_write(0x58, 4, 0x3333_3000, &mut fx);
        assert!(fx.remap);
        let mut fx = effects();
        bridge.config_write(0x58, 4, 0x3333_3000, &mut fx);
        assert!(!fx.remap);
    }
}
