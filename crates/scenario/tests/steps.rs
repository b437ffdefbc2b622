//! Steps and expectations on real machines: what passes, and what is said of what does not.

use std::path::Path;

use rstest::rstest;
use warmboot_scenario::{
    Options, Status,
    accepted::{Accepted, Values},
    run_case,
};

/// A machine that boots our own firmware, and what is done with it.
fn scenario(steps: &str) -> String {
    format!(
        "[machine]\nfirmware = \"rom:hello\"\nmemory = \"16M\"\nserial = true\n\
         [[step]]\nrun-until = \"debug:No bootable device\"\nlimit = \"+50M\"\n{steps}"
    )
}

fn check(steps: &str, options: &Options, status: Status, says: &str) {
    let file = options.places.base.join("x.toml").display().to_string();
    let scenario = warmboot_scenario::load(&file, &scenario(steps)).unwrap_or_else(|error| panic!("{error}"));
    for case in &scenario.cases {
        let report = run_case(case, options, &|_| true);
        let message = report.message.unwrap_or_default();
        assert_eq!(report.status, status, "{message}");
        assert!(message.contains(says), "{message}");
    }
}

#[rstest]
#[case::restored(
    "[[step]]\nsnapshot = \"a\"\n[[step]]\npoke = { \"0x9000\" = \"12 34\", \"register.ebx\" = 7 }\n\
    [[step]]\nexpect = { memory = { \"0x9000\" = [0x12, 0x34] }, register = { bl = 7 }, block = { \"pc.ram@0x9001\" = 0x34 } }\n\
    [[step]]\ndiff = { from = \"a\", show = \"rbx\", expect-changed = [\"rbx\", \"pc.ram\"], expect-same = [\"pc.bios\", \"pic\"] }\n\
    [[step]]\nrestore = \"a\"\n[[step]]\nexpect = { memory = { \"0x9000\" = 0 } }\n\
    [[step]]\ndiff = { from = \"a\", expect-same = [\"cpu\", \"pc.ram\", \"map\"] }\n",
    Status::Passed,
    ""
)]
#[case::changed(
    "[[step]]\nsnapshot = \"a\"\n[[step]]\ndiff = { from = \"a\", expect-changed = [\"pc.ram\"] }\n",
    Status::Failed,
    "expected pc.ram to have changed\nfound    the same"
)]
#[case::slip(
    "[[step]]\ndiff = { from = \"power-on\", show = [\"i44fx\"] }\n",
    Status::Error,
    "did you mean `i440fx`?"
)]
#[case::no_register(
    "[[step]]\nexpect = { register = { exa = 1 } }\n",
    Status::Error,
    "there is no register `exa`"
)]
#[case::no_chip(
    "[[step]]\nexpect = { chip = { \"i44fx.pam\" = 1 } }\n",
    Status::Error,
    "there is no chip `i44fx`; did you mean `i440fx`?"
)]
#[case::no_chip_register(
    "[[step]]\nexpect = { chip = { \"pic.mster\" = 1 } }\n",
    Status::Error,
    "there is no register of pic `mster`; did you mean"
)]
#[case::read_only(
    "[[step]]\npoke = { \"0xffffff00\" = \"12 34\" }\n",
    Status::Error,
    "does not take what is written"
)]
#[case::through_the_block(
    "[[step]]\npoke = { \"pc.bios@0\" = \"12 34\" }\n[[step]]\nexpect = { block = { \"pc.bios@0\" = \"12 34\" } }\n",
    Status::Passed,
    ""
)]
#[case::no_block(
    "[[step]]\nexpect = { block = { \"pc.rma@0\" = 1 } }\n",
    Status::Error,
    "no block `pc.rma`; there are pc.ram"
)]
#[case::no_symbol(
    "[[step]]\nexpect = { memory = { HaveRunPost = 1 } }\n",
    Status::Error,
    "there is no symbol `HaveRunPost`"
)]
#[case::answers(
    "[[step]]\nexpect = { answers = { \"0x1000\" = \"pc.ram\", \"0xfffffff0\" = \"pc.bios read-only\", \"0x80000000\" = \"nothing\" } }\n",
    Status::Passed,
    ""
)]
#[case::other_answer(
    "[[step]]\nexpect = { answers = { \"0x1000\" = \"pc.bios\" } }\n",
    Status::Failed,
    "expected 0x1000 answered by pc.bios\nfound    pc.ram read-write"
)]
#[case::run_for(
    "[[step]]\nrun-for = \"1ms\"\n[[step]]\nexpect = { power = \"on\", halted = true, interrupts = true }\n[[step]]\nexpect = { ended-by = \"x\" }\n",
    Status::Failed,
    "expected ended-by x"
)]
#[case::second_boot(
    "[[step]]\nreset = \"system\"\n[[step]]\nrun-until = [\"debug:No bootable device\", \"limit\"]\nlimit = \"+50M\"\n\
    [[step]]\nexpect = { debug-count = { \"No bootable device\" = 1 }, ended-by = \"debug\" }\n",
    Status::Passed,
    ""
)]
#[case::sent(
    "[[step]]\nsend = \"H\"\n[[step]]\nexpect = { chip = { \"com1.receiver\" = 72 } }\n",
    Status::Passed,
    ""
)]
#[case::sent_too_much(
    "[[step]]\nsend = \"more than any FIFO has room for\"\n",
    Status::Failed,
    "expected the guest to have room for byte"
)]
#[case::survivors(
    "[[step]]\nsurvivors = { reset = \"system\", until = \"debug:No bootable device\" }\n\
    [[step]]\nexpect = { debug-count = { \"No bootable device\" = 2 } }\n",
    Status::Failed,
    "debug has 2 times"
)]
fn taken(#[case] steps: &str, #[case] status: Status, #[case] says: &str) {
    check(steps, &Options::default(), status, says);
}

