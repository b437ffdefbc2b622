//! Blocks, one after the other, and what came of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use iced_x86::{Code, Instruction};
use warmboot_cpu::{Model, Path};
use warmboot_silicon::{
    End,
    layout::{CODE_BYTES, Mode},
};

use super::{
    Options,
    bench::Bench,
    block::{Block, Builder},
    compare::{self, Outcome, Verdict, compare},
    explained::{self, Explained},
    forms::{self, Use},
    model,
    random::Random,
    report, shrink, start,
};
use crate::Failure;

/// Starts of each block.
const STARTS: u64 = 32;
/// Most instructions of a block.
const LONGEST: u64 = 16;
/// Starts after which a block that has always faulted is given up.
const FAULTS: u64 = 6;
/// Comparisons after which to say how many there were.
const MILESTONE: u64 = 10_000_000;
/// Failures after which to stop.
const ENOUGH: usize = 40;

/// What was counted in one mode.
#[derive(Default)]
struct Figures {
    comparisons: u64,
    faults: BTreeMap<u8, u64>,
    allowed: BTreeMap<&'static str, u64>,
    covered: BTreeSet<Code>,
    silicon: Duration,
}

/// What is offered in one mode.
struct Offer {
    mode: Mode,
    forms: Vec<(Code, Use)>,
    wanted: Vec<Code>,
}

/// Compares as much as is asked for and prints what came of it.
pub fn run(options: &Options) -> Result<(), Failure> {
    let model = model::of_host();
    let mut bench = match Bench::new(model) {
        Ok(bench) => bench,
        Err(reason) => {
            println!("silicon: {reason}: nothing was compared");
            return Ok(());
        }
    };
    let explained = Explained::new(model.cpuid(0, 0, 0, true)[1]);
    if options.known_only && !explained.is_known() {
        println!(
            "silicon: this processor is not AMD's; what others do in ways of their own is not written down yet, so \
             nothing was compared (`cargo xtask silicon` does)"
        );
        return Ok(());
    }
    println!("silicon: seed {} (replay: cargo xtask silicon --seed {})", options.seed, options.seed);
    let offers: Vec<Offer> = options.modes.iter().map(|mode| offer(model, *mode, &options.filter)).collect();
    let mut all: Vec<Figures> = offers.iter().map(|_| Figures::default()).collect();
    let begin = Instant::now();
    let mut failures: BTreeMap<String, usize> = BTreeMap::new();
    let mut compared = 0;
    for number in options.first.. {
        let late = options.seconds.is_some_and(|seconds| begin.elapsed().as_secs() >= seconds);
        if compared >= options.count || late || failures.len() >= ENOUGH {
            break;
        }
        let which = (number % offers.len() as u64) as usize;
        let mut test =
            Test { options, model, bench: &mut bench, explained: &explained, offer: &offers[which], number };
        let before = all[which].comparisons;
        if let Some((name, text)) = test.block(&mut all[which])? {
            let times = failures.entry(name).or_default();
            *times += 1;
            if *times == 1 {
                println!("{text}");
            }
        }
        let more = all[which].comparisons - before;
        if (compared + more) / MILESTONE > compared / MILESTONE {
            let (millions, found) = ((compared + more) / 1_000_000, failures.values().sum::<usize>());
            println!("silicon: {millions} million compared, {found} unexplained");
        }
        compared += more;
    }
    print(&offers, &all, begin.elapsed());
    println!("unexplained: {}", failures.values().sum::<usize>());
    if failures.is_empty() {
        Ok(())
    } else {
        Err(format!("{} instructions differ from silicon", failures.len()).into())
    }
}

fn offer(model: &Model, mode: Mode, filter: &str) -> Offer {
    let mut forms = forms::offered(model, mode);
    forms.retain(|(code, _)| format!("{code:?}").to_lowercase().contains(filter));
    let wanted = forms.iter().filter(|(_, what)| *what == Use::Compared).map(|(code, _)| *code).collect();
    Offer { mode, forms, wanted }
}

/// One block to come.
struct Test<'run> {
    options: &'run Options,
    model: &'static Model,
    bench: &'run mut Bench,
    explained: &'run Explained,
    offer: &'run Offer,
    number: u64,
}

