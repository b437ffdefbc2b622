//! 82801I (ICH9) LPC interface bridge, function 31.0: interrupt routing, the reset control
//! register, the SMI command port, and the power management block with its TCO watchdog.
//!
//! Data sheet: Intel 316972-004, chapters 10 (chipset configuration), 13.1 (configuration), 13.7
//! (reset control) and 13.8 (power management). Values, masks and what a reset leaves are
//! QEMU 7.2's, which decodes the PM block whenever PMBASE is not zero. ELCR lives with the
//! interrupt controllers.

mod tco;
#[cfg(test)]
mod tests;

use crate::acpi_hotplug::{CpuHotplug, PCI_LENGTH, PciHotplug};
use crate::acpi_pm::Pm1;
use crate::pci::{self, ConfigSpace, Identity};
use crate::port92::ResetBit;
use crate::{Chip, Effects, Moment, Region, ResetKind, ResetRequest, Space};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
pub use tco::Tco;

/// PM block base address (section 13.1.13).
pub const PMBASE: u8 = 0x40;
/// ACPI control (section 13.1.14): which interrupt the SCI is.
pub const ACPI_CNTL: u8 = 0x44;
/// First of the PIRQ[A-D] routing registers (section 13.1.17).
pub const PIRQA_ROUT: u8 = 0x60;
/// First of the PIRQ[E-H] routing registers.
pub const PIRQE_ROUT: u8 = 0x68;
/// Which legacy devices are decoded (section 13.1.20); QEMU tells what is there.
const LPC_ENABLES: u8 = 0x82;
/// GEN_PMCON_1 (section 13.8.1.1).
pub const GEN_PMCON_1: u8 = 0xa0;
/// Root complex base address (section 13.1.36).
pub const RCBA: u8 = 0xf0;
/// Reset control register (section 13.7.5).
pub const RST_CNT: u16 = 0xcf9;
/// SMI command port.
pub const APMC: u16 = 0xb2;
/// Where QEMU has PCI hot-plug on this chip.
pub const PCI_HOTPLUG_BASE: u16 = 0x0cc0;
/// Where QEMU has CPU hot-plug on this chip.
pub const CPU_HOTPLUG_BASE: u16 = 0x0cd8;

/// Input pins: INTA#-INTD# of the functions of device 31, true when asserted.
pub const INTERRUPT_PINS: [u8; 4] = [0, 1, 2, 3];
/// Input pin: PIRQE#; three more follow. Functions in slots drive them, one level for all that share one.
pub const PIRQE: u8 = 4;
// Output pins: interrupt lines, pin N for line N: 0-15 the ISA interrupts, 16-23 PIRQA#-PIRQH# at
// the I/O APIC.

const ROUTING_DISABLED: u8 = 0x80;
/// GEN_PMCON_1: GBL_SMI_EN can no longer be cleared, and this bit neither.
const SMI_LOCK: u8 = 1 << 4;
const RCBA_ENABLE: u32 = 1 << 0;
const RCBA_BASE: u32 = 0xffff_c000;
/// Bytes of the chipset configuration registers.
const RCRB_LENGTH: u64 = 0x4000;
/// Device 31 interrupt routing (section 10.1.66), four bits for each pin.
const D31IR: u16 = 0x3140;
/// The seven such registers, of devices 25 to 31 from the last, and what a reset gives them.
const INTERRUPT_ROUTES: [(u16, u16); 7] = [
    (0x3140, 0x3210), // D31IR
    (0x3142, 0x0000), // D30IR
    (0x3144, 0x3210), // D29IR
    (0x3146, 0x3210), // D28IR
    (0x3148, 0x3210), // D27IR
    (0x314c, 0x3210), // D26IR
    (0x3150, 0x3210), // D25IR
];

