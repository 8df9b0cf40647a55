//! The services that end-to-end tests lean on: they start, work, and leave nothing behind.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_testdata::base::{BASE_HUB_NAME, BASE_NAME, BASE_TAG, base_image};
use kiln_testdata::command::stdout_of;
use kiln_testdata::distribution::Registry;
use kiln_testdata::docker::DockerEngine;
use kiln_testdata::keeper::Service;
use kiln_testdata::table::Kind;
use kiln_testdata::{image, needs};

#[test]
fn base_image_goes_through_the_registry_unchanged() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let registry = Registry::start();
    registry.copy_in(&base_image(), BASE_TAG, BASE_HUB_NAME);
    let reference = format!("docker://{}/{BASE_HUB_NAME}", registry.address());
    assert_eq!(
        image::config(&reference)["config"]["Cmd"],
        serde_json::json!(["bash"])
    );
    let table = image::root_file_system(&reference);
    assert_eq!(
        table[Path::new("bin")].kind,
        Kind::Symlink("usr/bin".into())
    );
    assert_eq!(table[Path::new("tmp")].mode, 0o1777);
}

#[test]
fn docker_engine_runs_the_base_image() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let (registry, docker) = (Registry::start(), DockerEngine::start());
    registry.copy_in(&base_image(), BASE_TAG, BASE_HUB_NAME);
    docker.pull_as(&format!("{}/library", registry.address()), BASE_NAME);
    let said = stdout_of(
        docker
            .client()
            .args(["run", "--rm", "--network=host", BASE_NAME])
            .args(["sh", "-c", "echo $((6 * 7))"]),
    );
    assert_eq!(said, "42\n");
}

#[test]
fn dropped_service_is_ended_and_its_directory_removed() {
    let service = Service::start("sleeper", sleeper, |directory| {
        directory.join("ready").exists()
    });
    let directory = service.directory().to_path_buf();
    let started = Instant::now();
    drop(service);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "the service was not ended"
    );
    assert!(!directory.exists());
}

fn sleeper(directory: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "touch \"$0/ready\"; exec sleep 60"])
        .arg(directory);
    command
}