impl Test<'_> {
    /// Runs one block from several starts; a difference as a name and a text.
    fn block(&mut self, figures: &mut Figures) -> Result<Option<(String, String)>, Failure> {
        let mut random = Random::new(self.options.seed, self.number);
        let Some(block) = self.make(&mut random) else { return Ok(None) };
        let path = if random.once_in(8) { Path::Plain } else { Path::Cached };
        self.bench.load(&block, block.bytes.len(), path);
        let base = start::memory(&mut random);
        let mut through = false;
        for number in 0..STARTS {
            if number == FAULTS && !through {
                break;
            }
            let start = start::start(&block, &base, &mut random);
            let clock = Instant::now();
            let silicon = self.bench.run_silicon(&start);
            figures.silicon += clock.elapsed();
            let ours = self.bench.run_ours(&start);
            match compare(&block, &silicon, &ours, self.explained) {
                Verdict::Same => {}
                Verdict::Allowed(reason) => *figures.allowed.entry(reason).or_default() += 1,
                Verdict::Different(_) => {
                    let failure = shrink::shrink(self.bench, &block, &start, self.explained, path);
                    let replay = self.replay();
                    return Ok(Some((
                        failure.name.clone(),
                        format!("{}  // {replay}", report::row(&failure)),
                    )));
                }
            }
            through |= silicon.end == End::Through;
            count(figures, &block, &silicon);
        }
        if !self.bench.same_elsewhere() && !explained::stores_differ(&block) {
            let name = shrink::names(&block);
            let text = format!("  // writes elsewhere differ: {name}\n  // {}", self.replay());
            return Ok(Some((name, text)));
        }
        Ok(None)
    }

    fn replay(&self) -> String {
        let filter = match self.options.filter.as_str() {
            "" => String::new(),
            filter => format!(" --filter {filter}"),
        };
        let mode = match self.options.modes.as_slice() {
            [mode] => format!(" --mode {}", mode.bits()),
            _ => String::new(),
        };
        format!(
            "replay: cargo xtask silicon --seed {} --first {} --count 1{mode}{filter}",
            self.options.seed, self.number
        )
    }

    /// A block; `None` where the random bytes were of no use.
    fn make(&self, random: &mut Random) -> Option<Block> {
        // Mostly in the middle of a page, sometimes across the boundary of two.
        let near = if random.once_in(4) { 4096 - random.below(64) } else { 64 + random.below(2048) };
        let mut builder = Builder::new(self.model, self.offer.mode, near as usize);
        if self.options.filter.is_empty() && random.once_in(6) {
            return random_bytes(builder, random);
        }
        let wanted = &self.offer.wanted;
        if random.once_in(12) {
            return near_miss(builder, wanted, random);
        }
        if wanted.is_empty() {
            return None;
        }
        let length = if random.once_in(2) { 1 } else { 1 + random.below(LONGEST) };
        let mut alone = false;
        for _ in 0..4 * length {
            // In turn at first, so that each form has its share.
            let code = if builder.len() == 0 {
                wanted[((self.number / self.options.modes.len() as u64 + random.below(2))
                    % wanted.len() as u64) as usize]
            } else {
                random.pick(wanted)
            };
            let mut plain = Instruction::default();
            plain.set_code(code);
            let inexact = compare::is_transcendental(&plain) || compare::is_approximate(&plain);
            if inexact && builder.len() > 0 {
                continue;
            }
            let Some(bytes) = forms::encode(code, self.offer.mode, random) else { continue };
            if builder.push(&bytes, random) {
                alone |= inexact || explained::ends_block(&plain);
            }
            if builder.len() as u64 >= length || alone {
                break;
            }
        }
        (builder.len() > 0).then(|| builder.finish())
    }
}

