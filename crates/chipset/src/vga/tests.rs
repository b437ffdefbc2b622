//! Tables: registers, planes, the display interface, what is shown.

use std::cell::RefCell;

use rstest::rstest;

use super::*;
use crate::GuestMemory;

const PCI: Config = Config { bus: Bus::Pci { rom: 0x1_0000, registers: true, extended: true, edid: true } };

/// An adapter with a little of its memory.
struct Bench {
    vga: Vga,
    memory: RefCell<Vec<u8>>,
    now: u64,
}

/// Memory that is there; the rest of the adapter's reads zero.
struct Lent<'a>(&'a mut Vec<u8>);

impl GuestMemory for Lent<'_> {
    fn read(&mut self, address: u64, bytes: &mut [u8]) {
        for (byte, at) in bytes.iter_mut().zip(address as usize..) {
            *byte = self.0.get(at).copied().unwrap_or(0);
        }
    }

    fn write(&mut self, address: u64, bytes: &[u8]) {
        for (byte, at) in bytes.iter().zip(address as usize..) {
            self.0[at] = *byte;
        }
    }
}

impl Bench {
    fn new() -> Bench {
        Bench { vga: Vga::new(PCI), memory: RefCell::new(vec![0; 1 << 20]), now: 0 }
    }

    /// Text of 80 columns and 25 rows as a BIOS sets it, with the registers that matter to what is shown.
    fn text() -> Bench {
        let mut bench = Bench::new();
        bench.out(0x3c2, &[0x67]);
        bench.indexed(0x3c4, &[0x03, 0x00, 0x03, 0x00, 0x02]);
        bench.indexed(0x3ce, &[0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff]);
        bench.indexed(
            0x3d4,
            &[
                0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c,
                0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff,
            ],
        );
        bench.attributes(&[0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f]);
        for (index, value) in [(0x30, 0x0c), (0x32, 0x0f), (0x33, 0x08)] {
            bench.out(0x3c0, &[index, value]);
        }
        bench.colours();
        bench
    }

    /// 320 x 200 with 256 colours.
    fn bytes() -> Bench {
        let mut bench = Bench::text();
        bench.indexed(0x3c4, &[0x03, 0x01, 0x0f, 0x00, 0x0e]);
        bench.indexed(0x3ce, &[0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff]);
        bench.out(0x3d4, &[0x09, 0x14, 0x17]);
        for (index, value) in [(0x09, 0x41), (0x14, 0x40), (0x17, 0xa3)] {
            bench.out(0x3d4, &[index]);
            bench.out(0x3d5, &[value]);
        }
        bench.out(0x3c0, &[0x30, 0x41, 0x33, 0x00]);
        bench
    }

    /// 640 x 480 with 16 colours in planes.
    fn planar() -> Bench {
        let mut bench = Bench::text();
        bench.indexed(0x3c4, &[0x03, 0x01, 0x0f, 0x00, 0x06]);
        bench.indexed(0x3ce, &[0, 0, 0, 0, 0, 0x00, 0x05, 0x0f, 0xff]);
        for (index, value) in [(0x11, 0x0c), (0x07, 0x3e), (0x09, 0x40), (0x12, 0xdf), (0x17, 0xe3)] {
            bench.out(0x3d4, &[index]);
            bench.out(0x3d5, &[value]);
        }
        bench.out(0x3c0, &[0x30, 0x01, 0x33, 0x00]);
        bench
    }

    /// Red of colour `n` is `n`, and green three quarters of full where bit 4 is set.
    fn colours(&mut self) {
        self.out(0x3c8, &[0]);
        for colour in 0..=255u8 {
            self.out(0x3c9, &[colour & 0x3f, if colour & 0x10 != 0 { 0x30 } else { 0 }, 0]);
        }
    }

    fn at(&self) -> Effects {
        Effects::at(Moment(self.now))
    }

    /// Writes bytes to a port, one after the other.
    fn out(&mut self, port: u16, values: &[u8]) {
        for value in values {
            let mut fx = self.at();
            let (index, offset) = self.find(port);
            self.vga.write(index, offset, 1, u64::from(*value), &mut fx);
        }
    }

    fn input(&mut self, port: u16) -> u8 {
        let mut fx = self.at();
        let (index, offset) = self.find(port);
        self.vga.read(index, offset, 1, &mut fx) as u8
    }

