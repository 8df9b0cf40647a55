//! `kiln tag`: another name for an image.

use crate::arguments::{GlobalArguments, TagArguments};
use crate::error::Failure;
use crate::session::{Session, named_image, parse_reference};

pub fn run(global: &GlobalArguments, arguments: &TagArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let source = named_image(&session.store, &parse_reference(&arguments.source)?)?;
    let target = parse_reference(&arguments.target)?;
    session.store.images().put(&target, &source.target)?;
    Ok(())
}
