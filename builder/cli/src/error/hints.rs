//! What helps, guessed from the words of a message: causes come from below, from the system and
//! from libraries, and know nothing of Kiln's options.

const LIMITS: &str = "if the image is one that you trust, raise the limit in the [limits] of \
                      Kiln's configuration";

const NOT_THERE: &str = "check the name and the tag (`kiln tags` lists those of a repository); a blob that \
                         its registry has lost must be pushed again";

const AT_FAULT: &str = "the registry, the image or something on the way is at fault: try again, or \
                        ask another with --registry-mirror";

const CUT_OFF: &str = "it is cut off, or was made wrongly: get it anew, or ask whoever made it";

/// Words of a message, and what to do then. The first that is said counts.
const HINTS: &[(&str, &str)] = &[
    ("archive has more than", LIMITS),
    ("content of the archive exceeds", LIMITS),
    ("are allowed", LIMITS),
    ("leads through more than", LIMITS),
    ("have more than", LIMITS),
    ("times as large as its blob", LIMITS),
    (
        "of an image is damaged",
        "`kiln store verify --repair` sets the damaged name aside; `kiln images --all` then lists \
         what it led to without a name, and `kiln tag` names it again",
    ),
    (
        "was damaged",
        "do it again: what was damaged is built or fetched anew",
    ),
    (
        "another digest than it says",
        "`kiln store verify --repair` sets aside what is damaged in the store",
    ),
    (
        "the archive of layer",
        "pull, load or build the image again that the layer is from: that brings the archive",
    ),
    (
        "cannot set the extended attributes",
        "the file system keeps fewer or smaller ones than these, or is full: XFS and btrfs keep \
         more",
    ),
    (
        "of which the kernel takes",
        "let one step do what several do, or begin with `FROM` an image of fewer layers and `COPY \
         --from` what is needed",
    ),
    (
        "cannot mount an overlay of",
        "the store was made for a file system that carries overlays, and this one does not: begin \
         another store with --root or KILN_ROOT; `kiln save` and `kiln load` take images along",
    ),
    (
        "No space left on device",
        "free space there; another store is named with --root or KILN_ROOT",
    ),
    (
        "Disk quota exceeded",
        "raise the quota, or use another store with --root",
    ),
    ("Too many open files", "raise the limit: ulimit -n 1024"),
    (
        "Permission denied",
        "look at the owner and the mode; another store is named with --root or KILN_ROOT",
    ),
    (
        "Read-only file system",
        "choose a directory that you may write, with --root or KILN_ROOT",
    ),
    (
        "is blocked by",
        "the file is one of the containers tools: other-tools = false in the [registries] of \
         Kiln's configuration leaves them out of account",
    ),
    (
        "no container engine answers",
        "start Docker, or Podman's socket (systemctl --user start podman.socket), or name the \
         socket with DOCKER_HOST; a file is written by --output type=docker,dest=FILE",
    ),
    (
        "no credentials are configured",
        "log in to the registry with `kiln login`",
    ),
    (
        "configured credentials were refused",
        "log in to the registry anew with `kiln login`",
    ),
    (
        "rate limited by",
        "try again later, log in for higher limits, or name a mirror with --registry-mirror",
    ),
    (
        "invalid peer certificate",
        "name the authority that signed it: certificates in Kiln's configuration, or a file \
         *.crt in /etc/containers/certs.d/HOST:PORT",
    ),
    (
        "Connection refused",
        "check that the server runs and that its address is right",
    ),
    (
        "cannot limit",
        "build without the limit, or where you may make control groups: as root or by \
         systemd-run --user --scope -p Delegate=yes",
    ),
    (
        "newer than the version",
        "use a newer kiln, or another store with --root or KILN_ROOT",
    ),
    (
        "kiln-store.json",
        "the store is damaged: move it away, or name another with --root or KILN_ROOT",
    ),
    (
        "cannot use store",
        "name a directory of your own with --root or KILN_ROOT",
    ),
    ("excluded by the ignore patterns", "look at .dockerignore"),
    (
        "cannot make directory",
        "name a directory that can be made, for the store with --root or KILN_ROOT",
    ),
    (
        "cannot create",
        "check that its directory exists and that it is not a directory itself",
    ),
    (
        "cannot write",
        "check that the directory exists and can be written to",
    ),
    (
        ", expected sha256:",
        "what came is not what was announced, and was not kept: get it anew, or ask whoever made it",
    ),
    ("unexpected end of layer", CUT_OFF),
    (", which its manifest names", CUT_OFF),
    (
        "gives an image a name that is none",
        "`kiln load --name` gives it one",
    ),
    ("the server answered 404", NOT_THERE),
    (
        "cannot open ",
        "check that the path is right, and that you may read it",
    ),
    ("is no image: ", "`kiln manifest inspect` shows what it is"),
    ("served wrong content", AT_FAULT),
    ("is longer than its", AT_FAULT),
    ("the body ended early", AT_FAULT),
    ("the connection broke", AT_FAULT),
    ("redirect refused", AT_FAULT),
    ("breaks the protocol", AT_FAULT),
    ("the document at ", AT_FAULT),
    (
        "is not in the store",
        "pull, load or build again what it belongs to",
    ),
    ("blob sha256:", CUT_OFF),
    (
        "cannot understand ",
        "it is broken, or made by other rules: get it anew, or ask whoever made it",
    ),
    (
        "cannot unpack layer",
        "nothing of the layer was kept: it breaks the rules for layers, and whoever made the image \
         must make it anew",
    ),
];

/// What to do next where the cause alone tells it.
pub(super) fn guess(messages: &[String]) -> Option<&'static str> {
    let is_said = |words: &str| messages.iter().any(|message| message.contains(words));
    HINTS
        .iter()
        .find(|(words, _)| is_said(words))
        .map(|(_, hint)| *hint)
}
