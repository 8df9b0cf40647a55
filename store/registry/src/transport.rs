//! Requests to a registry: authorised, repeated while that may help, errors put in words.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};

use crate::authentication::Authentication;
use crate::body::read_message;
use crate::challenge::Challenge;
use crate::endpoint::{Endpoint, authority};
use crate::error::{Cause, Error, Result};
use crate::http::{Http, Payload, Request};
use crate::retry::{Fault, retry_of_status};
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
    pub fn new(options: &ClientOptions) -> Arc<Self> {
        Arc::new(Self {
            http: Http::new(options.registries.clone(), options.timeouts),
            policy: options.retries,
            authentication: Authentication::new(options.docker_config.clone(), options.retries),
            observer: options.observer.clone(),
        })
    }

    /// Returns the answer to `call`, after as many attempts as the policy allows.
    pub async fn send(&self, call: &Call<'_>) -> Result<Response> {
        for attempt in 1.. {
            let fault = match self.attempt(call).await {
                Ok(response) => return Ok(response),
                Err(fault) => fault,
            };
            match fault.pause(attempt, &self.policy) {
                Some(pause) => self.wait(call, pause, &fault).await,
                None => return Err(call.error(attempt, fault.cause)),
            }
        }
        Err(call.error(0, Cause::Protocol("it was never asked".to_owned())))
    }

    /// Sleeps, and says why.
    pub async fn wait(&self, call: &Call<'_>, pause: Duration, fault: &Fault) {
        self.pause(&call.url, pause, fault).await;
    }

    /// Sleeps before `url` is asked again, and says why.
    pub async fn pause(&self, url: &Url, pause: Duration, fault: &Fault) {
        if let Some(observer) = &self.observer {
            let (host, path) = (authority(url), url.path());
            let seconds = pause.as_secs_f32();
            observer(&format!(
                "{host}{path}: {}; trying again in {seconds:.1} s",
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
            payload: call.payload,
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
            let Some(challenge) = Challenge::of(response.headers()) else {
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

/// Returns what an answer that is an error means.
pub(crate) async fn refusal(response: Response, timeout: Duration) -> Fault {
    let status = response.status();
    let asked = retry_after(response.headers());
    let host = authority(response.url());
    let message = read_message(response, timeout).await;
    let cause = match status {
        StatusCode::TOO_MANY_REQUESTS => Cause::RateLimited { host, message },
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

/// Returns the seconds of `Retry-After`; its other form, a date, is taken as no advice.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
