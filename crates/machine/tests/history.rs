//! The write history: every write to a watched byte or register, on both execution paths, and that
//! watching changes nothing.

mod common;

use common::{limits, machine, with_image};
use rstest::rstest;
use warmboot_machine::{Condition, Config, Effect, Firmware, Machine, Path, ResetPath, Watched};

/// Code that runs in the high copy of the BIOS, so that it can change what F0000 shows.
const CODE: &[u8] = &[
    0x31, 0xc0, // xor ax,ax
    0x8e, 0xd8, // mov ds,ax
    0x8e, 0xc0, // mov es,ax
    0xc6, 0x06, 0x00, 0x05, 0x01, // mov byte [0x500],1
    0xc7, 0x06, 0xff, 0x04, 0x03, 0x02, // mov word [0x4ff],0x0203
    0xfe, 0x06, 0x00, 0x05, // inc byte [0x500]
    0xbf, 0xfe, 0x04, // mov di,0x4fe
    0xb0, 0x55, // mov al,0x55
    0xb9, 0x04, 0x00, // mov cx,4
    0xf3, 0xaa, // rep stosb
    0xb8, 0x00, 0xf0, // mov ax,0xf000
    0x8e, 0xd8, // mov ds,ax
    0xc6, 0x06, 0x00, 0x01, 0xaa, // mov byte [0x100],0xaa
    0xba, 0xf8, 0x0c, // mov dx,0xcf8
    0x66, 0xb8, 0x58, 0x00, 0x00, 0x80, // mov eax,0x80000058
    0x66, 0xef, // out dx,eax
    0xba, 0xfd, 0x0c, // mov dx,0xcfd
    0xb0, 0x30, // mov al,0x30
    0xee, // out dx,al
    0xc6, 0x06, 0x00, 0x01, 0xbb, // mov byte [0x100],0xbb
    0xbc, 0x02, 0x05, // mov sp,0x502
    0x50, // push ax
    0xb0, 0xfe, // mov al,0xfe
    0xe6, 0x64, // out 0x64,al
    0xf4, // hlt
];

fn image() -> Vec<u8> {
    let mut image = vec![0x90; 0x1_0000];
    image[..CODE.len()].copy_from_slice(CODE);
    image[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0x00]); // jmp near 0
    image
}

fn watching(watched: &str, path: Path) -> Machine {
    let mut machine = with_image(image(), path);
    machine.watch(&watched.parse().expect("a watch")).expect("it can be watched");
    machine
}

/// One line per event: instruction, offset of its code, who, effect, place, old and new.
fn lines(machine: &Machine) -> Vec<String> {
    let history = machine.history();
    assert_eq!(history.more, 0);
    let line = |event: &warmboot_machine::Event| {
        let code = event.code.map_or("-".to_owned(), |code| format!("{:x}", code.linear));
        let (at, by, effect) = (event.instruction, &event.by, event.effect);
        format!("{at} {code} {by} {effect:?} {} {}>{}", event.place, event.old, event.new)
    };
    history.events.iter().map(line).collect()
}

/// Runs the code above up to its reset and shows what has happened to `watched`.
fn check(watched: &str, expect: &[&str]) {
    for path in [Path::Cached, Path::Plain] {
        let mut machine = watching(watched, path);
        machine.run(&[Condition::Reset], limits(1000, None)).expect("it runs");
        assert_eq!(lines(&machine), expect, "{path:?}");
    }
}

#[rstest]
#[case::a_byte("0x500", &[
    "4 ffff0006 processor Written pc.ram@0x500 00>01",
    "5 ffff000b processor Written pc.ram@0x500 01>02",
    "6 ffff0011 processor Written pc.ram@0x500 02>03",
    "12 ffff001d processor Written pc.ram@0x500 03>55",
    "25 ffff0042 processor Written pc.ram@0x500 55>30",
])]
#[case::bytes("0x4fe+2", &[
    "5 ffff000b processor Written pc.ram@0x4ff 00>03",
    "10 ffff001d processor Written pc.ram@0x4fe 00>55",
    "11 ffff001d processor Written pc.ram@0x4ff 03>55",
])]
#[case::read_only_then_memory("0xf0100", &[
    "16 ffff0024 processor Dropped pc.bios@0x100 90>aa",
    "22 ffff0039 processor Remapped pc.bios@0x100 -> pc.ram@0xf0100 90>00",
    "23 ffff003a processor Written pc.ram@0xf0100 00>bb",
])]
#[case::the_high_copy_is_another("0xffff0100", &[])]
#[case::nobody_there("0xd0000000", &[])]
#[case::a_register("i440fx.config.bytes.89", &[
    "22 ffff0039 processor Written i440fx.config.bytes.89 0x0>0x30",
])]
fn every_write(#[case] watched: &str, #[case] expect: &[&str]) {
    check(watched, expect);
}

