//! `kiln diff`: what two images differ in.

use crate::arguments::{DiffArguments, GlobalArguments};
use crate::error::{Class, Failure};
use crate::listing::size;
use crate::lookup;
use crate::progress::sanitized;
use crate::session::{Session, optional_platform};
use kiln_oci::Digest;
use kiln_transfer::diff::{
    AspectDifference, ConfigDifference, FileChange, FileDifference, ImageDifference,
    LayerDifference, LayerSide, diff,
};
use serde_json::{Value, json};

/// Ends with exit code 1 when the images differ, as `diff` does.
pub fn run(global: &GlobalArguments, arguments: &DiffArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let platform = optional_platform(arguments.platform.as_deref())?;
    let [first, second] = [&arguments.first, &arguments.second].map(|name| {
        let found = lookup::find(&session.store, name)?;
        let image = found.image(&session.store, platform.as_ref())?;
        super::load::unpack(&session, found.name.as_ref(), &image)?;
        // What has been unpacked has its layers now.
        found.image(&session.store, platform.as_ref())
    });
    let (first, second) = (first?, second?);
    let found = diff(&session.store, &first, &second)?;
    match (arguments.quiet, arguments.format.as_str()) {
        (true, _) => {}
        (false, "json") => crate::output::say!("{}", object(&found)),
        _ => crate::output::write(format_args!("{}", text(&found))),
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(Failure::silent(Class::Check)),
    }
}

/// Returns the difference as a JSON object.
pub fn object(found: &ImageDifference) -> Value {
    json!({
        "identical": found.is_empty(),
        "config": found.config,
        "layers": found.layers,
        "files": found.files,
    })
}

/// Returns the difference in lines for people; nothing when there is none.
pub fn text(found: &ImageDifference) -> String {
    let config = found.config.iter().map(config_line);
    let layers = found.layers.iter().map(layer_line);
    let files = found.files.iter().map(file_line);
    let mut text = String::new();
    for (title, lines) in [
        ("Configuration", config.collect::<Vec<_>>()),
        ("Layers", layers.collect()),
        ("Files", files.collect()),
    ] {
        if !lines.is_empty() {
            text.push_str(&format!("{title}:\n  {}\n", lines.join("\n  ")));
        }
    }
    text
}

fn config_line(one: &ConfigDifference) -> String {
    let path = sanitized(&one.path);
    match (&one.first, &one.second) {
        (Some(first), Some(second)) => format!("~ {path}: {first} -> {second}"),
        (Some(first), None) => format!("- {path}: {first}"),
        (None, Some(second)) => format!("+ {path}: {second}"),
        (None, None) => path,
    }
}

fn layer_line(one: &LayerDifference) -> String {
    let number = one.index + 1;
    match (&one.first, &one.second) {
        (Some(first), Some(second)) => {
            let (first_digest, second_digest) = (short(&first.diff_id), short(&second.diff_id));
            let said = [first, second].map(said);
            match said[0] == said[1] {
                true => format!("~ {number}: {first_digest} -> {second_digest}{}", said[0]),
                false => format!(
                    "~ {number}: {first_digest}{} -> {second_digest}{}",
                    said[0], said[1]
                ),
            }
        }
        (Some(first), None) => format!("- {number}: {}{}", short(&first.diff_id), said(first)),
        (None, Some(second)) => format!("+ {number}: {}{}", short(&second.diff_id), said(second)),
        (None, None) => number.to_string(),
    }
}

fn said(side: &LayerSide) -> String {
    const LONGEST: usize = 60;
    let Some(said) = &side.created_by else {
        return String::new();
    };
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = said.chars().take(LONGEST).collect();
    if short.len() < said.len() {
        short.push('…');
    }
    format!(" ({})", sanitized(&short))
}

fn short(digest: &Digest) -> String {
    lookup::short(digest)
}

fn file_line(one: &FileDifference) -> String {
    let path = format!("/{}", one.path.display());
    let path = sanitized(&path);
    match &one.change {
        FileChange::Added { kind, size } => format!("+ {path} ({})", described(kind, *size)),
        FileChange::Removed { kind, size } => format!("- {path} ({})", described(kind, *size)),
        FileChange::Changed { aspects } => {
            let aspects: Vec<_> = aspects.iter().map(aspect).collect();
            format!("~ {path}: {}", aspects.join(", "))
        }
    }
}

fn described(kind: &str, bytes: u64) -> String {
    match kind {
        "regular file" => size(bytes),
        _ => kind.to_owned(),
    }
}

fn aspect(one: &AspectDifference) -> String {
    let (aspect, first, second) = (&one.aspect, &one.first, &one.second);
    let line = match first.is_empty() {
        true => format!("{aspect} {second}"),
        false => format!("{aspect} {first} -> {second}"),
    };
    sanitized(&line)
}
