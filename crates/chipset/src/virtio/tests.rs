use std::sync::Arc;

use proptest::prelude::*;
use rstest::rstest;

use super::{blk::Blk, rng::Rng, *};
use crate::{
    disk::{Disk, MemorySource},
    replay::{Memory, pattern},
};

/// Where the tests have things in memory.
const PAGE: u64 = 0x1_0000;
const TABLE: u64 = 0x2_0000;
const HEADER: u64 = 0x3_0000;
const DATA: u64 = 0x4_0000;
const OUTCOME: u64 = 0x5_0000;
/// And in the address spaces.
const PORTS: u32 = 0xc000;
const MSIX: u32 = 0xfebf_0000;
const MODERN: u32 = 0xfebf_4000;

const SECTORS: usize = 64;
const DRIVER_IS_FINE: u8 = 0x0f;

const FACTS: Facts = Facts {
    interface: Interface::Transitional,
    discard: true,
    blk_queue_size: 256,
    blk_queue_each: true,
    queue_reset: true,
    page_per_queue: false,
    rng_any_layout: true,
    rng_msix: true,
};

fn facts(interface: Interface) -> Facts {
    Facts { interface, ..FACTS }
}

fn disk() -> Disk {
    Disk::new(Arc::new(MemorySource(pattern(SECTORS * 512).into())))
}

struct Bench<F: Function> {
    chip: Virtio<F>,
    memory: Memory,
    now: Moment,
    line: bool,
    messages: Vec<u8>,
    available: u16,
}

/// A descriptor: address, length, flags, next.
type Descriptor = (u64, u32, u16, u16);

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

impl<F: Function> Bench<F> {
    /// A device with its ranges mapped and its queue set up, by the interface it has.
    fn new(function: F, facts: Facts) -> Bench<F> {
        let chip = Virtio::new(function, facts);
        let memory = Memory(vec![0; 2 << 20]);
        let mut bench =
            Bench { chip, memory, now: Moment(0), line: false, messages: Vec::new(), available: 0 };
        for (register, value) in [(LEGACY_BAR, PORTS), (MSIX_BAR, MSIX), (MODERN_BAR, MODERN)] {
            bench.chip.config_write(register, 4, value, &mut Effects::default());
        }
        bench.chip.config_write(pci::COMMAND, 2, 7, &mut Effects::default());
        bench.start(0);
        bench
    }

    /// Sets the queue up and says that the driver works, with `features` of the lower half.
    fn start(&mut self, features: u64) {
        self.available = 0;
        self.memory.write(PAGE, &[0; 0x4000]);
        let modern = self.chip.facts.interface.is_modern();
        let (index, status) = if modern { (range::COMMON, 0x14) } else { (range::LEGACY, 0x12) };
        self.put(index, status, 0);
        if modern {
            for (select, half) in [(0, features), (1, 1)] {
                self.put(range::COMMON, 0x08, select);
                self.put(range::COMMON, 0x0c, half);
            }
            let size = u64::from(self.chip.state.queues[0].queue_size);
            let device = (PAGE + 18 * size + 6).next_multiple_of(4096);
            for (register, address) in [(0x20, PAGE), (0x28, PAGE + 16 * size), (0x30, device)] {
                self.put(range::COMMON, register, address);
            }
            self.put(range::COMMON, 0x1c, 1);
            self.put(range::COMMON, 0x14, DRIVER_IS_FINE.into());
        } else {
            self.put(range::LEGACY, 0x04, features);
            self.put(range::LEGACY, 0x08, PAGE >> 12);
            self.put(range::LEGACY, 0x12, DRIVER_IS_FINE.into());
        }
    }

    fn apply(&mut self, mut fx: Effects) {
        while std::mem::take(&mut fx.service) {
            self.chip.service(&mut self.memory, &mut fx);
        }
        self.line = fx.lines.last().map_or(self.line, |(_, level)| *level);
        self.messages.extend(fx.messages.iter().map(|message| message.vector));
    }

    fn put(&mut self, index: u8, offset: u64, value: u64) {
        let mut fx = Effects::at(self.now);
        let size = if index == range::MSIX { 4 } else { 2 };
        self.chip.write(index, offset, size, value, &mut fx);
        self.apply(fx);
    }

    fn get(&mut self, index: u8, offset: u64, size: u8) -> u64 {
        let mut fx = Effects::at(self.now);
        let value = self.chip.read(index, offset, size, &mut fx);
        self.apply(fx);
        value & (u64::MAX >> (64 - 8 * u32::from(size)))
    }

    /// Puts descriptors into the table at `table`.
    fn describe(&mut self, table: u64, descriptors: &[Descriptor]) {
        for (place, (address, length, flags, next)) in (table..).step_by(16).zip(descriptors) {
            self.memory.write(place, &address.to_le_bytes());
            self.memory.write(place + 8, &length.to_le_bytes());
            self.memory.write(place + 12, &flags.to_le_bytes());
            self.memory.write(place + 14, &next.to_le_bytes());
        }
    }

