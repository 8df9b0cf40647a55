//! Media types of the documents and layers that make up an image.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A media type, kept as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(String);

/// Who defined a media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaFamily {
    /// The OCI image specification.
    Oci,
    /// Docker's image manifest, version 2, schema 2.
    Docker,
}

/// How a layer's archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerEncoding {
    /// A plain tar archive.
    Tar,
    /// Compressed by gzip.
    TarGzip,
    /// Compressed by zstd.
    TarZstd,
}

/// What a media type stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A list of manifests.
    Index,
    /// One image.
    Manifest,
    /// An image configuration.
    Config,
    /// A layer.
    Layer(LayerEncoding),
    /// Something that is not part of an image this builder knows.
    Other,
}

const OCI: &str = "application/vnd.oci.image.";
const DOCKER: &str = "application/vnd.docker.";

impl MediaType {
    /// An OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// A Docker manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// A Docker image manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

    /// Returns the media type of an index in `family`.
    pub fn index(family: MediaFamily) -> Self {
        match family {
            MediaFamily::Oci => Self::from(Self::OCI_INDEX),
            MediaFamily::Docker => Self::from(Self::DOCKER_INDEX),
        }
    }

    /// Returns the media type of a manifest in `family`.
    pub fn manifest(family: MediaFamily) -> Self {
        match family {
            MediaFamily::Oci => Self::from(Self::OCI_MANIFEST),
            MediaFamily::Docker => Self::from(Self::DOCKER_MANIFEST),
        }
    }

    /// Returns the media type of an image configuration in `family`.
    pub fn config(family: MediaFamily) -> Self {
        match family {
            MediaFamily::Oci => Self(format!("{OCI}config.v1+json")),
            MediaFamily::Docker => Self(format!("{DOCKER}container.image.v1+json")),
        }
    }

    /// Returns the media type of a layer packed as `encoding` in `family`.
    pub fn layer(family: MediaFamily, encoding: LayerEncoding) -> Self {
        let suffix = match (family, encoding) {
            (MediaFamily::Oci, LayerEncoding::Tar) => "layer.v1.tar",
            (MediaFamily::Oci, LayerEncoding::TarGzip) => "layer.v1.tar+gzip",
            (MediaFamily::Oci, LayerEncoding::TarZstd) => "layer.v1.tar+zstd",
            (MediaFamily::Docker, LayerEncoding::Tar) => "image.rootfs.diff.tar",
            (MediaFamily::Docker, LayerEncoding::TarGzip) => "image.rootfs.diff.tar.gzip",
            (MediaFamily::Docker, LayerEncoding::TarZstd) => "image.rootfs.diff.tar.zstd",
        };
        match family {
            MediaFamily::Oci => Self(format!("{OCI}{suffix}")),
            MediaFamily::Docker => Self(format!("{DOCKER}{suffix}")),
        }
    }

    /// Returns what this media type stands for.
    pub fn kind(&self) -> MediaKind {
        use LayerEncoding::{Tar, TarGzip, TarZstd};
        if let Some(rest) = self.0.strip_prefix(OCI) {
            return match rest {
                "index.v1+json" => MediaKind::Index,
                "manifest.v1+json" => MediaKind::Manifest,
                "config.v1+json" => MediaKind::Config,
                "layer.v1.tar" | "layer.nondistributable.v1.tar" => MediaKind::Layer(Tar),
                "layer.v1.tar+gzip" | "layer.nondistributable.v1.tar+gzip" => {
                    MediaKind::Layer(TarGzip)
                }
                "layer.v1.tar+zstd" | "layer.nondistributable.v1.tar+zstd" => {
                    MediaKind::Layer(TarZstd)
                }
                _ => MediaKind::Other,
            };
        }
        match self.0.strip_prefix(DOCKER).unwrap_or_default() {
            "distribution.manifest.list.v2+json" => MediaKind::Index,
            "distribution.manifest.v2+json" => MediaKind::Manifest,
            "container.image.v1+json" => MediaKind::Config,
            "image.rootfs.diff.tar" | "image.rootfs.foreign.diff.tar" => MediaKind::Layer(Tar),
            "image.rootfs.diff.tar.gzip" | "image.rootfs.foreign.diff.tar.gzip" => {
                MediaKind::Layer(TarGzip)
            }
            "image.rootfs.diff.tar.zstd" => MediaKind::Layer(TarZstd),
            _ => MediaKind::Other,
        }
    }

    /// Returns the family, if it is one of an image's media types.
    pub fn family(&self) -> Option<MediaFamily> {
        if self.0.starts_with(OCI) {
            Some(MediaFamily::Oci)
        } else if self.0.starts_with(DOCKER) {
            Some(MediaFamily::Docker)
        } else {
            None
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for MediaType {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl AsRef<str> for MediaType {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for MediaType {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for MediaType {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_media_type_that_is_made_is_recognised() {
        for family in [MediaFamily::Oci, MediaFamily::Docker] {
            assert_eq!(MediaType::index(family).kind(), MediaKind::Index);
            assert_eq!(MediaType::manifest(family).kind(), MediaKind::Manifest);
            assert_eq!(MediaType::config(family).kind(), MediaKind::Config);
            for encoding in [
                LayerEncoding::Tar,
                LayerEncoding::TarGzip,
                LayerEncoding::TarZstd,
            ] {
                let layer = MediaType::layer(family, encoding);
                assert_eq!(layer.kind(), MediaKind::Layer(encoding));
                assert_eq!(layer.family(), Some(family));
            }
        }
    }

    #[test]
    fn foreign_media_types_are_other() {
        let evil = MediaType::from("application/vnd.evil.script");
        assert_eq!((evil.kind(), evil.family()), (MediaKind::Other, None));
    }
}
