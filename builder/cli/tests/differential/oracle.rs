//! Patterns made at random, with Docker as the judge: `.dockerignore` and the sources of COPY.
//!
//! A tree in which short names occur at every depth is built once per list of ignore patterns,
//! or with many COPYs at once. `KILN_DIFFERENTIAL_ROUNDS=500` tries more than the few rounds
//! of every run, `KILN_DIFFERENTIAL_SEED` others; a failure tells the seed of its round.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use kiln_testdata::archive::{ImageTree, read_tar_archive};
use kiln_testdata::command::{describe, output_of};
use kiln_testdata::needs;
use kiln_testdata::table::Kind;

use crate::NEEDS;
use crate::compare::shown;
use crate::harness::{Kiln, docker};
use crate::random::Random;

const NAMES: &[&str] = &["a", "b", "ab", ".a", "ba.b", "a b"];
const DEPTH: usize = 3;
/// COPYs in one Dockerfile: each is a layer, of which an engine can mount some hundred.
const COPIES: usize = 25;

#[test]
fn ignore_patterns_hide_what_they_hide_from_docker() {
    rounds(12, |world, random| {
        let patterns = ignore_patterns(random);
        world.write(".dockerignore", &(patterns.join("\n") + "\n"));
        world.write("Dockerfile", "FROM scratch\nCOPY . /\n");
        format!("{patterns:#?}")
    });
}

#[test]
fn sources_of_copy_select_what_they_select_for_docker() {
    rounds(3, |world, random| {
        let mut dockerfile = String::from("FROM scratch\n");
        for number in 0..COPIES {
            let sources = copy_sources(random);
            let slash = random.pick(&["", "/", "/into", "/into/"]);
            dockerfile += &format!("COPY [{sources}, \"/{number}{slash}\"]\n");
        }
        world.write("Dockerfile", &dockerfile);
        dockerfile
    });
}

/// Lets both builders build what `prepare` makes of the context, several times.
fn rounds(default_rounds: usize, prepare: impl Fn(&World, &mut Random) -> String) {
    if !needs::met(NEEDS) {
        return;
    }
    let rounds = from_environment("ROUNDS").unwrap_or(default_rounds as u64);
    let first_seed = from_environment("SEED").unwrap_or(1);
    let world = World::new();
    for seed in first_seed..first_seed + rounds {
        let told = prepare(&world, &mut Random::new(seed));
        let (ours, theirs) = (world.build_with_kiln(), world.build_with_docker());
        let found = differences(&ours, &theirs);
        assert!(
            found.is_empty(),
            "seed {seed}\n{told}\nours / Docker's:\n{found}"
        );
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(format!("KILN_DIFFERENTIAL_{name}")).ok()?;
    Some(value.parse().expect("a number"))
}

/// One context, of which files change from round to round, and both builders.
struct World {
    kiln: Kiln,
}

impl World {
    fn new() -> World {
        let world = World { kiln: Kiln::new() };
        fs::create_dir(world.context()).expect("the context");
        fill(&world.context(), DEPTH);
        world
    }

    fn context(&self) -> PathBuf {
        self.kiln.path("context")
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.context().join(name);
        // Anew, so that the time of its change is another one in every round.
        let _ = fs::remove_file(&path);
        fs::write(path, content).expect("a file of the context");
    }

    fn build_with_kiln(&self) -> Result<Shape, String> {
        let mut command = self.kiln.command();
        command.arg("build");
        self.build(command, "kiln.tar")
    }

    fn build_with_docker(&self) -> Result<Shape, String> {
        let mut command = docker().client();
        command.arg("build");
        self.build(command, "docker.tar")
    }

    fn build(&self, mut command: std::process::Command, file: &str) -> Result<Shape, String> {
        let archive = self.kiln.path(file);
        command
            .args(["--progress=plain", "--output"])
            .arg(format!("type=tar,dest={}", archive.display()))
            .arg(self.context());
        let output = output_of(&mut command);
        match output.status.success() {
            true => Ok(shape(read_tar_archive(&archive))),
            false => Err(describe(&command, &output)),
        }
    }
}

/// What patterns decide of a tree: which paths there are, of which type and content.
type Shape = BTreeMap<PathBuf, String>;

fn shape(tree: ImageTree) -> Shape {
    let told = |(path, file): (PathBuf, kiln_testdata::archive::ImageFile)| {
        let text = match &file.row.kind {
            Kind::File { .. } => String::from_utf8_lossy(&file.head).into_owned(),
            kind => format!("{kind:?}"),
        };
        (path, text)
    };
    let mut shape: Shape = tree.into_iter().map(told).collect();
    // The engine keeps a directory in which `!` could have found something and has not.
    let empty = |path: &PathBuf, shape: &Shape| {
        let mut after = shape.range(path.clone()..).skip(1);
        !after.next().is_some_and(|(next, _)| next.starts_with(path))
    };
    let directory = format!("{:?}", Kind::Directory);
    while let Some((path, _)) = shape
        .iter()
        .find(|(path, kind)| **kind == directory && empty(path, &shape))
    {
        let path = path.clone();
        shape.remove(&path);
    }
    shape
}

fn differences(ours: &Result<Shape, String>, theirs: &Result<Shape, String>) -> String {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            let all = ours.keys().chain(theirs.keys());
            let unlike = all.filter(|path| ours.get(*path) != theirs.get(*path));
            let lines = unlike.map(|path| {
                let told = |side: &Shape| side.get(path).cloned().unwrap_or("absent".to_owned());
                format!("{}: {:?} / {:?}", shown(path), told(ours), told(theirs))
            });
            let lines: std::collections::BTreeSet<_> = lines.collect();
            lines.into_iter().take(20).collect::<Vec<_>>().join("\n")
        }
        (Err(_), Err(_)) => String::new(),
        (ours, theirs) => {
            let told = |side: &Result<Shape, String>| match side {
                Ok(_) => "builds".to_owned(),
                Err(said) => said.clone(),
            };
            format!("{} / {}", told(ours), told(theirs))
        }
    }
}

