//! Bearer tokens: exchanging credentials for the right to use a repository.
//! Specification: Docker's "Token Authentication Specification" and its OAuth2 form.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::RetryPolicy;
use crate::body::{MAX_SMALL_BYTES, read_whole};
use crate::credentials::Credential;
use crate::endpoint::{Endpoint, authority, is_loopback};
use crate::error::Cause;
use crate::http::{Http, Payload, Request};
use crate::retry::{Attempts, Fault, Retry, retry_of_status};
use crate::transport::in_seconds;

/// A token and how long it lives.
#[derive(Clone)]
pub(crate) struct Token {
    pub value: String,
    expires: Instant,
}

/// Where tokens come from, as a challenge said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Realm {
    url: Url,
    service: Option<String>,
}

const DEFAULT_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(3600);
/// A token is not used in the last seconds of its life: the request takes time too.
const MARGIN: Duration = Duration::from_secs(5);

impl Token {
    pub fn is_fresh(&self) -> bool {
        Instant::now() < self.expires
    }
}

impl Realm {
    /// Returns the realm that `endpoint` names, if credentials may be sent there.
    ///
    /// It must be HTTPS. A plain registry may keep its realm on its own host, and one on
    /// this machine anywhere on this machine.
    pub fn new(realm: &str, service: Option<String>, endpoint: &Endpoint) -> Result<Self, Fault> {
        let refuse = |reason: &str| {
            Fault::never(Cause::Token {
                realm: crate::body::printable(realm),
                reason: reason.to_owned(),
            })
        };
        let url = Url::parse(realm).map_err(|_| refuse("it is no address"))?;
        let plain_registry = endpoint.base.scheme() == "http";
        let near = url.host_str() == endpoint.base.host_str()
            || (is_loopback(&url) && is_loopback(&endpoint.base));
        match url.scheme() {
            "https" => Ok(Self { url, service }),
            "http" if plain_registry && near => Ok(Self { url, service }),
            _ => Err(refuse("credentials are sent over HTTPS only")),
        }
    }

    fn name(&self) -> String {
        format!(
            "{}://{}{}",
            self.url.scheme(),
            authority(&self.url),
            self.url.path()
        )
    }

    fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault::never(Cause::Token {
            realm: self.name(),
            reason: reason.into(),
        })
    }

    /// Gets a token for `scopes`, trying again while the endpoint is busy.
    pub async fn fetch(
        &self,
        http: &Http,
        scopes: &[String],
        credential: &Credential,
        policy: &RetryPolicy,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<Token, Fault> {
        let mut attempts = Attempts::default();
        loop {
            let fault = match self.fetch_once(http, scopes, credential).await {
                Ok(token) => return Ok(token),
                Err(fault) => fault,
            };
            let Some(pause) = attempts.failed(&fault, policy) else {
                // The caller must not multiply these attempts by its own.
                return Err(Fault::never(fault.cause));
            };
            let seconds = in_seconds(pause);
            tell(&format!("retrying in {seconds} s: {}", fault.cause));
            tokio::time::sleep(pause).await;
        }
    }

    async fn fetch_once(
        &self,
        http: &Http,
        scopes: &[String],
        credential: &Credential,
    ) -> Result<Token, Fault> {
        let form;
        let request = match credential {
            Credential::Identity(token) => {
                form = Bytes::from(self.form(scopes, token));
                let mut headers = HeaderMap::new();
                let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(CONTENT_TYPE, kind);
                let payload = Payload::Bytes(&form);
                Request {
                    method: Method::POST,
                    url: self.url.clone(),
                    headers,
                    payload,
                }
            }
            _ => {
                let mut headers = HeaderMap::new();
                headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
                let url = self.query(scopes);
                Request {
                    method: Method::GET,
                    url,
                    headers,
                    payload: Payload::Empty,
                }
            }
        };
        let authorization = credential.basic();
        let response = http.send(&request, authorization.as_deref()).await;
        let response = response.map_err(|fault| self.explain(fault))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.fault(format!(
                    "the credentials were refused ({})",
                    response.status()
                )));
            }
            status => {
                let fault = self.fault(format!("it answered {status}"));
                let retry = match retry_of_status(status, None) {
                    Retry::After(_) => Retry::Doubtful,
                    other => other,
                };
                return Err(Fault { retry, ..fault });
            }
        }
        let timeout = http.timeouts.document;
        let bytes = read_whole(response, MAX_SMALL_BYTES, timeout).await;
        self.read(&bytes.map_err(|fault| self.explain(fault))?)
    }

    fn explain(&self, fault: Fault) -> Fault {
        Fault {
            cause: self.fault(fault.cause.to_string()).cause,
            retry: fault.retry,
        }
    }

    fn query(&self, scopes: &[String]) -> Url {
        let mut url = self.url.clone();
        {
            let mut pairs = url.query_pairs_mut();
            if let Some(service) = &self.service {
                pairs.append_pair("service", service);
            }
            for scope in scopes {
                pairs.append_pair("scope", scope);
            }
        }
        url
    }

    fn form(&self, scopes: &[String], refresh_token: &str) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "kiln")
            .append_pair("service", self.service.as_deref().unwrap_or_default())
            .append_pair("scope", &scopes.join(" "))
            .append_pair("refresh_token", refresh_token);
        url.query().unwrap_or_default().to_owned()
    }

    fn read(&self, bytes: &[u8]) -> Result<Token, Fault> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<u64>,
        }
        // The body may hold a secret or a page: it is never repeated.
        let answer: Answer = serde_json::from_slice(bytes)
            .map_err(|_| self.fault("its answer is no token document"))?;
        let value = [answer.token, answer.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty());
        let value = value.ok_or_else(|| self.fault("its answer holds no token"))?;
        let life = answer
            .expires_in
            .map_or(DEFAULT_LIFE, Duration::from_secs)
            .min(LONGEST_LIFE);
        Ok(Token {
            value,
            expires: Instant::now() + life.saturating_sub(MARGIN),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RegistrySettings;

    fn realm(registry: &str, realm: &str) -> bool {
        let settings = RegistrySettings {
            insecure: vec!["lan:5000".into()],
            ..Default::default()
        };
        let endpoint = Endpoint::of(registry, "a", &settings).unwrap();
        Realm::new(realm, None, &endpoint).is_ok()
    }

    #[test]
    fn credentials_go_to_https_or_stay_on_the_plain_host() {
        assert!(realm("a.example", "https://auth.example/token"));
        assert!(!realm("a.example", "http://a.example/token"));
        assert!(!realm("a.example", "http://localhost/token"));
        assert!(realm("lan:5000", "http://lan:5001/token"));
        assert!(!realm("lan:5000", "http://evil.example/token"));
        assert!(realm("localhost:5000", "http://127.0.0.1:5001/token"));
        assert!(!realm("localhost:5000", "http://evil.example/token"));
        assert!(!realm("localhost:5000", "file:///etc/passwd"));
    }

    #[test]
    fn token_documents_have_two_forms() {
        let realm = Realm {
            url: Url::parse("https://a.example/t").unwrap(),
            service: None,
        };
        assert_eq!(realm.read(br#"{"token":"x"}"#).unwrap().value, "x");
        assert_eq!(
            realm
                .read(br#"{"token":"","access_token":"y"}"#)
                .unwrap()
                .value,
            "y"
        );
        for bytes in [&b"<html>"[..], b"{}", b"[]", br#"{"token":""}"#] {
            assert!(realm.read(bytes).is_err());
        }
        assert!(
            !realm
                .read(br#"{"token":"x","expires_in":0}"#)
                .unwrap()
                .is_fresh()
        );
    }
}
