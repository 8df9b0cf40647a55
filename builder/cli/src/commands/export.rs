//! `kiln export`: the files of an image as an archive or in a directory.

use crate::arguments::{ExportArguments, GlobalArguments};
use crate::error::Failure;
use crate::lookup;
use crate::session::{Session, optional_platform};
use kiln_engine::disk::LayerId;
use kiln_engine::export_files;
use kiln_transfer::sink::Destination;
use kiln_transfer::sink::rootfs_tar::{self, RootFs};
use std::io::IsTerminal;
use std::path::PathBuf;

pub fn run(global: &GlobalArguments, arguments: &ExportArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let store = &session.store;
    let platform = optional_platform(arguments.platform.as_deref())?;
    let found = lookup::find(store, &arguments.name)?;
    let image = found.image(store, platform.as_ref())?;
    super::load::unpack(&session, found.name.as_ref(), &image)?;
    // What has been unpacked has its layers now.
    let image = found.image(store, platform.as_ref())?;
    let stack: Vec<LayerId> = image
        .layers
        .into_iter()
        .filter_map(|one| one.layer)
        .collect();
    if let Some(directory) = &arguments.directory {
        return Ok(export_files(store, &stack, directory)?);
    }
    let root = RootFs {
        directory: PathBuf::new(),
        stack,
    };
    let path = arguments.output.as_deref();
    let mut standard_output = std::io::stdout();
    let destination = match path.filter(|path| path.as_os_str() != "-") {
        Some(path) => Destination::File(path),
        None if standard_output.is_terminal() => {
            return Err(Failure::usage("an archive is not written to a terminal")
                .with_hint("name a file with --output, or redirect standard output"));
        }
        None => Destination::Stream(&mut standard_output),
    };
    Ok(rootfs_tar::write(store, &[root], None, destination)?)
}
