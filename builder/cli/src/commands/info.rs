//! `kiln info`: what this machine lets kiln do.

use crate::arguments::GlobalArguments;
use crate::error::Failure;
use crate::session;
use kiln_engine::disk::Store;
use kiln_engine::sandbox::host;
use std::path::Path;

pub fn run(global: &GlobalArguments) -> Result<(), Failure> {
    crate::output::say!("version       {}", env!("CARGO_PKG_VERSION"));
    let root = session::root(global)?;
    crate::output::say!("store         {}", root.display());
    if let Some(how) = layers(&root) {
        crate::output::say!("layers        {how}");
    }
    for (name, value) in host::describe(&host::probe()) {
        crate::output::say!("{name:12}  {value}");
    }
    Ok(())
}

/// Returns how steps see the layers of the store in `root`, or of one made there, if that can be
/// told.
fn layers(root: &Path) -> Option<&'static str> {
    let place = root.ancestors().find(|place| place.is_dir())?;
    let format = Store::whiteout_format_in(root).ok().flatten();
    let is_mountable = match format {
        Some(format) => format.is_mountable(),
        None => !kiln_engine::disk::is_overlay(place),
    };
    Some(match is_mountable {
        true => "mounted",
        false => {
            "copied for each branch of steps: the store's file system carries no overlay; a store \
             on a volume (ext4, xfs, btrfs) is faster"
        }
    })
}
