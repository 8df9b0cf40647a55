//! `kiln info`: what this machine lets kiln do.

use crate::arguments::GlobalArguments;
use crate::error::Failure;
use crate::session;
use kiln_engine::sandbox::host;

pub fn run(global: &GlobalArguments) -> Result<(), Failure> {
    crate::output::say!("version       {}", env!("CARGO_PKG_VERSION"));
    crate::output::say!("store         {}", session::root(global)?.display());
    for (name, value) in host::describe(&host::probe()) {
        crate::output::say!("{name:12}  {value}");
    }
    Ok(())
}
