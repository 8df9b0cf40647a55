//! What the registry answers.

use std::io;
use std::net::TcpStream;
use std::sync::Mutex;

use super::http::{self, Answer, Request};
use super::{Fault, Guard, State, digest_of};

const TOKEN: &str = "a-good-token";
const ENDLESS_BYTES: usize = 64 << 20;

/// Reads one request from `stream` and answers it.
pub(super) fn answer(state: &Mutex<State>, stream: TcpStream, port: u16) -> io::Result<()> {
    let Some(request) = http::read(&stream)? else {
        return Ok(());
    };
    let answer = {
        let mut state = state.lock().expect("no request handler panics");
        let mut noted = request.clone();
        noted.body.clear();
        state.requests.push(noted);
        respond(&mut state, &request, port)
    };
    answer.send(&stream, &request.method)
}

fn respond(state: &mut State, request: &Request, port: u16) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    if path == "/token" {
        return token(state, request);
    }
    if let Some(answer) = refuse(state, request, port) {
        return answer;
    }
    let parts: Vec<_> = path.trim_start_matches("/v2/").split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("POST", [repository @ .., "blobs", "uploads", ""]) => {
            begin_upload(state, &repository.join("/"), query)
        }
        ("PUT", [repository @ .., "blobs", "uploads", _]) => {
            upload(state, &repository.join("/"), query, request)
        }
        ("PUT", [repository @ .., "manifests", name]) => {
            put_manifest(state, &repository.join("/"), name, request)
        }
        (_, [repository @ .., "manifests", name]) => manifest(state, &repository.join("/"), name),
        (_, [repository @ .., "blobs", digest]) => {
            blob(state, &repository.join("/"), digest, request)
        }
        _ => Answer::status(404),
    }
}

fn token(state: &State, request: &Request) -> Answer {
    let is_known = match &state.guard {
        Guard::Token(expected) => request.authorization == Some(format!("Basic {expected}")),
        _ => true,
    };
    match is_known {
        true => Answer::status(200).body(format!(r#"{{"token":"{TOKEN}","expires_in":300}}"#)),
        false => Answer::status(401),
    }
}

/// Returns the answer to a request that gets no further.
fn refuse(state: &mut State, request: &Request, port: u16) -> Option<Answer> {
    let realm = match &state.guard {
        Guard::Realm(realm) => realm.clone(),
        _ => format!("http://127.0.0.1:{port}/token"),
    };
    let bearer = || {
        let challenge = format!(r#"Bearer realm="{realm}",service="test""#);
        Some(Answer::status(401).header("www-authenticate", challenge))
    };
    let given = request.authorization.as_deref();
    let refused = match &state.guard {
        Guard::Open => None,
        Guard::Basic(expected) if given == Some(&format!("Basic {expected}")) => None,
        Guard::Basic(_) => Some(Answer::status(401).header("www-authenticate", "Basic realm=test")),
        Guard::Token(_) if given == Some(&format!("Bearer {TOKEN}")) => None,
        Guard::Token(_) | Guard::Nobody | Guard::Realm(_) => bearer(),
    };
    refused.or_else(|| match &mut state.fault {
        Fault::Status { code, times } => {
            used(times).then(|| Answer::status(*code).header("retry-after", "0"))
        }
        Fault::RedirectLoop => Some(Answer::status(307).header("location", request.path.clone())),
        _ => None,
    })
}

/// Counts one use of a fault; whether it is still there.
fn used(times: &mut u32) -> bool {
    let is_left = *times > 0;
    *times = times.saturating_sub(1);
    is_left
}

fn manifest(state: &State, repository: &str, name: &str) -> Answer {
    let Some((media_type, bytes)) = state
        .manifests
        .get(&(repository.to_owned(), name.to_owned()))
    else {
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        return Answer::status(404).body(body);
    };
    match &state.fault {
        Fault::EndlessManifests => Answer::status(200)
            .header("content-type", media_type)
            .body(vec![b' '; ENDLESS_BYTES]),
        Fault::ManifestType(other) => Answer::status(200)
            .header("content-type", other)
            .body(bytes.clone()),
        _ => Answer::status(200)
            .header("content-type", media_type)
            .body(bytes.clone()),
    }
}

fn blob(state: &mut State, repository: &str, digest: &str, request: &Request) -> Answer {
    let key = (repository.to_owned(), digest.to_owned());
    let Some(bytes) = state.blobs.get(&key).cloned() else {
        return Answer::status(404);
    };
    if let Fault::RedirectBlobs(address) = &state.fault {
        return Answer::status(307).header("location", format!("{address}{}", request.path));
    }
    let start = request.range.as_deref().and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    let (status, mut rest) = match start {
        Some(start) if start >= bytes.len() => return Answer::status(416),
        Some(start) => (206, bytes[start..].to_vec()),
        None => (200, bytes.clone()),
    };
    let is_cut = match &mut state.fault {
        Fault::CutBlobs { times } => request.method == "GET" && used(times),
        _ => false,
    };
    let mut announced = None;
    match &state.fault {
        Fault::CutBlobs { .. } if is_cut => {
            announced = Some(rest.len());
            rest.truncate(rest.len() / 2);
        }
        Fault::ShortBlobs => rest.truncate(rest.len() / 2),
        Fault::LongBlobs => rest.push(0),
        Fault::WrongBlobs => rest.iter_mut().for_each(|byte| *byte ^= 1),
        _ => {}
    }
    let answer = Answer {
        announced,
        ..Answer::status(status).body(rest)
    };
    match start {
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            answer.header("content-range", range)
        }
        None => answer,
    }
}

/// Returns the value of `name` in a query; digests are the only values with escapes.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.into_iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| value.replace("%3A", ":").replace("%2F", "/"))
}

fn begin_upload(state: &mut State, repository: &str, query: &str) -> Answer {
    if let (Some(digest), Some(from)) = (parameter(query, "mount"), parameter(query, "from"))
        && let Some(bytes) = state.blobs.get(&(from, digest.clone())).cloned()
    {
        state.blobs.insert((repository.to_owned(), digest), bytes);
        return Answer::status(201);
    }
    Answer::status(202).header(
        "location",
        format!("/v2/{repository}/blobs/uploads/1?state=x"),
    )
}

fn upload(state: &mut State, repository: &str, query: &str, request: &Request) -> Answer {
    if let Fault::RefuseUploads { code, times } = &mut state.fault
        && used(times)
    {
        return Answer::status(*code);
    }
    let digest = digest_of(&request.body);
    if parameter(query, "digest").as_ref() != Some(&digest) {
        return Answer::status(400);
    }
    state
        .blobs
        .insert((repository.to_owned(), digest), request.body.clone());
    Answer::status(201)
}

fn put_manifest(state: &mut State, repository: &str, name: &str, request: &Request) -> Answer {
    let digest = digest_of(&request.body);
    let media_type = request.content_type.clone().unwrap_or_default();
    for name in [name, &digest] {
        let entry = (media_type.clone(), request.body.clone());
        state
            .manifests
            .insert((repository.to_owned(), name.to_owned()), entry);
    }
    Answer::status(201)
}
