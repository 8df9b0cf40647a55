//! Requests to a registry: authorised, repeated while that may help, errors put in words.

use std::sync::Arc;
use std::time::Duration;

use kiln_oci::Challenge;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};

use crate::authentication::Authentication;
use crate::body::read_message;
use crate::endpoint::{Endpoint, authority};
use crate::error::{Cause, Error, Result};
use crate::http::{Http, Payload, Request};
use crate::retry::{Attempts, Fault, retry_of_status};
use crate::settings::LazySettings;
use crate::{ClientOptions, Observer, RetryPolicy};

/// How often a registry may answer 401 to one request before it is believed.
const MAX_ROUNDS: u32 = 3;

/// Sends calls.
pub(crate) struct Transport {
    pub http: Http,
    pub policy: RetryPolicy,
    authentication: Authentication,
    observer: Option<Observer>,
}

/// One request of the protocol, as often as it must be sent.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    pub endpoint: &'a Endpoint,
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub payload: Payload<'a>,
    /// What the request needs the right to do.
    pub scopes: &'a [String],
    /// A status besides success that is an answer and no error.
    pub accepted: Option<StatusCode>,
}

impl<'a> Call<'a> {
    /// Returns a call without headers and body.
    pub fn new(endpoint: &'a Endpoint, method: Method, url: Url, scopes: &'a [String]) -> Self {
        let (headers, payload) = (HeaderMap::new(), Payload::Empty);
        Self {
            endpoint,
            method,
            url,
            headers,
            payload,
            scopes,
            accepted: None,
        }
    }

    /// Returns the error of this call after `attempts`.
    pub fn error(&self, attempts: u32, cause: Cause) -> Error {
        let action = match self.method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            _ => "ask",
        };
        let (host, path) = (authority(&self.url), self.url.path().to_owned());
        Error::Request {
            action,
            host,
            path,
            attempts,
            cause,
        }
    }
}

impl Transport {
    pub fn new(options: &ClientOptions, settings: Arc<LazySettings>) -> Arc<Self> {
        Arc::new(Self {
            http: Http::new(settings, options.timeouts),
            policy: options.retries,
            authentication: Authentication::new(options),
            observer: options.observer.clone(),
        })
    }

    /// Returns the answer to `call`, after as many attempts as the policy allows.
    pub async fn send(&self, call: &Call<'_>) -> Result<Response> {
        let mut attempts = Attempts::default();
        loop {
            let fault = match self.attempt(call).await {
                Ok(response) => return Ok(response),
                Err(fault) => fault,
            };
            self.pause_or_fail(call, &mut attempts, fault).await?;
        }
    }

    /// Sleeps before another attempt, or returns the error of the last.
    pub async fn pause_or_fail(
        &self,
        call: &Call<'_>,
        attempts: &mut Attempts,
        fault: Fault,
    ) -> Result<()> {
        match attempts.failed(&fault, &self.policy) {
            Some(pause) => {
                self.pause(&call.url, pause, &fault).await;
                Ok(())
            }
            None => Err(call.error(attempts.count(), fault.cause)),
        }
    }

    /// Sleeps before `url` is asked again, and says why.
    pub async fn pause(&self, url: &Url, pause: Duration, fault: &Fault) {
        if let Some(observer) = &self.observer {
            let (host, path, seconds) = (authority(url), url.path(), in_seconds(pause));
            observer(&format!(
                "retrying in {seconds} s: {host}{path}: {}",
                fault.cause
            ));
        }
        tokio::time::sleep(pause).await;
    }

    /// Sends `call` once, or a few times if the registry asks who we are.
    pub async fn attempt(&self, call: &Call<'_>) -> Result<Response, Fault> {
        let request = Request {
            method: call.method.clone(),
            url: call.url.clone(),
            headers: call.headers.clone(),
            payload: call.payload.clone(),
        };
        // An upload may go elsewhere: that host gets neither credentials nor tokens.
        let is_home = call.endpoint.is_origin_of(&call.url);
        for _ in 0..MAX_ROUNDS {
            let header = match is_home {
                true => {
                    self.authentication
                        .header(&self.http, call.endpoint, call.scopes)
                        .await?
                }
                false => None,
            };
            let response = self.http.send(&request, header.as_deref()).await?;
            let answered_at_home = call.endpoint.is_origin_of(response.url());
            if response.status() != StatusCode::UNAUTHORIZED || !answered_at_home {
                return self.judge(call, response).await;
            }
            let Some(challenge) = challenge_of(response.headers()) else {
                return self.judge(call, response).await;
            };
            // Read to its end, the connection can be used again.
            let message = read_message(response, self.http.timeouts.document).await;
            let learned =
                self.authentication
                    .learn(call.endpoint, call.scopes, challenge, header.as_deref());
            learned
                .await
                .map_err(|fault| with_message(fault, &message))?;
        }
        let reason = "the registry does not accept the token it asked for".to_owned();
        Err(Fault::never(Cause::Unauthorized { reason }))
    }

