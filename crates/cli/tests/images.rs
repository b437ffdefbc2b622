//! Machines that boot from qcow2 images: what the disk holds decides, not what holds it, and no file is
//! changed that nobody asked to change.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use rstest::rstest;

const CLUSTER: usize = 1 << 16;

/// A qcow2 image, version 2, of a disk of `size` bytes with some clusters of its own.
fn qcow2(size: usize, clusters: &[(usize, &[u8])], backing: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![0; 3 * CLUSTER];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"QFI\xfb\0\0\0\x02");
    if let Some(name) = backing {
        put(8, &512_u64.to_be_bytes());
        put(16, &(name.len() as u32).to_be_bytes());
        put(512, name.as_bytes());
    }
    put(20, &16_u32.to_be_bytes());
    put(24, &(size as u64).to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &(CLUSTER as u64).to_be_bytes());
    put(CLUSTER, &((2 * CLUSTER as u64) | (1 << 63)).to_be_bytes());
    for (number, content) in clusters {
        let entry = bytes.len() as u64 | (1 << 63);
        bytes[2 * CLUSTER + number * 8..][..8].copy_from_slice(&entry.to_be_bytes());
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(CLUSTER), 0);
    }
    bytes
}

fn boot(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warmboot"))
        .args(["boot", "--firmware", "rom:reset-0.6.1", "--limit", "2G", "--json"])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the command runs")
}

fn digest(output: &Output) -> String {
    let (report, message) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!(output.status.code(), Some(0), "{message}");
    let report: serde_json::Value = serde_json::from_str(&report).expect("a report");
    report["digest"].as_str().expect("a digest").to_owned()
}

/// A disk as a raw image, as a qcow2 image over it, and as one over a raw image without the boot sector.
fn images(folder: &Path) {
    let rom = warmboot_test_roms::find("read-loop").expect("a disk");
    let disk = (rom.build)().expect("its bytes");
    let (first, rest) = disk.split_at(CLUSTER);
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("written");
    write("disk.img", &disk);
    write("rest.img", &[vec![0xee; CLUSTER].as_slice(), rest].concat());
    write("over-raw", &qcow2(disk.len(), &[], Some("disk.img")));
    write("first.qcow2", &qcow2(disk.len(), &[(0, first)], Some("rest.img")));
    write("over-both.img", &qcow2(disk.len(), &[], Some("first.qcow2")));
    write("locked.qcow2", &{
        let mut image = qcow2(disk.len(), &[], None);
        image[35] = 2;
        image
    });
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.display().to_string(), fs::read(&path).expect("a file")))
        .collect();
    files.sort();
    files
}

#[rstest]
#[case::ide("ide0-0")]
#[case::second("ide0-1")]
fn one_disk_has_one_digest_and_no_file_changes(#[case] slot: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    images(folder.path());
    let before = contents(folder.path());
    let run = |image: &str| {
        let drive = format!("{slot}={image}");
        digest(&boot(folder.path(), &["--serial", "serial.txt", "--drive", &drive, "--until", "time:500ms"]))
    };
    let raw = run("disk.img");
    let serial = fs::read_to_string(folder.path().join("serial.txt")).expect("a log");
    assert!(serial.contains("reading"), "{serial}");
    for image in
        ["over-raw", "first.qcow2", "over-both.img", "first.qcow2,format=qcow2", "disk.img,format=raw"]
    {
        assert_eq!(run(image), raw, "{image}");
    }
    assert_ne!(run("rest.img"), raw);
    assert_ne!(run("first.qcow2,format=raw"), raw);
    fs::remove_file(folder.path().join("serial.txt")).expect("a log");
    assert!(contents(folder.path()) == before, "a file was changed");
}

/// A snapshot takes any image that holds what the disk held.
#[test]
fn a_snapshot_takes_the_disk_in_another_image() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    images(folder.path());
    let drive = |image: &str| format!("ide0-0={image}");
    let until = ["--until", "time:300ms"];
    let save = ["--serial", "--drive", &drive("over-both.img"), "--snapshot-out", "x.snapshot"];
    let save = boot(folder.path(), &[&save[..], &["--until", "time:200ms"]].concat());
    assert_eq!(save.status.code(), Some(0), "{}", String::from_utf8_lossy(&save.stderr));
    let load = |image: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmboot"));
        command.args(["boot", "--load", "x.snapshot", "--json"]).args(until).current_dir(folder.path());
        if let Some(image) = image {
            command.args(["--drive", &drive(image)]);
        }
        command.stdin(Stdio::null()).output().expect("the command runs")
    };
    assert_eq!(digest(&load(None)), digest(&load(Some("disk.img"))));
    let wrong = load(Some("rest.img"));
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));
}

