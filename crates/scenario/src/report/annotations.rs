//! Failures as GitHub's workflow commands, which show them at their line in a review.
//!
//! Format: GitHub Actions, "Workflow commands", setting an error message.

use crate::run::{CaseReport, Status};

/// A line for each case that did not pass.
#[must_use]
pub fn github(reports: &[CaseReport]) -> String {
    let bad = reports.iter().filter(|report| matches!(report.status, Status::Failed | Status::Error));
    bad.map(|report| {
        let line = report.line.map_or(String::new(), |line| format!(",line={line}"));
        format!(
            "::error file={}{line},title={}::{}\n",
            property(&report.header.file),
            property(&report.name),
            data(report.message.as_deref().unwrap_or_default())
        )
    })
    .collect()
}

/// Text of a message: a line feed would end the command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property's value: a comma or a colon would end it.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
