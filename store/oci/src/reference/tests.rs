use super::*;
use oci_spec::distribution::Reference as Peer;
use proptest::prelude::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn flaw(text: &str) -> String {
    let error = text.parse::<Reference>().expect_err(text);
    error.flaw.to_string()
}

#[test]
fn short_names_become_full_ones_and_back() {
    let cases = [
        ("alpine", "docker.io/library/alpine:latest", "alpine"),
        (
            "alpine:3.20",
            "docker.io/library/alpine:3.20",
            "alpine:3.20",
        ),
        ("user/app", "docker.io/user/app:latest", "user/app"),
        ("a/b/c", "docker.io/a/b/c:latest", "a/b/c"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b"),
        ("localhost/a", "localhost/a:latest", "localhost/a"),
        (
            "localhost:5000",
            "docker.io/library/localhost:5000",
            "localhost:5000",
        ),
        (
            "localhost:5000/a/b",
            "localhost:5000/a/b:latest",
            "localhost:5000/a/b",
        ),
        (
            "index.docker.io/library/x:1",
            "docker.io/library/x:1",
            "x:1",
        ),
        ("Docker.IO/x", "docker.io/library/x:latest", "x"),
        (
            "REG.example:5000/x",
            "reg.example:5000/x:latest",
            "reg.example:5000/x",
        ),
        ("127.0.0.1/x", "127.0.0.1/x:latest", "127.0.0.1/x"),
        ("[::1]/x", "[::1]/x:latest", "[::1]/x"),
        (
            "[2001:DB8::1]:5000/x:1",
            "[2001:db8::1]:5000/x:1",
            "[2001:db8::1]:5000/x:1",
        ),
        (
            "docker.io/a.b/c",
            "docker.io/a.b/c:latest",
            "docker.io/a.b/c",
        ),
        (
            "a__b-c---d.e_f",
            "docker.io/library/a__b-c---d.e_f:latest",
            "a__b-c---d.e_f",
        ),
    ];
    for (text, full, familiar) in cases {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.to_string(), full, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
    }
}

#[test]
fn repository_that_looks_like_an_id_keeps_its_folder() {
    let reference: Reference = format!("library/{HEX}").parse().unwrap();
    assert_eq!(reference.familiar(), format!("library/{HEX}"));
}

#[test]
fn digest_and_tag_are_kept_together() {
    let reference: Reference = format!("a:1@sha256:{HEX}").parse().unwrap();
    let digest = reference.digest().map(Digest::hex);
    assert_eq!((reference.tag(), digest), (Some("1"), Some(HEX)));
    assert_eq!(reference.familiar(), format!("a:1@sha256:{HEX}"));
    let retagged = reference.with_tag("2").unwrap();
    assert_eq!(retagged.to_string(), "docker.io/library/a:2");
    assert!(reference.with_tag("a b").is_err());
    let untagged: Reference = format!("a@sha256:{HEX}").parse().unwrap();
    assert_eq!(untagged.tag(), None);
}

#[test]
fn malformed_names_are_refused_with_the_reason() {
    let separator = "`.`, `_`, `__` and dashes may only stand between letters or digits";
    let tag = "a tag has letters, digits, `_`, `.` and `-` and begins with none of the last two";
    let cases = [
        ("", "it is empty"),
        ("https://a.b/c", "an image name has no `://`"),
        (HEX, "64 hexadecimal digits are an image's ID, not a name"),
        ("UPPER", "repository names are lower-case"),
        ("Upper/a", "repository names are lower-case"),
        ("a.b/Upper", "repository names are lower-case"),
        ("a//b", "a part between slashes is empty"),
        ("a/", "a part between slashes is empty"),
        ("/a", "a part between slashes is empty"),
        (":1", "a part between slashes is empty"),
        ("docker.io/", "a part between slashes is empty"),
        ("a b", "' ' is not allowed in a repository name"),
        ("ä", "'ä' is not allowed in a repository name"),
        ("a\u{1b}", "'\\u{1b}' is not allowed in a repository name"),
        ("[::1]", "'[' is not allowed in a repository name"),
        ("-a", separator),
        ("a-", separator),
        ("a..b", separator),
        ("a___b", separator),
        ("a._b", separator),
        ("a.b/../c", separator),
        ("a_.b/c", "\"a_.b\" is no host of a registry"),
        ("-a.b/c", "\"-a.b\" is no host of a registry"),
        ("a./c", "\"a.\" is no host of a registry"),
        (".a/c", "\".a\" is no host of a registry"),
        ("[::1/c", "\"[::1\" is no host of a registry"),
        ("[::1]x:1/c", "\"[::1]x:1\" is no host of a registry"),
        ("[:x]/c", "\"[:x]\" is no host of a registry"),
        ("[1::2::3]/c", "\"[1::2::3]\" is no host of a registry"),
        ("::1/c", "\"::1\" is no host of a registry"),
        ("a:/c", "\"\" is no port"),
        ("a:b/c", "\"b\" is no port"),
        ("a:70000/c", "\"70000\" is no port"),
        ("a:+1/c", "\"+1\" is no port"),
        ("a:", "nothing follows the colon: a tag is missing"),
        ("a:.b", tag),
        ("a:-b", tag),
        ("a:b c", tag),
        ("a:b:c", tag),
    ];
    for (text, reason) in cases {
        assert_eq!(flaw(text), reason, "{text:?}");
    }
}

#[test]
fn digests_are_whole_and_of_a_known_algorithm() {
    let short = format!("a@sha256:{}", &HEX[1..]);
    for text in [
        "a@",
        "a@sha256:../../x",
        "a@md5:00",
        "a@b@c",
        &short,
        "@sha256:x",
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text:?}");
    }
}