/// Chipset configuration registers (section 10.1), but for those of single links and root ports.
const RCRB_NAMES: [(u64, &str); 39] = [
    (0x0000, "VCH"),
    (0x0004, "VCAP1"),
    (0x0008, "VCAP2"),
    (0x0014, "V0CTL"),
    (0x001a, "V0STS"),
    (0x001c, "V1CAP"),
    (0x0020, "V1CTL"),
    (0x0026, "V1STS"),
    (0x0100, "RCTCL"),
    (0x0104, "ESD"),
    (0x0110, "ULD"),
    (0x0118, "ULBA"),
    (0x01a4, "LCAP"),
    (0x01a8, "LCTL"),
    (0x01aa, "LSTS"),
    (0x0224, "RPC"),
    (0x0238, "RPFN"),
    (0x1e00, "TRSR"),
    (0x1e10, "TRCR"),
    (0x1e18, "TWDR"),
    (0x3000, "TCTL"),
    (0x3100, "D31IP"),
    (0x3104, "D30IP"),
    (0x3108, "D29IP"),
    (0x310c, "D28IP"),
    (0x3110, "D27IP"),
    (0x3114, "D26IP"),
    (0x3118, "D25IP"),
    (0x3140, "D31IR"),
    (0x3142, "D30IR"),
    (0x3144, "D29IR"),
    (0x3146, "D28IR"),
    (0x3148, "D27IR"),
    (0x314c, "D26IR"),
    (0x3150, "D25IR"),
    (0x3400, "RC"),
    (0x3404, "HPTC"),
    (0x3410, "GCS"),
    (0x3418, "FD"),
];

/// RST_CNT: reset the CPU.
const RST_CPU: u8 = 1 << 2;
/// RST_CNT: full reset and system reset, which are kept.
const RST_KEPT: u8 = 0x0a;

const EVENTS: u8 = 0;
const CONTROL: u8 = 1;
const TIMER: u8 = 2;
const GPE: u8 = 3;
const SMI: u8 = 4;
const TCO: u8 = 5;
const APM: u8 = 6;
const RESET_CONTROL: u8 = 7;
const RCRB: u8 = 8;
const PCI_HOTPLUG: u8 = 9;
const CPU_HOTPLUG: u8 = 10;

/// Half of the GPE0 block: status, then enable (section 13.8.3.7).
const GPE_BYTES: usize = 8;

const ACPI_ENABLE: u8 = 2;
const ACPI_DISABLE: u8 = 3;

/// SMI_EN bits (section 13.8.3.10).
const APMC_EN: u32 = 1 << 5;
const TCO_EN: u32 = 1 << 13;
const GBL_SMI_EN: u32 = 1 << 0;

/// Whether something raises an SMI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Smi {
    None,
    Always,
    IfTcoEnabled,
}

/// How this bridge is built.
#[derive(Clone, Debug)]
pub struct Config {
    /// Subsystem vendor and device.
    pub subsystem: (u16, u16),
    /// What RST_CNT bit 2 does; `None` where port CF9h is absent.
    pub reset_control: Option<ResetBit>,
    /// Reset leaves APMC_EN set, so that firmware believes SMM to be set up.
    pub smm_marked_initialised: bool,
    /// LPT1 is there.
    pub parallel: bool,
    /// COM1 is there.
    pub serial1: bool,
    /// A floppy controller is there.
    pub floppy: bool,
    /// PCI slots of bus 0 that could be unplugged, one bit each.
    pub removable_slots: u32,
    /// Number of CPUs.
    pub cpus: u32,
}

impl Default for Config {
    /// QEMU's, without ports, one CPU.
    fn default() -> Config {
        Config {
            subsystem: (0x1af4, 0x1100),
            reset_control: Some(ResetBit::Level),
            smm_marked_initialised: false,
            parallel: false,
            serial1: false,
            floppy: false,
            removable_slots: 0,
            cpus: 1,
        }
    }
}

