//! Specifications of comma-separated fields: `type=oci,dest=out.tar,compression=zstd`.

use super::output::parse_compression;
use crate::error::Failure;
use kiln_engine::Compression;
use std::collections::BTreeMap;

/// The fields of one specification, taken out one by one.
pub(super) struct Fields {
    /// What is specified, for messages: `output`.
    what: &'static str,
    /// As the user wrote it.
    pub specification: String,
    values: BTreeMap<String, String>,
}

impl Fields {
    /// Returns the fields of `specification`. Names are of any case; none may be there twice.
    pub fn split(what: &'static str, specification: &str) -> Result<Self, Failure> {
        let mut fields = Fields::of(what, specification, []);
        for field in specification.split(',') {
            let (key, value) = field.split_once('=').ok_or_else(|| {
                let reason = format!("`{field}` has no value");
                fields.invalid(&reason, "write it as KEY=VALUE")
            })?;
            let name = key.trim().to_lowercase();
            if fields.values.insert(name, value.to_owned()).is_some() {
                let reason = format!("`{key}` is given twice");
                return Err(fields.invalid(&reason, "give it once"));
            }
        }
        Ok(fields)
    }

    /// Returns the fields that the short form `specification` stands for.
    pub fn of<const N: usize>(
        what: &'static str,
        specification: &str,
        values: [(&str, &str); N],
    ) -> Self {
        let owned = values.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Fields {
            what,
            specification: specification.to_owned(),
            values: owned.into(),
        }
    }

    /// Takes the field `name` out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    /// Takes the field `name` out, which must be there.
    pub fn need(&mut self, name: &str, hint: &str) -> Result<String, Failure> {
        self.take(name)
            .ok_or_else(|| self.invalid(&format!("it has no `{name}=`"), hint))
    }

    /// Takes the field `name` out: true or false.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, Failure> {
        match self.take(name).as_deref() {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(self.invalid(&format!("`{name}={other}`"), "use true or false")),
        }
    }

    /// Takes the compression and its level out.
    pub fn compression(&mut self) -> Result<Compression, Failure> {
        let level = self.take("compression-level");
        let level = level.map(|level| level.parse::<i32>()).transpose();
        let level =
            level.map_err(|_| self.invalid("compression-level is not a number", "use 0 to 22"))?;
        let name = self.take("compression");
        let name = name.unwrap_or_else(|| "gzip".to_owned());
        parse_compression(&name, level).ok_or_else(|| {
            let reason = format!("compression `{name}` is not supported");
            self.invalid(&reason, "use gzip, zstd or uncompressed")
        })
    }

    /// Refuses what nobody has taken out.
    pub fn finish(self, kind: &str) -> Result<(), Failure> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(unknown) => {
                let reason = format!("`{unknown}` is not an option of type={kind}");
                Err(self.invalid(&reason, "remove it, or see `kiln build --help`"))
            }
        }
    }

    /// Returns the error about this specification.
    pub fn invalid(&self, reason: &str, hint: &str) -> Failure {
        let (what, specification) = (self.what, &self.specification);
        Failure::usage(format!("invalid {what} `{specification}`: {reason}")).with_hint(hint)
    }
}
