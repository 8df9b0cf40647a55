//! Private networks, between machines that are network namespaces made for the test: one that
//! builds, and one behind it that stands for all others.
//!
//! This program starts itself again for each of them. As root a private network is led out by
//! interfaces and nftables, as a user by programs, which root can use too.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use kiln_sandbox::Cancellation;
use kiln_sandbox::runspec::{
    MountKind, MountSpec, NetworkSpec, ResolvedUser, Root, SecurityMode, Users,
};
use kiln_sandbox::user_namespace::enter_if_unprivileged;

use crate::Case;
use crate::fixture::{self, Fixture};

pub const CASES: &[Case] = &[
    (
        "private_network_leads_out_by_translation",
        leads_out_by_translation,
    ),
    (
        "private_network_leads_out_through_a_firewall_that_drops",
        leads_out_through_a_firewall,
    ),
    ("private_network_leads_out_by_pasta", || {
        in_a_machine("pasta")
    }),
    ("private_network_leads_out_by_slirp4netns", || {
        in_a_machine("slirp4netns")
    }),
    ("private_network_of_a_user_leads_out_by_pasta", || {
        in_a_machine("user-pasta")
    }),
    ("private_network_of_a_user_leads_out_by_slirp4netns", || {
        in_a_machine("user-slirp4netns")
    }),
    (
        "killed_process_leaves_no_network_behind",
        killed_process_leaves_nothing,
    ),
];

/// Environment variable that says what part this process plays.
pub const MARK: &str = "KILN_SANDBOX_NETWORK";

const PROGRAMS: [&str; 7] = [
    "ip",
    "nft",
    "iptables",
    "pasta",
    "slirp4netns",
    "unshare",
    "setpriv",
];

const MACHINE: &str = "203.0.113.2";
const OUTSIDE: &str = "203.0.113.1";
/// Of a server on the loopback of the machine alone, and of one on all its addresses.
const LOOPBACK_PORT: u16 = 8081;
const OPEN_PORT: u16 = 8082;

fn leads_out_by_translation() {
    in_a_machine("translation");
}

fn leads_out_through_a_firewall() {
    in_a_machine("firewall");
}

fn killed_process_leaves_nothing() {
    in_a_machine("killed");
}

/// Starts this program in a network and mounts of its own.
fn in_a_machine(part: &str) {
    if let Some(missing) = PROGRAMS.iter().find(|program| !is_installed(program)) {
        fixture::skip(&format!("{missing} is missing"));
        return;
    }
    let program = std::env::current_exe().expect("this program");
    // Who is killed removes nothing: its directories go with this one.
    let temporary = tempfile::Builder::new()
        .prefix("kiln-sandbox-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a directory");
    let output = Command::new("unshare")
        .args(["--net", "--mount"])
        .arg(program)
        .env(MARK, part)
        .env("TMPDIR", temporary.path())
        .output()
        .expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("machine: done"), "{text}{errors}");
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

/// Plays a part to its end.
pub fn play(part: &str) -> ! {
    match part {
        "outside" => serve_outside(),
        "builder" => run_for_long(),
        "user" => {
            enter_if_unprivileged().expect("a user namespace");
            check(&Fixture::new(), Way::Program);
        }
        part => as_machine(part),
    }
    println!("machine: done");
    std::process::exit(0)
}

fn as_machine(part: &str) {
    let _outside = Outside::connect();
    let servers = [
        (Ipv4Addr::LOCALHOST, LOOPBACK_PORT),
        (Ipv4Addr::UNSPECIFIED, OPEN_PORT),
    ];
    for place in servers {
        let listener = TcpListener::bind(place).expect("a server of the machine");
        std::thread::spawn(move || answer_connections(&listener, "machine"));
    }
    let names = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 53), 53)).expect("a name server");
    std::thread::spawn(move || answer_names(&names));
    let before = traces();
    match part {
        "translation" => translation(),
        "firewall" => {
            run("iptables", &["-P", "FORWARD", "DROP"]);
            let before = traces();
            translation();
            assert_eq!(traces(), before);
            return;
        }
        "killed" => killed(),
        program => {
            fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("the setting");
            if program.ends_with("slirp4netns") {
                hide("pasta");
            }
            match program.starts_with("user-") {
                true => as_user(),
                false => check(&Fixture::new(), Way::Program),
            }
        }
    }
    assert_eq!(traces(), before);
}

