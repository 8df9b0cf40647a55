//! What strangers send makes no reader panic, and what is read is written back alike.

use kiln_oci::{Digest, Document, ImageConfig, MediaType, Platform, Reference};
use proptest::prelude::*;

/// Returns JSON that resembles documents: known keys, odd values.
fn resembling_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("2".to_owned()),
        Just("-1".to_owned()),
        Just("1e99".to_owned()),
        Just(format!("\"{}\"", Digest::sha256("x"))),
        Just(format!("\"{}\"", MediaType::OCI_MANIFEST)),
        "\"[a-z:/.]{0,12}\"",
    ];
    let key = prop_oneof![
        Just("schemaVersion"),
        Just("mediaType"),
        Just("config"),
        Just("layers"),
        Just("manifests"),
        Just("digest"),
        Just("size"),
        Just("rootfs"),
        Just("type"),
        Just("diff_ids"),
        Just("history"),
        Just("Env"),
        Just("annotations"),
    ];
    leaf.prop_recursive(4, 48, 8, move |inner| {
        let pair = (key.clone(), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec(pair, 0..8).prop_map(|pairs| {
                let members = pairs
                    .iter()
                    .map(|(key, value)| format!("\"{key}\":{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn documents_that_are_read_are_read_again_from_what_is_written(text in resembling_json()) {
        if let Ok(document) = Document::parse(text.as_bytes(), None) {
            let bytes = match &document {
                Document::Manifest(manifest) => manifest.to_bytes(),
                Document::Index(index) => index.to_bytes(),
            };
            prop_assert_eq!(Document::parse(&bytes, None).unwrap(), document);
        }
        if let Ok(config) = ImageConfig::parse(text.as_bytes()) {
            prop_assert_eq!(ImageConfig::parse(&config.to_bytes()).unwrap(), config);
        }
    }

    #[test]
    fn texts_that_are_names_are_the_same_name_again(text in "[a-zA-Z0-9.:/@_-]{0,40}|\\PC{0,20}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference.clone());
            prop_assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
        }
        if let Ok(platform) = text.parse::<Platform>() {
            prop_assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform);
        }
        let _ = text.parse::<Digest>();
    }

    #[test]
    fn arbitrary_bytes_are_errors_not_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Document::parse(&bytes, None).is_err());
        prop_assert!(ImageConfig::parse(&bytes).is_err());
    }
}
