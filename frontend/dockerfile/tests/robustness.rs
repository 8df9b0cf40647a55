//! Dockerfiles that are odd, large or broken.

mod support;

use kiln_dockerfile::{
    CompileOptions, ContextSource, ImageResolver, ResolveError, ResolvedBase, SourceFile, compile,
    parse,
};
use kiln_oci::{Platform, Reference};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::{Fake, folders};

#[test]
fn mutated_dockerfiles_come_to_a_plan_or_findings() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let texts: Vec<Vec<u8>> = folders()
        .iter()
        .map(|folder| fs::read(folder.join("Dockerfile")).expect("a Dockerfile"))
        .collect();
    for text in &texts {
        for _ in 0..15 {
            let mutated = random.mutated(text, &texts);
            let source = SourceFile::from_bytes("Dockerfile", &mutated);
            check_pieces(&source, &mutated);
            match compile(&source, &CompileOptions::default(), &Fake) {
                Ok(compilation) => assert!(!compilation.warnings.has_errors()),
                Err(findings) => assert!(findings.has_errors(), "{source:?}"),
            }
        }
    }
}

/// Finds a byte of the file that the parsed file does not account for.
fn check_pieces(source: &SourceFile, bytes: &[u8]) {
    assert_eq!(&*source.bytes(), bytes);
    let (dockerfile, _) = parse(source);
    let mut text = String::new();
    for piece in &dockerfile.pieces {
        assert_eq!(piece.span().start, text.len(), "{piece:?}");
        text.push_str(source.slice(piece.span()));
    }
    assert_eq!(text, source.text());
}

#[test]
fn every_dockerfile_can_be_written_back_from_its_pieces() {
    for folder in folders() {
        let bytes = fs::read(folder.join("Dockerfile")).expect("a Dockerfile");
        check_pieces(&SourceFile::from_bytes("Dockerfile", &bytes), &bytes);
    }
}

#[test]
fn long_chain_of_stages_needs_no_deep_stack() {
    let mut text = "FROM scratch AS s0\n".to_owned();
    for index in 1..3000 {
        let _ = writeln!(text, "FROM s{} AS s{index}\nENV A={index}", index - 1);
    }
    let source = SourceFile::new("Dockerfile", text);
    let compilation = compile(&source, &CompileOptions::default(), &Fake).expect("a plan");
    assert_eq!(compilation.images[0].history.len(), 2999);
}

#[test]
fn very_many_stages_variables_and_arguments_are_no_burden() {
    let many = |text: &dyn Fn(usize) -> String| (0..60_000).map(text).collect::<String>();
    let texts = [
        many(&|index| format!("FROM scratch AS s{index}\nCOPY a /a\n")),
        format!(
            "FROM scratch\n{}",
            many(&|index| format!("ENV A{index}=x\n"))
        ),
        format!(
            "FROM scratch\n{}",
            many(&|index| format!("ENV B=$A{index}\n"))
        ),
    ];
    for text in texts {
        let started = Instant::now();
        let source = SourceFile::new("Dockerfile", text);
        compile(&source, &CompileOptions::default(), &Fake).expect("a plan");
        let elapsed = started.elapsed();
        assert!(elapsed < Duration::from_secs(60), "{elapsed:?}");
    }
}

#[test]
fn variable_that_doubles_again_and_again_is_an_error() {
    let text = format!("FROM scratch\nENV A=x\n{}", "ENV A=$A$A\n".repeat(64));
    let source = SourceFile::new("Dockerfile", text);
    let findings = compile(&source, &CompileOptions::default(), &Fake).expect_err("too long");
    let last = findings.0.last().expect("a finding");
    assert_eq!(last.message, "the word grows by more than 131072 bytes");
}

#[test]
fn stage_that_copies_from_itself_by_a_trigger_is_an_error() {
    let text = "FROM debian:12 AS a\nONBUILD COPY --from=b /x /x\nFROM a AS b\nRUN true\n";
    let source = SourceFile::new("Dockerfile", text);
    let findings = compile(&source, &CompileOptions::default(), &Fake).expect_err("a cycle");
    let last = findings.0.last().expect("a finding");
    assert_eq!(last.message, "stage `b` needs itself");
}