fn translation() {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("the setting");
    // As on hosts whose loopback takes packets from elsewhere.
    fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").expect("the setting");
    let own_resolver = [
        ("nameserver 203.0.113.1\n", "nameserver 203.0.113.1\n"),
        ("nameserver 127.0.0.53\n", "nameserver 127.0.0.11\n"),
    ];
    for (host, expected) in own_resolver {
        resolve_by(host);
        let fixture = Fixture::new();
        let facts = fixture.sandbox.private_network().expect("a network");
        assert_eq!(facts.resolv_conf, expected);
        assert_eq!(facts.host_gateway, Some(Ipv4Addr::new(10, 206, 0, 1)));
        check(&fixture, Way::Translation);
    }
    with_own_users();
    several_at_once();
}

fn with_own_users() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("wget -q -O- http://203.0.113.1/; ls /sys/class/net");
    spec.network = NetworkSpec::Private;
    spec.confinement.users = Users::Own {
        start: 1 << 30,
        count: 65_536,
    };
    let expected = format!("outside {MACHINE}\neth0\nlo\n");
    assert_eq!(fixture.run_spec(&spec).succeeded(), expected);
}

/// Runs at one time have networks of their own, and an insecure one leaves none to others.
fn several_at_once() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("shared")).expect("a directory");
    // Each ends when all have begun.
    let script = "ip -4 -o addr show dev eth0 | grep -o 'inet [0-9.]*'
        touch /shared/$NUMBER; while test $(ls /shared | wc -l) -lt 3; do sleep 0.1; done";
    let addresses: Vec<String> = std::thread::scope(|scope| {
        let begin = |number: usize| {
            let mut spec = fixture.spec(script);
            spec.environment.push(format!("NUMBER={number}"));
            spec.mounts = vec![MountSpec {
                target: "/shared".to_owned(),
                kind: MountKind::Bind {
                    source: fixture.path("shared"),
                    subpath: String::new(),
                    read_only: false,
                },
            }];
            spec.network = NetworkSpec::Private;
            spec.cgroup_name = format!("{}-{number}", spec.cgroup_name);
            if let Root::Overlay { upper, work, .. } = &mut spec.root {
                for directory in [upper, work] {
                    directory.push(number.to_string());
                    fs::create_dir(directory).expect("a directory");
                }
            }
            let sandbox = &fixture.sandbox;
            scope.spawn(move || {
                let cancellation = Cancellation::new().expect("a cancellation");
                let mut text = Vec::new();
                let output = |_, bytes: &[u8]| text.extend_from_slice(bytes);
                sandbox.run(&spec, output, &cancellation).expect("a run");
                String::from_utf8_lossy(&text).into_owned()
            })
        };
        let begun: Vec<_> = (0..3).map(begin).collect();
        let ended = begun.into_iter().map(|run| run.join().expect("a run"));
        ended.collect()
    });
    assert!(
        addresses
            .iter()
            .all(|address| address.starts_with("inet 10.206."))
    );
    assert_ne!(addresses[0], addresses[1]);
    assert_ne!(addresses[1], addresses[2]);
    assert_ne!(addresses[0], addresses[2]);
    let count = "ip -o link | wc -l";
    let mut spec = fixture.spec(&format!("ip link add x type dummy; {count}"));
    spec.network = NetworkSpec::Private;
    spec.security = SecurityMode::Insecure;
    let changed = fixture.run_spec(&spec).succeeded().to_owned();
    let mut spec = fixture.spec(count);
    spec.network = NetworkSpec::Private;
    assert_eq!(
        fixture.run_spec(&spec).succeeded(),
        "2\n",
        "before {changed}"
    );
}

/// How a private network leads out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Translation,
    Program,
}