/// Everything a snapshot carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    config: ConfigSpace,
    /// Chipset configuration registers that are not zero.
    rcrb: BTreeMap<u16, u8>,
    /// INTA#-INTD# of device 31.
    pins: [bool; 4],
    /// PIRQE#-PIRQH#, which functions in slots drive.
    #[serde(default, skip_serializing_if = "nothing_asserted")]
    pirqs: [bool; 4],
    /// Interrupt lines as they were driven last, one bit each.
    driven: u32,
    rst_cnt: u8,
    pm1: Pm1,
    gpe_status: [u8; GPE_BYTES],
    gpe_enable: [u8; GPE_BYTES],
    smi_en: u32,
    smi_sts: u32,
    /// GBL_SMI_EN keeps its value until the next reset.
    smi_locked: bool,
    apmc: u8,
    apms: u8,
    tco: Tco,
    pci_hotplug: PciHotplug,
    cpu_hotplug: CpuHotplug,
}

fn nothing_asserted(levels: &[bool; 4]) -> bool {
    !levels.contains(&true)
}

/// Which PIRQ (0-7) interrupt pin `pin` (1-4) of `device` is wired to on QEMU's Q35 board, for the devices
/// below 25.
#[must_use]
pub fn pirq_of_slot(device: u8, pin: u8) -> u8 {
    PIRQE + (device.wrapping_add(pin).wrapping_sub(1) & 3)
}

/// The LPC bridge, PCI function 00:1f.0.
#[derive(Clone, Debug)]
pub struct Ich9Lpc {
    state: State,
    wiring: Config,
}

fn power_on(wiring: &Config) -> ConfigSpace {
    let identity = Identity {
        id: (0x8086, 0x2918),
        revision: 2,
        class: (6, 1, 0),
        header_type: 0x80,
        subsystem: wiring.subsystem,
    };
    let mut config = ConfigSpace::new(&identity, 0x0507);
    config.clear_by_one(0x07, &[0xf9]);
    config.writable(0x40, &[0xff; 0xc0]);
    config.writable(PMBASE, &[0x87, 0xff, 0, 0]);
    let present = |there: bool, bit: u8| if there { bit } else { 0 };
    let floppy_and_parallel = present(wiring.floppy, 8) | present(wiring.parallel, 4);
    config.set(LPC_ENABLES, present(wiring.serial1, 1) | floppy_and_parallel);
    reset_config(&mut config);
    config
}

/// What the reset line does to registers beyond the PCI header.
fn reset_config(config: &mut ConfigSpace) {
    for number in 0..4 {
        config.set(PIRQA_ROUT + number, ROUTING_DISABLED);
        config.set(PIRQE_ROUT + number, ROUTING_DISABLED);
    }
    config.set(ACPI_CNTL, 0);
    config.set_u32(PMBASE, 1);
    config.set_u32(RCBA, 0);
}

fn reset_rcrb() -> BTreeMap<u16, u8> {
    let bytes = INTERRUPT_ROUTES.iter().flat_map(|(offset, value)| {
        let [low, high] = value.to_le_bytes();
        [(*offset, low), (*offset + 1, high)]
    });
    bytes.filter(|(_, byte)| *byte != 0).collect()
}

impl Ich9Lpc {
    /// A bridge with power just applied.
    #[must_use]
    pub fn new(wiring: Config) -> Ich9Lpc {
        let state = State {
            config: power_on(&wiring),
            rcrb: reset_rcrb(),
            pins: [false; 4],
            pirqs: [false; 4],
            driven: 0,
            rst_cnt: 0,
            pm1: Pm1::default(),
            gpe_status: [0; GPE_BYTES],
            gpe_enable: [0; GPE_BYTES],
            smi_en: if wiring.smm_marked_initialised { APMC_EN } else { 0 },
            smi_sts: 0,
            smi_locked: false,
            apmc: 0,
            apms: 0,
            tco: Tco::default(),
            pci_hotplug: PciHotplug::default(),
            cpu_hotplug: CpuHotplug::default(),
        };
        Ich9Lpc { state, wiring }
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
        self.state.rcrb.retain(|offset, byte| u64::from(*offset) < RCRB_LENGTH && *byte != 0);
        self.lock_smi();
    }

