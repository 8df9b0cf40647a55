//! The store on disk: content, layers, cache records, names, logs, locks.
//!
//! A store is one directory; files are the truth. A put writes to a temporary name and
//! renames; every put is idempotent. Many processes and threads use one store at once;
//! what belongs to a dead one is known by its free lock and removed by the next that opens
//! the store.
//!
//! | path | content |
//! |---|---|
//! | `kiln-store.json` | version and feature lists |
//! | `lock` | shared while open, exclusive for what must be alone |
//! | `blobs/sha256/<hex>` | content, as in an OCI image layout |
//! | `layers/<id>/diff/` | a committed layer: one overlay directory; `layer.json` beside it |
//! | `chains/<hex>` | chain ID → the layer that ends the chain |
//! | `active/<session>/` | unfinished files and layers, and the `lock` of their owner |
//! | `partial/<algorithm>-<hex>` | what has come of a blob that is being fetched |
//! | `damaged/<name>` | what was found to be damaged, out of everybody's way |
//! | `records/<2>/<hex>` | cache records |
//! | `recipes/<2>/<hex>`, `listings/<2>/<hex>` | what the keys of records were made of |
//! | `builds/<id>` | what the latest builds did |
//! | `images/<hex>` | name → manifest or index |
//! | `compressed/<diff hex>/` | diff ID + compression → blob |
//! | `logs/<build>/<step>.log` | full logs of steps |
//! | `locks/<hex>` | locks of units of work, with the process ID of the holder |
//! | `cache-mounts/<hex>/` | a cache mount: `mount.json`, and its directories `0`, `1`, … |
//! | `turns/<hex>-<number>/` | who uses or waits for a directory of a cache mount |
//! | `index/` | indexes of contexts |
//! | `trust/` | what is trusted because it was seen before |

mod blobs;
mod builds;
mod cache_mounts;
mod checked;
mod compressed;
mod damaged;
mod durable;
mod error;
mod gc;
mod images;
mod layer_format;
mod layer_id;
mod layers;
mod lease;
mod limits;
mod lock;
mod logs;
mod partial;
mod random;
mod records;
mod repair;
mod session;
mod store;
mod turns;
mod usage;
mod verify;
mod version;

pub use blobs::{BlobWriter, Blobs};
pub use builds::{
    BuildOutcome, BuildRecord, Builds, RunCause, Scene, SceneInput, StepEnd, StepOutcome,
    StepRecord, StepUsage,
};
pub use cache_mounts::{
    CacheMount, CacheMountFacts, CacheMountKey, CacheMountPurpose, CacheMountSharing,
    CacheMountUse, CacheMounts,
};
pub use checked::CheckedBlob;
pub use compressed::Compressed;
pub use error::{At, Error, Result};
pub use gc::{
    FileSystemSpace, Item, ItemFilter, ItemKind, ItemState, Listing, PruneReport, PruneRule,
    PruneScope, meets,
};
pub use images::{Images, ListedImages, NamedImage};
pub use layer_format::is_overlay;
pub use layer_id::{InvalidLayerId, LayerId};
pub use layers::{ActiveLayer, Chains, LayerFacts, LayerOrigin, Layers};
pub use limits::{FREE_EXPANSION_BYTES, LayerLimits};
pub use lock::{KeyLock, Patience, Waiting};
pub use logs::Logs;
pub use partial::PartialBlob;
pub use records::{Fact, InputContent, Recipe, RecipeInput, Recipes, Record, Records};
pub use repair::{Remedy, Repaired};
pub use store::Store;
pub use turns::WaitingForTurn;
pub use usage::{DiskUsage, Usage};
pub use verify::{Checked, Damage, Problem, Report};