fn check(fixture: &Fixture, way: Way) {
    let facts = fixture.sandbox.private_network().expect("a network");
    let script = format!(
        "wget -q -O- http://{OUTSIDE}/
        nslookup -type=a name.test | grep -c 'Address.*{OUTSIDE}$'
        ls /sys/class/net
        for port in {LOOPBACK_PORT} {OPEN_PORT}; do nc -w 1 127.0.0.1 $port </dev/null && echo reached; done
        echo -n x | nc -l -p 99 >/dev/null & sleep 0.1; kill $! && echo port
        echo ended"
    );
    let users = match fixture.sandbox.host().rung.is_user_namespace() {
        true => vec![0],
        false => vec![0, 1000],
    };
    for uid in users {
        let mut spec = fixture.spec(&script);
        spec.network = NetworkSpec::Private;
        spec.resolv_conf.clone_from(&facts.resolv_conf);
        spec.user = ResolvedUser {
            uid,
            gid: uid,
            groups: Vec::new(),
        };
        let ran = fixture.run_spec(&spec);
        let expected = format!("outside {MACHINE}\n1\neth0\nlo\nport\nended\n");
        assert_eq!(ran.succeeded(), expected, "{}", ran.stderr);
    }
    match facts.host_gateway {
        Some(gateway) => the_host_is_reached(fixture, gateway),
        None => assert!(way == Way::Program),
    }
}

/// By an address of its own, and not at its loopback.
fn the_host_is_reached(fixture: &Fixture, gateway: Ipv4Addr) {
    let script = format!(
        "echo x | nc -w 2 {gateway} {OPEN_PORT}; nc -w 1 {gateway} {LOOPBACK_PORT} </dev/null; echo $?
        ip route | grep -c '^default via {gateway} '"
    );
    let mut spec = fixture.spec(&script);
    spec.network = NetworkSpec::Private;
    let ran = fixture.run_spec(&spec);
    let text = ran.succeeded();
    assert!(text.contains("machine 10.206."), "{text}");
    assert!(text.ends_with("\n1\n1\n"), "{text}");
}

/// A process that is killed takes its network along; what stays in others' tables goes at the
/// next run.
fn killed() {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("the setting");
    run("iptables", &["-P", "FORWARD", "DROP"]);
    let before = traces();
    for _ in 0..3 {
        let mut builder = Command::new(std::env::current_exe().expect("this program"))
            .env(MARK, "builder")
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut begun = [0; 6];
        let mut output = builder.stdout.take().expect("its output");
        output.read_exact(&mut begun).expect("the command began");
        assert_ne!(traces(), before);
        builder.kill().expect("killed");
        assert_eq!(builder.wait().expect("ended").signal(), Some(9));
    }
    // The kernel takes networks apart on its own time.
    let gone = (0..3000).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        !run("ip", &["-o", "link"]).contains("kiln")
    });
    assert!(gone, "{}", run("ip", &["-o", "link"]));
    let rules = run("nft", &["list", "tables"]);
    assert!(!rules.contains("kiln"), "{rules}");
    let fixture = Fixture::new();
    fixture.sandbox.private_network().expect("a network");
    drop(fixture);
    assert_eq!(traces(), before);
    run("iptables", &["-P", "FORWARD", "ACCEPT"]);
    run("nft", &["flush", "ruleset"]);
}

fn run_for_long() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec("echo begun; sleep 100");
    spec.network = NetworkSpec::Private;
    let cancellation = Cancellation::new().expect("a cancellation");
    let output = |_, bytes: &[u8]| {
        let _ = std::io::stdout().write_all(bytes);
    };
    let _ = fixture.sandbox.run(&spec, output, &cancellation);
}

/// Runs the check as a user with one id.
fn as_user() {
    share_tunnels();
    let directory = tempfile::Builder::new()
        .prefix("kiln-sandbox-program-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a directory");
    let program = directory.path().join("test");
    fs::copy("/proc/self/exe", &program).expect("a copy of this test");
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .env(MARK, "user")
        .env("TMPDIR", "/tmp")
        .output()
        .expect("setpriv");
    succeeded("the user's part", &output);
}

/// Everything that a private network could leave in this machine.
fn traces() -> String {
    let links = run("ip", &["-o", "link"]);
    // Numbers of interfaces and settings of queues aside.
    let names = links.lines().filter_map(|line| line.split(": ").nth(1));
    let mut text = names.collect::<Vec<_>>().join(" ");
    for (program, arguments) in [
        ("ip", vec!["-4", "-o", "addr"]),
        ("ip", vec!["route"]),
        ("nft", vec!["list", "ruleset"]),
    ] {
        text.push('\n');
        // An interface takes a moment to notice that its other side is up.
        text.push_str(&run(program, &arguments).replace("linkdown ", ""));
    }
    text
}

