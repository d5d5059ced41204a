//! The bucket's region: as it was given, or from where AWS's tools take it.
//!
//! | order | source |
//! |---|---|
//! | 1 | `region` |
//! | 2 | the endpoint's name, as `s3.eu-west-1.amazonaws.com`, or the only one that the gateway has |
//! | 3 | `AWS_REGION`, then `AWS_DEFAULT_REGION` |
//! | 4 | `region` in the profile that credentials come from |
//! | 5 | the gateway's default, else `us-east-1` |

use super::{Arguments, Error};
use crate::s3::credentials::{Sources, Variables, profile_region};
use crate::s3::object::{Region, Traits};
use crate::s3::{Endpoint, Gateway};

const ACCEPTS: &str = "a region's name, as us-east-1";
const DEFAULT: &str = "us-east-1";

pub(super) fn region(
    arguments: &Arguments,
    (endpoint, traits): (&Endpoint, &Traits),
    sources: &Sources,
    variables: &dyn Variables,
) -> Result<String, Error> {
    if let Some(text) = arguments.get("region") {
        return if fits(text) {
            Ok(text.to_owned())
        } else {
            Err(arguments.bad("region", ACCEPTS))
        };
    }
    if let Some(region) = Gateway::region_of(endpoint.host()) {
        return Ok(region.to_owned());
    }
    // Set for other services, they would be wrong here.
    if let Region::Only([first, ..]) = traits.region {
        return Ok((*first).to_owned());
    }
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if let Some(text) = variables.get(name) {
            return checked(arguments, &text, name);
        }
    }
    // A file that cannot be read is reported when credentials are needed.
    match profile_region(sources, variables) {
        Some(text) => checked(arguments, &text, "region in the profile"),
        None => Ok(match traits.region {
            Region::Own(default) => default,
            _ => DEFAULT,
        }
        .to_owned()),
    }
}

/// What a place other than the argument says.
fn checked(arguments: &Arguments, text: &str, place: &str) -> Result<String, Error> {
    if fits(text) {
        return Ok(text.to_owned());
    }
    let problem = format!("{place} is {text:?}; expected {ACCEPTS}");
    Err(arguments.problem_elsewhere("region", problem))
}

fn fits(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct Fixed(HashMap<&'static str, String>);

    impl Variables for Fixed {
        fn get(&self, name: &str) -> Option<String> {
            self.0.get(name).cloned()
        }
    }

    fn read(
        given: Option<&str>,
        endpoint: &str,
        variables: &[(&'static str, &str)],
    ) -> Result<String, Error> {
        at(None, given, endpoint, variables)
    }

    fn at(
        gateway: Option<Gateway>,
        given: Option<&str>,
        endpoint: &str,
        variables: &[(&'static str, &str)],
    ) -> Result<String, Error> {
        let mut arguments = Arguments::new("access");
        arguments.set("region", given.map(str::to_owned));
        let endpoint = Endpoint::parse(endpoint, false).unwrap();
        let variables =
            Fixed(variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect());
        let traits = gateway.unwrap_or_else(|| Gateway::of(endpoint.host())).traits();
        region(&arguments, (&endpoint, traits), &Sources::default(), &variables)
    }

    #[test]
    fn the_region_is_the_argument_then_the_host_s_then_the_environment_s_then_the_profile_s() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        std::fs::write(
            &config,
            "[default]\nregion = ap-south-1\n[profile b]\nregion = sa-east-1\n",
        )
        .unwrap();
        let config = config.to_str().unwrap();
        let elsewhere = "https://gateway.example";
        let aws = "https://s3.eu-west-1.amazonaws.com";
        let all = [
            ("AWS_REGION", "eu-north-1"),
            ("AWS_DEFAULT_REGION", "eu-south-1"),
            ("AWS_CONFIG_FILE", config),
        ];
        for (given, endpoint, variables, expected) in [
            (Some("eu-central-1"), aws, &all[..], "eu-central-1"),
            (None, aws, &all[..], "eu-west-1"),
            (None, elsewhere, &all[..], "eu-north-1"),
            (None, elsewhere, &all[1..], "eu-south-1"),
            (None, elsewhere, &all[2..], "ap-south-1"),
            (None, elsewhere, &[("AWS_PROFILE", "b"), all[2]][..], "sa-east-1"),
            (None, elsewhere, &[], "us-east-1"),
        ] {
            assert_eq!(read(given, endpoint, variables).unwrap(), expected);
        }
    }

    #[test]
    fn a_gateway_with_a_region_of_its_own_has_that_one_by_default() {
        let variables = [("AWS_REGION", "eu-north-1")];
        let r2 = "https://0123abcd.r2.cloudflarestorage.com";
        assert_eq!(read(None, r2, &variables).unwrap(), "auto");
        let garage = |variables: &[(&'static str, &str)]| {
            at(Some(Gateway::Garage), None, "https://garage.example", variables).unwrap()
        };
        assert_eq!(garage(&[]), "garage");
        assert_eq!(garage(&variables), "eu-north-1");
    }

    #[test]
    fn a_region_that_is_none_is_refused_with_the_place_that_it_is_from() {
        let said = |given, variables: &[(&'static str, &str)]| {
            read(given, "https://gateway.example", variables).unwrap_err().to_string()
        };
        assert!(said(Some("eu west"), &[]).contains("region is \"eu west\"; expected a region"));
        let said = said(None, &[("AWS_REGION", "a/b")]);
        assert!(said.contains("AWS_REGION is \"a/b\"; expected a region's name"), "{said}");
        // Not what VCL says, so that a launch does not fail.
        let blames = |given, variables: &[(&'static str, &str)]| {
            read(given, "https://gateway.example", variables).unwrap_err().blames_file()
        };
        assert_eq!(
            (blames(Some("a/b"), &[]), blames(None, &[("AWS_REGION", "a/b")])),
            (false, true)
        );
    }
}
