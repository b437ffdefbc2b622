//! What each emulator generation shows at which address, and what its resets and power paths do.

mod common;

use common::limits;
use rstest::rstest;
use warmboot_machine::{
    Condition, Config, Ended, Firmware, Generation, Machine, Path, PowerState, ResetPath, generations,
};

/// Configuration registers of the host bridge.
const PAM0: u8 = 0x59;
const PAM1: u8 = 0x5a;
const SMRAM: u8 = 0x72;

/// A 256 KiB image that runs `code` where no PAM register reaches, just below 4 GiB; each byte
/// before it is its own offset's page number.
fn image(code: &[u8]) -> Vec<u8> {
    let mut image: Vec<u8> = (0..0x4_0000u32).map(|offset| (offset >> 12) as u8).collect();
    image[0x3_0000..0x3_0000 + code.len()].copy_from_slice(code);
    image[0x3_fff0..0x3_fff3].copy_from_slice(&[0xe9, 0x0d, 0x00]); // JMP 0000
    image
}

fn machine_of(generation: Generation, code: &[u8]) -> Machine {
    let firmware = Firmware { name: "test".into(), bytes: image(code).into() };
    let generation = Some(generation);
    let config = Config { firmware, generation, serial: true, path: Path::Cached, ..Config::default() };
    Machine::new(&config).expect("a machine")
}

fn machine(emulator: &str, code: &[u8]) -> Machine {
    machine_of(*generations::find(emulator).expect("a generation"), code)
}

/// OUT of each byte to its port.
fn out(writes: &[(u16, u8)]) -> Vec<u8> {
    let write = |(port, value): &(u16, u8)| {
        let [low, high] = port.to_le_bytes();
        [0xba, low, high, 0xb0, *value, 0xee] // MOV DX,port; MOV AL,value; OUT DX,AL
    };
    writes.iter().flat_map(write).collect()
}

/// Writes each byte to its configuration register of device 0 or, with bit 8 to 15, of another
/// function.
fn configure(writes: &[(u16, u8)]) -> Vec<u8> {
    let write = |(register, value): &(u16, u8)| {
        let [low, function] = (register & !3).to_le_bytes();
        // MOV EAX,address; MOV DX,0CF8h; OUT DX,EAX
        let mut code = vec![0x66, 0xb8, low, function, 0x00, 0x80, 0xba, 0xf8, 0x0c, 0x66, 0xef];
        code.extend(out(&[(0xcfc + (register & 3), *value)]));
        code
    };
    writes.iter().flat_map(write).collect()
}

const STOP: [u8; 2] = [0xfa, 0xf4]; // CLI; HLT

/// Runs `code` to its end.
#[track_caller]
fn run_code(emulator: &str, code: &[u8]) -> Machine {
    let mut machine = machine(emulator, &[code, &STOP].concat());
    assert_eq!(machine.run(&[], limits(10_000, None)), Ok(Ended::Halt));
    machine
}

/// `block+offset` that reads of `address` come from and that writes go to.
fn found(machine: &Machine, address: u64) -> [String; 2] {
    let Some(range) = machine.view().lookup(address) else { return ["-".into(), "-".into()] };
    [range.read_at(address), range.write_at(address)].map(|target| match target {
        warmboot_memory::Target::Block { block, offset } => {
            format!("{}+{offset:x}", machine.memory().info(block).name)
        }
        _ => "-".to_owned(),
    })
}

#[track_caller]
fn check_map(emulator: &str, registers: &[(u8, u8)], address: u64, expect: [&str; 2]) {
    let writes: Vec<(u16, u8)> = registers.iter().map(|(at, value)| (u16::from(*at), *value)).collect();
    let machine = run_code(emulator, &configure(&writes));
    assert_eq!(found(&machine, address), expect, "{emulator}");
}

