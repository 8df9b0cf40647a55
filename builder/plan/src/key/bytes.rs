//! The layout of canonical bytes: every value preceded by its length, nothing implied.

/// Writes values so that different sequences of values never give the same bytes.
#[derive(Debug)]
pub(super) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// Returns an encoder whose bytes begin with the version.
    pub(super) fn new(version: u32) -> Self {
        let bytes = format!("kiln cache key v{version}\n").into_bytes();
        Encoder { bytes }
    }

    /// Writes the name of what follows.
    pub(super) fn tag(&mut self, name: &'static str) {
        self.data(name.as_bytes());
    }

    pub(super) fn data(&mut self, data: &[u8]) {
        self.number(data.len() as u64);
        self.bytes.extend_from_slice(data);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.data(text.as_bytes());
    }

    pub(super) fn texts(&mut self, texts: &[String]) {
        self.list(texts, |encoder, text| encoder.text(text));
    }

    /// Writes eight bytes, least significant first.
    pub(super) fn number(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.bytes.push(u8::from(flag));
    }

    /// Writes whether there is a value, then the value.
    pub(super) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// Writes how many values there are, then each.
    pub(super) fn list<T>(
        &mut self,
        values: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        let start = self.bytes.len();
        self.number(0);
        let mut count: u64 = 0;
        for value in values {
            write(self, value);
            count += 1;
        }
        self.bytes[start..start + 8].copy_from_slice(&count.to_le_bytes());
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}
