use super::*;
use kiln_engine::disk::{BuildOutcome, RunCause, StepEnd, StepOutcome, StepRecord, StepUsage};
use kiln_engine::explain::Place;
use kiln_oci::Digest;

const NOW: i64 = 1_000_000;

fn build(ran: usize, total: usize) -> BuildRecord {
    let step = |index: usize| StepRecord {
        name: String::new(),
        line: None,
        outcome: match index < ran {
            true => StepOutcome::Ran {
                key: Digest::sha256(b"key"),
                cause: RunCause::Missing,
                end: StepEnd::Done,
                took_milliseconds: 0,
                used: None,
            },
            false => StepOutcome::Covered,
        },
        scene: None,
    };
    BuildRecord {
        id: "20".to_owned(),
        started_seconds: NOW - 180,
        took_milliseconds: 4_200,
        context: "/home/me/app".to_owned(),
        dockerfile: "Dockerfile".to_owned(),
        outcome: BuildOutcome::Succeeded,
        steps: (0..total).map(step).collect(),
    }
}

fn step(name: &str, reason: Reason) -> Explanation {
    let took = match &reason {
        Reason::Hit { .. } | Reason::Covered | Reason::NotReached => None,
        _ => Some(1_234),
    };
    Explanation {
        name: name.to_owned(),
        stage: String::new(),
        position: 0,
        line: None,
        took_milliseconds: took,
        used: None,
        reason,
    }
}

fn differs(name: &str, before: &str, differences: Vec<Difference>) -> Explanation {
    let nearest = Nearest {
        build_id: "10".to_owned(),
        started_seconds: NOW - 7_300,
        name: before.to_owned(),
    };
    step(
        name,
        Reason::Differs {
            nearest,
            differences,
        },
    )
}

