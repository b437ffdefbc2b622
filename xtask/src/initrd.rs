//! The initial RAM disk of the Linux payloads: Debian's static busybox, and an `init` of ours that gives a
//! shell on the console. Made here from the package, with the times of nothing in it: the same bytes always.

use std::{fs, io::Cursor};

use cpio::newc::Builder;

use crate::{Failure, shell};

/// Its file in the download folder.
pub const FILE: &str = "busybox.cpio";

const INIT: &str = "\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
exec /bin/busybox setsid /bin/busybox cttyhack /bin/sh
";

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// Writes the RAM disk to the download folder, unless it is there as it should be.
pub fn ensure() -> Result<(), Failure> {
    let folder = shell::firmware_folder();
    let busybox = fs::read(folder.join("busybox"))?;
    let folders = ["bin", "dev", "proc", "sys"].map(|name| (name, FOLDER, Vec::new()));
    let files = [("bin/busybox", PROGRAM, busybox), ("init", PROGRAM, INIT.into())];
    let entries = folders.into_iter().chain(files).zip(1..).map(|((name, mode, bytes), inode)| {
        (Builder::new(name).ino(inode).nlink(1).mode(mode), Cursor::new(bytes))
    });
    let bytes = cpio::write_cpio(entries, Vec::new())?;
    let path = folder.join(FILE);
    if fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let temporary = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(temporary.path(), bytes)?;
    temporary.persist(&path)?;
    println!("{} made", path.display());
    Ok(())
}
