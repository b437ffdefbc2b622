//! AML terms that `acpi_tables` does not have: ACPI 5.0, section 20.2 (AML grammar) and 6.4
//! (resource descriptors).

use acpi_tables::aml::Path;
use acpi_tables::{Aml, AmlSink};

/// The bytes of a term.
pub(super) fn encode(term: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    term.to_aml_bytes(&mut bytes);
    bytes
}

/// The bytes of a list of terms.
pub(super) fn encode_all(terms: &[&dyn Aml]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for term in terms {
        term.to_aml_bytes(&mut bytes);
    }
    bytes
}

/// Terms that are encoded already.
pub(super) struct Encoded(pub Vec<u8>);

impl Encoded {
    /// Encodes a term that borrows from a scope that ends.
    pub(super) fn of(term: &dyn Aml) -> Encoded {
        Encoded(encode(term))
    }
}

impl Aml for Encoded {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// An operator without operands: its one or two bytes.
pub(super) struct Word(pub &'static [u8]);

impl Aml for Word {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(self.0);
    }
}

/// Leaves the innermost loop.
pub(super) const BREAK: Word = Word(&[0xa5]);

/// The debug object, which a store prints to.
pub(super) const DEBUG: Word = Word(&[0x5b, 0x31]);

/// No target: an operation's result is only its value.
pub(super) const NOWHERE: Word = Word(&[0x00]);

/// An operator and its operands, in order.
pub(super) struct Operation<'a>(pub u8, pub Vec<&'a dyn Aml>);

impl Aml for Operation<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(self.0);
        for operand in &self.1 {
            operand.to_aml_bytes(sink);
        }
    }
}

/// `a && b`.
pub(super) fn both<'a>(a: &'a dyn Aml, b: &'a dyn Aml) -> Operation<'a> {
    Operation(0x90, vec![a, b])
}

/// `a || b`.
pub(super) fn either<'a>(a: &'a dyn Aml, b: &'a dyn Aml) -> Operation<'a> {
    Operation(0x91, vec![a, b])
}

/// `!a`.
pub(super) fn not(a: &dyn Aml) -> Operation<'_> {
    Operation(0x92, vec![a])
}

/// `a++`.
pub(super) fn increment(a: &dyn Aml) -> Operation<'_> {
    Operation(0x75, vec![a])
}

/// `ToHexString (a, target)`.
pub(super) fn to_hex_string<'a>(target: &'a dyn Aml, a: &'a dyn Aml) -> Operation<'a> {
    Operation(0x98, vec![a, target])
}

/// A package of `0` elements' room, none of them given yet.
pub(super) struct EmptyPackage(pub u8);

impl Aml for EmptyPackage {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&[0x12, 0x02, self.0]);
    }
}

/// Declarations in the root of the name space.
pub(super) struct Root(pub Vec<u8>);

impl Aml for Root {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x10);
        counted(sink, &[b"\\\0", self.0.as_slice()]);
    }
}

/// A processor with its APIC table's number and no register block.
pub(super) struct Processor {
    pub path: Path,
    pub id: u8,
    pub children: Vec<u8>,
}

impl Aml for Processor {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&[0x5b, 0x83]);
        let path = encode(&self.path);
        let registers = [self.id, 0, 0, 0, 0, 0];
        counted(sink, &[&path, &registers, &self.children]);
    }
}

/// Writes the package length of what follows, then what follows (20.2.4).
fn counted(sink: &mut dyn AmlSink, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    // The length counts its own bytes; the first holds 6 bits if it is alone, else 4.
    let (extra, total) = match length {
        0..=0x3e => (0, length + 1),
        0x3f..=0xffd => (1, length + 2),
        0xffe..=0xf_fffc => (2, length + 3),
        _ => (3, length + 4),
    };
    if extra == 0 {
        sink.byte(total as u8);
    } else {
        sink.byte((extra << 6) as u8 | (total & 0x0f) as u8);
        for index in 0..extra {
            sink.byte((total >> (4 + 8 * index)) as u8);
        }
    }
    for part in parts {
        sink.vec(part);
    }
}

/// Small resource: ISA interrupts, active high, edge triggered (6.4.2.1).
pub(super) struct IsaInterrupt(pub u8);

impl Aml for IsaInterrupt {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x22);
        sink.word(1u16.checked_shl(self.0.into()).unwrap_or(0));
    }
}

/// Small resource: a DMA channel, 8 bits, compatibility mode (6.4.2.2).
pub(super) struct IsaDma(pub u8);

impl Aml for IsaDma {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&[0x2a, 1u8.checked_shl(self.0.into()).unwrap_or(0), 0x00]);
    }
}

/// Large resource: one of several interrupts, level, active high, shared (6.4.3.6).
pub(super) struct LinkInterrupts(pub &'static [u32]);

impl Aml for LinkInterrupts {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        const CONSUMER: u8 = 1 << 0;
        const SHARED: u8 = 1 << 3;
        sink.byte(0x89);
        sink.word(2 + 4 * self.0.len() as u16);
        sink.vec(&[CONSUMER | SHARED, self.0.len() as u8]);
        for number in self.0 {
            sink.dword(*number);
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::one_byte(0x3c, &[0x3f])]
    #[case::two_bytes(0x3d, &[0x41, 0x04])]
    #[case::two_bytes_full(0xffb, &[0x4f, 0xff])]
    #[case::three_bytes(0xffc, &[0x81, 0x00, 0x01])]
    fn package_length(#[case] children: usize, #[case] expect: &[u8]) {
        let bytes = encode(&Root(vec![0xa5; children]));
        let (length, rest) = bytes[1..].split_at(expect.len());
        assert_eq!(length, expect);
        assert_eq!(rest[..2], *b"\\\0");
        assert_eq!(rest.len(), children + 2);
    }
}
