//! `kiln cache-mount export` and `import`.

use super::place::{self, Spec};
use crate::arguments::{CacheMountExportArguments, CacheMountImportArguments};
use crate::error::{Class, Failure};
use crate::progress::size;
use crate::session::Session;
use kiln_engine::disk::{
    CacheMountKey, CacheMountPurpose, CacheMountUse, Patience, Store, WaitingForTurn,
};
use kiln_oci::Descriptor;
use kiln_transfer::cache_mount::{
    self, Config, Exported, InRegistry, Place, Progress, RootDirectory, Summary,
};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

const DEFAULT_MODE: u32 = 0o755;

pub fn export(session: &Session, arguments: &CacheMountExportArguments) -> Result<(), Failure> {
    let spec = place::parse(&arguments.to, "dest")?;
    let manifest = send(session, &arguments.mount, &spec)?;
    if let Some(manifest) = manifest {
        crate::output::say!("{}", manifest.digest);
    }
    Ok(())
}

/// Sends what `--cache-mount-to` says: `id=ID,type=registry,ref=NAME`.
pub fn export_after_build(session: &Session, texts: &[String]) -> Result<(), Failure> {
    for text in texts {
        let (id, spec) = place::parse_with_id(text, "dest")?;
        send(session, &needed(id, text)?, &spec)?;
    }
    Ok(())
}

fn needed(id: Option<String>, text: &str) -> Result<String, Failure> {
    id.ok_or_else(|| {
        Failure::usage(format!("`{text}` does not say which cache mount"))
            .with_hint("write id=ID,type=registry,ref=NAME")
    })
}

/// Sends the mount that `text` means to its place; returns what an artifact got there.
fn send(session: &Session, text: &str, spec: &Spec) -> Result<Option<Descriptor>, Failure> {
    let mounts = super::mounts(&session.store)?;
    let meant = super::meant(&mounts, text)?;
    let [mount] = meant[..] else {
        let message = format!("{} cache mounts have the id `{text}`", meant.len());
        return Err(Failure::usage(message)
            .with_hint("say which by the beginning of its name: `kiln cache-mount ls`"));
    };
    let facts = mount.facts.as_ref().ok_or_else(|| {
        let message = format!("what is known of cache mount {} is lost", mount.name);
        Failure::new(Class::Store, message)
    })?;
    let used = hold(&session.store, &facts.key)?;
    if !used.path().is_dir() {
        let id = &facts.key.id;
        let message = format!("cache mount `{id}` has no files that can be shared");
        return Err(Failure::new(Class::Store, message));
    }
    let summary = match spec {
        Spec::Registry(reference) => export_to(session, &used, &in_registry(session, reference))?,
        Spec::Directory(place) => export_to(session, &used, place)?,
        Spec::Tar(path) => return export_tar(&used, path.as_deref()).map(|()| None),
    };
    tell("sent", &summary);
    Ok(summary.manifest)
}

pub fn import(session: &Session, arguments: &CacheMountImportArguments) -> Result<(), Failure> {
    let identity = Identity {
        id: arguments.id.clone(),
        mode: mode(arguments)?,
        uid: arguments.uid,
        gid: arguments.gid,
    };
    let key = receive(session, &place::parse(&arguments.from, "src")?, &identity)?;
    crate::output::say!("{}", key.folder_name());
    Ok(())
}

/// Brings what `--cache-mount-from` says; what cannot be had is only told.
pub fn import_before_build(session: &Session, texts: &[String]) -> Result<(), Failure> {
    for text in texts {
        let (id, spec) = place::parse_with_id(text, "src")?;
        let identity = Identity {
            id,
            ..Identity::default()
        };
        if let Err(failure) = receive(session, &spec, &identity) {
            crate::output::tell!("warning: cache mount not imported: {}", failure.line());
        }
    }
    Ok(())
}