    fn find(&self, port: u16) -> (u8, u64) {
        let port = u64::from(port);
        let regions = self.vga.regions();
        let found = regions.iter().find(|region| {
            region.space == Space::Io && (region.base..region.base + region.length).contains(&port)
        });
        let region = found.expect("a port of its");
        (region.index, port - region.base)
    }

    /// Registers of an index and data pair, from the first on.
    fn indexed(&mut self, port: u16, values: &[u8]) {
        for (index, value) in (0..).zip(values) {
            self.out(port, &[index]);
            self.out(port + 1, &[*value]);
        }
    }

    /// The sixteen colours, and the display's turn.
    fn attributes(&mut self, values: &[u8]) {
        self.input(0x3da);
        for (index, value) in (0..).zip(values) {
            self.out(0x3c0, &[index, *value]);
        }
    }

    fn dispi(&mut self, registers: &[(u16, u16)]) -> u64 {
        let mut zeroed = 0;
        for (index, value) in registers {
            let mut fx = self.at();
            self.vga.write(region::DISPI, 0, 2, u64::from(*index), &mut fx);
            self.vga.write(region::DISPI, 2, 2, u64::from(*value), &mut fx);
            zeroed += fx.zero;
        }
        zeroed
    }

    fn dispi_read(&mut self, index: u16) -> u64 {
        let mut fx = self.at();
        self.vga.write(region::DISPI, 0, 2, u64::from(index), &mut fx);
        self.vga.read(region::DISPI, 1, 2, &mut fx)
    }

    fn poke(&mut self, address: u64, bytes: &[u8]) {
        for (byte, at) in bytes.iter().zip(address - WINDOW_BASE..) {
            self.vga.window_write(at, *byte, &mut Lent(self.memory.get_mut()));
        }
    }

    fn peek(&mut self, address: u64) -> u8 {
        self.vga.window_read(address - WINDOW_BASE, &mut Lent(self.memory.get_mut()))
    }

    fn memory(&self) -> impl Fn(u64, &mut [u8]) + '_ {
        |offset, bytes| Lent(&mut self.memory.borrow_mut()).read(offset, bytes)
    }

    fn picture(&self) -> Picture {
        self.vga.picture(&self.memory())
    }

    /// Red of the dots of a line, as the converter's six bits.
    fn reds(&self, line: usize, dots: std::ops::Range<usize>) -> Vec<u8> {
        let picture = self.picture();
        dots.map(|dot| picture.pixels[3 * (line * picture.width as usize + dot)] >> 2).collect()
    }
}

#[rstest]
#[case::miscellaneous(&[(0x3c2, 0xff)], 0x3cc, 0xef)]
#[case::sequencer(&[(0x3c4, 0x0c), (0x3c5, 0xff)], 0x3c5, 0x0e)]
#[case::no_such_sequencer(&[(0x3c4, 7), (0x3c5, 0xff)], 0x3c5, 0)]
#[case::graphics(&[(0x3ce, 5), (0x3cf, 0xff)], 0x3cf, 0x7b)]
#[case::crt(&[(0x3d4, 0x0e), (0x3d5, 0x12)], 0x3d5, 0x12)]
#[case::crt_index(&[(0x3d4, 0xff)], 0x3d4, 0x1f)]
#[case::protected(&[(0x3d4, 0x11), (0x3d5, 0x80), (0x3d4, 0), (0x3d5, 0x5f)], 0x3d5, 0)]
#[case::line_compare_is_not(&[(0x3d4, 0x11), (0x3d5, 0x80), (0x3d4, 7), (0x3d5, 0xff)], 0x3d5, 0x10)]
#[case::monochrome_is_not_there(&[(0x3d4, 0x0e), (0x3d5, 0x12)], 0x3b5, 0xff)]
#[case::monochrome(&[(0x3c2, 0), (0x3b4, 0x0e), (0x3b5, 0x12)], 0x3b5, 0x12)]
#[case::then_colour_is_not(&[(0x3c2, 0), (0x3b4, 0x0e), (0x3b5, 0x12)], 0x3d5, 0xff)]
#[case::feature_control(&[(0x3da, 0xff)], 0x3ca, 0x10)]
#[case::pixel_mask(&[], 0x3c6, 0xff)]
#[case::converter_writes(&[(0x3c8, 9)], 0x3c7, 0)]
#[case::converter_reads(&[(0x3c7, 9)], 0x3c7, 3)]
fn registers(#[case] writes: &[(u16, u8)], #[case] port: u16, #[case] expect: u8) {
    let mut bench = Bench::new();
    bench.out(0x3c2, &[1]);
    writes.iter().for_each(|(port, value)| bench.out(*port, &[*value]));
    assert_eq!(bench.input(port), expect);
}

