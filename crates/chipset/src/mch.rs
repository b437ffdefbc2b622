//! 82Q35 memory controller hub (MCH): PAM, SMRAM and T-SEG, and the window through which memory
//! accesses reach PCI configuration space (PCIEXBAR).
//!
//! Data sheet: Intel 3 Series Chipset Family, 316966-002, section 5.1. Power-on values, masks and
//! what a reset restores are QEMU 7.2's: it restores PCIEXBAR, SMRAM and ESMRAMC but not PAM, and
//! has two registers that the data sheet has not (50h and 9Ch). Like the 440FX's bridge, the chip
//! stores the bytes and says what they mean; drawing the map and routing CONFIG_DATA and the
//! window is the machine's work.

use crate::pam::{self, D_CLS, D_LCK, D_OPEN, G_SMRAME, SMRAM_RESET};
pub use crate::pam::{Segment, Shadow, Smram};
use crate::pci::{self, ConfigAddress, ConfigSpace, Identity, Selected};
use crate::{Chip, Effects, Region, ResetKind};
use serde::{Deserialize, Serialize};

/// PCIEXBAR, eight bytes (section 5.1.16): where the configuration window is.
pub const PCIEXBAR: u8 = 0x60;
/// First of the seven PAM registers (section 5.1.19).
pub const PAM0: u8 = 0x90;
/// Last of them.
pub const PAM6: u8 = 0x96;
/// System management RAM control (section 5.1.27).
pub const SMRAM: u8 = 0x9d;
/// Extended system management RAM control (section 5.1.28).
pub const ESMRAMC: u8 = 0x9e;
/// QEMU's own: MiB of T-SEG behind the reserved size code. FFFFh asks for it.
const EXTENDED_TSEG: u8 = 0x50;
/// QEMU's own: SMRAM at the default SMBASE. FFh asks whether there is such a thing.
const SMBASE_SMRAM: u8 = 0x9c;
const SMBASE_IN_RAM: u8 = 1 << 0;
const SMBASE_LOCK: u8 = 1 << 1;

/// PCIEXBAR after a reset: disabled.
const PCIEXBAR_RESET: u32 = 0xb000_0000;
const PCIEXBAR_ENABLE: u64 = 1 << 0;
/// The bits a window of 256 MiB must have clear.
const WINDOW_256_MIB: u64 = 0x1000_0000;
/// Address bits 35 to 28 of PCIEXBAR.
const PCIEXBAR_BASE: u64 = 0xf_f000_0000;

/// What of SMRAM can be written before and after D_LCK.
const SMRAM_WRITABLE: u8 = D_OPEN | D_CLS | D_LCK | G_SMRAME;
const SMRAM_LOCKED_WRITABLE: u8 = D_CLS;
/// ESMRAMC after a reset: the SMRAM cache bits, wired to one.
const ESMRAMC_RESET: u8 = 0x38;
/// High SMRAM instead of A0000h.
const H_SMRAME: u8 = 1 << 7;
const T_EN: u8 = 1 << 0;
const ESMRAMC_WRITABLE: u8 = H_SMRAME | 0x06 | T_EN;

/// T-SEG sizes by ESMRAMC bits 2:1, in MiB; the last code means register 50h.
const TSEG_MIB: [u64; 3] = [1, 2, 8];

/// How this bridge is built.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of RAM below 4 GiB, under whose top T-SEG lies.
    pub memory: u64,
    /// Subsystem vendor and device.
    pub subsystem: (u16, u16),
    /// A system reset clears PAM, as the chip does and QEMU does not.
    pub reset_clears_shadows: bool,
    /// T-SEG of the reserved size code, in MiB.
    pub extended_tseg: u16,
}

impl Default for Config {
    /// QEMU's, with 128 MiB.
    fn default() -> Config {
        Config {
            memory: 128 << 20,
            subsystem: (0x1af4, 0x1100),
            reset_clears_shadows: false,
            extended_tseg: 16,
        }
    }
}

/// Everything a snapshot carries; what the address map looks like is derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    config: ConfigSpace,
    config_address: ConfigAddress,
}

