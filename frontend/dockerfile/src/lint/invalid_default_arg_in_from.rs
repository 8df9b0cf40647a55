//! InvalidDefaultArgInFrom: FROM names an image without any `--build-arg`, too.

use super::{INVALID_DEFAULT_ARG_IN_FROM, Report};
use crate::diagnostic::Diagnostic;
use crate::syntax::Word;
use kiln_oci::Reference;

/// Checks the `image` of a FROM, which comes to `name` with the defaults of all arguments.
pub(crate) fn check(image: &Word, name: &str, report: &mut Report) {
    if name.parse::<Reference>().is_err() {
        let message = format!(
            "Default value for ARG {} results in empty or invalid base image name",
            image.text
        );
        let finding = Diagnostic::warning(INVALID_DEFAULT_ARG_IN_FROM.code(), image.span, message);
        report.add(finding.with_text(format!("{name:?} without build arguments")));
    }
}