/// An instruction, or none, of the bytes of a form with one bit of prefix, opcode or operands changed.
fn near_miss(mut builder: Builder<'_>, wanted: &[Code], random: &mut Random) -> Option<Block> {
    for _ in 0..32 {
        let Some(mut bytes) = forms::encode(random.pick(wanted), builder.mode(), random) else { continue };
        let at = random.below(bytes.len().min(6) as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        bytes.extend(random.next().to_le_bytes());
        bytes.truncate(15);
        if builder.push(&bytes, random) || builder.push_invalid(&bytes) {
            return Some(builder.finish());
        }
    }
    None
}

/// An instruction, or none, of random prefixes, opcode and operands.
fn random_bytes(mut builder: Builder<'_>, random: &mut Random) -> Option<Block> {
    const PREFIXES: [u8; 11] = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x48, 0x41];
    let outside = if builder.mode() == Mode::SixtyFour { 0 } else { 0xc0 };
    for _ in 0..32 {
        let mut bytes = Vec::new();
        while random.once_in(2) && bytes.len() < 4 {
            bytes.push(random.pick(&PREFIXES));
        }
        match random.below(8) {
            0 | 1 => {}
            2 | 3 => bytes.push(0x0f),
            // VEX; outside 64-bit mode two ones tell it from LES and LDS.
            4 => bytes.extend([0xc5, random.next() as u8 | outside]),
            5 | 6 => bytes.extend([0xc4, 0xe1 + random.below(3) as u8, random.next() as u8]),
            _ => bytes.extend([0x0f, random.pick(&[0x38, 0x3a])]),
        }
        bytes.extend(random.next().to_le_bytes());
        bytes.extend(random.next().to_le_bytes());
        bytes.truncate(15);
        let invalid = random.once_in(3);
        if if invalid { builder.push_invalid(&bytes) } else { builder.push(&bytes, random) } {
            return Some(builder.finish());
        }
    }
    None
}

fn count(figures: &mut Figures, block: &Block, silicon: &Outcome) {
    let mut executed = block.items.len();
    if let End::Fault { vector, at, .. } = silicon.end {
        *figures.faults.entry(vector).or_default() += 1;
        let at = at.wrapping_add(block.mode.code_base()).wrapping_sub(warmboot_silicon::layout::CODE);
        if at < CODE_BYTES as u64 {
            executed = block.items.iter().filter(|item| item.prepared as u64 <= at).count();
        }
    }
    figures.comparisons += executed as u64;
    let executed = block.items.iter().take(executed);
    figures
        .covered
        .extend(executed.filter_map(|item| item.instruction).map(|instruction| instruction.code()));
}

fn print(offers: &[Offer], all: &[Figures], elapsed: Duration) {
    for (offer, figures) in offers.iter().zip(all) {
        let name = report::mode_name(offer.mode);
        let excluded: BTreeSet<(&str, Code)> = offer
            .forms
            .iter()
            .filter_map(|(code, what)| match what {
                Use::Excluded(reason) => Some((*reason, *code)),
                _ => None,
            })
            .collect();
        let never: Vec<String> = offer
            .wanted
            .iter()
            .filter(|code| !figures.covered.contains(code))
            .map(|code| format!("{code:?}"))
            .collect();
        let faults: Vec<String> = figures
            .faults
            .iter()
            .map(|(vector, count)| format!("{}: {count}", vector_name(*vector)))
            .collect();
        println!(
            "{name}: {} comparisons, {} of {} forms ({} excluded); exceptions compared: {}",
            figures.comparisons,
            offer.wanted.len() - never.len(),
            offer.wanted.len(),
            excluded.len(),
            if faults.is_empty() { "none".into() } else { faults.join(", ") }
        );
        for (reason, count) in &figures.allowed {
            println!("{name}: {count} times as the manual allows: {reason}");
        }
        let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (reason, code) in &excluded {
            reasons.entry(reason).or_default().push(format!("{code:?}"));
        }
        for (reason, codes) in reasons {
            println!("{name}: not compared, because it {reason}: {}", codes.join(" "));
        }
        if !never.is_empty() {
            println!("{name}: never run: {}", never.join(" "));
        }
    }
    let total: u64 = all.iter().map(|figures| figures.comparisons).sum();
    let silicon: f64 = all.iter().map(|figures| figures.silicon.as_secs_f64()).sum();
    println!(
        "total: {total} comparisons in {:.1} s ({:.2} million a second; {:.1} on silicon alone)",
        elapsed.as_secs_f64(),
        total as f64 / elapsed.as_secs_f64() / 1e6,
        total as f64 / silicon.max(1e-9) / 1e6,
    );
}

fn vector_name(vector: u8) -> String {
    match vector {
        0 => "#DE".into(),
        1 => "#DB".into(),
        3 => "#BP".into(),
        4 => "#OF".into(),
        5 => "#BR".into(),
        6 => "#UD".into(),
        12 => "#SS".into(),
        13 => "#GP".into(),
        14 => "#PF".into(),
        16 => "#MF".into(),
        17 => "#AC".into(),
        19 => "#XM".into(),
        other => format!("vector {other}"),
    }
}