#[rstest]
#[case::written("first.qcow2,write", "cannot write image `first.qcow2` of drive ide0-0: it is a qcow2 image")]
#[case::written_raw("first.qcow2,format=raw,write,format=vmdk", "`vmdk` is no format of images")]
#[case::no_image("disk.img,format=qcow2", "does not begin with a qcow2 header")]
#[case::encrypted("locked.qcow2", "it is encrypted (LUKS)")]
#[case::made("zero:1M,format=raw", "has no format")]
fn refused(#[case] drive: &str, #[case] expect: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    images(folder.path());
    let before = contents(folder.path());
    let output = boot(folder.path(), &["--drive", &format!("ide0-0={drive}")]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(expect) && message.matches("error:").count() == 1, "{message}");
    assert!(contents(folder.path()) == before, "a file was changed");
}

/// What the guest wrote comes into the file that says `,write`, but not as another format's header, which the next run
/// would believe.
#[rstest]
#[case::bytes(b"some bytes", "write", None)]
#[case::header(b"QFI\xfb\0\0\0\x02", "write", Some("begins as an image of another format"))]
#[case::header_as_bytes(b"QFI\xfb\0\0\0\x02", "write,format=raw", None)]
#[case::not_asked(b"some bytes", "format=raw", Some(""))]
fn written_back(#[case] start: &[u8], #[case] options: &str, #[case] kept: Option<&str>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rom = warmboot_test_roms::find("copy-sector").expect("a disk");
    let mut disk = (rom.build)().expect("its bytes");
    disk[512..512 + start.len()].copy_from_slice(start);
    let path = folder.path().join("disk.img");
    fs::write(&path, &disk).expect("written");
    let drive = format!("ide0-0=disk.img,{options}");
    let output = boot(folder.path(), &["--serial", "--drive", &drive, "--until", "serial:copied"]);
    let message = String::from_utf8_lossy(&output.stderr);
    let refused = kept.is_some_and(|message| !message.is_empty());
    assert_eq!(output.status.code(), Some(if refused { 2 } else { 0 }), "{message}");
    assert!(message.contains(kept.unwrap_or_default()), "{message}");
    if kept.is_none() {
        disk.copy_within(512..1024, 0);
    }
    assert!(fs::read(&path).expect("a disk") == disk, "the file is not as it should be");
}

/// What would be written over by another option, or by another drive's older bytes, is refused before the run.
#[rstest]
#[case::drives(&["--drive", "ide0-0=disk.img,write", "--drive", "ide0-1=./disk.img,write"])]
#[case::log(&["--drive", "ide0-0=disk.img,write", "--debugcon", "disk.img"])]
#[case::flash(&["--drive", "ide0-0=disk.img,write", "--pflash", "disk.img,write-back"])]
fn two_that_write_one_file(#[case] options: &[&str]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    images(folder.path());
    let before = contents(folder.path());
    let output = Command::new(env!("CARGO_BIN_EXE_warmboot"))
        .arg("boot")
        .args(options)
        .current_dir(folder.path())
        .output()
        .expect("the command runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("--drive ide0-0") && message.contains("name the same file"), "{message}");
    assert!(contents(folder.path()) == before, "a file was changed");
}

/// A raw disk that begins as a qcow2 image names no file of the host: not when its machine goes on, either.
#[test]
fn a_snapshot_takes_a_raw_disk_as_raw() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("disk.img"), qcow2(CLUSTER, &[], Some("secret"))).expect("written");
    let drive = ["--drive", "ide0-0=disk.img,format=raw", "--until", "instructions:1000"];
    let run = |more: &[&str]| digest(&boot(folder.path(), &[&drive, more].concat()));
    let expect = run(&["--snapshot-out", "x.snapshot"]);
    let load = Command::new(env!("CARGO_BIN_EXE_warmboot"))
        .args(["boot", "--load", "x.snapshot", "--until", "instructions:1000", "--json"])
        .current_dir(folder.path())
        .output()
        .expect("the command runs");
    assert_eq!(digest(&load), expect);
}
