//! Any bytes are a Dockerfile or have errors that point into them, and nothing gets lost.
#![no_main]

use kiln_dockerfile::{SourceFile, parse, parse_trigger, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let source = SourceFile::from_bytes("Dockerfile", bytes);
    assert_eq!(&*source.bytes(), bytes);
    let (dockerfile, findings) = parse(&source);
    let mut end = 0;
    for piece in &dockerfile.pieces {
        assert_eq!(piece.span().start, end);
        assert!(!source.slice(piece.span()).is_empty());
        end = piece.span().end;
    }
    assert_eq!(end, source.text().len());
    for statement in &dockerfile.statements {
        assert_eq!(source.slice(statement.span), &*statement.original);
        let _ = parse_trigger(&statement.text, dockerfile.directives.escape);
    }
    for label in findings.0.iter().flat_map(|finding| &finding.labels) {
        assert!(source.text().get(label.span.range()).is_some(), "{label:?}");
    }
    render(&source, &findings.0, false);
});
