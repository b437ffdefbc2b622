//! What machine types bring with them, on every generation.

use rstest::rstest;
use warmboot_machine::{Config, Ended, Firmware, Limits, Machine, ResetPath, generations, machine_types};

/// An image of `size` bytes that executes `code` (16-bit) at the reset vector.
fn firmware(size: usize, code: &[u8]) -> Firmware {
    let mut bytes = vec![0xf4; size];
    let vector = size - 16;
    bytes[vector..vector + code.len()].copy_from_slice(code);
    Firmware { name: "reset vector".to_owned(), bytes: bytes.into() }
}

fn machine(machine: &str, emulator: &str, firmware: Firmware) -> Machine {
    let config =
        Config { machine: machine.to_owned(), emulator: emulator.to_owned(), firmware, ..Config::default() };
    Machine::new(&config).expect("a machine")
}

fn run(machine: &mut Machine) -> Ended {
    let limits = Limits { instructions: Some(1000), time: None, slice: None };
    machine.run(&[], limits).expect("a run")
}

/// `mov eax, 40000000h; cpuid; hlt`.
const WHO: [u8; 9] = [0x66, 0xb8, 0, 0, 0, 0x40, 0x0f, 0xa2, 0xf4];

#[rstest]
#[case::tcg("pc-i440fx-7.2", "qemu", 0x5447_4354)]
#[case::tcg_hidden("pc-i440fx-2.8", "qemu", 0)]
#[case::kvm("rhel6.5.0", "qemu-kvm-0.12-rhel6", 0x4b4d_564b)]
#[case::kvm_is_not_hidden("pc-i440fx-1.4", "qemu-kvm-1.5-rhel7", 0x4b4d_564b)]
// Nobody: leaf 4 answers, as the highest there is.
#[case::before_tcg_had_a_name("pc-0.13", "qemu-0.13", 0x01c0_003f)]
#[case::nobody("pc-0.13", "hardware", 0x01c0_003f)]
fn hypervisor_leaf(#[case] machine_type: &str, #[case] emulator: &str, #[case] expect: u64) {
    let mut machine = machine(machine_type, emulator, firmware(0x1_0000, &WHO));
    run(&mut machine);
    assert_eq!(machine.register("ebx"), Some(expect));
}

/// Any type can be had on any generation, with an image of any size: it runs, and it can be reset.
#[test]
fn every_type_on_every_generation() {
    for machine_type in machine_types::ALL {
        for generation in generations::ALL {
            for size in [0x1_0000, 0x2_0000, 0x4_0000] {
                let image = firmware(size, &[0xf4]);
                let mut machine = machine(machine_type.name, generation.name, image);
                for _ in 0..2 {
                    let ended = run(&mut machine);
                    let what = format!("{} on {}, {size:#x}", machine_type.name, generation.name);
                    assert_eq!(ended, Ended::Halt, "{what}");
                    machine.reset(ResetPath::System).expect("a reset");
                }
            }
        }
    }
}

/// Where a type is said to be offered, there is such a generation; and each generation has a type.
#[test]
fn generations_that_offer_a_type() {
    for machine_type in machine_types::ALL {
        assert!(!machine_type.generations.is_empty(), "{}", machine_type.name);
        for name in machine_type.generations {
            assert!(generations::find(name).is_some(), "{}: {name}", machine_type.name);
        }
    }
    for generation in generations::ALL.iter().filter(|generation| generation.name != "hardware") {
        let offered = machine_types::ALL.iter().any(|row| row.generations.contains(&generation.name));
        assert!(offered, "{}", generation.name);
    }
}

/// Which chips a type carries.
#[rstest]
#[case::pc("pc-i440fx-7.2", &["i440fx", "piix4-pm", "hpet", "ioapic", "apic"], &["isa-ide", "mch"])]
#[case::no_hpet("rhel6.5.0", &["i440fx", "piix4-pm", "ioapic", "apic"], &["hpet"])]
#[case::no_pci("isapc", &["isa-ide", "fdc", "fw_cfg"], &["i440fx", "piix4-pm", "hpet", "ioapic", "apic"])]
fn chips(#[case] machine_type: &str, #[case] present: &[&str], #[case] absent: &[&str]) {
    let machine = machine(machine_type, "qemu", firmware(0x2_0000, &[0xf4]));
    let chips: Vec<&str> = machine.chips().collect();
    assert!(present.iter().all(|name| chips.contains(name)), "{chips:?}");
    assert!(!absent.iter().any(|name| chips.contains(name)), "{chips:?}");
}

/// What a read finds where nothing answers: just above all of a small machine's memory.
#[rstest]
#[case::emulator("qemu", 0)]
#[case::hardware("hardware", 0xffff)]
fn unmapped_reads(#[case] emulator: &str, #[case] expect: u64) {
    // mov ax, ffffh; mov ds, ax; mov ax, [fff0h]; hlt: 10FFE0h, with 1 MiB of RAM.
    let code = [0xb8, 0xff, 0xff, 0x8e, 0xd8, 0xa1, 0xf0, 0xff, 0xf4];
    let config = Config {
        emulator: emulator.to_owned(),
        memory: 1 << 20,
        firmware: firmware(0x1_0000, &code),
        ..Config::default()
    };
    let mut machine = Machine::new(&config).expect("a machine");
    run(&mut machine);
    assert_eq!(machine.register("eax").map(|eax| eax & 0xffff), Some(expect));
}
