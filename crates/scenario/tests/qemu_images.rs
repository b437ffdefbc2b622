//! Images that qemu-img makes and qemu-io writes hold here what `qemu-img convert` says they hold.
//! Without these programs (Debian: qemu-utils) nothing is compared, and the test says so.

use std::{fs, path::Path, process::Command};

use rstest::rstest;
use warmboot_machine::BlockSource;
use warmboot_scenario::images;

const SIZE: u64 = 6 << 20;

/// Runs a program; its last line of error if it fails.
fn call(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .map_err(|error| error.to_string())?;
    let lines = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(lines) }
}

fn installed() -> bool {
    let found =
        ["qemu-img", "qemu-io"].iter().all(|program| call(Path::new("."), program, &["--version"]).is_ok());
    if !found {
        eprintln!("skipped: qemu-img or qemu-io is not installed");
    }
    found
}

/// Numbers that are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Writes, zeros and discards at random places, of odd lengths too.
fn scribble(folder: &Path, file: &[&str], numbers: &mut Numbers) {
    let mut commands = Vec::new();
    for _ in 0..20 {
        let at = numbers.next() % (SIZE - (1 << 18)) / 512 * 512;
        let length = numbers.next() % (1 << 18) / 512 * 512 + 512;
        commands.push("-c".to_owned());
        commands.push(match numbers.next() % 6 {
            0 => format!("write -z {at} {length}"),
            1 => format!("write -z -u {at} {length}"),
            2 => format!("discard {at} {length}"),
            _ => format!("write -P {} {at} {length}", numbers.next() % 256),
        });
    }
    let arguments: Vec<&str> = file.iter().copied().chain(commands.iter().map(String::as_str)).collect();
    call(folder, "qemu-io", &arguments).expect("qemu-io writes");
}

fn read(source: &dyn BlockSource) -> Vec<u8> {
    let mut bytes = vec![0; source.size() as usize];
    // Pieces that begin and end anywhere.
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + 70_001);
        source.read_at(at as u64, &mut bytes[at..end]).expect("reads");
        at = end;
    }
    bytes
}

fn check(folder: &Path, image: &str) {
    call(folder, "qemu-img", &["convert", "-O", "raw", image, "expect.raw"]).expect("qemu-img converts");
    let expect = fs::read(folder.join("expect.raw")).expect("its output");
    let source = images::open(&folder.join(image), None).expect("opens");
    assert!(read(source.as_ref()) == expect, "{image} holds other bytes");
    assert_eq!(source.digest(), *blake3::hash(&expect).as_bytes(), "{image}");
    let raw = images::open(&folder.join("expect.raw"), None).expect("opens");
    assert_eq!(source.digest(), raw.digest());
}

