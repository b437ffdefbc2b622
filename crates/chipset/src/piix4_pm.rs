//! 82371AB (PIIX4) function 3: power management, the ACPI timer, the SMI command port and SMBus.
//!
//! Data sheet: Intel 290562-001, chapter 7; ACPI 1.0, section 4.7. GPE0 and the hot-plug blocks are
//! where QEMU's `pc` has them, because its AML names those ports. Registers of the data sheet's
//! PM block which emulators lack (GPSTS, GLBCTL, DEVRES…) are not decoded.

use crate::acpi_hotplug::{self, CpuHotplug, PciHotplug};
use crate::acpi_pm::Pm1;
pub use crate::acpi_pm::TIMER_FREQUENCY;
use crate::pci::{self, ConfigSpace, Identity};
use crate::{Chip, Effects, Moment, Region, ResetKind, Space, smbus};
use serde::{Deserialize, Serialize};

/// PM block base address and enable (section 7.1.10).
pub const PMBASE: u8 = 0x40;
/// PM block decode (section 7.1.26): bit 0.
pub const PMREGMISC: u8 = 0x80;
/// SMBus block base address.
pub const SMBBA: u8 = 0x90;
/// SMBus host configuration: bit 0 enables.
pub const SMBHSTCFG: u8 = 0xd2;
/// Advanced power management control: an SMI is raised by writing it.
pub const APMC: u16 = 0xb2;
/// Base of the GPE0 block on QEMU's `pc`.
pub const GPE0: u16 = 0xafe0;
/// Output pin: the system control interrupt, wired to IRQ9.
pub const SCI: u8 = 0;

/// The byte of DEVACTB that holds APMC_EN (section 7.1.19).
const DEVACTB_3: u8 = 0x5b;
const APMC_EN: u8 = 1 << 1;

const EVENTS: u8 = 0;
const CONTROL: u8 = 1;
const TIMER: u8 = 2;
const GPE: u8 = 3;
const APM: u8 = 4;
const SMBUS: u8 = 5;
const PCI_HOTPLUG: u8 = 6;
const CPU_HOTPLUG: u8 = 7;

const ACPI_ENABLE: u8 = 0xf1;
const ACPI_DISABLE: u8 = 0xf0;

/// How this function is built.
#[derive(Clone, Debug)]
pub struct Config {
    /// Subsystem vendor and device.
    pub subsystem: (u16, u16),
    /// I/O base of the SMBus block at power-on.
    pub smbus_base: u16,
    /// Memory-module EEPROMs on the SMBus, at most eight.
    pub eeproms: u8,
    /// Reset leaves APMC_EN set, so that firmware believes SMM to be set up (emulators whose
    /// accelerator had no SMM).
    pub smm_marked_initialised: bool,
    /// A reset clears PMREGMISC, but the PM ports stay where they were until it is written: old QEMUs
    /// unmapped ports only then, if at all.
    pub ports_survive_reset: bool,
    /// A parallel port at 378h, COM1 and COM2 are there, for the device resource registers.
    pub parallel: bool,
    /// COM1.
    pub serial1: bool,
    /// COM2.
    pub serial2: bool,
    /// PCI slots of bus 0 that could be unplugged, one bit each.
    pub removable_slots: u32,
    /// Number of CPUs.
    pub cpus: u32,
}

impl Default for Config {
    /// QEMU's `pc` without ports, one CPU.
    fn default() -> Config {
        Config {
            subsystem: (0x1af4, 0x1100),
            smbus_base: 0xb100,
            eeproms: 8,
            smm_marked_initialised: false,
            ports_survive_reset: false,
            parallel: false,
            serial1: false,
            serial2: false,
            removable_slots: 0xffff_fffc,
            cpus: 1,
        }
    }
}