fn fact(name: &str, before: Option<&str>, after: Option<&str>) -> Difference {
    Difference::Fact {
        name: name.to_owned(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    }
}

fn file(path: &str, changes: Vec<FileChange>) -> ChangedFile {
    ChangedFile {
        path: path.to_owned(),
        changes,
    }
}

#[test]
fn every_reason_is_told() {
    let steps = [
        step(
            "[1/9] FROM debian:12",
            Reason::Hit {
                made_seconds: NOW - 3 * 86_400,
                build_id: "7".to_owned(),
                found: Place::Local,
            },
        ),
        step("[2/9] WORKDIR /src", Reason::Covered),
        step("[3/9] RUN a", Reason::Asked),
        step("[4/9] RUN b", Reason::First),
        step(
            "[5/9] RUN c",
            Reason::Lost {
                build_id: "8".to_owned(),
                cause: LostCause::Failed,
            },
        ),
        step(
            "[6/9] RUN d",
            Reason::Lost {
                build_id: "8".to_owned(),
                cause: LostCause::Removed,
            },
        ),
        step("[7/9] RUN e", Reason::Unknown),
        step("[8/9] RUN f", Reason::NotReached),
    ];
    let expected = "\
Build 20 of /home/me/app, 3 minutes ago: 5 of 8 steps ran

CACHED [1/9] FROM debian:12
         made 3 days ago by build 7, found in this store
CACHED [2/9] WORKDIR /src
         contained in a later result
RAN    [3/9] RUN a (1.2s)
         it was asked to run again (--no-cache)
RAN    [4/9] RUN b (1.2s)
         no step like it has run before
RAN    [5/9] RUN c (1.2s)
         it had failed in build 8
RAN    [6/9] RUN d (1.2s)
         build 8 ran the same, but the result is no longer in the store
RAN    [7/9] RUN e (1.2s)
         what its key was made of is not known any more
       [8/9] RUN f
         not reached
";
    assert_eq!(render(&build(5, 8), &steps, NOW), expected);
}

#[test]
fn what_differs_is_told_exactly() {
    let long = "apt-get update && apt-get install --yes build-essential";
    let digest = |name: &str| Digest::sha256(name.as_bytes()).to_string();
    let from = "[1/5] FROM debian:12".to_owned();
    let steps = [
        differs(
            "[2/5] RUN make",
            "[2/5] RUN make",
            vec![
                fact("environment variable CC", Some("gcc"), Some("clang -O2")),
                fact("environment variable NEW", None, Some("1")),
                fact("user", Some("www"), None),
                Difference::Input {
                    from,
                    before: None,
                    ran: false,
                    facts: vec![fact("layers", Some(&digest("a")), Some(&digest("b")))],
                },
            ],
        ),
        differs(
            "[3/5] RUN x",
            "[2/4] RUN y",
            vec![fact("command", Some("true"), Some(long))],
        ),
        differs(
            "[4/5] COPY . .",
            "[4/5] COPY . .",
            vec![Difference::Files {
                from: "the build context".to_owned(),
                files: Some(vec![
                    file(
                        "setup.sh",
                        vec![FileChange::Mode {
                            before: 0o644,
                            after: 0o664,
                        }],
                    ),
                    file("src/main.c", vec![FileChange::Content]),
                ]),
            }],
        ),
        differs(
            "[5/5] RUN z",
            "[5/5] RUN z",
            vec![Difference::Input {
                from: "[4/5] COPY . .".to_owned(),
                before: None,
                ran: true,
                facts: Vec::new(),
            }],
        ),
    ];
    let expected = "\
Build 20 of /home/me/app, 3 minutes ago: 4 of 5 steps ran

RAN    [2/5] RUN make (1.2s)
         since build 10, 2 hours ago:
           environment variable CC: gcc → \"clang -O2\"
           environment variable NEW: added, 1
           user: removed, it was www
           [1/5] FROM debian:12 has another result
             layers: sha256:ca978112ca1b… → sha256:3e23e8160039…
RAN    [3/5] RUN x (1.2s)
         compared with [2/4] RUN y of build 10, 2 hours ago:
           command:
             - true
             + apt-get update && apt-get install --yes build-essential
RAN    [4/5] COPY . . (1.2s)
         since build 10, 2 hours ago:
           2 files of the build context:
             setup.sh    mode 0644 → 0664
             src/main.c  content
RAN    [5/5] RUN z (1.2s)
         since build 10, 2 hours ago:
           [4/5] COPY . . ran and gave a new result
";
    assert_eq!(render(&build(4, 5), &steps, NOW), expected);
}

#[test]
fn many_files_are_counted_and_names_cannot_move_the_cursor() {
    let files =
        (0..25).map(|number| file(&format!("f{number:02}\u{1b}[2J"), vec![FileChange::Added]));
    let step = differs(
        "[2/2] COPY . .",
        "[2/2] COPY . .",
        vec![Difference::Files {
            from: "the build context".to_owned(),
            files: Some(files.collect()),
        }],
    );
    let text = render(&build(1, 2), &[step], NOW);
    assert!(text.contains("25 files of the build context:"), "{text}");
    assert!(
        text.contains("and 5 more, which --format=json shows"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn times_are_told_roughly_and_a_clock_set_back_is_no_trouble() {
    let told = [
        (0, "just now"),
        (90, "90 seconds ago"),
        (-5, "just now"),
        (7_199, "119 minutes ago"),
    ];
    for (passed, expected) in told {
        assert_eq!(ago(NOW - passed, NOW), expected);
    }
}

#[test]
fn what_a_command_took_is_told() {
    let used = StepUsage {
        user_milliseconds: 1_500,
        system_milliseconds: 250,
        peak_memory_bytes: 120_000_000,
        read_bytes: 0,
        written_bytes: 2_000_000,
    };
    let step = Explanation {
        used: Some(used),
        ..step("[1/1] RUN make", Reason::First)
    };
    let text = render(&build(1, 1), &[step], NOW);
    let line = "         took 1.75s of processors, 120.0MB of memory; read 0B, wrote 2.0MB\n";
    assert!(text.contains(line), "{text}");
}
