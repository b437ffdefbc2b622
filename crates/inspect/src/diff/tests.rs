use rstest::rstest;
use warmboot_machine::{Condition, Config, Firmware, Limits, ResetPath};

use super::*;
use crate::symbols::{Bases, tests::elf};

fn machine(config: Config) -> Machine {
    let rom = warmboot_test_roms::find("hello").expect("a ROM of ours");
    let bytes = (rom.build)().expect("it assembles").into();
    let firmware = Firmware { name: "test".into(), bytes };
    Machine::new(&Config { firmware, ..config }).expect("a machine")
}

fn symbols() -> Symbols {
    let mut symbols = Symbols::default();
    let table =
        [("Tick", 0x46c, 4), ("HaveRunPost", 0xf_7290, 4), ("Next", 0xf_7294, 4), ("buffer", 0x9000, 64)];
    symbols.add_elf("test", &elf(false, 0, &table), &Bases::default()).expect("well-formed");
    symbols
}

fn rules(texts: &[&str]) -> Vec<Ignore> {
    texts.iter().map(|text| text.parse().expect("a rule")).collect()
}

/// Writes `bytes` at `address` of one of two equal machines, and gives the lines of `block pc.ram`.
fn check(address: u64, bytes: &[u8], ignore: &[&str], expect: &[&str]) {
    let mut before = machine(Config::default());
    let mut after = before.fork();
    after.write_memory(address, bytes);
    let diff = diff(&before, &after, &symbols(), &rules(ignore));
    let text = diff.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, expect);
}

#[rstest]
#[case::nothing(0x5000, &[], &[], &["no difference"])]
#[case::same_bytes_written(0x5000, &[0], &[], &["no difference"])]
#[case::a_byte(0x5000, &[7], &[], &["block pc.ram: 1 range, 1 bytes", "  0x05000+1  00 -> 07"])]
#[case::a_symbol(0x9002, &[7], &[], &["block pc.ram: 1 range, 1 bytes", "  0x09002+1  buffer+0x2  00 -> 07"])]
#[case::near(0x5000, &[7, 0, 0, 0, 0, 8], &[],
    &["block pc.ram: 1 range, 6 bytes", "  0x05000+6  000000000000 -> 070000000008"])]
#[case::far(0x5000, &[7, 0, 0, 0, 0, 0, 8], &[],
    &["block pc.ram: 2 ranges, 2 bytes", "  0x05000+1  00 -> 07", "  0x05006+1  00 -> 08"])]
#[case::across_pages(0x4ffe, &[1, 2, 3, 4], &[],
    &["block pc.ram: 1 range, 4 bytes", "  0x04ffe+4  00000000 -> 01020304"])]
#[case::two_symbols(0x46e, &[1, 2, 3], &[],
    &["block pc.ram: 2 ranges, 3 bytes", "  0x0046e+2  Tick+0x2  0000 -> 0102", "  0x00470+1  00 -> 03"])]
#[case::long(0x9000, &[9; 40], &[],
    &["block pc.ram: 1 range, 40 bytes",
      "  0x09000+40  buffer+0  00000000000000000000000000000000... (40 bytes) -> \
       09090909090909090909090909090909... (40 bytes)"])]
#[case::ignored_symbol(0x46c, &[1, 2, 3, 4, 5], &["symbol:Tick"],
    &["block pc.ram: 1 range, 1 bytes", "  0x00470+1  00 -> 05", "ignored: 4 registers and bytes that differ"])]
#[case::ignored_bytes(0x46c, &[1, 2, 3, 4, 5], &["block:pc.ram@0x46c+4", "block:pc.ram@1136"],
    &["no difference", "ignored: 5 registers and bytes that differ"])]
#[case::ignored_block(0x46c, &[1, 2], &["block:pc.*"],
    &["no difference", "ignored: 2 registers and bytes that differ"])]
#[case::clocks(0x46c, &[1, 2, 3, 4, 5], &["clocks"],
    &["no difference", "ignored: 5 registers and bytes that differ"])]
fn memory(#[case] address: u64, #[case] bytes: &[u8], #[case] ignore: &[&str], #[case] expect: &[&str]) {
    check(address, bytes, ignore, expect);
}

#[rstest]
#[case::ram("pc.ram", 8 << 20, 0xf_7290, Some(0xf_7290))]
#[case::ram_above("pc.ram", 8 << 30, 0xe000_0000, None)]
#[case::low_view("pc.bios", 0x4_0000, 0x3_7290, Some(0xf_7290))]
#[case::first_of_the_low_view("pc.bios", 0x4_0000, 0x2_0000, Some(0xe_0000))]
#[case::high_only("pc.bios", 0x4_0000, 0x1_ffff, Some(0xfffd_ffff))]
#[case::small("pc.bios", 0x1_0000, 0, Some(0xf_0000))]
#[case::rom("pc.rom", 0x2_0000, 0x10, Some(0xc_0010))]
#[case::beyond("pc.bios", 0x1_0000, 0x1_0000, None)]
#[case::other("vga.vram", 0x1_0000, 0, None)]
fn addresses(#[case] block: &str, #[case] size: u64, #[case] offset: u64, #[case] expect: Option<u64>) {
    assert_eq!(block_address(block, size, offset), expect);
}

