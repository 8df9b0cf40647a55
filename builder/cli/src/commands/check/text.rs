//! Findings as text: the lines of the file, with marks.

use super::Checked;
use std::io::IsTerminal;

pub fn answer(checked: &[Checked]) -> String {
    let is_coloured = std::io::stdout().is_terminal();
    let found = checked
        .iter()
        .filter(|checked| !checked.findings.is_empty());
    let blocks = found
        .map(|checked| kiln_dockerfile::render(&checked.source, &checked.findings, is_coloured));
    let blocks: Vec<_> = blocks.collect();
    match blocks.is_empty() {
        true => "nothing found\n".to_owned(),
        false => blocks.join("\n"),
    }
}
