use super::*;

fn repository(remote: &str) -> GitSource {
    GitSource {
        remote: remote.into(),
        ..GitSource::default()
    }
}

fn http(url: &str) -> Option<Result<Remote, RemoteError>> {
    Some(Ok(Remote::Http { url: url.into() }))
}

fn git(source: GitSource) -> Option<Result<Remote, RemoteError>> {
    Some(Ok(Remote::Git(source)))
}

fn error(address: &str) -> RemoteError {
    match Remote::parse(address) {
        Some(Err(error)) => error,
        other => panic!("{address} is {other:?}"),
    }
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn files_repositories_and_paths_are_told_apart() {
    let paths = [
        "src/app.git",
        "./.git",
        "../a@b:c",
        ".git",
        "example.com/a.git",
        "github.com/owner/name",
        "ftp://example.com/a",
        "file:///a.git",
        "ext::sh -c id",
        "a@b",
        "a b@c:d",
        "x@y",
    ];
    for path in paths {
        assert_eq!(Remote::parse(path), None, "{path}");
    }
    let files = [
        "https://example.com/",
        "https://example.com/a.tar.gz",
        "HTTP://example.com/a",
        "https://example.com/a.git/",
        "https://example.com/a.git.zip",
        "https://example.com/a?x=.git",
        "http://example.com/a.git:#branch",
        "https://github.com/owner/name",
    ];
    for url in files {
        assert_eq!(Remote::parse(url), http(url), "{url}");
    }
    let remotes = [
        "https://example.com/a.git",
        "http://example.com:8080/b/a.git",
        "https://user:token@example.com/a.git",
        "git://example.com/a",
        "ssh://git@example.com:22/a.git",
        "ssh://user@192.168.0.1:456/~/a.git",
        "git@example.com:a",
        "git@example.com:owner/a.git",
        "someone@example.com:/srv/a",
    ];
    for remote in remotes {
        assert_eq!(Remote::parse(remote), git(repository(remote)), "{remote}");
    }
}

#[test]
fn contexts_may_name_a_repository_of_github_without_scheme() {
    let source = GitSource {
        reference: Some("v1".into()),
        subdirectory: Some("x".into()),
        ..repository("https://github.com/owner/name")
    };
    assert_eq!(
        Remote::parse_context("github.com/owner/name#v1:x"),
        git(source)
    );
    assert_eq!(Remote::parse_context("other.example/name"), None);
    let url = "https://github.com/owner/name";
    assert_eq!(Remote::parse_context(url), http(url));
}

#[test]
fn fragment_and_query_say_the_same_things() {
    let address = "https://example.com/a.git";
    let with = |change: fn(&mut GitSource)| {
        let mut source = repository(address);
        change(&mut source);
        source
    };
    let cases: &[(&str, GitSource)] = &[
        ("#", with(|_| ())),
        ("#main", with(|git| git.reference = Some("main".into()))),
        (
            "#release/1.2:a/b/",
            with(|git| {
                git.reference = Some("release/1.2".into());
                git.subdirectory = Some("a/b".into());
            }),
        ),
        (
            "#:/a/./x/../b",
            with(|git| git.subdirectory = Some("a/b".into())),
        ),
        ("#:/", with(|_| ())),
        (
            "#a%2Db:c",
            with(|git| {
                git.reference = Some("a-b".into());
                git.subdirectory = Some("c".into());
            }),
        ),
        (
            "?ref=main&subdir=/a",
            with(|git| {
                git.reference = Some("main".into());
                git.subdirectory = Some("a".into());
            }),
        ),
        (
            "?ref=main#main",
            with(|git| git.reference = Some("main".into())),
        ),
        (
            "?ref=refs/pull/42/head",
            with(|git| git.reference = Some("refs/pull/42/head".into())),
        ),
        (
            "?tag=v1",
            with(|git| git.reference = Some("refs/tags/v1".into())),
        ),
        (
            "?tag=v1#v1",
            with(|git| git.reference = Some("refs/tags/v1".into())),
        ),
        (
            "?branch=refs/heads/x",
            with(|git| git.reference = Some("refs/heads/x".into())),
        ),
        (
            "?branch=a%2Fb",
            with(|git| git.reference = Some("refs/heads/a/b".into())),
        ),
        (
            "?checksum=0123ABC",
            with(|git| git.checksum = Some("0123abc".into())),
        ),
        (
            "?commit=0123abc&checksum=0123abc",
            with(|git| git.checksum = Some("0123abc".into())),
        ),
        (
            "?keep-git-dir&submodules=false",
            with(|git| {
                git.keep_git_directory = true;
                git.submodules = false;
            }),
        ),
        ("?keep-git-dir=0&submodules=1", with(|_| ())),
        ("?mtime=commit", with(|git| git.times = GitTimes::Commit)),
        ("?mtime=checkout", with(|_| ())),
        (
            "?fetch-by-commit&commit=0123456789abcdef0123456789abcdef01234567",
            with(|git| {
                git.fetch_by_commit = true;
                git.checksum = Some(COMMIT.into());
            }),
        ),
    ];
    for (suffix, expected) in cases {
        let address = format!("{address}{suffix}");
        assert_eq!(Remote::parse(&address), git(expected.clone()), "{address}");
    }
    let shell = GitSource {
        reference: Some("v1".into()),
        subdirectory: Some("x".into()),
        keep_git_directory: true,
        ..repository("git@example.com:a.git")
    };
    let address = "git@example.com:a.git?keep-git-dir#v1:x";
    assert_eq!(Remote::parse(address), git(shell));
}

#[test]
fn what_makes_no_sense_is_an_error() {
    let cases = [
        ("?what=x", "git addresses have no option `what`"),
        ("?Ref=x", "git addresses have no option `Ref`"),
        ("?ref=a&ref=a", "the git address gives `ref` twice"),
        ("?ref=", "`ref` of the git address has no value"),
        (
            "?ref=a#b",
            "the git address gives two values for its reference: `b` and `a`",
        ),
        (
            "?tag=a&branch=a",
            "the git address gives two values for its reference",
        ),
        (
            "?subdir=a#:b",
            "the git address gives two values for its directory: `b` and `a`",
        ),
        (
            "?commit=1234567&checksum=7654321",
            "the git address gives two values for its commit",
        ),
        ("?mtime=now", "`now` of `mtime` is not checkout or commit"),
        (
            "?submodules=maybe",
            "`maybe` of `submodules` is not true or false",
        ),
        ("?checksum=123", "`123` is no commit of git"),
        (
            "?checksum=nothexadecimal",
            "`nothexadecimal` is no commit of git",
        ),
        (
            "#main:../..",
            "directory `../..` is not in the git repository",
        ),
        ("#main:sub/../..", "directory `sub/../..` is not"),
        ("#-upload-pack=x", "`-upload-pack=x` cannot be a branch"),
        ("#+main", "`+main` cannot be a branch"),
        ("?ref=a:b", "`a:b` cannot be a branch"),
        ("#a..b", "`a..b` cannot be a branch"),
        ("?ref=a+b", "`a b` cannot be a branch"),
        ("?ref=a%0ab", "cannot be a branch"),
    ];
    for (suffix, expected) in cases {
        let text = error(&format!("https://example.com/a.git{suffix}")).to_string();
        assert!(
            text.starts_with(expected) || text.contains(expected),
            "{suffix}: {text}"
        );
    }
    for suffix in ["?fetch-by-commit", "?fetch-by-commit&commit=1234567"] {
        let Some(Ok(Remote::Git(git))) = Remote::parse(&format!("git://example.com/a{suffix}"))
        else {
            panic!("{suffix} is an address");
        };
        assert_eq!(git.check(), Err(RemoteError::FetchWithoutCommit));
    }
    let other = format!("https://example.com/a.git?commit=7654321#{COMMIT}");
    assert!(matches!(
        error(&other),
        RemoteError::Conflict { what: "commit", .. }
    ));
}

#[test]
fn hosts_and_paths_that_look_like_options_are_refused() {
    for address in [
        "ssh://-oProxyCommand=x/a",
        "ssh://user@-oProxyCommand/a",
        "git@-host:a",
        "git@host:-path",
        "-oX@host:path",
        "git://host",
        "https://.git",
    ] {
        let error = error(address);
        assert!(
            matches!(error, RemoteError::Part { .. }),
            "{address}: {error}"
        );
    }
}

#[test]
fn whole_commit_pins_wherever_it_stands() {
    let commit = |suffix: &str| match Remote::parse(&format!("git://example.com/a{suffix}")) {
        Some(Ok(Remote::Git(git))) => git.commit().map(str::to_owned),
        other => panic!("{other:?}"),
    };
    assert_eq!(commit(&format!("#{COMMIT}")).as_deref(), Some(COMMIT));
    assert_eq!(
        commit(&format!("?commit={COMMIT}#main")).as_deref(),
        Some(COMMIT)
    );
    assert_eq!(commit("?commit=0123456#main"), None);
    assert_eq!(commit("#0123456"), None);
    let long = COMMIT.repeat(2)[..64].to_owned();
    assert_eq!(commit(&format!("#{long}")), Some(long));
}

#[test]
fn name_of_a_fetched_file_is_the_end_of_its_path() {
    for (url, expected) in [
        ("http://example.com/a/b.txt?x=/y", Some("b.txt")),
        ("http://example.com/a/", Some("a")),
        ("http://example.com/", None),
        ("http://example.com", None),
        ("http://example.com/a%20b", Some("a b")),
        ("http://example.com/..", None),
        ("http://example.com/a%2fb", None),
        ("http://example.com/a%+1b", Some("a%+1b")),
    ] {
        assert_eq!(file_name(url).as_deref(), expected, "{url}");
    }
}

#[test]
fn passwords_in_addresses_are_not_shown() {
    for (address, expected) in [
        (
            "https://user:token@example.com/a.git#x",
            "https://xxxxx@example.com/a.git#x",
        ),
        (
            "https://token@example.com/a@b",
            "https://xxxxx@example.com/a@b",
        ),
        ("https://a:b@c@example.com/", "https://xxxxx@example.com/"),
        ("https://example.com/a@b", "https://example.com/a@b"),
        ("ssh://git@example.com/a", "ssh://git@example.com/a"),
        ("ssh://git:x@example.com/a", "ssh://xxxxx@example.com/a"),
        ("git@example.com:a", "git@example.com:a"),
        ("some/path", "some/path"),
        (
            "[\"https://t@example.com/a\",",
            "[\"https://xxxxx@example.com/a\",",
        ),
    ] {
        assert_eq!(redacted(address), expected, "{address}");
    }
    assert_eq!(
        anonymous("https://u:t@example.com/a"),
        "https://example.com/a"
    );
}
