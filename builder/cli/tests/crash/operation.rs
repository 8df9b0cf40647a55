//! What is done to a store, each with the store that it begins with.

use std::path::{Path, PathBuf};

use crate::site::Site;

/// A command that changes a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// An image comes in, into an empty store.
    Pull,
    /// An image is built on a base that is there.
    Build,
    /// The same, written to an archive compressed.
    Export,
    /// A built image leaves.
    Push,
    /// A built image gets another name.
    Tag,
    /// All that is not needed goes.
    Prune,
}

impl Operation {
    pub const ALL: [Self; 6] = [
        Self::Pull,
        Self::Build,
        Self::Export,
        Self::Push,
        Self::Tag,
        Self::Prune,
    ];

    /// Returns the arguments of the command.
    pub fn arguments(self, site: &Site) -> Vec<String> {
        let text = match self {
            Self::Pull => format!("pull {}", site.name("base:1")),
            Self::Build => format!("build -t app:1 {}", site.path("app").display()),
            Self::Export => {
                let (output, context) = (site.path("out.tar"), site.path("app"));
                let output = output.display();
                format!("build -o type=oci,dest={output} {}", context.display())
            }
            Self::Push => format!("push {}", site.name("pushed:1")),
            Self::Tag => "tag app:1 app:2".to_owned(),
            Self::Prune => "prune --all --force".to_owned(),
        };
        text.split(' ').map(str::to_owned).collect()
    }

    /// Makes the store that the command begins with.
    pub fn prepare(self, site: &Site) -> PathBuf {
        let store = site.path(&format!("before-{self:?}"));
        let before: &[&str] = match self {
            Self::Pull => &[],
            Self::Build | Self::Export => &["pull BASE"],
            Self::Push => &["pull BASE", "build -t PUSHED APP"],
            Self::Tag | Self::Prune => &["pull BASE", "build -t app:1 APP", "pull BASE"],
        };
        run(site, &store, &["images"]);
        run(site, &store, before);
        store
    }
}

fn run(site: &Site, store: &Path, commands: &[&str]) {
    for command in commands {
        let app = site.path("app");
        let command = command
            .replace("BASE", &site.name("base:1"))
            .replace("PUSHED", &site.name("pushed:1"))
            .replace("APP", app.to_str().unwrap());
        let arguments: Vec<_> = command.split(' ').map(str::to_owned).collect();
        site.kiln(store, &arguments).succeeded(&command);
    }
}
