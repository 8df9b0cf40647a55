//! Annotations that somebody asks for, and where in an image they stand.
//!
//! Specification: OCI image-spec, annotations.md; the four levels are those of `docker buildx`.

use std::collections::BTreeMap;

use crate::Platform;

/// Which document or entry an annotation stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotationLevel {
    /// The manifest of an image.
    Manifest,
    /// The entry of a manifest in the index that lists it.
    ManifestDescriptor,
    /// The index of several images.
    Index,
    /// The entry of an index in the `index.json` of a layout.
    IndexDescriptor,
}

impl AnnotationLevel {
    /// Returns the level that is called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "manifest" => Some(Self::Manifest),
            "manifest-descriptor" => Some(Self::ManifestDescriptor),
            "index" => Some(Self::Index),
            "index-descriptor" => Some(Self::IndexDescriptor),
            _ => None,
        }
    }

    /// Returns what it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::ManifestDescriptor => "manifest-descriptor",
            Self::Index => "index",
            Self::IndexDescriptor => "index-descriptor",
        }
    }

    /// Whether it needs an index.
    pub fn is_of_index(self) -> bool {
        matches!(self, Self::Index | Self::IndexDescriptor)
    }
}

/// One annotation and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Which document or entry it stands in.
    pub level: AnnotationLevel,
    /// The platform whose manifest it is about; all of them when absent.
    pub platform: Option<Platform>,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Annotations of one image; a later one with the same key and place wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(Vec<Annotation>);

impl Annotations {
    /// Returns those of an index that is there already.
    pub fn of_index(annotations: &BTreeMap<String, String>) -> Self {
        let of_index = annotations.iter().map(|(key, value)| Annotation {
            level: AnnotationLevel::Index,
            platform: None,
            key: key.clone(),
            value: value.clone(),
        });
        Self(of_index.collect())
    }

    /// Returns these and then `others`.
    pub fn with(&self, others: &Self) -> Self {
        Self(self.0.iter().chain(&others.0).cloned().collect())
    }

    /// Returns them all.
    pub fn iter(&self) -> impl Iterator<Item = &Annotation> {
        self.0.iter()
    }

    /// Returns what stands at `level` of the image for `platform`.
    pub fn at(&self, level: AnnotationLevel, platform: &Platform) -> BTreeMap<String, String> {
        let is_meant =
            |wanted: &Option<Platform>| wanted.as_ref().is_none_or(|wanted| wanted == platform);
        self.pairs(|one| one.level == level && is_meant(&one.platform))
    }

    /// Returns what stands at `level` of what all platforms share: an index or its entry.
    pub fn at_index(&self, level: AnnotationLevel) -> BTreeMap<String, String> {
        self.pairs(|one| one.level == level)
    }

    fn pairs(&self, is_wanted: impl Fn(&Annotation) -> bool) -> BTreeMap<String, String> {
        let wanted = self.0.iter().filter(|one| is_wanted(one));
        wanted
            .map(|one| (one.key.clone(), one.value.clone()))
            .collect()
    }
}

impl FromIterator<Annotation> for Annotations {
    fn from_iter<I: IntoIterator<Item = Annotation>>(annotations: I) -> Self {
        Self(annotations.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(level: AnnotationLevel, platform: Option<&str>, value: &str) -> Annotation {
        Annotation {
            level,
            platform: platform.map(|platform| platform.parse().unwrap()),
            key: "key".to_owned(),
            value: value.to_owned(),
        }
    }

    fn value(annotations: &Annotations, level: AnnotationLevel, platform: &str) -> Option<String> {
        annotations
            .at(level, &platform.parse().unwrap())
            .remove("key")
    }

    #[test]
    fn annotation_without_platform_is_that_of_every_platform() {
        let annotations = [annotation(AnnotationLevel::Manifest, None, "all")];
        let annotations: Annotations = annotations.into_iter().collect();
        for platform in ["linux/amd64", "linux/arm/v7"] {
            let found = value(&annotations, AnnotationLevel::Manifest, platform);
            assert_eq!(found.as_deref(), Some("all"), "{platform}");
        }
        let elsewhere = value(
            &annotations,
            AnnotationLevel::ManifestDescriptor,
            "linux/amd64",
        );
        assert_eq!(elsewhere, None);
    }

    #[test]
    fn later_annotation_of_the_same_key_wins_where_it_applies() {
        let level = AnnotationLevel::Manifest;
        let all: Annotations = [annotation(level, None, "all")].into_iter().collect();
        let one = [annotation(level, Some("linux/arm64"), "one")];
        let annotations = all.with(&one.into_iter().collect());
        let found = |platform| value(&annotations, level, platform);
        assert_eq!(found("linux/arm64").as_deref(), Some("one"));
        assert_eq!(found("linux/amd64").as_deref(), Some("all"));
    }

    #[test]
    fn every_level_is_found_by_its_name() {
        for level in [
            AnnotationLevel::Manifest,
            AnnotationLevel::ManifestDescriptor,
            AnnotationLevel::Index,
            AnnotationLevel::IndexDescriptor,
        ] {
            assert_eq!(AnnotationLevel::from_name(level.name()), Some(level));
        }
        assert_eq!(AnnotationLevel::from_name("layer"), None);
    }
}
