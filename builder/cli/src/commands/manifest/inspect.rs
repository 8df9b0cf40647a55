//! `kiln manifest inspect`.

use super::{bytes_of, list};
use crate::arguments::{GlobalArguments, ManifestInspectArguments};
use crate::error::{Class, Failure};
use crate::listing;
use crate::session::{Session, parse_reference};
use crate::template::Template;
use serde_json::Value;

/// A list of the store goes before what the registry has under the name.
pub fn run(global: &GlobalArguments, arguments: &ManifestInspectArguments) -> Result<(), Failure> {
    let name = parse_reference(&arguments.name)?;
    let session = Session::open(global)?;
    let store = &session.store;
    let named = store.images().get(&name)?;
    let bytes = match (list(store, &name)?, named) {
        (Some(_), Some(named)) => bytes_of(store, &named.target)?,
        _ => session.client.resolve(&name)?.bytes,
    };
    if arguments.raw {
        crate::output::write(format_args!("{}", String::from_utf8_lossy(&bytes)));
        return Ok(());
    }
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("cannot understand `{}`", name.familiar());
        Failure::caused(Class::Image, message, &error)
    })?;
    match arguments.format.as_deref() {
        None => crate::output::say!("{value:#}"),
        Some("json") => crate::output::say!("{value}"),
        Some(format) => {
            let invalid = |error| listing::invalid(format, &error);
            let template = Template::parse(format).map_err(invalid)?;
            crate::output::say!("{}", template.apply(&value).map_err(invalid)?);
        }
    }
    Ok(())
}
