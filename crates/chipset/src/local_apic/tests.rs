use super::*;
use rstest::rstest;

fn write(apic: &mut LocalApic, now: u64, offset: u64, value: u32) -> Effects {
    let mut fx = Effects::at(Moment(now));
    apic.write(0, offset, 4, u64::from(value), &mut fx);
    fx
}

fn read(apic: &mut LocalApic, now: u64, offset: u64) -> u32 {
    apic.read(0, offset, 4, &mut Effects::at(Moment(now))) as u32
}

fn enabled() -> LocalApic {
    let mut apic = LocalApic::new(0, 0x14);
    write(&mut apic, 0, 0xf0, 0x1ff);
    apic
}

fn message(mode: u8, vector: u8) -> ApicMessage {
    ApicMessage {
        destination: 0,
        logical: false,
        mode,
        vector,
        level_triggered: false,
        assert: true,
        shorthand: 0,
        source: 9,
    }
}

/// Vectors arrive in order `arrive` at task priority `tpr`: which are taken, one after another
/// without an end of interrupt?
fn check(tpr: u32, arrive: &[u8], taken: &[u8]) {
    let mut apic = enabled();
    write(&mut apic, 0, 0x80, tpr);
    for &vector in arrive {
        assert_eq!(apic.accept(&message(FIXED, vector)), Delivery::None);
    }
    let mut seen = Vec::new();
    while let Some(vector) = apic.pending() {
        assert_eq!(apic.acknowledge(), vector);
        seen.push(vector);
    }
    assert_eq!(seen, taken);
    assert_eq!(apic.acknowledge(), 0xff, "nothing left is spurious");
}

#[rstest]
#[case::one(0, &[0x30], &[0x30])]
#[case::highest_only(0, &[0x30, 0x41, 0x47], &[0x47])]
#[case::task_priority(0x40, &[0x30, 0x4f], &[])]
#[case::above_task_priority(0x40, &[0x30, 0x50], &[0x50])]
#[case::illegal(0, &[0x0f], &[])]
fn priority(#[case] tpr: u32, #[case] arrive: &[u8], #[case] taken: &[u8]) {
    check(tpr, arrive, taken);
}

#[test]
fn nested_and_ended() {
    let mut apic = enabled();
    let level = ApicMessage { level_triggered: true, ..message(FIXED, 0x31) };
    assert_eq!(apic.accept(&level), Delivery::None);
    assert_eq!(apic.acknowledge(), 0x31);
    assert_eq!(apic.accept(&message(FIXED, 0x51)), Delivery::None);
    assert_eq!(apic.acknowledge(), 0x51);
    assert_eq!(read(&mut apic, 0, 0x110) | read(&mut apic, 0, 0x120), 0x2_0000 | 0x2_0000);
    assert_eq!(read(&mut apic, 0, 0xa0), 0x50);
    assert_eq!(write(&mut apic, 0, 0xb0, 0).end_of_interrupt, Vec::<u8>::new());
    assert_eq!(write(&mut apic, 0, 0xb0, 0).end_of_interrupt, [0x31]);
    assert_eq!(read(&mut apic, 0, 0xa0), 0);
}

#[rstest]
#[case::one_shot(0x0_0040, 0xb, 100, &[101])]
#[case::one_shot_divided(0x0_0040, 0x0, 100, &[202])]
#[case::periodic(0x2_0040, 0xb, 1999, &[2000, 4000, 6000])]
#[case::periodic_tiny_is_spaced(0x2_0040, 0xb, 1, &[2, 1002, 2002])]
#[case::masked(0x3_0040, 0xb, 100, &[])]
#[case::zero(0x2_0040, 0xb, 0, &[])]
fn timer(#[case] entry: u32, #[case] divide: u32, #[case] count: u32, #[case] expect: &[u64]) {
    let mut apic = enabled();
    write(&mut apic, 0, 0x3e0, divide);
    write(&mut apic, 0, 0x320, entry);
    write(&mut apic, 0, 0x380, count);
    assert_eq!(read(&mut apic, 0, 0x390), count);
    let mut seen = Vec::new();
    while let Some(due) = apic.deadline().filter(|_| seen.len() < 3) {
        apic.on_deadline(&mut Effects::at(due));
        assert_eq!(apic.acknowledge(), 0x40);
        write(&mut apic, due.0, 0xb0, 0);
        seen.push(due.0);
    }
    assert_eq!(seen, expect);
}

#[test]
fn timer_counts_down() {
    let mut apic = enabled();
    write(&mut apic, 0, 0x3e0, 0xb);
    write(&mut apic, 50, 0x380, 0xffff_ffff);
    assert_eq!(read(&mut apic, 1050, 0x390), 0xffff_ffff - 1000);
    assert_eq!(read(&mut apic, u64::MAX, 0x390), 0);
}