    /// The power button is pressed.
    pub fn press_power_button(&mut self, fx: &mut Effects) {
        self.state.pm1.press_power_button();
        self.drive(fx);
    }

    /// The machine resumes from suspend to RAM: the wake status is set for the firmware to see.
    pub fn wake(&mut self, fx: &mut Effects) {
        self.state.pm1.wake();
        self.drive(fx);
    }

    /// I/O base of the PM block, when decoded.
    #[must_use]
    pub fn pm_base(&self) -> Option<u16> {
        let base = self.state.config.get_u16(PMBASE) & 0xff80;
        (base != 0).then_some(base)
    }

    /// Address of the chipset configuration registers, when decoded.
    #[must_use]
    pub fn rcrb_base(&self) -> Option<u32> {
        let register = self.state.config.get_u32(RCBA);
        (register & RCBA_ENABLE != 0).then_some(register & RCBA_BASE)
    }

    /// Which ISA interrupt PIRQ `pirq` (0-7) is steered to; `None` when disabled.
    #[must_use]
    pub fn route(&self, pirq: u8) -> Option<u8> {
        let register = if pirq < 4 { PIRQA_ROUT } else { PIRQE_ROUT } + (pirq & 3);
        let control = self.state.config.get(register);
        (control & ROUTING_DISABLED == 0).then_some(control & 15)
    }

    /// Which PIRQ (0-7) interrupt pin `pin` (0-3) of device 31 goes to.
    #[must_use]
    pub fn pirq_of(&self, pin: u8) -> u8 {
        (self.rcrb_byte(D31IR + u16::from(pin >> 1 & 1)) >> (4 * (pin & 1))) & 7
    }

    /// Which interrupt line the SCI is; `None` for a reserved code.
    #[must_use]
    pub fn sci_line(&self) -> Option<u8> {
        match self.state.config.get(ACPI_CNTL) & 7 {
            code @ 0..=2 => Some(9 + code),
            4 => Some(20),
            5 => Some(21),
            _ => None,
        }
    }

    fn rcrb_byte(&self, offset: u16) -> u8 {
        self.state.rcrb.get(&offset).copied().unwrap_or(0)
    }

    /// The interrupt lines that PIRQ `pirq` (0-7) asserts, one bit each.
    fn lines_of(&self, pirq: u8) -> u32 {
        1 << (16 + pirq) | self.route(pirq).map_or(0, |line| 1 << line)
    }

    /// The interrupt lines this chip holds, one bit each.
    fn lines(&mut self, now: Moment) -> u32 {
        let mut lines = 0;
        for pin in INTERRUPT_PINS.into_iter().filter(|pin| self.state.pins[usize::from(*pin)]) {
            lines |= self.lines_of(self.pirq_of(pin));
        }
        for (pirq, _) in (PIRQE..).zip(self.state.pirqs).filter(|(_, asserted)| *asserted) {
            lines |= self.lines_of(pirq);
        }
        let enabled = self.state.gpe_status.iter().zip(&self.state.gpe_enable);
        let general = enabled.fold(0, |events, (status, enable)| events | status & enable) != 0;
        if self.state.pm1.pending(now) || general {
            lines |= self.sci_line().map_or(0, |line| 1 << line);
        }
        lines
    }

    /// Drives the lines that are not as they were driven last.
    fn drive(&mut self, fx: &mut Effects) {
        let lines = self.lines(fx.now());
        let changed = std::mem::replace(&mut self.state.driven, lines) ^ lines;
        for line in (0..24u8).filter(|line| changed & 1 << line != 0) {
            fx.line(line, lines & 1 << line != 0);
        }
    }

