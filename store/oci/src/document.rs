//! Manifests and indexes, read strictly: the same bytes never have two meanings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::null::null_as_default;
use crate::strict_json::{parse_value, shape};
use crate::{Descriptor, ImageConfig, MediaFamily, MediaKind, MediaType, StrictJsonError};

/// A manifest: one image's configuration and layers, bottom first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own media type.
    pub media_type: MediaType,
    /// What kind of artifact this is, if it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, bottom first.
    #[serde(deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// An index: manifests for several platforms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The index's own media type.
    pub media_type: MediaType,
    /// The manifests, in order of preference.
    #[serde(deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// Annotations.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// What a document turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, taken apart at once"
)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A list of manifests.
    Index(Index),
}

/// The two kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentKind {
    /// One image.
    Manifest,
    /// A list of manifests.
    Index,
}

/// A document cannot be read as one unambiguous manifest or index.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not strict JSON, or fields are missing or of a wrong type.
    #[error("malformed manifest")]
    Malformed(#[from] StrictJsonError),
    /// It has the fields of a manifest and those of an index.
    #[error("ambiguous manifest: it has both `manifests` and `layers` or `config`")]
    Ambiguous,
    /// It has neither the fields of a manifest nor those of an index.
    #[error("neither a manifest nor an index")]
    Neither,
    /// The format's version is not 2.
    #[error("unsupported manifest schema version {0}")]
    SchemaVersion(u32),
    /// What the document says of itself is not what it was delivered as.
    #[error("document of media type {document} was delivered as {transport}")]
    TransportDisagrees {
        /// The document's own media type.
        document: String,
        /// The media type it was delivered under.
        transport: String,
    },
    /// The document's own media type is of another kind than its fields.
    #[error("media type {media_type} does not fit the document's fields")]
    WrongMediaType {
        /// The document's own media type.
        media_type: String,
    },
    /// A layer is not an archive this builder knows.
    #[error("unsupported layer type {media_type} of layer {digest}")]
    UnsupportedLayer {
        /// The layer's media type.
        media_type: String,
        /// The layer's digest.
        digest: String,
    },
    /// The configuration tells of another number of layers than the manifest.
    #[error("configuration lists {diff_ids} diff ids for {layers} layers")]
    LayerCounts {
        /// How many diff ids the configuration has.
        diff_ids: usize,
        /// How many layers the manifest has.
        layers: usize,
    },
}

impl Document {
    /// Returns the manifest or index that `bytes` hold.
    ///
    /// `transport_media_type` is what the document was delivered as (a `Content-Type`, a
    /// descriptor's media type); the document must agree with it. Refused are: more than
    /// 4 MiB, duplicate keys, trailing bytes, fields of both kinds, malformed digests and
    /// sizes, and, in the manifest of an image, layers of unknown media types.
    pub fn parse(bytes: &[u8], transport_media_type: Option<&str>) -> Result<Self, DocumentError> {
        let mut value = parse_value(bytes)?;
        let kind = kind_of(&value)?;
        let transport = transport_media_type.and_then(essence);
        settle_media_type(&mut value, kind, transport.as_deref())?;
        let document = match kind {
            DocumentKind::Manifest => Self::Manifest(shape(value)?),
            DocumentKind::Index => Self::Index(shape(value)?),
        };
        document.check()?;
        Ok(document)
    }

    /// Returns the document's media type.
    pub fn media_type(&self) -> &MediaType {
        match self {
            Self::Manifest(manifest) => &manifest.media_type,
            Self::Index(index) => &index.media_type,
        }
    }

    fn check(&self) -> Result<(), DocumentError> {
        let schema_version = match self {
            Self::Manifest(manifest) => manifest.schema_version,
            Self::Index(index) => index.schema_version,
        };
        match (schema_version, self) {
            (2, Self::Manifest(manifest)) if manifest.is_image() => manifest.check_layers(),
            (2, _) => Ok(()),
            (other, _) => Err(DocumentError::SchemaVersion(other)),
        }
    }
}

