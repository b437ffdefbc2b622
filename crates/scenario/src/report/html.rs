//! One page with everything in it: what each case did step by step, who answered the BIOS' addresses
//! before and after, what changed, what was printed. It needs no network and reads without scripts.

use std::fmt::Write as _;

use super::text;
use crate::{
    answers::{STRIPS, Span},
    run::{CaseReport, Status, StepReport},
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Wider tables of cells than this are left out: the list below has the same.
const MOST_COLUMNS: usize = 24;

/// The page.
#[must_use]
pub fn html(reports: &[CaseReport]) -> String {
    let mut page = String::new();
    head(&mut page, reports);
    for (first, cases) in by_file(reports) {
        file(&mut page, first, cases);
    }
    page.push_str("</main>\n<footer><p>Made by warmboot: the same inputs give the same digests.</p></footer>\n<script>\n");
    page.push_str(SCRIPT);
    page.push_str("</script>\n</body>\n</html>\n");
    page
}

/// Adds formatted text; writing to a string cannot fail.
macro_rules! add {
    ($page:expr, $($what:tt)*) => { let _ = write!($page, $($what)*); };
}

/// `text` as HTML has it. Control characters, which a guest may print, are shown as pictures.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\r' => {}
            '\n' | '\t' => escaped.push(c),
            '\0'..='\x1f' => escaped.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or(' ')),
            '\x7f' => escaped.push('\u{2421}'),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// The cases of each file, which follow each other, with the number of the first.
fn by_file(reports: &[CaseReport]) -> Vec<(usize, &[CaseReport])> {
    let groups = reports.chunk_by(|a, b| a.header.file == b.header.file);
    let mut first = 0;
    groups
        .map(|group| {
            let start = first;
            first += group.len();
            (start, group)
        })
        .collect()
}

fn head(page: &mut String, reports: &[CaseReport]) {
    let summary = text::summary(reports);
    let bad = reports.iter().any(|report| report.status != Status::Passed);
    add!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}: warmboot</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n\
         <h1>warmboot: {}</h1>\n<ul class=\"counts\">\n",
        escaped(&summary),
        escaped(&summary)
    );
    for status in [Status::Passed, Status::Failed, Status::Error, Status::Interrupted] {
        let count = reports.iter().filter(|report| report.status == status).count();
        if count > 0 {
            add!(page, "<li class=\"badge {0}\">{count} {0}</li>\n", status.name());
        }
    }
    let instructions: u64 = reports.iter().map(|report| report.instructions).sum();
    add!(
        page,
        "</ul>\n<p class=\"faint\">{} cases, {} instructions executed.</p>\n<div class=\"tools\">\n",
        reports.len(),
        grouped(instructions)
    );
    if bad {
        page.push_str("<label><input type=\"checkbox\" id=\"only-bad\"> only what did not pass</label>\n");
    }
    page.push_str(
        "<label hidden>Filter <input type=\"search\" id=\"search\" placeholder=\"words in a case's name\"></label>\n\
         </div>\n</header>\n<main>\n",
    );
}

fn file(page: &mut String, first: usize, cases: &[CaseReport]) {
    let Some(header) = cases.first().map(|case| &case.header) else { return };
    let title = if header.title.is_empty() { &header.file } else { &header.title };
    add!(page, "<section>\n<h2>{}<small>{}</small></h2>\n", escaped(title), escaped(&header.file));
    if !header.about.is_empty() {
        add!(page, "<p>{}</p>\n", escaped(header.about.trim()));
    }
    grid(page, first, cases);
    for (number, case) in (first..).zip(cases) {
        one_case(page, number, case);
    }
    page.push_str("</section>\n");
}

