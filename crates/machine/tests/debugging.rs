//! What a debugger does between runs.

mod common;

use rstest::rstest;
use warmboot_machine::{Condition, Ended, Path};

use common::limits;

/// A jump to itself at the reset vector.
const VECTOR: u64 = 0xffff_fff0;

/// A run that stopped at an address steps over it, once: after a step without it, it stops there again.
#[rstest]
#[case(Path::Cached)]
#[case(Path::Plain)]
fn a_step_between_ends_the_stepping_over(#[case] path: Path) {
    let mut machine = common::machine("hello", path);
    machine.write_linear(0, VECTOR, &[0xeb, 0xfe]).expect("the BIOS is there");
    let until: Condition = "address:0xfffffff0".parse().expect("a condition");
    let until = [until];
    let mut run = |slice, expect: &Ended, conditions: &[Condition]| {
        let ended = machine.run(conditions, limits(1_000, slice)).expect("it can come true");
        assert_eq!(&ended, expect);
        (machine.instructions(), machine.stands_at_address(0), machine.retired(0))
    };
    let met = Ended::Condition(until[0].clone());
    assert_eq!(run(None, &met, &until), (0, true, 0));
    assert_eq!(run(None, &met, &until), (1, true, 1));
    assert_eq!(run(Some(1), &Ended::Slice, &[]), (2, false, 2));
    assert_eq!(run(None, &met, &until), (2, true, 2));
}

#[rstest]
#[case::bios(VECTOR, 5, 5)]
#[case::up_to_the_end_of_the_address_space(0xffff_fffe, 4, 2)]
#[case::ram_up_to_the_local_apic(0xfedf_ffff, 2, 0)]
#[case::no_chip_is_asked(0xfee0_0000, 4, 0)]
#[case::beyond_32_bits(0x1_0000_0000, 1, 0)]
#[case::ram(0x9_fffe, 1, 1)]
fn memory_ends_where_nothing_answers(#[case] linear: u64, #[case] length: usize, #[case] expect: usize) {
    let mut machine = common::machine("hello", Path::Cached);
    let mut bytes = vec![0; length];
    assert_eq!(machine.read_linear_ram(0, linear, &mut bytes), expect);
    assert_eq!(machine.write_linear(0, linear, &bytes).is_ok(), expect == length);
    assert_eq!(machine.read_linear_ram(1, linear, &mut bytes), 0, "there is one processor");
}

#[test]
fn a_processor_holds_only_what_it_can() {
    let mut machine = common::machine("hello", Path::Cached);
    let before = machine.digest();
    machine.change_processor(0, |state| state.cr0 |= 1 << 31).expect_err("paging without protection");
    machine.change_processor(1, |_| {}).expect_err("there is one processor");
    assert_eq!(machine.digest(), before);
    machine.change_processor(0, |state| state.gpr[3] = 5).expect("any value");
    assert_eq!(machine.register("ebx"), Some(5));
}