    /// Makes the chain that begins at `head` available, without a word to the device.
    fn offer(&mut self, head: u16) {
        let queue = &self.chip.state.queues[0];
        let (driver, size) = (queue.queue_driver, queue.queue_size.max(1));
        self.memory.write(driver + 4 + 2 * u64::from(self.available % size), &head.to_le_bytes());
        self.available = self.available.wrapping_add(1);
        self.memory.write(driver + 2, &self.available.to_le_bytes());
    }

    fn notify(&mut self) {
        let modern = self.chip.facts.interface.is_modern();
        let (index, offset) = if modern { (range::NOTIFY, 0) } else { (range::LEGACY, 0x10) };
        self.put(index, offset, 0);
    }

    /// Time passes until nothing is due; gives how often something was.
    fn settle(&mut self) -> usize {
        for times in 0..10_000 {
            let Some(deadline) = self.chip.deadline() else { return times };
            self.now = deadline;
            let mut fx = Effects::at(self.now);
            self.chip.on_deadline(&mut fx);
            self.apply(fx);
        }
        panic!("the device is always busy");
    }

    fn run(&mut self, head: u16) {
        self.offer(head);
        self.notify();
        self.settle();
    }

    fn bytes(&mut self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read(address, &mut bytes);
        bytes
    }

    /// The last entry of the used ring: head and bytes written.
    fn used(&mut self) -> (u32, u32) {
        let queue = &self.chip.state.queues[0];
        let last = queue.used_index.wrapping_sub(1) % queue.queue_size;
        let place = queue.queue_device + 4 + 8 * u64::from(last);
        let bytes = self.bytes(place, 8);
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        (word(0), word(4))
    }

    fn needs_reset(&self) -> bool {
        self.chip.state.device_status & DEVICE_NEEDS_RESET != 0
    }
}

impl Bench<Blk> {
    /// The header of a request.
    fn header(&mut self, kind: u32, sector: u64) {
        self.memory.write(HEADER, &kind.to_le_bytes());
        self.memory.write(HEADER + 8, &sector.to_le_bytes());
        self.memory.write(OUTCOME, &[0xaa]);
    }
}

/// A request in three descriptors: `data` bytes that the device reads or writes.
fn request(data: u32, write: bool) -> Vec<Descriptor> {
    let flags = if write { NEXT | WRITE } else { NEXT };
    let mut chain = vec![(HEADER, 16, NEXT, 1), (DATA, data, flags, 2), (OUTCOME, 1, WRITE, 0)];
    if data == 0 {
        chain.remove(1);
    }
    chain
}

/// What a request of `kind` gives: its outcome and how many bytes are said to be written.
fn check(interface: Interface, (kind, sector): (u32, u64), chain: &[Descriptor], outcome: u8, written: u32) {
    let mut bench = Bench::new(Blk::new(disk(), 1), facts(interface));
    bench.header(kind, sector);
    bench.memory.write(DATA, &[0x5a; 1024]);
    bench.describe(PAGE, chain);
    bench.run(0);
    assert_eq!((bench.bytes(OUTCOME, 1), bench.used()), (vec![outcome], (0, written)));
    assert!(bench.line && !bench.needs_reset());
    let index = if interface.is_modern() { (range::ISR, 0) } else { (range::LEGACY, LEGACY_ISR) };
    assert_eq!(bench.get(index.0, index.1, 1), 1);
    assert!(!bench.line);
    // What was read is what is on the disk, and what was written is there afterwards.
    let first = sector.wrapping_mul(512) as usize;
    match kind {
        0 if outcome == 0 => {
            let data = chain[1].1 as usize;
            assert_eq!(bench.bytes(DATA, data), pattern(SECTORS * 512)[first..first + data]);
        }
        1 | 13 if outcome == 0 => {
            let fill = if kind == 1 { 0x5a } else { 0 };
            let (at, bytes) = bench.chip.function.overlay().written().next().expect("a cluster");
            assert_eq!(bytes[first - at as usize..][..512], [fill; 512]);
        }
        _ => assert!(bench.chip.function.overlay().is_empty()),
    }
}

