//! 82371SB (PIIX3) function 0, the PCI-to-ISA bridge: interrupt steering and the reset control
//! register.
//!
//! Data sheet: Intel 290550-002, section 2.2 (configuration registers) and 2.5.3 (reset control).
//! ELCR lives with the interrupt controllers, APMC and APMS with the power management function.

use crate::pci::{self, ConfigSpace, Identity};
use crate::port92::ResetBit;
use crate::{Chip, Effects, Region, ResetKind, ResetRequest, Space};
use serde::{Deserialize, Serialize};

/// First of the four PIRQx Route Control registers (section 2.2.10).
pub const PIRQRC: u8 = 0x60;
/// Reset Control register.
pub const RCR: u16 = 0xcf9;
/// Input pins: PIRQA#-PIRQD# as levels, true when asserted.
pub const PIRQ: [u8; 4] = [0, 1, 2, 3];
// Output pins: ISA interrupt lines, pin N for IRQ N.

const ROUTING_DISABLED: u8 = 0x80;
/// RCR: reset CPU and system, on the change from zero to one.
const RCPU: u8 = 1 << 2;
/// RCR: hard instead of soft reset.
const SRST: u8 = 1 << 1;

/// What a reset gives these registers (section 2.2), as measured on QEMU after its reset.
const RESET_VALUES: [(u8, u8); 30] = [
    (0x4c, 0x4d), // ISA I/O recovery timer
    (0x4e, 0x03), // X-Bus chip select
    (0x4f, 0x00),
    (0x60, ROUTING_DISABLED),
    (0x61, ROUTING_DISABLED),
    (0x62, ROUTING_DISABLED),
    (0x63, ROUTING_DISABLED),
    (0x69, 0x02), // top of memory
    (0x70, 0x80), // motherboard device IRQ route control
    (0x76, 0x0c), // motherboard device DMA control
    (0x77, 0x0c),
    (0x78, 0x02), // programmable chip select
    (0x79, 0x00),
    (0x80, 0x00), // APIC base address relocation
    (0x82, 0x00), // deterministic latency control
    (0xa0, 0x08), // SMI control
    (0xa2, 0x00), // SMI enable
    (0xa3, 0x00),
    (0xa4, 0x00), // system event enable
    (0xa5, 0x00),
    (0xa6, 0x00),
    (0xa7, 0x00),
    (0xa8, 0x0f), // fast-off timer
    (0xaa, 0x00), // SMI request
    (0xab, 0x00),
    (0xac, 0x00), // clock throttle
    (0xad, 0x00),
    (0xae, 0x00),
    (0xaf, 0x00),
    (0x6a, 0x00), // miscellaneous status
];

/// How this bridge is built.
#[derive(Clone, Debug)]
pub struct Config {
    /// Subsystem vendor and device.
    pub subsystem: (u16, u16),
    /// What RCR bit 2 does; `None` where port CF9h is absent.
    pub reset_control: Option<ResetBit>,
}

impl Default for Config {
    /// QEMU's: every write of one to RCR bit 2 resets.
    fn default() -> Config {
        Config { subsystem: (0x1af4, 0x1100), reset_control: Some(ResetBit::Level) }
    }
}

/// Everything a snapshot carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    config: ConfigSpace,
    pirq: [bool; 4],
    rcr: u8,
}

/// The ISA bridge, PCI function 00:01.0.
#[derive(Clone, Debug)]
pub struct Piix3 {
    state: State,
    wiring: Config,
}

/// Which PIRQ (0-3) interrupt pin `pin` (1-4) of `device` is wired to on an i440FX board.
#[must_use]
pub fn pirq_of(device: u8, pin: u8) -> u8 {
    device.wrapping_add(pin).wrapping_sub(2) & 3
}

impl Piix3 {
    /// A bridge with power just applied.
    #[must_use]
    pub fn new(wiring: Config) -> Piix3 {
        let config = power_on(&wiring);
        Piix3 { state: State { config, pirq: [false; 4], rcr: 0 }, wiring }
    }

