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
    /// Returns the fields of `specification`. Names are of any case, but for what follows a dot;
    /// none may be there twice. A field in quotes may have commas, as elsewhere.
    pub fn split(what: &'static str, specification: &str) -> Result<Self, Failure> {
        let mut fields = Fields::of(what, specification, []);
        for field in &quoted_fields(specification) {
            let (key, value) = field.split_once('=').ok_or_else(|| {
                let reason = format!("`{field}` has no value");
                fields.invalid(&reason, "write it as KEY=VALUE")
            })?;
            let name = match key.trim().split_once('.') {
                Some((name, rest)) => format!("{}.{rest}", name.to_lowercase()),
                None => key.trim().to_lowercase(),
            };
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

    /// Takes all fields out whose names begin with `prefix`.
    pub fn take_all(&mut self, prefix: &str) -> BTreeMap<String, String> {
        let is_other = |name: &String, _: &mut String| name.starts_with(prefix);
        self.values.extract_if(.., is_other).collect()
    }

    /// Takes the field `name` out, which must be there.
    pub fn need(&mut self, name: &str, hint: &str) -> Result<String, Failure> {
        self.take(name)
            .ok_or_else(|| self.invalid(&format!("it has no `{name}=`"), hint))
    }

    /// Takes the field `name` out: true or false.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, Failure> {
        Ok(self.optional_flag(name)?.unwrap_or(default))
    }

    /// Takes the field `name` out: true, false, or not there.
    pub fn optional_flag(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
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

/// Splits at commas that do not stand between quotes. Within them `""` is a quote.
fn quoted_fields(specification: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = specification.chars().peekable();
    while let Some(character) = characters.next() {
        let last = fields.len() - 1;
        match character {
            '"' if is_quoted && characters.next_if_eq(&'"').is_some() => fields[last].push('"'),
            '"' if is_quoted || fields[last].is_empty() => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            other => fields[last].push(other),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_between_quotes_belong_to_a_field() {
        let cases: [(&str, &[&str]); 4] = [
            ("a=1,b=2", &["a=1", "b=2"]),
            (
                r#"type=image,"name=a,b",push=true"#,
                &["type=image", "name=a,b", "push=true"],
            ),
            (r#""a=say ""x""""#, &[r#"a=say "x""#]),
            (r#"a="b"#, &[r#"a="b"#]),
        ];
        for (specification, expected) in cases {
            assert_eq!(quoted_fields(specification), expected, "{specification}");
        }
    }
}
