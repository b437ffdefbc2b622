use std::{
    cell::RefCell,
    io::{self, Write},
    rc::Rc,
};

use rstest::rstest;
use warmboot_machine::{Condition, Config, Firmware, Limits, Machine, ResetPath};

use super::*;
use crate::symbols::{Bases, Symbols, tests::elf};

/// A place in memory for a trace.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).expect("text")
    }
}

fn symbols() -> Symbols {
    let mut symbols = Symbols::default();
    let table = [("start", 0xf_e000, 0x100), ("say", 0xf_e1f6, 0)];
    symbols.add_elf("test", &elf(false, 0xf_0000, &table), &Bases::default()).expect("well-formed");
    symbols
}

fn machine(rom: &str, cpus: u32) -> Machine {
    let rom = warmboot_test_roms::find(rom).expect("a ROM of ours");
    let bytes = (rom.build)().expect("it assembles").into();
    let firmware = Firmware { name: "test".into(), bytes };
    Machine::new(&Config { firmware, serial: true, cpus, ..Config::default() }).expect("a machine")
}

/// Traces with these options.
fn traces(machine: &Machine, steps: &str, accesses: &str) -> Result<(Traces, Kept, Kept), String> {
    let (first, second) = (Kept::default(), Kept::default());
    let chips: Vec<&str> = machine.chips().collect();
    let several = machine.config().cpus > 1;
    let traces = Traces {
        instructions: Some(InstructionTrace::new(steps, symbols(), Box::new(first.clone()))?),
        accesses: Some(AccessTrace::new(accesses, symbols(), &chips, several, Box::new(second.clone()))?),
    };
    Ok((traces, first, second))
}

/// Both traces of a ROM up to an instruction count.
fn traced(rom: &str, until: u64, steps: &str, accesses: &str) -> (String, String) {
    let mut machine = machine(rom, 1);
    let (mut traces, first, second) = traces(&machine, steps, accesses).expect("good options");
    let until = [Condition::Instructions(until)];
    machine.run_traced(&until, Limits::default(), &mut traces).expect("it runs");
    traces.finish();
    (first.text(), second.text())
}

#[test]
fn the_beginning_of_a_firmware() {
    let (steps, accesses) = traced("hello", 50, "from=7,to=38", "port=0x3f8+8");
    insta::assert_snapshot!(steps);
    insta::assert_snapshot!(accesses);
}