    /// What is saved.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state.
    pub fn restore(&mut self, state: State) {
        let State { config, pirq, rcr } = state;
        self.state.config.restore_bytes(&config);
        self.state.pirq = pirq;
        self.state.rcr = rcr;
    }

    /// Which ISA interrupt PIRQ `pirq` (0-3) is steered to; `None` when disabled.
    #[must_use]
    pub fn route(&self, pirq: u8) -> Option<u8> {
        let control = self.state.config.get(PIRQRC + (pirq & 3));
        (control < 16).then_some(control)
    }

    /// The ISA lines held by PCI interrupts, one bit each.
    fn lines(&self) -> u16 {
        (0..4u8)
            .filter(|pirq| self.state.pirq[usize::from(*pirq)])
            .filter_map(|pirq| self.route(pirq))
            .fold(0, |lines, line| lines | 1 << line)
    }

    /// Drives the lines that are not as they were `before`.
    fn drive(&self, before: u16, fx: &mut Effects) {
        let now = self.lines();
        for line in (0..16u8).filter(|line| (before ^ now) & 1 << line != 0) {
            fx.line(line, now & 1 << line != 0);
        }
    }
}

fn power_on(wiring: &Config) -> ConfigSpace {
    let identity = Identity {
        id: (0x8086, 0x7000),
        revision: 0,
        class: (6, 1, 0),
        header_type: 0x80,
        subsystem: wiring.subsystem,
    };
    let mut config = ConfigSpace::new(&identity, 0x0507);
    config.set_u16(pci::STATUS, 0x0200);
    config.clear_by_one(0x07, &[0xf9]);
    config.writable(0x40, &[0xff; 0xc0]);
    for (register, value) in RESET_VALUES {
        config.set(register, value);
    }
    config
}

impl Chip for Piix3 {
    fn regions(&self) -> Vec<Region> {
        let rcr = Region {
            index: 0,
            name: "piix3-reset-control",
            space: Space::Io,
            base: u64::from(RCR),
            length: 1,
            widest: 1,
        };
        self.wiring.reset_control.map(|_| rcr).into_iter().collect()
    }

    fn register_name(&self, _index: u8, _offset: u64, _write: bool) -> Option<String> {
        Some("RC".to_owned())
    }

    fn config_register_name(&self, offset: u8) -> Option<String> {
        const NAMES: [(u64, &str); 16] = [
            (0x4c, "IORT"),
            (0x4e, "XBCS"),
            (0x69, "TOM"),
            (0x6a, "MSTAT"),
            (0x70, "MBIRQ0"),
            (0x71, "MBIRQ1"),
            (0x76, "MBDMA0"),
            (0x77, "MBDMA1"),
            (0x78, "PCSC"),
            (0x80, "APICBASE"),
            (0x82, "DLC"),
            (0xa0, "SMICNTL"),
            (0xa2, "SMIEN"),
            (0xa4, "SEE"),
            (0xa8, "FTMR"),
            (0xaa, "SMIREQ"),
        ];
        match offset {
            PIRQRC..=0x63 => Some(format!("PIRQRC{}", char::from(b'A' + (offset - PIRQRC)))),
            _ => pci::register_name(offset)
                .map(str::to_owned)
                .or_else(|| crate::name_of(&NAMES, offset.into())),
        }
    }

    fn read(&mut self, _index: u8, _offset: u64, _size: u8, _fx: &mut Effects) -> u64 {
        u64::from(self.state.rcr)
    }

    fn write(&mut self, _index: u8, _offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        let (before, after) = (self.state.rcr, value as u8);
        let Some(bit) = self.wiring.reset_control else {
            return;
        };
        if bit.resets(before, after, RCPU) {
            let hard = after & SRST != 0;
            fx.reset = Some(if hard { ResetRequest::PortCf9 } else { ResetRequest::PortCf9Soft });
        }
        // With level behaviour RCPU never stays, as on QEMU.
        self.state.rcr = after & if bit == ResetBit::Level { SRST } else { SRST | RCPU };
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        let before = self.lines();
        match kind {
            ResetKind::PowerOn => self.state.config = power_on(&self.wiring),
            ResetKind::System => {
                self.state.config.reset();
                for (register, value) in RESET_VALUES {
                    self.state.config.set(register, value);
                }
            }
        }
        self.state.rcr = 0;
        self.drive(before, fx);
    }

