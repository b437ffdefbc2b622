//! What must hold for every chip on the board that a guest can poke: no access panics, time shifts
//! change nothing but time, and a saved state carries everything.

use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use warmboot_chipset::fw_cfg::{self, FwCfg, Item};
use warmboot_chipset::host_bridge::{self, HostBridge};
use warmboot_chipset::i8042::{self, I8042};
use warmboot_chipset::piix3::{self, Piix3};
use warmboot_chipset::piix4_pm::{self, Piix4Pm};
use warmboot_chipset::port92::{Port92, ResetBit};
use warmboot_chipset::post_code::PostCode;
use warmboot_chipset::uart16550::{self, Uart16550};
use warmboot_chipset::{Chip, Effects, GuestMemory, Moment, ResetKind, keys};

/// One thing that happens to a chip.
#[derive(Clone, Debug)]
enum Event {
    Read { region: u8, offset: u64, size: u8 },
    Write { region: u8, offset: u64, size: u8, value: u64 },
    ConfigRead { offset: u8, size: u8 },
    ConfigWrite { offset: u8, size: u8, value: u32 },
    Input { pin: u8, level: bool },
    Reset { power: bool },
    Wait { nanoseconds: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    let size = prop_oneof![Just(1u8), Just(2), Just(4)];
    // Values and offsets that mean something are tried more often than others.
    let value = prop_oneof![any::<u64>(), 0u64..256, Just(0x601), Just(u64::MAX)];
    prop_oneof![
        4 => (any::<u8>(), 0u64..64, size.clone())
            .prop_map(|(region, offset, size)| Event::Read { region, offset, size }),
        8 => (any::<u8>(), 0u64..64, size.clone(), value)
            .prop_map(|(region, offset, size, value)| Event::Write { region, offset, size, value }),
        1 => (any::<u8>(), size.clone()).prop_map(|(offset, size)| Event::ConfigRead { offset, size }),
        2 => (any::<u8>(), size, any::<u32>())
            .prop_map(|(offset, size, value)| Event::ConfigWrite { offset, size, value }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(pin, level)| Event::Input { pin, level }),
        1 => any::<bool>().prop_map(|power| Event::Reset { power }),
        2 => prop_oneof![0u64..10_000, 0u64..10_000_000_000, Just(1 << 50)]
            .prop_map(|nanoseconds| Event::Wait { nanoseconds }),
    ]
}

/// Memory whose bytes are a function of their address; writes are forgotten.
struct Pattern;

impl GuestMemory for Pattern {
    fn read(&mut self, address: u64, bytes: &mut [u8]) {
        for (byte, index) in bytes.iter_mut().zip(0u64..) {
            *byte = (address.wrapping_add(index).wrapping_mul(37) >> 3) as u8;
        }
    }

