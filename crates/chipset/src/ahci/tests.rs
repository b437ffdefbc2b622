use super::*;
use crate::disk::MemorySource;
use crate::replay::{Memory, pattern};
use proptest::prelude::*;
use rstest::rstest;
use std::sync::Arc;

/// Where the tests have things in memory.
const LIST: u64 = 0x1000;
const RECEIVE: u64 = 0x2000;
const TABLE: u64 = 0x3000;
const BUFFER: u64 = 0x1_0000;

const DISK: u8 = 0;
const CD: u8 = 2;
const ABSENT: u8 = 5;

/// Command header: data goes to the drive; a packet is there.
const WRITE: u16 = 1 << 6;
const ATAPI: u16 = 1 << 5;

struct Bench {
    chip: Ahci,
    memory: Memory,
    now: Moment,
    line: bool,
}

impl Bench {
    /// A disk at port 0, a CD at port 2; lists and receive areas set, interrupts on.
    fn new() -> Bench {
        let disk = |sectors: usize| Disk::new(Arc::new(MemorySource(pattern(sectors * 512).into())));
        let mut chip = Ahci::new();
        chip.attach(DISK, disk(2048), DriveKind::HardDisk);
        chip.attach(CD, disk(400), DriveKind::Cdrom);
        let mut bench = Bench { chip, memory: Memory(vec![0; 2 << 20]), now: Moment(0), line: false };
        bench.chip.config_write(ABAR, 4, 0xfebf_f000, &mut Effects::default());
        bench.chip.config_write(pci::COMMAND, 2, 0x107, &mut Effects::default());
        bench.put(GHC, 0x8000_0002);
        for port in [DISK, CD, ABSENT] {
            for (register, value) in
                [(0x00, LIST as u32), (0x08, RECEIVE as u32), (0x14, u32::MAX), (0x18, 0x17)]
            {
                bench.put(at(port, register), value);
            }
            bench.put(at(port, 0x10), u32::MAX);
        }
        bench
    }

    fn apply(&mut self, mut fx: Effects) {
        while std::mem::take(&mut fx.service) {
            self.chip.service(&mut self.memory, &mut fx);
        }
        self.line = fx.lines.last().map_or(self.line, |(_, level)| *level);
    }

    fn put(&mut self, offset: u64, value: u32) {
        let mut fx = Effects::at(self.now);
        self.chip.write(MEMORY, offset, 4, value.into(), &mut fx);
        self.apply(fx);
    }

    fn get(&mut self, offset: u64) -> u32 {
        self.chip.read(MEMORY, offset, 4, &mut Effects::at(self.now)) as u32
    }

    /// Time passes until nothing is due.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let Some(deadline) = self.chip.deadline() else { return };
            self.now = deadline;
            let mut fx = Effects::at(self.now);
            self.chip.on_deadline(&mut fx);
            self.apply(fx);
        }
        panic!("the controller is always busy");
    }

    /// Puts a command into slot 0: descriptors are (address, bytes).
    fn prepare(&mut self, flags: u16, frame: &[u8], packet: &[u8], descriptors: &[(u64, u32)]) {
        let mut header = Vec::new();
        header.extend((flags | 5).to_le_bytes());
        header.extend((descriptors.len() as u16).to_le_bytes());
        header.extend([0xff; 4]);
        header.extend(TABLE.to_le_bytes());
        self.memory.write(LIST, &header);
        self.memory.write(TABLE, &[0; 0x80]);
        self.memory.write(TABLE, frame);
        self.memory.write(TABLE + 0x40, packet);
        for (entry, (address, length)) in (TABLE + 0x80..).step_by(16).zip(descriptors) {
            self.memory.write(entry, &address.to_le_bytes());
            self.memory.write(entry + 12, &length.wrapping_sub(1).to_le_bytes());
        }
    }

    fn run(&mut self, port: u8) {
        self.put(at(port, 0x38), 1);
        self.settle();
    }

    fn bytes(&mut self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read(address, &mut bytes);
        bytes
    }
}