/// One range of the shadowed area, on generations that behave alike there.
#[rstest]
#[case::pci(0x00, ["pc.bios+30123", "-"])]
#[case::read(0x10, ["pc.ram+f0123", "-"])]
#[case::ram(0x30, ["pc.ram+f0123", "pc.ram+f0123"])]
fn pam_modes_all_emulators_agree_on(
    #[values("qemu-0.12-rhel6", "qemu-0.13", "qemu-kvm-1.5-rhel7", "qemu", "hardware")] emulator: &str,
    #[case] pam0: u8,
    #[case] expect: [&str; 2],
) {
    check_map(emulator, &[(PAM0, pam0)], 0xf_0123, expect);
}

#[rstest]
#[case("qemu-kvm-0.12-rhel6", ["pc.bios+30123", "pc.bios+30123"])]
#[case("qemu-kvm-0.13", ["pc.bios+30123", "pc.bios+30123"])]
#[case("qemu-0.12-rhel6", ["pc.bios+30123", "-"])]
#[case("qemu-0.13", ["pc.bios+30123", "-"])]
#[case("qemu-kvm-1.5-rhel7", ["pc.bios+30123", "-"])]
#[case("qemu", ["pc.ram+f0123", "pc.ram+f0123"])]
#[case("hardware", ["pc.bios+30123", "pc.ram+f0123"])]
fn pam_mode_2(#[case] emulator: &str, #[case] expect: [&str; 2]) {
    check_map(emulator, &[(PAM0, 0x20)], 0xf_0123, expect);
}

/// Where writes may go to what is below, mode 1 on hardware writes it.
#[rstest]
#[case("qemu-kvm-0.12-rhel6", 0x01, ["pc.rom+10", "pc.rom+10"])]
#[case("qemu-0.13", 0x01, ["pc.ram+c0010", "-"])]
#[case("qemu-0.13", 0x00, ["pc.rom+10", "pc.rom+10"])]
#[case("qemu-0.13", 0x02, ["pc.rom+10", "pc.rom+10"])]
#[case("qemu-kvm-1.5-rhel7", 0x00, ["pc.rom+10", "pc.rom+10"])]
#[case("qemu", 0x00, ["pc.rom+10", "-"])]
#[case("qemu", 0x01, ["pc.ram+c0010", "-"])]
#[case("hardware", 0x00, ["pc.rom+10", "-"])]
fn option_rom_area(#[case] emulator: &str, #[case] pam1: u8, #[case] expect: [&str; 2]) {
    check_map(emulator, &[(PAM1, pam1)], 0xc_0010, expect);
}

/// The registers store where they do nothing.
#[rstest]
#[case(0xf_fff0, ["pc.bios+3fff0", "pc.bios+3fff0"])]
#[case(0xe_0000, ["pc.bios+20000", "pc.bios+20000"])]
#[case(0xffff_fff0, ["pc.bios+3fff0", "pc.bios+3fff0"])]
#[case(0xfffc_0000, ["pc.bios+0", "pc.bios+0"])]
#[case(0xa_0000, ["-", "-"])]
#[case(0x9_ffff, ["pc.ram+9ffff", "pc.ram+9ffff"])]
#[case(0x10_0000, ["pc.ram+100000", "pc.ram+100000"])]
fn inert(
    #[values("qemu-kvm-0.12-rhel6", "qemu-kvm-0.13")] emulator: &str,
    #[case] address: u64,
    #[case] expect: [&str; 2],
) {
    let registers = [(PAM0, 0x33), (PAM1, 0x33), (0x5d, 0x33), (SMRAM, 0x4a)];
    check_map(emulator, &registers, address, expect);
    let writes: Vec<(u16, u8)> = registers.iter().map(|(at, value)| (u16::from(*at), *value)).collect();
    let machine = run_code(emulator, &configure(&writes));
    let (_, config) = machine.pci_config().next().expect("a host bridge");
    assert_eq!([config[0x59], config[0x5a], config[0x72]], [0x33, 0x33, 0x4a]);
}

