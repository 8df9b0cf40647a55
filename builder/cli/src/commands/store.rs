//! `kiln store`: verification and size of the store.

use crate::arguments::{GlobalArguments, StoreCommand};
use crate::error::{Class, Failure};
use crate::listing::{Columns, list};
use crate::progress::size;
use crate::session::Session;
use kiln_engine::disk::{Remedy, Report};
use serde_json::json;

pub fn run(global: &GlobalArguments, command: &StoreCommand) -> Result<(), Failure> {
    let session = Session::open(global)?;
    match command {
        StoreCommand::Verify { repair: false } => verify(&session),
        StoreCommand::Verify { repair: true } => repair(&session),
        StoreCommand::Info { format } => info(&session, format),
    }
}

fn verify(session: &Session) -> Result<(), Failure> {
    let report = session.store.verify(&mut |_| {})?;
    tell(&report);
    for problem in &report.problems {
        crate::output::say!("{problem}");
    }
    match report.problems.len() {
        0 => Ok(()),
        count => Err(
            Failure::new(Class::Store, format!("{count} problems found in the store"))
                .with_hint("`kiln store verify --repair` sets aside what is named"),
        ),
    }
}

fn repair(session: &Session) -> Result<(), Failure> {
    let repaired = session.store.repair(&mut |_| {})?;
    for (problem, remedy) in &repaired.remedies {
        let done = match remedy {
            Remedy::SetAside(path) => format!("set aside as {}", path.display()),
            Remedy::Gone => "gone by now".to_owned(),
            Remedy::InUse => "in use by another process".to_owned(),
        };
        crate::output::say!("{problem}: {done}");
    }
    tell(&repaired.report);
    match repaired.report.problems.len() {
        0 => Ok(()),
        count => {
            let text = format!("{count} problems are left in the store");
            let hint = "let what uses the store come to its end, and repair it again";
            Err(Failure::new(Class::Store, text).with_hint(hint))
        }
    }
}

fn tell(report: &Report) {
    crate::output::say!(
        "{} blobs, {} layers ({} more for the first time), {} names checked",
        report.blobs,
        report.layers,
        report.layers_unknown,
        report.names
    );
}

fn info(session: &Session, format: &str) -> Result<(), Failure> {
    let store = &session.store;
    let usage = store.usage()?;
    let images = store.images().list()?.len();
    let rows = [
        ("blobs", usage.blobs.bytes),
        ("layers", usage.layers.bytes),
        ("unfinished", usage.active.bytes),
        ("cache mounts", usage.cache_mounts.bytes),
        ("logs", usage.logs.bytes),
        ("indexes", usage.indexes.bytes),
        ("total", usage.total().bytes),
    ];
    if matches!(format, "text" | "table") {
        crate::output::say!("root          {}", store.root().display());
        crate::output::say!("images        {images}");
        for (name, bytes) in rows {
            crate::output::say!("{name:12}  {}", size(bytes));
        }
        return Ok(());
    }
    let mut object = json!({"root": store.root(), "images": images});
    for (name, bytes) in rows {
        object[format!("{}_bytes", name.replace(' ', "_"))] = bytes.into();
    }
    let columns = Columns {
        known: &[],
        usual: Vec::new(),
    };
    let text = list(Some(format), &columns, &[object])?;
    crate::output::write(format_args!("{text}"));
    Ok(())
}
