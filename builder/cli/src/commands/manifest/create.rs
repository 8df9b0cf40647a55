//! `kiln manifest create`.

use super::entries::{add, annotate, failure, in_registry, in_store, place, wanted};
use super::{bytes, keep, list};
use crate::arguments::{GlobalArguments, ManifestCreateArguments, parse_annotations};
use crate::error::{Class, Failure};
use crate::session::{self, Session, parse_platform, parse_reference};
use kiln_engine::registry::Client;
use kiln_oci::{Annotations, Descriptor, Document, Index, MediaFamily, Platform, Reference};
use kiln_transfer::copy::{Fetched, RegistryPlace, Source, Target, copy_manifests};

pub fn run(global: &GlobalArguments, arguments: &ManifestCreateArguments) -> Result<(), Failure> {
    let name = parse_reference(&arguments.name)?;
    let request = Request {
        arguments,
        platforms: platforms(arguments)?,
        annotations: annotations(arguments)?,
        name,
    };
    match arguments.push {
        true => {
            let client = Client::new(session::client_options(global)?)?;
            request.in_registry(&client)
        }
        false => request.in_store(&Session::open(global)?),
    }
}

fn platforms(arguments: &ManifestCreateArguments) -> Result<Vec<Platform>, Failure> {
    let platforms = arguments.platform.iter();
    platforms.map(|platform| parse_platform(platform)).collect()
}

/// An annotation without a level is one of the list.
fn annotations(arguments: &ManifestCreateArguments) -> Result<Annotations, Failure> {
    let with_level = |text: &String| {
        let place = text.split_once('=').map_or("", |(place, _)| place);
        match place.contains(':') {
            true => text.clone(),
            false => format!("index:{text}"),
        }
    };
    let texts: Vec<String> = arguments.annotation.iter().map(with_level).collect();
    parse_annotations(&texts)
}

struct Request<'a> {
    arguments: &'a ManifestCreateArguments,
    name: Reference,
    platforms: Vec<Platform>,
    annotations: Annotations,
}

impl Request<'_> {
    fn in_store(&self, session: &Session) -> Result<(), Failure> {
        let known = list(&session.store, &self.name)?;
        if known.is_some() && !self.arguments.append && !self.arguments.dry_run {
            let message = format!("there is a list `{}` in the store", self.name.familiar());
            return Err(Failure::usage(message)
                .with_hint("add to it with --append, or take its name away with `kiln rmi`"));
        }
        let mut index = self.start(known);
        for one in wanted(self.arguments)? {
            add(
                &mut index,
                in_store(session, &one, &self.name, &self.platforms)?,
            );
        }
        self.finish(&mut index)?;
        if self.arguments.dry_run {
            return print(&index);
        }
        let target = keep(&session.store, &self.name, &index)?;
        crate::output::say!("{} {}", self.name, target.digest);
        Ok(())
    }

    fn in_registry(&self, client: &Client) -> Result<(), Failure> {
        let target = RegistryPlace {
            client,
            reference: self.name.clone(),
        };
        let known = match self.arguments.append {
            true => Some(existing(&target)?),
            false => None,
        };
        let mut index = self.start(known);
        let mut sources = Vec::new();
        for one in wanted(self.arguments)? {
            let source = place(client, &one, &self.name)?;
            let entries = in_registry(&source, &self.platforms)?;
            add(&mut index, entries.clone());
            sources.push((source, entries));
        }
        self.finish(&mut index)?;
        if self.arguments.dry_run {
            return print(&index);
        }
        for (source, entries) in &sources {
            bring(source, &target, entries)?;
        }
        let bytes = bytes(&index);
        let descriptor = Descriptor::of_bytes(index.media_type.clone(), &bytes);
        let document = Fetched {
            descriptor: descriptor.clone(),
            bytes,
            document: Document::Index(index),
        };
        let put = target.put_target(&document);
        put.map_err(|error| failure(&target, &error))?;
        crate::output::say!("{} {}", self.name, descriptor.digest);
        Ok(())
    }

    fn start(&self, known: Option<Index>) -> Index {
        let known = known.filter(|_| self.arguments.append);
        known.unwrap_or_else(|| Index::new(MediaFamily::Oci, Vec::new()))
    }

    fn finish(&self, index: &mut Index) -> Result<(), Failure> {
        if index.manifests.is_empty() {
            return Err(Failure::usage("a list needs an image")
                .with_hint("name images after the name of the list"));
        }
        annotate(index, &self.annotations)
    }
}

/// Returns the list that the registry has, or one of the image that it has.
fn existing(target: &RegistryPlace<'_>) -> Result<Index, Failure> {
    let fetched = target.target().map_err(|error| failure(target, &error))?;
    match fetched.document {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => {
            let entries = in_registry(target, &[])?;
            Ok(Index::new(MediaFamily::Oci, entries))
        }
    }
}

fn bring(
    source: &RegistryPlace<'_>,
    target: &RegistryPlace<'_>,
    entries: &[Descriptor],
) -> Result<(), Failure> {
    if source.reference.name() == target.reference.name() {
        // They are there.
        return Ok(());
    }
    let tell = |event| crate::output::tell!("{event}");
    copy_manifests(source, target, entries, &tell).map_err(|error| {
        let message = format!("cannot copy {source} to {target}");
        Failure::caused(Class::Image, message, &error)
    })
}

fn print(index: &Index) -> Result<(), Failure> {
    crate::output::say!("{}", String::from_utf8_lossy(&bytes(index)));
    Ok(())
}