#[rstest]
#[case("qemu-kvm-0.12-rhel6", 0x4a, ["-", "-"])]
#[case("qemu-0.12-rhel6", 0x4a, ["pc.ram+a0000", "pc.ram+a0000"])]
#[case("qemu-0.12-rhel6", 0x0a, ["-", "-"])]
#[case("hardware", 0x4a, ["pc.ram+a0000", "pc.ram+a0000"])]
#[case("hardware", 0x02, ["-", "-"])]
#[case("hardware", 0x5a, ["-", "-"])] // D_LCK clears D_OPEN
#[case("qemu", 0x02, ["pc.ram+a0000", "pc.ram+a0000"])] // an empty pci window shows what is below
#[case("qemu-kvm-1.5-rhel7", 0x4a, ["pc.ram+a0000", "pc.ram+a0000"])]
fn smram_window(#[case] emulator: &str, #[case] smram: u8, #[case] expect: [&str; 2]) {
    check_map(emulator, &[(SMRAM, smram)], 0xa_0000, expect);
}

/// A write to one view of a writable pc.bios is seen in the other, and in no case in a read-only one.
#[rstest]
#[case("qemu-kvm-0.12-rhel6", [0x5a, 0x5a])]
#[case("qemu-kvm-0.13", [0x5a, 0x5a])]
#[case("qemu-0.13", [0x3e, 0x3e])]
#[case("qemu-kvm-1.5-rhel7", [0x3e, 0x3e])]
#[case("qemu", [0x3e, 0x3e])]
#[case("hardware", [0x3e, 0x3e])]
fn bios_writes(#[case] emulator: &str, #[case] expect: [u8; 2]) {
    let mut machine = run_code(emulator, &[]);
    machine.write_memory(0xf_e000, &[0x5a]);
    let mut bytes = [0; 2];
    machine.read_memory(0xf_e000, &mut bytes[..1]);
    machine.read_memory(0xffff_e000, &mut bytes[1..]);
    assert_eq!(bytes, expect);
    assert_eq!(machine.generation().bios_writable(), expect == [0x5a, 0x5a]);
}

/// A generation that keeps the image writes it afresh, if there is something to restore.
#[rstest]
#[case(true, 0x3e)]
#[case(false, 0x5a)]
fn restored(#[case] bios_restored: bool, #[case] expect: u8) {
    let original = *generations::find("qemu-kvm-0.12-rhel6").expect("a generation");
    let mut machine = machine_of(Generation { bios_restored, ..original }, &STOP);
    machine.write_memory(0xf_e000, &[0x5a]);
    machine.reset(ResetPath::System).expect("it runs");
    let mut byte = [0];
    machine.read_memory(0xf_e000, &mut byte);
    assert_eq!(byte, [expect]);
}

/// What the guest does to be reset or switched off, and how it ends on each generation: `reset`,
/// `init` (the processor alone: PAM and the chips stay) or `halt` after no effect.
#[rstest]
#[case::keyboard(&[(0x64, 0xfe)],
    ["reset", "reset", "reset", "reset", "reset", "reset", "init"])]
#[case::port92(&[(0x92, 0x02), (0x92, 0x03)], // bit 1: A20 stays open
    ["halt", "halt", "halt", "halt", "reset", "reset", "init"])]
#[case::cf9_hard(&[(0xcf9, 0x02), (0xcf9, 0x06)],
    ["halt", "halt", "halt", "halt", "reset", "reset", "reset"])]
#[case::cf9_soft(&[(0xcf9, 0x00), (0xcf9, 0x04)],
    ["halt", "halt", "halt", "halt", "reset", "reset", "init"])]
#[case::shutdown_port(
    &[(0x8900, b'S'), (0x8900, b'h'), (0x8900, b'u'), (0x8900, b't'),
      (0x8900, b'd'), (0x8900, b'o'), (0x8900, b'w'), (0x8900, b'n')],
    ["power-off", "power-off", "power-off", "power-off", "halt", "halt", "halt"])]