#[rstest]
#[case::read((0, 3), request(1024, true), 0, 1025)]
#[case::read_last((0, 63), request(512, true), 0, 513)]
#[case::read_past_the_end((0, 63), request(1024, true), 1, 1025)]
#[case::read_far_away((0, u64::MAX / 256), request(512, true), 1, 513)]
#[case::read_no_sector((0, 0), request(100, true), 1, 101)]
#[case::read_with_barrier((0x8000_0000, 3), request(1024, true), 0, 1025)]
#[case::write((1, 5), request(512, false), 0, 1)]
#[case::write_past_the_end((1, 64), request(512, false), 1, 1)]
#[case::write_part((1, 0), request(513, false), 1, 1)]
#[case::flush((4, 0), vec![(HEADER, 16, NEXT, 1), (OUTCOME, 1, WRITE, 0)], 0, 1)]
#[case::identify((8, 0), request(20, true), 0, 21)]
#[case::unknown((6, 0), request(512, true), 2, 513)]
#[case::scsi((2, 0), request(512, true), 2, 513)]
#[case::discard_of_a_wrong_length((11, 0), request(20, false), 1, 1)]
#[case::discard_with_unknown_flags((11, 0), request(16, false), 2, 1)]
#[case::header_in_pieces((4, 0), vec![(HEADER, 7, NEXT, 1), (HEADER + 7, 9, NEXT, 2), (OUTCOME, 1, WRITE, 0)], 0, 1)]
fn requests(
    #[values(Interface::Legacy, Interface::Transitional, Interface::Modern)] interface: Interface,
    #[case] asked: (u32, u64),
    #[case] chain: Vec<Descriptor>,
    #[case] outcome: u8,
    #[case] written: u32,
) {
    let mut chain = chain;
    // Without data the outcome's descriptor is the second.
    if let [_, last] = chain.as_mut_slice() {
        last.3 = 0;
    }
    check(interface, asked, &chain, outcome, written);
}

#[rstest]
#[case::zeros(13, 1, 2, 0, 0)]
#[case::zeros_that_may_unmap(13, 1, 2, 1, 0)]
#[case::zeros_past_the_end(13, 63, 2, 0, 1)]
#[case::discard(11, 1, 2, 0, 0)]
#[case::discard_too_long(11, 0, 0x40_0000, 0, 1)]
#[case::discard_unmapping(11, 1, 2, 1, 2)]
fn ranges(
    #[case] kind: u32,
    #[case] sector: u64,
    #[case] count: u32,
    #[case] flags: u32,
    #[case] outcome: u8,
) {
    let mut bench = Bench::new(Blk::new(disk(), 1), FACTS);
    bench.header(kind, 0);
    bench.memory.write(DATA, &sector.to_le_bytes());
    bench.memory.write(DATA + 8, &count.to_le_bytes());
    bench.memory.write(DATA + 12, &flags.to_le_bytes());
    bench.describe(PAGE, &request(16, false));
    bench.run(0);
    assert_eq!(bench.bytes(OUTCOME, 1), [outcome]);
    let mut bytes = [1; 2048];
    let function = &bench.chip.function;
    disk().read(function.overlay(), 0, &mut bytes).expect("read");
    let filled = kind == 13 && outcome == 0;
    let mut expect = pattern(2048);
    expect[512..1536].iter_mut().for_each(|byte| *byte = if filled { 0 } else { *byte });
    assert_eq!(bytes[..], expect[..]);
}

#[test]
fn a_protected_disk_says_so_and_refuses() {
    let mut bench = Bench::new(Blk::new(disk().with_read_only(true), 1), FACTS);
    assert_ne!(bench.get(range::LEGACY, 0, 4) & 1 << 5, 0);
    bench.header(1, 0);
    bench.describe(PAGE, &request(512, false));
    bench.run(0);
    assert_eq!(bench.bytes(OUTCOME, 1), [1]);
}

#[test]
fn indirect_descriptors_are_followed() {
    let mut bench = Bench::new(Blk::new(disk(), 1), FACTS);
    bench.header(0, 2);
    bench.describe(TABLE, &request(512, true));
    bench.describe(PAGE + 16 * 7, &[(TABLE, 48, INDIRECT, 0)]);
    bench.run(7);
    assert_eq!((bench.bytes(OUTCOME, 1), bench.used()), (vec![0], (7, 513)));
    assert_eq!(bench.bytes(DATA, 512), pattern(2048)[1024..1536]);
}

/// What no driver may do: the device stops until its reset, tells a modern driver, and works after it.
#[rstest]
#[case::head_outside(&[], 256)]
#[case::next_outside(&[(HEADER, 16, NEXT, 256)], 0)]
#[case::a_loop(&[(HEADER, 16, NEXT, 0)], 0)]
#[case::nothing(&[(HEADER, 0, 0, 0)], 0)]
#[case::read_after_write(&[(HEADER, 16, NEXT | WRITE, 1), (DATA, 16, 0, 0)], 0)]
#[case::no_header(&[(OUTCOME, 1, WRITE, 0)], 0)]
#[case::short_header(&[(HEADER, 15, NEXT, 1), (OUTCOME, 1, WRITE, 0)], 0)]
#[case::no_outcome(&[(HEADER, 16, 0, 0)], 0)]
#[case::no_table(&[(TABLE, 0, INDIRECT, 0)], 0)]
#[case::half_a_table(&[(TABLE, 24, INDIRECT, 0)], 0)]
#[case::huge_table(&[(TABLE, 0xffff_fff0, INDIRECT, 0)], 0)]
#[case::table_in_a_table(&[(PAGE, 16, INDIRECT, 0)], 0)]
#[case::table_of_nothing(&[(TABLE, 32, INDIRECT, 0)], 0)]
fn broken(
    #[values(Interface::Legacy, Interface::Modern)] interface: Interface,
    #[case] chain: &[Descriptor],
    #[case] head: u16,
) {
    let mut bench = Bench::new(Blk::new(disk(), 1), facts(interface));
    let before = bench.chip.state.queues[0].used_index;
    bench.describe(PAGE, chain);
    bench.run(head);
    assert!(bench.needs_reset());
    assert_eq!(bench.chip.state.queues[0].used_index, before);
    assert_eq!(
        (bench.line, bench.chip.state.isr),
        if interface.is_modern() { (true, 3) } else { (false, 0) }
    );
    // Nothing more is looked at, whatever the driver says; the bit is the device's.
    let (index, status) = if interface.is_modern() { (range::COMMON, 0x14) } else { (range::LEGACY, 0x12) };
    bench.put(index, status, DRIVER_IS_FINE.into());
    assert!(bench.needs_reset());
    // A legacy driver does not see it.
    let seen = bench.get(index, status, 1) & u64::from(DEVICE_NEEDS_RESET) != 0;
    assert_eq!(seen, interface.is_modern());
    bench.run(0);
    assert_eq!(bench.chip.state.queues[0].used_index, before);
    bench.put(index, status, 0);
    assert!(!bench.needs_reset() && !bench.line);
    bench.start(0);
    bench.header(0, 1);
    bench.describe(PAGE, &request(512, true));
    bench.run(0);
    assert_eq!(bench.bytes(OUTCOME, 1), [0]);
}

