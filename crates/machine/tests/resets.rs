//! What each reset path resets, keeps, and how a guest pulls it; conditions that end runs.

mod common;

use common::{limits, with_image};
use rstest::rstest;
use warmboot_machine::{Condition, Ended, Machine, Path, ResetPath};

/// A 64 KiB image with `code` at its reset vector's target, F000:0000.
fn image(code: &[u8]) -> Vec<u8> {
    let mut image = vec![0xf4; 0x1_0000];
    image[..code.len()].copy_from_slice(code);
    image[0xfff0..0xfff5].copy_from_slice(&[0xea, 0x00, 0x00, 0x00, 0xf0]);
    image
}

fn run(machine: &mut Machine, until: &str) -> Ended {
    let until: Condition = until.parse().expect("a condition");
    machine.run(&[until], limits(10_000, None)).expect("it can come true")
}

/// Code for each path a guest has: the next instruction after the reset is at FFFFFFF0, and whoever waits for a
/// reset by that path has seen it.
#[rstest]
#[case::keyboard(&[0xb0, 0xfe, 0xe6, 0x64, 0xf4], ResetPath::Keyboard)]
#[case::port92(&[0xb0, 0x01, 0xe6, 0x92, 0xf4], ResetPath::Port92)]
#[case::cf9(&[0xba, 0xf9, 0x0c, 0xb0, 0x02, 0xee, 0xb0, 0x06, 0xee, 0xf4], ResetPath::Cf9)]
#[case::triple_fault(&[0x0f, 0x01, 0x1e, 0x00, 0x10, 0xcd, 0x03], ResetPath::TripleFault)] // LIDT [1000h], whose limit is 0; INT 3
fn guest_resets(#[case] code: &[u8], #[case] path: ResetPath) {
    for condition in [Condition::Reset, Condition::ResetBy(path)] {
        for execution in [Path::Cached, Path::Plain] {
            let mut machine = with_image(image(code), execution);
            assert_eq!(run(&mut machine, &condition.to_string()), Ended::Condition(condition.clone()));
            assert_eq!(machine.resets(), 1);
            let place = (machine.register("cs.base"), machine.register("eip"), machine.register("cr0"));
            assert_eq!(place, (Some(0xffff_0000), Some(0xfff0), Some(0x6000_0010)));
        }
    }
    let mut machine = with_image(image(code), Path::Cached);
    assert_eq!(run(&mut machine, "reset:system"), Ended::Limit, "it resets itself for ever, by another path");
}

/// Which paths reset chips: a marker in a register that PCI reset clears, and one in PAM, which
/// today's QEMU never resets.
#[rstest]
#[case(ResetPath::System, true)]
#[case(ResetPath::Keyboard, true)]
#[case(ResetPath::Port92, true)]
#[case(ResetPath::Cf9, true)]
#[case(ResetPath::TripleFault, true)]
#[case(ResetPath::Init, false)]
fn who_resets_what(#[case] path: ResetPath, #[case] chips: bool) {
    // PAM1 (5Ah) and the interrupt line (3Ch) of 00:00.0 through CF8h and CFCh; then CLI; HLT.
    let code = [
        &[0x66, 0xb8, 0x58, 0x00, 0x00, 0x80, 0xba, 0xf8, 0x0c, 0x66, 0xef][..],
        &[0xba, 0xfe, 0x0c, 0xb0, 0x33, 0xee],
        &[0x66, 0xb8, 0x3c, 0x00, 0x00, 0x80, 0xba, 0xf8, 0x0c, 0x66, 0xef],
        &[0xba, 0xfc, 0x0c, 0xb0, 0x5a, 0xee],
        &[0xfa, 0xf4],
    ]
    .concat();
    let mut machine = with_image(image(&code), Path::Cached);
    assert_eq!(machine.run(&[], limits(1_000, None)), Ok(Ended::Halt));
    let config = |machine: &Machine, at: usize| {
        machine.pci_config().find(|(place, _)| *place == (0, 0)).map(|(_, bytes)| bytes[at])
    };
    assert_eq!((config(&machine, 0x5a), config(&machine, 0x3c)), (Some(0x33), Some(0x5a)));
    machine.reset(path).expect("it runs");
    let interrupt_line = if chips { 0 } else { 0x5a };
    assert_eq!((config(&machine, 0x5a), config(&machine, 0x3c)), (Some(0x33), Some(interrupt_line)));
    assert_eq!(machine.resets(), u64::from(chips));
}

/// RAM stays over a reset; the BIOS cannot be written where it is.
#[test]
fn ram_is_kept_and_rom_is_not_written() {
    // MOV AX,0; MOV DS,AX; MOV BYTE [600h],5Ah; MOV AX,F000h; MOV DS,AX; MOV BYTE [100h],5Ah; CLI; HLT
    let code = [
        0xb8, 0x00, 0x00, 0x8e, 0xd8, 0xc6, 0x06, 0x00, 0x06, 0x5a, 0xb8, 0x00, 0xf0, 0x8e, 0xd8, 0xc6, 0x06,
        0x00, 0x01, 0x5a, 0xfa, 0xf4,
    ];
    let mut machine = with_image(image(&code), Path::Cached);
    assert_eq!(machine.run(&[], limits(1_000, None)), Ok(Ended::Halt));
    machine.reset(ResetPath::System).expect("it runs");
    let mut bytes = [0; 2];
    machine.read_memory(0x600, &mut bytes[..1]);
    machine.read_memory(0xf_0100, &mut bytes[1..]);
    assert_eq!(bytes, [0x5a, 0xf4]);
}

#[rstest]
#[case("address:f000:fff0", "address:f000:fff0", 0)]
#[case("address:0xf0002", "address:0xf0002", 2)]
#[case("instructions:3", "instructions:3", 3)]
#[case("port:0x80=0x55", "port:0x80=0x55", 3)]
#[case("port:0x80", "port:0x80", 3)]
#[case("time:2us", "time:2000ns", 4)]
#[case("debug:never", "halt", 6)]
fn conditions(#[case] until: &str, #[case] expect: &str, #[case] instructions: u64) {
    // MOV AL,55h; OUT 80h,AL; OUT 80h,AL; CLI; HLT
    let code = [0xb0, 0x55, 0xe6, 0x80, 0xe6, 0x80, 0xfa, 0xf4];
    let mut machine = with_image(image(&code), Path::Cached);
    assert_eq!(run(&mut machine, until).to_string(), expect);
    assert_eq!(machine.instructions(), instructions);
}

/// A run that ended at an address goes on from there.
#[test]
fn an_address_is_left_behind() {
    let mut machine = with_image(image(&[0x90, 0xeb, 0xfd]), Path::Cached); // NOP; JMP back
    let mut counts = Vec::new();
    for _ in 0..3 {
        run(&mut machine, "address:0xf0000");
        counts.push(machine.instructions());
    }
    assert_eq!(counts, [1, 3, 5]);
}

/// A wide port access is split where a chip's ports end: a word at 71h reaches the clock, and the
/// byte after it nobody, which reads as ones.
#[test]
fn wide_port_accesses_are_split() {
    // MOV AL,0Dh; OUT 70h,AL; IN AX,71h; CLI; HLT. Register D: the battery is good.
    let code = [0xb0, 0x0d, 0xe6, 0x70, 0xe5, 0x71, 0xfa, 0xf4];
    let mut machine = with_image(image(&code), Path::Cached);
    assert_eq!(machine.run(&[], limits(1_000, None)), Ok(Ended::Halt));
    assert_eq!(machine.register("ax"), Some(0xff80));
}
