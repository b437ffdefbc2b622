//! The bytes that decide, one after the other; then zeros.

/// What is left of an input.
pub(super) struct Source<'input>(&'input [u8]);

impl<'input> Source<'input> {
    pub fn new(input: &'input [u8]) -> Source<'input> {
        Source(input)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn quad(&mut self) -> u64 {
        (0..8).fold(0, |value, _| value << 8 | u64::from(self.byte()))
    }

    /// True once in `times`, as often as bytes are equally frequent.
    pub fn once_in(&mut self, times: u8) -> bool {
        self.byte().is_multiple_of(times)
    }

    /// A number below `end`, which is at most 256 and not zero.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// One of `choices`, of which there is one at least.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        choices.get(self.below(choices.len())).copied()
    }

    /// A byte that is `one of` these, or seldom any.
    pub fn command(&mut self, known: &[u8]) -> u8 {
        if self.once_in(16) { self.byte() } else { self.pick(known).unwrap_or(0) }
    }

    /// An address: mostly of memory that recipes use, or of what lies at an edge.
    pub fn pointer(&mut self) -> u64 {
        const EDGES: [u64; 14] = [
            0,
            0x9_fffc,
            0xa_0000,
            0xb_8000,
            0xc_0000,
            0xf_fff0,
            0x10_0000,
            0xfec0_0000,
            0xfed0_0000,
            0xfee0_0000,
            0xffff_fffc,
            1 << 32,
            (1 << 52) - 8,
            u64::MAX - 7,
        ];
        match self.byte() {
            byte @ 0..=15 => EDGES.get(usize::from(byte)).copied().unwrap_or(0xe000_0000),
            16..=23 => self.quad(),
            24..=31 => u64::from(self.byte()) << 20,
            _ => 0x1_0000 + (u64::from(self.byte() & 0x3f) << 12),
        }
    }

    /// A value that means something to one chip or the other.
    pub fn value(&mut self) -> u64 {
        match self.byte() & 15 {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (self.byte() & 63),
            3 => !(1 << (self.byte() & 63)),
            4..=6 => self.byte().into(),
            7 => self.pointer(),
            8 => self.pointer() >> 12,
            9 => u64::from((self.pointer() as u32).swap_bytes()),
            10 => u64::from(self.byte() & 7),
            11 => u64::from(self.word()),
            12 => 0xe000_0000 | u64::from(self.byte()) << 20 | u64::from(self.byte() & 15),
            13 => u64::from(self.byte()) * 0x0101_0101_0101_0101,
            14 => 0x8000_0000 | u64::from(self.word()),
            _ => self.quad(),
        }
    }

    /// Bytes of an access.
    pub fn size(&mut self) -> u8 {
        1 << (self.byte() & 3)
    }
}
