//! Names that are held by one at a time.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A name that nobody else is given while this is held.
pub(super) type Label = Arc<String>;

/// Names that are held.
#[derive(Debug, Default, Clone)]
pub(super) struct Labels(Arc<Mutex<Vec<Weak<String>>>>);

impl Labels {
    /// The first of `labels` that nobody holds; without one, `last`.
    pub(super) fn take(&self, mut labels: impl Iterator<Item = String>, last: String) -> Label {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|one| one.strong_count() > 0);
        let held =
            |label: &String| known.iter().filter_map(Weak::upgrade).any(|one| *one == *label);
        let label = Arc::new(labels.find(|label| !held(label)).unwrap_or(last));
        known.push(Arc::downgrade(&label));
        label
    }
}
