//! What a store is made of, piece by piece, as people see it.

use std::fmt;
use std::str::FromStr;

use crate::usage::DiskUsage;

/// What a piece of a store is; the names are those of `docker buildx` where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// A layer, and the records that lead to it.
    Layer,
    /// A blob: a manifest, a configuration, the archive of a layer.
    Blob,
    /// A cache mount.
    CacheMount,
    /// The bare repository of a git remote.
    GitRepository,
    /// The logs of one build.
    Log,
    /// What is known of the files of a build context.
    ContextIndex,
}

impl ItemKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Layer,
        Self::Blob,
        Self::CacheMount,
        Self::GitRepository,
        Self::Log,
        Self::ContextIndex,
    ];

    /// Returns the name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Layer => "regular",
            Self::Blob => "blob",
            Self::CacheMount => "exec.cachemount",
            Self::GitRepository => "source.git.checkout",
            Self::Log => "log",
            Self::ContextIndex => "source.local",
        }
    }

    /// Whether it only makes later builds faster or explains earlier ones: it is small, and
    /// kept unless asked for by name.
    pub(crate) fn is_internal(self) -> bool {
        matches!(self, Self::Log | Self::ContextIndex)
    }
}

impl fmt::Display for ItemKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for ItemKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        named.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("unknown type `{text}`: there are {names}")
        })
    }
}

/// Whether a piece of the store can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemState {
    /// Nothing but later builds would miss it.
    Reclaimable,
    /// A living process uses it.
    InUse,
    /// An image that has a name needs it.
    Named,
}

/// A piece of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// Its name: a layer's or cache mount's 64 digits, a digest, a build's name.
    pub id: String,
    /// The room it takes, or gave back.
    pub usage: DiskUsage,
    /// When it was last used, in seconds since 1970.
    pub used_seconds: i64,
    /// What it is, for people: the step that made it, a cache mount's id.
    pub description: String,
    /// Whether it can be removed.
    pub state: ItemState,
}

/// A condition on items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemFilter {
    /// It is of this kind; of several such conditions one must hold.
    Kind(ItemKind),
    /// It is not of this kind.
    NotKind(ItemKind),
    /// Its name begins like this.
    Id(String),
    /// Its description has this in it.
    Description(String),
    /// A living process uses it, or not.
    InUse(bool),
}

/// Whether `item` meets `filters`.
pub fn meets(item: &Item, filters: &[ItemFilter]) -> bool {
    let mut kinds = filters
        .iter()
        .filter_map(|filter| match filter {
            ItemFilter::Kind(kind) => Some(*kind),
            _ => None,
        })
        .peekable();
    let is_of_kind = kinds.peek().is_none() || kinds.any(|kind| kind == item.kind);
    is_of_kind && filters.iter().all(|filter| meets_other(item, filter))
}

fn meets_other(item: &Item, filter: &ItemFilter) -> bool {
    match filter {
        ItemFilter::Kind(_) => true,
        ItemFilter::NotKind(kind) => item.kind != *kind,
        ItemFilter::Id(start) => item.id.starts_with(start.as_str()),
        ItemFilter::Description(part) => item.description.contains(part.as_str()),
        ItemFilter::InUse(is_in_use) => (item.state == ItemState::InUse) == *is_in_use,
    }
}
