//! Tests of blocks and of views against a tree resolved address by address.

use proptest::prelude::*;
use rstest::rstest;

use crate::{regions::Content, *};

const MIB: u64 = 1 << 20;

fn with_block(size: u64) -> (Memory, BlockId) {
    let mut memory = Memory::new();
    let block = memory.add_block("pc.ram", size).unwrap();
    (memory, block)
}

#[rstest]
#[case::nothing(0, "multiple of 4096")]
#[case::part_of_a_page(4097, "multiple of 4096")]
#[case::five_tebibytes(5 << 40, "64 GiB")]
#[case::twice(4096, "already")]
fn blocks_that_cannot_be(#[case] size: u64, #[case] expect: &str) {
    let mut memory = Memory::new();
    memory.add_block("pc.ram", MIB).unwrap();
    let error = memory.add_block("pc.ram", size).unwrap_err().to_string();
    assert!(error.contains(expect), "{error}");
}

#[test]
fn a_huge_block_costs_nothing_until_touched() {
    let (mut memory, block) = with_block(64 << 30);
    assert_eq!(memory.resident_pages(), 0);
    memory.write_block(block, (64 << 30) - 1, &[7]).unwrap();
    memory.write_block(block, 5 * MIB, &[0; 9000]).unwrap();
    assert_eq!(memory.resident_pages(), 1);
    assert_eq!(memory.touched_pages(block).map(|(page, _)| page).collect::<Vec<_>>(), [(16 << 20) - 1]);
}

#[rstest]
#[case::one_past(0xfff, 2)]
#[case::far(u64::MAX, 1)]
#[case::wrapping(u64::MAX - 1, 4)]
fn accesses_outside_are_refused(#[case] offset: u64, #[case] length: usize) {
    let (mut memory, block) = with_block(0x1000);
    assert!(memory.write_block(block, offset, &vec![1; length]).is_err());
    assert!(memory.read_block(block, offset, &mut vec![1; length]).is_err());
    assert_eq!(memory.resident_pages(), 0);
}

#[test]
fn forks_do_not_see_each_other() {
    let (mut memory, block) = with_block(4 * MIB);
    let frame = memory.frame_of(block, 3).unwrap();
    let read = |memory: &Memory| memory.frame(frame)[5];
    memory.frame_mut(frame)[5] = 1;
    let mut fork = memory.fork();
    assert!(memory.shares(&fork, frame));
    fork.frame_mut(frame)[5] = 2;
    let mut second = fork.fork();
    second.frame_mut(frame)[5] = 3;
    fork.frame_mut(frame)[5] += 10;
    assert_eq!([read(&memory), read(&fork), read(&second)], [1, 12, 3]);
    assert!(!memory.shares(&fork, frame));
    drop(memory);
    second.frame_mut(frame)[5] += 1;
    assert_eq!([read(&fork), read(&second)], [12, 4]);
    assert_eq!(second.place_of(frame), Some((block, 0x3000)));
}

/// A held page is its frame's whatever happens to it in between, or no page at all.
#[rstest]
#[case::nothing(|_: &mut Memory, _: Frame| {}, Some(1))]
#[case::written(|memory: &mut Memory, frame: Frame| memory.frame_mut(frame)[5] = 2, Some(2))]
#[case::another_is_held(|memory: &mut Memory, frame: Frame| memory.hold(7, Frame(frame.0 + 1)), Some(0))]
#[case::no_such_frame(|memory: &mut Memory, _: Frame| memory.hold(7, Frame(u32::MAX)), None)]
#[case::forked_and_written(
    |memory: &mut Memory, frame: Frame| {
        let fork = memory.fork();
        memory.hold(7, frame);
        memory.frame_mut(frame)[5] = 3;
        drop(fork);
    },
    Some(3)
)]
#[case::forked(|memory: &mut Memory, _: Frame| drop(memory.fork()), None)]
#[case::gone_back(
    |memory: &mut Memory, frame: Frame| {
        let mut before = memory.fork();
        memory.frame_mut(frame)[5] = 4;
        memory.return_to(&mut before);
    },
    None
)]
fn held_pages(
    #[values(false, true)] own: bool,
    #[case] change: fn(&mut Memory, Frame),
    #[case] expect: Option<u8>,
) {
    let (mut memory, block) = with_block(4 * MIB);
    let frame = memory.frame_of(block, 3).unwrap();
    memory.frame_mut(frame)[5] = 1;
    if !own {
        drop(memory.fork());
    }
    memory.hold(7, frame);
    assert_eq!(memory.held_mut(7).is_some(), own);
    change(&mut memory, frame);
    let held = memory.held(7).map(|page| page[5]);
    // Where nothing had to be shared, a fork leaves what is held as it is.
    assert!(held == expect || (!own && held == Some(1)), "{held:?}");
    let frame_held = memory.held_frame(7);
    if let Some(page) = memory.held_mut(7) {
        page[5] = 9;
        assert_eq!(memory.frame(frame_held.unwrap())[5], 9);
    }
    assert!(memory.held(8).is_none() && memory.held(usize::MAX).is_none());
}