#[rstest]
#[case::physical(0, false, 0, true)]
#[case::other(1, false, 0, false)]
#[case::broadcast(0xff, false, 0, true)]
#[case::flat(0x06, true, 0, true)]
#[case::flat_other(0x05, true, 0, false)]
#[case::all(7, false, 2, true)]
#[case::all_but_self(7, false, 3, true)]
#[case::itself(7, false, 1, false)]
fn destinations(#[case] destination: u8, #[case] logical: bool, #[case] shorthand: u8, #[case] expect: bool) {
    let mut apic = enabled();
    write(&mut apic, 0, 0xd0, 0x0200_0000);
    let destination = ApicMessage::short_destination(destination, logical);
    let message = ApicMessage { destination, logical, shorthand, ..message(FIXED, 0x40) };
    assert_eq!(apic.matches(&message), expect);
}

#[test]
fn virtual_wire() {
    let mut apic = LocalApic::new(0, 0x14);
    assert!(!apic.accepts_pic(), "masked at reset");
    write(&mut apic, 0, 0x350, 0x8700);
    assert!(!apic.accepts_pic(), "software-disabled: the mask stays");
    write(&mut apic, 0, 0xf0, 0x1ff);
    write(&mut apic, 0, 0x350, 0x8700);
    assert!(apic.accepts_pic());
    let mut fx = Effects::at(Moment(0));
    apic.reset(ResetKind::System, &mut fx);
    assert!(!apic.accepts_pic());
    apic.set_base(BASE, &mut fx);
    assert!(apic.accepts_pic() && !apic.is_enabled() && apic.regions().is_empty());
    apic.set_base(BASE | BASE_ENABLE, &mut fx);
    assert!(!apic.is_enabled(), "only a reset enables again");
    assert_eq!(apic.base(), BASE | BASE_BSP);
}

#[rstest]
#[case::smi(SMI, Delivery::Smi)]
#[case::nmi(NMI, Delivery::Nmi)]
#[case::init(INIT, Delivery::Init)]
#[case::startup(STARTUP, Delivery::Startup(0x9a))]
#[case::ext_int(EXTINT, Delivery::ExtInt)]
#[case::reserved(3, Delivery::None)]
fn delivery(#[case] mode: u8, #[case] expect: Delivery) {
    let mut apic = enabled();
    assert_eq!(apic.accept(&message(mode, 0x9a)), expect);
    assert_eq!(apic.accepts_pic(), expect == Delivery::ExtInt);
}

#[test]
fn command_register_sends() {
    let mut apic = enabled();
    write(&mut apic, 0, 0x310, 0x0300_0000);
    let sent = write(&mut apic, 0, 0x300, 0x000c_4610).messages;
    let expect = ApicMessage { destination: 3, shorthand: 3, source: 0, ..message(STARTUP, 0x10) };
    assert_eq!(sent, [expect]);
    assert_eq!(read(&mut apic, 0, 0x300), 0x000c_4610);
    assert_eq!(write(&mut apic, 0, 0x300, 0x0000_4005).messages, []);
    write(&mut apic, 0, 0x280, 0);
    assert_eq!(read(&mut apic, 0, 0x280), ESR_SEND_ILLEGAL_VECTOR);
}

#[test]
fn messages_from_the_bus() {
    let expect = ApicMessage { source: 0, ..message(FIXED, 0x62) };
    let expect = ApicMessage { destination: 5, logical: true, ..expect };
    assert_eq!(message_of_msi(0xfee0_5004, 0x62), Some(expect));
    assert_eq!(message_of_msi(0xfed0_0000, 0x62), None);
    assert_eq!(write(&mut enabled(), 0, 0x5004, 0x62).messages, [expect]);
}

#[test]
fn reads_as_qemu_at_reset() {
    let mut apic = LocalApic::new(1, 0x11);
    for (offset, value) in [
        (0x20, 0x0100_0000),
        (0x30, 0x5_0011),
        (0xe0, 0xffff_ffff),
        (0xf0, 0xff),
        (0x320, 0x1_0000),
        (0x350, 0x1_0000),
        (0x380, 0),
    ] {
        assert_eq!(read(&mut apic, 0, offset), value, "register {offset:x}");
    }
    assert_eq!(apic.base(), BASE | BASE_ENABLE);
}

/// LINT0 after RESET, and after an INIT that follows: (processor, with ExtINT).
#[rstest]
#[case::masked(0, false, [0x1_0000, 0x1_0000])]
#[case::bootstrap(0, true, [0x700, 0x1_0000])]
#[case::application(1, true, [0x1_0000, 0x1_0000])]
fn lint0_after_reset(#[case] cpu: u8, #[case] ext_int: bool, #[case] expect: [u32; 2]) {
    let mut apic = LocalApic::new(cpu, 0x14).with_ext_int_after_reset(ext_int);
    assert_eq!(read(&mut apic, 0, 0x350), expect[0], "power-on");
    write(&mut apic, 0, 0xf0, 0x1ff);
    write(&mut apic, 0, 0x350, 0x1_0021);
    apic.reset(ResetKind::System, &mut Effects::at(Moment(0)));
    assert_eq!(read(&mut apic, 0, 0x350), expect[0]);
    assert_eq!(apic.accepts_pic(), expect[0] == 0x700);
    apic.init();
    assert_eq!(read(&mut apic, 0, 0x350), expect[1]);
}
