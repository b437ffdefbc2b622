//! A Q35 machine: what its functions show, what a reset leaves, where drives go.

use std::sync::Arc;

use rstest::rstest;
use warmboot_chipset::disk::ZeroSource;
use warmboot_machine::{
    Condition, Config, Drive, DriveKind, Ended, Firmware, Limits, Machine, ResetPath, Slot,
};

fn drive(at: &str, kind: DriveKind) -> Drive {
    Drive {
        at: at.parse().expect("a slot"),
        kind,
        source: Arc::new(ZeroSource { size: 1 << 20 }),
        name: at.to_owned(),
        read_only: false,
        latency: 0,
    }
}

fn config(machine: &str, code: &[u8], drives: Vec<Drive>) -> Config {
    let mut image = vec![0xf4; 0x1_0000];
    image[..code.len()].copy_from_slice(code);
    image[0xfff0..0xfff5].copy_from_slice(&[0xea, 0x00, 0x00, 0x00, 0xf0]);
    let firmware = Firmware { name: "test".into(), bytes: image.into() };
    Config { machine: machine.into(), firmware, drives, ..Config::default() }
}

/// The dwords of a function that are not zero, as QEMU 7.2's monitor shows them.
type Registers = &'static [(usize, u32)];

#[rstest]
#[case::host_bridge((0, 0), &[
    (0x00, 0x29c0_8086), (0x08, 0x0600_0000), (0x2c, 0x1100_1af4), (0x50, 0x10), (0x60, 0xb000_0000),
    (0x9c, 0x0038_0200),
])]
#[case::lpc((31, 0), &[
    (0x00, 0x2918_8086), (0x08, 0x0601_0002), (0x0c, 0x0080_0000), (0x2c, 0x1100_1af4), (0x40, 1),
    (0x60, 0x8080_8080), (0x68, 0x8080_8080),
])]
#[case::ahci((31, 2), &[
    (0x00, 0x2922_8086), (0x04, 0x0010_0000), (0x08, 0x0106_0102), (0x0c, 0x0080_0000), (0x20, 1),
    (0x2c, 0x1100_1af4), (0x34, 0x80), (0x3c, 0x100), (0x80, 0x0080_a805), (0x90, 0x40),
    (0xa8, 0x0010_0012), (0xac, 0x48),
])]
#[case::smbus((31, 3), &[
    (0x00, 0x2930_8086), (0x08, 0x0c05_0002), (0x0c, 0x0080_0000), (0x20, 1), (0x2c, 0x1100_1af4),
    (0x3c, 0x100),
])]
fn power_on(#[case] function: (u8, u8), #[case] expect: Registers) {
    let machine = Machine::new(&config("pc-q35-7.2", &[], Vec::new())).expect("a machine");
    let (_, bytes) = machine.pci_config().find(|(at, _)| *at == function).expect("the function");
    let dwords = bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let found: Vec<(usize, u32)> =
        dwords.enumerate().filter(|(_, value)| *value != 0).map(|(at, value)| (4 * at, value)).collect();
    assert_eq!(found, expect);
}

/// 16-bit code that writes `value` to register `register` of function `devfn` through CF8h, CFCh.
fn put(devfn: u8, register: u8, value: u32) -> Vec<u8> {
    let address = 0x8000_0000 | u32::from(devfn) << 8 | u32::from(register);
    let out = |port: u16, value: u32| {
        let mut code = vec![0x66, 0xb8];
        code.extend(value.to_le_bytes());
        code.push(0xba);
        code.extend(port.to_le_bytes());
        code.extend([0x66, 0xef]);
        code
    };
    [out(0xcf8, address), out(0xcfc, value)].concat()
}

