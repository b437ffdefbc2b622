use rstest::rstest;

use super::*;
use crate::Moment;

const SIZE: u64 = 4 * SECTOR;

fn config(read_only: bool) -> Config {
    Config { name: "flash", base: 0xffff_c000, size: SIZE, read_only }
}

/// A chip with its bytes, as the machine keeps them.
struct Board {
    chip: Flash,
    bytes: Vec<u8>,
}

impl Board {
    fn new(read_only: bool) -> Board {
        let bytes = (0..SIZE).map(|at| at as u8 | 0xc0).collect();
        Board { chip: Flash::new(config(read_only)), bytes }
    }

    fn write(&mut self, offset: u64, value: u8) {
        let mut fx = Effects::at(Moment(0));
        let array = self.chip.reads_array();
        self.chip.write(0, offset, 1, u64::from(value), &mut fx);
        assert_eq!(fx.remap, array != self.chip.reads_array(), "the map is drawn when it changes");
        for store in fx.flash {
            let (offset, length) = store.range();
            let range = offset as usize..(offset + length) as usize;
            self.bytes[range].iter_mut().for_each(|byte| *byte = store.over(*byte));
        }
        // What is saved is all there is.
        let saved = serde_json::to_string(self.chip.state()).expect("saved");
        let mut other = Flash::new(self.chip.config);
        other.restore(serde_json::from_str(&saved).expect("restored"));
        assert_eq!(other.state(), self.chip.state());
        self.chip = other;
    }

    fn read(&mut self, offset: u64) -> u8 {
        if self.chip.reads_array() {
            return self.bytes[offset as usize];
        }
        self.chip.read(0, offset, 1, &mut Effects::at(Moment(0))) as u8
    }
}

/// Does the writes (offset, value) and looks at what is read then (offset, value).
fn check(read_only: bool, writes: &[(u64, u8)], reads: &[(u64, u8)]) {
    let mut board = Board::new(read_only);
    for (offset, value) in writes {
        board.write(*offset, *value);
    }
    for (offset, expect) in reads {
        assert_eq!(board.read(*offset), *expect, "at {offset:#x}");
    }
}

#[rstest]
#[case::array(&[], &[(0, 0xc0), (5, 0xc5)])]
#[case::status(&[(9, 0x70)], &[(0, 0x80), (0x2345, 0x80)])]
#[case::status_cleared(&[(0, 0x50), (0, 0x70)], &[(0, 0)])]
#[case::clear_status_shows_the_array(&[(0, 0x70), (0, 0x50)], &[(0, 0xc0)])]
#[case::array_again(&[(0, 0x70), (0, 0xff)], &[(0, 0xc0)])]
#[case::unknown(&[(0, 0x70), (0, 0xf0)], &[(0, 0xc0)])]
#[case::identifiers(&[(0, 0x90)], &[(0, 0), (1, 0), (2, 0)])]
#[case::query(&[(0x55, 0x98)], &[
    (0x10, b'Q'), (0x11, b'R'), (0x12, b'Y'), (0x13, 1), (0x14, 0), (0x15, 0x31), (0x16, 0), (0x1b, 0x45),
    (0x21, 0x0a), (0x27, 14), (0x28, 2), (0x2a, 3), (0x2b, 0), (0x2c, 1), (0x2d, 3), (0x2e, 0), (0x2f, 0x10),
    (0x30, 0), (0x31, b'P'), (0x32, b'R'), (0x33, b'I'), (0x34, b'1'), (0x35, b'0'), (0x3f, 1), (0x52, 0),
    (0, 0), (0x110, b'Q'),
])]
#[case::program(&[(7, 0x10), (7, 0x35)], &[(7, 0x80)])]
#[case::programmed(&[(7, 0x10), (7, 0x35), (0, 0xff)], &[(6, 0xc6), (7, 0xc7 & 0x35), (8, 0xc8)])]
#[case::programmed_by_40(&[(7, 0x40), (7, 0x35), (0, 0xff)], &[(7, 0xc7 & 0x35)])]
// An address in the command cycle is only the sector's; the byte goes where its own cycle says.
#[case::programmed_elsewhere(&[(0, 0x10), (9, 0), (0, 0xff)], &[(0, 0xc0), (9, 0)])]
#[case::erased(&[(0x1234, 0x20), (0x1234, 0xd0)], &[(0x1000, 0x80)])]
#[case::erased_sector(&[(0x1234, 0x20), (0x1234, 0xd0), (0, 0xff)],
    &[(0xfff, 0xff), (0x1000, 0xff), (0x1234, 0xff), (0x1fff, 0xff), (0x2000, 0xc0)])]
