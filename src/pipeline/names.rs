//! What counters are called: no two pipelines have one name, and a stream that waits to be started
//! shows its counters under none of theirs.
//!
//! | whose | name |
//! |---|---|
//! | the pipeline of a stream's first route | the stream's name |
//! | that of another route | the stream's name, `@` and the route |
//! | a stream that waits to be started | the stream's name; where a pipeline has it, that and `@waiting` |

use std::path::PathBuf;
use std::sync::Arc;

use super::claims::Id;
use super::labels::Label;
use super::{Environment, Observer, Observers, Registry};
use crate::block::sanitise;
use crate::stats::Stats;

impl Registry {
    /// A name that no other pipeline of this process has, and none that is just being opened.
    pub(super) fn label(&self, id: &Id, folder: Option<&PathBuf>) -> Label {
        let name = sanitise(&id.0);
        let folder = folder
            .and_then(|path| path.file_name())
            .map_or_else(|| name.clone(), |name| name.to_string_lossy().into_owned());
        let with_route = format!("{name}@{}", id.2);
        let more = (2_u64..).map(|number| format!("{with_route}-{number}"));
        let labels = [folder, with_route.clone()].into_iter().chain(more);
        self.opening_labels().take(labels.filter(|label| !self.has_label(label)), name)
    }

    /// Who shows the counters of a stream that waits to be started. It gives way to a pipeline that
    /// takes the name.
    #[must_use]
    pub fn observer_while_waiting(
        &self,
        stream: &str,
        environment: &Environment,
    ) -> Box<dyn Observer> {
        Box::new(WhileWaiting {
            name: sanitise(stream),
            registry: self.clone(),
            observers: Arc::clone(&environment.observer),
            shown: None,
        })
    }
}

struct WhileWaiting {
    /// The stream's name, sanitised.
    name: String,
    registry: Registry,
    observers: Observers,
    shown: Option<(Label, Box<dyn Observer>)>,
}

impl Observer for WhileWaiting {
    fn observe(&mut self, stats: &Stats) {
        self.shown.take_if(|(label, _)| self.registry.has_label(label));
        if self.shown.is_none() {
            let waiting = format!("{}@waiting", self.name);
            let more = (2_u64..).map(|number| format!("{waiting}-{number}"));
            let labels = [self.name.clone(), waiting.clone()].into_iter().chain(more);
            let free = labels.filter(|label| !self.registry.has_label(label));
            let label = self.registry.waiting_labels().take(free, self.name.clone());
            let observer = (self.observers)(&label);
            self.shown = Some((label, observer));
        }
        if let Some((_, observer)) = &mut self.shown {
            observer.observe(stats);
        }
    }
}