/// What the caller says of an imported mount's identity.
#[derive(Default)]
struct Identity {
    id: Option<String>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

fn receive(session: &Session, spec: &Spec, identity: &Identity) -> Result<CacheMountKey, Failure> {
    match spec {
        Spec::Registry(reference) => {
            import_from(session, &in_registry(session, reference), identity)
        }
        Spec::Directory(place) => import_from(session, place, identity),
        Spec::Tar(path) => import_tar(session, path.as_deref(), identity),
    }
}

fn in_registry<'a>(session: &'a Session, reference: &'a kiln_oci::Reference) -> InRegistry<'a> {
    InRegistry {
        client: &session.client,
        reference,
    }
}

fn export_to(
    session: &Session,
    used: &CacheMountUse,
    place: &dyn Place,
) -> Result<Summary, Failure> {
    let exported = cache_mount::export(&session.store, used, place, &observe);
    exported.map_err(|error| match error {
        cache_mount::Error::NotOne { .. } => Failure::from(error)
            .with_hint("it is not overwritten: export to another name, or remove it first"),
        error => error.into(),
    })
}

fn export_tar(used: &CacheMountUse, path: Option<&Path>) -> Result<(), Failure> {
    let failed = |error: &io::Error| {
        let name = path.map_or("standard output".into(), Path::to_string_lossy);
        Failure::caused(Class::Store, format!("cannot write {name}"), error)
    };
    let Some(path) = path else {
        let mut output = BufWriter::new(io::stdout().lock());
        cache_mount::write_archive(used, &mut output)?;
        return output.flush().map_err(|error| failed(&error));
    };
    // Whole or not at all.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let file = File::create(&temporary).map_err(|error| failed(&error))?;
    let written = cache_mount::write_archive(used, BufWriter::new(file))
        .map_err(Failure::from)
        .and_then(|()| std::fs::rename(&temporary, path).map_err(|error| failed(&error)));
    written.inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

fn import_from(
    session: &Session,
    place: &dyn Place,
    identity: &Identity,
) -> Result<CacheMountKey, Failure> {
    let exported: Exported<'_> = cache_mount::find(place)?;
    let Config { key, .. } = &exported.config;
    let key = CacheMountKey {
        id: identity.id.clone().unwrap_or_else(|| key.id.clone()),
        mode: identity.mode.unwrap_or(key.mode),
        uid: identity.uid.unwrap_or(key.uid),
        gid: identity.gid.unwrap_or(key.gid),
        seed: key.seed.clone(),
        // Whatever an archive of strangers says.
        purpose: CacheMountPurpose::Steps,
    };
    let used = hold(&session.store, &key)?;
    let summary = exported.import(&session.store, &used, &observe)?;
    tell("fetched", &summary);
    Ok(key)
}

fn import_tar(
    session: &Session,
    path: Option<&Path>,
    identity: &Identity,
) -> Result<CacheMountKey, Failure> {
    let id = identity.id.clone().ok_or_else(|| {
        Failure::usage("a tar archive does not say which cache mount it is")
            .with_hint("name its id: kiln cache-mount import --from type=tar,src=FILE ID")
    })?;
    let key = CacheMountKey {
        id,
        mode: identity.mode.unwrap_or(DEFAULT_MODE),
        uid: identity.uid.unwrap_or(0),
        gid: identity.gid.unwrap_or(0),
        seed: None,
        purpose: CacheMountPurpose::Steps,
    };
    let root = RootDirectory {
        mode: key.mode,
        uid: key.uid,
        gid: key.gid,
    };
    let name = path.map_or("standard input".into(), Path::to_string_lossy);
    let mut archive = open(path)
        .map_err(|error| Failure::caused(Class::Store, format!("cannot read {name}"), &error))?;
    let used = hold(&session.store, &key)?;
    cache_mount::unpack_over(&session.store, &used, root, &mut archive)?;
    Ok(key)
}

/// Opens an archive in whatever compression it is.
fn open(path: Option<&Path>) -> io::Result<Box<dyn Read>> {
    let input: Box<dyn Read> = match path {
        Some(path) => Box::new(File::open(path)?),
        None => Box::new(io::stdin().lock()),
    };
    let mut input = BufReader::new(input);
    let compression = cache_mount::ArchiveCompression::detect(input.fill_buf()?);
    Ok(Box::new(cache_mount::decompressor(compression, input)?))
}

fn mode(arguments: &CacheMountImportArguments) -> Result<Option<u32>, Failure> {
    let parsed = arguments.mode.as_deref().map(|text| {
        let mode = u32::from_str_radix(text, 8).ok();
        mode.filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| Failure::usage(format!("invalid mode `{text}`: write it as 0755")))
    });
    parsed.transpose()
}

fn hold(store: &Store, key: &CacheMountKey) -> Result<CacheMountUse, Failure> {
    let mut told = None;
    let user = "kiln cache-mount";
    let held = store.cache_mounts().hold(key, user, &mut |waiting| {
        let message = waiting_message(&key.id, waiting);
        if told.as_ref() != Some(&message) {
            crate::output::tell!("{message}");
            told = Some(message);
        }
        Patience::Wait
    });
    Ok(held?)
}

fn waiting_message(id: &str, waiting: &WaitingForTurn) -> String {
    let process = waiting.process_id;
    let process = process.map_or("another process".to_owned(), |id| format!("process {id}"));
    format!(
        "waiting for {process} ({}), which uses `{id}`",
        waiting.user
    )
}

fn observe(progress: Progress) {
    match progress {
        Progress::Read { chunks } => crate::output::tell!("read {chunks} chunks"),
        Progress::Sending { pack } => {
            crate::output::tell!("sending pack {} ({})", pack.digest, size(pack.size));
        }
        Progress::Fetching { pack } => {
            crate::output::tell!("fetching pack {} ({})", pack.digest, size(pack.size));
        }
    }
}

fn tell(verb: &str, summary: &Summary) {
    crate::output::tell!(
        "{verb} {} in {} packs of {} ({} were there already)",
        size(summary.moved_bytes),
        summary.moved_packs,
        size(summary.archive_bytes),
        summary.kept_packs
    );
}
