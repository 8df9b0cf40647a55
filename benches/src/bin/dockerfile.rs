//! Benchmarks of the Dockerfile language: parsing 1 MiB of anything, compiling an ordinary file.
//!
//! ```sh
//! cargo run --release -p kiln-benches --bin dockerfile [PART OF A NAME]
//! ```
//!
//! The last two columns are what is promised of the median, and how much longer four times as
//! much text takes: about four times, or something is quadratic.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use kiln_dockerfile::{
    CompileOptions, ImageResolver, ResolveError, ResolvedBase, SourceFile, compile, parse,
};
use kiln_oci::{DiffId, Digest, ImageConfig, Platform, Reference};

/// How often each is done.
const RUNS: usize = 11;

/// How often what takes longer is done.
const RUNS_OF_MUCH: usize = 3;

/// How much longer four times as much may take; quadratic is 16.
const MOST_FACTOR: f64 = 8.0;

const MEBIBYTE: usize = 1 << 20;

fn main() -> ExitCode {
    println!("| text | median | promised | four times as much |");
    println!("|---|---|---|---|");
    let mut is_kept = true;
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for (name, text) in SHAPES
        .into_iter()
        .filter(|(name, _)| name.contains(&wanted))
    {
        let once = SourceFile::new("Dockerfile", text(MEBIBYTE));
        let much = SourceFile::new("Dockerfile", text(4 * MEBIBYTE));
        let more = SourceFile::new("Dockerfile", text(16 * MEBIBYTE));
        let median = median(RUNS, || parse(&once));
        // Of more than the caches hold: what fits them is faster for that alone.
        let much = self::median(RUNS_OF_MUCH, || parse(&much)).as_secs_f64();
        let factor = self::median(RUNS_OF_MUCH, || parse(&more)).as_secs_f64() / much;
        let promised = Duration::from_millis(50);
        println!("| 1 MiB of {name} | {median:.1?} | {promised:?} | {factor:.1}× |");
        is_kept &= median <= promised && factor < MOST_FACTOR;
    }
    let source = SourceFile::new("Dockerfile", ordinary());
    let median = median(RUNS, || {
        compile(&source, &CompileOptions::default(), &Images).expect("a plan")
    });
    let promised = Duration::from_millis(1);
    println!("| an ordinary file of 300 lines, compiled | {median:.1?} | {promised:?} | |");
    match is_kept && median <= promised {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Returns how long `work` takes, its result's end not counted.
fn median<T>(runs: usize, work: impl Fn() -> T) -> Duration {
    let mut times: Vec<_> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            let result = work();
            let elapsed = started.elapsed();
            drop(result);
            elapsed
        })
        .collect();
    times.sort();
    times[runs / 2]
}

/// Makes a text of about so many bytes.
type Shape = fn(usize) -> String;

const SHAPES: [(&str, Shape); 9] = [
    ("one-word RUN lines", |bytes| {
        format!("FROM a\n{}", "RUN a\n".repeat(bytes / 6))
    }),
    ("one instruction over many lines", |bytes| {
        format!("FROM a\nRUN a{}\n", " \\\n  b".repeat(bytes / 6))
    }),
    ("one heredoc", |bytes| {
        format!(
            "FROM a\nRUN <<EOF\n{}EOF\n",
            "echo a line\n".repeat(bytes / 12)
        )
    }),
    ("heredocs of one line", |bytes| {
        format!("FROM a\n{}", "RUN <<EOF\na\nEOF\n".repeat(bytes / 16))
    }),
    ("ENV with many words", |bytes| {
        format!("FROM a\nENV a=b{}\n", " \\\n cc=d".repeat(bytes / 8))
    }),
    ("nested substitutions", |bytes| {
        let depth = bytes / 8;
        format!(
            "FROM a\nENV a={}{}\n",
            "${a:-\\\n".repeat(depth),
            "}".repeat(60_000.min(depth))
        )
    }),
    ("comments", |bytes| {
        format!("FROM a\n{}", "# comment\n".repeat(bytes / 10))
    }),
    ("COPY in JSON", |bytes| {
        format!(
            "FROM a\nCOPY [\"a\"{}, \"/\"]\n",
            ", \\\n \"b\"".repeat(bytes / 8)
        )
    }),
    ("stages", |bytes| {
        "FROM a AS b\nCOPY --from=b c d\n".repeat(bytes / 30)
    }),
];

/// Returns a file as people write them: 300 lines, 10 stages.
fn ordinary() -> String {
    let mut text = "# syntax=docker/dockerfile:1\nARG VERSION=12\n".to_owned();
    for stage in 0..10 {
        text += &format!("FROM debian:${{VERSION}}-slim AS stage{stage}\n");
        text += "ARG TARGETARCH\nENV PATH=/opt/bin:$PATH \\\n    LANG=C.UTF-8\nWORKDIR /src\n";
        for step in 0..3 {
            text += &format!(
                "# Step {step}.\nRUN --mount=type=cache,target=/var/cache/apt,sharing=locked \\\n    \
                 apt-get update && \\\n    apt-get install -y a{step} b{step}\nCOPY --chown=1:1 a{step} b{step}/ /src/c{step}/\n"
            );
        }
        if stage > 0 {
            text += &format!(
                "COPY --from=stage{} /src /lib/${{TARGETARCH:-none}}\n",
                stage - 1
            );
        }
        text += "RUN <<EOF\nset -e\nmake -j ${JOBS:-4}\nEOF\nLABEL a=b \"c d\"='e f'\n";
        text += "EXPOSE 80 443/tcp\nCMD [\"/bin/app\", \"--serve\"]\n";
    }
    let missing = 300 - text.lines().count();
    text += &"USER app\n".repeat(missing);
    text
}

/// Knows every image.
struct Images;

impl ImageResolver for Images {
    fn resolve(&self, name: &Reference, platform: &Platform) -> Result<ResolvedBase, ResolveError> {
        let mut config = ImageConfig::new(platform);
        config.rootfs.diff_ids = vec![DiffId(Digest::sha256("layer"))];
        config.config.env = vec!["PATH=/usr/bin:/bin".to_owned()];
        Ok(ResolvedBase {
            digest: Digest::sha256(name.to_string()),
            platform: platform.clone(),
            config,
        })
    }
}