/// Everything a snapshot carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    config: ConfigSpace,
    /// PMSTS, PMEN, PMCNTRL and PMTMR.
    pm1: Pm1,
    gpe_status: u16,
    gpe_enable: u16,
    apmc: u8,
    apms: u8,
    smbus: smbus::State,
    pci_hotplug: PciHotplug,
    cpu_hotplug: CpuHotplug,
    /// Where the PM block still is since a reset, although PMREGMISC says that it is not decoded.
    #[serde(default)]
    surviving_base: Option<u16>,
}

/// The power management function, PCI function 00:01.3.
#[derive(Clone, Debug)]
pub struct Piix4Pm {
    state: State,
    wiring: Config,
}

impl Piix4Pm {
    /// A function with power just applied.
    #[must_use]
    pub fn new(wiring: Config) -> Piix4Pm {
        let state = State {
            config: power_on(&wiring),
            pm1: Pm1::default(),
            gpe_status: 0,
            gpe_enable: 0,
            apmc: 0,
            apms: 0,
            smbus: smbus::State::new(wiring.eeproms),
            pci_hotplug: PciHotplug::default(),
            cpu_hotplug: CpuHotplug::default(),
            surviving_base: None,
        };
        Piix4Pm { state, wiring }
    }

    /// What is saved.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state.
    pub fn restore(&mut self, state: State) {
        let mut config = self.state.config.clone();
        config.restore_bytes(&state.config);
        self.state = State { config, ..state };
    }

    /// The power button is pressed.
    pub fn press_power_button(&mut self, fx: &mut Effects) {
        if self.state.pm1.press_power_button() {
            self.drive(fx);
        }
    }

    /// The machine resumes from suspend to RAM: the wake status is set for the firmware to see.
    pub fn wake(&mut self, fx: &mut Effects) {
        self.state.pm1.wake();
        self.drive(fx);
    }

    /// I/O base of the PM block, when decoded.
    #[must_use]
    pub fn pm_base(&self) -> Option<u16> {
        let enabled = self.state.config.get(PMREGMISC) & 1 != 0;
        enabled.then(|| self.state.config.get_u16(PMBASE) & 0xffc0).or(self.state.surviving_base)
    }

    /// I/O base of the SMBus block, when decoded.
    #[must_use]
    pub fn smbus_base(&self) -> Option<u16> {
        let enabled = self.state.config.get(SMBHSTCFG) & 1 != 0;
        enabled.then(|| self.state.config.get_u16(SMBBA) & 0xffc0)
    }

    fn drive(&mut self, fx: &mut Effects) {
        let fixed = self.state.pm1.pending(fx.now());
        let general = self.state.gpe_status & self.state.gpe_enable != 0;
        fx.line(SCI, fixed || general);
    }

    fn write_gpe(&mut self, offset: u64, value: u8, fx: &mut Effects) {
        let shift = 8 * (offset as u16 & 1);
        let bits = u16::from(value) << shift;
        if offset < 2 {
            self.state.gpe_status &= !bits;
        } else {
            self.state.gpe_enable = self.state.gpe_enable & !(0xff << shift) | bits;
        }
        self.drive(fx);
    }

    fn write_apm(&mut self, offset: u64, value: u8, fx: &mut Effects) {
        if offset != 0 {
            self.state.apms = value;
            return;
        }
        self.state.apmc = value;
        match value {
            ACPI_ENABLE => self.state.pm1.set_acpi(true),
            ACPI_DISABLE => self.state.pm1.set_acpi(false),
            _ => fx.smi |= self.state.config.get(DEVACTB_3) & APMC_EN != 0,
        }
    }
}

/// Power-on values (section 7.1) as QEMU has them.
fn power_on(wiring: &Config) -> ConfigSpace {
    let identity = Identity {
        id: (0x8086, 0x7113),
        revision: 3,
        class: (6, 0x80, 0),
        header_type: 0,
        subsystem: wiring.subsystem,
    };
    let mut config = ConfigSpace::new(&identity, 0x0507);
    config.set_u16(pci::STATUS, 0x0280);
    config.clear_by_one(0x07, &[0xf9]);
    config.set(pci::INTERRUPT_PIN, 1);
    config.writable(0x40, &[0xff; 0xc0]);
    let present = |there: bool, bits: u8| if there { bits } else { 0 };
    config.set(0x5f, 0x10 | present(wiring.parallel, 0x80));
    config.set(0x63, 0x60);
    config.set(0x67, present(wiring.serial1, 0x08) | present(wiring.serial2, 0x90));
    config.set_u16(SMBBA, wiring.smbus_base | 1);
    config.set(SMBHSTCFG, 0x09);
    reset_config(&mut config, wiring);
    config
}