/// The machine behind the one that builds.
struct Outside {
    child: Child,
    _ends_with_this: ChildStdin,
}

impl Outside {
    fn connect() -> Self {
        let mut child = Command::new("unshare")
            .arg("--net")
            .arg(std::env::current_exe().expect("this program"))
            .env(MARK, "outside")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the outside");
        let mut ready = [0; 6];
        let mut output = child.stdout.take().expect("its output");
        output.read_exact(&mut ready).expect("the outside is ready");
        let process = child.id().to_string();
        let there = |arguments: &[&str]| {
            let enter = ["--target", &process, "--net", "ip"];
            run("nsenter", &[&enter, arguments].concat());
        };
        run("ip", &["link", "set", "lo", "up"]);
        let peer = ["peer", "name", "eth0", "netns", &process];
        let pair = ["link", "add", "out0", "type", "veth"];
        run("ip", &[&pair[..], &peer].concat());
        run("ip", &["addr", "add", "203.0.113.2/24", "dev", "out0"]);
        run("ip", &["link", "set", "out0", "up"]);
        there(&["addr", "add", "203.0.113.1/24", "dev", "eth0"]);
        there(&["link", "set", "eth0", "up"]);
        run("ip", &["route", "add", "default", "via", OUTSIDE]);
        resolve_by("nameserver 203.0.113.1\n");
        Outside {
            _ends_with_this: child.stdin.take().expect("its input"),
            child,
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve_outside() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).expect("a server");
    let names = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).expect("a name server");
    std::thread::spawn(move || answer_connections(&listener, "outside"));
    std::thread::spawn(move || answer_names(&names));
    println!("ready");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Tells everybody their address.
fn answer_connections(listener: &TcpListener, who: &str) {
    for mut stream in listener.incoming().flatten() {
        let peer = stream.peer_addr().map(|address| address.ip().to_string());
        let _ = stream.read(&mut [0; 1024]);
        let text = format!("{who} {}\n", peer.unwrap_or_default());
        let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n";
        let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{text}", text.len());
    }
}

/// Every name means the outside.
fn answer_names(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((count, from)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&answer(&buffer[..count]), from as SocketAddr);
    }
}

/// The question, said to be an answer, with one record of the name at its begin.
fn answer(question: &[u8]) -> Vec<u8> {
    let end = 12
        + question[12..]
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(0)
        + 5;
    let mut answer = question[..end.min(question.len())].to_vec();
    answer[2] = 0x81;
    answer[3] = 0x80;
    answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 1]);
    answer
}

/// Has this machine ask others for names, as `text` says.
fn resolve_by(text: &str) {
    const CONFIGURATION: &str = "/etc/resolv.conf";
    static IS_OURS: std::sync::Once = std::sync::Once::new();
    IS_OURS.call_once(|| hide_by(CONFIGURATION, |path| fs::write(path, "").expect("a file")));
    fs::write(CONFIGURATION, text).expect("written");
}

/// Lets every user open tunnels, as on most machines.
fn share_tunnels() {
    hide_by("/dev/net/tun", |path| {
        run(
            "mknod",
            &["-m", "666", &path.to_string_lossy(), "c", "10", "200"],
        );
    });
}

/// Hides a file by one that `make` makes, in this machine alone.
fn hide_by(hidden: &str, make: impl FnOnce(&Path)) {
    let directory = tempfile::tempdir_in("/run").expect("a directory");
    let file = directory.path().join("file");
    make(&file);
    run("mount", &["--bind", &file.to_string_lossy(), hidden]);
}

/// Keeps a program from being found.
fn hide(name: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for directory in std::env::split_paths(&path) {
        let program = directory.join(name);
        if program.exists() {
            run(
                "mount",
                &["--bind", "/dev/null", &program.to_string_lossy()],
            );
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    succeeded(&format!("{program} {arguments:?}"), &output)
}

fn succeeded(what: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {text}{errors}");
    text
}