    /// SMI_LOCK cannot be cleared; while configuration holds it, GBL_SMI_EN cannot either.
    fn lock_smi(&mut self) {
        let locked = self.state.config.get(GEN_PMCON_1) & SMI_LOCK != 0;
        self.state.config.writable(GEN_PMCON_1, &[if locked { !SMI_LOCK } else { 0xff }]);
    }

    fn raise(&self, smi: Smi, fx: &mut Effects) {
        fx.smi |= match smi {
            Smi::None => false,
            Smi::Always => true,
            Smi::IfTcoEnabled => self.state.smi_en & TCO_EN != 0,
        };
    }

    fn write_gpe(&mut self, offset: u64, value: u8) {
        let index = offset as usize % GPE_BYTES;
        if (offset as usize) < GPE_BYTES {
            self.state.gpe_status[index] &= !value;
        } else {
            self.state.gpe_enable[index] = value;
        }
    }

    fn write_smi(&mut self, offset: u64, value: u32, fx: &mut Effects) {
        if offset != 0 {
            return fx.note("SMI_STS is read-only", offset, value.into());
        }
        let kept = if self.state.smi_locked { GBL_SMI_EN } else { 0 };
        self.state.smi_en = self.state.smi_en & kept | value & !kept;
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
            _ => {}
        }
        fx.smi |= self.state.smi_en & APMC_EN != 0;
    }

    fn write_reset_control(&mut self, value: u8, fx: &mut Effects) {
        let Some(bit) = self.wiring.reset_control else { return };
        if bit.resets(self.state.rst_cnt, value, RST_CPU) {
            fx.reset = Some(ResetRequest::PortCf9);
            // With level behaviour a write that resets is not kept, as on QEMU.
            if bit == ResetBit::Level {
                return;
            }
        }
        self.state.rst_cnt = value & if bit == ResetBit::Level { RST_KEPT } else { RST_KEPT | RST_CPU };
    }

    fn write_rcrb(&mut self, offset: u64, size: u8, value: u64) {
        for byte in 0..u64::from(size) {
            let Ok(at) = u16::try_from(offset + byte) else { return };
            match (value >> (8 * byte)) as u8 {
                0 => self.state.rcrb.remove(&at),
                value => self.state.rcrb.insert(at, value),
            };
        }
    }

    fn pm_regions(&self) -> Vec<Region> {
        let Some(base) = self.pm_base().map(u64::from) else { return Vec::new() };
        let blocks = [
            (EVENTS, "acpi-evt", 0x00, 4, 2),
            (CONTROL, "acpi-cnt", 0x04, 2, 2),
            (TIMER, "acpi-tmr", 0x08, 4, 4),
            (GPE, "acpi-gpe0", 0x20, 2 * GPE_BYTES as u64, 1),
            (SMI, "acpi-smi", 0x30, 8, 4),
            (TCO, "sm-tco", 0x60, 0x20, 2),
        ];
        blocks
            .into_iter()
            .map(|(index, name, offset, length, widest)| Region {
                index,
                name,
                space: Space::Io,
                base: base + offset,
                length,
                widest,
            })
            .collect()
    }
}

impl Chip for Ich9Lpc {
    fn regions(&self) -> Vec<Region> {
        let io = |index, name, base: u16, length, widest| Region {
            index,
            name,
            space: Space::Io,
            base: base.into(),
            length,
            widest,
        };
        let mut regions = vec![
            io(APM, "apm-io", APMC, 2, 1),
            io(PCI_HOTPLUG, "acpi-pci-hotplug", PCI_HOTPLUG_BASE, PCI_LENGTH, 4),
            io(CPU_HOTPLUG, "acpi-cpu-hotplug", CPU_HOTPLUG_BASE, self.state.cpu_hotplug.length(), 4),
        ];
        if self.wiring.reset_control.is_some() {
            regions.push(io(RESET_CONTROL, "lpc-reset-control", RST_CNT, 1, 1));
        }
        regions.extend(self.pm_regions());
        regions.extend(self.rcrb_base().map(|base| Region {
            index: RCRB,
            name: "lpc-rcrb-mmio",
            space: Space::Memory,
            base: base.into(),
            length: RCRB_LENGTH,
            widest: 4,
        }));
        regions
    }

