use super::*;

/// The bytes of input `number`.
fn input(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| draw()).collect()
}

/// Every chip is reached, mostly when it is asked for, with the arithmetic of this build checked.
#[test]
fn chips_are_reached() {
    for (number, chip) in CHIPS.iter().enumerate() {
        let report = run(&input(number as u64, 8192), Some(chip));
        let own: u64 =
            report.chips.iter().filter(|(name, _)| name.starts_with(chip.slot)).map(|(_, count)| count).sum();
        assert!(own * 10 > report.accesses, "{}: {own} of {}", chip.name, report.accesses);
    }
}

#[test]
fn no_input_at_all() {
    assert_eq!(run(&[], None).accesses, 0);
}
