//! ExposeInvalidFormat: EXPOSE names ports of the container, not of the host.

use super::{EXPOSE_INVALID_FORMAT, Report};
use crate::syntax::Span;

/// Checks the `port` of an EXPOSE.
pub(crate) fn check(port: &str, span: Span, report: &mut Report) {
    let has_host = port
        .rsplit_once(':')
        .is_some_and(|(host, _)| !host.trim_matches(':').is_empty());
    if has_host {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
        );
        report.report(&EXPOSE_INVALID_FORMAT, span, message);
    }
}