/// What the address map shows after the guest has set PAM and the windows, and after a reset: PAM
/// stays, the windows go.
#[test]
fn reset_closes_the_windows_and_keeps_pam() {
    let code = [
        put(0, 0x90, 0x1111_1100),
        put(0, 0x60, 0xb000_0001),
        put(0xf8, 0xf0, 0xfed1_c001),
        put(0xf8, 0x40, 0x601),
        vec![0xfa, 0xf4],
    ]
    .concat();
    let mut machine = Machine::new(&config("pc-q35-7.2", &code, Vec::new())).expect("a machine");
    let limits = Limits { instructions: Some(1000), time: None, slice: None };
    assert_eq!(machine.run(&[], limits), Ok(Ended::Halt));
    let shows = |machine: &Machine| {
        let map = machine.memory_map();
        ["pcie-mmcfg-mmio", "lpc-rcrb-mmio", "acpi-evt", "rom): pc.ram"].map(|name| map.contains(name))
    };
    assert_eq!(shows(&machine), [true; 4]);
    machine.reset(ResetPath::System).expect("a running machine");
    assert_eq!(shows(&machine), [false, false, false, true]);
}

/// Protected-mode code with flat segments reads a register through the window.
#[test]
fn the_window_is_configuration_space() {
    const GDT: u16 = 0x100;
    let mut code = put(0, 0x60, 0xb000_0001);
    code.extend([0x2e, 0x0f, 0x01, 0x16]); // LGDT CS:[GDT]
    code.extend(GDT.to_le_bytes());
    code.extend([0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0]); // CR0.PE on
    code.extend([0xb8, 0x08, 0x00, 0x8e, 0xd8]); // DS: 4 GiB
    code.extend([0x67, 0x66, 0x8b, 0x1d]); // MOV EBX,[B00FA000h]
    code.extend(0xb00f_a000_u32.to_le_bytes());
    code.extend([0x67, 0x66, 0x8b, 0x0d]); // MOV ECX,[B00F9100h]: no such function
    code.extend(0xb00f_9100_u32.to_le_bytes());
    code.extend([0x67, 0xc6, 0x05]); // MOV BYTE [B00FB03Ch],0Ah
    code.extend(0xb00f_b03c_u32.to_le_bytes());
    code.extend([0x0a, 0xfa, 0xf4]);
    code.resize(GDT.into(), 0xf4);
    code.extend([15, 0]);
    code.extend((0xf_0000_u32 + u32::from(GDT) + 8).to_le_bytes());
    code.resize(usize::from(GDT) + 16, 0);
    code.extend([0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0]);
    let mut machine = Machine::new(&config("pc-q35-7.2", &code, Vec::new())).expect("a machine");
    let limits = Limits { instructions: Some(1000), time: None, slice: None };
    assert_eq!(machine.run(&["halt".parse::<Condition>().expect("a condition")], limits), Ok(Ended::Halt));
    assert_eq!((machine.register("ebx"), machine.register("ecx")), (Some(0x2922_8086), Some(0xffff_ffff)));
    let (_, smbus) = machine.pci_config().find(|(at, _)| *at == (31, 3)).expect("the function");
    assert_eq!(smbus[0x3c], 0x0a);
}

#[rstest]
#[case::sata("pc-q35-7.2", &["sata0", "sata5"], Ok(()))]
#[case::ide_names("pc-q35-7.2", &["ide0-0", "ide1-1", "sata4"], Ok(()))]
#[case::twice("pc-q35-7.2", &["ide0-1", "sata1"], Err("drive sata1: there is another at sata1"))]
#[case::no_floppy("pc-q35-7.2", &["floppy0"], Err("drive floppy0: the machine `pc-q35-7.2` has no floppy drives"))]
#[case::no_sata("pc-i440fx-7.2", &["sata0"], Err("drive sata0: the machine `pc-i440fx-7.2` has no SATA ports"))]
fn drives(#[case] machine: &str, #[case] slots: &[&str], #[case] expect: Result<(), &str>) {
    let kind = |at: &str| match at.parse() {
        Ok(Slot::Floppy(_)) => DriveKind::Floppy,
        _ => DriveKind::HardDisk,
    };
    let drives = slots.iter().map(|at| drive(at, kind(at))).collect();
    let built = Machine::new(&config(machine, &[], drives)).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(built, expect.map_err(str::to_owned));
}
