//! What differs between two builds, one line per path and attribute or per field.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use kiln_testdata::archive::ImageFile;
use kiln_testdata::image::comparable_config;
use kiln_testdata::table::Kind;
use serde_json::{Value, json};

use crate::builders::{Built, Outcome};
use crate::case::Case;
use crate::listing;

/// One thing that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where: `build`, `/path attribute`, or a field such as `config.Env[1]`.
    pub at: String,
    /// What Kiln made of it.
    pub ours: String,
    /// What it ought to be.
    pub expected: String,
}

impl Difference {
    /// A difference at `at`: what is there, and what ought to be.
    pub fn new(
        at: impl Into<String>,
        ours: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Difference {
            at: at.into(),
            ours: ours.into(),
            expected: expected.into(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} / {}", self.at, self.ours, self.expected)
    }
}

/// Compares what two builders made of the same case, which is said to fail saying `fails`.
pub fn outcomes(ours: &Outcome, theirs: &Outcome, fails: Option<&str>) -> Vec<Difference> {
    match (ours, theirs) {
        (Outcome::Built(ours), Outcome::Built(theirs)) if fails.is_none() => images(ours, theirs),
        (Outcome::Failed(said), Outcome::Failed(_)) if let Some(text) = fails => unsaid(said, text),
        _ => {
            let expected = match fails {
                Some(_) => format!("{}, and ought to fail", told(theirs)),
                None => told(theirs),
            };
            vec![Difference::new("build", told(ours), expected)]
        }
    }
}

/// Compares what Kiln made of a case with what its folder says that the reference asks for.
pub fn with_expected(ours: &Outcome, case: &Case) -> Vec<Difference> {
    match (ours, &case.fails) {
        (Outcome::Failed(said), Some(text)) => unsaid(said, text),
        (Outcome::Built(built), None) => listing::compare(built, case)
            .into_iter()
            .map(|(at, ours, expected)| Difference::new(at, ours, expected))
            .collect(),
        (_, Some(_)) => vec![Difference::new("build", told(ours), "fails")],
        (_, None) => vec![Difference::new("build", told(ours), "builds")],
    }
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Built(_) => "builds".to_owned(),
        Outcome::Failed(said) => {
            let lines: Vec<_> = said
                .lines()
                .filter(|line| !line.trim().is_empty())
                .collect();
            let last = lines.len().saturating_sub(12);
            format!("fails:\n    {}\n", lines[last..].join("\n    "))
        }
    }
}

fn unsaid(said: &str, texts: &str) -> Vec<Difference> {
    let absent = texts.lines().filter(|text| !said.contains(text));
    absent
        .map(|text| Difference::new("message", said, format!("`{text}`")))
        .collect()
}

fn images(ours: &Built, theirs: &Built) -> Vec<Difference> {
    let mut found = trees(ours, theirs);
    let comparable = |built: &Built| {
        let mut config = comparable_config(&built.image.config);
        config["ArgsEscaped"] = json!(built.image.config["config"]["ArgsEscaped"] == true);
        config
    };
    values("", &comparable(ours), &comparable(theirs), &mut found);
    found
}

fn trees(ours: &Built, theirs: &Built) -> Vec<Difference> {
    let (left, right) = (&ours.image.tree, &theirs.image.tree);
    let paths: BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let mut found = Vec::new();
    // Engines write the root into a layer or not; what they then write is of no effect.
    for path in paths
        .into_iter()
        .filter(|path| !path.as_os_str().is_empty())
    {
        match (left.get(path), right.get(path)) {
            (Some(left), Some(right)) => {
                let (left, right) = ((left, ours), (right, theirs));
                found.extend(files(path, left, right));
            }
            (left, right) => {
                let told = |file: Option<&ImageFile>| match file {
                    Some(file) => format!("{:?}", file.row),
                    None => "absent".to_owned(),
                };
                let at = format!("{} exists", shown(path));
                found.push(Difference::new(at, told(left), told(right)));
            }
        }
    }
    found
}

/// Returns an absolute path as text; bytes that are not UTF-8 as `\xNN`.
pub fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut text = String::from("/");
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        chunk
            .invalid()
            .iter()
            .for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

type Side<'a> = (&'a ImageFile, &'a Built);

fn files(path: &Path, left: Side<'_>, right: Side<'_>) -> Vec<Difference> {
    let attributes = |(file, built): Side<'_>| {
        let row = &file.row;
        [
            ("mode", format!("{:04o}", row.mode)),
            ("owner", format!("{}:{}", row.uid, row.gid)),
            ("xattrs", format!("{:?}", row.xattrs)),
            ("kind", described(file)),
            (time_name(file), time(file, built)),
            ("names", shown(&file.first_name)),
        ]
    };
    let (left, right) = (attributes(left), attributes(right));
    let pairs = left.into_iter().zip(right);
    pairs
        .filter(|(left, right)| left != right)
        .map(|(left, right)| {
            let at = format!("{} {}", shown(path), left.0);
            Difference::new(at, left.1, right.1)
        })
        .collect()
}

fn time_name(file: &ImageFile) -> &'static str {
    match file.row.kind {
        Kind::Directory => "directory-time",
        _ => "time",
    }
}

fn described(file: &ImageFile) -> String {
    match &file.row.kind {
        Kind::File { size, sha256, .. } if *size > 600 => format!("{size} bytes {sha256}"),
        Kind::File { .. } => format!("{:?}", String::from_utf8_lossy(&file.head)),
        kind => format!("{kind:?}"),
    }
}

/// Returns the time of a file that is older than its build: the others depend on the clock.
pub fn time(file: &ImageFile, built: &Built) -> String {
    match file.modified < built.began_seconds {
        true => file.modified.to_string(),
        false => "now".to_owned(),
    }
}

fn values(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<Difference>) {
    match (ours, theirs) {
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
            for name in names {
                let inner = format!("{at}.{name}").trim_start_matches('.').to_owned();
                let of = |side: &Value| side.get(name).cloned().unwrap_or_default();
                values(&inner, &of(ours), &of(theirs), found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                values(&format!("{at}[{index}]"), left, right, found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push(Difference::new(at, ours.to_string(), theirs.to_string())),
    }
}
