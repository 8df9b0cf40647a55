//! Reading images back with tools that are not Kiln's: skopeo and umoci.
//!
//! Where an image lies is said in skopeo's words: `oci:DIR:TAG`, `oci-archive:FILE`,
//! `docker-archive:FILE`, `docker://HOST/NAME`.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use crate::command::stdout_of;
use crate::table::{Table, read_tree};

/// Returns the manifest of `image` as skopeo reads it, unchanged.
pub fn manifest(image: &str) -> Value {
    inspect(image, &["--raw"])
}

/// Returns the configuration of `image` as skopeo reads it, unchanged.
pub fn config(image: &str) -> Value {
    inspect(image, &["--config", "--raw"])
}

fn inspect(image: &str, flags: &[&str]) -> Value {
    let text = stdout_of(
        Command::new("skopeo")
            .args(["inspect", "--tls-verify=false"])
            .args(flags)
            .arg(image),
    );
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{image}: {error}: {text}"))
}

/// Returns the root file system of `image`, copied by skopeo and unpacked by umoci as root.
pub fn root_file_system(image: &str) -> Table {
    let work = tempfile::Builder::new()
        .prefix("kiln-testdata-unpack-")
        .tempdir()
        .expect("a dir");
    let layout = work.path().join("layout");
    stdout_of(
        Command::new("skopeo")
            .args(["copy", "--quiet", "--src-tls-verify=false", image])
            .arg(format!("oci:{}:image", layout.display())),
    );
    let root = work.path().join("root");
    stdout_of(
        Command::new("umoci")
            .args(["raw", "unpack", "--image"])
            .arg(format!("{}:image", layout.display()))
            .arg(&root),
    );
    read_tree(&root)
}

/// Returns the owners that an uncompressed layer gives `path`; nothing for other files.
pub fn owners_in_tar(layer: &Path, path: &str) -> Vec<(u32, u32)> {
    let file = std::fs::File::open(layer).expect("a layer");
    let mut archive = tar::Archive::new(file);
    let entries = archive
        .entries()
        .into_iter()
        .flatten()
        .map_while(Result::ok);
    entries
        .filter(|entry| entry.path().is_ok_and(|name| name == Path::new(path)))
        .filter_map(|entry| {
            let (uid, gid) = (entry.header().uid().ok()?, entry.header().gid().ok()?);
            Some((uid as u32, gid as u32))
        })
        .collect()
}

/// Returns the fields of a configuration that two builders must agree on.
///
/// Left out: times, digests of layers, and Docker's fields about the container that made the
/// image. An empty value and an absent one are the same thing.
pub fn comparable_config(config: &Value) -> Value {
    let mut fields = Map::new();
    for name in ["architecture", "os", "variant"] {
        fields.insert(name.into(), config[name].clone());
    }
    let container = config["config"].as_object().cloned().unwrap_or_default();
    let kept = container
        .into_iter()
        .filter(|(name, value)| !OF_THE_STEP.contains(&name.as_str()) && !is_empty(value));
    fields.insert("config".into(), Value::Object(kept.collect()));
    let history = config["history"].as_array().cloned().unwrap_or_default();
    fields.insert(
        "history".into(),
        history.iter().map(comparable_history).collect(),
    );
    fields.retain(|_, value| !is_empty(value));
    Value::Object(fields)
}

/// Fields that engines write about the container a step ran in, or for Windows alone.
const OF_THE_STEP: &[&str] = &[
    "Hostname",
    "Domainname",
    "Image",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "ArgsEscaped",
];

fn comparable_history(item: &Value) -> Value {
    let mut item = item.as_object().cloned().unwrap_or_default();
    item.remove("created");
    if let Some(Value::String(created_by)) = item.get_mut("created_by") {
        *created_by = comparable_created_by(created_by);
    }
    item.retain(|_, value| !is_empty(value));
    Value::Object(item)
}

/// Removes what BuildKit's versions write differently: the flags of COPY, which older ones
/// leave out, the ports of EXPOSE, and the fields of HEALTHCHECK, of which newer ones have more.
fn comparable_created_by(created_by: &str) -> String {
    if created_by.starts_with("HEALTHCHECK") {
        return "HEALTHCHECK".to_string();
    }
    if let Some(ports) = created_by.strip_prefix("EXPOSE map[") {
        return format!("EXPOSE [{}", ports.replace(":{}", ""));
    }
    let is_flag = |word: &&str| word.starts_with("--chown=") || word.starts_with("--chmod=");
    created_by
        .split(' ')
        .filter(|word| !is_flag(word))
        .collect::<Vec<_>>()
        .join(" ")
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(value) => value.is_empty(),
        Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn empty_fields_and_times_do_not_count() {
        let ours = json!({
            "created": "1970-01-01T00:00:00Z", "architecture": "amd64", "os": "linux",
            "config": {"Cmd": ["sh"]}, "history": [{"created_by": "CMD", "empty_layer": true}],
        });
        let theirs = json!({
            "created": "2020-02-02T00:00:00Z", "architecture": "amd64", "os": "linux",
            "config": {"Cmd": ["sh"], "Hostname": "", "Labels": null, "Tty": false},
            "history": [{"created": "2020-02-02T00:00:00Z", "created_by": "CMD", "empty_layer": true}],
        });
        assert_eq!(comparable_config(&ours), comparable_config(&theirs));
    }

    #[test]
    fn changed_command_counts() {
        let with_command = |command: &str| json!({"config": {"Cmd": [command]}});
        assert_ne!(
            comparable_config(&with_command("sh")),
            comparable_config(&with_command("bash"))
        );
    }
}
