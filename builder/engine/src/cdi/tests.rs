use super::*;

const JSON: &str = r#"{
  "cdiVersion": "0.6.0",
  "kind": "vendor.com/gpu",
  "devices": [
    {"name": "b", "containerEdits": {"env": ["B=1"]}},
    {"name": "a", "containerEdits": {
      "env": ["A=1"],
      "deviceNodes": [{"path": "/dev/gpu", "hostPath": "/dev/null", "permissions": "rw"}],
      "mounts": [{"hostPath": "/usr/lib", "containerPath": "/lib/gpu", "options": ["ro", "bind"]}],
      "additionalGids": [44]
    }}
  ],
  "containerEdits": {"env": ["ALL=1"]}
}"#;

const YAML: &str = "cdiVersion: 0.6.0
kind: other.com/net
devices:
- name: x
  annotations:
    org.mobyproject.buildkit.device.class: fast
  containerEdits:
    env: [X=1]
- name: hooked
  containerEdits:
    hooks:
    - hookName: createContainer
      path: /bin/true
- name: file
  containerEdits:
    deviceNodes:
    - path: /etc/passwd
";

fn devices(files: &[(&str, &str)]) -> (tempfile::TempDir, Devices) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let named = ["etc", "run", "absent"].map(|name| directory.path().join(name));
    let devices = Devices::read(&named);
    (directory, devices)
}

fn variables(files: &[(&str, &str)], name: &str) -> Result<Vec<String>, String> {
    let edits = devices(files).1.edits(name);
    let edits = edits.map_err(|error| error.to_string())?;
    let names = edits.environment.into_iter().map(|(name, _)| name);
    Ok(names.collect())
}

#[test]
fn names_mean_one_device_the_first_all_or_those_of_a_class() {
    let files = [("etc/gpu.json", JSON), ("etc/net.yaml", YAML)];
    for (name, expected) in [
        ("vendor.com/gpu=b", vec!["B", "ALL"]),
        ("vendor.com/gpu", vec!["A", "ALL"]),
        ("vendor.com/gpu=*", vec!["A", "B", "ALL"]),
        ("fast", vec!["X"]),
    ] {
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(variables(&files, name), Ok(expected), "{name}");
    }
}

#[test]
fn device_brings_nodes_files_and_groups() {
    let edits = devices(&[("etc/gpu.json", JSON)])
        .1
        .edits("vendor.com/gpu=a");
    let expected = Edits {
        environment: vec![("A".into(), "1".into()), ("ALL".into(), "1".into())],
        nodes: vec![("/dev/gpu".into(), "/dev/null".into())],
        mounts: vec![BindMount {
            source: "/usr/lib".into(),
            target: "/lib/gpu".into(),
            read_only: true,
        }],
        groups: vec![44],
    };
    assert_eq!(edits.unwrap(), expected);
}

#[test]
fn later_directory_takes_the_place_of_an_earlier_one() {
    let later = JSON.replace("A=1", "LATER=1");
    let files = [("etc/gpu.json", JSON), ("run/gpu.json", later.as_str())];
    let expected = vec!["LATER".to_owned(), "ALL".to_owned()];
    assert_eq!(variables(&files, "vendor.com/gpu=a"), Ok(expected));
}

#[test]
fn what_cannot_be_had_is_told_with_its_reason() {
    let files = [("etc/gpu.json", JSON), ("etc/net.yaml", YAML)];
    for (name, expected) in [
        (
            "vendor.com/gpu=c",
            "no device `vendor.com/gpu=c` is described in ",
        ),
        ("slow", "no device `slow` is described in "),
        (
            "other.com/net=hooked",
            "device `other.com/net=hooked` needs a program that runs beside the command (a hook)",
        ),
        (
            "other.com/net=file",
            "/etc/passwd of device `other.com/net=file` is no device node",
        ),
    ] {
        let error = variables(&files, name).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn broken_description_matters_only_to_a_device_that_is_missed() {
    for (name, text) in [
        ("etc/a.json", "{"),
        ("etc/a.yaml", "kind: ["),
        ("etc/a.yml", "cdiVersion: 1\nkind: novendor\n"),
        (
            "etc/a.json",
            r#"{"cdiVersion": "9", "kind": "v/c", "containerEdits": {"new": 1}}"#,
        ),
    ] {
        let files = [("etc/gpu.json", JSON), (name, text)];
        assert!(variables(&files, "vendor.com/gpu=a").is_ok());
        let error = variables(&files, "v/c=a").unwrap_err();
        assert!(
            error.contains(name) && error.contains("malformed"),
            "{error}"
        );
    }
}