fn guest_paths(#[case] writes: &[(u16, u8)], #[case] expect: [&str; 7]) {
    for (generation, expect) in generations::ALL.iter().zip(expect) {
        // The first time only: PAM1 tells whether this is the second.
        let mut code = configure(&[(0x3c, 0x5a)]);
        code.extend(out(writes));
        code.extend(STOP);
        let mut machine = machine_of(**generation, &code);
        let until = [Condition::Reset, "address:ffff:fff0".parse().expect("a condition")];
        let ended = machine.run(&until, limits(1_000, None)).expect("it can come true");
        let (_, config) = machine.pci_config().next().expect("a host bridge");
        let chips_kept = config[0x3c] == 0x5a;
        let found = match ended {
            Ended::Condition(Condition::Reset) if !chips_kept => "reset".to_owned(),
            // An INIT is no reset of the machine: the code runs again, for ever.
            Ended::Limit if chips_kept && machine.resets() == 0 => "init".to_owned(),
            other => other.to_string(),
        };
        assert_eq!(found, expect, "{}", generation.name);
    }
}

/// Where a path pulls INIT# alone, that is no reset of the machine, but a reset by that path.
#[test]
fn a_path_is_waited_for_whatever_it_resets() {
    let code = [out(&[(0x64, 0xfe)]), STOP.to_vec()].concat();
    let mut machine = machine("hardware", &code);
    let keyboard = Condition::ResetBy(ResetPath::Keyboard);
    let ended = machine.run(&[Condition::Reset, keyboard.clone()], limits(1_000, None));
    assert_eq!((ended, machine.resets()), (Ok(Ended::Condition(keyboard)), 0));
}

/// INIT leaves SMBASE, MSRs and the chips, and starts at the reset vector.
#[test]
fn init_is_for_the_processor_alone() {
    let mut machine = run_code("hardware", &configure(&[(u16::from(PAM1), 0x33)]));
    machine.reset(ResetPath::Keyboard).expect("it runs");
    assert_eq!(
        machine.run(&["address:f000:fff0".parse().expect("a condition")], limits(10_000, None)),
        Ok(Ended::Condition("address:f000:fff0".parse().expect("a condition")))
    );
    let (_, config) = machine.pci_config().next().expect("a host bridge");
    assert_eq!((config[usize::from(PAM1)], machine.resets()), (0x33, 0));
    machine.reset(ResetPath::Cf9).expect("it runs");
    let (_, config) = machine.pci_config().next().expect("a host bridge");
    assert_eq!((config[usize::from(PAM1)], machine.resets()), (0x00, 1));
}

/// Which registers outlive a system reset: PAM0, SMRAM and the CMOS shutdown status.
#[rstest]
#[case("qemu-kvm-0.12-rhel6", [0x33, 0x4a, 0x0a])]
#[case("qemu-0.12-rhel6", [0x33, 0x4a, 0x0a])]
#[case("qemu-kvm-0.13", [0x33, 0x4a, 0x0a])]
#[case("qemu-0.13", [0x33, 0x4a, 0x0a])]
#[case("qemu-kvm-1.5-rhel7", [0x33, 0x4a, 0x0a])]
#[case("qemu", [0x33, 0x4a, 0x00])]
#[case("hardware", [0x00, 0x02, 0x0a])]
fn system_reset(#[case] emulator: &str, #[case] expect: [u8; 3]) {
    let mut code = configure(&[(u16::from(PAM0), 0x33), (u16::from(SMRAM), 0x4a)]);
    code.extend(out(&[(0x70, 0x0f), (0x71, 0x0a)]));
    let mut machine = run_code(emulator, &code);
    machine.reset(ResetPath::System).expect("it runs");
    let (_, config) = machine.pci_config().next().expect("a host bridge");
    let cmos = machine.chip_register("rtc", "cmos.15").and_then(|value| value.as_u64());
    assert_eq!([config[0x59], config[0x72], cmos.unwrap_or(0xff) as u8], expect);
}