/// Tells the kind by the fields, not by what the document says of itself.
fn kind_of(value: &Value) -> Result<DocumentKind, DocumentError> {
    let has = |key| value.get(key).is_some();
    match (
        has("manifests"),
        has("config") || has("layers") || has("fsLayers"),
    ) {
        (true, true) => Err(DocumentError::Ambiguous),
        (true, false) => Ok(DocumentKind::Index),
        (false, true) => Ok(DocumentKind::Manifest),
        (false, false) => Err(DocumentError::Neither),
    }
}

/// Returns a Content-Type without parameters; none for one that says nothing.
fn essence(transport: &str) -> Option<String> {
    let essence = transport
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let silent = [
        "",
        "application/json",
        "application/octet-stream",
        "text/plain",
    ];
    (!silent.contains(&essence.as_str())).then_some(essence)
}

/// Makes `mediaType` present and checks that it fits the fields and the transport.
///
/// OCI documents may leave their media type out; then the transport's is taken.
fn settle_media_type(
    value: &mut Value,
    kind: DocumentKind,
    transport: Option<&str>,
) -> Result<(), DocumentError> {
    let own = value
        .get("mediaType")
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty());
    let settled = match (own, transport) {
        (Some(own), Some(transport)) if own != transport => {
            return Err(DocumentError::TransportDisagrees {
                document: own.to_owned(),
                transport: transport.to_owned(),
            });
        }
        (Some(text), _) | (None, Some(text)) => MediaType::from(text),
        (None, None) => kind.media_type(MediaFamily::Oci),
    };
    if settled.kind() != kind.media_kind() {
        return Err(DocumentError::WrongMediaType {
            media_type: settled.to_string(),
        });
    }
    if let Value::Object(map) = value {
        map.insert("mediaType".to_owned(), Value::String(settled.to_string()));
    }
    Ok(())
}

impl DocumentKind {
    fn media_kind(self) -> MediaKind {
        match self {
            Self::Manifest => MediaKind::Manifest,
            Self::Index => MediaKind::Index,
        }
    }

    fn media_type(self, family: MediaFamily) -> MediaType {
        match self {
            Self::Manifest => MediaType::manifest(family),
            Self::Index => MediaType::index(family),
        }
    }
}

impl Manifest {
    /// Returns the manifest of an image in `family`.
    pub fn new(family: MediaFamily, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: MediaType::manifest(family),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Returns whether the configuration is that of an image, not of another artifact.
    pub fn is_image(&self) -> bool {
        self.config.media_type.kind() == MediaKind::Config
    }

    /// Returns the bytes to store and to send.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn check_layers(&self) -> Result<(), DocumentError> {
        for layer in &self.layers {
            if !matches!(layer.media_type.kind(), MediaKind::Layer(_)) {
                return Err(DocumentError::UnsupportedLayer {
                    media_type: layer.media_type.to_string(),
                    digest: layer.digest.to_string(),
                });
            }
        }
        Ok(())
    }
}

impl Index {
    /// Returns an index in `family`.
    pub fn new(family: MediaFamily, manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: MediaType::index(family),
            manifests,
            annotations: BTreeMap::new(),
        }
    }

    /// Returns the manifest that fits `platform` best; among equals the first.
    pub fn select(&self, platform: &crate::Platform) -> Option<&Descriptor> {
        let rank = |descriptor: &&Descriptor| {
            descriptor
                .platform
                .as_ref()
                .and_then(|offered| platform.rank(offered))
        };
        self.manifests
            .iter()
            .filter(|one| rank(one).is_some())
            .min_by_key(rank)
    }

    /// Returns the bytes to store and to send.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Checks that `config` tells of as many layers as `manifest` has.