#[case::not_confirmed(&[(0, 0x20), (0, 0xff)], &[(0, 0xb0)])]
#[case::not_confirmed_bytes(&[(0, 0x20), (0, 0xff), (0, 0xff)], &[(0, 0xc0)])]
#[case::error_stays(&[(0, 0x20), (0, 0), (0, 0xff), (0, 0x70)], &[(0, 0xb0)])]
#[case::error_cleared(&[(0, 0x20), (0, 0), (0, 0x50), (0, 0x70)], &[(0, 0)])]
#[case::buffered(&[(8, 0xe8), (8, 1), (9, 1), (8, 2), (8, 0xd0), (0, 0xff)], &[(8, 0), (9, 1), (10, 0xca)])]
#[case::buffered_status(&[(8, 0xe8)], &[(8, 0x80)])]
#[case::buffer_not_confirmed(&[(8, 0xe8), (8, 0), (8, 0), (8, 0)], &[(8, 0xb0)])]
#[case::buffer_not_confirmed_bytes(&[(8, 0xe8), (8, 0), (8, 0), (8, 0), (8, 0xff)], &[(8, 0xc8)])]
#[case::buffer_left(&[(8, 0xe8), (8, 1), (8, 0), (16, 0)], &[(8, 0xb0)])]
#[case::buffer_too_long(&[(8, 0xe8), (8, 8)], &[(8, 0xb0)])]
#[case::locked_program(&[(0, 0x60), (0, 0x01), (7, 0x10), (7, 0)], &[(7, 0x92)])]
#[case::locked_bytes(&[(0, 0x60), (0, 0x01), (7, 0x10), (7, 0), (0, 0xff)], &[(7, 0xc7)])]
#[case::locked_erase(&[(0, 0x60), (0, 0x01), (7, 0x20), (7, 0xd0)], &[(7, 0xa2)])]
#[case::locked_other(&[(0, 0x60), (0, 0x01), (0x1007, 0x10), (0x1007, 0)], &[(7, 0x80)])]
#[case::lock_seen(&[(0x1000, 0x60), (0x1000, 0x01), (0, 0x90)], &[(2, 0), (0x1002, 1), (0x1003, 0)])]
#[case::unlocked(&[(0, 0x60), (0, 0x01), (0, 0x60), (0, 0xd0), (7, 0x10), (7, 0), (0, 0xff)], &[(7, 0)])]
#[case::lock_of_nothing(&[(0, 0x60), (0, 0x55)], &[(0, 0xb0)])]
fn commands(#[case] writes: &[(u64, u8)], #[case] reads: &[(u64, u8)]) {
    check(false, writes, reads);
}

#[rstest]
#[case::program(&[(7, 0x10), (7, 0)], &[(7, 0x90)])]
#[case::erase(&[(7, 0x20), (7, 0xd0)], &[(7, 0xa0)])]
#[case::bytes(&[(7, 0x20), (7, 0xd0), (7, 0x10), (7, 0), (7, 0xff)], &[(7, 0xc7)])]
fn read_only(#[case] writes: &[(u64, u8)], #[case] reads: &[(u64, u8)]) {
    check(true, writes, reads);
}

#[test]
fn a_reset_keeps_the_bytes_alone() {
    let mut board = Board::new(false);
    for (offset, value) in [(7, 0x10), (7, 0), (0, 0x60), (0, 0x01), (0, 0x20)] {
        board.write(offset, value);
    }
    board.chip.reset(ResetKind::System, &mut Effects::at(Moment(0)));
    assert_eq!((board.read(7), board.chip.state()), (0, &State::default()));
}

#[test]
fn a_state_that_no_chip_has_is_mended() {
    let mut chip = Flash::new(config(false));
    let bytes = (0..300).map(|at| (at * 1000, 0)).collect();
    let state = State {
        cycle: Cycle::Buffer { left: 200, bytes },
        locked: BTreeSet::from([1, 4, u64::MAX]),
        ..State::default()
    };
    chip.restore(state);
    assert_eq!(chip.state().locked, BTreeSet::from([1]));
    assert_eq!(chip.state().cycle, Cycle::Buffer { left: 8, bytes: Vec::new() });
}

/// What a trace calls the next read and the next write after these.
#[rstest]
#[case::array(&[], "ARRAY", "COMMAND")]
#[case::status(&[(0, 0x70)], "STATUS", "COMMAND")]
#[case::query(&[(0, 0x98)], "QUERY", "COMMAND")]
#[case::identifiers(&[(0, 0x90)], "IDENTIFIER", "COMMAND")]
#[case::program(&[(7, 0x10)], "STATUS", "PROGRAM_DATA")]
#[case::erase(&[(7, 0x20)], "STATUS", "ERASE_CONFIRM")]
#[case::lock(&[(7, 0x60)], "STATUS", "LOCK_SETUP")]
#[case::count(&[(0, 0xe8)], "STATUS", "BUFFER_COUNT")]
#[case::buffer(&[(0, 0xe8), (0, 0)], "STATUS", "BUFFER_DATA")]
#[case::confirm(&[(0, 0xe8), (0, 0), (0, 5)], "STATUS", "BUFFER_CONFIRM")]
fn names(#[case] writes: &[(u64, u8)], #[case] read: &str, #[case] write: &str) {
    let mut board = Board::new(false);
    writes.iter().for_each(|(offset, value)| board.write(*offset, *value));
    let name = |write| board.chip.register_name(0, 7, write);
    assert_eq!((name(false).as_deref(), name(true).as_deref()), (Some(read), Some(write)));
}
