//! `kiln image prune`: images removed with the room that they take, as `docker image prune` does.
//!
//! Results of steps are cache, named or not: those are `kiln prune`'s.

use super::filter::Filters;
use super::row::Row;
use crate::arguments::{GlobalArguments, ImagePruneArguments};
use crate::commands::prune::{is_confirmed, print, prune};
use crate::commands::rmi::untag;
use crate::error::Failure;
use crate::filters;
use crate::session::Session;
use kiln_engine::disk::{PruneRule, PruneScope, Store};
use std::time::Duration;

pub fn run(global: &GlobalArguments, arguments: &ImagePruneArguments) -> Result<(), Failure> {
    let unused_for = match arguments.all {
        true => None,
        false => unused_for(&arguments.filter)?,
    };
    let session = Session::open(global)?;
    let store = &session.store;
    let filters = match arguments.all {
        true => Some(Filters::parse(store, &arguments.filter, None)?),
        false => None,
    };
    let title = match (&filters, arguments.filter.is_empty()) {
        (None, _) => "images without a name",
        (Some(_), true) => "all images, named or not,",
        (Some(_), false) => "images without a name, and the named ones that the filters say,",
    };
    if !arguments.force && !is_confirmed(title)? {
        return Ok(());
    }
    if let Some(filters) = filters {
        take_names_away(store, &filters)?;
    }
    let rule = PruneRule {
        scope: PruneScope::Images,
        unused_for,
        ..PruneRule::default()
    };
    print(&prune(store, rule)?, false);
    Ok(())
}

/// A damaged name ends it before anything goes: nobody knows what it needs.
fn take_names_away(store: &Store, filters: &Filters) -> Result<(), Failure> {
    for named in store.images().list()? {
        let row = Row::new(store, Some(named.name.clone()), named.target);
        if filters.meets(&row) {
            untag(store, &named.name)?;
        }
    }
    Ok(())
}

/// Images without a name say nothing that could be chosen by, except when they were used.
fn unused_for(texts: &[String]) -> Result<Option<Duration>, Failure> {
    let mut longest = None;
    for text in texts {
        let filter = filters::split(text)?;
        match (filter.key, filter.value) {
            ("until", value) => longest = longest.max(Some(filters::age(value)?)),
            ("dangling", "true" | "1") => {}
            _ => {
                let message = format!("`{text}` chooses among named images");
                return Err(Failure::usage(message).with_hint("add --all to remove those"));
            }
        }
    }
    Ok(longest)
}