    fn register_name(&self, index: u8, offset: u64, _write: bool) -> Option<String> {
        let names: &[(u64, &str)] = match index {
            EVENTS => &[(0, "PM1_STS"), (2, "PM1_EN")],
            CONTROL => &[(0, "PM1_CNT")],
            TIMER => &[(0, "PM1_TMR")],
            GPE => &[(0, "GPE0_STS"), (GPE_BYTES as u64, "GPE0_EN")],
            SMI => &[(0, "SMI_EN"), (4, "SMI_STS")],
            APM => &[(0, "APM_CNT"), (1, "APM_STS")],
            RESET_CONTROL => &[(0, "RST_CNT")],
            TCO => &tco::NAMES,
            RCRB => &RCRB_NAMES,
            _ => return None,
        };
        crate::name_of(names, offset)
    }

    fn config_register_name(&self, offset: u8) -> Option<String> {
        const NAMES: [(u64, &str); 4] = [
            (PMBASE as u64, "PMBASE"),
            (ACPI_CNTL as u64, "ACPI_CNTL"),
            (GEN_PMCON_1 as u64, "GEN_PMCON_1"),
            (RCBA as u64, "RCBA"),
        ];
        let pirq =
            |first: u8, letter: u8| Some(format!("PIRQ{}_ROUT", char::from(letter + (offset - first))));
        match offset {
            PIRQA_ROUT..=0x63 => pirq(PIRQA_ROUT, b'A'),
            PIRQE_ROUT..=0x6b => pirq(PIRQE_ROUT, b'E'),
            _ => pci::register_name(offset)
                .map(str::to_owned)
                .or_else(|| crate::name_of(&NAMES, offset.into())),
        }
    }

    fn read(&mut self, index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        let part = |value: u32| u64::from(value) >> (8 * (offset & 3)) & mask(size);
        match index {
            EVENTS => {
                let status = self.state.pm1.status(fx.now());
                self.drive(fx);
                part(u32::from(self.state.pm1.enable()) << 16 | u32::from(status))
            }
            CONTROL => part(self.state.pm1.control().into()),
            TIMER => part(self.state.pm1.timer(fx.now())),
            GPE => {
                let registers = self.state.gpe_status.iter().chain(&self.state.gpe_enable);
                registers.copied().nth(offset as usize).map_or(0xff, u64::from)
            }
            SMI if size == 4 && offset == 0 => self.state.smi_en.into(),
            SMI if size == 4 => self.state.smi_sts.into(),
            TCO => u64::from(self.state.tco.read(offset, fx.now())) & mask(size),
            APM if offset == 0 => self.state.apmc.into(),
            APM => self.state.apms.into(),
            RESET_CONTROL => self.state.rst_cnt.into(),
            RCRB => (0..u64::from(size)).fold(0, |value, byte| {
                let at = u16::try_from(offset + byte).unwrap_or(u16::MAX);
                value | u64::from(self.rcrb_byte(at)) << (8 * byte)
            }),
            PCI_HOTPLUG if size == 4 => {
                self.state.pci_hotplug.read(offset, self.wiring.removable_slots).into()
            }
            // The block answers dwords only.
            PCI_HOTPLUG => 0,
            CPU_HOTPLUG => (0..u64::from(size)).fold(0, |value, byte| {
                let read = self.state.cpu_hotplug.read(offset + byte, self.wiring.cpus);
                value | u64::from(read) << (8 * byte)
            }),
            _ => {
                fx.note("SMI_EN or SMI_STS read not as a dword", offset, 0);
                u64::MAX
            }
        }
    }