fn at(port: u8, register: u64) -> u64 {
    PORT_REGISTERS + u64::from(port) * PORT_LENGTH + register
}

/// A command frame: command, features, LBA, count.
fn frame(command: u8, feature: u8, address: u64, count: u16) -> [u8; 20] {
    let [a, b, c, d, e, f, ..] = address.to_le_bytes();
    let [low, high] = count.to_le_bytes();
    [0x27, 0x80, command, feature, a, b, c, 0xe0, d, e, f, 0, low, high, 0, 0, 0, 0, 0, 0]
}

/// COMMAND bit 10 keeps INTA# deasserted, whenever it is set.
#[test]
fn interrupt_disable() {
    let mut bench = Bench::new();
    bench.prepare(0, &frame(0xec, 0, 0, 0), &[], &[(BUFFER, 512)]);
    let command = |bench: &mut Bench, value: u32| {
        let mut fx = Effects::at(bench.now);
        bench.chip.config_write(pci::COMMAND, 2, value, &mut fx);
        bench.apply(fx);
        bench.line
    };
    command(&mut bench, 0x507);
    bench.run(DISK);
    assert!(!bench.line, "disabled before");
    assert!(command(&mut bench, 0x107), "enabled with a cause");
    assert!(!command(&mut bench, 0x507), "disabled with a cause");
}

/// As QEMU 7.2 has them after SeaBIOS.
#[rstest]
#[case::capabilities(CAP, 0xc014_1f05)]
#[case::ports(PI, 0x3f)]
#[case::version(VS, 0x0001_0000)]
#[case::disk_signature(at(DISK, 0x24), 0x0000_0101)]
#[case::cd_signature(at(CD, 0x24), 0xeb14_0101)]
#[case::no_signature(at(ABSENT, 0x24), 0xffff_ffff)]
#[case::disk_link(at(DISK, 0x28), 0x113)]
#[case::no_link(at(ABSENT, 0x28), 0)]
#[case::disk_task_file(at(DISK, 0x20), 0x0130)]
#[case::no_task_file(at(ABSENT, 0x20), 0x7f)]
#[case::command(at(DISK, 0x18), 0xc017)]
#[case::beyond_the_ports(at(6, 0x18), 0)]
fn registers(#[case] offset: u64, #[case] expect: u32) {
    assert_eq!(Bench::new().get(offset), expect);
}

#[test]
fn index_ports_reach_the_registers() {
    let mut bench = Bench::new();
    let mut fx = Effects::default();
    bench.chip.write(PORTS_BY_INDEX, INDEX, 4, at(CD, 0x24) | 3, &mut fx);
    assert_eq!(bench.chip.read(PORTS_BY_INDEX, DATA, 4, &mut fx), 0xeb14_0101);
    assert_eq!(bench.chip.read(PORTS_BY_INDEX, INDEX, 4, &mut fx), at(CD, 0x24));
}

