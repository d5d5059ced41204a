//! What a VCL asks for is read and started, and what an operator has perhaps not meant is told.

use super::{Attachment, Environment, Refusal, Registry};
use crate::events::Level;
use crate::s3::Gateway;
use crate::settings::{Arguments, Settings, Upload};

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
            environment.events.event(Level::Error, &objection.told());
        }
        Ok(attachment)
    }

    /// Says so when a stream is loaded with credentials from another place than those of another VCL of the
    /// same route, where a bucket is looked for by its name among those of the key's owner. Whether a reload
    /// brings a new file of keys or another tenant comes is not known here.
    pub fn warn_of_other_credentials(&self, attachment: &Attachment, environment: &Environment) {
        let settings = attachment.settings();
        let of_owner = [Gateway::Storj, Gateway::Ceph, Gateway::Generic];
        if !settings.s3.gateway.is_none_or(|gateway| of_owner.contains(&gateway)) {
            return;
        }
        let own = credentials(settings);
        let held = attachment.pipeline().held();
        let others = held.iter().filter_map(|other| credentials(&other.settings));
        let Some((own, other)) = own.and_then(|own| {
            others.into_iter().find(|other| *other != own).map(|other| (own, other))
        }) else {
            return;
        };
        let text = format!(
            "stream {}: a VCL was loaded with {own}, while another VCL of the same route ({}) has {other}: \
             they share their blocks, which are uploaded with those of whichever wrote last. If both stay in \
             use and their buckets are two of one name, give each a path, a spool or a stream's name of its own",
            settings.stream,
            settings.destination(),
        );
        environment.events.event(Level::Warn, &text);
    }
}

/// Where credentials come from, as it was given; `None` where another process needs them.
fn credentials(settings: &Settings) -> Option<String> {
    if settings.upload == Upload::External {
        return None;
    }
    let given = ["credentials", "profile", "role_arn"]
        .into_iter()
        .filter_map(|name| settings.arguments.get(name).map(|value| format!("{name} = {value:?}")));
    let given: Vec<_> = given.collect();
    Some(if given.is_empty() { "no credentials of its own".to_owned() } else { given.join(", ") })
}