/// What the reset line does to configuration registers: DEVACTB and the block enables.
fn reset_config(config: &mut ConfigSpace, wiring: &Config) {
    config.set_u32(0x58, 0);
    config.set(PMBASE, 1);
    config.set(PMREGMISC, 0);
    if wiring.smm_marked_initialised {
        config.set(DEVACTB_3, APMC_EN);
    }
}

impl Chip for Piix4Pm {
    fn regions(&self) -> Vec<Region> {
        let region = |index, name, base: u64, length, widest| {
            // A base at the very top cuts the block short.
            let length = (0x1_0000 - base.min(0xffff)).min(length);
            Region { index, name, space: Space::Io, base, length, widest }
        };
        let mut regions = vec![
            region(APM, "apm-io", u64::from(APMC), 2, 1),
            region(
                PCI_HOTPLUG,
                "acpi-pci-hotplug",
                acpi_hotplug::PCI_BASE.into(),
                acpi_hotplug::PCI_LENGTH,
                4,
            ),
            region(
                CPU_HOTPLUG,
                "acpi-cpu-hotplug",
                acpi_hotplug::CPU_BASE.into(),
                self.state.cpu_hotplug.length(),
                4,
            ),
            region(GPE, "acpi-gpe0", GPE0.into(), 4, 1),
        ];
        if let Some(base) = self.pm_base() {
            let base = u64::from(base);
            regions.push(region(EVENTS, "acpi-evt", base, 4, 2));
            regions.push(region(CONTROL, "acpi-cnt", base + 4, 2, 2));
            regions.push(region(TIMER, "acpi-tmr", base + 8, 4, 4));
        }
        if let Some(base) = self.smbus_base() {
            regions.push(region(SMBUS, "pm-smbus", base.into(), 64, 1));
        }
        regions
    }

    fn register_name(&self, index: u8, offset: u64, _write: bool) -> Option<String> {
        let names: &[(u64, &str)] = match index {
            EVENTS => &[(0, "PMSTS"), (2, "PMEN")],
            CONTROL => &[(0, "PMCNTRL")],
            TIMER => &[(0, "PMTMR")],
            GPE => &[(0, "GPE0_STS"), (2, "GPE0_EN")],
            APM => &[(0, "APMC"), (1, "APMS")],
            SMBUS => return smbus::register_name(offset),
            _ => return None,
        };
        crate::name_of(names, offset)
    }

    fn config_register_name(&self, offset: u8) -> Option<String> {
        const NAMES: [(u64, &str); 5] =
            [(0x40, "PMBA"), (0x58, "DEVACTB"), (0x80, "PMREGMISC"), (0x90, "SMBBA"), (0xd2, "SMBHSTCFG")];
        pci::register_name(offset).map(str::to_owned).or_else(|| crate::name_of(&NAMES, offset.into()))
    }

    fn read(&mut self, index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        let word_part = |value: u64| value >> (8 * (offset & 7)) & mask(size);
        match index {
            EVENTS => {
                let status = self.state.pm1.status(fx.now());
                word_part(u64::from(self.state.pm1.enable()) << 16 | u64::from(status))
            }
            CONTROL => word_part(u64::from(self.state.pm1.control())),
            TIMER => word_part(u64::from(self.state.pm1.timer(fx.now()))),
            GPE => word_part(u64::from(self.state.gpe_enable) << 16 | u64::from(self.state.gpe_status)),
            APM if offset == 0 => u64::from(self.state.apmc),
            APM => u64::from(self.state.apms),
            SMBUS => u64::from(self.state.smbus.read(offset)),
            PCI_HOTPLUG if size == 4 => {
                u64::from(self.state.pci_hotplug.read(offset, self.wiring.removable_slots))
            }
            // The block answers dwords only.
            PCI_HOTPLUG => 0,
            CPU_HOTPLUG => (0..u64::from(size)).fold(0, |value, byte| {
                let read = self.state.cpu_hotplug.read(offset.wrapping_add(byte), self.wiring.cpus);
                value | u64::from(read) << (8 * byte)
            }),
            _ => u64::MAX,
        }
    }

