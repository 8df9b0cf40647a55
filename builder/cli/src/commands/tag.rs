//! `kiln tag`: another name for an image.

use crate::arguments::{GlobalArguments, TagArguments};
use crate::error::Failure;
use crate::lookup;
use crate::session::{Session, parse_reference};

pub fn run(global: &GlobalArguments, arguments: &TagArguments) -> Result<(), Failure> {
    let target = parse_reference(&arguments.target)?;
    if target.digest().is_some() {
        return Err(
            Failure::usage(format!("`{}` has a digest", arguments.target))
                .with_hint("a digest says which image it is: give it a name and a tag"),
        );
    }
    let session = Session::open(global)?;
    let source = lookup::find(&session.store, &arguments.source)?;
    session.store.images().put(&target, &source.target)?;
    Ok(())
}