#[test]
fn forks_live_in_other_threads() {
    let (mut memory, block) = with_block(MIB);
    memory.write_block(block, 0, &[9; 0x2000]).unwrap();
    let mut fork = memory.fork();
    std::thread::scope(|scope| {
        scope.spawn(|| fork.write_block(block, 0, &[1; 0x2000]).unwrap());
        memory.write_block(block, 0x1000, &[2; 0x1000]).unwrap();
    });
    let byte = |memory: &Memory, offset| {
        let mut byte = [0];
        memory.read_block(block, offset, &mut byte).unwrap();
        byte[0]
    };
    assert_eq!([byte(&memory, 0), byte(&memory, 0x1000), byte(&fork, 0)], [9, 2, 1]);
}

#[test]
fn digest_sees_bytes_and_nothing_else() {
    let (mut memory, block) = with_block(8 * MIB);
    let untouched = memory.digest();
    memory.write_block(block, 0x2345, b"x").unwrap();
    let written = memory.digest();
    assert_ne!(untouched, written);
    assert_eq!(written, memory.digest_uncached());
    // A cached hash is dropped by the next write, also through a frame obtained before.
    let frame = memory.frame_of(block, 2).unwrap();
    memory.frame_mut(frame)[0x345] = b'y';
    assert_ne!(memory.digest(), written);
    memory.frame_mut(frame)[0x345] = b'x';
    assert_eq!(memory.digest_uncached(), written);
    let mut fork = memory.fork();
    memory.frame_mut(frame)[0x345] = 0;
    assert_eq!(memory.digest(), untouched);
    assert_eq!(fork.digest(), written);
    fork.clear_block(block);
    assert_eq!((fork.digest(), fork.resident_pages()), (untouched, 0));
}

#[test]
fn digest_covers_names_and_sizes() {
    let digest = |blocks: &[(&str, u64)]| {
        let mut memory = Memory::new();
        for (name, size) in blocks {
            memory.add_block(name, *size).unwrap();
        }
        memory.digest()
    };
    let all = [
        digest(&[("a", 0x1000), ("b", 0x1000)]),
        digest(&[("b", 0x1000), ("a", 0x1000)]),
        digest(&[("a", 0x2000), ("b", 0x1000)]),
        digest(&[("a", 0x1000)]),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(!all[index + 1..].contains(one));
    }
}

/// A small i440FX: what is asked of PAM at F0000 decides the ranges there.
fn check_pam(mode: &str, expect: &str) {
    let mut memory = Memory::new();
    let ram = memory.add_block("pc.ram", 4 * MIB).unwrap();
    let bios = memory.add_block("pc.bios", 0x40000).unwrap();
    let mut regions = Regions::new();
    let system = regions.container("system", 1 << 64);
    let pci = regions.container("pci", 1 << 64);
    let pc_ram = regions.ram("pc.ram", ram, 0, 4 << 20, false);
    let low = regions.alias("ram-below-4g", pc_ram, 0, 4 << 20);
    let rom = regions.ram("pc.bios", bios, 0, 0x40000, true);
    let isa_bios = regions.alias("isa-bios", rom, 0x20000, 0x20000);
    regions.map(system, low, 0, 0).unwrap();
    regions.map(system, pci, 0, -1).unwrap();
    regions.map(pci, rom, 0xfffc_0000, 0).unwrap();
    regions.map(pci, isa_bios, 0xe0000, 1).unwrap();
    let smram = regions.alias("smram-region", pci, 0xa0000, 0x20000);
    regions.map(system, smram, 0xa0000, 1).unwrap();
    let e_segment = regions.alias("pam-pci", pci, 0xe0000, 0x10000);
    regions.map(system, e_segment, 0xe0000, 1).unwrap();
    let show_pci = regions.alias("pam-pci", pci, 0xf0000, 0x10000);
    let show_ram = regions.alias("pam-ram", pc_ram, 0xf0000, 0x10000);
    let show = match mode {
        "pci" => show_pci,
        "ram" => show_ram,
        "read-only" => {
            regions.set_read_only(show_ram, true);
            show_ram
        }
        "read-ram" => regions.split("pam-split", show_ram, show_pci, 0x10000),
        _ => regions.split("pam-split", show_pci, show_ram, 0x10000),
    };
    regions.map(system, show, 0xf0000, 1).unwrap();
    let view = FlatView::new(&regions, system);
    let expect = format!(
        "  0000000000000000-00000000000dffff (prio 0, ram): pc.ram\n\
         {expect}\
         \x20 00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios\n"
    );
    assert_eq!(view.to_string(), expect);
    let frame = |block, offset: u64| memory.frame_of(block, offset >> 12);
    let read = if matches!(mode, "pci" | "write-ram") { frame(bios, 0x31000) } else { frame(ram, 0xf1000) };
    let write = if matches!(mode, "ram" | "write-ram") { frame(ram, 0xf1000) } else { None };
    assert_eq!(view.page(&memory, 0xf1234), (read, write));
    assert_eq!(view.page(&memory, 0x1234), (frame(ram, 0x1000), frame(ram, 0x1000)));
    assert_eq!(view.page(&memory, 0xfffc_0000), (frame(bios, 0), None));
    assert_eq!(view.page(&memory, 0x500_0000), (None, None));
}

