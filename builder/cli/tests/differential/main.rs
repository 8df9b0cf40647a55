//! Dockerfiles of our own, each built by Kiln and by Docker's engine with BuildKit.
//!
//! A folder of `testdata/differential/` is a case; `README.md` there says what it consists of.
//! Both images are compared path by path and field by field; where the one fails to build, the
//! other must too. Differences that are meant are data, each with its reason:
//! `known-differences.toml`. `KILN_DIFFERENTIAL=TEXT` runs the cases whose name contains it.

mod builders;
mod case;
mod compare;
#[path = "../e2e/harness.rs"]
#[allow(dead_code)]
mod harness;
mod known;
mod listing;
mod oracle;
mod random;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use kiln_testdata::needs::{self, Need};

use builders::Builders;
use case::{Case, Judge};
use compare::Difference;
use known::KnownDifferences;

/// What the cases take of the machine.
const NEEDS: &[Need] = &[
    Need::Root,
    Need::Program("mmdebstrap"),
    Need::Program("docker-registry"),
    Need::Program("dockerd"),
    Need::Program("skopeo"),
    Need::Program("umoci"),
    Need::Program("busybox"),
    Need::Program("setfattr"),
    Need::Program("setcap"),
];

/// Builds that run at once: each waits for engines more than it computes.
const WORKERS: usize = 4;

#[test]
fn every_dockerfile_gives_the_image_that_docker_builds() {
    if !needs::met(NEEDS) {
        return;
    }
    let cases = Case::all();
    let builders = Builders::start();
    let reports = examine_all(&builders, &cases);
    let known = KnownDifferences::read();
    let mut failures = Vec::new();
    for (case, found) in cases.iter().zip(&reports) {
        failures.extend(known.judge(&case.name, found));
    }
    if cases.len() == Case::count() {
        failures.extend(known.unused());
    }
    known.show();
    println!("{} Dockerfiles, {} failures", cases.len(), failures.len());
    assert!(
        failures.is_empty(),
        "ours / expected:\n{}",
        failures.join("\n")
    );
}

#[test]
fn known_differences_are_in_the_documentation() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = words(include_str!("../../../../docs/dockerfile.md"));
    for reason in KnownDifferences::read().reasons() {
        assert!(
            page.contains(&words(reason)),
            "docs/dockerfile.md lacks: {reason}"
        );
    }
}

/// Returns the differences of each case, in the order of the cases.
fn examine_all(builders: &Builders, cases: &[Case]) -> Vec<Vec<Difference>> {
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some((index, case)) = take(&next, cases) {
            let started = Instant::now();
            let found = examine_safely(builders, case);
            let (seconds, number) = (started.elapsed().as_secs_f32(), found.len());
            println!("{seconds:6.1} s  {}: {number} differences", case.name);
            reports.lock().expect("the reports").insert(index, found);
        }
    };
    std::thread::scope(|scope| {
        (0..WORKERS).for_each(|_| drop(scope.spawn(work)));
    });
    reports
        .into_inner()
        .expect("the reports")
        .into_values()
        .collect()
}

fn take<'a>(next: &AtomicUsize, cases: &'a [Case]) -> Option<(usize, &'a Case)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    Some((index, cases.get(index)?))
}

/// A case that panics is a failure of that case.
fn examine_safely(builders: &Builders, case: &Case) -> Vec<Difference> {
    let examined = std::panic::catch_unwind(AssertUnwindSafe(|| examine(builders, case)));
    examined.unwrap_or_else(|_| vec![Difference::new("test", "panics", "ends")])
}

fn examine(builders: &Builders, case: &Case) -> Vec<Difference> {
    let (_directory, context) = case.prepare();
    match &case.judge {
        Judge::Docker => {
            let ours = builders.kiln(case, &context);
            let theirs = builders.docker(case, &context);
            compare::outcomes(&ours, &theirs, case.fails.as_deref())
        }
        Judge::Reference => {
            let ours = builders.kiln(case, &context);
            compare::with_expected(&ours, case)
        }
    }
}