#[rstest]
#[case::index_then_data(&[0x05, 0x3f], 5, 0x3f)]
#[case::bits(&[0x10, 0xff], 0x10, 0xef)]
#[case::display_has_the_palette(&[0x25, 0x3f], 5, 0)]
#[case::but_not_the_mode(&[0x30, 0x0c], 0x10, 0x0c)]
#[case::no_register(&[0x1f, 0xff], 0x1f, 0)]
fn attribute_controller(#[case] writes: &[u8], #[case] index: u8, #[case] expect: u8) {
    let mut bench = Bench::new();
    bench.out(0x3c2, &[1]);
    bench.out(0x3c0, &[0x20]);
    // Input status 1 makes the next write an index.
    bench.input(0x3da);
    bench.out(0x3c0, writes);
    bench.input(0x3da);
    bench.out(0x3c0, &[index]);
    assert_eq!((bench.input(0x3c0), bench.input(0x3c1)), (index, expect));
}

#[test]
fn converter_counts_components() {
    let mut bench = Bench::new();
    bench.out(0x3c8, &[255]);
    bench.out(0x3c9, &[1, 2, 0xff, 4, 5, 6, 7]);
    bench.out(0x3c7, &[255]);
    let read: Vec<u8> = (0..6).map(|_| bench.input(0x3c9)).collect();
    // Six bits; the entry whose third component did not come is as it was.
    assert_eq!((read, bench.input(0x3c8)), (vec![1, 2, 0x3f, 4, 5, 6], 1));
    bench.dispi(&[(4, 0x20)]);
    bench.out(0x3c8, &[1]);
    bench.out(0x3c9, &[0xff, 0x80, 0x01]);
    bench.out(0x3c7, &[1]);
    assert_eq!([bench.input(0x3c9), bench.input(0x3c9), bench.input(0x3c9)], [0xff, 0x80, 0x01]);
}

/// Input status 1 in 80 x 25 text: a line takes 31.78 us, 449 of them a frame.
#[rstest]
#[case::shown(0, 0)]
#[case::end_of_line(28_000, 1)]
#[case::next_line(32_000, 0)]
#[case::below(12_800_000, 1)]
#[case::retrace(13_150_000, 9)]
#[case::after_it(13_300_000, 1)]
#[case::next_frame(14_300_000, 0)]
#[case::many_frames(14_268_060 * 1000 + 13_140_000, 9)]
fn input_status(#[case] now: u64, #[case] expect: u8) {
    let mut bench = Bench::text();
    bench.now = now;
    assert_eq!(bench.input(0x3da), expect);
}

/// Whole frames are no part of the state that is compared without time.
#[test]
fn time_is_relative() {
    let states = [1000, 1000 + bench_period()].map(|now| {
        let mut vga = Bench::text().vga;
        vga.shift_time(-(now as i64));
        vga.state().clone()
    });
    assert_eq!(states[0], states[1]);
}

fn bench_period() -> u64 {
    Bench::text().vga.frame().period
}

