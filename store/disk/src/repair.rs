//! Mending a store: what is damaged is set aside, and what led there with it.

use std::path::PathBuf;

use crate::error::Result;
use crate::lease::{self, Claim};
use crate::verify::{Checked, Damage, Problem, Report};
use crate::{Store, images};

/// What was done about a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// It lies there now, where nobody uses it; whoever needs it gets it anew.
    SetAside(PathBuf),
    /// It was gone by then.
    Gone,
    /// A living process uses it: it stays until that has ended.
    InUse,
}

/// What a repair found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Every problem, and what was done about it.
    pub remedies: Vec<(Problem, Remedy)>,
    /// What the last look at the store found.
    pub report: Report,
}

/// What leads to something that was set aside is found by the next look: a record or a chain to
/// a layer, a name to a manifest.
const MOST_LOOKS: usize = 4;

impl Store {
    /// Verifies the store and sets aside what is damaged, until nothing is.
    ///
    /// What is left in the report is in use, or cannot be moved. Beside others nothing is lost
    /// that was sound; a build that is using a damaged layer goes on, and its result may be
    /// damaged too.
    pub fn repair(&self, observe: &mut dyn FnMut(&Checked)) -> Result<Repaired> {
        let mut repaired = Repaired::default();
        for _ in 0..MOST_LOOKS {
            repaired.report = self.verify(observe)?;
            let mut is_mended = false;
            for problem in &repaired.report.problems {
                let remedy = self.mend(problem)?;
                is_mended |= remedy != Remedy::InUse;
                if !repaired.remedies.iter().any(|(known, _)| known == problem) {
                    repaired.remedies.push((problem.clone(), remedy));
                }
            }
            if !is_mended {
                break;
            }
        }
        Ok(repaired)
    }

    fn mend(&self, problem: &Problem) -> Result<Remedy> {
        let path = match &problem.damage {
            Damage::Layer(layer) => self.layers().folder(layer),
            Damage::Blob | Damage::File => problem.path.clone(),
        };
        let _lock = match (&problem.damage, lease::claim(&path)?) {
            (_, Claim::Absent) => return Ok(Remedy::Gone),
            (Damage::Layer(_) | Damage::Blob, Claim::InUse) => return Ok(Remedy::InUse),
            (_, Claim::Free(lock)) => Some(lock),
            (Damage::File, Claim::InUse) => None,
        };
        let aside = self.set_aside(&path)?;
        Ok(aside.map_or(Remedy::Gone, Remedy::SetAside))
    }

    /// Returns what lies out of the way because it was damaged.
    pub fn set_aside_before(&self) -> Result<Vec<PathBuf>> {
        images::list_files(&self.path(crate::damaged::FOLDER))
    }
}