/// What a command leaves: bytes counted, task file, causes of interrupt.
#[rstest]
#[case::identify(DISK, 0, frame(0xec, 0, 0, 0), &[], 512, (512, 0x50, 0x03))]
#[case::identify_packet(CD, 0, frame(0xa1, 0, 0, 0), &[], 512, (512, 0x50, 0x03))]
#[case::wrong_drive(CD, 0, frame(0xec, 0, 0, 0), &[], 512, (0, 0x0441, 0x4000_0001))]
#[case::unknown(DISK, 0, frame(0xff, 0, 0, 0), &[], 512, (0, 0x0441, 0x4000_0001))]
#[case::flush(DISK, 0, frame(0xe7, 0, 0, 0), &[], 512, (0, 0x50, 0x01))]
#[case::read_dma(DISK, 0, frame(0x25, 0, 7, 3), &[], 1536, (1536, 0x50, 0x01))]
#[case::read_pio(DISK, 0, frame(0x24, 0, 7, 3), &[], 1536, (1536, 0x50, 0x03))]
#[case::write_pio(DISK, WRITE, frame(0x34, 0, 7, 3), &[], 1536, (1536, 0x50, 0x03))]
#[case::read_past_end(DISK, 0, frame(0x25, 0, 2047, 2), &[], 1024, (0, 0x0441, 0x4000_0001))]
#[case::too_few_descriptors(DISK, 0, frame(0x25, 0, 7, 3), &[], 1024, (0, 0x50, 0x01))]
#[case::packet_dma(CD, ATAPI, frame(0xa0, 1, 0, 0), &[0x28, 0, 0, 0, 0, 9, 0, 0, 2, 0, 0, 0], 4096, (4096, 0x50, 0x01))]
#[case::packet_pio(CD, ATAPI, frame(0xa0, 0, 0xff00, 0), &[0x28, 0, 0, 0, 0, 9, 0, 0, 2, 0, 0, 0], 4096, (4096, 0x50, 0x03))]
#[case::packet_fails(CD, ATAPI, frame(0xa0, 0, 0xff00, 0), &[0x5d; 12], 512, (0, 0x5041, 0x4000_0001))]
#[case::packet_too_long(CD, ATAPI, frame(0xa0, 1, 0, 0), &[0x28, 0, 0, 0, 0, 9, 0, 0, 2, 0, 0, 0], 2048, (2048, 0x50, 0x0100_0001))]
fn command(
    #[case] port: u8,
    #[case] flags: u16,
    #[case] frame: [u8; 20],
    #[case] packet: &[u8],
    #[case] length: u32,
    #[case] expect: (u32, u32, u32),
) {
    let mut bench = Bench::new();
    bench.prepare(flags, &frame, packet, &[(BUFFER, length)]);
    bench.run(port);
    let count = bench.bytes(LIST + 4, 4);
    let count = u32::from_le_bytes([count[0], count[1], count[2], count[3]]);
    let found = (count, bench.get(at(port, 0x20)), bench.get(at(port, 0x10)));
    assert_eq!(found, expect, "{found:#x?}");
    assert_eq!((bench.get(at(port, 0x38)), bench.get(IS), bench.line), (0, 1 << port, true));
    bench.put(at(port, 0x10), u32::MAX);
    assert_eq!((bench.get(IS), bench.line), (0, false));
}

/// A packet command that reads more than 4 MiB takes the disc's time again for each further piece.
#[test]
fn much_of_a_disc_comes_in_pieces() {
    const BLOCKS: u16 = 2500;
    const STRETCH: u32 = 1 << 20;
    let mut bench = Bench::new();
    let image = pattern(usize::from(BLOCKS) * 2048);
    let disc = Disk::new(Arc::new(MemorySource(image.clone().into())));
    let latency = disc.done_at(Moment(0)).0;
    bench.chip.attach(CD, disc, DriveKind::Cdrom);
    let [high, low] = BLOCKS.to_be_bytes();
    let packet = [0x28, 0, 0, 0, 0, 0, 0, high, low, 0, 0, 0];
    bench.prepare(ATAPI, &frame(0xa0, 1, 0, 0), &packet, &[(BUFFER, STRETCH); 5]);
    bench.put(at(CD, 0x38), 1);
    let before = bench.now.0;
    bench.settle();
    assert_eq!((bench.now.0 - before) / latency, 2);
    let count = u32::from_le_bytes(bench.bytes(LIST + 4, 4).try_into().expect("four bytes"));
    assert_eq!((count as usize, bench.get(at(CD, 0x38))), (image.len(), 0));
    let last = &image[4 * STRETCH as usize..];
    assert_eq!(bench.bytes(BUFFER, last.len()), last);
}