/// Graphics registers 0 to 8, the latches, a byte written, and the four planes that become of 0Fh 00h FFh AAh.
#[rstest]
#[case::as_it_is(&[0, 0, 0, 0, 0, 0, 5, 15, 0xff], 0x0f, 0x81, [0x81; 4])]
#[case::map_mask(&[0, 0, 0, 0, 0, 0, 5, 15, 0xff], 0x05, 0x81, [0x81, 0x00, 0x81, 0xaa])]
#[case::rotate(&[0, 0, 0, 1, 0, 0, 5, 15, 0xff], 0x01, 0x81, [0xc0, 0x00, 0xff, 0xaa])]
#[case::set_reset(&[0x0a, 0x0f, 0, 0, 0, 0, 5, 15, 0xff], 0x0f, 0x81, [0x00, 0xff, 0x00, 0xff])]
#[case::some_set_reset(&[0x02, 0x03, 0, 0, 0, 0, 5, 15, 0xff], 0x0f, 0x81, [0x00, 0xff, 0x81, 0x81])]
#[case::bit_mask(&[0, 0, 0, 0, 0, 0, 5, 15, 0xf0], 0x0f, 0x81, [0x8f, 0x80, 0x8f, 0x8a])]
#[case::and(&[0, 0, 0, 0x08, 0, 0, 5, 15, 0xff], 0x0f, 0x81, [0x01, 0x00, 0x81, 0x80])]
#[case::or(&[0, 0, 0, 0x10, 0, 0, 5, 15, 0xff], 0x0f, 0x81, [0x8f, 0x81, 0xff, 0xab])]
#[case::exclusive_or(&[0, 0, 0, 0x18, 0, 0, 5, 15, 0xff], 0x0f, 0x81, [0x8e, 0x81, 0x7e, 0x2b])]
#[case::latches(&[0, 0, 0, 0, 0, 1, 5, 15, 0x00], 0x0f, 0x81, [0x0f, 0x00, 0xff, 0xaa])]
#[case::colour(&[0, 0, 0, 0, 0, 2, 5, 15, 0xff], 0x0f, 0x06, [0x00, 0xff, 0xff, 0x00])]
#[case::colour_with_mask(&[0, 0, 0, 0, 0, 2, 5, 15, 0x0f], 0x0f, 0x06, [0x00, 0x0f, 0xff, 0xa0])]
#[case::mask_written(&[0x05, 0, 0, 0, 0, 3, 5, 15, 0xff], 0x0f, 0xf0, [0xff, 0x00, 0xff, 0x0a])]
#[case::both_masks(&[0x05, 0, 0, 0, 0, 3, 5, 15, 0x3c], 0x0f, 0xf0, [0x3f, 0x00, 0xff, 0x8a])]
fn write_modes(#[case] graphics: &[u8], #[case] map_mask: u8, #[case] value: u8, #[case] expect: [u8; 4]) {
    let mut bench = Bench::planar();
    bench.memory.get_mut()[40..44].copy_from_slice(&[0x0f, 0x00, 0xff, 0xaa]);
    bench.peek(0xa_000a);
    bench.indexed(0x3ce, graphics);
    bench.out(0x3c4, &[2]);
    bench.out(0x3c5, &[map_mask]);
    bench.poke(0xa_000a, &[value]);
    assert_eq!(bench.memory.get_mut()[40..44], expect);
}

/// Reads of the planes 0Fh 00h FFh AAh.
#[rstest]
#[case::plane_0(&[0, 0, 0, 0, 0, 0], 0x0f, 0x0f)]
#[case::plane_3(&[0, 0, 0, 0, 3, 0], 0x0f, 0xaa)]
#[case::compare(&[0, 0, 0x04, 0, 0, 8], 0x0f, 0x50)]
#[case::compare_some(&[0, 0, 0x04, 0, 0, 8], 0x06, 0xff)]
#[case::compare_nothing(&[0, 0, 0x0b, 0, 0, 8], 0x00, 0xff)]
fn read_modes(#[case] graphics: &[u8], #[case] care: u8, #[case] expect: u8) {
    let mut bench = Bench::planar();
    bench.memory.get_mut()[40..44].copy_from_slice(&[0x0f, 0x00, 0xff, 0xaa]);
    bench.indexed(0x3ce, graphics);
    bench.out(0x3ce, &[7]);
    bench.out(0x3cf, &[care]);
    assert_eq!(bench.peek(0xa_000a), expect);
}

