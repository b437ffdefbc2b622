//! Ports that a machine has when asked for them: what they print, and who else is told that they are there.

mod common;

use common::limits;
use rstest::rstest;
use warmboot_machine::{Condition, Config, ConfigError, Destination, Ended, Firmware, Machine};

/// A machine whose first instructions are `code`; it then halts for ever.
fn machine(config: Config, code: &[u8]) -> Machine {
    let mut image = vec![0xf4; 0x1_0000];
    image[..code.len()].copy_from_slice(code);
    image[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0x00]); // JMP 0
    let firmware = Firmware { name: "test".into(), bytes: image.into() };
    Machine::new(&Config { firmware, ..config }).expect("a machine")
}

/// OUT of each byte to its port.
fn out(writes: &[(u16, u8)]) -> Vec<u8> {
    let write = |(port, value): &(u16, u8)| {
        let [low, high] = port.to_le_bytes();
        [0xba, low, high, 0xb0, *value, 0xee] // MOV DX,port; MOV AL,value; OUT DX,AL
    };
    writes.iter().flat_map(write).collect()
}

/// Byte 95 (5Fh) of the PIIX4's configuration space, and 130 (82h) of the ICH9's, as QEMU 7.2.
#[rstest]
#[case::piix4("pc-i440fx-7.2", "piix4-pm", "config.bytes.95", [0x10, 0x90])]
#[case::ich9("pc-q35-7.2", "ich9-lpc", "config.bytes.130", [0x00, 0x04])]
fn told_of_a_parallel_port(
    #[case] kind: &str,
    #[case] chip: &str,
    #[case] register: &str,
    #[case] expect: [u64; 2],
) {
    let found = [false, true].map(|parallel| {
        let config = Config { machine: kind.into(), parallel, ..Config::default() };
        machine(config, &[]).chip_register(chip, register).and_then(|value| value.as_u64())
    });
    assert_eq!(found, expect.map(Some));
}

/// What is printed stays printed in a fork, a file and after a migration; the interrupt reaches the 8259A.
#[rstest]
#[case::a_line(&[(0x378, b'h'), (0x37a, 0x0d), (0x37a, 0x0c), (0x378, b'i'), (0x37a, 0x0d), (0x37a, 0x0c)], "hi", 0)]
#[case::interrupt(&[(0x37a, 0x1c), (0x378, b'x'), (0x37a, 0x1d), (0x37a, 0x1c)], "x", 0x80)]
fn printed(#[case] writes: &[(u16, u8)], #[case] expect: &str, #[case] irr: u64) {
    let config = Config { parallel: true, serial: true, ..Config::default() };
    let mut whole = machine(config, &out(writes));
    assert_eq!(whole.run(&[], limits(1_000, None)), Ok(Ended::Halt));
    let file = whole.save().expect("saved");
    let mut loaded = Machine::load(&file, &mut |_| None).expect("loaded");
    assert_eq!((loaded.save().expect("saved"), loaded.digest()), (file, whole.digest()));
    let to = Destination { machine: Some("pc-i440fx-1.4".into()), ..Destination::default() };
    let (migrated, _) = whole.migrate(&to).expect("it fits");
    let fork = whole.fork();
    for machine in [&whole, &loaded, &fork, &migrated] {
        assert_eq!(machine.parallel_log(), expect.as_bytes());
        let requests = machine.chip_register("pic", "master.irr").and_then(|value| value.as_u64());
        assert_eq!(requests.map(|bits| bits & 0x80), Some(irr));
    }
    let mut plain = machine(Config { serial: true, ..Config::default() }, &out(writes));
    assert_eq!(plain.run(&[], limits(1_000, None)), Ok(Ended::Halt));
    assert!(plain.parallel_log().is_empty() && plain.chip_state("lpt1").is_none());
}

/// How the run ends, and whether it is what was waited for.
#[rstest]
#[case::panicked(true, 1, &[], Ok(Ended::GuestPanicked))]
#[case::waited_for(true, 1, &[Condition::GuestPanicked], Ok(Ended::Condition(Condition::GuestPanicked)))]
#[case::crash_loaded(true, 2, &[Condition::GuestPanicked], Ok(Ended::Halt))]
#[case::no_port(false, 1, &[], Ok(Ended::Halt))]
fn panics(
    #[case] pvpanic: bool,
    #[case] event: u8,
    #[case] until: &[Condition],
    #[case] expect: Result<Ended, ConfigError>,
    #[values("pc-i440fx-7.2", "pc-q35-7.2", "isapc")] kind: &str,
) {
    let config = Config { machine: kind.into(), pvpanic, ..Config::default() };
    let mut machine = machine(config, &out(&[(0x505, event)]));
    assert_eq!(machine.run(until, limits(1_000, None)), expect);
    let file = machine.save().expect("saved");
    let mut loaded = Machine::load(&file, &mut |_| None).expect("loaded");
    assert_eq!(loaded.digest(), machine.digest());
    assert_eq!(loaded.run(&[], limits(1_000, None)), Ok(Ended::Halt));
    let found = machine.chip_register("pvpanic", "event").and_then(|event| event.as_u64());
    assert_eq!(found, pvpanic.then_some(event.into()));
}

#[test]
fn nobody_can_panic_without_a_port() {
    let mut machine = machine(Config::default(), &[]);
    let error = machine.run(&[Condition::GuestPanicked], limits(1_000, None)).expect_err("refused");
    assert!(error.to_string().contains("this machine has no panic port"), "{error}");
}

/// A quarter of a gigabyte from a bus master where nothing answers takes no longer than looking for who does. Behind the last
/// address comes the first.
#[test]
fn bus_master_where_nothing_answers() {
    let mut machine = machine(Config::default(), &[]);
    let (before, mut bytes) = (machine.digest(), vec![1; 1 << 28]);
    machine.read_memory(u64::MAX - 0xfff, &mut bytes[..0x2000]);
    assert_eq!((bytes[0xfff], bytes[0x1000]), (0xff, 0));
    let begin = std::time::Instant::now();
    machine.write_memory(1 << 40, &bytes);
    assert!(begin.elapsed().as_secs() < 2, "a lookup for each byte takes many seconds");
    assert_eq!(machine.digest(), before);
}
