//! All cases as one JSON object.

use serde::Serialize;

use crate::run::{CaseReport, Status};

#[derive(Serialize)]
struct Run<'a> {
    passed: usize,
    failed: usize,
    cases: Vec<CaseObject<'a>>,
}

#[derive(Serialize)]
struct CaseObject<'a> {
    name: &'a str,
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    status: &'static str,
    digest: &'a str,
    state_digest: &'a str,
    instructions: u64,
    virtual_time_ns: u64,
    ended_by: &'a str,
    wall_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    screen: Option<&'a str>,
}

/// The report as JSON text, ending with a line feed.
#[must_use]
pub fn json(reports: &[CaseReport]) -> String {
    let passed = reports.iter().filter(|report| report.status == Status::Passed).count();
    let run = Run {
        passed,
        failed: reports.len() - passed,
        cases: reports
            .iter()
            .map(|report| CaseObject {
                name: &report.name,
                file: &report.header.file,
                outcome: report.outcome.as_deref(),
                status: report.status.name(),
                digest: &report.digest,
                state_digest: &report.state_digest,
                instructions: report.instructions,
                virtual_time_ns: report.virtual_time,
                ended_by: &report.ended_by,
                wall_ms: u64::try_from(report.wall.as_millis()).unwrap_or(u64::MAX),
                message: report.message.as_deref(),
                screen: report.screen.as_deref(),
            })
            .collect(),
    };
    // Plain structs of strings and numbers always serialise.
    let mut text = serde_json::to_string_pretty(&run).unwrap_or_default();
    text.push('\n');
    text
}
