//! Arguments of `kiln binfmt`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum BinfmtCommand {
    /// Register emulators with the kernel, for everybody, until it is started anew; as root
    Install(BinfmtInstallArguments),
    /// Remove registrations; as root
    Remove(BinfmtRemoveArguments),
    /// List the platforms whose programs this machine runs, and how
    Ls(BinfmtListArguments),
}

#[derive(Debug, Args)]
pub struct BinfmtInstallArguments {
    /// Platforms or architectures: linux/arm64, riscv64 [default: all that there are emulators for]
    #[arg(value_name = "PLATFORM", value_delimiter = ',')]
    pub platforms: Vec<String>,
}

#[derive(Debug, Args)]
pub struct BinfmtRemoveArguments {
    /// Platforms or architectures
    #[arg(
        value_name = "PLATFORM",
        value_delimiter = ',',
        required_unless_present = "all"
    )]
    pub platforms: Vec<String>,
    /// All that `kiln binfmt install` may have registered
    #[arg(long, conflicts_with = "platforms")]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct BinfmtListArguments {
    /// Print as table or json
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    pub format: String,
}
