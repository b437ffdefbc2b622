//! Every instruction form iced-x86 knows is executed when a model offers it.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Code, CpuidFeature, Decoder, DecoderOptions, Instruction, OpKind};
use warmboot_cpu::{exec, models::MODELS, testing::FlatBus};

/// Forms of offered features that are deliberately not executed, and why. Executing one is #UD.
const ABSENT: &[(CpuidFeature, &str)] = &[(
    CpuidFeature::SVM,
    "IA32_EFER.SVME cannot be set, as where firmware has locked VM_CR.SVMDIS: each is #UD by the manual",
)];

/// Each form, with registers and with memory, in each mode that has it: found by decoding every opcode.
#[derive(Default)]
struct Forms(BTreeMap<(u32, bool, u32), Instruction>);

impl Forms {
    fn all() -> Forms {
        let mut forms = Forms::default();
        for bitness in [16, 32, 64] {
            forms.legacy(bitness);
            forms.vex(bitness);
        }
        forms
    }

    fn legacy(&mut self, bitness: u32) {
        const MAPS: [&[u8]; 4] = [&[], &[0x0f], &[0x0f, 0x38], &[0x0f, 0x3a]];
        const MANDATORY: [&[u8]; 5] = [&[], &[0x66], &[0xf2], &[0xf3], &[0x66, 0xf2]];
        let rex: &[&[u8]] = if bitness == 64 { &[&[], &[0x48]] } else { &[&[]] };
        for prefix in MANDATORY {
            for address in [&[][..], &[0x67]] {
                for wide in rex {
                    for map in MAPS {
                        let start = [address, prefix, wide, map].concat();
                        for opcode in 0..=255 {
                            self.operands(bitness, &start, opcode);
                        }
                    }
                }
            }
        }
    }

    fn vex(&mut self, bitness: u32) {
        for map in 1..=3 {
            for rest in 0..=255_u8 {
                // Of the second source only whether it is named at all matters.
                if rest & 0x78 == 0x78 || rest & 0x78 == 0x70 {
                    for opcode in 0..=255 {
                        self.operands(bitness, &[0xc4, 0xe0 | map, rest], opcode);
                    }
                }
            }
        }
    }

    /// Every ModRM byte that can make a difference.
    fn operands(&mut self, bitness: u32, start: &[u8], opcode: u8) {
        let escape = start.is_empty() || matches!(start.last(), Some(0x0f | 0x66 | 0x67 | 0xf2 | 0xf3));
        for modrm in (0..=255_u8).filter(|modrm| modrm >> 6 == 0 || modrm >> 6 == 3) {
            // The index of a gather is a vector register of a SIB byte.
            let gather = start.first() == Some(&0xc4) && modrm & 0xc7 == 4;
            if modrm & 7 > 1 && !(escape && modrm >> 6 == 3) && !gather {
                continue;
            }
            let mut bytes = start.to_vec();
            bytes.extend([opcode, modrm, 0, 0, 0, 0, 0, 0, 0, 0]);
            bytes.truncate(15);
            for options in [DecoderOptions::NONE, DecoderOptions::AMD] {
                let instruction = Decoder::with_ip(bitness, &bytes, 0x1000, options).decode();
                if !instruction.is_invalid() {
                    let memory =
                        (0..instruction.op_count()).any(|index| instruction.op_kind(index) == OpKind::Memory);
                    self.0.insert((instruction.code() as u32, memory, bitness), instruction);
                }
            }
        }
    }
}

/// UD0, UD1 and UD2 are there to be #UD.
fn undefined(code: Code) -> bool {
    use Code::*;
    matches!(
        code,
        Ud0 | Ud0_r16_rm16 | Ud0_r32_rm32 | Ud0_r64_rm64 | Ud1_r16_rm16 | Ud1_r32_rm32 | Ud1_r64_rm64 | Ud2
    )
}

#[test]
fn what_a_model_offers_is_executed() {
    let forms = Forms::all();
    assert!(forms.0.len() > 2500, "only {} forms were found", forms.0.len());
    let mut missing = BTreeSet::new();
    for instruction in forms.0.values().filter(|instruction| !undefined(instruction.code())) {
        let known = instruction.cpuid_features();
        let absent = known.iter().any(|feature| ABSENT.iter().any(|(absent, _)| absent == feature));
        for model in MODELS {
            let offered = model.features.allow(instruction);
            let executed = exec::lower::<FlatBus>(instruction, model.features).is_some();
            assert!(offered || !executed, "{:?} on {}", instruction.code(), model.name);
            if offered && !executed && !absent {
                missing.insert(format!("{:?} {known:?}", instruction.code()));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "offered, but not executed:\n{}",
        missing.into_iter().collect::<Vec<_>>().join("\n")
    );
}