#[rstest]
#[case::too_far_ahead(257, true)]
#[case::backwards(0xffff, true)]
#[case::all_at_once(256, false)]
fn available_index(#[case] index: u16, #[case] broken: bool) {
    let mut bench = Bench::new(Blk::new(disk(), 1), FACTS);
    bench.header(4, 0);
    bench.describe(PAGE, &[(HEADER, 16, NEXT, 1), (OUTCOME, 1, WRITE, 0)]);
    let driver = bench.chip.state.queues[0].queue_driver;
    bench.memory.write(driver + 2, &index.to_le_bytes());
    bench.notify();
    let services = bench.settle();
    assert_eq!((bench.needs_reset(), services), (broken, if broken { 1 } else { 256 }));
}

#[test]
fn data_where_no_memory_is_and_around_the_end_of_addresses() {
    for address in [0x1000_0000, u64::MAX - 100] {
        let mut bench = Bench::new(Blk::new(disk(), 1), FACTS);
        bench.header(1, 0);
        bench.describe(PAGE, &[(HEADER, 16, NEXT, 1), (address, 512, NEXT, 2), (OUTCOME, 1, WRITE, 0)]);
        bench.run(0);
        assert_eq!(bench.bytes(OUTCOME, 1), [0], "{address:#x}");
    }
    let mut bench = Bench::new(Blk::new(disk(), 1), FACTS);
    bench.header(0, 0);
    bench.describe(PAGE, &[(HEADER, 16, NEXT, 1), (DATA, u32::MAX, NEXT | WRITE, 2), (OUTCOME, 1, WRITE, 0)]);
    bench.run(0);
    assert_eq!(bench.bytes(OUTCOME, 1), [1]);
}

/// When the driver is interrupted: flags of the available ring or the index it waits for.
#[rstest]
#[case::always(0, 0, 0, true)]
#[case::never(0, 1, 0, false)]
#[case::never_but_when_empty(NOTIFY_ON_EMPTY, 1, 0, true)]
#[case::for_this_one(EVENT_IDX, 0, 1, true)]
#[case::for_a_later_one(EVENT_IDX, 0, 2, false)]
fn interrupts(#[case] features: u64, #[case] flags: u16, #[case] event: u16, #[case] expect: bool) {
    let mut bench = Bench::new(Blk::new(disk(), 1), facts(Interface::Legacy));
    bench.start(features);
    bench.header(4, 0);
    bench.describe(PAGE, &[(HEADER, 16, NEXT, 1), (OUTCOME, 1, WRITE, 0)]);
    let queue = bench.chip.state.queues[0].clone();
    let size = u64::from(queue.queue_size);
    bench.memory.write(queue.queue_driver, &flags.to_le_bytes());
    // The first is always said; the second is the one in question.
    bench.run(0);
    bench.get(range::LEGACY, LEGACY_ISR, 1);
    bench.memory.write(queue.queue_driver + 4 + 2 * size, &event.to_le_bytes());
    bench.run(0);
    assert_eq!(bench.line, expect);
    if features == EVENT_IDX {
        assert_eq!(bench.bytes(queue.queue_device + 4 + 8 * size, 2), [2, 0]);
    }
}