#[test]
fn resets_loads_and_the_host_are_named() {
    let mut machine = watching("0xf0100", Path::Cached);
    machine.watch(&"i440fx.config.bytes.89".parse().expect("a watch")).expect("there");
    machine.watch(&"0x600".parse().expect("a watch")).expect("there");
    machine.watch(&"i440fx.config_address".parse().expect("a watch")).expect("there");
    machine.run(&[Condition::Instructions(23)], limits(1000, None)).expect("it runs");
    let seen = lines(&machine).len();
    machine.write_memory(0x600, &[7]);
    let mut other = machine.fork();
    machine.reset(ResetPath::System).expect("it runs");
    // PAM survives a reset of this generation; the PCI configuration address does not.
    let expect = [
        "23 - host Written pc.ram@0x600 00>07",
        "23 - reset system Written i440fx.config_address 0x80000058>0x0",
    ];
    assert_eq!(lines(&machine)[seen..], expect);

    // The fork has the history up to the fork, and goes on by itself.
    assert_eq!(lines(&other).len(), seen + 1);
    other.write_block("pc.ram", 0x5ff, &[0, 8, 0]).expect("it is there");
    assert_eq!(lines(&other).last().map(String::as_str), Some("23 - host Written pc.ram@0x600 07>08"));

    // A machine that has taken over another's state continues its history.
    let mut loaded = with_image(image(), Path::Cached);
    loaded.continue_history(&other);
    let more = lines(&loaded);
    assert_eq!(
        more[seen + 2..],
        [
            "0 - load Remapped pc.ram@0xf0100 -> pc.bios@0x100 00>90",
            "0 - load Written pc.ram@0x600 08>00",
            "0 - load Written i440fx.config.bytes.89 0x30>0x0",
            "0 - load Written i440fx.config_address 0x80000058>0x0",
        ]
    );
}

#[test]
fn a_limit_counts_the_rest() {
    let mut machine = watching("0x500", Path::Cached);
    machine.limit_history(2);
    machine.run(&[Condition::Reset], limits(1000, None)).expect("it runs");
    let history = machine.history();
    assert_eq!((history.events.len(), history.more), (2, 3));
}

#[rstest]
#[case("0x500+0", "expected 1 to 65536 bytes")]
#[case("0x500+65537", "expected 1 to 65536 bytes")]
#[case("18446744073709551615+2", "expected 1 to 65536 bytes")]
#[case("ide9.status", "there is no chip `ide9`; there are i440fx")]
#[case("rtc.cmos.128", "`rtc` has no such register")]
fn refused(#[case] watched: &str, #[case] expect: &str) {
    let mut machine = with_image(image(), Path::Cached);
    let error = machine.watch(&watched.parse().expect("a watch")).expect_err("refused").to_string();
    assert!(error.contains(expect), "{error}");
    assert!(machine.history().events.is_empty());
}

#[rstest]
#[case("0xf7290", Some("0xf7290"))]
#[case("100+4", Some("0x64+4"))]
#[case("piix3-ide.channels.0.drives.0.status", Some("piix3-ide.channels.0.drives.0.status"))]
#[case("HaveRunPost", None)]
#[case("0xzz", None)]
#[case("", None)]
fn watches_are_read_and_written(#[case] text: &str, #[case] expect: Option<&str>) {
    assert_eq!(text.parse::<Watched>().ok().map(|watched| watched.to_string()).as_deref(), expect);
}

/// Recording and watching change neither digest, on any path.
#[rstest]
fn nothing_depends_on_it(
    #[values("hello", "strings", "selfmod", "paging", "task-switch", "v8086")] rom: &str,
    #[values(Path::Cached, Path::Plain)] path: Path,
) {
    let run = |machine: &mut Machine| {
        machine.run(&[], limits(300_000, None)).expect("it runs");
        (machine.digest(), machine.instructions())
    };
    let plain = run(&mut machine(rom, path));
    let mut recording = machine(rom, path);
    recording.record_written(true);
    assert_eq!(run(&mut recording), plain, "recording");
    assert!(recording.written().is_some_and(|written| written.count() > 0));
    let mut watching = machine(rom, path);
    for watched in ["0x0+4096", "0x7c00+65536", "pic.master.imr", "0xf0000+65536"] {
        watching.watch(&watched.parse().expect("a watch")).expect("there");
    }
    assert_eq!(run(&mut watching), plain, "watching");
}

