//! Random processors, page tables, descriptors and code (`warmboot_cpu::fuzz`).

use warmboot_cpu::fuzz;

/// The target.
pub struct Processor;

impl super::Target for Processor {
    fn name(&self) -> String {
        "processor".to_owned()
    }

    fn unit(&self) -> &'static str {
        "guest instructions"
    }

    fn input(&self, seed: u64, number: u64) -> Vec<u8> {
        input(seed, number)
    }

    fn run(&self, _number: u64, input: &[u8]) -> u64 {
        fuzz::run(input)
    }
}

/// Instructions that random bytes seldom are.
const SELDOM: [&[u8]; 32] = [
    &[0xf3, 0xa4],
    &[0xf3, 0xab],
    &[0xf3, 0x48, 0xa5],
    &[0xf2, 0xae],
    &[0x8e, 0xd8],
    &[0x8e, 0xd0],
    &[0x0f, 0x22, 0xc0],
    &[0x0f, 0x22, 0xd8],
    &[0x0f, 0x22, 0xe0],
    &[0x44, 0x0f, 0x22, 0xc0],
    &[0x0f, 0x23, 0xf8],
    &[0x9d],
    &[0xcf],
    &[0x48, 0xcf],
    &[0xcb],
    &[0x48, 0xcb],
    &[0xfb],
    &[0xc8, 0x08, 0x00, 0x02],
    &[0x60],
    &[0x61],
    &[0x0f, 0x01, 0x38],
    &[0x0f, 0x05],
    &[0x48, 0x0f, 0x07],
    &[0x0f, 0x34],
    &[0x0f, 0x30],
    &[0x0f, 0x01, 0xf8],
    &[0x0f, 0xaa],
    &[0x9a, 0x00, 0x00, 0x01, 0x00, 0x70, 0x00],
    &[0xea, 0x00, 0x00, 0x01, 0x00, 0x28, 0x00],
    &[0x48, 0x0f, 0xc7, 0x0b],
    &[0x0f, 0xae, 0x03],
    &[0x0f, 0xae, 0x0b],
];
/// Bytes before the code, about as many as the rest of the processor takes.
const HEAD: usize = 700;
const CODE: usize = 320;

/// Input `number` of `seed`.
fn input(seed: u64, number: u64) -> Vec<u8> {
    let mut random = super::random(seed, number);
    let mut bytes = Vec::with_capacity(HEAD + CODE);
    while bytes.len() < HEAD {
        bytes.extend(random.draw().to_le_bytes());
    }
    while bytes.len() < HEAD + CODE {
        let value = random.draw();
        let escape: &[u8] = match value >> 56 & 15 {
            0 | 1 => SELDOM[(value >> 32) as usize % SELDOM.len()],
            2 | 3 => &[0x0f],
            4 => &[0x66, 0x0f],
            5 => &[0xf3, 0x0f],
            6 => &[0x0f, 0x38],
            7 => &[0xd9],
            8 => &[0xc4, 0xe2],
            _ => &[],
        };
        bytes.extend(escape);
        let more = (value >> 60) as usize & 7;
        bytes.extend(value.to_le_bytes().iter().take(more));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use warmboot_cpu::fuzz;

    /// An alignment check whose delivery meets an alignment check, for ever.
    #[test]
    fn inputs_that_did_not_end() {
        assert!(fuzz::run(&super::input(1_795_915_867_009_689_059, 9450)) < 1_000_000);
    }
}
