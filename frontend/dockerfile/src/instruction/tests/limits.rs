//! Any text, and much of it.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::diagnostic::render;

/// Pieces that make text the parser has rules for.
const PIECES: [&str; 42] = [
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "ONBUILD ",
    "HEALTHCHECK ",
    "SHELL ",
    "LABEL ",
    "VOLUME ",
    "WORKDIR ",
    "CMD ",
    "--mount=",
    "--from=",
    "--",
    "type=bind",
    ",",
    "=",
    "\n",
    "\\\n",
    "\\",
    "`",
    "\"",
    "'",
    "[",
    "]",
    "<<EOF",
    "<<-'E F'",
    "EOF\n",
    "#",
    "# escape=`\n",
    "$",
    "${",
    "}",
    " ",
    "\t",
    "ü",
    "\u{feff}",
    "\r\n",
    "((",
    "--interval=1.5s",
];

fn check(text: &str) {
    let source = source(text);
    let (dockerfile, Diagnostics(findings)) = parse(&source);
    for statement in &dockerfile.statements {
        assert_eq!(source.slice(statement.span), &*statement.original);
        assert!(!statement.original.is_empty());
    }
    for label in findings.iter().flat_map(|finding| &finding.labels) {
        assert!(label.span.start <= label.span.end && label.span.end <= source.text().len());
        assert!(source.text().get(label.span.range()).is_some(), "{label:?}");
    }
    render(&source, &findings, false);
    check_pieces(&source, &dockerfile.pieces);
    let _ = parse_trigger(text, Default::default());
}

/// Finds a piece that does not begin where the one before it ends.
fn check_pieces(source: &SourceFile, pieces: &[Piece]) {
    let mut end = 0;
    for piece in pieces {
        assert_eq!(piece.span().start, end, "{piece:?}");
        assert!(!source.slice(piece.span()).is_empty(), "{piece:?}");
        end = piece.span().end;
    }
    assert_eq!(end, source.text().len());
    let text: String = pieces
        .iter()
        .map(|piece| source.slice(piece.span()))
        .collect();
    assert_eq!(text, source.text());
}

proptest! {
    #[test]
    fn any_bytes_are_kept_by_the_parsed_file(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let source = SourceFile::from_bytes("Dockerfile", &bytes);
        prop_assert_eq!(&*source.bytes(), bytes.as_slice());
        check_pieces(&source, &parse(&source).0.pieces);
    }

    #[test]
    fn any_text_is_parsed_without_panic(text in "(?s).{0,200}") {
        check(&text);
    }

    #[test]
    fn any_text_of_dockerfile_pieces_is_parsed_without_panic(
        pieces in prop::collection::vec(prop::sample::select(PIECES.as_slice()), 0..40)
    ) {
        check(&pieces.concat());
    }
}

/// Quadratic time would show with this much.
const LENGTH_BYTES: usize = 1 << 16;

#[test]
fn much_of_anything_is_parsed_in_linear_time() {
    let starts = [
        "",
        "FROM a\n",
        "FROM a\nRUN ",
        "FROM a\nCOPY ",
        "FROM a\nENV a=",
        "FROM a\nRUN --mount=",
    ];
    for shape in PIECES.into_iter().chain(SHAPES) {
        let started = Instant::now();
        for start in starts {
            let text = format!("{start}{}", shape.repeat(LENGTH_BYTES / shape.len()));
            let (_, Diagnostics(findings)) = parse(&source(&text));
            assert!(
                findings.len() <= 200,
                "{start:?} {shape:?}: {}",
                findings.len()
            );
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{shape:?}: {:?}",
            started.elapsed()
        );
    }
}

/// Lines and words that repeat without end.
const SHAPES: [&str; 12] = [
    "RUN echo a\n",
    "RUN a \\\n",
    "# a\n",
    "x\n",
    "a",
    "--a ",
    "--link ",
    "\\\n\n",
    "<<a ",
    "<< ",
    "RUN <<a\na\n",
    "COPY --a=b --a=c ",
];
