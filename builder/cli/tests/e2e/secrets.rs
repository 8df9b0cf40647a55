//! Secrets and agents reach the step that asks for them, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kiln_testdata::needs::{self, Need};

use crate::harness::{Kiln, Ran};

const NEEDS: &[Need] = &[
    Need::Program("docker-registry"),
    Need::Program("skopeo"),
    Need::Program("ssh-agent"),
];

const VALUE: &str = "correct-horse-battery-staple";

/// What base64 makes of the value, less what depends on what stands around it.
const ENCODED: &str = "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBs";

const DOCKERFILE: &str = "FROM debian:bookworm\n\
    RUN --mount=type=secret,id=file,mode=0440,uid=7,gid=8 \\\n\
        --mount=type=secret,id=variable,env=TOKEN \\\n\
        --mount=type=secret,id=file,target=/etc/passwd \\\n\
        stat -c 'is %a %u %g' /run/secrets/file && stat -f -c 'on %T' /run/secrets/file && \\\n\
        cat /run/secrets/file && stat -c 'plain %a %u %g' /etc/passwd && cat /etc/passwd && echo value: $TOKEN >&2 && \\\n\
        for c in $(echo $TOKEN | sed 's/./& /g'); do printf %s $c; sleep 0.01; done && \\\n\
        base64 /run/secrets/file && ! sh -c 'echo x > /run/secrets/file' && \\\n\
        cat /proc/1/cmdline && echo length ${#TOKEN} > /length\n\
    RUN test ! -e /run/secrets && ! grep -r correct-horse /run /etc /proc/self/environ && \\\n\
        grep -q ^root: /etc/passwd && cat /length && false || echo nothing is left\n";

fn build(kiln: &Kiln, mode: &str, arguments: &[&str]) -> Ran {
    fs::write(kiln.path("secret"), format!("{VALUE}\n")).unwrap();
    let file = format!("--secret=id=file,src={}", kiln.path("secret").display());
    let mut command = kiln.command_with_mirror();
    command
        .env("THE_TOKEN", VALUE)
        .args(["build", mode, &file, "--secret=id=variable,env=THE_TOKEN"])
        .args(arguments)
        .arg(kiln.context(DOCKERFILE));
    Ran::from(command)
}

#[test]
fn secret_is_in_nothing_that_a_build_leaves_or_says() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    let path = |name: &str| kiln.path(name).display().to_string();
    let cache = format!("--cache-to=type=local,dest={},mode=max", path("cache"));
    let archive = format!("--output=type=oci,dest={}", path("image.tar"));
    let metadata = format!("--metadata-file={}", path("metadata"));
    let arguments = ["-t", "example", &cache, &archive, &metadata, "--explain"];
    let ran = build(&kiln, "--progress=plain", &arguments).succeeded();
    for part in [
        "is 440 7 8",
        "plain 400 0 0",
        "on tmpfs",
        "value: ***",
        "nothing is left",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.description());
    }
    let mut said = vec![ran.stdout, ran.stderr];
    for mode in ["--progress=rawjson", "--progress=tty"] {
        let ran = build(&kiln, mode, &["--no-cache"]).succeeded();
        said.extend([ran.stdout, ran.stderr]);
    }
    said.push(kiln.run(&["explain"]));
    said.push(kiln.run(&["inspect", "example"]));
    for text in said {
        assert!(!text.contains(VALUE) && !text.contains(ENCODED), "{text}");
    }
    fs::remove_file(kiln.path("secret")).unwrap();
    assert_eq!(holders(&kiln.path("")), "");
    // The search itself finds what is there.
    fs::write(kiln.path("canary"), VALUE).unwrap();
    assert_eq!(holders(&kiln.path("")), "./canary\n");
}

#[test]
fn secret_from_a_pipe_is_read_once() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context(
        "FROM debian:bookworm\n\
         RUN --mount=type=secret,id=s wc -c < /run/secrets/s\n\
         RUN --mount=type=secret,id=s,env=S test ${#S} = 5\n",
    );
    let binary = crate::harness::binary().display().to_string();
    let script = format!(
        "'{binary}' build --secret id=s,src=<(printf 12345) '{}'",
        context.display()
    );
    let mut command = Command::new("bash");
    let with = kiln.command_with_mirror();
    for (name, value) in with.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.args(["-c", &script]);
    Ran::from(command).succeeded();
}

