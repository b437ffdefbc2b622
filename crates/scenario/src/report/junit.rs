//! JUnit XML: one `testcase` per case, one `testsuite` per file.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::run::{CaseReport, Status};

/// The report as JUnit XML.
#[must_use]
pub fn junit(reports: &[CaseReport]) -> String {
    let mut report = Report::new("warmboot");
    let mut suites: Vec<TestSuite> = Vec::new();
    for case in reports {
        let mut test = TestCase::new(case.name.as_str(), status(case));
        test.set_classname(case.header.file.as_str());
        test.set_time(case.wall);
        if !case.digest.is_empty() {
            test.set_system_out(format!(
                "digest {}\nstate_digest {}\ninstructions {}\nended_by {}\n",
                case.digest, case.state_digest, case.instructions, case.ended_by
            ));
        }
        // Cases of one file follow each other.
        match suites.last_mut().filter(|suite| suite.name.as_str() == case.header.file) {
            Some(suite) => {
                suite.add_test_case(test);
            }
            None => {
                let mut suite = TestSuite::new(case.header.file.as_str());
                suite.add_test_case(test);
                suites.push(suite);
            }
        }
    }
    report.add_test_suites(suites);
    report.to_string().unwrap_or_default()
}

fn status(case: &CaseReport) -> TestCaseStatus {
    let kind = match case.status {
        Status::Passed => return TestCaseStatus::success(),
        Status::Interrupted => return TestCaseStatus::skipped(),
        Status::Failed => NonSuccessKind::Failure,
        Status::Error => NonSuccessKind::Error,
    };
    let mut status = TestCaseStatus::non_success(kind);
    let message = case.message.as_deref().unwrap_or_default();
    status.set_message(message.lines().next().unwrap_or_default().to_owned());
    status.set_description(message.to_owned());
    status
}