    fn write(&mut self, index: u8, offset: u64, size: u8, value: u64, fx: &mut Effects) {
        match index {
            EVENTS => {
                for byte in 0..u64::from(size) {
                    self.state.pm1.write_event(offset + byte, (value >> (8 * byte)) as u8, fx.now());
                }
            }
            CONTROL => self.state.pm1.write_control(offset, size, value as u16, fx),
            TIMER => fx.note("PM1_TMR is read-only", offset, value),
            GPE => self.write_gpe(offset, value as u8),
            SMI if size == 4 => self.write_smi(offset, value as u32, fx),
            TCO => {
                let smi = self.state.tco.write(offset, value as u16, fx.now());
                self.raise(smi, fx);
            }
            APM => self.write_apm(offset, value as u8, fx),
            RESET_CONTROL => self.write_reset_control(value as u8, fx),
            RCRB => self.write_rcrb(offset, size, value),
            PCI_HOTPLUG if size == 4 => self.state.pci_hotplug.write(offset, value as u32),
            CPU_HOTPLUG => {
                let cpus = self.wiring.cpus;
                fx.remap |= self.state.cpu_hotplug.write(offset, size, value as u32, cpus);
            }
            _ => fx.note("written in a wrong size", offset, value),
        }
        self.drive(fx);
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        let (pins, pirqs, driven) = (self.state.pins, self.state.pirqs, self.state.driven);
        match kind {
            ResetKind::PowerOn => *self = Ich9Lpc::new(self.wiring.clone()),
            ResetKind::System => {
                self.state.config.reset();
                reset_config(&mut self.state.config);
                // GEN_PMCON_1 keeps SMI_LOCK, yet SMI_EN can be written again, as on QEMU.
                let kept = Ich9Lpc::new(self.wiring.clone()).state;
                let config = self.state.config.clone();
                let cpu_hotplug = self.state.cpu_hotplug.clone();
                self.state = State { config, cpu_hotplug, ..kept };
            }
        }
        (self.state.pins, self.state.pirqs, self.state.driven) = (pins, pirqs, driven);
        self.state.pm1 = Pm1::reset_at(fx.now());
        self.drive(fx);
        fx.remap();
    }

    fn input(&mut self, pin: u8, level: bool, fx: &mut Effects) {
        let State { pins, pirqs, .. } = &mut self.state;
        if let Some(state) = pins.iter_mut().chain(pirqs).nth(pin.into()) {
            *state = level;
        }
        self.drive(fx);
    }

    fn deadline(&self) -> Option<Moment> {
        [self.state.pm1.deadline(), self.state.tco.due()].into_iter().flatten().min()
    }

    fn on_deadline(&mut self, fx: &mut Effects) {
        if self.state.tco.due().is_some_and(|due| due <= fx.now()) {
            let smi = self.state.tco.expire(fx.now());
            self.raise(smi, fx);
        }
        self.drive(fx);
    }

    fn pci_config(&self) -> Option<&ConfigSpace> {
        Some(&self.state.config)
    }

    fn config_write(&mut self, offset: u8, size: u8, value: u32, fx: &mut Effects) {
        let mapping = (self.pm_base(), self.rcrb_base());
        self.state.config.write(offset, size, value);
        if (offset..=offset.saturating_add(size.saturating_sub(1))).contains(&GEN_PMCON_1) {
            self.state.smi_locked = self.state.config.get(GEN_PMCON_1) & SMI_LOCK != 0;
            self.lock_smi();
        }
        self.drive(fx);
        if mapping != (self.pm_base(), self.rcrb_base()) {
            fx.remap();
        }
    }

    fn shift_time(&mut self, delta: i64) {
        self.state.pm1.shift_time(delta);
        self.state.tco.shift_time(delta);
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
