//! `kiln store`: verification and size of the store.

use crate::arguments::{GlobalArguments, StoreCommand};
use crate::error::{Class, Failure};
use crate::progress::size;
use crate::session::Session;

pub fn run(global: &GlobalArguments, command: &StoreCommand) -> Result<(), Failure> {
    let session = Session::open(global)?;
    match command {
        StoreCommand::Verify => verify(&session),
        StoreCommand::Info => info(&session),
    }
}

fn verify(session: &Session) -> Result<(), Failure> {
    let report = session.store.verify(&mut |_| {})?;
    crate::output::say!(
        "{} blobs, {} layers ({} not captured yet), {} names checked",
        report.blobs,
        report.layers,
        report.layers_unknown,
        report.names
    );
    for problem in &report.problems {
        crate::output::say!("{}: {}", problem.path.display(), problem.reason);
    }
    match report.problems.len() {
        0 => Ok(()),
        count => Err(
            Failure::new(Class::Store, format!("{count} problems found in the store"))
                .with_hint("remove what is named and build or pull it again"),
        ),
    }
}

fn info(session: &Session) -> Result<(), Failure> {
    let usage = session.store.usage()?;
    crate::output::say!("root          {}", session.store.root().display());
    let rows = [
        ("blobs", usage.blobs.bytes),
        ("layers", usage.layers.bytes),
        ("unfinished", usage.active.bytes),
        ("cache mounts", usage.cache_mounts.bytes),
        ("logs", usage.logs.bytes),
        ("indexes", usage.indexes.bytes),
        ("total", usage.total().bytes),
    ];
    for (name, bytes) in rows {
        crate::output::say!("{name:12}  {}", size(bytes));
    }
    Ok(())
}