/// Both paths record the same, to the last byte.
#[rstest]
fn both_paths_record_the_same(#[values("strings", "selfmod", "paging", "task-switch", "v8086")] rom: &str) {
    let record = |path| {
        let mut machine = machine(rom, path);
        machine.record_written(true);
        machine.watch(&Watched::Memory { address: 0, length: 0x1_0000 }).expect("there");
        machine.run(&[], limits(100_000, None)).expect("it runs");
        let history = machine.history();
        (history.events.to_vec(), history.more, machine.written().cloned())
    };
    assert!(record(Path::Cached) == record(Path::Plain), "{rom}");
}

/// A byte is recorded as written when it is, and only then.
#[test]
fn written_bytes() {
    let mut machine = with_image(image(), Path::Cached);
    machine.record_written(true);
    machine.run(&[Condition::Reset], limits(1000, None)).expect("it runs");
    let written = machine.written().expect("recorded");
    let memory = machine.memory();
    let ram = memory.block("pc.ram").expect("memory");
    let offsets: Vec<u64> = (0x400..0x600).filter(|at| written.contains(memory, ram, *at)).collect();
    assert_eq!(offsets, [0x4fe, 0x4ff, 0x500, 0x501]);
    assert!(written.contains(memory, ram, 0xf_0100));
    assert_eq!(written.count(), 5);
    assert!(machine.history().events.iter().all(|event| event.effect != Effect::Dropped));
}

#[test]
fn a_watch_on_another_board_is_refused() {
    let firmware = Firmware { name: "test".into(), bytes: image().into() };
    let mut machine = Machine::new(&Config { firmware, ..Config::default() }).expect("a machine");
    let error = machine.watch(&"com1.divisor".parse().expect("a watch")).expect_err("no COM1");
    assert!(error.to_string().contains("there is no chip `com1`"), "{error}");
}

/// Reads, of each way to make them: a load, one across a page, what is changed in place, a string, a pop.
const READS: &[u8] = &[
    0x31, 0xc0, // xor ax,ax
    0x8e, 0xd8, // mov ds,ax
    0x8e, 0xc0, // mov es,ax
    0x8e, 0xd0, // mov ss,ax
    0xa0, 0x00, 0x05, // mov al,[0x500]
    0xa1, 0xff, 0x04, // mov ax,[0x4ff]
    0xa1, 0x01, 0x05, // mov ax,[0x501]: beside it
    0xfe, 0x06, 0x00, 0x05, // inc byte [0x500]
    0xa3, 0x00, 0x05, // mov [0x500],ax: no read
    0xbe, 0xfe, 0x04, // mov si,0x4fe
    0xbf, 0x00, 0x06, // mov di,0x600
    0xb9, 0x04, 0x00, // mov cx,4
    0xf3, 0xa4, // rep movsb
    0xbc, 0x00, 0x05, // mov sp,0x500
    0x58, // pop ax
    0xf4, // hlt
];

#[rstest]
#[case::plain(Path::Plain)]
#[case::cached(Path::Cached)]
fn reads(#[case] path: Path) {
    let mut image = vec![0x90; 0x1_0000];
    image[..READS.len()].copy_from_slice(READS);
    image[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0x00]); // jmp near 0
    let mut unwatched = with_image(image.clone(), path);
    let mut machine = with_image(image, path);
    machine.watch(&Watched::Reads { address: 0x500, length: 1 }).expect("it can be watched");
    for machine in [&mut machine, &mut unwatched] {
        machine.run(&[Condition::Halt], limits(1_000, None)).expect("a run");
    }
    assert_eq!(
        lines(&machine),
        [
            "5 ffff0008 processor Read pc.ram@0x500 00>00",
            "6 ffff000b processor Read pc.ram@0x500 00>00",
            "8 ffff0011 processor Read pc.ram@0x500 00>00",
            "15 ffff0021 processor Read pc.ram@0x500 00>00",
            "18 ffff0026 processor Read pc.ram@0x500 00>00",
        ]
    );
    assert_eq!(machine.digest(), unwatched.digest());
}
