//! What the registry answers.

use std::io;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::http::{self, Answer, Pace, Request};
use super::{Fault, Guard, State, digest_of, uploads};

const TOKEN: &str = "a-good-token";
const ENDLESS_BYTES: usize = 64 << 20;

/// Reads one request from `stream` and answers it.
pub(super) fn answer(
    state: &Mutex<State>,
    sent: &AtomicU64,
    stream: TcpStream,
    port: u16,
) -> io::Result<()> {
    let Some(mut incoming) = http::read(&stream)? else {
        return Ok(());
    };
    let is_reset = {
        let mut state = state.lock().expect("no request handler panics");
        state.requests.push(incoming.request.clone());
        match &mut state.fault {
            Fault::Reset { times } => used(times),
            _ => false,
        }
    };
    if is_reset {
        // What was not read makes the kernel send a reset.
        return Ok(());
    }
    let method = incoming.request.method.clone();
    if matches!(method.as_str(), "PUT" | "PATCH") && incoming.request.path.contains("/uploads/") {
        let mut locked = state.lock().expect("no request handler panics");
        let (is_cut, keeps) = match &mut locked.fault {
            Fault::CutUploads { times } => (used(times), true),
            Fault::ForgottenUploads { times } => (used(times), false),
            _ => (false, true),
        };
        drop(locked);
        if is_cut {
            incoming.read_body(incoming.request.length / 2)?;
            let mut state = state.lock().expect("no request handler panics");
            uploads::keep_half(&mut state, &incoming.request, keeps);
            return Ok(());
        }
    }
    incoming.read_body(usize::MAX)?;
    let answer = {
        let mut state = state.lock().expect("no request handler panics");
        respond(&mut state, &incoming.request, port)
    };
    answer.send(&stream, &method, sent)
}

fn respond(state: &mut State, request: &Request, port: u16) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    if path == "/token" {
        return token(state, request);
    }
    if let Some(answer) = refuse(state, request, port) {
        return answer;
    }
    if let Fault::Lists { body, next } = &state.fault
        && (path.ends_with("/tags/list") || path.contains("/referrers/"))
    {
        let link = format!("<{next}>; rel=\"next\"");
        return Answer::status(200).body(body.clone()).header("link", link);
    }
    let parts: Vec<_> = path.trim_start_matches("/v2/").split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        (_, [repository @ .., "blobs", "uploads", number]) => {
            uploads::respond(state, &repository.join("/"), number, query, request)
        }
        ("PUT", [repository @ .., "manifests", name]) => {
            put_manifest(state, &repository.join("/"), name, request)
        }
        (_, [repository @ .., "manifests", name]) => manifest(state, &repository.join("/"), name),
        ("GET", [repository @ .., "tags", "list"]) => tags(state, &repository.join("/"), query),
        (_, [repository @ .., "blobs", digest]) => {
            blob(state, &repository.join("/"), digest, request)
        }
        _ => Answer::status(404),
    }
}

fn token(state: &mut State, request: &Request) -> Answer {
    if let Fault::TokenAnswer { code, body } = &state.fault {
        return Answer::status(*code).body(body.clone());
    }
    let is_known = match &state.guard {
        Guard::Token(expected) => request.authorization == Some(format!("Basic {expected}")),
        _ => true,
    };
    if !is_known {
        return Answer::status(401);
    }
    state.token_number += 1;
    state.token_uses = 0;
    let token = present_token(state);
    Answer::status(200).body(format!(r#"{{"token":"{token}","expires_in":300}}"#))
}

/// Returns the token that is good now.
fn present_token(state: &State) -> String {
    match state.fault {
        Fault::ShortTokens(_) => format!("{TOKEN}-{}", state.token_number),
        _ => TOKEN.to_owned(),
    }
}

/// Whether the token has been used too often by now.
fn is_used_up(state: &mut State) -> bool {
    let Fault::ShortTokens(most) = state.fault else {
        return false;
    };
    state.token_uses += 1;
    state.token_uses > most
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
    let guard = state.guard.clone();
    let refused = match &guard {
        Guard::Open => None,
        Guard::Basic(expected) if given == Some(&format!("Basic {expected}")) => None,
        Guard::Basic(_) => Some(Answer::status(401).header("www-authenticate", "Basic realm=test")),
        Guard::Token(_)
            if given == Some(&format!("Bearer {}", present_token(state))) && !is_used_up(state) =>
        {
            None
        }
        Guard::Token(_) | Guard::Nobody | Guard::Realm(_) => bearer(),
    };
    refused.or_else(|| match &mut state.fault {
        Fault::Status { code, times } => {
            used(times).then(|| Answer::status(*code).header("retry-after", "0"))
        }
        Fault::RateLimit { after, times } => {
            used(times).then(|| Answer::status(429).header("retry-after", after.clone()))
        }
        Fault::RedirectLoop => Some(Answer::status(307).header("location", request.path.clone())),
        _ => None,
    })
}

/// Counts one use of a fault; whether it is still there.
pub(super) fn used(times: &mut u32) -> bool {
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
    let range = match state.fault {
        Fault::NoRanges => None,
        _ => request.range.as_deref().and_then(range_of),
    };
    let (status, start, mut rest) = match range {
        Some((start, _)) if start >= bytes.len() => return Answer::status(416),
        Some((start, end)) => {
            let end = end.map_or(bytes.len(), |last| bytes.len().min(last + 1));
            (206, Some(start), bytes[start..end].to_vec())
        }
        None => (200, None, bytes.clone()),
    };
    let last = start.unwrap_or(0) + rest.len().max(1) - 1;
    let pace = match state.fault {
        Fault::SlowBlobs { bytes } => Pace::Slow(bytes),
        Fault::StalledBlobs(time) => Pace::Stalled(time),
        _ => Pace::Full,
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
        pace,
        ..Answer::status(status).body(rest)
    };
    match start {
        Some(start) => {
            let range = format!("bytes {start}-{last}/{}", bytes.len());
            answer.header("content-range", range)
        }
        None => answer,
    }
}

/// Returns where a range begins, and its last byte if it names one.
fn range_of(text: &str) -> Option<(usize, Option<usize>)> {
    let (start, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some((start.parse().ok()?, last.parse().ok()))
}

/// Lists two tags on each page.
fn tags(state: &State, repository: &str, query: &str) -> Answer {
    let last = query.strip_prefix("last=").unwrap_or_default();
    let names = state.manifests.keys();
    let mut tags: Vec<_> = names
        .filter(|(known, name)| known == repository && !name.contains(':') && name.as_str() > last)
        .map(|(_, name)| format!("\"{name}\""))
        .collect();
    let has_more = tags.len() > 2;
    tags.truncate(2);
    let answer = Answer::status(200).body(format!(r#"{{"tags":[{}]}}"#, tags.join(",")));
    let Some(last) = tags.last().filter(|_| has_more) else {
        return answer;
    };
    let next = format!(
        "</v2/{repository}/tags/list?last={}>",
        last.trim_matches('"')
    );
    answer.header("link", format!("{next}; rel=\"next\""))
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