#[rstest]
#[case("gpr.9", "r9")]
#[case("segments.1.base", "cs.base")]
#[case("fpu.control", "fcw")]
#[case("fpu.registers.3.significand", "mm3")]
#[case::no_name("fpu.registers.3.sign_exponent", "fpu.registers.3.sign_exponent")]
#[case("sse.mxcsr", "mxcsr")]
#[case("sse.registers.12.1", "xmm12.1")]
#[case("avx.upper.12.1", "ymm12.3")]
fn processor_names(#[case] path: &str, #[case] expect: &str) {
    assert_eq!(registers::processor_name(path), expect);
}

/// What a run of our ROM changes, without the clocks.
#[test]
fn registers_have_names() {
    let mut before = machine(Config::default());
    let mut after = before.fork();
    after.run(&[Condition::Instructions(2_000)], Limits::default()).expect("it runs");
    let diff = diff(&before, &after, &Symbols::default(), &rules(&["clocks"]));
    assert!(diff.ignored > 0, "the count of instructions has been left out");
    assert!(diff.machine.is_empty(), "{:?}", diff.machine);
    let named = |name: &str| diff.cpu.iter().find(|change| change.name == name);
    for name in ["rip", "cs.base"] {
        let change = named(name).unwrap_or_else(|| panic!("{name} differs: {diff}"));
        let value = |machine: &Machine| machine.register(name).map(Value::from);
        assert_eq!((&change.before, &change.after), (&value(&before), &value(&after)), "{name}");
    }
    for chip in &diff.chips {
        for change in &chip.registers {
            let value = |machine: &Machine| machine.chip_register(&chip.chip, &change.name);
            assert_eq!((&change.before, &change.after), (&value(&before), &value(&after)), "{}", change.name);
        }
    }
    let mut again = before.fork();
    again.run(&[Condition::Instructions(2_000)], Limits::default()).expect("it runs");
    assert!(super::diff(&after, &again, &Symbols::default(), &[]).is_empty());
}

#[test]
fn a_reset_is_told_from_a_power_on() {
    let mut before = machine(Config::default());
    let mut after = before.fork();
    after.reset(ResetPath::System).expect("it runs");
    let diff = diff(&before, &after, &Symbols::default(), &[]);
    let names: Vec<&str> = diff.machine.iter().map(|change| change.name.as_str()).collect();
    assert_eq!(names, ["resets"]);
    assert!(diff.cpu.is_empty() && diff.blocks.is_empty(), "{diff}");
}

#[test]
fn what_only_one_machine_has() {
    let before = machine(Config { memory: 16 << 20, ..Config::default() });
    let after = machine(Config { memory: 32 << 20, serial: true, ..Config::default() });
    let diff = diff(&before, &after, &Symbols::default(), &rules(&["chip:rtc", "chip:i440fx"]));
    let only: Vec<_> = diff.chips.iter().map(|chip| (chip.chip.as_str(), chip.only)).collect();
    assert!(only.contains(&("com1", Some(Side::After))), "{only:?}");
    let sizes: Vec<_> =
        diff.blocks.iter().map(|block| (block.block.as_str(), block.before_size, block.after_size)).collect();
    assert_eq!(sizes, [("pc.ram", Some(16 << 20), Some(32 << 20))]);
    let map: Vec<String> = diff
        .map
        .iter()
        .map(|change| format!("{:x}-{:x}: {} -> {}", change.start, change.end, change.before, change.after))
        .collect();
    assert_eq!(map, ["1000000-1ffffff: nothing -> pc.ram@0x1000000"]);
    assert!(diff.ignored > 0);
}

#[rstest]
#[case("clocks", "clocks")]
#[case("map", "map")]
#[case("cpu:rax", "cpu:rax")]
#[case("chip:rtc.*", "chip:rtc.*")]
#[case("block:pc.ram@0x46c+4", "block:pc.ram@0x46c+4")]
#[case("block:pc.bios", "block:pc.bios")]
#[case("block:pc.ram@16", "block:pc.ram@0x10+1")]
#[case("symbol:HaveRunPost", "symbol:HaveRunPost")]
fn rules_are_read_and_written(#[case] text: &str, #[case] expect: &str) {
    assert_eq!(text.parse::<Ignore>().expect("a rule").to_string(), expect);
}

#[rstest]
#[case("", "expected clocks, map, cpu:NAME")]
#[case("clock", "ignore rule `clock`: expected clocks")]
#[case("cpu:", "there is nothing after `cpu:`")]
#[case("block:pc.ram@x", "`x` is no number")]
#[case("symbol:", "expected clocks")]
fn refused(#[case] text: &str, #[case] expect: &str) {
    let error = text.parse::<Ignore>().expect_err("refused").to_string();
    assert!(error.contains(expect), "{error}");
}

#[test]
fn a_symbol_to_ignore_must_be_known() {
    let error = Ignore::check(&rules(&["symbol:HaveRunPots"]), &symbols()).expect_err("refused").to_string();
    assert_eq!(
        error,
        "ignore rule `symbol:HaveRunPots`: there is no symbol `HaveRunPots`; did you mean `HaveRunPost`?"
    );
}

#[test]
fn every_rule_of_the_clocks_is_a_rule() {
    for rule in CLOCKS {
        assert!(rule.parse::<Ignore>().is_ok(), "{rule}");
    }
}

#[test]
fn json_has_every_byte() {
    let mut before = machine(Config::default());
    let mut after = before.fork();
    after.write_memory(0x9000, &[9; 40]);
    let diff = serde_json::to_value(diff(&before, &after, &symbols(), &[])).expect("plain data");
    let range = &diff["blocks"][0]["ranges"][0];
    assert_eq!(range["symbol"], "buffer+0");
    assert_eq!(range["after"], "09".repeat(40));
    assert_eq!(diff["ignored"], 0);
}
