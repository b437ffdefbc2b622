//! Virtio devices on the boards: their slots, their interrupts, and what no machine can have.

use std::sync::Arc;

use rstest::rstest;
use warmboot_machine::{
    Adapter, Config, Drive, DriveKind, Firmware, Machine, Vga, VirtioInterface, ZeroSource,
};

fn config(machine: &str, slots: &[&str]) -> Config {
    let drive = |at: &&str| Drive {
        at: at.parse().expect("a slot"),
        kind: DriveKind::HardDisk,
        source: Arc::new(ZeroSource { size: 1 << 20 }),
        name: "zero:1M".into(),
        read_only: false,
        latency: 0,
    };
    Config {
        machine: machine.into(),
        firmware: Firmware { name: "test".into(), bytes: vec![0xf4; 64 << 10].into() },
        memory: 4 << 20,
        drives: slots.iter().map(drive).collect(),
        ..Config::default()
    }
}

/// Slot and device of each virtio function.
fn functions(config: &Config) -> Vec<(u8, u16)> {
    let machine = Machine::new(config).expect("a machine");
    let all = machine.pci_config().map(|((slot, _), bytes)| (slot, bytes));
    let virtio = all.filter(|(_, bytes)| bytes[..2] == [0xf4, 0x1a]);
    virtio.map(|(slot, bytes)| (slot, u16::from_le_bytes([bytes[2], bytes[3]]))).collect()
}

#[rstest]
#[case::one("pc-i440fx-7.2", &["virtio0"], false, false, &[(2, 0x1001)])]
#[case::behind_a_display("pc-i440fx-7.2", &["virtio0"], true, true, &[(3, 0x1001), (4, 0x1005)])]
#[case::in_their_order("pc-i440fx-2.6", &["virtio3", "ide0-0", "virtio1"], true, false,
    &[(2, 0x1001), (3, 0x1001), (4, 0x1005)])]
#[case::entropy_alone("pc-q35-7.2", &[], true, false, &[(1, 0x1005)])]
#[case::all("pc-q35-7.2", &["virtio0", "virtio1", "virtio2", "virtio3"], true, true,
    &[(2, 0x1001), (3, 0x1001), (4, 0x1001), (5, 0x1001), (6, 0x1005)])]
fn slots(
    #[case] machine: &str,
    #[case] drives: &[&str],
    #[case] rng: bool,
    #[case] vga: bool,
    #[case] expect: &[(u8, u16)],
) {
    let rom = Firmware { name: "rom".into(), bytes: vec![0; 512].into() };
    let config =
        Config { rng, vga: vga.then_some(Vga { adapter: Adapter::Std, rom }), ..config(machine, drives) };
    assert_eq!(functions(&config), expect);
    let modern = Config { virtio: Some(VirtioInterface::Modern), ..config };
    let numbers: Vec<u16> = functions(&modern).into_iter().map(|(_, device)| device).collect();
    assert!(numbers.iter().all(|device| [0x1042, 0x1044].contains(device)), "{numbers:x?}");
}

/// A disk's MSI-X table has an entry for each queue and one for the configuration; its size is told less one.
#[rstest]
#[case::v7_2("pc-i440fx-7.2", 4, &[4, 1])]
#[case::v5_2("pc-i440fx-5.2", 2, &[2])]
#[case::v5_2_alone("pc-i440fx-5.2", 1, &[1])]
#[case::v5_1("pc-i440fx-5.1", 2, &[1])]
fn queues(#[case] machine: &str, #[case] cpus: u32, #[case] expect: &[u8]) {
    let config = Config { cpus, rng: machine.ends_with("7.2"), ..config(machine, &["virtio0"]) };
    let machine = Machine::new(&config).expect("a machine");
    let sizes =
        machine.pci_config().filter(|(_, bytes)| bytes[..2] == [0xf4, 0x1a]).map(|(_, bytes)| bytes[0x9a]);
    let sizes: Vec<u8> = sizes.collect();
    assert_eq!(sizes, expect);
}

#[rstest]
#[case::disk(config("isapc", &["virtio0"]), "drive virtio0: the machine `isapc` has no PCI slots for virtio")]
#[case::entropy(Config { rng: true, ..config("isapc", &[]) },
    "an entropy device: the machine `isapc` has no PCI slots")]
fn refused(#[case] config: Config, #[case] expect: &str) {
    let error = Machine::new(&config).map(|_| ()).expect_err("refused").to_string();
    assert_eq!(error, expect);
}

/// What the guest will see is in the digest.
#[test]
fn digests() {
    let digest = |change: fn(&mut Config)| {
        let mut config = config("pc-i440fx-7.2", &["virtio0"]);
        change(&mut config);
        Machine::new(&config).expect("a machine").digest()
    };
    let plain = digest(|_| {});
    assert_eq!(digest(|_| {}), plain);
    assert_ne!(digest(|config| config.rng = true), plain);
    assert_ne!(digest(|config| config.virtio = Some(VirtioInterface::Modern)), plain);
    let seeded = |config: &mut Config| (config.rng, config.seed) = (true, 1);
    assert_ne!(digest(seeded), digest(|config| config.rng = true));
}