/// Where bytes written to the window land: memory map, sequencer memory mode, address, offset.
#[rstest]
#[case::text_even(0x0e, 0x02, 0xb_8002, Some(4))]
#[case::text_odd(0x0e, 0x02, 0xb_8003, Some(5))]
#[case::text_outside(0x0e, 0x02, 0xb_0000, None)]
#[case::monochrome(0x0a, 0x02, 0xb_0002, Some(4))]
#[case::chained(0x05, 0x0e, 0xa_0007, Some(7))]
#[case::chained_end(0x05, 0x0e, 0xa_ffff, Some(0xffff))]
#[case::outside(0x05, 0x0e, 0xb_0000, None)]
#[case::all(0x01, 0x0e, 0xb_ffff, Some(0x1_ffff))]
fn windows(
    #[case] memory_map: u8,
    #[case] memory_mode: u8,
    #[case] address: u64,
    #[case] expect: Option<usize>,
) {
    let mut bench = Bench::text();
    bench.out(0x3c4, &[2]);
    bench.out(0x3c5, &[0x0f]);
    bench.out(0x3c4, &[4]);
    bench.out(0x3c5, &[memory_mode]);
    bench.out(0x3ce, &[6]);
    bench.out(0x3cf, &[memory_map]);
    bench.poke(address, &[0x5a]);
    let found = bench.memory.get_mut().iter().position(|byte| *byte == 0x5a);
    assert_eq!(found, expect);
    let back = bench.peek(address);
    assert_eq!(back, if expect.is_some() { 0x5a } else { 0xff });
}

/// What of the window is plain memory.
#[rstest]
#[case::text(Bench::text(), &[], None)]
#[case::planes(Bench::planar(), &[], None)]
#[case::bytes(Bench::bytes(), &[], Some((0xa_0000, 0x1_0000, 0)))]
#[case::not_with_a_mask(Bench::bytes(), &[(0x3ce, 8), (0x3cf, 0x7f)], None)]
#[case::not_with_some_planes(Bench::bytes(), &[(0x3c4, 2), (0x3c5, 7)], None)]
fn direct(#[case] mut bench: Bench, #[case] writes: &[(u16, u8)], #[case] expect: Option<(u64, u64, u64)>) {
    writes.iter().for_each(|(port, value)| bench.out(*port, &[*value]));
    assert_eq!(bench.vga.direct().map(|direct| (direct.base, direct.length, direct.offset)), expect);
}

/// Width, height, bits, virtual width and offsets asked for, and what they become.
#[rstest]
#[case::vga([640, 480, 32, 0, 0, 0], [640, 480, 32, 640, 6553, 0, 0])]
#[case::whole_cells([645, 480, 8, 0, 0, 0], [640, 480, 8, 640, 26214, 0, 0])]
#[case::no_such_depth([640, 480, 12, 0, 0, 0], [640, 480, 8, 640, 26214, 0, 0])]
#[case::nothing([0, 0, 0, 0, 0, 0], [8, 1, 8, 8, 65535, 0, 0])]
#[case::too_high([1600, 12000, 32, 0, 0, 0], [1600, 2621, 32, 1600, 2621, 0, 0])]
#[case::panned([640, 480, 16, 1024, 100, 200], [640, 480, 16, 1024, 8192, 100, 200])]
#[case::panned_too_far([640, 480, 16, 1024, 500, 9000], [640, 480, 16, 1024, 8192, 384, 7712])]
fn display_interface(#[case] asked: [u16; 6], #[case] expect: [u64; 7]) {
    let [width, height, bpp, virtual_width, x, y] = asked;
    let mut bench = Bench::new();
    bench.dispi(&[(4, 0), (1, width), (2, height), (3, bpp), (4, 0x41)]);
    if virtual_width != 0 {
        bench.dispi(&[(6, virtual_width), (8, x), (9, y)]);
    }
    assert_eq!([1, 2, 3, 6, 7, 8, 9].map(|index| bench.dispi_read(index)), expect);
    // What is saved comes back as it was.
    let state = bench.vga.state().clone();
    let mut other = Vga::new(PCI);
    other.restore(state.clone());
    assert_eq!(other.state(), &state);
}

#[test]
fn display_interface_identifies_itself() {
    let mut bench = Bench::new();
    assert_eq!([0, 10, 11].map(|index| bench.dispi_read(index)), [0xb0c5, 0x100, 0]);
    bench.dispi(&[(0, 0xb0c2), (0, 0x1234), (4, 2)]);
    assert_eq!([0, 1, 2, 3].map(|index| bench.dispi_read(index)), [0xb0c2, 16000, 12000, 32]);
}