/// Makes a directory and a file of every name, and all of that again in the directories.
fn fill(directory: &Path, depth: usize) {
    for name in NAMES {
        let file = directory.join(format!("{name}f"));
        fs::write(
            &file,
            file.strip_prefix(directory)
                .unwrap()
                .as_os_str()
                .as_encoded_bytes(),
        )
        .expect("a file");
        if depth > 0 {
            let below = directory.join(name);
            fs::create_dir(&below).expect("a directory");
            fill(&below, depth - 1);
        }
    }
    symlink("af", directory.join("l")).expect("a link");
    symlink("ab", directory.join("la")).expect("a link");
}

/// Returns a list of ignore patterns of the kinds that the engine gets right: it stumbles over
/// `!` together with `**` or with wildcards in directories.
fn ignore_patterns(random: &mut Random) -> Vec<String> {
    let with_inclusion = random.below(2) == 0;
    let count = 1 + random.below(5);
    let pattern = |random: &mut Random| {
        if with_inclusion && random.below(2) == 0 {
            return format!("!{}", included(random));
        }
        let pattern = ignored(random, with_inclusion);
        let before = random.pick(&["", "", "", "/", "./", " "]);
        let after = random.pick(&["", "", "", "/", " ", "/."]);
        format!("{before}{pattern}{after}")
    };
    (0..count).map(|_| pattern(random)).collect()
}

fn included(random: &mut Random) -> String {
    let mut components: Vec<&str> = (0..random.below(3)).map(|_| random.pick(NAMES)).collect();
    components.push(random.pick(&["a", "b", "af", "bf", "*f", "a*", "?", "l"]));
    components.join("/")
}

fn ignored(random: &mut Random, with_inclusion: bool) -> String {
    const PLAIN: &[&str] = &[
        "a", "b", "ab", ".a", "af", "*", "a*", "*b", "?", "a?", "[ab]", "[^a]", "[a-b]f", "*.b",
        ".*", "\\.a", "a b", "l", "..", "ba.b",
    ];
    const CROSSING: &[&str] = &["**", "**", "a**"];
    let component = |random: &mut Random| match random.below(4) {
        0 if !with_inclusion => random.pick(CROSSING),
        _ => random.pick(PLAIN),
    };
    let count = 1 + random.below(DEPTH as u64);
    let components: Vec<_> = (0..count).map(|_| component(random)).collect();
    components.join("/")
}

/// Returns one or two sources as JSON strings: some directories that exist, then wildcards.
fn copy_sources(random: &mut Random) -> String {
    let count = 1 + random.below(2);
    let source = |random: &mut Random| {
        let mut components: Vec<&str> = Vec::new();
        for _ in 0..random.below(2) {
            components.push(random.pick(&["a", "ab", "ba.b", "a b", ".", "a/..", "la", ".a"]));
        }
        // The engine stumbles over files where a pattern has directories.
        for _ in 0..random.below(2) {
            components
                .push(random.pick(&["[ab]", "[^l]", "*b", "*.b", "[a-b]", "\\\\.a*", "[.]a"]));
        }
        components.push(random.pick(&[
            "*", "a*", "*b", "?", "a?", "[ab]", "[^a]", "[a-b]f", "*.b", ".*", "\\\\.a*", "l*",
            "*f", "[.]a", "??",
        ]));
        if random.below(3) == 0 {
            *components.last_mut().expect("a component") = random.pick(&["[ab]", "*b"]);
            components.push(random.pick(&["a", "af", "b", "l", "la"]));
        }
        let start = random.pick(&["", "", "/", "./", "../"]);
        let end = random.pick(&["", "", "", "/"]);
        format!("\"{start}{}{end}\"", components.join("/"))
    };
    let sources: Vec<_> = (0..count).map(|_| source(random)).collect();
    sources.join(", ")
}
