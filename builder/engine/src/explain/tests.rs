use super::listing::ListedFile;
use super::*;
use kiln_disk::{BuildOutcome, Fact, InputContent, RecipeInput, StepEnd};
use std::collections::HashMap;

/// Builds and recipes in memory.
#[derive(Default)]
struct Remembered {
    builds: Vec<BuildRecord>,
    recipes: HashMap<Digest, Recipe>,
    listings: HashMap<Digest, Vec<u8>>,
}

impl Memory for Remembered {
    fn builds(&self) -> Box<dyn Iterator<Item = BuildRecord> + '_> {
        Box::new(self.builds.iter().rev().cloned())
    }

    fn recipe(&self, key: &Digest) -> Option<Recipe> {
        self.recipes.get(key).cloned()
    }

    fn listing(&self, selection: &Digest) -> Option<Vec<u8>> {
        self.listings.get(selection).cloned()
    }
}

fn key(recipe: &Recipe) -> Digest {
    Digest::sha256(format!("{recipe:?}").as_bytes())
}

fn command(command: &str, inputs: Vec<RecipeInput>) -> Recipe {
    let fact = Fact {
        name: "command".to_owned(),
        value: command.to_owned(),
    };
    Recipe {
        facts: vec![fact],
        inputs,
    }
}

fn built_on(from: &str, recipe: &Recipe) -> RecipeInput {
    RecipeInput {
        from: from.to_owned(),
        selected: Vec::new(),
        content: InputContent::Result(key(recipe)),
    }
}

impl Remembered {
    /// Remembers a build in `context` whose steps all ran; returns it.
    fn ran(&mut self, context: &str, steps: &[(&str, &Recipe)]) -> BuildRecord {
        let records = steps.iter().map(|(name, recipe)| {
            self.recipes.insert(key(recipe), (*recipe).clone());
            StepRecord {
                name: (*name).to_owned(),
                line: None,
                outcome: StepOutcome::Ran {
                    key: key(recipe),
                    cause: RunCause::Missing,
                    end: StepEnd::Done,
                    took_milliseconds: 1,
                    used: None,
                },
                scene: None,
            }
        });
        let build = BuildRecord {
            id: format!("{:04}", self.builds.len()),
            started_seconds: 0,
            took_milliseconds: 0,
            context: context.to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            outcome: BuildOutcome::Succeeded,
            steps: records.collect(),
        };
        self.builds.push(build.clone());
        build
    }

    fn reasons(&self, build: &BuildRecord) -> Vec<Reason> {
        explain(build, self)
            .into_iter()
            .map(|step| step.reason)
            .collect()
    }
}

fn differences(reason: &Reason) -> &[Difference] {
    match reason {
        Reason::Differs { differences, .. } => differences,
        other => panic!("{other:?}"),
    }
}