/// A range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// First address.
    pub base: u64,
    /// Bytes, more than zero.
    pub length: u64,
}

/// The host bridge, PCI function 00:00.0.
#[derive(Clone, Debug)]
pub struct Mch {
    state: State,
    wiring: Config,
}

impl Mch {
    /// A bridge with power just applied.
    #[must_use]
    pub fn new(wiring: Config) -> Mch {
        let config = power_on(&wiring);
        Mch { state: State { config, config_address: ConfigAddress::default() }, wiring }
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
        self.set_masks();
    }

    /// The thirteen segments and what each asks for.
    #[must_use]
    pub fn shadows(&self) -> [(Segment, Shadow); 13] {
        pam::shadows(&self.state.config, PAM0)
    }

    /// What SMRAM says about A0000h-BFFFFh. High SMRAM, which would stand in for it, is not built:
    /// firmware that asks for it finds A0000h as PCI has it.
    #[must_use]
    pub fn smram(&self) -> Smram {
        let smram = self.state.config.get(SMRAM);
        let high = self.state.config.get(ESMRAMC) & H_SMRAME != 0;
        Smram {
            open: smram & D_OPEN != 0 && !high,
            enabled: smram & G_SMRAME != 0 && !high,
            closed: smram & D_CLS != 0,
            locked: self.locked(),
        }
    }

    /// T-SEG: the top of RAM below 4 GiB, seen in system management mode only.
    #[must_use]
    pub fn tseg(&self) -> Option<Window> {
        let (smram, extended) = (self.state.config.get(SMRAM), self.state.config.get(ESMRAMC));
        if smram & G_SMRAME == 0 || extended & T_EN == 0 {
            return None;
        }
        let code = usize::from(extended >> 1 & 3);
        let mebibytes = TSEG_MIB.get(code).copied().unwrap_or(self.wiring.extended_tseg.into());
        let length = mebibytes << 20;
        let base = self.wiring.memory.checked_sub(length)?;
        (length > 0).then_some(Window { base, length })
    }

    /// The memory window of PCI configuration space: a MiB per bus, 4 KiB per function.
    #[must_use]
    pub fn config_window(&self) -> Option<Window> {
        let low = u64::from(self.state.config.get_u32(PCIEXBAR));
        let register = u64::from(self.state.config.get_u32(PCIEXBAR + 4)) << 32 | low;
        // Size code 3 is reserved; there is no window then.
        let shift = (register >> 1 & 3).min(3);
        if register & PCIEXBAR_ENABLE == 0 || shift == 3 {
            return None;
        }
        let length = WINDOW_256_MIB >> shift;
        let base = register & (PCIEXBAR_BASE | (WINDOW_256_MIB - length));
        Some(Window { base, length })
    }

    /// CONFIG_ADDRESS as last written.
    #[must_use]
    pub fn config_address(&self) -> ConfigAddress {
        self.state.config_address
    }

    /// Which register an access to CONFIG_DATA port CFCh + `lane` goes to.
    #[must_use]
    pub fn selected(&self, lane: u8) -> Option<Selected> {
        self.state.config_address.selected(lane)
    }

    fn locked(&self) -> bool {
        self.state.config.get(SMRAM) & D_LCK != 0
    }

    /// The masks of SMRAM and ESMRAMC depend on D_LCK; of the SMBASE register, once it has been
    /// asked, only the lock can be set.
    fn set_masks(&mut self) {
        let locked = self.locked();
        let config = &mut self.state.config;
        config.writable(SMRAM, &[if locked { SMRAM_LOCKED_WRITABLE } else { SMRAM_WRITABLE }]);
        config.writable(ESMRAMC, &[if locked { 0 } else { ESMRAMC_WRITABLE }]);
        let smbase = match config.get(SMBASE_SMRAM) {
            SMBASE_IN_RAM => SMBASE_LOCK,
            value if value == SMBASE_IN_RAM | SMBASE_LOCK => 0,
            _ => 0xff,
        };
        config.writable(SMBASE_SMRAM, &[smbase]);
    }

    /// What of the state the address map is drawn from.
    fn mapping(&self) -> impl PartialEq + use<> {
        (self.shadows(), self.smram(), self.tseg(), self.config_window())
    }

