//! What is measured, as asked for on the command line.

use std::path::PathBuf;

use crate::contender::Kind;
use crate::workload;

/// Measures Kiln, its peers and the limits of the machine, in turns.
#[derive(clap::Parser, Debug)]
pub struct Options {
    /// The `kiln` to measure.
    #[arg(long, value_name = "PATH", default_value = "kiln")]
    pub kiln: PathBuf,
    /// Measure only these workloads; those of one line of `--list` are measured together.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Whom to measure besides Kiln and the limits; those that are installed unless told,
    /// `none` for nobody.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub peers: Option<Vec<String>>,
    /// How often each is run; a number of each workload's own unless told.
    #[arg(long, value_name = "NUMBER")]
    pub rounds: Option<usize>,
    /// Sizes of the workloads: 0.1 for a tenth of all files, bytes, steps and stages.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub scale: f64,
    /// Run Kiln's workloads at sizes of 1, 4 and 16 and tell what one unit costs.
    #[arg(long)]
    pub growth: bool,
    /// Where the file system of the measurements lies.
    #[arg(long, value_name = "DIRECTORY", default_value = "/tmp")]
    pub place: PathBuf,
    /// The most that this file system holds; its file is sparse.
    #[arg(long, value_name = "GIB", default_value_t = 24)]
    pub disk_gib: u64,
    /// Where the results go: text, JSON and a chart.
    #[arg(long, value_name = "DIRECTORY", default_value = "target/benches")]
    pub out: PathBuf,
    /// Tell the names of the workloads.
    #[arg(long)]
    pub list: bool,
    /// Look at all files below a directory, and do nothing else: a limit.
    #[arg(long, value_name = "DIRECTORY", hide = true)]
    pub walk: Option<PathBuf>,
}

impl Options {
    /// Refuses names that nothing has, and sizes that are none.
    pub fn check(&self) -> Result<(), String> {
        let known = workload::all();
        let known: Vec<&str> = known
            .iter()
            .flat_map(|workload| workload.rows().iter().map(|row| row.name))
            .collect();
        if let Some(name) = self
            .only
            .iter()
            .find(|name| !known.contains(&name.as_str()))
        {
            return Err(format!(
                "no workload `{name}`; there are {}",
                known.join(", ")
            ));
        }
        let peers = self.peers.iter().flatten();
        if let Some(name) = peers
            .clone()
            .find(|name| peer(name).is_none() && *name != "none")
        {
            return Err(format!("no peer `{name}`; there are docker and buildah"));
        }
        match self.scale > 0.0 && self.rounds != Some(0) {
            true => Ok(()),
            false => Err("a scale and a number of rounds are more than nothing".to_owned()),
        }
    }

    /// Whether a workload with these rows is wanted.
    pub fn wants(&self, rows: &[workload::Row]) -> bool {
        let is_named = |row: &workload::Row| self.only.iter().any(|name| name == row.name);
        self.only.is_empty() || rows.iter().any(is_named)
    }

    /// Returns whom to measure, Kiln first.
    pub fn contenders(&self) -> Vec<Kind> {
        let peers = match &self.peers {
            Some(names) => names.iter().filter_map(|name| peer(name)).collect(),
            None => PEERS
                .into_iter()
                .filter(|peer| peer.is_installed())
                .collect(),
        };
        let peers: Vec<Kind> = peers;
        [Kind::Kiln].into_iter().chain(peers).collect()
    }
}

const PEERS: [Kind; 2] = [Kind::Docker, Kind::Buildah];

fn peer(name: &str) -> Option<Kind> {
    PEERS.into_iter().find(|peer| peer.name() == name)
}