/// Returns the files below `directory` that hold the secret, compressed or not.
fn holders(directory: &Path) -> String {
    let script = "set -o pipefail; cd \"$1\"; grep -rlaF -e \"$2\" -e \"$3\" . ; \
        find . -type f | while read -r file; do \
            case $(head -c 2 \"$file\" | od -An -tx1) in \
                ' 1f 8b') program=gzip;; ' 28 b5') program=zstd;; *) continue;; \
            esac; \
            $program -dc <\"$file\" | grep -qaF -e \"$2\" -e \"$3\" && echo \"$file\"; \
        done; true";
    let mut command = Command::new("bash");
    command
        .args(["-c", script, "bash"])
        .arg(directory)
        .args([VALUE, ENCODED]);
    kiln_testdata::command::stdout_of(&mut command)
}

/// An agent with one key, until it is dropped.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(kiln: &Kiln) -> Agent {
        let (key, socket) = (kiln.path("key"), kiln.path("agent"));
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "the-only-key", "-f"]);
        kiln_testdata::command::stdout_of(keygen.arg(&key));
        let mut process = Command::new("ssh-agent");
        let process = process
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null());
        let agent = Agent {
            process: process.spawn().unwrap(),
            socket,
        };
        for _ in 0..500 {
            if agent.socket.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let mut add = agent.command("ssh-add");
        kiln_testdata::command::stdout_of(add.arg(&key).stderr(Stdio::null()));
        agent
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SSH_AUTH_SOCK", &self.socket);
        command
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks the agent for its keys (11) and to forget them all (19), as user 33 and as root.
const ASKING: &str = r#"
use Socket;
sub ask {
    socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die;
    connect($s, sockaddr_un($ENV{SSH_AUTH_SOCK})) or return "refused";
    syswrite($s, pack("NC", 1, $_[0]));
    sysread($s, my $head, 5);
    my ($length, $kind) = unpack("NC", $head);
    sysread($s, my $rest, $length - 1) if $length > 1;
    return "kind $kind" . (defined $rest && $rest =~ /the-only-key/ ? " with the key" : "");
}
print "list ", ask(11), ", forget ", ask(19), "\n";
"#;

#[test]
fn agent_answers_whom_the_step_says_and_only_in_the_step() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    let agent = Agent::start(&kiln);
    let context = kiln.context(
        "FROM debian:bookworm\n\
         COPY --chmod=755 asking.pl /asking.pl\n\
         RUN --mount=type=ssh,uid=33,gid=33,mode=0600 --mount=type=ssh,target=/root-only \\\n\
             stat -c '%F %a %u %g' $SSH_AUTH_SOCK /root-only && \\\n\
             perl /asking.pl && \\\n\
             setpriv --reuid=33 --regid=33 --clear-groups perl /asking.pl && \\\n\
             export SSH_AUTH_SOCK=/root-only && perl /asking.pl && \\\n\
             setpriv --reuid=33 --regid=33 --clear-groups perl /asking.pl\n\
         RUN test ! -e /root-only && test ! -e /run/buildkit && test -z \"$SSH_AUTH_SOCK\"\n",
    );
    fs::write(context.join("asking.pl"), ASKING).unwrap();
    let ssh = format!("default={}", agent.socket.display());
    for users in ["--userns=host", "--userns=auto"] {
        let ran = kiln.build(&context, &["--ssh", &ssh, "--no-cache", users]);
        let lines: Vec<&str> = ran
            .stderr
            .lines()
            .filter_map(|line| line.splitn(3, ' ').nth(2))
            .filter(|line| line.starts_with("list") || line.starts_with("socket"))
            .collect();
        let answered = "list kind 12 with the key, forget kind 5";
        let expected = [
            "socket 600 33 33",
            "socket 600 0 0",
            answered,
            answered,
            answered,
            "list refused, forget refused",
        ];
        assert_eq!(lines, expected, "{}", ran.description());
    }
    let keys = kiln_testdata::command::stdout_of(agent.command("ssh-add").arg("-l"));
    assert!(keys.contains("the-only-key"), "{keys}");
    // Sockets go with their step.
    let find = Command::new("find")
        .arg(kiln.root())
        .args(["-type", "s"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&find.stdout), "");
}
