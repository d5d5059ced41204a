//! What a VCL asks for is read and started.

use super::{Attachment, Environment, Refusal, Registry};
use crate::events::Level;
use crate::settings::{Arguments, Settings};

impl Registry {
    /// Reads the settings, tells them to `read`, and joins or starts the pipeline. `again` is for arguments that
    /// may have worked before, as at the launch of a cache process: what only time has made wrong is told
    /// and does not keep the stream from starting.
    ///
    /// # Errors
    /// Why the stream cannot be started.
    pub fn load(
        &self,
        arguments: &Arguments,
        again: bool,
        environment: &Environment,
        read: impl FnOnce(&Settings),
    ) -> Result<Attachment, Refusal> {
        let refusal = |place: bool, text: String| {
            if place { Refusal::Place(text) } else { Refusal::Setting(text) }
        };
        let settings =
            if again { Settings::read_again(arguments) } else { Settings::read(arguments) };
        let settings = settings.map_err(|error| refusal(error.blames_file(), error.to_string()))?;
        read(&settings);
        let objections = settings.objections.clone();
        let attachment = self
            .attach(settings, environment)
            .map_err(|error| refusal(error.blames_place(), error.to_string()))?;
        for objection in objections {
            let text = objection.to_string();
            let text = text.strip_prefix("s3log: ").unwrap_or(&text);
            let text = format!(
                "{text}; the stream starts all the same: correct it and load the VCL again"
            );
            environment.events.event(Level::Error, &text);
        }
        Ok(attachment)
    }
}
