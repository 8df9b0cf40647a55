//! A cache in a registry.

use super::{Player, Promise, Row, Site, Size, Workload};
use crate::contender::Build;
use crate::cost::Cost;

/// A small project writes its cache; another store begins with it.
pub struct RegistryCache;

impl Workload for RegistryCache {
    fn rows(&self) -> &'static [Row] {
        const {
            &[
                Row {
                    name: "cache-to",
                    title: "a small project, its cache to a registry",
                    promise: Promise::NONE,
                },
                Row {
                    name: "cache-from",
                    title: "and from there, with an empty store",
                    promise: Promise::NONE,
                },
            ]
        }
    }

    fn size(&self, _scale: f64) -> Size {
        Size {
            count: 1,
            unit: "project",
        }
    }

    fn prepare(&self, _site: &Site<'_>) {}

    fn round(&self, site: &Site<'_>, player: &Player<'_>, number: usize) -> Vec<Option<Cost>> {
        let base = site.base();
        let dockerfile = format!(
            "FROM {base} AS build\nWORKDIR /src\nCOPY source .\n\
             RUN for n in 1 2 3 4 5; do sha256sum source > made$n; done\n\
             RUN cat made* > result; echo {number} >> result\n\
             FROM {base}\nCOPY --from=build /src/result /result\nRUN test -s /result\n"
        );
        let context = site.context("context", &dockerfile);
        std::fs::write(context.join("source"), "source\n".repeat(1_000)).expect("a file");
        let kind = player.contender.kind().name();
        let cache = format!("{}/cache/{kind}{number}:cache", site.registry.address());
        let kept = Build::kept(&context, "project");
        player.contender.empty();
        player.carry_out(player.contender.pull(&base));
        let to = player.measure(&Build {
            cache_to: Some(&cache),
            ..kept.clone()
        });
        player.contender.empty();
        let from = player.measure(&Build {
            cache_from: Some(&cache),
            ..kept
        });
        vec![to, from]
    }
}
