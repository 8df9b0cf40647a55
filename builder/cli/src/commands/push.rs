//! `kiln push`: images from the store to their registry.

use super::save::{compression, images_of, packing};
use crate::arguments::{GlobalArguments, PushArguments};
use crate::error::{Class, Failure};
use crate::lookup::{self, Found};
use crate::session::{Session, optional_platform, parse_reference};
use kiln_engine::Compression;
use kiln_oci::{Platform, Reference};
use kiln_transfer::pack::{Absent, Packing};
use kiln_transfer::push::{Naming, PushTarget, push};

pub fn run(global: &GlobalArguments, arguments: &PushArguments) -> Result<(), Failure> {
    let compression = compression(&arguments.compression)?;
    let platform = optional_platform(arguments.platform.as_deref())?;
    let reference = parse_reference(&arguments.name)?;
    let session = Session::open(global)?;
    let pushing = Pushing {
        session: &session,
        compression,
        platform: platform.as_ref(),
        quiet: arguments.quiet,
    };
    if !arguments.all_tags {
        let found = lookup::find(&session.store, &arguments.name)?;
        if found.name.is_none() {
            let message = format!("`{}` says which image, but not where to", arguments.name);
            return Err(
                Failure::usage(message).with_hint("give it a name with `kiln tag`, and push that")
            );
        }
        return pushing.push(&found, &reference);
    }
    refuse_tag(&arguments.name)?;
    let listed = session.store.images().list_sound()?;
    let mut found = listed.images;
    found.retain(|named| named.name.name() == reference.name() && named.name.tag().is_some());
    if found.is_empty() && listed.damaged.is_empty() {
        let message = format!("no image of `{}` in the store", reference.name());
        return Err(
            Failure::new(Class::Image, message).with_hint("`kiln images` lists what is there")
        );
    }
    for named in found {
        let reference = named.name.clone();
        let found = Found {
            name: Some(named.name),
            target: named.target,
        };
        pushing.push(&found, &reference)?;
    }
    lookup::refuse_damaged(listed.damaged)
}

/// Refuses the name of one image where all of a repository are meant.
pub fn refuse_tag(name: &str) -> Result<(), Failure> {
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.contains([':', '@']) {
        true => Err(Failure::usage("--all-tags takes no tag and no digest")
            .with_hint("name the repository alone, or leave --all-tags out")),
        false => Ok(()),
    }
}

/// Images on their way.
pub struct Pushing<'a> {
    pub session: &'a Session,
    pub compression: Compression,
    /// The one platform that is pushed.
    pub platform: Option<&'a Platform>,
    pub quiet: bool,
}

impl Pushing<'_> {
    /// Pushes an image as `reference`.
    pub fn push(&self, found: &Found, reference: &Reference) -> Result<(), Failure> {
        let store = &self.session.store;
        let images = match self.platform {
            Some(_) => vec![found.image(store, self.platform)?],
            None => images_of(store, found)?,
        };
        let is_whole = self.platform.is_none();
        let packing = Packing {
            absent: Absent::Describe,
            ..packing(store, found, &images, is_whole, self.compression)?
        };
        let tell = |event| {
            if !self.quiet {
                crate::output::tell!("{event}");
            }
        };
        let target = PushTarget {
            name: reference,
            naming: Naming::Reference,
            packing: &packing,
            ahead: None,
        };
        let pushed = push(store, &self.session.client, &images, target, &tell);
        let pushed = pushed.map_err(|error| Failure::from_error(Class::Image, &error))?;
        match self.quiet {
            true => crate::output::say!("{}", pushed.digest),
            false => crate::output::say!("{reference} {}", pushed.digest),
        }
        Ok(())
    }
}
