//! From a block that differs to one instruction that does, from as little as possible.

use iced_x86::{Formatter, NasmFormatter};
use warmboot_cpu::Path;
use warmboot_silicon::layout::Mode;

use super::{
    bench::Bench,
    block::Block,
    compare::{Outcome, Verdict, compare},
    explained::Explained,
    start::Start,
};

/// One instruction that differs.
pub struct Failure {
    /// It, disassembled.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Which code.
    pub mode: Mode,
    /// Whether vector registers matter.
    pub vectors: bool,
    /// What it starts from.
    pub start: Start,
    /// What silicon makes of it.
    pub silicon: Outcome,
    /// What ours makes of it.
    pub ours: Outcome,
    /// In what they differ.
    pub differences: Vec<String>,
}

/// Finds the first instruction of `block` that differs, and from how little it still does.
pub fn shrink(bench: &mut Bench, block: &Block, start: &Start, explained: &Explained, path: Path) -> Failure {
    let (mut single, mut from) = (block.clone(), start.clone());
    for item in &block.items {
        let up_to = |end: usize| end - block.offset;
        let mut prefix = block.clone();
        prefix.items.retain(|other| other.at <= item.at);
        prefix.bytes.truncate(up_to(item.end()));
        if !differs(bench, &prefix, start, explained, path) {
            continue;
        }
        bench.load(block, up_to(item.at), path);
        let before = bench.run_silicon(start);
        let mut alone = block.clone();
        alone.bytes = block.bytes[up_to(item.at)..up_to(item.end())].to_vec();
        alone.offset = item.at;
        alone.items = vec![super::block::Item { prepared: item.at, ..item.clone() }];
        let state = Start { registers: before.registers, memory: before.memory };
        if differs(bench, &alone, &state, explained, path) {
            (single, from) = (alone, state);
        }
        break;
    }
    simplify(bench, &single, &mut from, explained, path);
    bench.load(&single, single.bytes.len(), path);
    let (silicon, ours) = bench.run(&from);
    let differences = match compare(&single, &silicon, &ours, explained) {
        Verdict::Different(differences) => differences,
        _ => vec!["not every time".into()],
    };
    let vectors = single.vectors;
    Failure {
        name: names(&single),
        bytes: single.bytes,
        mode: block.mode,
        vectors,
        start: from,
        silicon,
        ours,
        differences,
    }
}

/// The instructions of a block, disassembled.
pub fn names(block: &Block) -> String {
    let mut formatter = NasmFormatter::new();
    let names = block.items.iter().map(|item| {
        let mut text = String::new();
        match &item.instruction {
            Some(instruction) => {
                formatter.format(instruction, &mut text);
                format!("{text} [{:?}]", instruction.code())
            }
            None => "(bad)".to_owned(),
        }
    });
    names.collect::<Vec<_>>().join("; ")
}

fn differs(bench: &mut Bench, block: &Block, start: &Start, explained: &Explained, path: Path) -> bool {
    bench.load(block, block.bytes.len(), path);
    let (silicon, ours) = bench.run(start);
    matches!(compare(block, &silicon, &ours, explained), Verdict::Different(_))
}

/// Makes zero whatever may be.
fn simplify(bench: &mut Bench, block: &Block, from: &mut Start, explained: &Explained, path: Path) {
    let mut attempt = |change: &dyn Fn(&mut Start)| {
        let mut simpler = from.clone();
        change(&mut simpler);
        if differs(bench, block, &simpler, explained, path) {
            *from = simpler;
        }
    };
    for index in 0..16 {
        attempt(&|start| start.registers.general[index] = 0);
    }
    attempt(&|start| start.registers.flags = 0x202);
    for index in 0..16 {
        attempt(&|start| start.registers.vectors.set_upper(index, [0; 2]));
        attempt(&|start| start.registers.vectors.set_xmm(index, [0; 2]));
    }
    for index in 0..8 {
        attempt(&|start| start.registers.vectors.set_st(index, (0, 0)));
    }
    attempt(&|start| start.registers.vectors.set_control(0x37f));
    attempt(&|start| start.registers.vectors.set_status(0));
    attempt(&|start| start.registers.vectors.set_mxcsr(0x1f80));
    attempt(&|start| start.memory.fill(0));
    let bytes = super::start::window_bytes();
    for at in (0..bytes).step_by(16) {
        attempt(&|start| start.memory[at..(at + 16).min(bytes)].fill(0));
    }
}
