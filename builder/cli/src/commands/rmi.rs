//! `kiln rmi`: names taken away. Content stays until the store is pruned.

use crate::arguments::{GlobalArguments, RemoveArguments};
use crate::error::Failure;
use crate::session::{Session, named_image, parse_reference};

pub fn run(global: &GlobalArguments, arguments: &RemoveArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    for name in &arguments.names {
        let reference = parse_reference(name)?;
        named_image(&session.store, &reference)?;
        session.store.images().remove(&reference)?;
        crate::output::say!("Untagged: {reference}");
    }
    Ok(())
}
