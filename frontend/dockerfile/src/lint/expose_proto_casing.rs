//! ExposeProtoCasing: `80/tcp`, not `80/TCP`.

use super::{EXPOSE_PROTO_CASING, Report};
use crate::syntax::Span;

/// Checks the `port` of an EXPOSE.
pub(crate) fn check(port: &str, span: Span, report: &mut Report) {
    let protocol = port.split_once('/').map_or("", |(_, protocol)| protocol);
    if protocol.chars().any(char::is_uppercase) {
        let message =
            format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
        report.report(&EXPOSE_PROTO_CASING, span, message);
    }
}