    fn write(&mut self, index: u8, offset: u64, size: u8, value: u64, fx: &mut Effects) {
        match index {
            EVENTS => {
                for byte in 0..u64::from(size) {
                    let part = (value >> (8 * byte)) as u8;
                    self.state.pm1.write_event(offset + byte, part, fx.now());
                    self.drive(fx);
                }
            }
            CONTROL => self.state.pm1.write_control(offset, size, value as u16, fx),
            TIMER => fx.note("PMTMR is read-only", offset, value),
            GPE => self.write_gpe(offset, value as u8, fx),
            APM => self.write_apm(offset, value as u8, fx),
            SMBUS => self.state.smbus.write(offset, value as u8),
            PCI_HOTPLUG if size == 4 => self.state.pci_hotplug.write(offset, value as u32),
            CPU_HOTPLUG => {
                let cpus = self.wiring.cpus;
                let moved = self.state.cpu_hotplug.write(offset, size, value as u32, cpus);
                fx.remap |= moved;
            }
            _ => {}
        }
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        match kind {
            ResetKind::PowerOn => self.state = Piix4Pm::new(self.wiring.clone()).state,
            ResetKind::System => {
                self.state.surviving_base = self.pm_base().filter(|_| self.wiring.ports_survive_reset);
                self.state.config.reset();
                reset_config(&mut self.state.config, &self.wiring);
                self.state.smbus.reset();
            }
        }
        self.state.pm1 = Pm1::reset_at(fx.now());
        self.state.gpe_status = 0;
        self.state.gpe_enable = 0;
        self.state.apmc = 0;
        self.state.apms = 0;
        self.state.pci_hotplug = PciHotplug::default();
        self.drive(fx);
        fx.remap();
    }

    fn deadline(&self) -> Option<Moment> {
        self.state.pm1.deadline()
    }

    fn on_deadline(&mut self, fx: &mut Effects) {
        self.drive(fx);
    }

    fn pci_config(&self) -> Option<&ConfigSpace> {
        Some(&self.state.config)
    }

    fn config_write(&mut self, offset: u8, size: u8, value: u32, fx: &mut Effects) {
        let before = (self.pm_base(), self.smbus_base());
        self.state.config.write(offset, size, value);
        if [PMBASE, PMREGMISC].iter().any(|register| offset & 0xfc == *register & 0xfc) {
            self.state.surviving_base = None;
        }
        if before != (self.pm_base(), self.smbus_base()) {
            fx.remap();
        }
    }

    fn shift_time(&mut self, delta: i64) {
        self.state.pm1.shift_time(delta);
    }
}

