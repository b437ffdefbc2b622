//! Images made of pieces of 16- and 32-bit code at fixed offsets, with names that reach across them.
//!
//! iced-x86 assembles one piece at a time. Names of other pieces are resolved by assembling the whole
//! image again until no address moves any more, which takes two or three passes.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
};

use iced_x86::{
    BlockEncoderOptions, Code, IcedError, Instruction,
    code_asm::{CodeAssembler, CodeLabel},
};
use thiserror::Error;

/// Why an image could not be made: always a mistake in its module.
#[derive(Debug, Error)]
pub enum BuildError {
    /// iced-x86 refused an instruction.
    #[error(transparent)]
    Assembler(#[from] IcedError),
    /// Two pieces overlap, or one lies outside the image.
    #[error("bytes {start:#x}-{end:#x} overlap another piece or leave the image")]
    Overlap {
        /// First byte.
        start: usize,
        /// First byte after it.
        end: usize,
    },
    /// A name that nothing defines.
    #[error("nothing defines `{0}`")]
    Undefined(String),
    /// Addresses keep moving.
    #[error("addresses do not settle")]
    Unsettled,
}

/// What building returns.
pub(crate) type Built<T = ()> = Result<T, BuildError>;

/// What an address is taken for before it is known: big enough to get the longest encoding.
const UNKNOWN: u32 = 0x1_7fed;

/// An image during one pass.
pub(crate) struct Image {
    bytes: Vec<u8>,
    taken: Vec<(usize, usize)>,
    known: BTreeMap<String, u32>,
    defined: BTreeMap<String, u32>,
    missing: RefCell<BTreeSet<String>>,
    texts: BTreeMap<String, u32>,
    text_offset: usize,
    text_address: u32,
    ends: Vec<u32>,
}

/// An image and where its named places are.
pub(crate) struct Assembled {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The address of each name, as the code sees it.
    pub names: BTreeMap<String, u32>,
    /// First address behind each piece of code, in the order written.
    pub ends: Vec<u32>,
}

/// Assembles an image of `size` bytes, each initially `fill`.
pub(crate) fn build(size: usize, fill: u8, write: impl Fn(&mut Image) -> Built) -> Built<Vec<u8>> {
    Ok(assemble(size, fill, write)?.bytes)
}

/// The same, with its names.
pub(crate) fn assemble(size: usize, fill: u8, write: impl Fn(&mut Image) -> Built) -> Built<Assembled> {
    let mut known = BTreeMap::new();
    for _ in 0..8 {
        let mut image = Image {
            bytes: vec![fill; size],
            taken: Vec::new(),
            known,
            defined: BTreeMap::new(),
            missing: RefCell::default(),
            texts: BTreeMap::new(),
            text_offset: 0,
            text_address: 0,
            ends: Vec::new(),
        };
        write(&mut image)?;
        if image.known == image.defined {
            let missing = image.missing.into_inner().pop_first();
            let Image { bytes, defined: names, ends, .. } = image;
            return missing
                .map_or(Ok(Assembled { bytes, names, ends }), |name| Err(BuildError::Undefined(name)));
        }
        known = image.defined;
    }
    Err(BuildError::Unsettled)
}

impl Image {
    /// The address of a name, as far as it is known in this pass.
    pub(crate) fn address(&self, name: &str) -> u32 {
        self.known.get(name).copied().unwrap_or_else(|| {
            self.missing.borrow_mut().insert(name.into());
            UNKNOWN
        })
    }

    /// Where texts go: at `offset` in the image, which code sees at `address`.
    pub(crate) fn texts_at(&mut self, offset: usize, address: u32) {
        (self.text_offset, self.text_address) = (offset, address);
    }

    /// The address of a text that ends with a zero byte.
    pub(crate) fn text(&mut self, text: &str) -> Built<u32> {
        if let Some(&address) = self.texts.get(text) {
            return Ok(address);
        }
        let address = self.text_address;
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.put(self.text_offset, &bytes)?;
        self.texts.insert(text.into(), address);
        self.text_offset += bytes.len();
        self.text_address += bytes.len() as u32;
        Ok(address)
    }

    /// Places bytes.
    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) -> Built {
        let (start, end) = (offset, offset + bytes.len());
        let free = self.taken.iter().all(|&(from, to)| end <= from || to <= start);
        match self.bytes.get_mut(start..end) {
            Some(place) if free => place.copy_from_slice(bytes),
            _ => return Err(BuildError::Overlap { start, end }),
        }
        self.taken.push((start, end));
        Ok(())
    }

