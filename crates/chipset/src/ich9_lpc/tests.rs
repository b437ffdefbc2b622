use super::*;
use crate::{Power, pci};
use rstest::rstest;

fn at(nanoseconds: u64) -> Effects {
    Effects::at(Moment(nanoseconds))
}

/// A bridge set up as SeaBIOS does: PM block at 600h, PIRQ A on line 10.
fn set_up() -> Ich9Lpc {
    let mut lpc = Ich9Lpc::new(Config::default());
    lpc.config_write(PMBASE, 4, 0x601, &mut at(0));
    lpc.config_write(PIRQA_ROUT, 4, 0x0b0b_0a0a, &mut at(0));
    lpc
}

/// As QEMU 7.2 answers over its monitor: what register reads after zeros or ones were written.
#[rstest]
#[case::pmbase(0x40, 0x0000_ff87, 0)]
#[case::acpi_control(0x44, 0xffff_ffff, 0)]
#[case::gen_pmcon(0xa0, 0xffff_ffff, 0x0000_0010)]
#[case::rcba(0xf0, 0xffff_ffff, 0)]
#[case::identity(0x00, 0x2918_8086, 0x2918_8086)]
fn masks(#[case] register: u8, #[case] ones: u32, #[case] zeros: u32) {
    let mut lpc = Ich9Lpc::new(Config::default());
    for (value, expect) in [(u32::MAX, ones), (0, zeros)] {
        lpc.config_write(register, 4, value, &mut at(0));
        assert_eq!(lpc.config_read(register, 4, &mut at(0)), expect);
    }
}

#[rstest]
#[case::quiet(&[], 0, &[])]
#[case::routed(&[], 1, &[(10, true), (16, true)])]
#[case::pic_off(&[(PIRQA_ROUT, 0x80)], 1, &[(16, true)])]
#[case::second_pin(&[], 2, &[(10, true), (17, true)])]
fn pci_interrupts(#[case] writes: &[(u8, u32)], #[case] pins: u8, #[case] expect: &[(u8, bool)]) {
    let mut lpc = set_up();
    for (register, value) in writes {
        lpc.config_write(*register, 1, *value, &mut at(0));
    }
    let mut fx = at(0);
    for pin in INTERRUPT_PINS.into_iter().filter(|pin| pins & 1 << pin != 0) {
        lpc.input(pin, true, &mut fx);
    }
    assert_eq!(fx.lines, expect);
}

#[test]
fn a_held_interrupt_moves_with_its_route() {
    let mut lpc = set_up();
    lpc.input(0, true, &mut at(0));
    let mut fx = at(0);
    lpc.config_write(PIRQA_ROUT, 1, 11, &mut fx);
    assert_eq!(fx.lines, [(10, false), (11, true)]);
    lpc.config_write(RCBA, 4, 0xfed1_c001, &mut at(0));
    let mut fx = at(0);
    lpc.write(RCRB, D31IR.into(), 2, 0x3217, &mut fx);
    assert_eq!((lpc.pirq_of(0), fx.lines), (7, vec![(11, false), (16, false), (23, true)]));
    let mut fx = at(0);
    lpc.reset(ResetKind::System, &mut fx);
    assert_eq!((lpc.pirq_of(0), fx.lines), (0, vec![(16, true), (23, false)]));
}

#[rstest]
#[case::nine(0x80, Some(9))]
#[case::eleven(0x02, Some(11))]
#[case::reserved(0x03, None)]
#[case::twenty(0x04, Some(20))]
fn sci(#[case] acpi_control: u32, #[case] expect: Option<u8>) {
    let mut lpc = set_up();
    lpc.config_write(ACPI_CNTL, 1, acpi_control, &mut at(0));
    lpc.write(EVENTS, 3, 1, 1, &mut at(0)); // PWRBTN_EN
    lpc.write(EVENTS, 0, 1, 1, &mut at(0));
    let mut fx = at(0);
    lpc.press_power_button(&mut fx);
    assert_eq!(fx.lines, expect.map(|line| (line, true)).into_iter().collect::<Vec<_>>());
}

#[rstest]
#[case::level(ResetBit::Level, &[6], true, 0x00)]
#[case::kept(ResetBit::Level, &[2], false, 0x02)]
#[case::edge_armed(ResetBit::Edge, &[2, 6], true, 0x06)]
#[case::edge_held(ResetBit::Edge, &[6, 6], false, 0x06)]
fn reset_control(#[case] bit: ResetBit, #[case] writes: &[u64], #[case] resets: bool, #[case] reads: u64) {
    let mut lpc = Ich9Lpc::new(Config { reset_control: Some(bit), ..Config::default() });
    let mut last = at(0);
    for value in writes {
        last = at(0);
        lpc.write(RESET_CONTROL, 0, 1, *value, &mut last);
    }
    assert_eq!((last.reset.is_some(), lpc.read(RESET_CONTROL, 0, 1, &mut at(0))), (resets, reads));
}

#[rstest]
#[case::masked(0, 0x41, false, 0)]
#[case::enabled(0x21, 0x41, true, 0)]
#[case::acpi_on(0, 2, false, 1)]
#[case::acpi_on_with_smi(0x20, 2, true, 1)]
fn smi_command(#[case] smi_en: u64, #[case] value: u64, #[case] smi: bool, #[case] control: u64) {
    let mut lpc = set_up();
    lpc.write(SMI, 0, 4, smi_en, &mut at(0));
    let mut fx = at(0);
    lpc.write(APM, 0, 1, value, &mut fx);
    assert_eq!((fx.smi, lpc.read(CONTROL, 0, 2, &mut at(0))), (smi, control));
}

