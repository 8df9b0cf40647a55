//! The directions of dependency between the workspace's crates.
//!
//! Each crate's allowed internal dependencies are listed here and nowhere else; what a
//! manifest says is compared with that. `docs/architecture.md` tells the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use kiln_testdata::{base::workspace, command::stdout_of};
use serde_json::Value;

/// A crate and the crates of the workspace that it may know, most basic first.
const ALLOWED: &[(&str, &[&str])] = &[
    ("gzip", &[]),
    ("note", &[]),
    ("oci", &[]),
    ("runspec", &[]),
    ("plan", &["oci"]),
    ("layer", &["gzip", "note", "oci"]),
    ("registry", &["oci"]),
    ("sandbox", &["runspec", "note"]),
    ("dockerfile", &["plan", "oci"]),
    ("solver", &["plan", "oci"]),
    ("disk", &["layer", "oci"]),
    ("fetch", &["registry", "oci"]),
    ("transfer", &["disk", "registry", "layer", "oci"]),
    (
        "engine",
        &[
            "solver", "plan", "transfer", "fetch", "disk", "layer", "registry", "sandbox",
            "runspec", "oci",
        ],
    ),
    ("cli", &["dockerfile", "engine", "transfer", "plan", "oci"]),
    ("testdata", &[]),
    ("benches", &["testdata", "dockerfile", "sandbox", "oci"]),
];

#[test]
fn crates_know_only_what_lies_below_them() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for (name, known) in known_crates() {
        let Some(allowed) = allowed.get(name.as_str()) else {
            panic!("crate {name} is not in the list of allowed dependencies");
        };
        let forbidden: Vec<_> = known
            .iter()
            .filter(|known| !allowed.contains(&known.as_str()))
            .collect();
        assert!(
            forbidden.is_empty(),
            "crate {name} must not know {forbidden:?}"
        );
    }
}

#[test]
fn listed_directions_have_no_cycle() {
    let mut below = BTreeSet::new();
    for (name, allowed) in ALLOWED {
        let above: Vec<_> = allowed
            .iter()
            .filter(|known| !below.contains(*known))
            .copied()
            .collect();
        assert!(above.is_empty(), "{name} is listed before {above:?}");
        below.insert(*name);
    }
}

/// Returns each crate and the workspace's crates that it depends on outside of tests.
fn known_crates() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = stdout_of(
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
            .current_dir(workspace()),
    );
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo's metadata");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| (short(&package["name"]), known_by(package)))
        .collect()
}

fn known_by(package: &Value) -> BTreeSet<String> {
    let dependencies = package["dependencies"]
        .as_array()
        .expect("dependencies")
        .iter();
    dependencies
        .filter(|dependency| dependency["kind"] != "dev")
        .filter(|dependency| {
            dependency["name"]
                .as_str()
                .is_some_and(|n| n.starts_with("kiln-"))
        })
        .map(|dependency| short(&dependency["name"]))
        .collect()
}

fn short(name: &Value) -> String {
    name.as_str()
        .expect("a name")
        .trim_start_matches("kiln-")
        .to_string()
}
