//! Any bytes are a manifest, an index, a configuration, or an error; what is written of one is
//! read the same.
#![no_main]

use kiln_oci::{Document, ImageConfig, MediaType};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for media_type in [
        None,
        Some(MediaType::OCI_MANIFEST),
        Some(MediaType::OCI_INDEX),
    ] {
        let Ok(document) = Document::parse(bytes, media_type) else {
            continue;
        };
        let written = match &document {
            Document::Manifest(manifest) => manifest.to_bytes(),
            Document::Index(index) => index.to_bytes(),
        };
        let again = Document::parse(&written, media_type).expect("what is written can be read");
        assert_eq!(again, document);
    }
    if let Ok(config) = ImageConfig::parse(bytes) {
        let _ = config.platform();
        let again = ImageConfig::parse(&config.to_bytes()).expect("what is written can be read");
        assert_eq!(again, config);
    }
});
