//! `kiln manifest`: lists of images for several platforms.

mod annotate;
mod create;
mod entries;
mod inspect;

use crate::arguments::{GlobalArguments, ManifestCommand, ManifestPushArguments};
use crate::commands::push::Pushing;
use crate::commands::save::compression;
use crate::error::{Class, Failure};
use crate::lookup;
use crate::session::{Session, parse_reference};
use kiln_engine::disk::Store;
use kiln_oci::{Descriptor, Document, Index, MAX_DOCUMENT_BYTES, Reference};

pub fn run(global: &GlobalArguments, command: &ManifestCommand) -> Result<(), Failure> {
    match command {
        ManifestCommand::Create(arguments) => create::run(global, arguments),
        ManifestCommand::Annotate(arguments) => annotate::run(global, arguments),
        ManifestCommand::Inspect(arguments) => inspect::run(global, arguments),
        ManifestCommand::Push(arguments) => push(global, arguments),
        ManifestCommand::Rm(arguments) => crate::commands::rmi::run(global, arguments),
    }
}

fn push(global: &GlobalArguments, arguments: &ManifestPushArguments) -> Result<(), Failure> {
    let target = arguments.target.as_deref().unwrap_or(&arguments.name);
    let target = parse_reference(target)?;
    let session = Session::open(global)?;
    let found = lookup::find(&session.store, &arguments.name)?;
    let pushing = Pushing {
        session: &session,
        compression: compression(&arguments.compression)?,
        platform: None,
        quiet: arguments.quiet,
    };
    pushing.push(&found, &target)?;
    if let (true, Some(name)) = (arguments.purge, &found.name) {
        session.store.images().remove(name)?;
    }
    Ok(())
}

/// Returns the list that the store has under `name`.
fn list(store: &Store, name: &Reference) -> Result<Option<Index>, Failure> {
    let Some(named) = store.images().get(name)? else {
        return Ok(None);
    };
    let bytes = bytes_of(store, &named.target)?;
    let document = Document::parse(&bytes, Some(named.target.media_type.as_str()));
    match document {
        Ok(Document::Index(index)) => Ok(Some(index)),
        Ok(Document::Manifest(_)) => Ok(None),
        Err(error) => {
            let message = format!("cannot understand `{}`", name.familiar());
            Err(Failure::caused(Class::Image, message, &error))
        }
    }
}

fn bytes_of(store: &Store, target: &Descriptor) -> Result<Vec<u8>, Failure> {
    let blobs = store.blobs();
    Ok(blobs.read(&target.digest, MAX_DOCUMENT_BYTES as u64)?)
}

/// Gives `index` the name in the store, in the place of what had it.
fn keep(store: &Store, name: &Reference, index: &Index) -> Result<Descriptor, Failure> {
    let bytes = bytes(index);
    store.blobs().put(&bytes)?;
    let target = Descriptor::of_bytes(index.media_type.clone(), &bytes);
    store.sync()?;
    store.images().put(name, &target)?;
    Ok(target)
}

/// Returns the bytes of a list, as others write them too.
fn bytes(index: &Index) -> Vec<u8> {
    serde_json::to_vec_pretty(index).unwrap_or_default()
}
