//! `kiln rmi`: names taken away. Content stays until the store is pruned.

use crate::arguments::{GlobalArguments, RemoveArguments};
use crate::commands::load::with_tag;
use crate::error::{Class, Failure, fail_with_all};
use crate::lookup;
use crate::session::Session;
use kiln_engine::disk::{Error, Store};
use kiln_oci::Reference;

/// All that can be removed is, though the command fails for one of them.
pub fn run(global: &GlobalArguments, arguments: &RemoveArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let removed = arguments.names.iter();
    let removed = removed.map(|name| remove(&session.store, name, arguments.force));
    let failures: Vec<Failure> = removed.filter_map(Result::err).collect();
    fail_with_all(failures)
}

fn remove(store: &Store, name: &str, force: bool) -> Result<(), Failure> {
    if let Some(damaged) = damaged(store, name) {
        return untag(store, &damaged);
    }
    let found = match lookup::find(store, name) {
        Err(failure) if force => {
            crate::output::tell!("note: {}", failure.line());
            return Ok(());
        }
        found => found?,
    };
    if let Some(name) = &found.name {
        return untag(store, name);
    }
    let named = lookup::sound_images(store)?.into_iter();
    let names: Vec<Reference> = named
        .filter(|named| named.target.digest == found.target.digest)
        .map(|named| named.name)
        .collect();
    match names.as_slice() {
        [] => Err(Failure::new(
            Class::Image,
            format!("image {name} has no name to take away"),
        )
        .with_hint("`kiln prune` removes images that have no name")),
        [_, _, ..] if !force => {
            let list: Vec<_> = names.iter().map(Reference::familiar).collect();
            let message = format!(
                "image {name} has {} names: {}",
                names.len(),
                list.join(", ")
            );
            Err(Failure::new(Class::Image, message)
                .with_hint("name those that should go, or use --force for all of them"))
        }
        names => names.iter().try_for_each(|name| untag(store, name)),
    }
}

/// What a damaged name led to is not known, but it can go.
fn damaged(store: &Store, name: &str) -> Option<Reference> {
    let name = name.parse().ok()?;
    let found = store.images().get(&name);
    matches!(found, Err(Error::DamagedName { .. })).then_some(name)
}

/// Takes the name away, and says so as Docker does.
pub fn untag(store: &Store, name: &Reference) -> Result<(), Failure> {
    store.images().remove(name)?;
    crate::output::say!("Untagged: {}", with_tag(name));
    Ok(())
}