    fn input(&mut self, pin: u8, level: bool, fx: &mut Effects) {
        let before = self.lines();
        if let Some(pirq) = self.state.pirq.get_mut(usize::from(pin)) {
            *pirq = level;
        }
        self.drive(before, fx);
    }

    fn pci_config(&self) -> Option<&ConfigSpace> {
        Some(&self.state.config)
    }

    fn config_write(&mut self, offset: u8, size: u8, value: u32, fx: &mut Effects) {
        let before = self.lines();
        self.state.config.write(offset, size, value);
        self.drive(before, fx);
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

    #[rstest]
    #[case::disabled(0x80, &[])]
    #[case::eleven(0x0b, &[(11, true)])]
    #[case::reserved_bits_disable(0x1b, &[])]
    fn steering(#[case] control: u32, #[case] expect: &[(u8, bool)]) {
        let mut bridge = Piix3::new(Config::default());
        bridge.config_write(PIRQRC + 2, 1, control, &mut effects());
        let mut fx = effects();
        bridge.input(PIRQ[2], true, &mut fx);
        assert_eq!(fx.lines, expect);
    }

    #[test]
    fn shared_line_falls_with_its_last_source() {
        let mut bridge = Piix3::new(Config::default());
        bridge.config_write(PIRQRC, 4, 0x0a0a_0b0b, &mut effects());
        let mut fx = effects();
        bridge.input(0, true, &mut fx);
        bridge.input(1, true, &mut fx);
        bridge.input(0, false, &mut fx);
        assert_eq!(fx.lines, [(11, true)]);
        let mut fx = effects();
        bridge.config_write(PIRQRC + 1, 1, 0x05, &mut fx);
        assert_eq!(fx.lines, [(5, true), (11, false)]);
        let mut fx = effects();
        bridge.reset(ResetKind::System, &mut fx);
        assert_eq!(fx.lines, [(5, false)]);
    }

    #[rstest]
    #[case::level(Some(ResetBit::Level), &[0x06], Some(ResetRequest::PortCf9), 0x02)]
    #[case::level_soft(Some(ResetBit::Level), &[0x02, 0x04], Some(ResetRequest::PortCf9Soft), 0x00)]
    #[case::type_only(Some(ResetBit::Level), &[0x02], None, 0x02)]
    #[case::edge(Some(ResetBit::Edge), &[0x02, 0x06], Some(ResetRequest::PortCf9), 0x06)]
    #[case::edge_soft(Some(ResetBit::Edge), &[0x00, 0x04], Some(ResetRequest::PortCf9Soft), 0x04)]
    #[case::no_edge(Some(ResetBit::Edge), &[0x06, 0x06], None, 0x06)]
    #[case::ignored(Some(ResetBit::Ignored), &[0x02, 0x06], None, 0x06)]
    fn reset_register(
        #[case] reset_control: Option<ResetBit>,
        #[case] writes: &[u64],
        #[case] expect: Option<ResetRequest>,
        #[case] reads: u64,
    ) {
        let mut bridge = Piix3::new(Config { reset_control, ..Config::default() });
        let mut resets = None;
        for value in writes {
            let mut fx = effects();
            bridge.write(0, 0, 1, *value, &mut fx);
            resets = fx.reset;
        }
        assert_eq!((resets, bridge.read(0, 0, 1, &mut effects())), (expect, reads));
    }

    #[test]
    fn absent_reset_control_has_no_region() {
        let bridge = Piix3::new(Config { reset_control: None, ..Config::default() });
        assert!(bridge.regions().is_empty());
    }

    #[rstest]
    #[case::isa_bridge_pin_a(1, 1, 0)]
    #[case::first_slot(2, 1, 1)]
    #[case::wraps(4, 2, 0)]
    #[case::host(0, 1, 3)]
    fn slot_wiring(#[case] device: u8, #[case] pin: u8, #[case] expect: u8) {
        assert_eq!(pirq_of(device, pin), expect);
    }
}