/// The cells of a matrix: the first axis down, the others across.
fn grid(page: &mut String, first: usize, cases: &[CaseReport]) {
    let others = |case: &CaseReport| -> Vec<String> {
        case.combination.iter().skip(1).map(|(_, value)| value.clone()).collect()
    };
    let row_of = |case: &CaseReport| case.combination.first().map(|(_, value)| value.clone());
    let mut columns: Vec<Vec<String>> = Vec::new();
    let mut rows: Vec<String> = Vec::new();
    for case in cases {
        let Some(row) = row_of(case) else { return };
        if !rows.contains(&row) {
            rows.push(row);
        }
        let column = others(case);
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    // In the order of each axis, not in that in which a case with holes before it happens to come.
    let mut values: Vec<Vec<&String>> = Vec::new();
    for case in cases {
        for (axis, (_, value)) in case.combination.iter().skip(1).enumerate() {
            values.resize_with(values.len().max(axis + 1), Vec::new);
            if let Some(known) = values.get_mut(axis).filter(|known| !known.contains(&value)) {
                known.push(value);
            }
        }
    }
    columns.sort_by_key(|column| {
        let place = |(value, known): (&String, &Vec<&String>)| known.iter().position(|one| *one == value);
        column.iter().zip(&values).map(place).collect::<Vec<_>>()
    });
    if cases.len() < 3 || columns.len() > MOST_COLUMNS {
        return;
    }
    let axes: Vec<&str> = cases
        .first()
        .map(|case| case.combination.iter().map(|(axis, _)| axis.as_str()).collect())
        .unwrap_or_default();
    add!(
        page,
        "<table class=\"grid\" tabindex=\"0\">\n<caption class=\"faint\">{}</caption>\n<thead><tr>",
        axes.join(" × ")
    );
    add!(page, "<th scope=\"col\">{}</th>", escaped(axes.first().unwrap_or(&"")));
    for column in &columns {
        let shown = if column.is_empty() { "result".to_owned() } else { column.join(" ") };
        add!(page, "<th scope=\"col\">{}</th>", escaped(&shown));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in &rows {
        add!(page, "<tr><th scope=\"row\">{}</th>", escaped(row));
        for column in &columns {
            page.push_str("<td>");
            let here = (first..).zip(cases);
            let mut any = false;
            for (number, case) in
                here.filter(|(_, case)| row_of(case).as_ref() == Some(row) && others(case) == *column)
            {
                let status = case.status.name();
                let shown = match (&case.outcome, case.status) {
                    (Some(outcome), Status::Passed) => outcome.clone(),
                    (Some(outcome), _) => format!("{status}, not {outcome}"),
                    (None, _) => status.to_owned(),
                };
                any = true;
                add!(page, "<a href=\"#case-{number}\" class=\"badge {status}\">{}</a>", escaped(&shown));
            }
            page.push_str(if any { "</td>" } else { "<span class=\"faint\">no case</span></td>" });
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n");
}

fn one_case(page: &mut String, number: usize, case: &CaseReport) {
    let status = case.status.name();
    let open = if case.status == Status::Passed { "" } else { " open" };
    add!(
        page,
        "<details class=\"case is-{status}\" id=\"case-{number}\"{open}>\n<summary>\
         <span class=\"badge {status}\">{status}</span><span class=\"name\">{}</span>",
        escaped(&case.name)
    );
    if let Some(outcome) = &case.outcome {
        let not = if case.status == Status::Passed { "" } else { "not " };
        add!(page, "<span>{not}{}</span>", escaped(outcome));
    }
    add!(
        page,
        "<span class=\"when\">{} instructions, {}</span></summary>\n<div>\n",
        grouped(case.instructions),
        time(case.virtual_time)
    );
    if let Some(message) = &case.message {
        add!(page, "<h3>What went wrong</h3>\n<pre>{}</pre>\n", escaped(message));
    }
    if let Some(screen) = case.screen.as_ref().filter(|screen| !screen.trim().is_empty()) {
        add!(page, "<h3>Screen</h3>\n<pre>{}</pre>\n", escaped(screen.trim_end()));
    }
    page.push_str("<dl>\n");
    let mut item = |name: &str, value: &str| {
        if !value.is_empty() {
            add!(page, "<dt>{name}</dt><dd>{}</dd>\n", value);
        }
    };
    item("machine", &escaped(&case.machine));
    item("ended by", &escaped(&case.ended_by));
    item("again", &format!("<code>{}</code>", escaped(&case.again)));
    if let Some(kept) = &case.kept {
        item("snapshot", &format!("<code>{}</code>", escaped(&kept.display().to_string())));
    }
    item("digest", &format!("<code>{}</code>", escaped(&case.digest)));
    page.push_str("</dl>\n<h3>Steps</h3>\n<ol class=\"steps\">\n");
    power_on(page, case);
    let mut before = (&case.map, 0, 0);
    for step in &case.steps {
        one_step(page, step, before);
        before = (&step.map, step.instructions, step.virtual_time);
    }
    page.push_str("</ol>\n</div>\n</details>\n");
}

fn power_on(page: &mut String, case: &CaseReport) {
    page.push_str("<li><div class=\"what\">power on</div>\n");
    if !case.map.is_empty() {
        legend(page);
        map(page, &case.map, None);
    }
    page.push_str("</li>\n");
}

fn one_step(page: &mut String, step: &StepReport, before: (&Vec<Span>, u64, u64)) {
    let (map_before, instructions, virtual_time) = before;
    add!(
        page,
        "<li class=\"is-{}\">\n<div class=\"what\">{}. {}</div>\n<div class=\"when\">line {}, at instruction {}, {}",
        step.status.name(),
        step.number,
        escaped(&step.text),
        step.line,
        grouped(step.instructions),
        time(step.virtual_time)
    );
    // A restored machine is earlier than the one before.
    if step.instructions > instructions {
        add!(
            page,
            " (+{}, +{})",
            grouped(step.instructions - instructions),
            time(step.virtual_time.saturating_sub(virtual_time))
        );
    }
    page.push_str("</div>\n");
    if !step.ended.is_empty() {
        match step.status {
            Status::Passed => add_line(page, &format!("ended by {}", step.ended)),
            _ => {
                add!(page, "<pre>{}</pre>\n", escaped(&step.ended));
            }
        }
    }
    for (title, text) in &step.shown {
        add!(
            page,
            "<details open><summary>{}</summary>\n<pre>{}</pre></details>\n",
            escaped(title),
            escaped(text)
        );
    }
    for (title, log) in
        [("debug port", &step.debug), ("serial port", &step.serial), ("parallel port", &step.parallel)]
    {
        if !log.is_empty() {
            let lines = log.lines().count();
            add!(
                page,
                "<details><summary>{title}: {lines} line{}</summary>\n<pre>{}</pre></details>\n",
                if lines == 1 { "" } else { "s" },
                escaped(log)
            );
        }
    }
    if step.map != *map_before {
        map(page, &step.map, Some(map_before));
    }
    page.push_str("</li>\n");
}

fn add_line(page: &mut String, text: &str) {
    add!(page, "<div>{}</div>\n", escaped(text));
}

fn legend(page: &mut String) {
    page.push_str("<div class=\"legend\" aria-hidden=\"true\">");
    for (class, name) in [
        ("ram", "pc.ram"),
        ("bios", "BIOS"),
        ("rom", "option ROMs"),
        ("device", "a device"),
        ("nothing", "nothing"),
        ("fixed", "writes are dropped"),
        ("changed", "changed by the step"),
    ] {
        add!(page, "<span><i class=\"{class}\"></i>{name}</span>");
    }
    page.push_str("</div>\n");
}

/// Who answers, as strips; what the step changed is marked.
fn map(page: &mut String, spans: &[Span], before: Option<&Vec<Span>>) {
    page.push_str("<div class=\"map\">\n");
    for (first, last) in STRIPS {
        let here: Vec<&Span> = spans.iter().filter(|span| span.first >= first && span.last <= last).collect();
        let label: Vec<String> = here.iter().map(|span| words(span)).collect();
        add!(page, "<div class=\"strip\" role=\"img\" aria-label=\"{}\">", escaped(&label.join("; ")));
        for span in &here {
            let changed = before.is_some_and(|before| !before.iter().any(|old| covers(old, span)));
            add!(
                page,
                "<span class=\"{}{}{}\" style=\"flex:{} 1 0\" title=\"{}\">{}</span>",
                class(span),
                if span.answer.writes == "read-only" { " fixed" } else { "" },
                if changed { " changed" } else { "" },
                (span.last - span.first + 1) / 4096,
                escaped(&words(span)),
                escaped(&span.answer.name)
            );
        }
        add!(page, "</div>\n<div class=\"ends\"><span>{first:05X}</span><span>{last:05X}</span></div>\n");
    }
    let ranges: Vec<String> = spans.iter().map(words).collect();
    add!(
        page,
        "<details><summary>these ranges as text</summary>\n<pre>{}</pre></details>\n</div>\n",
        escaped(&ranges.join("\n"))
    );
}

/// Whether all of `span` was answered in the same way in `old`.
fn covers(old: &Span, span: &Span) -> bool {
    old.first <= span.first
        && old.last >= span.last
        && old.answer == span.answer
        && (span.answer.writes.is_empty() || old.offset + (span.first - old.first) == span.offset)
}

fn words(span: &Span) -> String {
    let at = if span.answer.writes.is_empty() { String::new() } else { format!(" @{:#x}", span.offset) };
    format!("{:05X}-{:05X} {}{at}", span.first, span.last, span.answer)
}

fn class(span: &Span) -> &'static str {
    let name = span.answer.name.as_str();
    if name == "nothing" {
        "nothing"
    } else if span.answer.writes.is_empty() {
        "device"
    } else if name.ends_with("ram") {
        "ram"
    } else if name.ends_with("bios") {
        "bios"
    } else {
        "rom"
    }
}

/// `1 234 567`, with spaces that do not break.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// Virtual time for people.
fn time(nanoseconds: u64) -> String {
    let (value, unit) = match nanoseconds {
        0..1_000 => (nanoseconds as f64, "ns"),
        1_000..1_000_000 => (nanoseconds as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanoseconds as f64 / 1e6, "ms"),
        _ => (nanoseconds as f64 / 1e9, "s"),
    };
    format!("{value:.3} {unit}")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("<b>&\"", "&lt;b&gt;&amp;&quot;")]
    #[case("a\r\nb\x1b[0m\0", "a\nb\u{241b}[0m\u{2400}")]
    fn nothing_a_guest_prints_is_markup(#[case] text: &str, #[case] expect: &str) {
        assert_eq!(escaped(text), expect);
    }

    #[rstest]
    #[case(5, "5")]
    #[case(1234, "1\u{202f}234")]
    #[case(1_234_567, "1\u{202f}234\u{202f}567")]
    fn numbers(#[case] number: u64, #[case] expect: &str) {
        assert_eq!(grouped(number), expect);
    }
}
