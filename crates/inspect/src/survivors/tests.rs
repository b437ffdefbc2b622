use rstest::rstest;
use warmboot_machine::{Config, Firmware};

use super::*;
use crate::symbols::{Bases, tests::elf};

/// A firmware that keeps variables the ways firmwares do, and says so at port 80h.
const CODE: &[u8] = &[
    0x31, 0xc0, // xor ax,ax
    0x8e, 0xd8, // mov ds,ax
    0xfe, 0x06, 0x10, 0x05, // inc byte [0x510]: counts boots
    0xc6, 0x06, 0x20, 0x05, 0x22, // mov byte [0x520],0x22: always the same
    0x8a, 0x26, 0x10, 0x05, // mov ah,[0x510]
    0x88, 0x26, 0x30, 0x05, // mov [0x530],ah
    0xf6, 0x06, 0x40, 0x05, 0x01, // test byte [0x540],1: set once
    0x75, 0x05, // jnz $+7
    0x80, 0x0e, 0x40, 0x05, 0x01, // or byte [0x540],1
    0xb0, 0x2e, // mov al,0x2e
    0xe6, 0x80, // out 0x80,al
    0xfa, // cli
    0xf4, // hlt
];

fn machine() -> Machine {
    let mut image = vec![0x90; 0x1_0000];
    image[..CODE.len()].copy_from_slice(CODE);
    image[0xfff0..0xfff5].copy_from_slice(&[0xea, 0, 0, 0, 0xf0]); // jmp f000:0000
    let firmware = Firmware { name: "test".into(), bytes: image.into() };
    Machine::new(&Config { firmware, ..Config::default() }).expect("a machine")
}

fn symbols() -> Symbols {
    let mut symbols = Symbols::default();
    let table = [("Boots", 0x510, 1), ("Constant", 0x520, 1), ("HaveRun", 0x540, 1)];
    symbols.add_elf("test", &elf(false, 0, &table), &Bases::default()).expect("well-formed");
    symbols
}

fn run(until: &str, path: ResetPath, ignore: &[&str]) -> Result<Survivors, SurvivorsError> {
    let ignore: Vec<Ignore> = ignore.iter().map(|rule| rule.parse().expect("a rule")).collect();
    let until = [until.parse().expect("a condition")];
    let limits = Limits { instructions: Some(1000), ..Limits::default() };
    survivors(machine(), &until, path, limits, &symbols(), &ignore, &mut |_| true)
        .map(|(survivors, _)| survivors)
}

#[rstest]
#[case::whole_machine(ResetPath::System)]
#[case::keyboard(ResetPath::Keyboard)]
#[case::processor_alone(ResetPath::Init)]
fn each_byte_has_its_fate(#[case] path: ResetPath) {
    let found = run("port:0x80=0x2e", path, &["clocks"]).expect("both boots come to the point");
    let fates: Vec<String> =
        found.bytes.iter().map(|survivor| format!("{:?} {survivor}", survivor.fate)).collect();
    assert_eq!(
        fates,
        [
            "Rewritten pc.ram@0x510+1  Boots+0  power-on 00, reset 01, now 02",
            "RewrittenSame pc.ram@0x520+1  Constant+0  power-on 00, reset 22",
            "Rewritten pc.ram@0x530+1  power-on 00, reset 01, now 02",
            "Stale pc.ram@0x540+1  HaveRun+0  power-on 00, reset 01",
        ]
    );
    assert_eq!(Fate::ALL.map(|fate| found.count(fate)), [1, 1, 2, 0]);
    let differs: Vec<&str> = found
        .differs
        .blocks
        .iter()
        .flat_map(|block| &block.ranges)
        .map(|range| range.symbol.as_deref().unwrap_or("-"))
        .collect();
    assert_eq!(differs, ["Boots+0", "-"]);
    assert!(found.cold.reached && found.warm.reached);
    // The second boot jumps where the first one sets the flag.
    assert_eq!((found.cold.instructions, found.warm.instructions), (12, 11));
    let text = found.to_string();
    assert!(text.contains("1 bytes survived, never rewritten by the second boot:"), "{text}");
    let json = serde_json::to_value(&found).expect("plain data");
    assert_eq!(json["bytes"][3]["fate"], "stale");
    assert_eq!(json["reset"], path.to_string());
}

/// Counts begin anew with the second boot: the point is the same instruction of each.
#[test]
fn counts_begin_at_the_reset_vector() {
    let found = run("instructions:5", ResetPath::System, &["clocks"]).expect("both boots come to the point");
    assert_eq!((found.cold.instructions, found.warm.instructions), (5, 5));
    assert_eq!(found.count(Fate::Rewritten), 1);
}

#[test]
fn what_is_ignored_is_not_there() {
    let rules = ["clocks", "symbol:Boots", "block:pc.ram@0x530", "machine:resets", "cpu:rax"];
    let found = run("port:0x80=0x2e", ResetPath::System, &rules).expect("both boots come to the point");
    let names: Vec<_> = found.bytes.iter().map(|survivor| survivor.symbol.as_deref()).collect();
    assert_eq!(names, [Some("Constant+0"), Some("HaveRun+0")]);
    assert!(found.differs.is_empty(), "{}", found.differs);
}

#[test]
fn a_point_that_is_not_reached() {
    let error = run("port:0x80=0x99", ResetPath::System, &[]).expect_err("refused").to_string();
    assert_eq!(error, "the first boot ended by halt before the point was reached");
}

/// Each boot is looked at after each slice, and a no ends it.
#[test]
fn it_can_be_stopped() {
    let until = ["port:0x999".parse().expect("a condition")];
    let limits = Limits { instructions: Some(1_000_000_000), slice: Some(1), ..Limits::default() };
    let mut looks = 0;
    let mut go_on = |_: &Machine| {
        looks += 1;
        looks < 3
    };
    let found =
        survivors(machine(), &until, ResetPath::System, limits, &symbols(), &[], &mut go_on).map(|_| ());
    assert_eq!((found, looks), (Err(SurvivorsError::Interrupted), 3));
}