#[rstest]
#[case::pci(
    "pci",
    "  00000000000e0000-00000000000fffff (prio 0, rom): pc.bios @0000000000020000\n  \
     0000000000100000-00000000003fffff (prio 0, ram): pc.ram @0000000000100000\n"
)]
#[case::ram(
    "ram",
    "  00000000000e0000-00000000000effff (prio 0, rom): pc.bios @0000000000020000\n  \
     00000000000f0000-00000000003fffff (prio 0, ram): pc.ram @00000000000f0000\n"
)]
#[case::read_only(
    "read-only",
    "  00000000000e0000-00000000000effff (prio 0, rom): pc.bios @0000000000020000\n  \
     00000000000f0000-00000000000fffff (prio 0, rom): pc.ram @00000000000f0000\n  \
     0000000000100000-00000000003fffff (prio 0, ram): pc.ram @0000000000100000\n"
)]
#[case::hardware_mode_1(
    "read-ram",
    "  00000000000e0000-00000000000effff (prio 0, rom): pc.bios @0000000000020000\n  \
     00000000000f0000-00000000000fffff (prio 0, split): read pc.ram @00000000000f0000, write dropped by pc.bios\n  \
     0000000000100000-00000000003fffff (prio 0, ram): pc.ram @0000000000100000\n"
)]
#[case::hardware_mode_2(
    "write-ram",
    "  00000000000e0000-00000000000effff (prio 0, rom): pc.bios @0000000000020000\n  \
     00000000000f0000-00000000000fffff (prio 0, split): read pc.bios @0000000000030000, write pc.ram @00000000000f0000\n  \
     0000000000100000-00000000003fffff (prio 0, ram): pc.ram @0000000000100000\n"
)]
fn pam(#[case] mode: &str, #[case] expect: &str) {
    check_pam(mode, expect);
}

#[test]
fn devices_are_byte_granular_and_cover_their_parent() {
    let mut regions = Regions::new();
    let io = regions.mmio("io", 0x10000, 0);
    let rtc = regions.mmio("rtc", 2, 1);
    let index = regions.mmio("rtc-index", 1, 2);
    let first = regions.mmio("elcr", 1, 3);
    let second = regions.mmio("elcr", 1, 4);
    regions.map(rtc, index, 0, 0).unwrap();
    for (region, port) in [(rtc, 0x70), (first, 0x4d0), (second, 0x4d1)] {
        regions.map(io, region, port, 0).unwrap();
    }
    let view = FlatView::new(&regions, io);
    let expect = "  0000000000000000-000000000000006f (prio 0, i/o): io\n  \
        0000000000000070-0000000000000070 (prio 0, i/o): rtc-index\n  \
        0000000000000071-0000000000000071 (prio 0, i/o): rtc @0000000000000001\n  \
        0000000000000072-00000000000004cf (prio 0, i/o): io @0000000000000072\n  \
        00000000000004d0-00000000000004d0 (prio 0, i/o): elcr\n  \
        00000000000004d1-00000000000004d1 (prio 0, i/o): elcr\n  \
        00000000000004d2-000000000000ffff (prio 0, i/o): io @00000000000004d2\n";
    assert_eq!(view.to_string(), expect);
    assert_eq!(view.lookup(0x71).unwrap().read_at(0x71), Target::Device { tag: 1, offset: 1 });
    assert_eq!(view.lookup(0x3f8).unwrap().write_at(0x3f8), Target::Device { tag: 0, offset: 0x3f8 });
    assert!(view.lookup(0x10000).is_none());
}