#[test]
fn messages_wait_while_they_are_masked() {
    let mut bench = Bench::new(Blk::new(disk(), 1), FACTS);
    bench.header(4, 0);
    bench.describe(PAGE, &[(HEADER, 16, NEXT, 1), (OUTCOME, 1, WRITE, 0)]);
    bench.put(range::COMMON, 0x1a, 1);
    bench.put(range::COMMON, 0x10, 2);
    assert_eq!([bench.get(range::COMMON, 0x1a, 2), bench.get(range::COMMON, 0x10, 2)], [1, 0xffff]);
    bench.put(range::MSIX, 0x10, 0xfee0_0000);
    bench.put(range::MSIX, 0x18, 0x51);
    bench.chip.config_write(0x9a, 2, 0x8000, &mut Effects::default());
    assert!(bench.chip.sends_messages());
    bench.run(0);
    assert_eq!((bench.messages.len(), bench.line), (0, false));
    assert_eq!(bench.get(range::MSIX, PENDING_BITS, 4), 2);
    bench.put(range::MSIX, 0x1c, 0);
    assert_eq!(bench.get(range::MSIX, PENDING_BITS, 4), 0);
    assert_eq!(bench.messages, [0x51]);
    bench.run(0);
    assert_eq!(bench.messages, [0x51, 0x51]);
    // The ports have two registers more now.
    assert_eq!(bench.get(range::LEGACY, 0x16, 2), 1);
    assert_eq!(bench.get(range::LEGACY, 0x18, 4), SECTORS as u64);
}

/// Where the rings of queue 1 and those behind it are.
fn page_of(number: u16) -> u64 {
    0x6_0000 + 0x1_0000 * u64::from(number)
}

/// A disk with four queues, of which each but the first is set up with a vector of its own and has `count`
/// flushes available, each with an outcome of its queue's.
fn with_queues(count: u16) -> Bench<Blk> {
    let mut bench = Bench::new(Blk::new(disk(), 4), FACTS);
    bench.header(4, 0);
    bench.chip.config_write(0x9a, 2, 0x8000, &mut Effects::default());
    for number in 1..4 {
        let page = page_of(number);
        set_up(&mut bench, number);
        let outcome = OUTCOME + u64::from(number);
        bench.describe(page, &[(HEADER, 16, NEXT, 1), (outcome, 1, WRITE, 0)]);
        bench.memory.write(page + 0x1002, &count.to_le_bytes());
        for (offset, value) in [(0, 0xfee0_0000), (8, 0x50 + u64::from(number)), (12, 0)] {
            bench.put(range::MSIX, u64::from(number) * msix::ENTRY + offset, value);
        }
    }
    bench
}

fn set_up(bench: &mut Bench<Blk>, number: u16) {
    let page = page_of(number);
    bench.put(range::COMMON, 0x16, number.into());
    bench.put(range::COMMON, 0x1a, number.into());
    for (register, address) in [(0x20, page), (0x28, page + 0x1000), (0x30, page + 0x2000)] {
        bench.put(range::COMMON, register, address);
    }
    bench.put(range::COMMON, 0x1c, 1);
}

fn used_indexes(bench: &Bench<Blk>) -> Vec<u16> {
    bench.chip.state.queues.iter().map(|queue| queue.used_index).collect()
}

/// What the number of queues shows in: the feature MQ, num_queues of both structures, the MSI-X table.
#[rstest]
#[case::one(1, 0, 1)]
#[case::four(4, 1 << 12, 4)]
#[case::none(0, 0, 1)]
fn queues_are_told(#[case] asked: u16, #[case] feature: u64, #[case] expect: u64) {
    let mut bench = Bench::new(Blk::new(disk(), asked), FACTS);
    assert_eq!(bench.get(range::LEGACY, 0, 4) & (1 << 12), feature);
    assert_eq!(bench.get(range::COMMON, 0x12, 2), expect);
    assert_eq!(bench.get(range::DEVICE, 34, 2), expect);
    assert_eq!(bench.chip.message_control(), expect as u16);
    assert_eq!(bench.chip.state.msix.entries.len() as u64, expect + 1);
    let last = expect - 1;
    for (number, size, place) in [(last, 256, last), (expect, 0, expect)] {
        bench.put(range::COMMON, 0x16, number);
        let found = [bench.get(range::COMMON, 0x18, 2), bench.get(range::COMMON, 0x1e, 2)];
        assert_eq!(found, [size, place], "queue {number}");
    }
    // There is no such queue on any device, and the selection stays.
    bench.put(range::COMMON, 0x16, 1024);
    assert_eq!(bench.get(range::COMMON, 0x16, 2), expect);
}

/// However much waits in one, each has its turn, its outcome and its interrupt; saved in between, too.
#[rstest]
#[case::whole(usize::MAX)]
#[case::saved_at_once(0)]
#[case::saved_in_the_middle(2)]
fn queues_take_turns(#[case] saved: usize) {
    let mut bench = with_queues(2);
    bench.put(range::NOTIFY, 4 * 2, 0);
    let mut seen = Vec::new();
    for step in 0.. {
        if step == saved {
            let text = serde_json::to_string(&bench.chip.state()).expect("plain data");
            bench.chip = Virtio::new(Blk::new(disk(), 4), FACTS);
            bench.chip.restore(serde_json::from_str(&text).expect("the same"));
            assert_eq!(serde_json::to_string(&bench.chip.state()).expect("plain data"), text);
        }
        let Some(deadline) = bench.chip.deadline() else { break };
        bench.now = deadline;
        let mut fx = Effects::at(bench.now);
        bench.chip.on_deadline(&mut fx);
        bench.apply(fx);
        seen.push(used_indexes(&bench));
    }
    assert_eq!(seen, [[0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1], [0, 2, 1, 1], [0, 2, 2, 1], [0, 2, 2, 2]]);
    assert_eq!(bench.bytes(OUTCOME, 4), [0xaa, 0, 0, 0]);
    assert_eq!(bench.messages, [0x51, 0x52, 0x53, 0x51, 0x52, 0x53]);
}

