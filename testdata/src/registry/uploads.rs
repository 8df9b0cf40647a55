//! Blobs that are sent to the registry, in one request or in several.

use super::http::{Answer, Request};
use super::serve::used;
use super::{Fault, State, digest_of};

/// Answers a request about the upload `number`; none for one that is to begin.
pub(super) fn respond(
    state: &mut State,
    repository: &str,
    number: &str,
    query: &str,
    request: &Request,
) -> Answer {
    let number = number.parse().ok();
    match (request.method.as_str(), number) {
        ("POST", _) => begin(state, repository, query),
        (_, Some(number)) if !state.uploads.contains_key(&number) => Answer::status(404),
        ("GET", Some(number)) => under_way(state, 204, repository, number),
        ("PATCH", Some(_)) if state.fault == Fault::NoUploadsInParts => Answer::status(405),
        ("PATCH", Some(number)) => match take_in(state, number, request) {
            true => under_way(state, 202, repository, number),
            false => Answer::status(416),
        },
        ("DELETE", Some(number)) => {
            state.uploads.remove(&number);
            Answer::status(204)
        }
        ("PUT", Some(number)) => finish(state, repository, number, query, request),
        _ => Answer::status(404),
    }
}

fn begin(state: &mut State, repository: &str, query: &str) -> Answer {
    if let (Some(digest), Some(from)) = (parameter(query, "mount"), parameter(query, "from"))
        && let Some(bytes) = state.blobs.get(&(from, digest.clone())).cloned()
    {
        state.blobs.insert((repository.to_owned(), digest), bytes);
        return Answer::status(201);
    }
    state.begun_uploads += 1;
    let number = state.begun_uploads;
    state.uploads.insert(number, Vec::new());
    under_way(state, 202, repository, number)
}

/// Says how much of an upload has come, and where it goes on.
fn under_way(state: &State, status: u16, repository: &str, number: u64) -> Answer {
    let come = state.uploads.get(&number).map_or(0, Vec::len);
    let location = format!("/v2/{repository}/blobs/uploads/{number}?state={come}");
    Answer::status(status)
        .header("location", location)
        .header("range", format!("0-{}", come.max(1) - 1))
}

/// Adds what came; whether it fits what came before.
fn take_in(state: &mut State, number: u64, request: &Request) -> bool {
    let start = request.content_range.as_deref().and_then(|range| {
        let (start, _) = range.split_once('-')?;
        start.parse::<usize>().ok()
    });
    let come = state.uploads.entry(number).or_default();
    if start.is_some_and(|start| start != come.len()) {
        return false;
    }
    come.extend_from_slice(&request.body);
    true
}

fn finish(
    state: &mut State,
    repository: &str,
    number: u64,
    query: &str,
    request: &Request,
) -> Answer {
    if let Fault::RefuseUploads { code, times } = &mut state.fault
        && used(times)
    {
        return Answer::status(*code);
    }
    if !take_in(state, number, request) {
        return Answer::status(416);
    }
    let bytes = state.uploads.remove(&number).unwrap_or_default();
    let digest = digest_of(&bytes);
    if parameter(query, "digest").as_ref() != Some(&digest) {
        return Answer::status(400);
    }
    state.blobs.insert((repository.to_owned(), digest), bytes);
    Answer::status(201)
}

/// Notes what came before the connection ended; forgets the upload unless it `is_kept`.
pub(super) fn keep_half(state: &mut State, request: &Request, is_kept: bool) {
    let path = request.path.split('?').next().unwrap_or_default();
    let Some(number) = path.rsplit('/').next().and_then(|text| text.parse().ok()) else {
        return;
    };
    match is_kept {
        true => drop(take_in(state, number, request)),
        false => drop(state.uploads.remove(&number)),
    }
}

/// Returns the value of `name` in a query; digests are the only values with escapes.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.into_iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| value.replace("%3A", ":").replace("%2F", "/"))
}