/// Data lies where the descriptors say, whichever way it goes.
#[rstest]
#[case::dma(0x35, 0x25, 0)]
#[case::pio(0x34, 0x24, 0)]
#[case::multiple(0x39, 0x29, 0)]
#[case::queued(0x61, 0x60, 5)]
fn data_goes_out_and_comes_back(#[case] write: u8, #[case] read: u8, #[case] tag: u16) {
    let mut bench = Bench::new();
    let data: Vec<u8> = pattern(9 * 512).iter().map(|byte| !byte).collect();
    // Three stretches, none of whole sectors; queued commands have count and tag changed about.
    let stretches = [(BUFFER, 1000), (BUFFER + 0x2001, 7), (BUFFER + 0x4000, 9 * 512 - 1007)];
    let queued = |command| {
        if tag == 0 { frame(command, 0, 100, 9) } else { frame(command, 9, 100, tag << 3) }
    };
    let mut from = 0;
    for (address, length) in stretches {
        bench.memory.write(address, &data[from..from + length as usize]);
        from += length as usize;
    }
    bench.prepare(WRITE, &queued(write), &[], &stretches);
    bench.put(at(DISK, 0x34), 1 << tag);
    bench.run(DISK);
    bench.memory.0[BUFFER as usize..].fill(0);
    bench.prepare(0, &queued(read), &[], &stretches);
    bench.put(at(DISK, 0x34), 1 << tag);
    bench.run(DISK);
    let back: Vec<u8> =
        stretches.iter().flat_map(|(address, length)| bench.bytes(*address, *length as usize)).collect();
    assert!(back == data);
    assert_eq!(bench.get(at(DISK, 0x38)), 0);
    if tag != 0 {
        assert_eq!(bench.get(at(DISK, 0x34)), 0);
        assert_eq!(bench.bytes(RECEIVE + 0x58, 8), [0xa1, 0x40, 0x50, 0, 0x20, 0, 0, 0]);
    }
    // The medium has it, not only memory.
    let overlay = bench.chip.overlay(DISK).expect("a disk");
    assert!(!overlay.is_empty());
}

#[test]
fn frames_of_a_pio_read() {
    let mut bench = Bench::new();
    bench.prepare(0, &frame(0xec, 0, 0, 0), &[], &[(BUFFER, 512)]);
    bench.run(DISK);
    let setup = bench.bytes(RECEIVE + 0x20, 20);
    assert_eq!((setup[0], setup[1], setup[2], &setup[15..18]), (0x5f, 0x40, 0x58, &[0x58, 0, 2][..]));
    assert_eq!(bench.bytes(RECEIVE + 0x40, 3), [0x34, 0x40, 0x50]);
    // Serial numbers count two drives per port; the drive takes 32 queued commands.
    let identify = bench.bytes(BUFFER, 512);
    assert_eq!((&identify[20..28], identify[150], identify[153]), (&b"MQ0000 1"[..], 31, 1));
}

#[test]
fn software_reset_sends_the_signature_again() {
    let mut bench = Bench::new();
    for control in [4, 0] {
        let mut reset = frame(0, 0, 0, 0);
        (reset[1], reset[15]) = (0, control);
        bench.prepare(0, &reset, &[], &[]);
        bench.put(at(CD, 0x24), 0);
        bench.run(CD);
    }
    assert_eq!((bench.get(at(CD, 0x20)), bench.get(at(CD, 0x24))), (0x0170, 0xeb14_0101));
}

#[rstest]
#[case::port(&[(at(DISK, 0x2c), 1), (at(DISK, 0x2c), 0)], 0xc017, 0x0130)]
#[case::controller(&[(GHC, 1)], 0x0006, 0x007f)]
fn resets_end_what_runs(#[case] writes: &[(u64, u32)], #[case] command: u32, #[case] task_file: u32) {
    let mut bench = Bench::new();
    bench.prepare(0, &frame(0x25, 0, 7, 3), &[], &[(BUFFER, 1536)]);
    bench.put(at(DISK, 0x38), 1);
    assert!(bench.chip.deadline().is_some());
    for (offset, value) in writes {
        bench.put(*offset, *value);
    }
    assert_eq!(bench.chip.deadline(), None);
    assert_eq!((bench.get(at(DISK, 0x18)), bench.get(at(DISK, 0x20))), (command, task_file));
    assert_eq!(bench.bytes(BUFFER, 4), [0; 4]);
}