#[test]
fn hosts_have_no_underscores() {
    assert!("q_docker.io/a".parse::<Reference>().is_err());
    let reference: Reference = "a_b/c".parse().unwrap();
    assert_eq!(reference.repository(), "a_b/c");
}

#[test]
fn lengths_have_their_limits() {
    let path = |length: usize| format!("a.b/{}", "x".repeat(length));
    assert!(path(255).parse::<Reference>().is_ok());
    assert_eq!(
        flaw(&path(256)),
        "the repository name has more than 255 characters"
    );
    let tag = |length: usize| format!("a:{}", "x".repeat(length));
    assert!(tag(128).parse::<Reference>().is_ok());
    assert_eq!(flaw(&tag(129)), "the tag has more than 128 characters");
    let label = format!("{}.b/c", "x".repeat(300));
    assert!(flaw(&label).ends_with("is no host of a registry"));
}

#[test]
fn error_shows_a_long_text_in_part_and_no_password() {
    let shown = |text: &str| text.parse::<Reference>().expect_err(text).text;
    assert_eq!(shown(&"X".repeat(1000)).chars().count(), 161);
    assert_eq!(shown("user:secret@reg.example/a"), "…@reg.example/a");
    assert_eq!(shown("https://user:secret@host/a"), "…@host/a");
    assert_eq!(shown("a@sha256:0"), "a@sha256:0");
}

/// Says what the peer makes of `text`, where both are meant to agree.
fn peer(text: &str) -> Option<(String, String, Option<String>, Option<String>)> {
    let peer: Peer = text.parse().ok()?;
    let registry = peer.registry().to_ascii_lowercase();
    let tag = peer.tag().map(str::to_owned);
    let digest = peer.digest().map(str::to_owned);
    Some((registry, peer.repository().to_owned(), tag, digest))
}

/// Says whether we are stricter than the peer about `text`, or differ on purpose.
fn differs_on_purpose(text: &str) -> bool {
    let first = text.split_once('/').map_or("", |(first, _)| first);
    let is_upper_case = text
        .split('@')
        .next()
        .unwrap_or(text)
        .bytes()
        .any(|byte| byte.is_ascii_uppercase());
    let digest_is_upper_case = text
        .rsplit_once("sha256:")
        .is_some_and(|(_, hex)| hex.bytes().any(|byte| byte.is_ascii_uppercase()));
    is_upper_case && first.bytes().any(|byte| byte.is_ascii_uppercase())
        || digest_is_upper_case
        || first.starts_with('[')
        // No host has an underscore; the peer takes its dot or colon for enough.
        || first.contains('_') && first.contains(['.', ':'])
        || text.contains("sha384:")
        || grammar::is_image_id(text)
        || matches!(text.parse::<Reference>(), Err(error) if matches!(error.flaw, Flaw::Port(_)))
}

fn agrees_with_the_peer(text: &str) {
    if !text.is_ascii() || differs_on_purpose(text) {
        return;
    }
    let ours = text.parse::<Reference>().ok().map(|reference| {
        let digest = reference.digest().map(Digest::to_string);
        let tag = reference.tag().map(str::to_owned);
        (
            reference.registry().to_owned(),
            reference.repository().to_owned(),
            tag,
            digest,
        )
    });
    assert_eq!(ours, peer(text), "{text:?}");
}

proptest! {
    #[test]
    fn names_mean_what_the_peer_says_they_mean(
        text in "(([a-z0-9]|[.:_@/-]|[A-Z]|localhost|docker\\.io|library/){0,12})(:[0-9]{1,6}/)?([a-z0-9]{1,3}[._/-]{0,3}){0,4}(:[A-Za-z0-9_.-]{0,5})?"
    ) {
        agrees_with_the_peer(&text);
    }

    #[test]
    fn pinned_names_mean_what_the_peer_says_they_mean(
        name in "[a-z0-9./_-]{1,8}(:[a-z0-9]{0,3})?",
        algorithm in "sha256|sha512|md5|sha3|",
        length in prop_oneof![Just(64_usize), Just(128), 0..130_usize],
    ) {
        agrees_with_the_peer(&format!("{name}@{algorithm}:{}", "0f".repeat(65).get(..length).unwrap()));
    }

    #[test]
    fn any_name_is_read_back_as_itself(
        text in "(([A-Z]?[a-z0-9]{0,2}|\\[::1\\]|localhost|docker\\.io|library)[.:/_-]?){1,5}(:[a-z0-9]{1,2})?"
    ) {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.familiar().parse::<Reference>(), Ok(reference.clone()));
            prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
        }
    }

    #[test]
    fn any_text_is_a_name_or_an_error(text in ".{0,40}") {
        let _ = text.parse::<Reference>();
    }
}