fn mask(size: u8) -> u64 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(nanoseconds: u64) -> Effects {
        Effects::at(Moment(nanoseconds))
    }

    fn enabled() -> Piix4Pm {
        let mut pm = Piix4Pm::new(Config::default());
        pm.config_write(PMBASE, 4, 0x601, &mut at(0));
        pm.config_write(PMREGMISC, 1, 1, &mut at(0));
        pm
    }

    #[test]
    fn blocks_move_and_vanish() {
        let names = |pm: &Piix4Pm| -> Vec<(&str, u64)> {
            pm.regions().iter().map(|region| (region.name, region.base)).collect()
        };
        let mut pm = enabled();
        assert!(names(&pm).contains(&("acpi-tmr", 0x608)));
        let mut fx = at(0);
        pm.reset(ResetKind::System, &mut fx);
        assert!(fx.remap);
        assert!(names(&pm).iter().all(|(name, _)| *name != "acpi-tmr"));
        // Only the low byte of PMBASE has a reset value.
        assert_eq!(pm.state.config.get_u16(PMBASE), 0x601);
        pm.config_write(SMBHSTCFG, 1, 0x08, &mut fx);
        assert!(names(&pm).iter().all(|(name, _)| *name != "pm-smbus"));
    }

    #[test]
    fn timer_raises_sci_at_its_deadline() {
        let mut pm = enabled();
        let mut fx = at(0);
        assert_eq!(pm.read(EVENTS, 0, 2, &mut fx), 1);
        pm.write(EVENTS, 0, 2, 1, &mut fx);
        pm.write(EVENTS, 2, 2, 1, &mut fx);
        assert_eq!(fx.lines.last(), Some(&(SCI, false)));
        let deadline = pm.deadline().expect("the timer is enabled");
        let mut fx = Effects::at(deadline);
        pm.on_deadline(&mut fx);
        assert_eq!(fx.lines, [(SCI, true)]);
        assert_eq!(pm.deadline(), None);
    }

    #[rstest]
    #[case::disabled(0x00, 0x41, false, 0)]
    #[case::enabled(0x02, 0x41, true, 0)]
    #[case::acpi_enable(0x02, 0xf1, false, 1)]
    #[case::acpi_disable(0x02, 0xf0, false, 0)]
    fn smi_command(#[case] devactb: u32, #[case] value: u64, #[case] smi: bool, #[case] control: u64) {
        let mut pm = enabled();
        let mut fx = at(0);
        pm.config_write(DEVACTB_3, 1, devactb, &mut fx);
        pm.write(APM, 1, 1, 0x55, &mut fx);
        pm.write(APM, 0, 1, value, &mut fx);
        assert_eq!((fx.smi, pm.read(CONTROL, 0, 2, &mut fx)), (smi, control));
        assert_eq!([0, 1].map(|port| pm.read(APM, port, 1, &mut fx)), [value, 0x55]);
    }

    #[test]
    fn power_button_needs_its_enable() {
        let mut pm = enabled();
        let mut fx = at(0);
        pm.press_power_button(&mut fx);
        assert_eq!(fx.lines, []);
        pm.write(EVENTS, 3, 1, 1, &mut fx);
        pm.press_power_button(&mut fx);
        assert_eq!(fx.lines.last(), Some(&(SCI, true)));
        pm.write(EVENTS, 1, 1, 1, &mut fx);
        assert_eq!(fx.lines.last(), Some(&(SCI, false)));
    }

    /// Until firmware writes the register again, PM1a_CNT answers where it was.
    #[rstest]
    #[case::cleared(false, None)]
    #[case::survive(true, Some(0xb000))]
    fn ports_after_a_reset(#[case] ports_survive_reset: bool, #[case] expect: Option<u16>) {
        let mut pm = Piix4Pm::new(Config { ports_survive_reset, ..Config::default() });
        let mut fx = Effects::at(Moment(0));
        pm.config_write(PMBASE, 4, 0xb001, &mut fx);
        pm.config_write(PMREGMISC, 1, 1, &mut fx);
        pm.reset(ResetKind::System, &mut fx);
        assert_eq!((pm.state.config.get(PMREGMISC), pm.pm_base()), (0, expect));
        pm.reset(ResetKind::System, &mut fx);
        assert_eq!(pm.pm_base(), expect);
        pm.config_write(PMREGMISC, 1, 0, &mut fx);
        assert_eq!(pm.pm_base(), None);
    }

    #[rstest]
    #[case::marked(true, 2)]
    #[case::not_marked(false, 0)]
    fn smm_mark(#[case] smm_marked_initialised: bool, #[case] expect: u8) {
        let mut pm = Piix4Pm::new(Config { smm_marked_initialised, ..Config::default() });
        pm.reset(ResetKind::System, &mut at(0));
        assert_eq!(pm.state.config.get(DEVACTB_3), expect);
    }
}