/// Enabling clears what will be shown, unless asked not to; the window is a bank of it.
#[test]
fn display_interface_banks() {
    let mut bench = Bench::new();
    assert_eq!(bench.dispi(&[(1, 800), (2, 600), (3, 24), (4, 0xc1)]), 0);
    assert_eq!(bench.dispi(&[(4, 0x40), (4, 0x41), (4, 0x41)]), 800 * 600 * 3);
    bench.dispi(&[(5, 3)]);
    assert_eq!(bench.vga.direct(), Some(Direct { base: 0xa_0000, length: 0x1_0000, offset: 0x3_0000 }));
    bench.poke(0xa_0010, &[0x77]);
    assert_eq!((bench.memory.get_mut()[0x3_0010], bench.peek(0xa_0010)), (0x77, 0x77));
    bench.dispi(&[(5, 0x103)]);
    assert_eq!(bench.vga.direct().map(|direct| direct.offset), Some(0x3_0000));
    bench.dispi(&[(4, 0)]);
    assert_eq!(bench.vga.direct(), None);
}

/// Base addresses, and what answers there.
#[rstest]
#[case::off(0, &[])]
#[case::on(2, &["vga.vram fd000000", "vga.mmio febf0000", "edid febf0000", "vga ioports remapped febf0400",
    "bochs dispi interface febf0500", "qemu extended regs febf0600", "vga.rom febe0000"])]
fn base_addresses(#[case] command: u32, #[case] expect: &[&str]) {
    let mut vga = Vga::new(PCI);
    for (bar, value) in [(0x10, 0xfd12_3456), (0x18, 0xfebf_0123), (0x30, 0xfebe_0001), (0x04, command)] {
        vga.config_write(bar, 4, value, &mut Effects::at(Moment(0)));
    }
    let regions = vga.regions();
    let found: Vec<String> = regions
        .iter()
        .filter(|region| region.space == Space::Memory && region.index != region::WINDOW)
        .map(|region| format!("{} {:x}", region.name, region.base))
        .collect();
    assert_eq!(found, expect);
    assert_eq!(vga.config_read(0x10, 4, &mut Effects::at(Moment(0))), 0xfd00_0008);
    vga.reset(ResetKind::System, &mut Effects::at(Moment(0)));
    assert_eq!([0x10, 0x30].map(|bar| vga.config_read(bar, 4, &mut Effects::at(Moment(0)))), [8, 0]);
}

/// The registers in memory are those at the ports.
#[test]
fn memory_mapped_registers() {
    let mut bench = Bench::text();
    let mut fx = bench.at();
    bench.vga.write(region::REGISTERS_DISPI, 2, 2, 1024, &mut fx);
    assert_eq!(bench.dispi_read(1), 1024);
    assert_eq!(bench.vga.read(region::REGISTERS_PORTS, 0x0c, 1, &mut fx), 0x67);
    assert_eq!(bench.vga.read(region::REGISTERS_EXTENDED, 0, 8, &mut fx), 0x1e1e_1e1e_0000_0008);
    bench.vga.write(region::REGISTERS_EXTENDED, 4, 4, 0xbebe_bebe, &mut fx);
    assert_eq!(bench.vga.read(region::REGISTERS_EXTENDED, 4, 4, &mut fx), 0xbebe_bebe);
    assert_eq!(bench.vga.read(region::REGISTERS, 0x900, 2, &mut fx), u64::MAX);
}

#[test]
fn text_is_read_from_the_start_address() {
    let mut bench = Bench::text();
    let put = |bench: &mut Bench, cell: u64, text: &str| {
        for (byte, at) in text.bytes().zip(cell..) {
            bench.poke(0xb_8000 + 2 * at, &[byte, 0x07]);
        }
    };
    put(&mut bench, 0, "above");
    put(&mut bench, 80, "first");
    put(&mut bench, 85, "\u{1}\u{0}end  ");
    put(&mut bench, 80 * 25, "last");
    bench.out(0x3d4, &[0x0d]);
    bench.out(0x3d5, &[80]);
    let text = bench.vga.text(&bench.memory());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[1], lines[24]), (25, "first☺ end", "", "last"));
    // Nothing is read off a dark screen, or from graphics.
    bench.input(0x3da);
    bench.out(0x3c0, &[0x00]);
    assert_eq!(bench.vga.text(&bench.memory()), "");
    let planar = Bench::planar();
    assert_eq!(planar.vga.text(&planar.memory()), "");
}

/// Character 1 has its first line F1h and the rest empty; the cursor is elsewhere.
fn with_glyph(code: u8, look: u8) -> Bench {
    let mut bench = Bench::text();
    bench.memory.get_mut()[usize::from(code) * 128 + 2] = 0xf1;
    bench.poke(0xb_8000, &[code, look]);
    bench.out(0x3d4, &[0x0f]);
    bench.out(0x3d5, &[1]);
    bench
}

