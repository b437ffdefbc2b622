//! Diskette formats, known by the size of the image.

use crate::disk::Disk;
use serde::{Deserialize, Serialize};

/// What a drive is, as CMOS 10h says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FloppyKind {
    /// 5¼ inch, 1.2 MB.
    Mb120,
    /// 3½ inch, 1.44 MB.
    Mb144,
    /// 3½ inch, 2.88 MB.
    Mb288,
}

impl FloppyKind {
    /// The drive's nibble in CMOS 10h.
    #[must_use]
    pub fn cmos_type(self) -> u8 {
        match self {
            FloppyKind::Mb120 => 2,
            FloppyKind::Mb144 => 4,
            FloppyKind::Mb288 => 5,
        }
    }
}

/// How a diskette is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// The drive that takes it.
    pub kind: FloppyKind,
    /// Sectors per track.
    pub sectors: u8,
    /// Tracks per side; like QEMU, seeks may go one further.
    pub tracks: u8,
    /// Sides.
    pub heads: u8,
    /// Data rate as DSR and CCR bits 1-0 select it: 0 = 500, 1 = 300, 2 = 250, 3 = 1000 kbit/s.
    pub rate: u8,
}

const fn format(kind: FloppyKind, sectors: u8, tracks: u8, heads: u8, rate: u8) -> Format {
    Format { kind, sectors, tracks, heads, rate }
}

/// Formats in use, preferred ones first; the first of each kind is what an image of a size not
/// listed is taken for.
const FORMATS: [Format; 31] = {
    use FloppyKind::{Mb120, Mb144, Mb288};
    [
        format(Mb144, 18, 80, 2, 0),
        format(Mb144, 20, 80, 2, 0),
        format(Mb144, 21, 80, 2, 0),
        format(Mb144, 21, 82, 2, 0),
        format(Mb144, 21, 83, 2, 0),
        format(Mb144, 22, 80, 2, 0),
        format(Mb144, 23, 80, 2, 0),
        format(Mb144, 24, 80, 2, 0),
        format(Mb288, 36, 80, 2, 3),
        format(Mb288, 39, 80, 2, 3),
        format(Mb288, 40, 80, 2, 3),
        format(Mb288, 44, 80, 2, 3),
        format(Mb288, 48, 80, 2, 3),
        format(Mb144, 9, 80, 2, 2),
        format(Mb144, 10, 80, 2, 2),
        format(Mb144, 10, 82, 2, 2),
        format(Mb144, 10, 83, 2, 2),
        format(Mb144, 13, 80, 2, 2),
        format(Mb144, 14, 80, 2, 2),
        format(Mb120, 15, 80, 2, 0),
        format(Mb120, 18, 82, 2, 0),
        format(Mb120, 18, 83, 2, 0),
        format(Mb120, 20, 80, 2, 0),
        format(Mb120, 11, 80, 2, 2),
        format(Mb120, 9, 40, 2, 1),
        format(Mb120, 9, 40, 1, 1),
        format(Mb120, 10, 41, 2, 1),
        format(Mb120, 10, 42, 2, 1),
        format(Mb120, 8, 40, 2, 2),
        format(Mb120, 8, 40, 1, 2),
        format(Mb144, 9, 80, 1, 2),
    ]
};

impl Format {
    /// The format of an image; one of odd size is taken for a diskette of a `fallback` drive.
    #[must_use]
    pub fn of(disk: &Disk, fallback: FloppyKind) -> Format {
        let sectors = disk.sectors();
        let exact = FORMATS.iter().find(|format| format.total() == sectors);
        let usual = FORMATS.iter().find(|format| format.kind == fallback);
        *exact.or(usual).unwrap_or(&FORMATS[0])
    }

    fn total(&self) -> u64 {
        u64::from(self.sectors) * u64::from(self.tracks) * u64::from(self.heads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::ZeroSource;
    use rstest::rstest;
    use std::sync::Arc;

    #[rstest]
    #[case::hd(1440, FloppyKind::Mb144, 18, 2)]
    #[case::ed(2880, FloppyKind::Mb288, 36, 2)]
    #[case::dd(720, FloppyKind::Mb144, 9, 2)]
    #[case::at(1200, FloppyKind::Mb120, 15, 2)]
    #[case::xt(360, FloppyKind::Mb120, 9, 2)]
    #[case::single(180, FloppyKind::Mb120, 9, 1)]
    #[case::odd(1, FloppyKind::Mb288, 36, 2)]
    #[case::empty(0, FloppyKind::Mb288, 36, 2)]
    fn by_size(#[case] kib: u64, #[case] kind: FloppyKind, #[case] sectors: u8, #[case] heads: u8) {
        let disk = Disk::new(Arc::new(ZeroSource { size: kib << 10 }));
        let format = Format::of(&disk, FloppyKind::Mb288);
        assert_eq!((format.kind, format.sectors, format.heads), (kind, sectors, heads));
    }
}
