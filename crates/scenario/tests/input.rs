//! What was entered in one run and is entered again in another: the same bytes, however the run is cut.

use rstest::rstest;
use warmboot_machine::{Condition, Limits, Machine, Path};
use warmboot_scenario::{
    input::{Entry, Recording},
    session::{End, Finish, Plan, Progress, Session},
    spec::{MachineSpec, Places},
};

fn machine(firmware: &str, path: Path, cpus: u32) -> Machine {
    let spec = MachineSpec {
        firmware: firmware.to_owned(),
        serial: true,
        path,
        cpus,
        memory: 16 << 20,
        ..MachineSpec::default()
    };
    Machine::new(&spec.config(&Places::default()).expect("a machine")).expect("a machine")
}

fn plan() -> Plan {
    Plan { limits: Limits { slice: Some(10_007), ..Limits::default() }, ..Plan::default() }
}

/// Runs on until `time`, in pieces.
fn on(machine: &mut Machine, session: &mut Session, time: u64) {
    loop {
        match session.go_on(machine, None, &[Condition::Time(time)]).expect("it runs") {
            Progress::Met(_) => return,
            Progress::More => {}
            Progress::Finished(finish) => panic!("{finish:?}"),
        }
    }
}

/// Enters something at each of these times, and quits at the last.
fn by_hand(machine: &mut Machine, entries: &[(u64, Entry)], quit: u64) -> (Recording, Finish) {
    let mut session = Session::new(plan());
    session.attend(true);
    for (time, entry) in entries {
        on(machine, &mut session, *time);
        session.enter(machine, entry.clone()).expect("it can be entered");
    }
    on(machine, &mut session, quit);
    let finish = session.quit(machine);
    (session.recording(), finish)
}

#[rstest]
#[case::polled("rom:echo", 1, &[(1_000_000, Entry::Send(b"hello".to_vec())), (1_500_001, Entry::Send(b"!".to_vec()))])]
#[case::halted("rom:hello", 1, &[(9_000_000, Entry::Press("a".into())), (90_000_001, Entry::Press("ctrl-alt-delete".into()))])]
#[case::reset("rom:hello", 1, &[(9_000_000, Entry::Reset("system".parse().expect("a path"))), (90_000_001, Entry::Press("a".into()))])]
#[case::two_processors("rom:hello", 2, &[(9_000_000, Entry::Press("a".into())), (9_500_000, Entry::Reset("system".parse().expect("a path"))), (90_000_001, Entry::Press("a".into()))])]
fn two_runs(#[case] firmware: &str, #[case] cpus: u32, #[case] entries: &[(u64, Entry)]) {
    comes_again(firmware, cpus, entries);
}

fn comes_again(firmware: &str, cpus: u32, entries: &[(u64, Entry)]) {
    let mut first = machine(firmware, Path::Cached, cpus);
    let (recording, finish) = by_hand(&mut first, entries, 400_000_000);
    assert_eq!((finish.end, finish.ended_by.as_str()), (End::Stopped, "quit"));
    assert_eq!(recording.0.len(), entries.len() + 1);
    let text = recording.to_string();
    for (path, slice) in [(Path::Cached, None), (Path::Cached, Some(1_013)), (Path::Plain, Some(250_000))] {
        let mut again = machine(firmware, path, cpus);
        let mut session =
            Session::new(Plan { limits: Limits { slice, ..Limits::default() }, ..Plan::default() });
        session.repeat(text.parse().expect("a recording"));
        let end = session.drive(&mut again, &mut |_| true).expect("it runs");
        assert_eq!((end.end, end.ended_by.as_str(), session.coming()), (End::Stopped, "quit", 0));
        assert_eq!(session.recording(), recording);
        assert_eq!(again.digest(), first.digest(), "{path:?} {slice:?}");
    }
}

/// Nothing, entered again and again: some of it comes when the processor has just halted, before anything else
/// has happened.
#[test]
fn comes_again_wherever_time_stands() {
    let mut entries = vec![(9_000_000, Entry::Press("a".into()))];
    entries.extend((1..400).map(|step| (9_000_000 + 5_003 * step, Entry::Send(Vec::new()))));
    comes_again("rom:hello", 1, &entries);
}

/// Until nothing more can come, a machine that waits for a key has not halted for ever.
#[test]
fn waits_for_keys_until_they_are_over() {
    let mut waiting = machine("rom:hello", Path::Cached, 1);
    let mut session = Session::new(plan());
    session.attend(true);
    on(&mut waiting, &mut session, 500_000_000);
    assert!(waiting.is_halted());
    session.enter(&mut waiting, Entry::Close).expect("it can be entered");
    let finish = session.drive(&mut waiting, &mut |_| true).expect("it runs");
    assert_eq!((finish.ended_by.as_str(), waiting.virtual_time()), ("halt", 500_000_000));
}

#[rstest]
#[case::later_count("instructions:100 time:1ns close", "is not of this machine and run")]
#[case::earlier_count("instructions:100 time:2s close", "is not of this machine and run")]
#[case::no_room("instructions:0 time:0ns send \"abc\"", "no room")]
fn another_machine_is_noticed(#[case] line: &str, #[case] expect: &str) {
    let mut machine = machine("rom:echo", Path::Cached, 1);
    let mut session = Session::new(plan());
    session.repeat(line.parse().expect("a recording"));
    let error = session.drive(&mut machine, &mut |_| true).expect_err("another machine").to_string();
    assert!(error.contains(expect), "{error}");
}