/// A queue that is reset alone is as new, with its addresses; the others go on. Where that is not offered, the
/// register is nothing.
#[rstest]
#[case::offered(true, [0, 0, 2, 2])]
#[case::not_offered(false, [0, 2, 2, 2])]
fn a_queue_is_reset_alone(#[case] queue_reset: bool, #[case] expect: [u16; 4]) {
    let mut bench = with_queues(2);
    bench.chip.facts.queue_reset = queue_reset;
    assert_eq!(bench.chip.offered() & RING_RESET != 0, queue_reset);
    bench.put(range::COMMON, 0x16, 1);
    bench.put(range::COMMON, 0x18, 128);
    bench.put(range::COMMON, 0x3a, 1);
    assert_eq!(bench.get(range::COMMON, 0x3a, 2), 0);
    let registers = [0x18, 0x1a, 0x1c].map(|register| bench.get(range::COMMON, register, 2));
    assert_eq!(registers, if queue_reset { [256, 0xffff, 0] } else { [128, 1, 1] });
    assert_eq!(bench.get(range::COMMON, 0x20, 4), page_of(1));
    bench.put(range::NOTIFY, 4, 0);
    bench.put(range::NOTIFY, 8, 0);
    bench.settle();
    assert_eq!(used_indexes(&bench), expect);
    // Set up again it begins with the first entry.
    set_up(&mut bench, 1);
    bench.put(range::NOTIFY, 4, 0);
    bench.settle();
    assert_eq!(used_indexes(&bench), [0, 2, 2, 2]);
}

/// One that makes no sense stops the device, whichever it is.
#[test]
fn any_queue_can_break_the_device() {
    let mut bench = with_queues(1);
    bench.memory.write(page_of(3) + 0x1002, &500_u16.to_le_bytes());
    bench.put(range::NOTIFY, 4, 0);
    bench.settle();
    assert!(bench.needs_reset());
    assert_eq!(used_indexes(&bench), [0, 1, 1, 0]);
}

#[test]
fn without_bus_mastering_nothing_is_read() {
    let mut bench = Bench::new(Blk::new(disk(), 1), FACTS);
    bench.chip.config_write(pci::COMMAND, 2, 3, &mut Effects::default());
    bench.offer(999);
    bench.notify();
    assert_eq!((bench.settle(), bench.needs_reset()), (0, false));
}

/// PCI configuration space as QEMU 7.2's devices have it at power-on: (offset, bytes).
#[rstest]
#[case::transitional(Interface::Transitional, &[
    (0x00, "f41a0110 00001000 00000001 00000000 01000000 00000000 00000000 00000000"),
    (0x20, "0c000000 00000000 00000000 f41a0200 00000000 98000000 00000000 00010000"),
    (0x40, "09001001 04000000 00000000 00100000 09401003 04000000 00100000 00100000"),
    (0x60, "09501004 04000000 00200000 00100000 09601402 04000000 00300000 00100000"),
    (0x80, "04000000 09701405 00000000 00000000 00000000 00000000 11840100 01000000 01080000"),
])]
#[case::modern(Interface::Modern, &[
    (0x00, "f41a4210 00001000 01000001 00000000 00000000 00000000 00000000 00000000"),
    (0x20, "0c000000 00000000 00000000 f41a0011 00000000 98000000 00000000 00010000"),
    (0x98, "11840100 01000000 01080000 00000000"),
])]
#[case::legacy(Interface::Legacy, &[
    (0x00, "f41a0110 00001000 00000001 00000000 01000000 00000000 00000000 00000000"),
    (0x20, "00000000 00000000 00000000 f41a0200 00000000 40000000 00000000 00010000"),
    (0x40, "11000100 01000000 01080000 00000000"),
])]
fn configuration_space(#[case] interface: Interface, #[case] expect: &[(u8, &str)]) {
    let chip = Virtio::new(Blk::new(disk(), 1), facts(interface));
    for (offset, text) in expect {
        let digits = text.replace(' ', "");
        let bytes = chip.state.config.bytes();
        let found: String = bytes[usize::from(*offset)..][..digits.len() / 2]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(found, digits, "{offset:#x}");
    }
}