#[test]
fn results_are_compared_with_what_was_accepted() {
    let text = format!("accept = [\"debug\", \"ended-by\"]\n{}", scenario(""));
    let scenario = warmboot_scenario::load("x.toml", &text).expect("read");
    let case = &scenario.cases[0];
    let run = |accepted: Accepted| {
        let options = Options { accepted: [("x.toml".to_owned(), accepted)].into(), ..Options::default() };
        run_case(case, &options, &|_| true)
    };
    let first = run(Accepted::default());
    assert_eq!(first.status, Status::Failed);
    assert!(first.message.expect("said").contains("--accept"));
    let accept = |values: Values| Accepted { cases: [(case.key().to_owned(), values)].into() };
    assert_eq!(run(accept(first.recorded.clone())).status, Status::Passed);
    let mut other = first.recorded;
    other.insert("debug".into(), vec!["Goodbye".into()]);
    let report = run(accept(other));
    assert_eq!(report.status, Status::Failed);
    assert!(report.message.expect("said").contains("-Goodbye\n+"));
}

#[test]
fn a_failing_case_leaves_its_machine() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keep = Some(folder.path().to_path_buf());
    let file = "x.toml";
    let text = scenario("[[step]]\nsnapshot = \"a\"\n[[step]]\nexpect = { disks = 9 }\n");
    let scenario = warmboot_scenario::load(file, &text).expect("read");
    let report = run_case(&scenario.cases[0], &Options { keep, ..Options::default() }, &|_| true);
    assert_eq!(report.kept.as_deref(), Some(folder.path().join("x.snapshot").as_path()));
    let bytes = std::fs::read(folder.path().join("x.snapshot")).expect("written");
    let mut machine = warmboot_machine::Snapshot::read(&bytes)
        .and_then(|snapshot| snapshot.machine_without_disks())
        .expect("a snapshot");
    assert_eq!(machine.digest(), report.digest);

    let options = Options { keep: Some(Path::new("/nowhere").into()), ..Options::default() };
    let report = run_case(&scenario.cases[0], &options, &|_| true);
    assert_eq!(report.status, Status::Error);
    assert!(report.message.expect("said").contains("cannot write `/nowhere/x.snapshot`"));
}

#[test]
fn the_page_stands_by_itself_and_shows_every_case() {
    let text = format!(
        "title = \"<b>\"\n[matrix]\nn = [1, 2, 3]\n{}",
        scenario("[[step]]\nexpect = { disks = 0 }\n")
    );
    let scenario = warmboot_scenario::load("x.toml", &text).expect("read");
    let reports: Vec<_> =
        scenario.cases.iter().map(|case| run_case(case, &Options::default(), &|_| true)).collect();
    let page = warmboot_scenario::report::html(&reports);
    assert_eq!(page.matches("<details class=\"case").count(), 3);
    assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"));
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let opened = |tag: &str| page.matches(&format!("<{tag}")).count();
    for tag in ["div", "details", "section", "li", "ol", "pre", "table"] {
        let extra = if tag == "li" { opened("link") } else { 0 };
        assert_eq!(opened(tag) - extra, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}