#[test]
fn each_image_is_looked_for_once() {
    let text = "FROM debian:12 AS a\nRUN a\nFROM alpine AS b\nRUN b\nFROM debian:12\n\
                COPY --from=a /a /\nCOPY --from=b /b /\nCOPY --from=alpine /c /\n";
    let source = SourceFile::new("Dockerfile", text);
    let counting = Counting::default();
    compile(&source, &CompileOptions::default(), &counting).expect("a plan");
    let asked = counting.asked.into_inner().expect("counts");
    let counts: Vec<_> = asked.into_iter().collect();
    assert_eq!(
        counts,
        [("alpine".to_owned(), 1), ("debian:12".to_owned(), 1)]
    );
}

#[test]
fn source_date_epoch_is_a_build_argument_or_set_before_the_first_from() {
    let given = [("SOURCE_DATE_EPOCH".to_owned(), Some("7".to_owned()))];
    for (text, given, expected) in [
        ("FROM scratch\n", &[][..], None),
        ("ARG SOURCE_DATE_EPOCH=5\nFROM scratch\n", &[], Some(5)),
        ("ARG SOURCE_DATE_EPOCH=5\nFROM scratch\n", &given, Some(7)),
        ("FROM scratch\n", &given, Some(7)),
    ] {
        let options = CompileOptions {
            build_args: given.to_vec(),
            ..CompileOptions::default()
        };
        let source = SourceFile::new("Dockerfile", text);
        let compilation = compile(&source, &options, &Fake).expect("a plan");
        assert_eq!(compilation.source_date_epoch_seconds, expected, "{text}");
    }
}

/// Knows the time of every source.
struct Timed;

impl ImageResolver for Timed {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedBase, ResolveError> {
        Fake.resolve(reference, platform)
    }

    fn source_time(&self, source: &ContextSource) -> Result<Option<i64>, ResolveError> {
        Ok(match source {
            ContextSource::Git(_) => Some(1),
            ContextSource::File(_) => Some(2),
            ContextSource::Archive(_) => Some(3),
            _ => None,
        })
    }
}

#[test]
fn source_date_epoch_may_name_a_context_or_a_stage_of_one_thing_from_elsewhere() {
    let stages = "FROM scratch AS git\nADD https://example.com/a.git /\n\
        FROM scratch AS file\nADD https://example.com/a /\n\
        FROM scratch AS archive\nADD --unpack=true https://example.com/a /\n\
        FROM scratch AS two\nADD https://example.com/a https://example.com/b /\n\
        FROM scratch AS local\nADD a /\n\
        FROM debian:12\nARG SOURCE_DATE_EPOCH\nRUN true\n";
    let compiled = |name: &str| {
        let options = CompileOptions {
            build_args: vec![("SOURCE_DATE_EPOCH".to_owned(), Some(name.to_owned()))],
            ..CompileOptions::default()
        };
        compile(&SourceFile::new("Dockerfile", stages), &options, &Timed)
    };
    for (name, expected) in [("git", 1), ("FILE", 2), ("archive", 3), ("9", 9)] {
        let compilation = compiled(name).expect("a plan");
        assert_eq!(
            compilation.source_date_epoch_seconds,
            Some(expected),
            "{name}"
        );
        // Steps see the number.
        let seen = format!("SOURCE_DATE_EPOCH={expected}");
        assert!(compilation.to_string().contains(&seen), "{compilation}");
    }
    for name in ["two", "local", "context", "nothing"] {
        compiled(name).expect_err("no time");
    }
}

/// Counts what it is asked for.
#[derive(Default)]
struct Counting {
    asked: Mutex<BTreeMap<String, usize>>,
}

impl ImageResolver for Counting {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedBase, ResolveError> {
        let mut asked = self.asked.lock().expect("counts");
        *asked.entry(reference.familiar()).or_default() += 1;
        Fake.resolve(reference, platform)
    }
}

/// A small generator of repeatable numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    /// Returns `text` with a few bytes dropped, doubled, replaced or taken from another text.
    fn mutated(&mut self, text: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
        const BYTES: &[u8] = b"$\n\\\"'{}:#<-/ =,`[\x00\xff\xc3";
        let mut mutated = text.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(mutated.len() + 1);
            match self.below(4) {
                0 => mutated.truncate(at),
                1 => mutated.insert(at, BYTES[self.below(BYTES.len())]),
                2 if at < mutated.len() => {
                    mutated.remove(at);
                }
                _ => {
                    let other = &others[self.below(others.len())];
                    let from = self.below(other.len());
                    mutated.splice(at..at, other[from..].iter().copied());
                }
            }
        }
        mutated
    }
}
