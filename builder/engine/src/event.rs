//! What happens during a build, for those who show it.

use kiln_disk::StepUsage;
use kiln_plan::VertexId;
use std::time::Duration;

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A step of the plan changed.
    Step {
        /// The step.
        vertex: VertexId,
        /// How.
        change: StepChange,
    },
    /// Something went wrong that the build goes on without.
    Warning {
        /// What, in words.
        text: String,
    },
    /// Something takes longer than it should, such as a registry that asks to come back later.
    Notice {
        /// What, in words.
        text: String,
    },
    /// Work beside the plan, such as an export, began.
    TaskStarted {
        /// Names the work in later events.
        task: TaskId,
        /// What is done: `exporting to oci archive out.tar`.
        name: String,
    },
    /// A part of a task has come further.
    TaskProgress {
        /// The work.
        task: TaskId,
        /// The part: a digest, a file.
        part: String,
        /// Bytes done.
        done_bytes: u64,
        /// Bytes in all, where known.
        total_bytes: Option<u64>,
    },
    /// Something worth knowing about a task, such as the name that an image got.
    TaskNote {
        /// The work.
        task: TaskId,
        /// What, in words.
        note: String,
    },
    /// A task ended.
    TaskFinished {
        /// The work.
        task: TaskId,
        /// Why it failed, if it did.
        error: Option<String>,
    },
}

/// Names a piece of work beside the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u32);

/// How a step changed.
#[derive(Clone, Debug)]
pub enum StepChange {
    /// A recorded result is used.
    Cached,
    /// It began to run.
    Started,
    /// Its command wrote something.
    Output(Vec<u8>),
    /// A part of it (a layer that is pulled) has come further.
    Progress {
        /// The part.
        part: String,
        /// Bytes done.
        done_bytes: u64,
        /// Bytes in all, where known.
        total_bytes: Option<u64>,
    },
    /// Something worth knowing: what it waits for, what it does without.
    Note(String),
    /// Its command took this.
    Used(StepUsage),
    /// It is done.
    Finished {
        /// How long it took.
        took: Duration,
    },
    /// It failed.
    Failed {
        /// Why.
        message: String,
        /// How long it took.
        took: Duration,
    },
    /// It was stopped: another step failed, or somebody asked for it.
    Cancelled {
        /// How long it had run.
        took: Duration,
    },
}