/// DEVACTB bit 25: firmware is told that SMM is set up.
#[rstest]
#[case("qemu-kvm-0.12-rhel6", 2)]
#[case("qemu-0.12-rhel6", 0)]
#[case("qemu-kvm-1.5-rhel7", 2)]
#[case("qemu", 0)]
fn smm_mark(#[case] emulator: &str, #[case] expect: u8) {
    let machine = run_code(emulator, &[]);
    let (_, config) = machine.pci_config().find(|(place, _)| *place == (1, 3)).expect("a PIIX4");
    assert_eq!(config[0x5b], expect);
}

/// An SMI by port B2h reaches the processor where there is system management mode.
#[rstest]
#[case("qemu-kvm-0.12-rhel6", Ended::Halt)]
#[case("qemu-kvm-1.5-rhel7", Ended::Halt)]
#[case("qemu", Ended::Condition(Condition::Address(warmboot_machine::Address::Linear(0x3_8000))))]
fn smi(#[case] emulator: &str, #[case] expect: Ended) {
    let mut code = configure(&[(0x0b5b, 0x02)]);
    code.extend(out(&[(0xb2, 0x42)]));
    code.extend(STOP);
    let mut machine = machine(emulator, &code);
    let until = ["address:0x38000".parse().expect("a condition")];
    assert_eq!(machine.run(&until, limits(1_000, None)), Ok(expect));
}

/// Turns the power management block on at 600h and writes PM1a_CNT.
fn sleep(sleep_type: u8) -> Vec<u8> {
    let mut code = configure(&[(0x0b40, 0x01), (0x0b41, 0x06), (0x0b80, 0x01)]);
    code.extend(out(&[(0x605, 0x20 | sleep_type << 2)]));
    code.extend(STOP);
    code
}

#[rstest]
#[case("qemu-kvm-0.12-rhel6", PowerState::Suspended, 0xfe)]
#[case("qemu-kvm-0.13", PowerState::On, 0xfe)]
#[case("qemu-0.13", PowerState::On, 0xfe)]
#[case("qemu-kvm-1.5-rhel7", PowerState::Suspended, 0xfe)]
#[case("qemu", PowerState::Suspended, 0xfe)]
#[case("hardware", PowerState::Suspended, 0x00)]
fn suspend(#[case] emulator: &str, #[case] expect: PowerState, #[case] cmos: u64) {
    let mut machine = machine(emulator, &sleep(1));
    machine.write_memory(0x600, &[0x5a]);
    let until = [Condition::Suspend, Condition::Reset];
    let met = if expect == PowerState::On { Condition::Reset } else { Condition::Suspend };
    assert_eq!(machine.run(&until, limits(1_000, None)), Ok(Ended::Condition(met)));
    assert_eq!(machine.power(), expect);
    if expect == PowerState::Suspended {
        // It does not run on by being asked to.
        let digest = machine.digest();
        assert_eq!(machine.run(&[], limits(1_000, None)), Ok(Ended::Suspended));
        assert_eq!(machine.digest(), digest);
        assert!(machine.reset(ResetPath::Keyboard).is_err() && machine.press("power-button").is_err());
        machine.reset(ResetPath::S3Resume).expect("it is suspended");
    }
    let status = machine.chip_register("rtc", "cmos.15").and_then(|value| value.as_u64());
    let pm_status = machine.chip_register("piix4-pm", "pm1.status").and_then(|value| value.as_u64());
    let mut byte = [0];
    machine.read_memory(0x600, &mut byte);
    let waked = pm_status.map(|status| status & 0x8100); // WAK_STS, PWRBTN_STS
    assert_eq!((machine.power(), status, waked, byte), (PowerState::On, Some(cmos), Some(0x8100), [0x5a]));
    assert_eq!(machine.register("eip"), Some(0xfff0));
}

#[test]
fn switched_off_is_final() {
    let mut machine = machine("qemu", &sleep(0));
    assert_eq!(machine.run(&[], limits(1_000, None)), Ok(Ended::PowerOff));
    let digest = machine.digest();
    for (_, path) in ResetPath::ALL {
        assert!(machine.reset(*path).is_err(), "{path}");
    }
    assert!(machine.press("power-button").is_err());
    assert_eq!(machine.run(&[], limits(1_000, None)), Ok(Ended::PowerOff));
    assert_eq!(machine.digest(), digest);
}