#[rstest]
#[case::version_2("compat=0.10")]
#[case::version_3("compat=1.1")]
#[case::clusters_of_512("cluster_size=512")]
#[case::clusters_of_4096("cluster_size=4k")]
#[case::clusters_of_2_mebibytes("cluster_size=2M")]
#[case::preallocated_metadata("preallocation=metadata")]
#[case::preallocated_falloc("preallocation=falloc")]
#[case::preallocated_full("preallocation=full")]
#[case::extended("extended_l2=on")]
#[case::extended_16k("extended_l2=on,cluster_size=16k")]
#[case::extended_2m("extended_l2=on,cluster_size=2M,preallocation=metadata")]
#[case::lazy("lazy_refcounts=on")]
#[case::refcounts_of_1_bit("refcount_bits=1")]
#[case::refcounts_of_64_bits("refcount_bits=64")]
#[case::data_file("data_file=data.bin")]
#[case::data_file_raw("data_file=data.bin,data_file_raw=on")]
#[case::data_file_extended("data_file=data.bin,extended_l2=on")]
fn written(#[case] options: &str) {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    call(folder, "qemu-img", &["create", "-f", "qcow2", "-o", options, "a.qcow2", "6M"]).expect("created");
    check(folder, "a.qcow2");
    for _ in 0..2 {
        scribble(folder, &["-f", "qcow2", "a.qcow2"], &mut numbers);
        check(folder, "a.qcow2");
    }
    if !options.contains("data_file") && !options.contains("refcount_bits=1") {
        call(folder, "qemu-img", &["snapshot", "-c", "before", "a.qcow2"]).expect("a snapshot");
        scribble(folder, &["-f", "qcow2", "a.qcow2"], &mut numbers);
        check(folder, "a.qcow2");
        call(folder, "qemu-img", &["snapshot", "-a", "before", "a.qcow2"]).expect("a snapshot");
        check(folder, "a.qcow2");
    }
    // An image in front of it, larger, and one in front of that, smaller.
    let create = ["create", "-f", "qcow2", "-F", "qcow2", "-b"];
    let extended = ["-o", "extended_l2=on"];
    call(folder, "qemu-img", &[&create[..], &["a.qcow2", "b.qcow2", "7M"]].concat()).expect("created");
    check(folder, "b.qcow2");
    scribble(folder, &["-f", "qcow2", "b.qcow2"], &mut numbers);
    check(folder, "b.qcow2");
    let last = [&create[..], &["b.qcow2"], &extended[..], &["c.qcow2", "6144k"]].concat();
    call(folder, "qemu-img", &last).expect("created");
    scribble(folder, &["-f", "qcow2", "c.qcow2"], &mut numbers);
    check(folder, "c.qcow2");
}

#[rstest]
#[case::plain(&[])]
#[case::zlib(&["-c"])]
#[case::zlib_512(&["-c", "-o", "cluster_size=512"])]
#[case::zlib_2m(&["-c", "-o", "cluster_size=2M"])]
#[case::zlib_version_2(&["-c", "-o", "compat=0.10"])]
#[case::zlib_extended(&["-c", "-o", "extended_l2=on"])]
#[case::zstd(&["-c", "-o", "compression_type=zstd"])]
#[case::zstd_4k(&["-c", "-o", "compression_type=zstd,cluster_size=4k"])]
#[case::zstd_2m(&["-c", "-o", "compression_type=zstd,cluster_size=2M"])]
fn converted(#[case] options: &[&str]) {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    // Random bytes, text that compresses, and holes; the size is odd.
    let mut bytes = Vec::new();
    while bytes.len() < SIZE as usize {
        let kind = numbers.next() % 4;
        for _ in 0..numbers.next() % 100_000 {
            bytes.push(match kind {
                0 => 0,
                1 => b"warmboot "[bytes.len() % 9],
                2 => (numbers.next() % 3) as u8,
                _ => numbers.next() as u8,
            });
        }
    }
    fs::write(folder.join("base.raw"), &bytes).expect("written");
    let convert = [&["convert", "-f", "raw", "-O", "qcow2"], options, &["base.raw", "a.qcow2"]].concat();
    call(folder, "qemu-img", &convert).expect("converted");
    check(folder, "a.qcow2");
    scribble(folder, &["-f", "qcow2", "a.qcow2"], &mut numbers);
    check(folder, "a.qcow2");
    // In front of a raw image that is smaller, and whose format is not said.
    let create = ["create", "-f", "qcow2", "-F", "raw", "-b", "base.raw", "b.qcow2", "8M"];
    call(folder, "qemu-img", &create).expect("created");
    scribble(folder, &["-f", "qcow2", "b.qcow2"], &mut numbers);
    check(folder, "b.qcow2");
}

#[rstest]
#[case::luks("encrypt.format=luks,encrypt.key-secret=secret", "LUKS")]
#[case::aes("encrypt.format=aes,encrypt.key-secret=secret", "AES")]
fn encrypted(#[case] options: &str, #[case] expect: &str) {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let secret = "secret,id=secret,data=abc";
    let create = ["create", "--object", secret, "-f", "qcow2", "-o", options, "a.qcow2", "1M"];
    call(folder.path(), "qemu-img", &create).expect("created");
    let error = images::open(&folder.path().join("a.qcow2"), None).map(|_| ()).expect_err("refused");
    assert!(error.to_string().contains(expect), "{error}");
}
