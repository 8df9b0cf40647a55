//! Whole runs in a tiny root. They need root of the machine and a static busybox;
//! as root they also start themselves again as an unprivileged user.

mod calls;
mod escapes;
mod fixture;
mod isolation;
mod lifetime;
mod limits;
mod mounts;
mod network;
mod owners;
mod rootless;
mod users;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A test: its name as a sentence, and the test.
type Case = (&'static str, fn());

fn main() {
    if kiln_sandbox::init::is_requested() {
        kiln_sandbox::init::run_init();
    }
    if std::env::var_os(lifetime::MARK).is_some() {
        lifetime::run_for_long();
    }
    if let Ok(part) = std::env::var(network::MARK) {
        network::play(&part);
    }
    let missing = fixture::missing();
    let is_marked = std::env::var_os(rootless::MARK).is_some();
    if is_marked || (missing.is_none() && !fixture::is_root()) {
        rootless::run_as_unprivileged();
    }
    if let Some(reason) = missing {
        fixture::skip(&reason);
        return;
    }
    let wanted = std::env::args()
        .nth(1)
        .filter(|argument| !argument.starts_with('-'));
    let cases = [
        lifetime::CASES,
        isolation::CASES,
        calls::CASES,
        calls::ON_EVERY_RUNG,
        users::CASES,
        escapes::ON_EVERY_RUNG,
        mounts::CASES,
        limits::CASES,
        network::CASES,
        rootless::CASES,
    ]
    .concat();
    let chosen: Vec<&Case> = cases
        .iter()
        .filter(|(name, _)| {
            wanted
                .as_ref()
                .is_none_or(|wanted| name.contains(wanted.as_str()))
        })
        .collect();
    let failed = chosen.iter().filter(|case| !passes(case)).count();
    println!("sandbox: {} cases, {failed} failed", chosen.len());
    if failed > 0 {
        std::process::exit(1);
    }
}

fn passes((name, case): &Case) -> bool {
    let passed = catch_unwind(AssertUnwindSafe(case)).is_ok();
    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    passed
}