/// The button is a status bit, and an interrupt once the guest enables it.
#[test]
fn power_button() {
    let mut code = configure(&[(0x0b40, 0x01), (0x0b41, 0x06), (0x0b80, 0x01)]);
    code.extend(out(&[(0x603, 0x01)]));
    let mut machine = run_code("qemu", &code);
    machine.press("power-button").expect("there is one");
    let bits = |chip: &str, register: &str, mask: u64| {
        machine.chip_register(chip, register).and_then(|value| value.as_u64()).map(|value| value & mask)
    };
    // PWRBTN_STS, and IRQ9 at the slave.
    let found = (bits("piix4-pm", "pm1.status", 0x100), bits("pic", "slave.lines", 2));
    assert_eq!(found, (Some(0x100), Some(2)));
    assert_eq!(machine.power(), PowerState::On);
}

/// Two generations that differ in any field have different digests, whatever their names.
#[test]
fn digests_tell_generations_apart() {
    let original = *generations::find("qemu").expect("a generation");
    let mut digests = std::collections::BTreeSet::from([machine_of(original, &STOP).digest()]);
    for variation in original.variations() {
        let digest = machine_of(variation.generation, &STOP).digest();
        assert!(digests.insert(digest), "{} {}", variation.field, variation.now);
    }
}

/// The tables as people read them.
#[test]
fn tables() {
    for generation in generations::ALL {
        let rows = generation.path_facts();
        let text =
            rows.iter().map(|row| row.columns().map(|(_, value)| value).join(" | ")).collect::<Vec<_>>();
        insta::assert_snapshot!(generation.name, text.join("\n"));
    }
}

/// What the tables say of each reset is what it does.
#[test]
fn tables_are_true() {
    for generation in generations::ALL {
        for row in generation.path_facts() {
            let Ok(path) = row.path.parse::<ResetPath>() else { continue };
            let mut code = configure(&[(u16::from(PAM0), 0x33), (u16::from(SMRAM), 0x0a), (0x3c, 0x5a)]);
            code.extend(out(&[(0x70, 0x0f), (0x71, 0x0a)]));
            code.extend(if path == ResetPath::S3Resume { sleep(1) } else { STOP.to_vec() });
            let mut machine = machine_of(**generation, &code);
            let asleep = path == ResetPath::S3Resume && row.pulled_by != "itself";
            let until = if asleep { Condition::Suspend } else { Condition::Reset };
            machine.write_memory(0x600, &[0x5a]);
            machine.write_memory(0xffff_e000, &[0x5a]);
            machine.run(&[until], limits(10_000, None)).expect("it can come true");
            if row.pulled_by != "itself" {
                machine.reset(path).expect("it runs");
            }

            let (_, config) = machine.pci_config().next().expect("a host bridge");
            let byte = |physical| {
                let mut byte = [0];
                machine.read_memory(physical, &mut byte);
                byte[0]
            };
            let cmos = machine.chip_register("rtc", "cmos.15").and_then(|value| value.as_u64());
            let marked = path == ResetPath::S3Resume && generation.suspend_marks_cmos;
            let found = [
                if machine.register("eip") == Some(0xfff0) { "RESET" } else { "INIT" },
                if config[0x3c] == 0 { "all" } else { "apic" },
                if [config[0x59], config[0x72]] == [0x33, 0x0a] { "kept" } else { "00, 02h" },
                match (cmos, marked) {
                    (Some(0xfe), true) => row.cmos_0f,
                    (Some(0x0a), false) => "kept",
                    _ => "00h unless FEh",
                },
                if byte(0x600) == 0x5a { "kept" } else { "lost" },
                match (byte(0xffff_e000), generation.bios_writable()) {
                    (0x5a, true) => "kept",
                    (_, true) => "image",
                    (0x3e, false) => row.pc_bios,
                    (_, false) => "changed",
                },
            ];
            let said = [row.processor, row.chips, row.pam_smram, row.cmos_0f, row.pc_ram, row.pc_bios];
            assert_eq!(found, said, "{} {path}", generation.name);
        }
    }
}

