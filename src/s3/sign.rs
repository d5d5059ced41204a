//! Signature Version 4 in the `Authorization` header, by AWS's own `aws-sigv4`.
//!
//! Time is an argument, so AWS's published examples are plain tests. S3 differs from AWS's other
//! services in three points: the path is encoded once, it is never normalised, and the payload's
//! hash is a header of its own (`x-amz-content-sha256`).
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>.

use std::time::{Duration, UNIX_EPOCH};

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;

use super::credentials::Credentials;

/// The SHA-256 of no bytes at all, in hexadecimal: the payload hash of a GET or HEAD.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The service that a signature is for; it decides how the path is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service<'a> {
    /// S3 and everything that speaks it.
    S3,
    /// Any other service by its signing name, such as `sts`.
    Other(&'a str),
}

/// What is signed. `headers` holds all but `Authorization`, `x-amz-date`, `x-amz-security-token`
/// and, for S3, `x-amz-content-sha256`, which [`sign`] returns.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `PUT`, `GET`, ...
    pub method: &'a str,
    /// The whole URL, encoded as it is sent.
    pub url: &'a str,
    /// Names in any case, `host` among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// The payload's SHA-256, 64 hexadecimal digits in lower case.
    pub payload_sha256: &'a str,
}

/// The request has something that no signature covers, such as a header that is not ASCII.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be signed: {0}")]
pub struct SignError(String);

/// The headers that make `request` a signed one at `now`.
///
/// # Errors
/// When the URL or a header is not what HTTP can carry.
pub fn sign(
    request: &Request<'_>,
    credentials: &Credentials,
    region: &str,
    service: Service<'_>,
    now: Duration,
) -> Result<Vec<(&'static str, String)>, SignError> {
    let fail = |error: &dyn std::error::Error| SignError(chain(error));
    let mut settings = SigningSettings::default();
    let name = match service {
        Service::S3 => {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            "s3"
        }
        Service::Other(name) => name,
    };
    let identity = credentials.identity();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(name)
        .time(UNIX_EPOCH + now)
        .settings(settings)
        .build()
        .map_err(|e| fail(&e))?
        .into();
    let signable = SignableRequest::new(
        request.method,
        request.url,
        request.headers.iter().copied(),
        SignableBody::Precomputed(request.payload_sha256.to_owned()),
    )
    .map_err(|e| fail(&e))?;
    let (instructions, _) =
        aws_sigv4::http_request::sign(signable, &params).map_err(|e| fail(&e))?.into_parts();
    let (headers, _) = instructions.into_parts();
    Ok(headers.iter().map(|header| (header.name(), header.value().to_owned())).collect())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    /// 2013-05-24T00:00:00Z, the moment of the examples on S3's page.
    const S3_EXAMPLES: Duration = Duration::from_secs(1_369_353_600);
    const HOST: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");

    fn signature(
        credentials: &Credentials,
        request: &Request<'_>,
        service: Service<'_>,
        now: Duration,
    ) -> String {
        let headers = sign(request, credentials, "us-east-1", service, now).unwrap();
        let (_, value) = headers.iter().find(|(name, _)| *name == "authorization").unwrap();
        value.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    fn s3_example(
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        payload_sha256: &str,
    ) -> String {
        let url = format!("https://examplebucket.s3.amazonaws.com{path}");
        let request = Request { method, url: &url, headers, payload_sha256 };
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", SECRET, None, None, "test");
        signature(&credentials, &request, Service::S3, S3_EXAMPLES)
    }

    #[test]
    fn the_documented_put_object_has_the_documented_signature() {
        let signed = s3_example(
            "PUT",
            "/test%24file.text",
            &[
                HOST,
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        );
        assert_eq!(signed, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
    }

    #[test]
    fn the_documented_get_object_has_the_documented_signature() {
        let signed = s3_example("GET", "/test.txt", &[HOST, ("range", "bytes=0-9")], EMPTY_SHA256);
        assert_eq!(signed, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    }

    #[test]
    fn the_documented_bucket_requests_have_the_documented_signatures() {
        let lifecycle = s3_example("GET", "/?lifecycle", &[HOST], EMPTY_SHA256);
        assert_eq!(lifecycle, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
        let list = s3_example("GET", "/?max-keys=2&prefix=J", &[HOST], EMPTY_SHA256);
        assert_eq!(list, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    }

    /// AWS's signing test suite: `get-vanilla`, `post-vanilla`, `get-vanilla-query-order-key-case`
    /// and `get-vanilla-with-session-token`.
    #[test]
    fn the_published_test_suite_gives_the_published_signatures() {
        let now = Duration::from_secs(1_440_938_160);
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let plain = Credentials::new("AKIDEXAMPLE", secret, None, None, "test");
        let headers = [("host", "example.amazonaws.com")];
        for (method, path, expected) in [
            ("GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "GET",
                "/?Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
        ] {
            let url = format!("https://example.amazonaws.com{path}");
            let request =
                Request { method, url: &url, headers: &headers, payload_sha256: EMPTY_SHA256 };
            let signed = signature(&plain, &request, Service::Other("service"), now);
            assert_eq!(signed, expected, "{method} {path}");
        }
    }

    #[test]
    fn a_session_token_is_a_signed_header() {
        let with = Credentials::new("AK", "SK", Some("the-token"), None, "test");
        let request = Request {
            method: "GET",
            url: "https://h/",
            headers: &[("host", "h")],
            payload_sha256: EMPTY_SHA256,
        };
        let headers = sign(&request, &with, "r", Service::S3, S3_EXAMPLES).unwrap();
        let get = |name| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        assert_eq!(get("x-amz-security-token"), Some("the-token"));
        assert_eq!(get("x-amz-content-sha256"), Some(EMPTY_SHA256));
        assert_eq!(get("x-amz-date"), Some("20130524T000000Z"));
        assert!(get("authorization").unwrap().contains("x-amz-security-token"));
    }

    #[test]
    fn what_http_cannot_carry_is_an_error_and_not_a_panic() {
        let credentials = Credentials::new("AK", "SK", None, None, "test");
        for (url, header) in [("https://h/ x", "v"), ("https://h/", "a\nb")] {
            let headers = [("host", "h"), ("x-amz-meta-a", header)];
            let request =
                Request { method: "GET", url, headers: &headers, payload_sha256: EMPTY_SHA256 };
            assert!(sign(&request, &credentials, "r", Service::S3, S3_EXAMPLES).is_err(), "{url}");
        }
    }
}
