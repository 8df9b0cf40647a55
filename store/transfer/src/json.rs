//! JSON as other builders write it: manifests and indexes are indented by two spaces.

use serde::Serialize;

/// Returns `document` indented, without a final line break.
///
/// The documents of this crate have text keys only, so that writing them cannot fail.
pub(crate) fn indented(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(document).unwrap_or_default()
}
