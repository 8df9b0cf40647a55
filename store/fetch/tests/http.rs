//! Files from a server that does what servers do.

use kiln_fetch::FetchError;
use kiln_fetch::http::{HttpAnswer, HttpFile, HttpRequest, MAXIMUM_BYTES, Validators, fetch};
use kiln_oci::Digest;
use kiln_registry::{Cause, Client, ClientOptions, Error, RetryPolicy, Timeouts};
use kiln_testdata::web::{Delivery, WebReply, WebRequest, WebServer};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 09:00:00 GMT";

struct Bench {
    folder: TempDir,
    client: Client,
}

impl Bench {
    fn new() -> Self {
        let retries = RetryPolicy {
            longest_wait: Duration::from_secs(1),
            attempts: 3,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(5),
        };
        let timeouts = Timeouts {
            idle: Duration::from_millis(300),
            ..Timeouts::default()
        };
        Bench {
            folder: tempfile::tempdir().expect("a directory"),
            client: Client::new(ClientOptions {
                retries,
                timeouts,
                ..ClientOptions::default()
            })
            .expect("a client"),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    fn fetch_as<'a>(
        &self,
        url: &'a str,
        change: impl FnOnce(&mut HttpRequest<'a>),
    ) -> Result<HttpAnswer, FetchError> {
        let mut request = HttpRequest {
            url,
            shown: url,
            authorization: None,
            known: None,
            checksum: None,
            maximum_bytes: MAXIMUM_BYTES,
        };
        change(&mut request);
        fetch(&self.client, &request, &self.path(), &|_, _| ())
    }

    fn fetch(&self, url: &str) -> Result<HttpFile, FetchError> {
        match self.fetch_as(url, |_| ())? {
            HttpAnswer::Fetched(file) => Ok(file),
            HttpAnswer::Unchanged => panic!("nothing was known"),
        }
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(self.path()).expect("the file")
    }
}

fn cause_of(error: &FetchError) -> &Cause {
    let FetchError::Web { source, .. } = error else {
        panic!("{error}");
    };
    match source.as_ref() {
        Error::Request { cause, .. } | Error::Interrupted { cause, .. } => cause,
        other => panic!("{other}"),
    }
}

#[test]
fn file_is_written_for_its_owner_with_the_time_of_its_last_change() {
    let server = WebServer::start(|_| {
        WebReply::body("content")
            .header("last-modified", DATE)
            .header("date", LATER)
            .header("etag", "\"1\"")
    });
    let bench = Bench::new();
    let file = bench.fetch(&server.url("/a?b=c")).expect("a file");
    let expected = HttpFile {
        digest: Digest::sha256("content"),
        bytes: 7,
        validators: Validators {
            etag: Some("\"1\"".into()),
            last_modified: Some(DATE.into()),
        },
        modified_seconds: Some(784_111_777),
    };
    assert_eq!(file, expected);
    let metadata = bench.path().metadata().expect("the file");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    assert_eq!(metadata.mtime(), 784_111_777);
    assert_eq!(bench.content(), b"content");
    assert_eq!(server.take_requests()[0].query, "b=c");
}

#[test]
fn file_without_a_time_gets_that_of_1970_and_one_changed_just_now_is_no_validator() {
    let server = WebServer::start(|request| match request.path.as_str() {
        "/none" => WebReply::body("x"),
        _ => WebReply::body("x")
            .header("last-modified", DATE)
            .header("date", DATE),
    });
    let bench = Bench::new();
    let file = bench.fetch(&server.url("/none")).expect("a file");
    assert!(file.validators.is_empty());
    assert_eq!(bench.path().metadata().expect("the file").mtime(), 0);
    std::fs::remove_file(bench.path()).expect("removed");
    let file = bench.fetch(&server.url("/now")).expect("a file");
    assert!(file.validators.is_empty());
}

#[test]
fn known_file_is_not_fetched_again_even_from_a_server_that_sends_it() {
    let server = WebServer::start(|request| {
        let knows = request.header("if-none-match") == Some("\"1\"");
        match request.path.as_str() {
            "/good" if knows => WebReply::status(304),
            "/dated" if request.header("if-modified-since") == Some(DATE) => WebReply::status(304),
            "/changed" => WebReply::body("new").header("etag", "\"2\""),
            _ => WebReply::body("old").header("etag", "\"1\""),
        }
    });
    let bench = Bench::new();
    let known = Validators {
        etag: Some("\"1\"".into()),
        last_modified: Some(DATE.into()),
    };
    for path in ["/good", "/dated", "/ignorant"] {
        let answer = bench.fetch_as(&server.url(path), |request| request.known = Some(&known));
        assert_eq!(answer.expect("an answer"), HttpAnswer::Unchanged, "{path}");
        assert!(!bench.path().exists());
    }
    let answer = bench.fetch_as(&server.url("/changed"), |request| {
        request.known = Some(&known)
    });
    assert!(matches!(answer, Ok(HttpAnswer::Fetched(_))));
    assert_eq!(bench.content(), b"new");
}

#[test]
fn wrong_content_is_an_error_with_both_digests_and_leaves_no_file() {
    let server = WebServer::start(|_| WebReply::body("content"));
    let bench = Bench::new();
    let expected = Digest::sha256("other");
    let answer = bench.fetch_as(&server.url("/"), |request| {
        request.checksum = Some(&expected)
    });
    let text = answer.expect_err("wrong content").to_string();
    assert!(text.contains(expected.as_str()), "{text}");
    assert!(text.contains(Digest::sha256("content").as_str()), "{text}");
    assert!(!bench.path().exists());
}

#[test]
fn too_large_a_file_is_refused_announced_or_not() {
    let server = WebServer::start(|_| WebReply::body(vec![0; 2000]));
    let bench = Bench::new();
    let answer = bench.fetch_as(&server.url("/"), |request| request.maximum_bytes = 1000);
    assert!(matches!(
        answer,
        Err(FetchError::TooLarge { limit: 1000, .. })
    ));
    assert!(!bench.path().exists());
}

/// A server whose first answers end after a third of the file.
fn breaking(head: &'static [(&'static str, &'static str)], ranges: bool) -> WebServer {
    let answers = AtomicUsize::new(0);
    WebServer::start(move |request| {
        let content: Vec<u8> = (0..30_000u32).map(|number| (number % 251) as u8).collect();
        let mut reply = part(request, &content, ranges);
        for (name, value) in head {
            reply = reply.header(name, *value);
        }
        match answers.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => reply.delivered(Delivery::CutAfter(10_000)),
            _ => reply,
        }
    })
}

fn part(request: &WebRequest, content: &[u8], ranges: bool) -> WebReply {
    let range = request.header("range").filter(|_| ranges);
    let start = range.and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-'));
    match start.and_then(|text| text.parse::<usize>().ok()) {
        None => WebReply::body(content),
        Some(start) => WebReply {
            status: 206,
            ..WebReply::body(&content[start..])
        }
        .header(
            "content-range",
            format!("bytes {start}-{}/{}", content.len() - 1, content.len()),
        ),
    }
}

#[test]
fn broken_transfer_is_resumed_where_it_broke() {
    let server = breaking(&[("etag", "\"1\"")], true);
    let bench = Bench::new();
    let file = bench.fetch(&server.url("/")).expect("a file");
    assert_eq!(file.bytes, 30_000);
    assert_eq!(file.digest, Digest::sha256(bench.content()));
    let requests = server.take_requests();
    let ranges: Vec<_> = requests
        .iter()
        .map(|request| request.header("range"))
        .collect();
    assert_eq!(ranges, [None, Some("bytes=10000-"), Some("bytes=20000-")]);
    assert_eq!(requests[1].header("if-range"), Some("\"1\""));
}

#[test]
fn transfer_that_cannot_be_resumed_begins_again() {
    for head in [&[][..], &[("etag", "W/\"1\"")], &[("etag", "\"1\"")]] {
        let server = breaking(head, false);
        let bench = Bench::new();
        let file = bench.fetch(&server.url("/")).expect("a file");
        assert_eq!(file.bytes, 30_000);
        assert_eq!(bench.content().len(), 30_000);
    }
}

#[test]
fn faults_that_pass_are_waited_for_and_others_named() {
    let answers = AtomicUsize::new(0);
    let server = WebServer::start(move |request| match request.path.as_str() {
        "/busy" if answers.fetch_add(1, Ordering::SeqCst) < 2 => WebReply::status(503),
        "/busy" => WebReply::body("x"),
        "/silent" => WebReply::body("x").delivered(Delivery::NoAnswer),
        "/stalls" => {
            WebReply::body("x").delivered(Delivery::StallAfterHead(Duration::from_secs(2)))
        }
        "/empty" => WebReply::status(204),
        _ => WebReply::status(404),
    });
    let bench = Bench::new();
    bench.fetch(&server.url("/busy")).expect("a file");
    std::fs::remove_file(bench.path()).expect("removed");
    let error = bench
        .fetch(&server.url("/none"))
        .expect_err("nothing there");
    assert!(matches!(cause_of(&error), Cause::Status { code: 404, .. }));
    let error = bench.fetch(&server.url("/silent")).expect_err("no answer");
    assert!(matches!(cause_of(&error), Cause::Connection(_)));
    let error = bench.fetch(&server.url("/stalls")).expect_err("no content");
    assert!(matches!(
        cause_of(&error),
        Cause::Connection(_) | Cause::Stalled(_)
    ));
    let error = bench.fetch(&server.url("/empty")).expect_err("no file");
    assert!(matches!(cause_of(&error), Cause::Protocol(_)));
    assert!(!bench.path().exists());
    for url in ["http://127.0.0.1:1/", "http://does-not-exist.invalid/"] {
        let error = bench.fetch(url).expect_err("nobody there");
        assert!(matches!(cause_of(&error), Cause::Connection(_)), "{url}");
    }
    let error = bench
        .fetch(&server.url("/").replace("http", "https"))
        .expect_err("no TLS");
    assert!(matches!(cause_of(&error), Cause::Connection(_)));
}

#[test]
fn credentials_stay_with_the_host_they_are_for() {
    let target = WebServer::start(|_| WebReply::body("x"));
    let url = target.url("/b");
    let server = WebServer::start(move |request| match request.path.as_str() {
        "/away" => WebReply::status(302).header("location", url.clone()),
        "/around" => WebReply::status(302).header("location", "/away"),
        "/circle" => WebReply::status(302).header("location", "/circle"),
        "/file" => WebReply::status(302).header("location", "file:///etc/passwd"),
        _ => WebReply::body("x"),
    });
    let bench = Bench::new();
    let given = |path: &str| {
        let url = server.url(path);
        let answer = bench.fetch_as(&url, |request| request.authorization = Some("Bearer x"));
        let _ = std::fs::remove_file(bench.path());
        answer
    };
    given("/around").expect("a file");
    let seen = |request: &WebRequest| request.header("authorization").map(str::to_owned);
    let here: Vec<_> = server.take_requests().iter().map(seen).collect();
    assert_eq!(
        here,
        [Some("Bearer x".to_owned()), Some("Bearer x".to_owned())]
    );
    assert_eq!(
        target.take_requests().iter().map(seen).collect::<Vec<_>>(),
        [None]
    );
    for path in ["/circle", "/file"] {
        let error = given(path).expect_err("a refusal");
        assert!(matches!(cause_of(&error), Cause::Redirect(_)), "{path}");
    }
    server.take_requests();
    let url = server.url("/").replace("http://", "http://user:p%40ss@");
    bench.fetch(&url).expect("a file");
    let here: Vec<_> = server.take_requests().iter().map(seen).collect();
    assert_eq!(here, [Some("Basic dXNlcjpwQHNz".to_owned())]);
}