#[test]
fn power_goes_and_the_medium_stays() {
    let mut bench = Bench::new();
    bench.prepare(WRITE, &frame(0x35, 0, 7, 1), &[], &[(BUFFER, 512)]);
    bench.run(DISK);
    bench.chip.reset(ResetKind::PowerOn, &mut Effects::default());
    let overlay = bench.chip.overlay(DISK).expect("a disk");
    assert!(!overlay.is_empty());
    let mut new = Ahci::new();
    new.restore(State { ports: Default::default(), ..bench.chip.state().clone() });
    assert_eq!(new.state().config, bench.chip.state().config);
    assert!(bench.chip.regions().is_empty());
}

#[test]
fn without_bus_mastering_nothing_moves() {
    let mut bench = Bench::new();
    bench.prepare(0, &frame(0x25, 0, 7, 1), &[], &[(BUFFER, 512)]);
    bench.chip.config_write(pci::COMMAND, 2, 0x103, &mut Effects::default());
    bench.run(DISK);
    assert_eq!(bench.bytes(BUFFER, 16), [0; 16]);
}

#[test]
fn message_instead_of_a_line() {
    let mut bench = Bench::new();
    for (register, value) in [(MSI_CONTROL, 1), (MSI_ADDRESS, 0xfee0_1000), (MSI_DATA, 0x41)] {
        bench.chip.config_write(register, 2, value & 0xffff, &mut Effects::default());
        bench.chip.config_write(register + 2, 2, value >> 16, &mut Effects::default());
    }
    bench.chip.state.ports[0].interrupt_status = 1;
    let mut fx = Effects::default();
    bench.chip.write(MEMORY, GHC, 4, 0x8000_0002, &mut fx);
    let message = fx.messages.first().expect("a message");
    assert_eq!((message.destination, message.vector, message.mode, fx.lines.len()), (1, 0x41, 0, 0));
}

#[test]
fn moments_shift() {
    let mut bench = Bench::new();
    bench.prepare(0, &frame(0x25, 0, 7, 3), &[], &[(BUFFER, 1536)]);
    bench.put(at(DISK, 0x38), 1);
    let due = bench.chip.deadline().expect("a read");
    bench.chip.shift_time(500);
    assert_eq!(bench.chip.deadline(), Some(due.after(500)));
}

proptest! {
    /// Whatever a guest writes, into registers and into its lists, the controller comes to rest.
    #[test]
    fn any_guest(
        writes in prop::collection::vec((0_u64..0x400, any::<u32>()), 0..40),
        flags in any::<u16>(),
        frame in prop::collection::vec(any::<u8>(), 18),
        command in prop::sample::select(vec![0x25_u8, 0x35, 0xa0, 0xec, 0x60, 0x61, 0xc4, 0x24, 0x34, 0x06, 0x08, 0x90]),
        packet in prop::collection::vec(any::<u8>(), 12),
        descriptors in prop::collection::vec((any::<u64>(), any::<u32>()), 0..20),
        port in prop::sample::select(vec![DISK, CD, ABSENT]),
    ) {
        let mut bench = Bench::new();
        let mut whole = vec![0x27, 0x80, command];
        whole.extend(&frame[3..]);
        bench.prepare(flags, &whole, &packet, &descriptors);
        bench.run(port);
        for (offset, value) in writes {
            bench.put(offset & !3, value);
            let _ = bench.get(offset);
        }
        bench.settle();
        let text = serde_json::to_string(bench.chip.state()).unwrap();
        bench.chip.restore(serde_json::from_str(&text).unwrap());
        bench.chip.reset(ResetKind::System, &mut Effects::default());
        prop_assert_eq!(bench.chip.deadline(), None);
    }
}
