//! `kiln store`: verification and size of the store.

use crate::arguments::{GlobalArguments, StoreCommand};
use crate::error::{Class, Failure};
use crate::listing::{Columns, list};
use crate::progress::size;
use crate::session::Session;
use kiln_engine::disk::{Damage, Problem, Remedy, Report};
use serde_json::{Value, json};

pub fn run(global: &GlobalArguments, command: &StoreCommand) -> Result<(), Failure> {
    let session = Session::open(global)?;
    match command {
        StoreCommand::Verify {
            repair: false,
            format,
        } => verify(&session, format),
        StoreCommand::Verify {
            repair: true,
            format,
        } => repair(&session, format),
        StoreCommand::Info { format } => info(&session, format),
    }
}

fn verify(session: &Session, format: &str) -> Result<(), Failure> {
    let report = session.store.verify(&mut |_| {})?;
    if is_text(format) {
        tell(&report);
        for problem in &report.problems {
            crate::output::say!("{problem}");
        }
    } else {
        let problems = report.problems.iter();
        print_object(
            format,
            &report,
            problems.map(|one| described(one, None)).collect(),
        )?;
    }
    match report.problems.len() {
        0 => Ok(()),
        count => Err(
            Failure::new(Class::Store, format!("{count} problems found in the store"))
                .with_hint("`kiln store verify --repair` sets aside what is named"),
        ),
    }
}

fn repair(session: &Session, format: &str) -> Result<(), Failure> {
    let repaired = session.store.repair(&mut |_| {})?;
    if is_text(format) {
        for (problem, remedy) in &repaired.remedies {
            let done = match remedy {
                Remedy::SetAside(path) => format!("set aside as {}", path.display()),
                Remedy::Gone => "gone by now".to_owned(),
                Remedy::InUse => "in use by another process".to_owned(),
            };
            crate::output::say!("{problem}: {done}");
        }
        tell(&repaired.report);
    } else {
        let problems = repaired.remedies.iter();
        let problems = problems.map(|(problem, remedy)| described(problem, Some(remedy)));
        print_object(format, &repaired.report, problems.collect())?;
    }
    match repaired.report.problems.len() {
        0 => Ok(()),
        count => {
            let text = format!("{count} problems are left in the store");
            let hint = "let what uses the store come to its end, and repair it again";
            Err(Failure::new(Class::Store, text).with_hint(hint))
        }
    }
}

fn is_text(format: &str) -> bool {
    matches!(format, "text" | "table")
}

/// Prints one object as `format` says.
fn print_as(format: &str, object: Value) -> Result<(), Failure> {
    let columns = Columns {
        known: &[],
        usual: Vec::new(),
    };
    let text = list(Some(format), &columns, &[object])?;
    crate::output::write(format_args!("{text}"));
    Ok(())
}

/// Prints a report and its problems as one object.
fn print_object(format: &str, report: &Report, problems: Vec<Value>) -> Result<(), Failure> {
    let object = json!({
        "blobs": report.blobs,
        "layers": report.layers,
        "layers_unknown": report.layers_unknown,
        "names": report.names,
        "problems": problems,
    });
    print_as(format, object)
}

fn described(problem: &Problem, remedy: Option<&Remedy>) -> Value {
    let kind = match &problem.damage {
        Damage::Blob => "blob",
        Damage::Layer(_) => "layer",
        Damage::File => "file",
    };
    let mut object = json!({"kind": kind, "path": problem.path, "reason": problem.reason});
    match remedy {
        Some(Remedy::SetAside(path)) => {
            object["remedy"] = "set aside".into();
            object["set_aside_as"] = path.to_string_lossy().into();
        }
        Some(Remedy::Gone) => object["remedy"] = "gone".into(),
        Some(Remedy::InUse) => object["remedy"] = "in use".into(),
        None => {}
    }
    object
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
    let images = crate::lookup::sound_images(store)?.len();
    let rows = [
        ("blobs", usage.blobs.bytes),
        ("layers", usage.layers.bytes),
        ("unfinished", usage.active.bytes),
        ("cache mounts", usage.cache_mounts.bytes),
        ("logs", usage.logs.bytes),
        ("indexes", usage.indexes.bytes),
        ("total", usage.total().bytes),
    ];
    if is_text(format) {
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
    print_as(format, object)
}