/// The first ten dots of the first line: attribute numbers become palette registers.
#[rstest]
#[case::white(1, 0x07, &[], [7, 7, 7, 7, 0, 0, 0, 7, 0, 0])]
#[case::background(1, 0x12, &[], [2, 2, 2, 2, 1, 1, 1, 2, 1, 0])]
#[case::bit_7_blinks(1, 0x92, &[], [2, 2, 2, 2, 1, 1, 1, 2, 1, 0])]
#[case::bit_7_is_bright(1, 0x92, &[(0x3c0, 0x30), (0x3c0, 0x04)], [2, 2, 2, 2, 0x39, 0x39, 0x39, 2, 0x39, 0])]
#[case::line_graphics(0xc4, 0x07, &[], [7, 7, 7, 7, 0, 0, 0, 7, 7, 0])]
#[case::no_line_graphics(0xc4, 0x07, &[(0x3c0, 0x30), (0x3c0, 0x08)], [7, 7, 7, 7, 0, 0, 0, 7, 0, 0])]
#[case::eight_dots(1, 0x07, &[(0x3c4, 1), (0x3c5, 1), (0x3c0, 0x33), (0x3c0, 0)], [7, 7, 7, 7, 0, 0, 0, 7, 0, 0])]
#[case::panned(1, 0x07, &[(0x3c0, 0x33), (0x3c0, 2)], [7, 0, 0, 0, 7, 0, 0, 0, 0, 0])]
#[case::underlined(1, 0x01, &[(0x3d4, 0x14), (0x3d5, 0)], [1, 1, 1, 1, 1, 1, 1, 1, 1, 0])]
#[case::other_font(1, 0x0f, &[(0x3c4, 3), (0x3c5, 0x04)], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0])]
#[case::cursor(1, 0x07, &[(0x3d4, 0x0f), (0x3d5, 0), (0x3d4, 0x0a), (0x3d5, 0)], [7, 7, 7, 7, 7, 7, 7, 7, 7, 0])]
#[case::cursor_off(1, 0x07, &[(0x3d4, 0x0f), (0x3d5, 0), (0x3d4, 0x0a), (0x3d5, 0x20)],
    [7, 7, 7, 7, 0, 0, 0, 7, 0, 0])]
fn characters(#[case] code: u8, #[case] look: u8, #[case] writes: &[(u16, u8)], #[case] expect: [u8; 10]) {
    let mut bench = with_glyph(code, look);
    writes.iter().for_each(|(port, value)| bench.out(*port, &[*value]));
    assert_eq!(bench.reds(0, 0..10), expect);
}

#[rstest]
#[case::text(Bench::text(), (720, 400))]
#[case::bytes(Bench::bytes(), (640, 400))]
#[case::planes(Bench::planar(), (640, 480))]
#[case::nothing(Bench::new(), (720, 400))]
fn sizes(#[case] bench: Bench, #[case] expect: (u32, u32)) {
    let picture = bench.picture();
    assert_eq!((picture.width, picture.height), expect);
    assert_eq!(picture.pixels.len(), 3 * (expect.0 * expect.1) as usize);
}

#[test]
fn bytes_are_shown_twice_and_lines_too() {
    let mut bench = Bench::bytes();
    bench.memory.get_mut()[..2].copy_from_slice(&[5, 9]);
    bench.memory.get_mut()[320] = 7;
    assert_eq!(bench.reds(0, 0..6), [5, 5, 9, 9, 0, 0]);
    assert_eq!([1, 2, 3, 4].map(|line| bench.reds(line, 0..1)[0]), [5, 7, 7, 0]);
    // Panning counts half dots.
    bench.out(0x3c0, &[0x33, 0x02]);
    assert_eq!(bench.reds(0, 0..4), [9, 9, 0, 0]);
}

