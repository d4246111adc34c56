//! Priority of calls.

/// Priority of a call. Within a class, first come, first served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Somebody waits for the answer.
    Interactive,
    /// A change of the whole fleet: it leaves a quarter of each bucket to people.
    Rollout,
    /// Clean-up, snapshots, bulk reads: they take spare tokens only, and leave half of each bucket.
    Background,
}

impl Class {
    pub(super) const ALL: [Self; 3] = [Self::Interactive, Self::Rollout, Self::Background];
}