/// With a page for each queue the notifications take 4 MiB, and the modern interface twice as much.
#[test]
fn each_queue_has_a_page() {
    let mut bench = with_queues(1);
    bench.chip.facts.page_per_queue = true;
    bench.put(range::NOTIFY, 0x3000, 0);
    bench.settle();
    assert_eq!(used_indexes(&bench), [0, 1, 1, 1]);
    let mut chip =
        Virtio::new(Blk::new(disk(), 4), Facts { page_per_queue: true, ..facts(Interface::Modern) });
    let capability: Vec<u32> = (0x78..0x84).step_by(4).map(|at| chip.state.config.get_u32(at)).collect();
    assert_eq!(capability, [0x3000, 0x40_0000, 0x1000]);
    let mut fx = Effects::default();
    chip.config_write(MODERN_BAR, 4, u32::MAX, &mut fx);
    assert_eq!(chip.config_read(MODERN_BAR, 4, &mut fx), 0xff80_000c);
    chip.config_write(MODERN_BAR, 4, 0xe080_0000, &mut fx);
    chip.config_write(pci::COMMAND, 2, 7, &mut fx);
    let last = chip.regions().pop().map(|region| (region.index, region.base, region.length));
    assert_eq!(last, Some((range::NOTIFY, 0xe080_3000, 0x40_0000)));
    assert_eq!(chip.register_name(range::NOTIFY, 0x3000, true).as_deref(), Some("notify3"));
}

/// What QEMU 7.2's machine types offer at the ports, and how many there are.
#[rstest]
#[case::v7_2(FACTS, 0x7900_6e54, 0x7900_0000, 128)]
#[case::v2_7(Facts { discard: false, ..FACTS }, 0x7900_0e54, 0x7900_0000, 64)]
#[case::v1_4(Facts { discard: false, rng_any_layout: false, ..facts(Interface::Legacy) }, 0x7100_0ed4, 0x7100_0000, 64)]
fn offers(#[case] facts: Facts, #[case] blk: u64, #[case] rng: u64, #[case] ports: u64) {
    let mut disk = Bench::new(Blk::new(disk(), 1), facts);
    let mut entropy = Bench::new(Rng::new(0), facts);
    assert_eq!((disk.get(range::LEGACY, 0, 4), entropy.get(range::LEGACY, 0, 4)), (blk, rng));
    assert_eq!(disk.chip.regions()[0].length, ports);
    assert_eq!(disk.get(range::LEGACY, 0x14 + 12, 4), 254);
    assert_eq!(entropy.get(range::LEGACY, 0x0c, 2), 8);
}

#[test]
fn features_are_those_offered_until_the_driver_is_content() {
    let mut bench = Bench::new(Blk::new(disk(), 1), facts(Interface::Modern));
    bench.put(range::COMMON, 0x14, 0);
    bench.put(range::COMMON, 0x14, 3);
    bench.put(range::COMMON, 0x14, 0x0b);
    assert_eq!(bench.get(range::COMMON, 0x14, 1), 3, "without VERSION_1 there is no agreement");
    let mut fx = Effects::default();
    for (select, half) in [(0, 0xffff_ffff_u64), (1, 0xffff_ffff), (2, 0xffff_ffff)] {
        bench.chip.write(range::COMMON, 0x08, 4, select, &mut fx);
        bench.chip.write(range::COMMON, 0x0c, 4, half, &mut fx);
    }
    bench.put(range::COMMON, 0x14, 0x0b);
    assert_eq!(bench.get(range::COMMON, 0x14, 1), 0x0b);
    assert_eq!(bench.chip.state.driver_feature, VERSION_1 | RING_RESET | 0x3000_6e54);
    bench.put(range::COMMON, 0x08, 0);
    bench.put(range::COMMON, 0x0c, 0);
    assert_eq!(bench.chip.state.driver_feature, VERSION_1 | RING_RESET | 0x3000_6e54);
}

#[test]
fn configuration_space_has_a_window_to_the_registers() {
    let mut bench = Bench::new(Blk::new(disk(), 1), facts(Interface::Modern));
    let mut fx = Effects::default();
    let mut through = |bench: &mut Bench<Blk>, offset: u32, length: u32, value: Option<u32>| {
        for (register, value) in [(WINDOW + 4, 4), (WINDOW + 8, offset), (WINDOW + 12, length)] {
            bench.chip.config_write(register, 4, value, &mut fx);
        }
        match value {
            Some(value) => bench.chip.config_write(WINDOW_DATA, 4, value, &mut fx),
            None => return bench.chip.config_read(WINDOW_DATA, 4, &mut fx),
        }
        0
    };
    assert_eq!(through(&mut bench, 0x2000, 4, None), SECTORS as u32);
    through(&mut bench, 0x16, 2, Some(0x1_0005));
    assert_eq!(bench.chip.state.queue_select, 5);
    assert_eq!(through(&mut bench, 0x18, 2, None), 0);
    through(&mut bench, 0xffff_fffc, 4, Some(7));
    through(&mut bench, 0, 3, Some(7));
}