    /// Answers the two questions that QEMU's own registers take.
    fn answer_queries(&mut self, fx: &mut Effects) {
        let config = &mut self.state.config;
        if config.get_u16(EXTENDED_TSEG) == 0xffff {
            config.set_u16(EXTENDED_TSEG, self.wiring.extended_tseg);
        }
        if config.get(SMBASE_SMRAM) == 0xff {
            config.set(SMBASE_SMRAM, SMBASE_IN_RAM);
        } else if config.get(SMBASE_SMRAM) & SMBASE_LOCK != 0 {
            fx.note("SMRAM at SMBASE is not built", SMBASE_SMRAM.into(), SMBASE_LOCK.into());
        }
    }
}

fn power_on(wiring: &Config) -> ConfigSpace {
    let identity = Identity {
        id: (0x8086, 0x29c0),
        revision: 0,
        class: (6, 0, 0),
        header_type: 0,
        subsystem: wiring.subsystem,
    };
    let mut config = ConfigSpace::new(&identity, 0x0507);
    config.clear_by_one(0x07, &[0xf9]);
    config.writable(0x40, &[0xff; 0xc0]);
    reset_config(&mut config, wiring);
    config
}

/// What the reset line does to registers beyond the PCI header.
fn reset_config(config: &mut ConfigSpace, wiring: &Config) {
    config.set_u16(EXTENDED_TSEG, wiring.extended_tseg);
    config.set_u32(PCIEXBAR, PCIEXBAR_RESET);
    config.set_u32(PCIEXBAR + 4, 0);
    config.set(SMBASE_SMRAM, 0);
    config.set(SMRAM, SMRAM_RESET);
    config.set(ESMRAMC, ESMRAMC_RESET);
    config.writable(SMRAM, &[SMRAM_WRITABLE]);
    config.writable(ESMRAMC, &[ESMRAMC_WRITABLE]);
    config.writable(SMBASE_SMRAM, &[0xff]);
}

impl Chip for Mch {
    fn regions(&self) -> Vec<Region> {
        vec![ConfigAddress::region(0)]
    }

    fn register_name(&self, _index: u8, _offset: u64, _write: bool) -> Option<String> {
        Some("CONFIG_ADDRESS".to_owned())
    }