#[test]
fn smi_lock_holds_until_reset_and_stays_visible() {
    let mut lpc = set_up();
    lpc.write(SMI, 0, 4, 0x21, &mut at(0));
    lpc.config_write(GEN_PMCON_1, 1, 0x10, &mut at(0));
    lpc.write(SMI, 0, 4, 0, &mut at(0));
    assert_eq!(lpc.read(SMI, 0, 4, &mut at(0)), 1);
    lpc.reset(ResetKind::System, &mut at(0));
    assert_eq!(lpc.config_read(GEN_PMCON_1, 1, &mut at(0)), 0x10);
    lpc.write(SMI, 0, 4, 1, &mut at(0));
    lpc.write(SMI, 0, 4, 0, &mut at(0));
    assert_eq!(lpc.read(SMI, 0, 4, &mut at(0)), 0);
}

#[test]
fn blocks_follow_their_bases() {
    let names = |lpc: &Ich9Lpc| -> Vec<(&str, u64)> {
        let movable = |region: &Region| matches!(region.index, EVENTS..=TCO | RCRB);
        lpc.regions()
            .iter()
            .filter(|region| movable(region))
            .map(|region| (region.name, region.base))
            .collect()
    };
    let mut lpc = Ich9Lpc::new(Config::default());
    assert_eq!(names(&lpc), []);
    let mut fx = at(0);
    lpc.config_write(PMBASE, 4, 0x601, &mut fx);
    lpc.config_write(RCBA, 4, 0xfed1_c001, &mut fx);
    assert!(fx.remap);
    let expect = [
        ("acpi-evt", 0x600),
        ("acpi-cnt", 0x604),
        ("acpi-tmr", 0x608),
        ("acpi-gpe0", 0x620),
        ("acpi-smi", 0x630),
        ("sm-tco", 0x660),
        ("lpc-rcrb-mmio", 0xfed1_c000),
    ];
    assert_eq!(names(&lpc), expect);
    lpc.reset(ResetKind::System, &mut fx);
    assert_eq!(names(&lpc), []);
}

#[test]
fn soft_off() {
    let mut lpc = set_up();
    let mut fx = at(0);
    lpc.write(CONTROL, 0, 2, 0x2000, &mut fx);
    assert_eq!(fx.power, Some(Power::Off));
}

/// The watchdog counts four ticks of 600 ms, twice; the board's strap keeps it from resetting.
#[test]
fn watchdog() {
    let mut lpc = set_up();
    lpc.write(SMI, 0, 4, TCO_EN.into(), &mut at(0));
    lpc.write(TCO, 0, 2, 0, &mut at(0));
    lpc.shift_time(1000);
    for (round, status2) in [(1, 0x0000), (2, 0x0006)] {
        let due = lpc.deadline().expect("the watchdog runs");
        assert_eq!(due, Moment(1000 + round * 2_400_000_000));
        let mut fx = Effects::at(due);
        lpc.on_deadline(&mut fx);
        assert_eq!((fx.smi, fx.reset), (true, None));
        assert_eq!(lpc.read(TCO, 4, 2, &mut at(due.0)), 8);
        assert_eq!(lpc.read(TCO, 6, 2, &mut at(due.0)), status2);
    }
    lpc.write(TCO, 8, 2, 0x1800, &mut at(0));
    assert_eq!(lpc.deadline(), None);
    // TCO_LOCK stays.
    lpc.write(TCO, 8, 2, 0, &mut at(0));
    assert_eq!(lpc.read(TCO, 8, 2, &mut at(0)), 0x1000);
}

#[test]
fn state_survives_its_text() {
    let mut lpc = set_up();
    lpc.config_write(GEN_PMCON_1, 1, 0x10, &mut at(0));
    lpc.write(RCRB, 0x3410, 4, 0x20, &mut at(0));
    lpc.input(0, true, &mut at(0));
    let text = serde_json::to_string(lpc.state()).unwrap();
    let mut other = Ich9Lpc::new(Config::default());
    other.restore(serde_json::from_str(&text).unwrap());
    assert_eq!(other.state(), lpc.state());
    other.config_write(GEN_PMCON_1, 1, 0, &mut at(0));
    assert_eq!(other.state.config.get(GEN_PMCON_1), 0x10);
    assert_eq!(other.config_read(pci::CLASS, 1, &mut at(0)), 0);
}

#[rstest]
#[case::event(EVENTS, 2, Some("PM1_EN"))]
#[case::watchdog(TCO, 0x08, Some("TCO1_CNT"))]
#[case::watchdog_timer(TCO, 0x12, Some("TCO_TMR"))]
#[case::watchdog_gap(TCO, 0x11, None)]
#[case::interrupt_route(RCRB, 0x3140, Some("D31IR"))]
#[case::control_and_status(RCRB, 0x3410, Some("GCS"))]
#[case::reserved(RCRB, 0x3800, None)]
fn names(#[case] index: u8, #[case] offset: u64, #[case] expect: Option<&str>) {
    let chip = Ich9Lpc::new(Config::default());
    assert_eq!(chip.register_name(index, offset, false).as_deref(), expect);
}