pub fn check_layer_counts(manifest: &Manifest, config: &ImageConfig) -> Result<(), DocumentError> {
    let (diff_ids, layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
    match diff_ids == layers {
        true => Ok(()),
        false => Err(DocumentError::LayerCounts { diff_ids, layers }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    fn descriptor(media_type: &str, digest: &str, size: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    }

    fn manifest(config: &str, layer: &str, more: &str) -> String {
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]{more}}}"#)
    }

    fn good() -> String {
        manifest(&descriptor(CONFIG, D, "2"), &descriptor(LAYER, D, "3"), "")
    }

    #[test]
    fn a_manifest_without_media_type_takes_the_transports() {
        let Document::Manifest(parsed) = Document::parse(good().as_bytes(), None).unwrap() else {
            panic!("not a manifest");
        };
        assert_eq!(parsed.media_type, MediaType::OCI_MANIFEST);
        assert_eq!((parsed.config.size, parsed.layers[0].size), (2, 3));
        let docker = Some("application/vnd.docker.distribution.manifest.v2+json; charset=utf-8");
        let parsed = Document::parse(good().as_bytes(), docker).unwrap();
        assert_eq!(parsed.media_type(), &MediaType::DOCKER_MANIFEST);
    }

    #[test]
    fn documents_with_two_meanings_are_refused() {
        let both = good().replace("\"config\"", "\"manifests\":[],\"config\"");
        let error = Document::parse(both.as_bytes(), None).unwrap_err();
        assert!(matches!(error, DocumentError::Ambiguous));
        let error = Document::parse(good().as_bytes(), Some(MediaType::OCI_INDEX)).unwrap_err();
        assert!(matches!(error, DocumentError::WrongMediaType { .. }));
        let says = good().replace(
            "{\"schema",
            "{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"schema",
        );
        let error = Document::parse(says.as_bytes(), Some(MediaType::OCI_MANIFEST)).unwrap_err();
        assert!(matches!(error, DocumentError::TransportDisagrees { .. }));
    }

    #[test]
    fn duplicate_keys_and_second_documents_are_refused_other_cases_ignored() {
        let layers = format!(r#","layers":[{}]"#, descriptor(LAYER, D, "3"));
        let twice = manifest(&descriptor(CONFIG, D, "2"), "", &layers);
        assert!(Document::parse(twice.as_bytes(), None).is_err());
        assert!(Document::parse(format!("{0}{0}", good()).as_bytes(), None).is_err());
        let other_case = good().replace("\"layers\"", "\"Layers\":[1],\"layers\"");
        assert!(Document::parse(other_case.as_bytes(), None).is_ok());
    }

    #[test]
    fn malformed_digests_and_sizes_are_refused() {
        let config = descriptor(CONFIG, D, "2");
        for size in [
            "-1",
            "9223372036854775808",
            "9223372036854775808000",
            "\"3\"",
            "1.5",
            "null",
        ] {
            let text = manifest(&config, &descriptor(LAYER, D, size), "");
            assert!(Document::parse(text.as_bytes(), None).is_err(), "{size}");
        }
        let text = manifest(
            &config,
            &descriptor(LAYER, "sha256:../../../../canary", "1"),
            "",
        );
        assert!(Document::parse(text.as_bytes(), None).is_err());
    }

    #[test]
    fn unknown_layer_types_of_images_are_refused_by_name() {
        let evil = descriptor("application/vnd.evil.script", D, "1");
        let text = manifest(&descriptor(CONFIG, D, "2"), &evil, "");
        let error = Document::parse(text.as_bytes(), None).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("unsupported layer type application/vnd.evil")
        );
    }

    #[test]
    fn a_config_of_another_number_of_layers_is_refused() {
        let Ok(Document::Manifest(parsed)) = Document::parse(good().as_bytes(), None) else {
            panic!("not a manifest");
        };
        let error = check_layer_counts(&parsed, &ImageConfig::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "configuration lists 0 diff ids for 1 layers"
        );
    }

    #[test]
    fn an_index_gives_the_nearest_platform() {
        let entry = |platform: &str| {
            let mut entry = Descriptor::of_bytes(MediaType::OCI_MANIFEST, platform.as_bytes());
            entry.platform = Some(platform.parse().unwrap());
            entry
        };
        let entries = ["linux/arm/v6", "linux/arm/v7", "linux/amd64"]
            .map(entry)
            .to_vec();
        let index = Index::new(MediaFamily::Oci, entries.clone());
        let bytes = index.to_bytes();
        assert_eq!(
            Document::parse(&bytes, None).unwrap(),
            Document::Index(index.clone())
        );
        let select = |text: &str| index.select(&text.parse().unwrap());
        assert_eq!(select("linux/arm/v7"), Some(&entries[1]));
        assert_eq!(select("linux/s390x"), None);
    }
}
