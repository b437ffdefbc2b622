//! The registers of a test, on either side.

/// Bytes of [`Vectors`]: the legacy region, the header and the upper halves of the YMM registers.
pub const VECTOR_BYTES: usize = 512 + 64 + 256;
const UPPER: usize = 512 + 64;
const HEADER: usize = 512;

/// x87, MMX, SSE and AVX registers, as XSAVE64 stores them (Intel SDM vol. 1, 13.4).
#[derive(Clone, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Vectors(pub(crate) [u8; VECTOR_BYTES]);

impl Default for Vectors {
    fn default() -> Self {
        let mut vectors = Vectors([0; VECTOR_BYTES]);
        // XSTATE_BV: x87, SSE and AVX are all to be loaded from here.
        vectors.put(HEADER, [7]);
        vectors.set_control(0x37f);
        vectors.set_mxcsr(0x1f80);
        vectors
    }
}

impl Vectors {
    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        if let Some(place) = self.0.get_mut(at..at + N) {
            place.copy_from_slice(&bytes);
        }
    }

    /// FCW.
    #[must_use]
    pub fn control(&self) -> u16 {
        u16::from_le_bytes(self.get(0))
    }

    /// Sets FCW.
    pub fn set_control(&mut self, value: u16) {
        self.put(0, value.to_le_bytes());
    }

    /// FSW.
    #[must_use]
    pub fn status(&self) -> u16 {
        u16::from_le_bytes(self.get(2))
    }

    /// Sets FSW.
    pub fn set_status(&mut self, value: u16) {
        self.put(2, value.to_le_bytes());
    }

    /// Which of R0-R7 are not empty.
    #[must_use]
    pub fn valid(&self) -> u8 {
        u8::from_le_bytes(self.get(4))
    }

    /// Sets which are not empty.
    pub fn set_valid(&mut self, value: u8) {
        self.put(4, [value]);
    }

    /// FOP, FIP and FDP.
    #[must_use]
    pub fn last(&self) -> (u16, u64, u64) {
        (u16::from_le_bytes(self.get(6)), u64::from_le_bytes(self.get(8)), u64::from_le_bytes(self.get(16)))
    }

    /// Sets FOP, FIP and FDP.
    pub fn set_last(&mut self, (opcode, instruction, data): (u16, u64, u64)) {
        self.put(6, opcode.to_le_bytes());
        self.put(8, instruction.to_le_bytes());
        self.put(16, data.to_le_bytes());
    }

    /// MXCSR.
    #[must_use]
    pub fn mxcsr(&self) -> u32 {
        u32::from_le_bytes(self.get(24))
    }

    /// Sets MXCSR.
    pub fn set_mxcsr(&mut self, value: u32) {
        self.put(24, value.to_le_bytes());
    }

    /// ST(`index`): sign and exponent, significand.
    #[must_use]
    pub fn st(&self, index: usize) -> (u16, u64) {
        let at = 32 + 16 * (index & 7);
        (u16::from_le_bytes(self.get(at + 8)), u64::from_le_bytes(self.get(at)))
    }

    /// Sets ST(`index`).
    pub fn set_st(&mut self, index: usize, (sign_exponent, significand): (u16, u64)) {
        let at = 32 + 16 * (index & 7);
        self.put(at, significand.to_le_bytes());
        self.put(at + 8, sign_exponent.to_le_bytes());
    }

    /// XMM`index`, low half first.
    #[must_use]
    pub fn xmm(&self, index: usize) -> [u64; 2] {
        self.pair(160 + 16 * (index & 15))
    }

    /// Sets XMM`index`.
    pub fn set_xmm(&mut self, index: usize, value: [u64; 2]) {
        self.set_pair(160 + 16 * (index & 15), value);
    }

    /// The upper half of YMM`index`.
    #[must_use]
    pub fn upper(&self, index: usize) -> [u64; 2] {
        self.pair(UPPER + 16 * (index & 15))
    }

    /// Sets the upper half of YMM`index`.
    pub fn set_upper(&mut self, index: usize, value: [u64; 2]) {
        self.set_pair(UPPER + 16 * (index & 15), value);
    }

    fn pair(&self, at: usize) -> [u64; 2] {
        [u64::from_le_bytes(self.get(at)), u64::from_le_bytes(self.get(at + 8))]
    }

    fn set_pair(&mut self, at: usize, [low, high]: [u64; 2]) {
        self.put(at, low.to_le_bytes());
        self.put(at + 8, high.to_le_bytes());
    }
}

/// What a block starts from and leaves behind, besides memory.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Registers {
    /// General registers in encoding order.
    pub general: [u64; 16],
    /// RFLAGS.
    pub flags: u64,
    /// The others.
    pub vectors: Vectors,
}

/// How a block ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Behind its last instruction.
    Through,
    /// With an exception.
    Fault {
        /// Its number.
        vector: u8,
        /// Its error code, zero where it has none.
        error: u32,
        /// CR2, for a page fault; otherwise zero.
        address: u64,
        /// The saved instruction pointer: an offset in CS.
        at: u64,
    },
    /// It did not end.
    Endless,
}