/// A program on isapc, where nothing stands between the 8259As and the processor, whose only open
/// interrupt is 13, at `handler`: 1.0 is divided by zero, FWAIT waits with interrupts on, and then a byte
/// at 502h counts.
fn numeric_error(handler: &[u8]) -> Machine {
    const HANDLER: u16 = 0x100;
    let [low, high] = HANDLER.to_le_bytes();
    let mut code = vec![0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0]; // XOR AX,AX; MOV DS,AX; MOV SS,AX
    code.extend([0xbc, 0x00, 0x70]); // MOV SP,7000h
    code.extend([0xc7, 0x06, 0xd4, 0x01, low, high]); // vector 75h: its offset,
    code.extend([0xc7, 0x06, 0xd6, 0x01, 0x00, 0xf0]); // and F000
    code.extend(out(&[(0x20, 0x11), (0xa0, 0x11), (0x21, 8), (0xa1, 0x70), (0x21, 4), (0xa1, 2)]));
    code.extend(out(&[(0x21, 1), (0xa1, 1), (0x21, 0xfb), (0xa1, 0xdf)]));
    code.extend([0xdb, 0xe3]); // FNINIT
    code.extend([0xc7, 0x06, 0x00, 0x05, 0x7b, 0x03]); // control word: division by zero is not masked
    code.extend([0xd9, 0x2e, 0x00, 0x05]); // FLDCW
    code.extend([0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9]); // FLD1; FLDZ; FDIVP
    code.extend([0xfb, 0x9b]); // STI; FWAIT
    code.extend([0xfe, 0x06, 0x02, 0x05, 0xfa, 0xf4]); // INC BYTE [502h]; CLI; HLT
    code.resize(usize::from(HANDLER), 0xf4);
    code.extend(handler);
    let image = image(&code).split_off(0x2_0000);
    let firmware = Firmware { name: "test".into(), bytes: image.into() };
    let config = Config { firmware, machine: "isapc".into(), ..Config::default() };
    let mut machine = Machine::new(&config).expect("a machine");
    let ended = machine.run(&[Condition::Halt], limits(10_000, None)).expect("it can come true");
    assert_eq!(ended, Ended::Halt);
    machine
}

/// Which chips hold interrupt line 13, one bit each.
fn line_13(machine: &Machine) -> serde_json::Value {
    machine.wires()["interrupts"][13].clone()
}

/// An x87 exception without CR0.NE is IRQ 13; its handler clears the latch at port F0h, the exception
/// in the x87, and goes back (IBM PC AT Technical Reference, "Math coprocessor").
#[test]
fn a_numeric_error_is_interrupt_13() {
    let mut handler = vec![0xfe, 0x06, 0x03, 0x05]; // INC BYTE [503h]
    handler.extend(out(&[(0xf0, 0)]));
    handler.extend([0xdb, 0xe2]); // FNCLEX
    handler.extend(out(&[(0xa0, 0x20), (0x20, 0x20)]));
    handler.push(0xcf); // IRET
    let machine = numeric_error(&handler);
    let mut counts = [0; 2];
    machine.read_memory(0x502, &mut counts);
    assert_eq!(counts, [1, 1], "went on once, after one interrupt");
    assert_eq!(line_13(&machine), 0);
}

/// The latch would otherwise interrupt whatever firmware opens IRQ 13 next.
#[test]
fn a_reset_clears_the_latch_of_a_numeric_error() {
    let mut machine = numeric_error(&[0xfa, 0xf4]); // CLI; HLT
    assert_ne!(line_13(&machine), 0);
    machine.reset(ResetPath::System).expect("it runs");
    assert_eq!(line_13(&machine), 0);
    assert!(!machine.processor().fpu.ignore_numeric_error);
}
