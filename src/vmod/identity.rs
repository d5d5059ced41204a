//! What tells the values of one task apart: where their lines go.
//!
//! Two VCLs whose streams feed one pipeline have one line of a request that both log: a VCL and the label that
//! it calls. The pipeline itself does not tell, for a stream may wait for its spool; what the registry finds it
//! by does, and is known as soon as the settings can be read. While they cannot, because a file of keys is
//! missing, streams that were given the same arguments are taken for the same.
//!
//! Limits: a request that is under way when such a file appears may have two lines, and a file that is replaced
//! while a stream waits counts as it was.

use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

use super::shared::Shared;
use crate::block::RouteId;
use crate::settings::{Arguments, Place, Settings};

/// Those of all streams.
static IDENTITIES: Shared<Identity> = Shared::new();

/// Where lines go.
#[derive(PartialEq)]
enum Identity {
    /// The stream's name, its spool and its route: what the registry goes by.
    Known(String, Place, RouteId),
    /// What VCL and the file of `config` say.
    Given(Arguments),
}

/// A stream's, for as long as it lives.
pub(super) struct Whereto {
    given: Arc<Identity>,
    known: OnceLock<Arc<Identity>>,
}

impl Whereto {
    /// As long as nothing but these arguments is known.
    pub(super) fn given(arguments: &Arguments) -> Self {
        let given = IDENTITIES.of(Identity::Given(arguments.clone()));
        Self { given, known: OnceLock::new() }
    }

    /// The settings could be read.
    pub(super) fn settle(&self, settings: &Settings) {
        self.known.get_or_init(|| {
            let (stream, place) = (settings.stream.clone(), settings.place.clone());
            IDENTITIES.of(Identity::Known(stream, place, settings.route()))
        });
    }

    /// An address that all streams have whose lines go to the same place, and no other.
    pub(super) fn key(&self) -> *const c_void {
        Arc::as_ptr(self.known.get().unwrap_or(&self.given)).cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_with_one_name_spool_and_route_have_one_key_from_the_time_that_it_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = folder.path().join("credentials");
        let text = "[default]\naws_access_key_id = id\naws_secret_access_key = secret\n";
        std::fs::write(&credentials, text).unwrap();
        let credentials = credentials.to_str().unwrap();
        let arguments = |stream: &str, bucket: &str| {
            let mut arguments = Arguments::new(stream);
            let gateway = ("endpoint", "https://gateway.example");
            let rest = [("bucket", bucket), ("spool", "none"), ("credentials", credentials)];
            for (name, value) in rest.into_iter().chain([gateway]) {
                arguments.set(name, Some(value.to_owned()));
            }
            arguments
        };
        let open = |arguments: &Arguments| {
            let whereto = Whereto::given(arguments);
            let given = whereto.key();
            whereto.settle(&Settings::read(arguments).unwrap());
            assert_ne!(whereto.key(), given);
            (whereto, given)
        };
        let mut other_period = arguments("access", "one");
        other_period.set("period", Some("10s".to_owned()));
        let (one, given) = open(&arguments("access", "one"));
        let (again, given_again) = open(&arguments("access", "one"));
        let (period, given_with_period) = open(&other_period);
        assert_eq!((one.key(), given), (again.key(), given_again));
        assert_eq!(one.key(), period.key());
        assert_ne!(given, given_with_period);
        assert_ne!(one.key(), open(&arguments("access", "two")).0.key());
        assert_ne!(one.key(), open(&arguments("other", "one")).0.key());
    }
}