    fn config_register_name(&self, offset: u8) -> Option<String> {
        match offset {
            PAM0..=PAM6 => Some(format!("PAM{}", offset - PAM0)),
            PCIEXBAR..=0x67 => Some("PCIEXBAR".to_owned()),
            SMRAM => Some("SMRAM".to_owned()),
            ESMRAMC => Some("ESMRAMC".to_owned()),
            _ => pci::register_name(offset).map(str::to_owned),
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
                reset_config(&mut self.state.config, &self.wiring);
                if self.wiring.reset_clears_shadows {
                    (PAM0..=PAM6).for_each(|register| self.state.config.set(register, 0));
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
        let before = self.mapping();
        self.state.config.write(offset, size, value);
        if self.locked() {
            // Setting D_LCK clears D_OPEN in the same write.
            let smram = self.state.config.get(SMRAM) & !D_OPEN;
            self.state.config.set(SMRAM, smram);
        }
        self.answer_queries(fx);
        self.set_masks();
        if self.state.config.get(ESMRAMC) & H_SMRAME != 0 {
            fx.note("high SMRAM is not built", ESMRAMC.into(), value.into());
        }
        if before != self.mapping() {
            fx.remap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn effects() -> Effects {
        Effects::default()
    }

    /// Writes each (register, size, value) and reads (register, size) back.
    #[track_caller]
    fn check(writes: &[(u8, u8, u32)], read: (u8, u8), expect: u32) {
        let mut mch = Mch::new(Config::default());
        for (register, size, value) in writes {
            mch.config_write(*register, *size, *value, &mut effects());
        }
        assert_eq!(mch.config_read(read.0, read.1, &mut effects()), expect);
    }

    /// As QEMU 7.2 answers over its monitor.
    #[rstest]
    #[case::power_on(&[], 0x9c, 0x0038_0200)]
    #[case::all_ones(&[(0x9c, 4, 0xffff_ffff)], 0x9c, 0xffbf_3a01)]
    #[case::locked_stays(&[(0x9c, 4, 0xffff_ffff), (0x9c, 4, 0)], 0x9c, 0x00bf_1a01)]
    #[case::tseg_query(&[(0x50, 4, 0xffff_ffff)], 0x50, 0xffff_0010)]
    #[case::tseg_write(&[(0x50, 4, 0)], 0x50, 0)]
    #[case::pciexbar(&[], 0x60, 0xb000_0000)]
    #[case::identity(&[(0x00, 4, 0)], 0x00, 0x29c0_8086)]
    fn registers(#[case] writes: &[(u8, u8, u32)], #[case] register: u8, #[case] expect: u32) {
        check(writes, (register, 4), expect);
    }

    #[rstest]
    #[case::off(0xb000_0000, None)]
    #[case::firmware(0xb000_0001, Some((0xb000_0000, 256 << 20)))]
    #[case::aligned_down(0xbfff_0001, Some((0xb000_0000, 256 << 20)))]
    #[case::half(0xb800_0003, Some((0xb800_0000, 128 << 20)))]
    #[case::quarter(0xbc00_0005, Some((0xbc00_0000, 64 << 20)))]
    #[case::reserved(0xb000_0007, None)]
    fn window(#[case] value: u32, #[case] expect: Option<(u64, u64)>) {
        let mut mch = Mch::new(Config::default());
        mch.config_write(PCIEXBAR, 4, value, &mut effects());
        assert_eq!(mch.config_window().map(|window| (window.base, window.length)), expect);
    }

    #[rstest]
    #[case::off(0x02, 0x01, None)]
    #[case::not_enabled(0x0a, 0x00, None)]
    #[case::one(0x0a, 0x01, Some(1))]
    #[case::eight(0x0a, 0x05, Some(8))]
    #[case::extended(0x0a, 0x07, Some(16))]
    fn tseg(#[case] smram: u32, #[case] esmramc: u32, #[case] expect: Option<u64>) {
        let mut mch = Mch::new(Config::default());
        mch.config_write(SMRAM, 1, smram, &mut effects());
        mch.config_write(ESMRAMC, 1, esmramc, &mut effects());
        let expect =
            expect.map(|mebibytes| Window { base: (128 - mebibytes) << 20, length: mebibytes << 20 });
        assert_eq!(mch.tseg(), expect);
    }

    #[test]
    fn more_tseg_than_ram_is_none() {
        let mut mch = Mch::new(Config { memory: 4 << 20, ..Config::default() });
        mch.config_write(SMRAM, 2, 0x050a, &mut effects());
        assert_eq!(mch.tseg(), None);
    }

    #[rstest]
    #[case::qemu_keeps_pam(false, 0x33)]
    #[case::hardware_clears_it(true, 0x00)]
    fn system_reset(#[case] reset_clears_shadows: bool, #[case] pam: u8) {
        let mut mch = Mch::new(Config { reset_clears_shadows, ..Config::default() });
        for (register, value) in [(PAM6, 0x33), (SMRAM, 0x1a), (PCIEXBAR, 1), (ESMRAMC, 1)] {
            mch.config_write(register, 1, value, &mut effects());
        }
        let mut fx = effects();
        mch.reset(ResetKind::System, &mut fx);
        let registers = [PAM6, SMRAM, PCIEXBAR, ESMRAMC].map(|register| mch.state.config.get(register));
        assert_eq!((registers, fx.remap), ([pam, 0x02, 0x00, 0x38], true));
        // The lock is gone.
        mch.config_write(SMRAM, 1, 0x4a, &mut effects());
        assert!(mch.smram().open);
    }

    #[test]
    fn a_restored_lock_holds() {
        let mut locked = Mch::new(Config::default());
        locked.config_write(SMRAM, 1, 0x1a, &mut effects());
        let mut mch = Mch::new(Config::default());
        mch.restore(locked.state().clone());
        mch.config_write(SMRAM, 1, 0x4a, &mut effects());
        assert_eq!(mch.state.config.get(SMRAM), 0x1a);
    }
}
