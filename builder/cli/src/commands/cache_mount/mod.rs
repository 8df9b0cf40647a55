//! `kiln cache-mount`: the directories of `RUN --mount=type=cache`.

mod list;
mod place;
mod travel;

use crate::arguments::{CacheMountCommand, CacheMountRemoveArguments, GlobalArguments};
use crate::error::{Class, Failure};
use crate::progress::size;
use crate::session::Session;
pub use travel::{export_after_build, import_before_build};

use kiln_engine::disk::{CacheMount, CacheMountPurpose, DiskUsage, Store};

pub fn run(global: &GlobalArguments, command: &CacheMountCommand) -> Result<(), Failure> {
    let session = Session::open(global)?;
    match command {
        CacheMountCommand::Ls(arguments) => list::run(&session.store, arguments),
        CacheMountCommand::Rm(arguments) => remove(&session.store, arguments),
        CacheMountCommand::Export(arguments) => travel::export(&session, arguments),
        CacheMountCommand::Import(arguments) => travel::import(&session, arguments),
    }
}

fn remove(store: &Store, arguments: &CacheMountRemoveArguments) -> Result<(), Failure> {
    let mounts = mounts(store)?;
    let mut wanted: Vec<&CacheMount> = Vec::new();
    match arguments.all {
        true => wanted.extend(mounts.iter().filter(|mount| !mount.is_in_use)),
        false => {
            for text in &arguments.mounts {
                wanted.extend(meant(&mounts, text)?);
            }
        }
    }
    let mut freed = DiskUsage::default();
    for mount in wanted {
        match store.cache_mounts().remove(&mount.name)? {
            Some(usage) => freed += usage,
            None => return Err(in_use(mount)),
        }
        crate::output::say!("{}", mount.name);
    }
    crate::output::tell!("{} freed", size(freed.bytes));
    Ok(())
}

/// Returns the mounts of steps; those for other purposes are no business of users.
fn mounts(store: &Store) -> Result<Vec<CacheMount>, Failure> {
    let mut mounts = store.cache_mounts().list()?;
    mounts.retain(|mount| {
        let purpose = mount.facts.as_ref().map(|facts| facts.key.purpose);
        purpose.unwrap_or_default() == CacheMountPurpose::Steps
    });
    Ok(mounts)
}

/// Returns the mounts with the id `text`, or the one whose name begins like that.
fn meant<'a>(mounts: &'a [CacheMount], text: &str) -> Result<Vec<&'a CacheMount>, Failure> {
    let has_id = |mount: &&CacheMount| id(mount) == Some(text);
    let named: Vec<&CacheMount> = mounts.iter().filter(has_id).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let begins = |mount: &&CacheMount| text.len() >= 4 && mount.name.starts_with(text);
    let begins: Vec<&CacheMount> = mounts.iter().filter(begins).collect();
    match begins.len() {
        1 => Ok(begins),
        0 => Err(Failure::usage(format!("no cache mount `{text}`"))
            .with_hint("`kiln cache-mount ls` lists them with their ids and names")),
        count => Err(Failure::usage(format!(
            "the names of {count} cache mounts begin with `{text}`"
        ))
        .with_hint("write more of the name")),
    }
}

fn id(mount: &CacheMount) -> Option<&str> {
    mount.facts.as_ref().map(|facts| facts.key.id.as_str())
}

fn in_use(mount: &CacheMount) -> Failure {
    let name = id(mount).unwrap_or(&mount.name);
    Failure::new(Class::Store, format!("cache mount `{name}` is in use"))
        .with_hint("wait until the builds that use it are done, or end them")
}
