//! Random values that find edges: zeros, ones, powers of two, floats near the ends of their ranges.

use warmboot_cpu::state;

/// A sequence that its seed decides.
#[derive(Clone, Debug)]
pub struct Random(state::Random);

impl Random {
    /// The sequence of a seed and of a number within it.
    pub fn new(seed: u64, index: u64) -> Random {
        let begin = |seed| Random(state::Random { seed, drawn: 0 });
        let mut random = begin(seed ^ index.wrapping_mul(0xd6e8_feb8_6659_fd93));
        begin(random.next() ^ index)
    }

    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0.draw()
    }

    /// Less than `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of them; `items` is not empty.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    /// A general register: often near an edge of some width.
    pub fn general(&mut self) -> u64 {
        const EDGES: [u64; 14] = [
            0,
            1,
            u64::MAX,
            1 << 63,
            (1 << 63) - 1,
            1 << 31,
            (1 << 31) - 1,
            0xffff_ffff,
            0x80,
            0x7f,
            0x8000,
            0x7fff,
            0xff,
            0xffff,
        ];
        match self.below(5) {
            0 => self.pick(&EDGES),
            1 => self.next() & 0xff,
            2 => 1 << self.below(64),
            3 => self.next() & 0xffff_ffff,
            _ => self.next(),
        }
    }

    /// A significand: long runs of equal bits are frequent.
    fn significand(&mut self) -> u64 {
        let bits = self.next();
        match self.below(10) {
            0 => 0,
            1 => u64::MAX,
            2 => bits & self.next() & self.next(),
            3 => bits | self.next() | self.next(),
            4 => bits & !0x7ff,
            5 => bits & !0xff_ffff_ffff,
            6 => 1 << self.below(64),
            7 => !(1 << self.below(64)),
            _ => bits,
        }
    }

    /// Sign, exponent and significand of an x87 register, with an exponent often near `near`.
    pub fn extended(&mut self, near: u16) -> (u16, u64) {
        let around = |random: &mut Random, middle: u16, span: u64| {
            (middle + random.below(span) as u16).wrapping_sub((span / 2) as u16) & 0x7fff
        };
        let exponent = match self.below(16) {
            0 => 0,
            1 => 0x7fff,
            2 => 1 + self.below(70) as u16,
            3 => 0x7ffe - self.below(66) as u16,
            4 => self.next() as u16 & 0x7fff,
            5..=7 => 0x3fff,
            8 | 9 => around(self, 0x3fff, 140),
            10 => 0x3fff + self.below(65) as u16,
            11 => around(self, near, 5),
            12 => around(self, near, 140),
            13 => around(self, 0x3fff, 2200),
            14 => around(self, 0x3fff, 320),
            _ => 0x3ffd + self.below(5) as u16,
        };
        const INTEGER: u64 = 1 << 63;
        let mut significand = self.significand() | INTEGER;
        if exponent == 0 && !self.once_in(8) {
            significand &= !INTEGER;
            if self.once_in(3) {
                significand = 0;
            }
        }
        if exponent == 0x7fff && self.once_in(2) {
            significand = INTEGER;
        }
        if self.once_in(60) {
            significand &= !INTEGER;
        }
        (exponent | self.next() as u16 & 0x8000, significand)
    }

    /// A double.
    pub fn double(&mut self) -> u64 {
        self.float(0x7ff, 52, 60)
    }

    /// A single.
    pub fn single(&mut self) -> u32 {
        self.float(0xff, 23, 30) as u32
    }

    /// A float with `bits` of fraction below an exponent of at most `last`; `span`: what is near.
    fn float(&mut self, last: u64, bits: u32, span: u64) -> u64 {
        let middle = last >> 1;
        let exponent = match self.below(9) {
            0 => 0,
            1 => last,
            2 => 1 + self.below(span),
            3 => last - 1 - self.below(span),
            4 => self.below(last),
            5 => middle - span + self.below(2 * span + 10),
            _ => middle - 1 + self.below(4),
        };
        let mut fraction = self.significand() >> (63 - bits) & ((1 << bits) - 1);
        if (exponent == 0 || exponent == last) && self.once_in(2) {
            fraction = 0;
        }
        let sign = self.next() >> 63;
        fraction | exponent << bits | sign << (bits + last.count_ones())
    }

    /// Eight bytes of packed integers, counts or decimal digits.
    fn packed(&mut self) -> u64 {
        match self.below(7) {
            0 => self.below(70),
            1 => self.significand(),
            2 => self.next() & 0x8080_8080_8080_8080 | self.next() & 0x0101_0101_0101_0101,
            3 => (self.below(4) * 0x0101) << 16 | self.below(70),
            4 => (0..8).fold(0, |digits, _| digits << 8 | self.below(10) << 4 | self.below(10)),
            _ => self.next(),
        }
    }

    /// Sixteen bytes of one of the kinds there are: doubles, singles, integers, text.
    pub fn vector(&mut self, kind: u64) -> [u64; 2] {
        let mut half = || match kind & 3 {
            0 => self.double(),
            1 => u64::from(self.single()) << 32 | u64::from(self.single()),
            2 => self.packed(),
            _ => (0..8).fold(0, |text, _| {
                let letter = if self.once_in(24) { 0 } else { 97 + self.below(5) };
                text << 8 | letter
            }),
        };
        [half(), half()]
    }
}
