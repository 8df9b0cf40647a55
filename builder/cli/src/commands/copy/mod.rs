//! `kiln copy`: images between registries, layouts and archives, without the store.

mod place;

use crate::arguments::{CopyArguments, GlobalArguments};
use crate::error::{Class, Failure};
use crate::session::{self, parse_platform};
use kiln_engine::registry::Client;
use kiln_oci::{Descriptor, Platform};
use kiln_transfer::copy::{
    CopyError, CopyOptions, LayoutPlace, RegistryPlace, Source, StorePlace, Target, copy,
};
use kiln_transfer::layout::LayoutDirectory;
use place::{ArchiveFormat, Place, Scratch};

pub fn run(global: &GlobalArguments, arguments: &CopyArguments) -> Result<(), Failure> {
    let (source, target) = (
        arguments.source.parse::<Place>()?,
        arguments.target.parse()?,
    );
    let client = Client::new(session::client_options(global)?)?;
    let options = options(arguments, &target)?;
    let copying = Copying {
        client: &client,
        options,
        quiet: arguments.quiet,
    };
    let copied = copying.run(&source, &target)?;
    match arguments.quiet {
        true => crate::output::say!("{}", copied.digest),
        false => crate::output::say!("{target} {}", copied.digest),
    }
    Ok(())
}

fn options(arguments: &CopyArguments, target: &Place) -> Result<CopyOptions, Failure> {
    let platforms = arguments.platform.iter();
    let platforms = platforms.map(|platform| parse_platform(platform));
    let mut platforms: Vec<Platform> = platforms.collect::<Result<_, _>>()?;
    let is_docker = matches!(
        target,
        Place::Archive {
            format: ArchiveFormat::Docker,
            ..
        }
    );
    if is_docker && platforms.is_empty() {
        // Docker's archives hold one platform.
        platforms.push(Platform::host());
    }
    if arguments.referrers && matches!(target, Place::Archive { .. }) {
        let message = "--referrers is for registries and layouts: archives hold images alone";
        return Err(Failure::usage(message).with_hint("copy to oci:DIR:TAG"));
    }
    Ok(CopyOptions {
        platforms,
        with_referrers: arguments.referrers,
    })
}

/// A copy on its way.
struct Copying<'a> {
    client: &'a Client,
    options: CopyOptions,
    quiet: bool,
}

impl Copying<'_> {
    fn run(&self, source: &Place, target: &Place) -> Result<Descriptor, Failure> {
        match source {
            Place::Registry(reference) => self.from(&self.registry(reference.clone()), target),
            Place::Layout { path, named } => {
                let place = LayoutPlace {
                    layout: LayoutDirectory::new(path.clone()),
                    named: named.clone(),
                };
                self.from(&place, target)
            }
            Place::Archive { path, name, .. } => {
                let scratch = Scratch::make(&std::env::temp_dir())?;
                let place = StorePlace {
                    store: scratch.store(),
                    title: path.display().to_string(),
                    target: Some(scratch.read(path, name.as_ref())?),
                };
                self.from(&place, target)
            }
        }
    }

    fn registry(&self, reference: kiln_oci::Reference) -> RegistryPlace<'_> {
        RegistryPlace {
            client: self.client,
            reference,
        }
    }

    fn from(&self, source: &dyn Source, target: &Place) -> Result<Descriptor, Failure> {
        match target {
            Place::Registry(reference) => self.between(source, &self.registry(reference.clone())),
            Place::Layout { path, named } => {
                if named.digest.is_some() {
                    return Err(Failure::usage(format!("`{target}` is named by a digest"))
                        .with_hint("name what is written by a tag"));
                }
                let place = LayoutPlace {
                    layout: LayoutDirectory::new(path.clone()),
                    named: named.clone(),
                };
                self.between(source, &place)
            }
            Place::Archive { format, path, name } => {
                let scratch = Scratch::make(place::directory_of(path))?;
                let place = StorePlace {
                    store: scratch.store(),
                    title: path.display().to_string(),
                    target: None,
                };
                let copied = self.between(source, &place)?;
                scratch.write(*format, path, name.as_ref(), &copied)?;
                Ok(copied)
            }
        }
    }

    fn between(&self, source: &dyn Source, target: &dyn Target) -> Result<Descriptor, Failure> {
        let tell = |event| {
            if !self.quiet {
                crate::output::tell!("{event}");
            }
        };
        copy(source, target, &self.options, &tell).map_err(|error| {
            let message = format!("cannot copy {source} to {target}");
            Failure::caused(class_of(&error), message, &error)
        })
    }
}

/// Returns the class of a failed copy.
pub fn class_of(error: &CopyError) -> Class {
    match error {
        CopyError::Files(_) => Class::Store,
        _ => Class::Image,
    }
}
