//! Processes that are killed at a system call.

use kiln_testdata::needs::{self, Need};

use crate::operation::Operation;
use crate::site::{Site, chosen_points, copy_store, is_thorough};
use crate::traced::{self, CHANGING};

const NEEDS: &[Need] = &[Need::Root, Need::Program("strace")];

/// How many points of each command are tried on CI.
const FEW: usize = 6;

#[test]
fn commands_that_are_killed_leave_a_whole_store_and_succeed_the_next_time() {
    if !needs::met(NEEDS) {
        return;
    }
    // All calls, or those that change something.
    let calls = if is_thorough() { "all" } else { CHANGING };
    let site = Site::new();
    for operation in Operation::ALL {
        let before = operation.prepare(&site);
        let arguments = operation.arguments(&site);
        let store = site.path("store");
        copy_store(&before, &store);
        let undisturbed = traced::run(&site, &store, &arguments, calls, None);
        let points = undisturbed.points(|_| true);
        undisturbed.ran.succeeded("undisturbed");
        let mut killed = 0;
        let chosen = chosen_points(points.len(), FEW);
        eprintln!(
            "{operation:?}: killed at {} of {} calls",
            chosen.len(),
            points.len()
        );
        for chosen in chosen {
            let point = &points[chosen - 1];
            copy_store(&before, &store);
            let fault = Some(("signal=KILL", point));
            let traced = traced::run(&site, &store, &arguments, calls, fault);
            killed += usize::from(traced.is_killed());
            let last_call = traced.calls.iter().rev().nth(1).cloned();
            let when = format!("{operation:?} killed at {point:?}: {last_call:?}");
            site.assert_whole(&store, &when);
            site.kiln(&store, &arguments).succeeded(&when);
            site.assert_whole(&store, &when);
        }
        assert!(killed > 0, "{operation:?} was never killed");
    }
}