#[test]
fn the_last_mapped_of_equals_wins_and_the_whole_space_can_be_covered() {
    let mut regions = Regions::new();
    let root = regions.container("root", 1 << 64);
    let (a, b) = (regions.mmio("a", 1 << 64, 1), regions.mmio("b", 16, 2));
    regions.map(root, b, u64::MAX - 15, 0).unwrap();
    regions.map(root, a, 0, 0).unwrap();
    let names = |regions: &Regions| {
        let view = FlatView::new(regions, root);
        view.ranges().iter().map(|range| (range.start, range.end, range.name.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(names(&regions), [(0, u64::MAX, "a".into())]);
    let version = regions.version();
    regions.set_offset(b, u64::MAX - 15);
    assert_eq!(regions.version(), version);
    regions.set_offset(b, u64::MAX - 14);
    assert_eq!(names(&regions), [(0, u64::MAX - 15, "a".into()), (u64::MAX - 14, u64::MAX, "b".into())]);
    regions.set_enabled(a, false);
    assert_eq!(names(&regions), [(u64::MAX - 14, u64::MAX, "b".into())]);
    regions.unmap(b);
    assert_eq!(FlatView::new(&regions, root).to_string(), "  No rendered FlatView\n");
}

#[test]
fn a_region_cannot_contain_itself() {
    let mut regions = Regions::new();
    let outer = regions.container("outer", 100);
    let inner = regions.container("inner", 100);
    let window = regions.alias("window", outer, 0, 100);
    regions.map(outer, inner, 0, 0).unwrap();
    assert!(regions.map(inner, outer, 0, 0).is_err());
    assert!(regions.map(inner, window, 0, 0).is_err());
    assert!(regions.map(window, window, 0, 0).is_err());
    assert!(regions.map(outer, inner, 0, 0).unwrap_err().to_string().contains("already mapped"));
    let harmless = regions.mmio("harmless", 100, 0);
    regions.set_alias_target(window, harmless, 0).unwrap();
    regions.map(inner, window, 0, 0).unwrap();
    assert!(regions.set_alias_target(window, outer, 0).is_err());
    assert!(regions.set_alias_target(inner, harmless, 0).is_err());
    assert!(regions.set_split_targets(window, harmless, harmless).is_err());
}

/// One random region: kind, size, target or block offset, priority, offset, flags.
#[derive(Clone, Debug)]
struct Plan {
    kind: u8,
    size: u8,
    target: u8,
    other: u8,
    target_offset: u8,
    parent: u8,
    offset: u8,
    priority: i8,
    enabled: bool,
    read_only: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    let numbers = (0u8..5, 1u8..=255, any::<u8>(), any::<u8>(), 0u8..64, any::<u8>(), 0u8..200, -2i8..3);
    (numbers, proptest::bool::weighted(0.9), proptest::bool::weighted(0.2)).prop_map(
        |((kind, size, target, other, target_offset, parent, offset, priority), enabled, read_only)| Plan {
            kind,
            size,
            target,
            other,
            target_offset,
            parent,
            offset,
            priority,
            enabled,
            read_only,
        },
    )
}

/// What answers one address, found the slow way: (target, region).
fn resolve(
    regions: &Regions,
    id: RegionId,
    at: i128,
    writes: bool,
    dropped: bool,
) -> Option<(Target, RegionId)> {
    let region = regions.get(id);
    if !region.enabled || at < 0 || at >= region.size as i128 {
        return None;
    }
    let dropped = dropped || (writes && region.read_only);
    match region.content {
        Content::Alias { target, offset } => {
            resolve(regions, target, at + i128::from(offset), writes, dropped)
        }
        Content::Split { read, write } => {
            resolve(regions, if writes { write } else { read }, at, writes, dropped)
        }
        content => {
            let child = region.children.iter().find_map(|&child| {
                let offset = i128::from(regions.get(child).offset);
                resolve(regions, child, at - offset, writes, dropped)
            });
            child.or(match content {
                Content::Container => None,
                _ if dropped => Some((Target::Nothing, id)),
                Content::Ram { block, offset } => {
                    Some((Target::Block { block, offset: offset + at as u64 }, id))
                }
                Content::Device { tag } => Some((Target::Device { tag, offset: at as u64 }, id)),
                _ => unreachable!(),
            })
        }
    }
}

proptest! {
    #[test]
    fn flat_view_is_what_each_address_resolves_to(plans in proptest::collection::vec(plan(), 1..14)) {
        let (_, block) = with_block(MIB);
        let mut regions = Regions::new();
        let root = regions.container("root", 256);
        let mut all = vec![root];
        for (number, plan) in plans.iter().enumerate() {
            let pick = |which: u8| all[usize::from(which) % all.len()];
            let (name, size) = (format!("r{number}"), u128::from(plan.size));
            let target_offset = u64::from(plan.target_offset);
            let region = match plan.kind {
                0 => regions.container(&name, size),
                1 => regions.ram(&name, block, target_offset, size, plan.read_only),
                2 => regions.mmio(&name, size, number as u32),
                3 => regions.alias(&name, pick(plan.target), target_offset, size),
                _ => regions.split(&name, pick(plan.target), pick(plan.other), size),
            };
            regions.set_enabled(region, plan.enabled);
            regions.set_read_only(region, plan.read_only);
            let _ = regions.map(pick(plan.parent), region, u64::from(plan.offset), i32::from(plan.priority));
            all.push(region);
        }
        let view = FlatView::new(&regions, root);
        for pair in view.ranges().windows(2) {
            prop_assert!(pair[0].start <= pair[0].end && pair[0].end < pair[1].start);
        }
        for address in 0..260u64 {
            let read = resolve(&regions, root, i128::from(address), false, false);
            let write = resolve(&regions, root, i128::from(address), true, false);
            let range = view.lookup(address);
            prop_assert_eq!(range.is_some(), read.or(write).is_some(), "at {:#x}", address);
            let here = range.is_some();
            let next = (address..400).find(|next| view.lookup(*next).is_some());
            if !here {
                prop_assert_eq!(view.unassigned_from(address), next.map(|next| next - address));
            }
            if let Some(range) = range {
                prop_assert_eq!(range.read_at(address), read.map_or(Target::Nothing, |found| found.0));
                prop_assert_eq!(range.write_at(address), write.map_or(Target::Nothing, |found| found.0));
                let main = read.or(write).map(|found| regions.get(found.1).name.clone());
                prop_assert_eq!(Some(&range.name), main.as_ref());
            }
        }
    }

    #[test]
    fn forks_and_digests_follow_plain_copies(steps in proptest::collection::vec((any::<u8>(), 0usize..3, 0u64..1030, any::<u8>()), 1..60)) {
        let (memory, block) = with_block(1030 * 4096);
        let mut worlds = vec![(memory, vec![0u8; 1030])];
        for (action, which, page, value) in steps {
            let count = worlds.len();
            let which = which % count;
            let (memory, copy) = &mut worlds[which];
            let frame = memory.frame_of(block, page).unwrap();
            match action % 5 {
                4 if page as usize % count != which => {
                    let (mut goal, past) = worlds.swap_remove(page as usize % count);
                    // The one returning may have been moved to the place of the one taken out.
                    let which = if which == count - 1 { page as usize % count } else { which };
                    let (memory, copy) = &mut worlds[which];
                    memory.return_to(&mut goal);
                    copy.clone_from(&past);
                    for page in 0..1030 {
                        let frame = memory.frame_of(block, page).unwrap();
                        prop_assert!(memory.shares(&goal, frame));
                    }
                    worlds.push((goal, past));
                }
                0 if count < 4 => {
                    let fork = (memory.fork(), copy.clone());
                    worlds.push(fork);
                }
                0 => drop(worlds.remove(which)),
                1 => { memory.digest(); }
                _ => {
                    memory.frame_mut(frame)[7] = value;
                    copy[page as usize] = value;
                }
            }
        }
        for (memory, copy) in &mut worlds {
            let mut fresh = Memory::new();
            let same = fresh.add_block("pc.ram", 1030 * 4096).unwrap();
            for (page, &value) in copy.iter().enumerate() {
                prop_assert_eq!(memory.frame(memory.frame_of(block, page as u64).unwrap())[7], value);
                fresh.write_block(same, page as u64 * 4096 + 7, &[value]).unwrap();
            }
            prop_assert_eq!(memory.digest(), fresh.digest());
        }
    }
}
