//! One line per case and a closing line, for terminals and logs.

use crate::run::{CaseReport, Status};

/// One case: status, name, digest's beginning, instructions, time; what went wrong on lines below.
#[must_use]
pub fn line(report: &CaseReport) -> String {
    let status = match report.status {
        Status::Passed => "ok  ",
        Status::Failed => "FAIL",
        Status::Error => "ERR ",
        Status::Interrupted => "STOP",
    };
    let mut text = format!("{status} {}", report.name);
    if let Some(outcome) = &report.outcome {
        let not = if report.status == Status::Passed { "" } else { "not " };
        text.push_str(&format!(" → {not}{outcome}"));
    }
    if let Some(digest) = report.digest.get(..16) {
        text.push_str(&format!(
            "  {digest}  {} instructions, {} ms",
            report.instructions,
            report.wall.as_millis()
        ));
    }
    for line in report.message.iter().flat_map(|message| message.lines()) {
        text.push_str("\n       ");
        text.push_str(line);
    }
    text
}

/// `N passed, N failed`, and what else there was.
#[must_use]
pub fn summary(reports: &[CaseReport]) -> String {
    let count = |status| reports.iter().filter(|report| report.status == status).count();
    let mut text =
        format!("{} passed, {} failed", count(Status::Passed), count(Status::Failed) + count(Status::Error));
    let interrupted = count(Status::Interrupted);
    if interrupted > 0 {
        text.push_str(&format!(", {interrupted} skipped"));
    }
    text
}