    /// Assembles code at `offset`, which runs at `address`.
    pub(crate) fn code(
        &mut self,
        bits: u32,
        offset: usize,
        address: u32,
        write: impl FnOnce(&mut Block) -> Built,
    ) -> Built {
        let mut block =
            Block { assembler: CodeAssembler::new(bits)?, image: self, start: address, labels: Vec::new() };
        write(&mut block)?;
        let Block { mut assembler, labels, .. } = block;
        let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
        let result = assembler.assemble_options(u64::from(address), options)?;
        for (name, label) in labels {
            self.defined.insert(name, result.label_ip(&label)? as u32);
        }
        self.ends.push(address + result.inner.code_buffer.len() as u32);
        self.put(offset, &result.inner.code_buffer)
    }

    /// The far jump at the reset vector of an image whose last 64 KiB are seen at F0000.
    pub(crate) fn reset_vector(&mut self, entry: &str) -> Built {
        let [low, high, ..] = self.address(entry).to_le_bytes();
        self.reset_bytes([0xea, low, high, 0x00, 0xf0])
    }

    /// A near jump instead, which stays in the copy of the image that the processor is in.
    pub(crate) fn near_reset_vector(&mut self, entry: &str) -> Built {
        let [low, high, ..] = self.address(entry).wrapping_sub(0xfff3).to_le_bytes();
        self.reset_bytes([0xe9, low, high, 0x90, 0x90])
    }

    fn reset_bytes(&mut self, jump: [u8; 5]) -> Built {
        let at = self.bytes.len() - 16;
        self.put(at, &jump)?;
        self.put(at + 5, b"11/23/26\0\xfc\0")
    }
}

/// A piece of code being written: iced-x86's assembler plus names.
pub(crate) struct Block<'a> {
    assembler: CodeAssembler,
    image: &'a mut Image,
    start: u32,
    labels: Vec<(String, CodeLabel)>,
}

impl Deref for Block<'_> {
    type Target = CodeAssembler;
    fn deref(&self) -> &CodeAssembler {
        &self.assembler
    }
}

impl DerefMut for Block<'_> {
    fn deref_mut(&mut self) -> &mut CodeAssembler {
        &mut self.assembler
    }
}

impl Block<'_> {
    /// Gives the next instruction a name for the whole image.
    pub(crate) fn name(&mut self, name: &str) -> Built {
        let mut label = self.assembler.create_label();
        self.assembler.set_label(&mut label)?;
        self.assembler.zero_bytes()?;
        self.labels.push((name.into(), label));
        Ok(())
    }

    /// A name of its own for a place in this piece.
    pub(crate) fn unique(&mut self) -> String {
        let number = self.assembler.instructions().len();
        format!("{:x}+{number}", self.start)
    }

    /// The address of a name.
    pub(crate) fn address(&self, name: &str) -> u32 {
        match self.image.address(name) {
            // Must fit, whatever it is used for.
            UNKNOWN if self.assembler.bitness() == 16 => UNKNOWN & 0xffff,
            address => address,
        }
    }

    /// The address of a name, for branches.
    pub(crate) fn target(&self, name: &str) -> u64 {
        u64::from(self.address(name))
    }

    /// The address of a text that ends with a zero byte.
    pub(crate) fn text(&mut self, text: &str) -> Built<u32> {
        self.image.text(text)
    }

    /// A label for use within this piece.
    pub(crate) fn here(&mut self) -> Built<CodeLabel> {
        let mut label = self.assembler.create_label();
        self.assembler.set_label(&mut label)?;
        self.assembler.zero_bytes()?;
        Ok(label)
    }

    /// Puts a label made with `create_label` here.
    pub(crate) fn place(&mut self, mut label: CodeLabel) -> Built {
        self.assembler.set_label(&mut label)?;
        self.assembler.zero_bytes()?;
        Ok(())
    }

    /// JMP selector:offset, with a 16- or 32-bit offset.
    pub(crate) fn jump_far(&mut self, bits: u32, selector: u16, offset: u32) -> Built {
        let code = if bits == 16 { Code::Jmp_ptr1616 } else { Code::Jmp_ptr1632 };
        Ok(self.assembler.add_instruction(Instruction::with_far_branch(code, selector, offset)?)?)
    }

    /// CALL selector:offset with a 16-bit offset.
    pub(crate) fn call_far_16(&mut self, selector: u16, offset: u32) -> Built {
        let call = Instruction::with_far_branch(Code::Call_ptr1616, selector, offset & 0xffff)?;
        Ok(self.assembler.add_instruction(call)?)
    }

    /// CALL selector:offset with a 32-bit offset.
    pub(crate) fn call_far(&mut self, selector: u16, offset: u32) -> Built {
        let call = Instruction::with_far_branch(Code::Call_ptr1632, selector, offset)?;
        Ok(self.assembler.add_instruction(call)?)
    }
}
