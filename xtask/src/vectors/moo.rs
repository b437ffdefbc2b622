//! The MOO format: gzip over chunks of `id[4]`, a length, that many bytes.
//!
//! `TEST` chunks hold `NAME`, `BYTS`, `INIT`, `FINA`, `EXCP` and `HASH`; `INIT` and `FINA` hold
//! `REGS` (a presence bitmap, then one word for each set bit) and `RAM ` (address and byte pairs).

use std::{collections::BTreeMap, io::Read, path::Path};

use serde_json::Value;

use super::Error;

/// Positions in the order of the `REGS` chunk.
pub(super) mod at {
    pub(in super::super) const CS: usize = 4;
    pub(in super::super) const SS: usize = 5;
    pub(in super::super) const DS: usize = 6;
    pub(in super::super) const ES: usize = 7;
    pub(in super::super) const SP: usize = 8;
    pub(in super::super) const IP: usize = 12;
    pub(in super::super) const FLAGS: usize = 13;
}

/// Names of the registers, in that order.
pub(super) const REGISTER_NAMES: [&str; 14] =
    ["ax", "bx", "cx", "dx", "cs", "ss", "ds", "es", "sp", "bp", "si", "di", "ip", "flags"];

/// Our encoding numbers of the general registers among them.
pub(super) const GENERAL: [(usize, usize); 8] =
    [(0, 0), (1, 3), (2, 1), (3, 2), (at::SP, 4), (9, 5), (10, 6), (11, 7)];

/// Registers, in that order.
pub(super) type Registers = [u16; 14];
/// Bytes by linear address.
pub(super) type Memory = BTreeMap<u32, u8>;

/// One test.
#[derive(Clone, Debug, Default)]
pub(super) struct Test {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) before: Registers,
    pub(super) memory_before: Memory,
    pub(super) after: Registers,
    pub(super) memory_after: Memory,
    /// Vector of the exception or software interrupt.
    pub(super) exception: Option<u8>,
    pub(super) hash: String,
}

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// A JSON file.
pub(super) fn read_json(path: &Path) -> Result<Value, Error> {
    serde_json::from_slice(&read(path)?)
        .map_err(|error| Error::Format { path: path.to_owned(), what: error.to_string() })
}

/// The tests of a `*.MOO.gz` file.
pub(super) fn read_tests(path: &Path) -> Result<Vec<Test>, Error> {
    let packed = read(path)?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice())
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let bad = |what: &str| Error::Format { path: path.to_owned(), what: what.to_owned() };
    let mut tests = Vec::new();
    for (id, payload) in chunks(&bytes) {
        if id == *b"TEST" {
            tests.push(read_test(payload).ok_or_else(|| bad("a TEST chunk is incomplete"))?);
        }
    }
    let promised = chunks(&bytes)
        .find(|(id, _)| id == b"MOO ")
        .and_then(|(_, payload)| word32(payload, 4))
        .ok_or_else(|| bad("no MOO header"))?;
    if promised as usize != tests.len() {
        return Err(bad(&format!("{promised} tests promised, {} found", tests.len())));
    }
    Ok(tests)
}

/// The chunks of a payload: an identifier, a length, that many bytes.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let id = *bytes.first_chunk()?;
        let length = word32(bytes, 4)? as usize;
        let payload = bytes.get(8..)?.get(..length)?;
        bytes = &bytes[8 + length..];
        Some((id, payload))
    })
}

fn word32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn read_test(payload: &[u8]) -> Option<Test> {
    let mut test = Test { index: word32(payload, 0)?, ..Test::default() };
    for (id, payload) in chunks(payload.get(4..)?) {
        match &id {
            b"NAME" => test.name = String::from_utf8_lossy(payload.get(4..)?).into_owned(),
            b"BYTS" => test.bytes = payload.get(4..)?.to_vec(),
            b"INIT" => read_state(payload, &mut test.before, &mut test.memory_before)?,
            b"FINA" => {
                // Only what changed is listed; memory that is not listed stays.
                test.after = test.before;
                test.memory_after = test.memory_before.clone();
                read_state(payload, &mut test.after, &mut test.memory_after)?;
            }
            // The address of the pushed FLAGS, which follows, is that of a bus cycle: one less
            // than the word's own when SP is odd.
            b"EXCP" => test.exception = Some(*payload.first()?),
            b"HASH" => test.hash = payload.iter().map(|byte| format!("{byte:02x}")).collect(),
            _ => {}
        }
    }
    Some(test)
}

fn read_state(payload: &[u8], registers: &mut Registers, memory: &mut Memory) -> Option<()> {
    for (id, payload) in chunks(payload) {
        match &id {
            b"REGS" => {
                let present = u16::from_le_bytes(*payload.first_chunk()?);
                let mut values = payload.get(2..)?.chunks_exact(2);
                for (bit, register) in registers.iter_mut().enumerate() {
                    if present & (1 << bit) != 0 {
                        *register = u16::from_le_bytes(values.next()?.try_into().ok()?);
                    }
                }
            }
            b"RAM " => {
                for entry in payload.get(4..)?.chunks_exact(5) {
                    memory.insert(word32(entry, 0)?, *entry.get(4)?);
                }
            }
            _ => {}
        }
    }
    Some(())
}