#[test]
fn planes_make_numbers_and_line_compare_begins_again() {
    let mut bench = Bench::planar();
    bench.memory.get_mut()[..4].copy_from_slice(&[0x80, 0x80, 0x40, 0xc0]);
    assert_eq!(bench.reds(0, 0..3), [0x3b, 0x3c, 0]);
    assert_eq!(bench.reds(101, 0..1), [0]);
    for (index, value) in [(0x07, 0x2e), (0x09, 0x00), (0x18, 100)] {
        bench.out(0x3d4, &[index]);
        bench.out(0x3d5, &[value]);
    }
    assert_eq!([100, 101, 102].map(|line| bench.reds(line, 0..1)[0]), [0, 0x3b, 0]);
}

/// A CGA's 320 x 200: two bits a dot, odd lines 8 KiB on.
#[test]
fn four_colours() {
    let mut bench = Bench::text();
    bench.indexed(0x3c4, &[0x03, 0x09, 0x03, 0x00, 0x02]);
    bench.indexed(0x3ce, &[0, 0, 0, 0, 0, 0x30, 0x0f, 0x0f, 0xff]);
    for (index, value) in [(0x11, 0x0e), (0x01, 0x27), (0x09, 0xc1), (0x13, 0x14), (0x17, 0xa2)] {
        bench.out(0x3d4, &[index]);
        bench.out(0x3d5, &[value]);
    }
    bench.out(0x3c0, &[0x30, 0x01, 0x33, 0x00]);
    bench.poke(0xb_8000, &[0x1b, 0xff]);
    bench.poke(0xb_a000, &[0x40]);
    assert_eq!(bench.reds(0, 0..10), [0, 0, 1, 1, 2, 2, 3, 3, 3, 3]);
    assert_eq!([1, 2, 3].map(|line| bench.reds(line, 0..4)), [[0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]);
}

/// A pixel of each depth: bytes, and the colour they are.
#[rstest]
#[case::palette(8, &[0x15], [0x55, 0xc3, 0x00])]
#[case::fifteen(15, &[0x1f, 0x40], [0x84, 0x00, 0xff])]
#[case::sixteen(16, &[0xe0, 0x07], [0x00, 0xff, 0x00])]
#[case::twenty_four(24, &[1, 2, 3], [3, 2, 1])]
#[case::thirty_two(32, &[1, 2, 3, 4], [3, 2, 1])]
fn depths(#[case] bpp: u16, #[case] bytes: &[u8], #[case] expect: [u8; 3]) {
    let mut bench = Bench::text();
    bench.dispi(&[(1, 16), (2, 4), (3, bpp), (4, 0x41), (6, 32), (8, 3), (9, 2)]);
    let at = (2 * 32 + 3) * bytes.len();
    bench.memory.get_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    let picture = bench.picture();
    assert_eq!((picture.width, picture.height), (16, 4));
    assert_eq!(picture.pixels[..3], expect);
}

/// Whatever is in the registers, nothing is out of bounds.
#[test]
fn any_registers() {
    let mut seed = 0x1234_5678_9abc_def1u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut bench = Bench::text();
    bench.memory.get_mut().resize(16 << 20, 0);
    for round in 0..60_000u32 {
        bench.now += random() & 0xff_ffff;
        let bits = random();
        let port = match bits & 3 {
            0 => 0x3b0 + (bits >> 8 & 15) as u16,
            1 => 0x3d0 + (bits >> 8 & 15) as u16,
            _ => 0x3c0 + (bits >> 8 & 15) as u16,
        };
        let known = [0x3b4, 0x3b5, 0x3ba, 0x3d4, 0x3d5, 0x3da].contains(&port) || port >> 4 == 0x3c;
        if known {
            bench.out(port, &[(bits >> 16) as u8]);
            bench.input(port);
        }
        bench.peek(0xa_0000 + (bits >> 24 & 0x1_ffff));
        bench.poke(0xa_0000 + (bits >> 24 & 0x1_ffff), &[bits as u8]);
        if bits >> 60 == 0 {
            bench.dispi(&[(random() as u16 % 12, random() as u16)]);
        }
        if round % 2000 == 0 {
            let small = bench.vga.state.dispi[1] < 1000 && bench.vga.state.dispi[2] < 1000;
            let _ = bench.vga.text(&bench.memory());
            if small {
                let picture = bench.picture();
                assert_eq!(picture.pixels.len(), 3 * (picture.width * picture.height) as usize);
            }
            let state = bench.vga.state().clone();
            let mut other = Vga::new(PCI);
            other.restore(state.clone());
            assert_eq!(other.state(), &state);
        }
    }
}
