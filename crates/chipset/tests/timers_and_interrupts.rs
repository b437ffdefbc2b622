//! Properties of the interrupt controllers, timers and DMA: no access panics, and time has no
//! origin: a chip shifted in time behaves as the one that was not.

use proptest::prelude::*;
use warmboot_chipset::{
    Chip, Effects, Moment, ResetKind, dma::Dma, hpet::Hpet, io_apic::IoApic, local_apic::LocalApic, pic::Pic,
    pit::Pit, rtc::DateTime, rtc::Rtc, rtc::Wiring,
};

/// One step in a chip's life.
#[derive(Clone, Debug)]
enum Step {
    Read { region: u8, offset: u64, size: u8 },
    Write { region: u8, offset: u64, size: u8, value: u64 },
    Input { pin: u8, level: bool },
    Reset,
    Deadline,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let size = prop::sample::select(vec![1u8, 2, 4, 8]);
    let offset = prop_oneof![0..16u64, (0..64u64).prop_map(|n| n * 16), 0..0x1000u64];
    let value = prop_oneof![0..16u64, 0..256u64, any::<u32>().prop_map(u64::from), any::<u64>()];
    let wait = prop_oneof![Just(1_000u64), 0..100_000u64, 0..3_000_000_000u64];
    let what = prop_oneof![
        3 => (any::<u8>(), offset.clone(), size.clone())
            .prop_map(|(region, offset, size)| Step::Read { region, offset, size }),
        6 => (any::<u8>(), offset, size, value).prop_map(|(region, offset, size, value)| {
            Step::Write { region, offset, size, value }
        }),
        2 => (0..40u8, any::<bool>()).prop_map(|(pin, level)| Step::Input { pin, level }),
        2 => Just(Step::Deadline),
        1 => Just(Step::Reset),
    ];
    (wait, what)
}

/// What the outside sees of one step; moments relative to the start.
type Seen = (u64, Vec<(u8, bool)>, usize, Option<u64>);

fn play(chip: &mut impl Chip, steps: &[(u64, Step)], start: u64) -> Vec<Seen> {
    let mut now = start;
    let mut seen = Vec::new();
    for (wait, step) in steps {
        let target = now.wrapping_add(*wait);
        // Events on the way come first; a bounded number, as tiny periods make many.
        for _ in 0..50 {
            let Some(due) = chip.deadline().filter(|due| due.0 <= target) else {
                break;
            };
            now = now.max(due.0);
            chip.on_deadline(&mut Effects::at(Moment(now)));
            assert_ne!(chip.deadline(), Some(Moment(now)), "an event must move its deadline");
        }
        now = target;
        let mut fx = Effects::at(Moment(now));
        let regions = chip.regions();
        let mut value = 0;
        let place = |region: u8, offset: u64, size: u8| {
            let region = regions.get(usize::from(region) % regions.len().max(1))?;
            let size = size.min(region.widest);
            Some((region.index, (offset % region.length) & !(u64::from(size) - 1), size))
        };
        match *step {
            Step::Read { region, offset, size } => {
                if let Some((index, offset, size)) = place(region, offset, size) {
                    value = chip.read(index, offset, size, &mut fx);
                }
            }
            Step::Write { region, offset, size, value } => {
                if let Some((index, offset, size)) = place(region, offset, size) {
                    chip.write(index, offset, size, value, &mut fx);
                }
            }
            Step::Input { pin, level } => chip.input(pin, level, &mut fx),
            Step::Reset => chip.reset(ResetKind::System, &mut fx),
            Step::Deadline => chip.on_deadline(&mut fx),
        }
        let deadline = chip.deadline().map(|due| due.0.wrapping_sub(start));
        seen.push((value, fx.lines, fx.messages.len(), deadline));
    }
    seen
}

/// Plays `before` on `chip`, then `after` here and on a copy shifted by `shift`.
fn check<C: Chip + Clone, S: PartialEq + std::fmt::Debug>(
    mut chip: C,
    state: fn(&C) -> &S,
    before: &[(u64, Step)],
    after: &[(u64, Step)],
    shift: i64,
) {
    let start: u64 = before.iter().map(|step| step.0).sum();
    play(&mut chip, before, 0);
    let mut shifted = chip.clone();
    shifted.shift_time(shift);
    let here = play(&mut chip, after, start);
    let there = play(&mut shifted, after, start.wrapping_add_signed(shift));
    assert_eq!(here, there, "what the outside sees");
    shifted.shift_time(-shift);
    assert_eq!(state(&chip), state(&shifted), "shifted back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_access_panics_and_time_has_no_origin(
        before in prop::collection::vec(step(), 0..40),
        after in prop::collection::vec(step(), 1..40),
        shift in 0..1_000_000_000_000i64,
    ) {
        let rtc = Rtc::new(DateTime::default(), [0x5a; 128], Wiring::default());
        check(Pic::new(), Pic::state, &before, &after, shift);
        check(Pit::new(), Pit::state, &before, &after, shift);
        check(rtc, Rtc::state, &before, &after, shift);
        check(Dma::new(), Dma::state, &before, &after, shift);
        check(Hpet::new(4), Hpet::state, &before, &after, shift);
        check(LocalApic::new(0, 0x14), LocalApic::state, &before, &after, shift);
        check(IoApic::new(0x20), IoApic::state, &before, &after, shift);
    }
}
