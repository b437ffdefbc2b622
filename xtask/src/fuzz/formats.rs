//! Every format that is read (`warmboot::fuzz`), from samples of it that are changed here and there.

use std::{fs, path::Path};

use warmboot::{
    Config, Limits, Machine,
    fuzz::{FORMATS, Format},
    machine::{Firmware, Slot},
    scenario,
};
use warmboot_cpu::state::Random;

use crate::{Failure, shell};

/// A format and its samples.
struct Sampled {
    format: &'static Format,
    samples: Vec<Vec<u8>>,
}

/// The target.
pub struct Formats {
    one: Option<String>,
    all: Vec<Sampled>,
}

impl Formats {
    pub fn new(one: Option<&str>) -> Result<Formats, Failure> {
        let wanted = |format: &&Format| one.is_none_or(|one| one == format.name);
        let mut all = Vec::new();
        for format in FORMATS.iter().filter(wanted) {
            all.push(Sampled { format, samples: samples(format.name)? });
        }
        if all.is_empty() {
            let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
            return Err(format!("no such format; there are {}", names.join(", ")).into());
        }
        Ok(Formats { one: one.map(str::to_owned), all })
    }

    /// Writes the samples where cargo-fuzz looks for them.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        for Sampled { format, samples } in &self.all {
            let folder = folder.join(format.name);
            fs::create_dir_all(&folder)?;
            for (number, sample) in samples.iter().enumerate() {
                fs::write(folder.join(format!("sample-{number}")), sample)?;
            }
        }
        Ok(())
    }

    fn of(&self, number: u64) -> Option<&Sampled> {
        self.all.get(number as usize % self.all.len().max(1))
    }
}

impl super::Target for Formats {
    fn name(&self) -> String {
        self.one.as_ref().map_or_else(|| "formats".to_owned(), |one| format!("formats --format {one}"))
    }

    fn unit(&self) -> &'static str {
        "files"
    }

    fn input(&self, seed: u64, number: u64) -> Vec<u8> {
        let mut random = super::random(seed, number);
        self.of(number).map(|sampled| changed(&sampled.samples, &mut random)).unwrap_or_default()
    }

    fn run(&self, number: u64, input: &[u8]) -> u64 {
        if let Some(sampled) = self.of(number) {
            (sampled.format.run)(input);
        }
        1
    }
}

/// A number below `end`.
fn below(random: &mut Random, end: usize) -> usize {
    (random.draw() >> 16) as usize % end.max(1)
}

