//! Any header is a list of challenges, or none; what is read of one has been in it.
#![no_main]

use kiln_oci::Challenge;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let unescaped = text.replace('\\', "");
    for challenge in Challenge::parse(text) {
        let Challenge::Bearer {
            realm,
            service,
            scope,
        } = challenge
        else {
            continue;
        };
        assert!(!realm.is_empty());
        for value in [Some(realm), service, scope].into_iter().flatten() {
            assert!(unescaped.contains(&value.replace('\\', "")));
        }
    }
});