#[test]
fn entropy_is_the_seeds_and_a_reset_does_not_begin_it_again() {
    let draw = |seed: u64, between: fn(&mut Bench<Rng>)| {
        let mut bench = Bench::new(Rng::new(seed), FACTS);
        bench.describe(PAGE, &[(DATA, 13, WRITE | NEXT, 1), (DATA + 13, 100_000, WRITE, 0)]);
        bench.run(0);
        assert_eq!(bench.used(), (0, 4096));
        let first = bench.bytes(DATA, 4096);
        assert_eq!(bench.bytes(DATA + 4096, 8), [0; 8]);
        between(&mut bench);
        bench.run(0);
        [first, bench.bytes(DATA, 4096)]
    };
    let plain = draw(7, |_| {});
    assert_eq!(draw(7, |_| {}), plain);
    assert_ne!(draw(8, |_| {})[0], plain[0]);
    assert_ne!(plain[0], plain[1]);
    let again = draw(7, |bench| {
        bench.put(range::COMMON, 0x14, 0);
        bench.start(0);
        bench.describe(PAGE, &[(DATA, 4096, WRITE, 0)]);
    });
    assert_ne!(again[1], again[0]);
}

#[test]
fn a_system_reset_keeps_what_was_written() {
    let mut bench = Bench::new(Blk::new(disk(), 1), FACTS);
    bench.header(1, 0);
    bench.describe(PAGE, &request(512, false));
    bench.run(0);
    bench.offer(0);
    bench.notify();
    let mut fx = Effects::at(bench.now);
    bench.chip.reset(ResetKind::System, &mut fx);
    bench.apply(fx);
    let fresh = Virtio::new(Blk::new(disk(), 1), FACTS);
    let State { function, .. } = bench.chip.state();
    assert_eq!(bench.chip.state, fresh.state);
    assert!(!function.overlay.is_empty() && !bench.line);
    assert!(bench.chip.regions().is_empty());
}

/// The digest of all that a device is, whole or saved in the middle.
#[test]
fn saved_with_requests_in_flight_it_goes_on_as_it_would_have() {
    let run = |saved: bool| {
        let mut bench = Bench::new(Blk::new(disk(), 1), FACTS);
        bench.header(1, 4);
        bench.describe(PAGE, &request(512, false));
        bench.offer(0);
        bench.offer(0);
        bench.notify();
        let mut fx = Effects::at(bench.now);
        bench.now = bench.chip.deadline().expect("due");
        bench.chip.on_deadline(&mut fx);
        bench.apply(fx);
        if saved {
            let text = serde_json::to_string(&bench.chip.state()).expect("plain data");
            bench.chip = Virtio::new(Blk::new(disk(), 1), FACTS);
            bench.chip.restore(serde_json::from_str(&text).expect("the same"));
            assert_eq!(serde_json::to_string(&bench.chip.state()).expect("plain data"), text);
        }
        bench.settle();
        let state = serde_json::to_vec(&bench.chip.state()).expect("plain data");
        blake3::hash(&[state, bench.memory.0].concat())
    };
    assert_eq!(run(false), run(true));
}

#[rstest]
#[case(range::LEGACY, 0x12, "STATUS")]
#[case(range::LEGACY, 0x14, "config+0x0")]
#[case(range::COMMON, 0x15, "config_generation")]
#[case(range::COMMON, 0x24, "queue_desc_high")]
#[case(range::COMMON, 0x3a, "queue_reset")]
#[case(range::ISR, 0, "ISR")]
#[case(range::NOTIFY, 0, "notify0")]
#[case(range::MSIX, 0x1c, "vector1.control")]
#[case(range::MSIX, 0x800, "PBA")]
fn names(#[case] index: u8, #[case] offset: u64, #[case] expect: &str) {
    let chip = Virtio::new(Blk::new(disk(), 1), FACTS);
    assert_eq!(chip.register_name(index, offset, false).as_deref(), Some(expect));
}

proptest! {
    /// Whatever a driver writes, and whatever is in memory: no panic, and an end.
    #[test]
    fn anything_ends(
        interface in prop::sample::select(vec![Interface::Legacy, Interface::Transitional, Interface::Modern]),
        queues in 1_u16..4,
        noise in prop::collection::vec((0_u64..0x4000, any::<u64>()), 0..64),
        accesses in prop::collection::vec((0_u8..7, 0_u64..0x1000, prop::sample::select(vec![1_u8, 2, 4]), any::<u32>()), 0..64),
    ) {
        let mut bench = Bench::new(Blk::new(disk(), queues), facts(interface));
        for (offset, value) in noise {
            bench.memory.write(PAGE + offset, &value.to_le_bytes());
        }
        bench.notify();
        bench.settle();
        for (index, offset, size, value) in accesses {
            let mut fx = Effects::at(bench.now);
            // Most of it within the first registers, where something happens.
            let near = if index == range::COMMON || index == range::LEGACY { offset % 0x40 } else { offset & !3 };
            match index {
                6 => {
                    bench.chip.config_write(offset as u8, size, value, &mut fx);
                    bench.chip.config_read(offset as u8, size, &mut fx);
                }
                _ => {
                    bench.chip.write(index, near, size, value.into(), &mut fx);
                    bench.chip.read(index, near, size, &mut fx);
                }
            }
            bench.chip.regions();
            bench.apply(fx);
            bench.notify();
            bench.settle();
        }
    }
}