    async fn judge(&self, call: &Call<'_>, response: Response) -> Result<Response, Fault> {
        let status = response.status();
        if status.is_success() || call.accepted == Some(status) {
            return Ok(response);
        }
        Err(refusal(response, self.http.timeouts.document).await)
    }
}

fn challenge_of(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    Challenge::best_of(values.filter_map(|value| value.to_str().ok()))
}

/// Returns what an answer that is an error means.
pub(crate) async fn refusal(response: Response, timeout: Duration) -> Fault {
    let status = response.status();
    let asked = retry_after(response.headers());
    let host = authority(response.url());
    let message = read_message(response, timeout).await;
    let cause = match status {
        StatusCode::TOO_MANY_REQUESTS => Cause::RateLimited {
            host,
            message: with_wish(message, asked),
        },
        _ => Cause::Status {
            code: status.as_u16(),
            message,
        },
    };
    Fault {
        cause,
        retry: retry_of_status(status, asked),
    }
}

/// Adds when the server wants to be asked again.
fn with_wish(message: String, asked: Option<Duration>) -> String {
    let seconds = asked.map_or(0, |asked| asked.as_secs());
    match (seconds, message.is_empty()) {
        (0, _) => message,
        (_, true) => format!("it asks to come back in {seconds} s"),
        (_, false) => format!("{message} (it asks to come back in {seconds} s)"),
    }
}

fn with_message(fault: Fault, message: &str) -> Fault {
    match fault.cause {
        Cause::Unauthorized { reason } if !message.is_empty() => {
            let reason = format!("{reason} (it says: {message})");
            Fault {
                cause: Cause::Unauthorized { reason },
                ..fault
            }
        }
        _ => fault,
    }
}

/// Returns `pause` in seconds, with one digit below the point if that says something.
pub(crate) fn in_seconds(pause: Duration) -> String {
    let tenths = pause.as_millis().div_ceil(100);
    match (tenths / 10, tenths % 10) {
        (seconds, 0) => seconds.to_string(),
        (seconds @ 10.., _) => (seconds + 1).to_string(),
        (seconds, tenth) => format!("{seconds}.{tenth}"),
    }
}

/// Returns how long `Retry-After` says to wait: in seconds, or until a date on the clock that
/// `Date` shows.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let after = text(RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = |text: &str| {
        jiff::fmt::rfc2822::parse(text)
            .ok()
            .map(|time| time.timestamp())
    };
    let now = text(DATE)
        .and_then(time)
        .unwrap_or_else(jiff::Timestamp::now);
    let left = time(after)?.duration_since(now);
    Some(left.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_ask_for_time_in_seconds_or_by_date() {
        let cases = [
            ("7", None, Some(7)),
            (
                "Tue, 24 Nov 2026 08:00:09 GMT",
                Some("Tue, 24 Nov 2026 08:00:01 GMT"),
                Some(8),
            ),
            (
                "Tue, 24 Nov 2026 08:00:00 GMT",
                Some("Tue, 24 Nov 2026 08:00:01 GMT"),
                Some(0),
            ),
            ("Tue, 24 Nov 1998 08:00:00 GMT", None, Some(0)),
            ("soon", None, None),
        ];
        for (after, date, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            assert_eq!(
                retry_after(&headers),
                expected.map(Duration::from_secs),
                "{after}"
            );
        }
    }

    #[test]
    fn pauses_are_told_as_people_say_them() {
        let cases = [(40, "0.1"), (2000, "2"), (2410, "2.5"), (14_300, "15")];
        for (milliseconds, expected) in cases {
            assert_eq!(in_seconds(Duration::from_millis(milliseconds)), expected);
        }
    }
}
