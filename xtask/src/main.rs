//! The project's own chores: firmware download, demonstration, checks, comparisons, benchmarks.
//!
//! `cargo xtask` lists them. Nothing here is needed to use warmboot.

#![forbid(unsafe_code)]

mod bench;
mod demo;
mod firmware;
mod fuzz;
mod made;
mod memory_map;
mod mutation;
mod parity;
mod payloads;
mod programs;
mod roms;
mod save_restore;
mod shell;
mod silicon;
mod test;
mod vectors;

use std::process::ExitCode;

/// What a task says when it does not come out well.
type Failure = Box<dyn std::error::Error>;

/// A chore: name, arguments, one sentence, and the function that does it.
struct Task {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<(), Failure>,
}

const TASKS: &[Task] = &[
    Task {
        name: "demo",
        arguments: "",
        about: "get firmware, build, boot SeaBIOS, press Ctrl+Alt+Del, boot again",
        run: demo::run,
    },
    Task {
        name: "test",
        arguments: "[--quick]",
        about: "everything that must pass: format, lints, tests, scenarios, digests, parity",
        run: test::run,
    },
    Task {
        name: "firmware",
        arguments: "[PACKAGE[:ARCH]…]",
        about: "download firmware images (and other Debian packages) into firmware/",
        run: firmware::run,
    },
    Task {
        name: "bench",
        arguments: "[SECTION…] [ROUNDS]",
        about: "time and memory against bars: post (beside QEMU TCG), forks, snapshots, matrix",
        run: bench::run,
    },
    Task {
        name: "parity",
        arguments: "[OPTION…]",
        about: "the same SeaBIOS in QEMU and here, compared line by line and byte by byte",
        run: |arguments| Ok(parity::run(arguments)?),
    },
    Task {
        name: "payloads",
        arguments: "[--run | --compare] [PROGRAM]",
        about: "get real programs; boot them all, whole and saved in the middle: one digest; or hold their text beside QEMU's",
        run: payloads::run,
    },
    Task {
        name: "roms",
        arguments: "",
        about: "our test ROMs in QEMU's TCG and in Bochs, check by check",
        run: roms::run,
    },
    Task {
        name: "save-restore",
        arguments: "[--points N] [--seed S]",
        about: "save at random instructions, load in a new process, run on: the same digest",
        run: save_restore::run,
    },
    Task {
        name: "memory-map",
        arguments: "[--machine NAME]",
        about: "what answers each address, in QEMU and here, before and after POST and after a reset",
        run: |arguments| Ok(memory_map::run(arguments)?),
    },
    Task {
        name: "mutation",
        arguments: "[TEXT] [--sample N] [--seed S]",
        about: "each fact of a generation changed, each step of a ROM left out: which scenario notices",
        run: mutation::run,
    },
    Task {
        name: "silicon",
        arguments: "[--seed S] [--count N] [--seconds N] [--mode BITS] [--filter TEXT]",
        about: "random instructions, on the processor this runs on and on ours: all must be the same",
        run: silicon::run,
    },
    Task {
        name: "fuzz",
        arguments: "[processor | chips | formats | corpus] [--chip NAME] [--format NAME] [--count N] [--seconds S] [--seed X]",
        about: "random processors, accesses to chips and files: no panic, no end of time, one digest",
        run: fuzz::run,
    },
    Task { name: "vectors", arguments: "[FOLDER]", about: "recorded processor tests", run: run_vectors },
];

/// Where the recorded tests are when no folder is named: beside the checkout.
const VECTORS: &str = "../shared/cpu-tests/80286";

/// Runs a folder of recorded tests. Where the data is absent that is said, and nothing fails.
fn run_vectors(arguments: &[String]) -> Result<(), Failure> {
    let folder = arguments.first().map_or_else(|| shell::root().join(VECTORS), std::path::PathBuf::from);
    if !folder.is_dir() {
        println!("vectors: no test data in {}: nothing was run", folder.display());
        return Ok(());
    }
    let summary = vectors::run(&folder)?;
    println!("{summary}");
    let (_, failed, _) = summary.totals();
    if failed == 0 { Ok(()) } else { Err(format!("{failed} tests failed").into()) }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = arguments.first().and_then(|name| TASKS.iter().find(|task| task.name == name));
    let Some(task) = named else {
        println!("cargo xtask TASK\n");
        for task in TASKS {
            println!("  {:30}  {}", format!("{} {}", task.name, task.arguments), task.about);
        }
        let asked = arguments.first().map(String::as_str);
        return if matches!(asked, None | Some("help" | "--help" | "-h")) {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(2)
        };
    };
    match (task.run)(arguments.get(1..).unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask {}: {failure}", task.name);
            ExitCode::FAILURE
        }
    }
}
