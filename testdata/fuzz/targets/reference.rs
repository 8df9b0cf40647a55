//! Any text is an image name that is read back as itself, or none.
#![no_main]

use kiln_oci::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match text.parse::<Reference>() {
        Ok(reference) => {
            assert_eq!(reference.to_string().parse().as_ref(), Ok(&reference));
            assert_eq!(reference.familiar().parse().as_ref(), Ok(&reference));
            assert!(
                !reference
                    .repository()
                    .split('/')
                    .any(|part| part == ".." || part.is_empty())
            );
            assert!(!reference.registry().contains('/'));
        }
        Err(error) => assert!(error.to_string().len() < 2000),
    }
});