    fn write(&mut self, _address: u64, _bytes: &[u8]) {}
}

/// Lets one event happen and returns what could be seen of it, moments apart.
fn happen(chip: &mut dyn Chip, now: &mut Moment, event: &Event) -> String {
    let mut fx = Effects::at(*now);
    let mut value = 0;
    let regions = chip.regions();
    let place = |region: u8, offset: u64, size: u8| {
        let region = regions.get(usize::from(region) % regions.len().max(1))?;
        let size = size.min(region.widest);
        let offset = offset % region.length;
        (offset + u64::from(size) <= region.length).then_some((region.index, offset, size))
    };
    match *event {
        Event::Read { region, offset, size } => {
            if let Some((index, offset, size)) = place(region, offset, size) {
                value = chip.read(index, offset, size, &mut fx);
            }
        }
        Event::Write { region, offset, size, value } => {
            if let Some((index, offset, size)) = place(region, offset, size) {
                chip.write(index, offset, size, value, &mut fx);
            }
        }
        Event::ConfigRead { offset, size } => {
            value = u64::from(chip.config_read(offset, size, &mut fx));
        }
        Event::ConfigWrite { offset, size, value } => chip.config_write(offset, size, value, &mut fx),
        Event::Input { pin, level } => chip.input(pin, level, &mut fx),
        Event::Reset { power: true } => chip.reset(ResetKind::PowerOn, &mut fx),
        Event::Reset { power: false } => chip.reset(ResetKind::System, &mut fx),
        Event::Wait { nanoseconds } => *now = now.after(nanoseconds),
    }
    if fx.service {
        chip.service(&mut Pattern, &mut fx);
    }
    // Whoever meets a deadline must move on, within few calls.
    let mut due = Vec::new();
    for _ in 0..4 {
        if chip.deadline().is_some_and(|deadline| deadline <= *now) {
            let mut fx = Effects::at(*now);
            chip.on_deadline(&mut fx);
            due.push(fx.lines);
        }
    }
    assert!(chip.deadline().is_none_or(|deadline| deadline > *now), "a deadline that stays");
    format!("{value:x} {:?} {:?} {:?} {:?} {:?} {due:?}", fx.lines, fx.output, fx.power, fx.reset, fx.a20)
}

/// Runs `events` on three copies of a chip: one plain, one moved in time half way, one saved and
/// restored half way. All must show the same.
fn check<C: Chip + Clone, S: Serialize + DeserializeOwned>(
    chip: &C,
    state: fn(&C) -> S,
    restore: fn(&mut C, S),
    events: &[Event],
    shift: u32,
) {
    let (first, second) = events.split_at(events.len() / 2);
    let mut plain = chip.clone();
    let mut now = Moment(0);
    for event in first {
        happen(&mut plain, &mut now, event);
    }

    let mut shifted = plain.clone();
    shifted.shift_time(i64::from(shift));
    let mut shifted_now = now;
    shifted_now.shift(i64::from(shift));

    let json = serde_json::to_string(&state(&plain)).expect("a state can be written");
    let mut restored = chip.clone();
    restore(&mut restored, serde_json::from_str(&json).expect("a state can be read"));
    let mut restored_now = now;

    for event in second {
        let expect = happen(&mut plain, &mut now, event);
        assert_eq!(happen(&mut shifted, &mut shifted_now, event), expect, "shifted, {event:?}");
        assert_eq!(happen(&mut restored, &mut restored_now, event), expect, "restored, {event:?}");
    }
    shifted.shift_time(-i64::from(shift));
    let json = |chip: &C| serde_json::to_value(state(chip)).expect("a state can be written");
    assert_eq!(json(&shifted), json(&plain));
    assert_eq!(json(&restored), json(&plain));
}

macro_rules! chips {
    ($($name:ident: $chip:ty = $new:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
            $(
                #[test]
                fn $name(events in prop::collection::vec(event(), 0..80), shift in any::<u32>()) {
                    let chip: $chip = $new;
                    check(&chip, |chip| chip.state().clone(), <$chip>::restore, &events, shift);
                }
            )*
        }
    };
}

fn controller_with_keys() -> I8042 {
    let mut controller = I8042::new(i8042::Config { byte_delay: 1000 });
    let keys = keys::parse("ctrl-alt-delete").expect("three keys");
    let mut fx = Effects::at(Moment(0));
    controller.press(&keys, i8042::HOLD_NS, &mut fx);
    controller.mouse_event(1000, -1000, 3, 1, &mut fx);
    controller
}

fn port_with_bytes() -> Uart16550 {
    let mut port = Uart16550::new(uart16550::Config { base: 0x3f8 });
    let mut fx = Effects::at(Moment(0));
    port.write(0, 2, 1, 0xc1, &mut fx);
    (0..20).for_each(|byte| {
        port.receive(byte, &mut fx);
    });
    port
}

fn items() -> fw_cfg::Config {
    let writable = Item { writable: true, ..Item::file("b", [7; 300]) };
    fw_cfg::Config { dma: true, file_slots: 4, items: vec![Item::file("a", [1, 2, 3]), writable] }
}

chips! {
    host_bridge: HostBridge = HostBridge::new(host_bridge::Config { honours_lock: true, ..Default::default() });
    isa_bridge: Piix3 = Piix3::new(piix3::Config::default());
    power_management: Piix4Pm = Piix4Pm::new(piix4_pm::Config::default());
    keyboard_controller: I8042 = controller_with_keys();
    serial_port: Uart16550 = port_with_bytes();
    system_control_port: Port92 = Port92::new(ResetBit::Edge);
    post_code: PostCode = PostCode::new();
    firmware_configuration: FwCfg = FwCfg::new(items()).expect("good items");
}
