//! `--verify-reproducible`: builds again under other conditions, and tells what differs.
//!
//! The second build has an empty store, a copy of its context with other times in another
//! directory, another number of threads, so another order, and another umask; and it is later.

mod directories;

use super::options;
use crate::arguments::{BuildArguments, GlobalArguments};
use crate::error::{Class, Failure};
use crate::session::{self, Session};
use kiln_engine::disk::Store;
use kiln_engine::{BuildOutcome, BuildRequest, ImageTimes, Owners};
use kiln_oci::Platform;
use kiln_plan::Op;
use kiln_transfer::diff::{ImageDifference, diff_between};
use kiln_transfer::image::{self, Image};
use kiln_transfer::layers;
use std::path::Path;
use std::time::Duration;

/// The build that is compared with the first.
pub struct Second<'a> {
    pub store: &'a Store,
    pub request: &'a BuildRequest,
}

/// Builds what `first` was asked for again, by `build`.
///
/// Errors: the second build fails, or its images are not those of the first.
pub fn run(
    global: &GlobalArguments,
    arguments: &BuildArguments,
    session: &Session,
    (request, first): (&BuildRequest, &BuildOutcome),
    build: impl FnOnce(Second<'_>) -> Result<BuildOutcome, Failure>,
) -> Result<(), Failure> {
    crate::output::tell!("building again, to compare");
    let root = session::root(global)?;
    let directory = temporary_beside(&root)?;
    let store = Store::open(&directory.path().join("store"))?;
    bring_bases(session, &store, request)?;
    let again = again(arguments, request, directory.path())?;
    // Times in images are whole seconds.
    std::thread::sleep(Duration::from_millis(1_100));
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let second = build(Second {
        store: &store,
        request: &again,
    });
    rustix::process::umask(umask);
    let differences = compare((&session.store, first), (&store, &second?))?;
    tell(&differences, request.times)
}

/// Beside the store: what serves that serves another.
fn temporary_beside(root: &Path) -> Result<tempfile::TempDir, Failure> {
    let parent = root.parent().unwrap_or(root);
    let made = tempfile::Builder::new()
        .prefix("kiln-verify-")
        .tempdir_in(parent);
    made.map_err(|error| {
        let what = format!("cannot make a second store in {}", parent.display());
        Failure::caused(Class::Store, what, &error)
    })
}

/// Brings the base images that the first store has, as far as it has all of them: the rest is
/// pulled.
fn bring_bases(session: &Session, store: &Store, request: &BuildRequest) -> Result<(), Failure> {
    for (_, vertex) in request.plan.vertices() {
        let Op::Image(base) = &vertex.op else {
            continue;
        };
        if store.blobs().has(&base.digest) || !session.store.blobs().has(&base.digest) {
            continue;
        }
        let size = session.store.blobs().size(&base.digest)?;
        let media_type = kiln_oci::MediaType::manifest(kiln_oci::MediaFamily::Oci);
        let target = kiln_oci::Descriptor::new(media_type, base.digest.clone(), size);
        if let Ok(image) = image::load(&session.store, &target, Some(&base.platform)) {
            bring(&session.store, store, &image)?;
        }
    }
    Ok(())
}

fn bring(from: &Store, to: &Store, image: &Image) -> Result<(), Failure> {
    for document in [&image.manifest, &image.config_descriptor] {
        to.blobs()
            .put(&from.blobs().read(&document.digest, document.size)?)?;
    }
    for layer in &image.layers {
        let uncompressed = kiln_engine::Compression::None;
        // One that was pulled and is not kept as an archive is pulled again.
        let Ok(blob) = layers::ensure_blob(from, layer, uncompressed) else {
            continue;
        };
        if blob.digest != layer.descriptor.digest {
            continue;
        }
        let mut reader = from.blobs().open(&blob.digest)?;
        let mut writer = to.blobs().ingest()?;
        std::io::copy(&mut reader, &mut writer).map_err(|error| {
            Failure::caused(Class::Store, "cannot copy a layer of a base image", &error)
        })?;
        writer.commit(Some((&blob.digest, blob.size)))?;
    }
    Ok(())
}

/// Returns the request under other conditions.
fn again(
    arguments: &BuildArguments,
    request: &BuildRequest,
    place: &Path,
) -> Result<BuildRequest, Failure> {
    let jobs = match request.jobs {
        1 => options::default_jobs().max(4),
        _ => 1,
    };
    let mut again = BuildRequest {
        build_id: kiln_engine::new_build_id(),
        names: Vec::new(),
        outputs: Vec::new(),
        cache_from: Vec::new(),
        cache_to: Vec::new(),
        jobs,
        ..request.clone()
    };
    for (number, directory) in again.directories.values_mut().enumerate() {
        // What was unpacked for this build has times of its own, which are the archive's.
        if directory.owners == Owners::Kept {
            continue;
        }
        let copy = place.join(format!("context-{number}"));
        directories::copy(&directory.path, &copy, &directory.ignore).map_err(|error| {
            let what = format!("cannot copy the build context {}", arguments.context);
            Failure::caused(Class::Store, what, &error)
        })?;
        directory.path = copy;
    }
    Ok(again)
}

fn compare(
    (one_store, one): (&Store, &BuildOutcome),
    (other_store, other): (&Store, &BuildOutcome),
) -> Result<Vec<(Platform, ImageDifference)>, Failure> {
    let mut found = Vec::new();
    for (one, other) in one.images.iter().zip(&other.images) {
        let before = image::load(one_store, &one.manifest, Some(&one.platform))?;
        let after = image::load(other_store, &other.manifest, Some(&other.platform))?;
        let differs = diff_between((one_store, &before), (other_store, &after))?;
        found.push((one.platform.clone(), differs));
    }
    Ok(found)
}

fn tell(differences: &[(Platform, ImageDifference)], times: ImageTimes) -> Result<(), Failure> {
    let differing = differences.iter().filter(|(_, one)| !one.is_empty());
    let mut files = 0;
    for (platform, difference) in differing.clone() {
        let text = crate::commands::diff::text(difference);
        crate::output::tell!("{platform}:\n{}", text.trim_end());
        files += difference.files.len();
    }
    if differing.count() == 0 {
        crate::output::tell!("the image is the same when it is built again");
        return Ok(());
    }
    let message = "the image is another one when it is built again".to_owned();
    let message = match files {
        0 => message,
        1 => format!("{message}: 1 file differs"),
        _ => format!("{message}: {files} files differ"),
    };
    let failure = Failure::new(Class::Step, message);
    Err(match times {
        ImageTimes::Real => failure.with_hint("times are left out with --reproducible"),
        _ => failure.with_hint(
            "steps that give the same each time need fixed versions, no clock, no random numbers \
             and no order of directories",
        ),
    })
}
