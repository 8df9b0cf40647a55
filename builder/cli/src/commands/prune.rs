//! `kiln prune`: removes what only makes later builds faster.

use crate::arguments::{GlobalArguments, PruneArguments};
use crate::error::{Class, Failure};
use crate::filters;
use crate::progress::size;
use crate::session::Session;
use crate::table::Table;
use kiln_engine::disk::{Patience, PruneReport, PruneRule, PruneScope, Store};
use std::io::{BufRead, IsTerminal};

pub fn run(global: &GlobalArguments, arguments: &PruneArguments) -> Result<(), Failure> {
    let filters = filters::parse(&arguments.filter)?;
    let session = Session::open(global)?;
    if !arguments.force && !is_confirmed(&title(arguments))? {
        return Ok(());
    }
    let total = session.store.file_system_space()?.total_bytes;
    let rule = PruneRule {
        scope: PruneScope::Everything,
        filters: filters.items,
        all: arguments.all,
        unused_for: filters.unused_for,
        reserved_bytes: arguments.reserved_space.map(|space| space.of(total)),
        max_used_bytes: arguments.max_used_space.map(|space| space.of(total)),
        min_free_bytes: arguments.min_free_space.map(|space| space.of(total)),
    };
    let report = prune(&session.store, rule)?;
    print(&report, arguments.verbose);
    Ok(())
}

/// Removes what `rule` says; tells for whom it waits.
pub fn prune(store: &Store, rule: PruneRule) -> Result<PruneReport, Failure> {
    let mut told = false;
    let report = store.prune(&[rule], |waiting| {
        if !std::mem::replace(&mut told, true) {
            let holder = waiting.holder_process_id;
            let holder = holder.map_or("another process".to_owned(), |id| format!("process {id}"));
            crate::output::tell!("waiting for {holder}, which collects garbage");
        }
        Patience::Wait
    });
    Ok(report?)
}

fn title(arguments: &PruneArguments) -> String {
    let title = match (arguments.all, arguments.filter.is_empty()) {
        (true, true) => "all build cache",
        (false, true) => "all build cache that no named image needs",
        _ => "the build cache that the filters say",
    };
    title.to_owned()
}

/// Asks on a terminal whether `what` shall go; a script has to say that it means it.
pub fn is_confirmed(what: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        let message = format!("not removing {what} without being asked on a terminal");
        return Err(Failure::new(Class::Usage, message).with_hint("say --force"));
    }
    crate::output::write_message(&format!("This removes {what}. Go on? [y/N] "));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::caused(Class::Usage, "cannot read the answer", &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Prints what was removed, with whole names if asked for.
pub fn print(report: &PruneReport, whole: bool) {
    let mut table = Table::new(["ID", "TYPE", "SIZE", "DESCRIPTION"]);
    for item in &report.removed {
        let id = match whole {
            true => item.id.clone(),
            false => super::du::short(&item.id),
        };
        table.add([
            id,
            item.kind.to_string(),
            size(item.usage.bytes),
            item.description.chars().take(60).collect(),
        ]);
    }
    if !report.removed.is_empty() {
        crate::output::write(format_args!("{table}"));
    }
    crate::output::say!(
        "Total:  {} in {} inodes",
        size(report.freed.bytes),
        report.freed.inodes
    );
}