fn nearest_name(reason: &Reason) -> &str {
    match reason {
        Reason::Differs { nearest, .. } => &nearest.name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn first_build_has_nothing_to_compare_with() {
    let mut memory = Remembered::default();
    let build = memory.ran("/a", &[("[1/1] RUN a", &command("a", Vec::new()))]);
    assert_eq!(memory.reasons(&build), [Reason::First]);
}

#[test]
fn changed_command_is_compared_with_the_one_it_replaces() {
    let mut memory = Remembered::default();
    let (one, two) = (command("cc one", Vec::new()), command("ls", Vec::new()));
    memory.ran("/a", &[("[1/2] RUN cc one", &one), ("[2/2] RUN ls", &two)]);
    let changed = command("cc two", Vec::new());
    let build = memory.ran("/a", &[("[1/2] RUN cc two", &changed)]);
    let expected = Difference::Fact {
        name: "command".to_owned(),
        before: Some("cc one".to_owned()),
        after: Some("cc two".to_owned()),
    };
    assert_eq!(differences(&memory.reasons(&build)[0]), [expected]);
}

#[test]
fn inserted_line_does_not_mislead() {
    let mut memory = Remembered::default();
    let base = command("base", Vec::new());
    let on = |text: &str, recipe: &Recipe| command(text, vec![built_on("[1/3] RUN base", recipe)]);
    let (first, second) = (on("first", &base), on("second step", &base));
    memory.ran(
        "/a",
        &[
            ("[1/3] RUN base", &base),
            ("[2/3] RUN first", &first),
            ("[3/3] RUN second step", &second),
        ],
    );
    let inserted = on("inserted", &base);
    let moved = command(
        "second step",
        vec![built_on("[2/3] RUN inserted", &inserted)],
    );
    let build = memory.ran(
        "/a",
        &[
            ("[1/4] RUN base", &base),
            ("[2/4] RUN first", &first),
            ("[3/4] RUN inserted", &inserted),
            ("[4/4] RUN second step", &moved),
        ],
    );
    let reasons = memory.reasons(&build);
    assert_eq!(nearest_name(&reasons[3]), "[3/3] RUN second step");
    let same_again = LostCause::Removed;
    assert!(matches!(reasons[0], Reason::Lost { cause, .. } if cause == same_again));
}

#[test]
fn other_projects_are_asked_only_when_the_own_has_nothing() {
    let mut memory = Remembered::default();
    memory.ran(
        "/mine",
        &[("[1/1] RUN make x", &command("make x", Vec::new()))],
    );
    memory.ran(
        "/other",
        &[("[1/1] RUN make all", &command("make all", Vec::new()))],
    );
    let mine = command("make al", Vec::new());
    let build = memory.ran("/mine", &[("[1/1] RUN make al", &mine)]);
    assert_eq!(nearest_name(&memory.reasons(&build)[0]), "[1/1] RUN make x");
    let third = command("make all -j", Vec::new());
    let build = memory.ran("/third", &[("[1/1] RUN make all -j", &third)]);
    assert_eq!(
        nearest_name(&memory.reasons(&build)[0]),
        "[1/1] RUN make al"
    );
}

#[test]
fn files_are_compared_one_by_one() {
    let file = |path: &str, mode: u32, content: u64| ListedFile {
        path: path.as_bytes().to_vec(),
        kind: b'f',
        mode,
        owner: (0, 0),
        content,
    };
    let before = Listing(vec![
        file("gone", 0o644, 1),
        file("setup.sh", 0o644, 2),
        file("src/main.c", 0o644, 3),
        file("with space\n", 0o644, 4),
    ]);
    let after = Listing(vec![
        file("new", 0o644, 1),
        file("setup.sh", 0o664, 2),
        file("src/main.c", 0o644, 5),
        file("with space\n", 0o644, 4),
    ]);
    let mut memory = Remembered::default();
    let mut copied = |listing: &Listing, name: &str| {
        let digest = Digest::sha256(name.as_bytes());
        memory
            .listings
            .insert(digest.clone(), listing.encode().expect("few files"));
        let input = RecipeInput {
            from: "the build context".to_owned(),
            selected: vec![".".to_owned()],
            content: InputContent::Files(digest),
        };
        command("/", vec![input])
    };
    let (old, new) = (copied(&before, "before"), copied(&after, "after"));
    memory.ran("/a", &[("[1/1] COPY . /", &old)]);
    let build = memory.ran("/a", &[("[1/1] COPY . /", &new)]);
    let changed = |path: &str, change: FileChange| ChangedFile {
        path: path.to_owned(),
        changes: vec![change],
    };
    let mode = FileChange::Mode {
        before: 0o644,
        after: 0o664,
    };
    let expected = Difference::Files {
        from: "the build context".to_owned(),
        files: Some(vec![
            changed("gone", FileChange::Removed),
            changed("new", FileChange::Added),
            changed("setup.sh", mode),
            changed("src/main.c", FileChange::Content),
        ]),
    };
    assert_eq!(differences(&memory.reasons(&build)[0]), [expected]);
}

#[test]
fn damaged_list_of_files_is_none() {
    let listing = Listing(Vec::new());
    let bytes = listing.encode().expect("few files");
    assert_eq!(Listing::decode(&bytes), Some(listing));
    assert_eq!(Listing::decode(&bytes[..bytes.len() / 2]), None);
    assert_eq!(Listing::decode(b"not a list"), None);
}
