//! InvalidBaseImagePlatform: the base image is for the platform that it was asked for.

use super::{INVALID_BASE_IMAGE_PLATFORM, Report};
use crate::syntax::Span;
use kiln_oci::Platform;

/// Checks the image that is called `name` at `span`.
pub(crate) fn check(
    name: &str,
    span: Span,
    expected: &Platform,
    actual: &Platform,
    report: &mut Report,
) {
    if expected.os == actual.os && expected.architecture == actual.architecture {
        return;
    }
    let (actual, expected) = (actual.to_string(), expected.to_string());
    let message = format!(
        "Base image {name} was pulled with platform {actual:?}, expected {expected:?} for current build"
    );
    report.report(&INVALID_BASE_IMAGE_PLATFORM, span, message);
}
