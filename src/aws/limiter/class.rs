//! Who goes before whom.

/// Who goes before whom. Within a class, whoever came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Somebody waits for the answer.
    Interactive,
    /// A change of the whole fleet: it leaves a quarter of each bucket to people.
    Rollout,
    /// Clean-up, snapshots, reading in bulk: it takes what is left over, and leaves half of each bucket.
    Background,
}

impl Class {
    pub(super) const ALL: [Self; 3] = [Self::Interactive, Self::Rollout, Self::Background];
}