/// Accesses of each kind, with the registers that index registers choose.
#[test]
fn the_registers_of_chips() {
    let (_, accesses) =
        traced("hello", 101_000, "to=0", "config,chip=pic,chip=i8042,chip=i440fx,chip=rtc,range=0-0xffff");
    let mut lines: Vec<String> = Vec::new();
    for line in accesses.lines() {
        // One line of each register in each direction.
        let register = line.split_whitespace().skip(3).collect::<Vec<_>>().join(" ");
        if !lines.contains(&register) {
            lines.push(register);
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[rstest]
#[case::all("", "", 101_394, None)]
#[case::first("to=10", "", 10, Some("9  f000:e010"))]
#[case::between("from=100,to=120", "", 20, Some("100  "))]
#[case::never("from=1G", "", 0, None)]
#[case::one_address("range=0xfe1f6,to=1K", "", 46, Some("f000:e1f6 000fe1f6 say+0"))]
#[case::two_ranges("range=0xfe000-0xfe003,range=0xfffffff0+16,to=10", "", 4, Some("jmp 0F000h:0E000h"))]
#[case::symbol("range=start,to=100", "", 30, Some("start+0x2"))]
fn which_instructions(
    #[case] steps: &str,
    #[case] accesses: &str,
    #[case] most: usize,
    #[case] has: Option<&str>,
) {
    let (text, _) = traced("hello", 2_000, steps, accesses);
    let lines = text.lines().count();
    assert!(lines <= most && (lines == 0) == (most == 0), "{lines} lines");
    assert!(most > 1_000 || lines == most, "{lines} lines:\n{text}");
    assert!(has.is_none_or(|has| text.contains(has)), "{text}");
}

#[rstest]
#[case::ports("port", " port ", "config")]
#[case::one_port("port=0x402", " 0402 ", " 03f8 ")]
#[case::range("range=0x3f8+8", " 03fd ", " 0402 ")]
#[case::config("config", "00:00.0 59", " port ")]
#[case::function("config=00:00.0", "PAM0", " port ")]
#[case::another_function("config=00:1f.7", "", "PAM0")]
#[case::memory("mmio", "", " port ")]
#[case::chip("chip=debugcon", "DEBUG_PORT", "com1")]
#[case::both("chip=debugcon,chip=pic", "MASTER.DATA", "com1")]
#[case::counts("from=100,to=200", " 110 ", " 200 ")]
fn which_accesses(#[case] options: &str, #[case] has: &str, #[case] lacks: &str) {
    let (_, text) = traced("hello", 101_000, "to=0", options);
    assert!(text.contains(has), "{has}: {text}");
    assert!(!text.contains(lacks), "{lacks}: {text}");
}

/// Registers of the local APIC in x2APIC mode; a refused one is no access.
#[rstest]
#[case::all("", &["msr    write 8 0808  0000000000000020  apic TPR", "msr    read  8 0830  0000000000000000  apic ICR"])]
#[case::one("msr=0x830", &["msr    read  8 0830  0000000000000000  apic ICR"])]
#[case::others("mmio,port", &[])]
fn model_specific_registers(#[case] options: &str, #[case] expect: &[&str]) {
    let code = [
        &[0x66, 0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32][..], // mov ecx, 1Bh; rdmsr
        &[0x66, 0x0d, 0, 4, 0, 0, 0x0f, 0x30],        // or eax, 400h; wrmsr
        &[0x66, 0xb9, 8, 8, 0, 0, 0x66, 0xb8, 0x20, 0, 0, 0], // mov ecx, 808h; mov eax, 20h
        &[0x66, 0x31, 0xd2, 0x0f, 0x30],              // xor edx, edx; wrmsr
        &[0x66, 0xb9, 0x30, 8, 0, 0, 0x0f, 0x32],     // mov ecx, 830h; rdmsr
        &[0x66, 0xb9, 0x31, 8, 0, 0, 0x0f, 0x32, 0xf4], // mov ecx, 831h; rdmsr; hlt
    ]
    .concat();
    let mut image = vec![0xf4; 0x1_0000];
    image[..code.len()].copy_from_slice(&code);
    image[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0x00]); // jmp 0
    let firmware = Firmware { name: "test".into(), bytes: image.into() };
    let config = Config { firmware, cpu: Some("haswell".into()), ..Config::default() };
    let mut machine = Machine::new(&config).expect("a machine");
    let (mut traces, _, accesses) = traces(&machine, "to=0", options).expect("good options");
    machine.run_traced(&[Condition::Instructions(13)], Limits::default(), &mut traces).expect("it runs");
    traces.finish();
    let text = accesses.text();
    let found: Vec<&str> = text.lines().filter_map(|line| line.find("msr").map(|at| &line[at..])).collect();
    assert_eq!(found, expect, "{text}");
}

#[rstest]
#[case("frm=1", "", "`frm=1`: expected range=, from=, to= or limit=")]
#[case("from=x", "", "`from=x`: expected from=N")]
#[case("limit=0", "", "`limit=0`: expected limit=SIZE")]
#[case("limit=1T", "", "`limit=1T`: expected limit=SIZE")]
#[case("range=5-2", "", "`5-2`: expected START-END")]
#[case("range=5+0", "", "`5+0`: expected START-END")]
#[case("range=sya", "", "did you mean `say`?")]
#[case("", "prot", "`prot`: expected range=, port=")]
#[case("", "config=0", "`config=0`: expected config=BUS:DEVICE.FUNCTION")]
#[case("", "config=00:20.0", "`config=00:20.0`: expected config=BUS:DEVICE.FUNCTION")]
#[case("", "chip=ide9", "there is no chip `ide9`; there are ")]
#[case("to=1,,", "", "``: expected")]
fn refused(#[case] steps: &str, #[case] accesses: &str, #[case] expect: &str) {
    let error = traces(&machine("hello", 1), steps, accesses).err().expect("refused");
    assert!(error.contains(expect), "{error}");
}

#[rstest]
#[case(4096)]
#[case(200)]
#[case(10)]
fn a_trace_has_an_end(#[case] limit: usize) {
    let (text, _) = traced("hello", 2_000, &format!("limit={limit}"), "");
    let end = format!("-- the trace ends here: limit={limit} is reached\n");
    assert!(text.ends_with(&end), "{text}");
    assert!(text.len() <= limit.max(end.len()), "{} bytes", text.len());
}

/// Repeated instructions are one line, which says how many rounds there were; exceptions and interrupts
/// have lines of their own, and so has a reset.
#[test]
fn what_no_instruction_does() {
    let mut machine = machine("hello", 1);
    let (mut traces, steps, _) = traces(&machine, "", "to=0").expect("good options");
    let prompt = [Condition::Debug("No bootable device".into())];
    machine.run_traced(&prompt, Limits::default(), &mut traces).expect("it runs");
    machine.press("a").expect("a keyboard");
    let later = [Condition::Instructions(machine.instructions() + 200)];
    machine.run_traced(&later, Limits::default(), &mut traces).expect("it runs");
    machine.reset(ResetPath::System).expect("it is on");
    let later = [Condition::Instructions(machine.instructions() + 3)];
    machine.run_traced(&later, Limits::default(), &mut traces).expect("it runs");
    traces.finish();
    let text = steps.text();
    assert!(text.contains(" rounds)"), "no repeated instruction");
    assert!(text.contains("-- interrupt 09h -> f000:"), "no key");
    let last: Vec<&str> = text.lines().rev().take(4).collect();
    assert!(last.last().is_some_and(|line| line.ends_with("-- reset system")), "{last:?}");
    assert!(last.iter().any(|line| line.contains("jmp 0F000h:0E000h")), "{last:?}");
}

/// Several processors are told apart.
#[test]
fn two_processors() {
    let mut machine = machine("processors", 2);
    let (mut traces, steps, accesses) = traces(&machine, "", "").expect("good options");
    let until = [Condition::Instructions(300_000)];
    machine.run_traced(&until, Limits::default(), &mut traces).expect("it runs");
    traces.finish();
    let (steps, accesses) = (steps.text(), accesses.text());
    assert!(steps.contains("  cpu0  f000:fff0"), "{}", steps.lines().next().unwrap_or(""));
    assert!(steps.contains("-- INIT") || steps.contains("-- start-up"), "nobody starts the second");
    assert!(steps.contains("  cpu1  ") && accesses.contains("ICR_LOW"));
}

/// An instruction that faults changed nothing; its exception did.
#[test]
fn exceptions() {
    let mut image = vec![0x90; 0x1_0000];
    // lidt [cs:0x100] ; ud2, with the table at zero, where every vector is 0000:0000.
    let code = [0x2e, 0x0f, 0x01, 0x1e, 0x00, 0x01, 0xbc, 0x00, 0x70, 0x0f, 0x0b];
    image[..code.len()].copy_from_slice(&code);
    image[0x100..0x106].copy_from_slice(&[0xff, 0x03, 0, 0, 0, 0]);
    image[0xfff0..0xfff5].copy_from_slice(&[0xea, 0, 0, 0, 0xf0]);
    let firmware = Firmware { name: "test".into(), bytes: image.into() };
    let mut machine = Machine::new(&Config { firmware, ..Config::default() }).expect("a machine");
    let (mut traces, steps, _) = traces(&machine, "", "").expect("good options");
    machine.run_traced(&[Condition::Instructions(4)], Limits::default(), &mut traces).expect("it runs");
    insta::assert_snapshot!(steps.text());
}