/// One of the samples, changed in a few places, or seldom bytes from nowhere.
fn changed(samples: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| samples.get(below(random, samples.len())).cloned().unwrap_or_default();
    let mut bytes = pick(random);
    if below(random, 64) == 0 {
        return (0..below(random, 4096)).map(|_| random.draw() as u8).collect();
    }
    for _ in 0..1 + below(random, 4) {
        let length = bytes.len();
        // Headers are at the beginning.
        let near = if below(random, 2) == 0 { length.min(1024) } else { length };
        let at = below(random, near);
        match below(random, 10) {
            0 => {
                let bit = below(random, 8);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            1 => {
                let value = random.draw() as u8;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            2 | 3 => {
                // A number, as wide as numbers are.
                const NUMBERS: [u64; 10] =
                    [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX >> 1, u64::MAX];
                let width = 1 << below(random, 4);
                let value = NUMBERS.get(below(random, NUMBERS.len())).copied().unwrap_or(0);
                if let Some(place) = bytes.get_mut(at..(at + width).min(length)) {
                    let size = place.len();
                    place.copy_from_slice(value.to_le_bytes().get(..size).unwrap_or_default());
                }
            }
            4 => bytes.truncate(at),
            5 => {
                let end = (at + 1 + below(random, 64)).min(length);
                bytes.drain(at..end);
            }
            6 => {
                let end = (at + 1 + below(random, 64)).min(length);
                let part = bytes.get(at..end).unwrap_or_default().to_vec();
                bytes.splice(at..at, part);
            }
            7 => {
                let other = pick(random);
                let from = below(random, other.len());
                let end = (from + 1 + below(random, 256)).min(other.len());
                bytes.splice(at..at, other.get(from..end).unwrap_or_default().iter().copied());
            }
            8 => digits(&mut bytes, at, random),
            _ => {
                const WORDS: [&str; 22] = [
                    "\"",
                    "[",
                    "]",
                    "{",
                    "}",
                    "=",
                    ",",
                    "\n",
                    "\\u0000",
                    "null",
                    "true",
                    "-1",
                    "1e999",
                    "[[step]]\n",
                    "18446744073709551616",
                    "${machine.type}",
                    "@",
                    "..",
                    "\u{fffd}",
                    "limit",
                    "[matrix]\n",
                    "\0",
                ];
                let word = WORDS.get(below(random, WORDS.len())).copied().unwrap_or("");
                bytes.splice(at..at, word.bytes());
            }
        }
    }
    bytes
}

/// Puts another number where the next decimal one from `at` on is.
fn digits(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    const NUMBERS: [&str; 12] = [
        "0",
        "1",
        "7",
        "31",
        "32",
        "255",
        "256",
        "65536",
        "4294967295",
        "9223372036854775807",
        "18446744073709551615",
        "340282366920938463463374607431768211456",
    ];
    let digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = bytes.iter().skip(at).position(digit).map(|distance| at + distance) else { return };
    let end =
        bytes.iter().skip(start).position(|byte| !digit(byte)).map_or(bytes.len(), |length| start + length);
    let number = NUMBERS.get(below(random, NUMBERS.len())).copied().unwrap_or("0");
    bytes.splice(start..end, number.bytes());
}

/// Good ones of a format.
fn samples(format: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let rom = |name: &str| scenario::firmware::test_rom(name).map_err(|error| error.to_string());
    let files = |ending: &str| -> Result<Vec<Vec<u8>>, Failure> {
        let mut found = Vec::new();
        let scenarios = shell::root().join("scenarios");
        for folder in fs::read_dir(scenarios)? {
            let folder = folder?.path();
            if !folder.is_dir() {
                continue;
            }
            let mut paths: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                let bytes = fs::read(&path)?;
                if path.to_string_lossy().ends_with(ending) && bytes.len() < 64 << 10 {
                    found.push(bytes);
                }
            }
        }
        found.sort();
        Ok(found)
    };
    Ok(match format {
        "accepted" => files(".accepted.json")?,
        "scenario" => files(".toml")?,
        "argument" => lines(&[
            "ctrl-alt-delete@debug:No bootable device",
            "a@serial:A:\\>",
            "power-button@time:500ms",
            "shift-f1@halt",
            "system@instructions:5M",
            "s3-resume@suspend",
            "ide0-0=disk.img,readonly,latency=50ms",
            "floppy0=a.img,write",
            "vars.fd,write-back",
            "port:0x80=0x55",
            "address:f000:fff0",
            "address:0x7c00",
            "screen:No bootable",
            "2G",
            "64",
            "0xe0000+0x100",
            "pc.ram+0x100+4",
            "chip:rtc:cmos.15",
            "rom.o,.text=0xe0000,base=0x1000",
            "clocks",
            "chip=rtc",
            "cad,menu=on,splash-time=500,reboot-timeout=1000",
            "seabios/out/rom.o@0xc0000",
        ]),
        "gdb" => vec![
            b"qSupported:multiprocess+;swbreak+;xmlRegisters=i386\nqXfer:features:read:target.xml:0,ffb\n?\nHg0\ng\n\
              mf0000,40\np10\nP10=0000000000000000\nM1000,4:01020304\nZ0,ffff0,1\nvCont?\nvCont;s:p1.1\nbs\nbc\n"
                .to_vec(),
            b"QStartNoAckMode\nqfThreadInfo\nqsThreadInfo\nZ2,1000,4\nZ1,fff0,1\nX1000,4:abcd\nvCont;c\nqC\n\
              qRcmd,646967657374\nqRcmd,7768657265\nz0,ffff0,1\nvCont;r0,fffff:p1.1\nc\ns\nD;1\n"
                .to_vec(),
            b"H c-1\nG0000\nvKill;1\nqXfer:memory-map:read::0,100\n\0\x03\n\0+\n\0$#00\nk".to_vec(),
        ],
        "trace" => lines(&[
            "range=0xe0000-0xfffff,from=2M,to=3M,limit=64M",
            "chip=rtc,from=1M",
            "port=0x70+2",
            "mmio",
            "config=0:1.3",
            "msr=0x800-0x8ff",
            "range=0x7c00",
            "range=handle_reset",
            "limit=1G",
            "to=18446744073709551615",
        ]),
        "disk-image" => vec![rom("read-loop")?, partitioned(), iso()],
        "elf" => {
            let roms = warmboot_test_roms::all().iter().filter_map(|rom| rom.symbols);
            roms.take(6).filter_map(|make| make().ok()).collect()
        }
        "firmware" => vec![rom("hello")?, rom("selfmod")?],
        "flash" => vec![rom("hello")?],
        "kernel" => vec![bzimage(), multiboot(true), multiboot(false)],
        "qcow2" => vec![qcow2()],
        "recording" => vec![
            b"# a run\ninstructions:5 time:5ns send \"ls\\n\"\ninstructions:9 time:2ms press ctrl-alt-delete\n\
              instructions:9 time:2ms reset system\ninstructions:12 time:3ms close\ninstructions:12 time:3ms quit\n"
                .to_vec(),
        ],
        "option-rom" => vec![rom("linuxboot")?, rom("multiboot")?],
        "snapshot" => vec![saved("pc-i440fx-7.2")?, saved("pc-q35-7.2")?, saved("isapc")?],
        _ => Vec::new(),
    })
}

fn lines(lines: &[&str]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}

/// A disk with a partition table.
fn partitioned() -> Vec<u8> {
    let mut image = vec![0; 1 << 20];
    let entry = [0x80, 1, 1, 0, 6, 15, 63, 2, 63, 0, 0, 0, 0xc1, 7, 0, 0];
    image.splice(446..462, entry);
    image.splice(510..512, [0x55, 0xaa]);
    image
}

/// A disk of 16 KiB in clusters of 512 bytes, of which one is there.
fn qcow2() -> Vec<u8> {
    let mut image = b"QFI\xfb\0\0\0\x02".to_vec();
    image.resize(4096, 0);
    const COPIED: u64 = 1 << 63;
    // Cluster bits; size; entries and offset of the L1 table; the reference counts' table; then the tables.
    let fields: [(usize, u64, usize); 9] = [
        (20, 9, 4),
        (24, 16 << 10, 8),
        (36, 1, 4),
        (40, 512, 8),
        (48, 2048, 8),
        (56, 1, 4),
        (512, 1024 | COPIED, 8),
        (1024, 1536 | COPIED, 8),
        (2048, 2560, 8),
    ];
    for (at, value, size) in fields {
        let bytes = value.to_be_bytes();
        image.splice(at..at + size, bytes.into_iter().skip(8 - size));
    }
    image.splice(2560..2572, [0, 1].repeat(6));
    image
}

/// A CD's volume descriptor.
fn iso() -> Vec<u8> {
    let mut image = vec![0; 20 * 2048];
    image.splice(0x8000..0x8006, *b"\x01CD001");
    image
}

/// A Linux kernel as far as its header goes.
fn bzimage() -> Vec<u8> {
    let mut image = vec![0x90; 0x4000];
    let fields: [(usize, &[u8]); 7] = [
        (0x1f1, &[4]),
        (0x1fe, &[0x55, 0xaa]),
        (0x202, b"HdrS"),
        (0x206, &[0x0d, 0x02]),
        (0x211, &[1]),
        (0x22c, &[0xff, 0xff, 0xff, 0x7f]),
        (0x238, &[0xff, 7, 0, 0]),
    ];
    for (at, bytes) in fields {
        image.splice(at..at + bytes.len(), bytes.iter().copied());
    }
    image
}

/// A Multiboot kernel, whose header says where it goes or whose ELF header does.
fn multiboot(addresses: bool) -> Vec<u8> {
    let flags = if addresses { 0x0001_0003_u32 } else { 3 };
    let checksum = 0_u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags);
    let mut header: Vec<u8> =
        [0x1bad_b002, flags, checksum].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    if addresses {
        header.extend(
            [0x10_0000_u32, 0x10_0000, 0x10_1000, 0x10_2000, 0x10_0040]
                .iter()
                .flat_map(|word| word.to_le_bytes()),
        );
        header.resize(0x1000, 0x90);
        return header;
    }
    // ELF, 32 bits, i386, one segment.
    let mut image = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    image.extend([0x10_0080_u32, 52, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
    image.extend([52_u16, 32, 1, 40, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
    let segment = [1_u32, 0x80, 0x10_0080, 0x10_0080, 0x100, 0x200, 7, 4];
    image.extend(segment.iter().flat_map(|word| word.to_le_bytes()));
    image.resize(0x80, 0);
    image.extend(header);
    image.resize(0x180, 0x90);
    image
}

/// A small machine that has run a little, as a file.
fn saved(machine: &str) -> Result<Vec<u8>, Failure> {
    let bytes = scenario::firmware::test_rom("hello").map_err(|error| error.to_string())?;
    let mut drive = scenario::drives::DriveSpec::new("ide0-0", "zero:1M");
    drive.latency = Some(50);
    let drive = drive.open(&warmboot::Places::default()).map_err(|error| error.to_string())?;
    debug_assert_eq!(drive.at, Slot::Ide { channel: 0, unit: 0 });
    let config = Config {
        machine: machine.to_owned(),
        memory: 1 << 20,
        firmware: Firmware { name: "hello".to_owned(), bytes: bytes.into() },
        drives: vec![drive],
        serial: true,
        rng: machine != "isapc",
        ..Config::default()
    };
    let mut machine = Machine::new(&config)?;
    machine.run(&[], Limits { instructions: Some(1_000), ..Limits::default() })?;
    Ok(machine.save()?)
}
