//! Which way a request takes out: straight, or through an HTTP proxy.
//!
//! The environment is read as curl reads it (<https://everything.curl.dev/usingcurl/proxies/env.html>):
//!
//! | variable, the first that is not empty | for |
//! |---|---|
//! | `http_proxy`, `HTTP_PROXY`, `all_proxy`, `ALL_PROXY` | `http://` |
//! | `https_proxy`, `HTTPS_PROXY`, `all_proxy`, `ALL_PROXY` | `https://` |
//! | `no_proxy`, `NO_PROXY` | hosts that are reached straight |
//!
//! (curl leaves out `HTTP_PROXY`, which a CGI's client can set; nobody's client sets varnishd's
//! environment.) `NO_PROXY` is `*`, or names, addresses and networks separated by commas or spaces:
//! `example.com` and `.example.com` are that name and all below it, `10.0.0.0/8` a network.
//!
//! A proxy is `[http[s]://][user:password@]host[:port]`, port 1080 when none is written, as curl
//! has it; user and password are percent-decoded. SOCKS is not spoken. `https://` goes through a
//! tunnel (CONNECT), `http://` is handed to the proxy with its whole URL, as proxies expect it
//! (RFC 9112, 3.2.2). What is on this machine is never reached through a proxy.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ureq::http::Uri;
use zeroize::Zeroizing;

use super::error::HttpSetupError;
use super::host::is_loopback;
use super::redact::redact;
use super::settings::Proxy;
use super::variables::Variables;

/// curl's, for a proxy without one.
const PORT: u16 = 1080;

/// The proxies that were asked for.
#[derive(Clone)]
pub(super) struct Proxies {
    http: Asked,
    https: Asked,
    except: Except,
}

/// A proxy or none; or the variable that holds something else.
type Asked = Result<Option<Via>, &'static str>;

/// One proxy.
#[derive(Clone)]
pub(super) struct Via {
    /// For a tunnel.
    pub(super) proxy: ureq::Proxy,
    /// `scheme://host:port`.
    pub(super) uri: Uri,
    /// `host:port`, for messages.
    pub(super) shown: String,
    /// `Proxy-Authorization`.
    pub(super) authorization: Option<Zeroizing<String>>,
    /// What no message may show.
    secrets: Vec<Zeroizing<String>>,
}

/// How a request gets to its host.
pub(super) enum Route<'a> {
    /// By itself.
    Straight,
    /// By a proxy that is given the whole URL.
    Forward(&'a Via),
    /// By a tunnel through a proxy.
    Tunnel(&'a Via),
    /// Not at all: this variable holds no proxy, and straight would be another way.
    Nowhere(&'static str),
}

impl<'a> Route<'a> {
    /// The proxy, if there is one.
    pub(super) fn via(&self) -> Option<&'a Via> {
        match self {
            Self::Straight | Self::Nowhere(_) => None,
            Self::Forward(via) | Self::Tunnel(via) => Some(via),
        }
    }
}

impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Via").field(&self.shown).finish()
    }
}

impl Proxies {
    /// What `wanted` and the environment say.
    ///
    /// # Errors
    /// The option holds no proxy. A variable that holds none does harm only where it leads.
    pub(super) fn new(wanted: &Proxy, variables: &dyn Variables) -> Result<Self, HttpSetupError> {
        let except = Except::default();
        match wanted {
            Proxy::None => Ok(Self { http: Ok(None), https: Ok(None), except }),
            Proxy::Url(url) => {
                let via = Some(Via::parse(url).ok_or(HttpSetupError::Proxy("proxy"))?);
                Ok(Self { http: Ok(via.clone()), https: Ok(via), except })
            }
            Proxy::Environment => {
                let asked = |own: [&'static str; 2]| {
                    own.into_iter()
                        .chain(["all_proxy", "ALL_PROXY"])
                        .find_map(|name| Some((name, variables.get(name)?)))
                        .map(|(name, url)| Via::parse(&url).ok_or(name))
                        .transpose()
                };
                let except = variables.get("no_proxy").or_else(|| variables.get("NO_PROXY"));
                Ok(Self {
                    http: asked(["http_proxy", "HTTP_PROXY"]),
                    https: asked(["https_proxy", "HTTPS_PROXY"]),
                    except: except.map(|text| Except::parse(&text)).unwrap_or_default(),
                })
            }
        }
    }

    /// Whether there is a way to `url`.
    ///
    /// # Errors
    /// What leads there is no proxy.
    pub(super) fn check(&self, url: &str) -> Result<(), HttpSetupError> {
        match self.route(url) {
            Route::Nowhere(name) => Err(HttpSetupError::Proxy(name)),
            Route::Straight | Route::Forward(_) | Route::Tunnel(_) => Ok(()),
        }
    }

    /// The way to `url`.
    pub(super) fn route(&self, url: &str) -> Route<'_> {
        let Ok(uri) = url.parse::<Uri>() else { return Route::Straight };
        let Some(host) = uri.host().map(str::to_ascii_lowercase) else { return Route::Straight };
        let https = uri.scheme_str() == Some("https");
        if is_loopback(&host) || self.except.covers(&host) {
            return Route::Straight;
        }
        match if https { &self.https } else { &self.http } {
            Ok(None) => Route::Straight,
            Err(name) => Route::Nowhere(name),
            Ok(Some(via)) => {
                // A proxy that is spoken to by TLS takes tunnels only: one connector does both.
                let plain = via.uri.scheme_str() == Some("http");
                if https || !plain { Route::Tunnel(via) } else { Route::Forward(via) }
            }
        }
    }

    /// The proxy that `http://` is forwarded by.
    pub(super) fn forwards_to(&self) -> Option<Uri> {
        self.http.as_ref().ok()?.as_ref().map(|via| via.uri.clone())
    }

    /// `text` without a proxy's password, as it is and as it is sent.
    pub(super) fn redact(&self, text: &str) -> String {
        let ways = [&self.http, &self.https].into_iter().flatten().flatten();
        let secrets = ways.flat_map(|via| &via.secrets);
        secrets.fold(text.to_owned(), |text, secret| redact(&text, secret))
    }
}

impl Via {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return None;
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        let authority: ureq::http::uri::Authority = address.parse().ok()?;
        let host = Some(authority.host()).filter(|host| !host.is_empty())?;
        let port = match authority.port_u16() {
            // A port that is none is no proxy.
            None if authority.as_str().len() > host.len() => return None,
            port => port.unwrap_or(if scheme == "https" { 443 } else { PORT }),
        };
        let shown = format!("{host}:{port}");
        let uri = format!("{scheme}://{shown}").parse().ok()?;
        let user = user.map(|user| Zeroizing::new(user.to_owned()));
        let whole = match &user {
            Some(user) => Zeroizing::new(format!("{scheme}://{}@{shown}", user.as_str())),
            None => Zeroizing::new(format!("{scheme}://{shown}")),
        };
        let proxy = ureq::Proxy::new(&whole).ok()?;
        let mut secrets = Vec::new();
        let mut authorization = None;
        if proxy.username().is_some() || proxy.password().is_some() {
            let name = proxy.username().unwrap_or_default();
            let password = proxy.password().unwrap_or_default();
            let pair = Zeroizing::new(format!("{name}:{password}"));
            let encoded = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
            authorization = Some(Zeroizing::new(format!("Basic {}", encoded.as_str())));
            secrets.push(encoded);
            secrets.push(Zeroizing::new(password.to_owned()));
            // As it was written, percent signs and all.
            let written = user.as_ref().and_then(|user| user.split_once(':'));
            secrets.extend(written.map(|(_, password)| Zeroizing::new(password.to_owned())));
        }
        secrets.retain(|secret| !secret.is_empty());
        Some(Self { proxy, uri, shown, authorization, secrets })
    }
}

/// Hosts that are reached straight.
#[derive(Debug, Clone, Default)]
struct Except {
    all: bool,
    names: Vec<String>,
    networks: Vec<(IpAddr, u32)>,
}

impl Except {
    fn parse(text: &str) -> Self {
        let text = text.trim();
        let mut except = Self { all: text == "*", ..Self::default() };
        for word in text.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
            let (address, bits) = match word.split_once('/') {
                Some((address, bits)) => (address, bits.parse::<u32>().ok()),
                None => (word, Some(u32::MAX)),
            };
            let address = address.trim_start_matches('[').trim_end_matches(']');
            match (address.parse::<IpAddr>(), bits) {
                (Ok(address), Some(bits)) => except.networks.push((address, bits)),
                // A network with a length that is none covers nothing.
                (Ok(_), None) => {}
                (Err(_), _) => {
                    let name = word.trim_start_matches('.').trim_end_matches('.');
                    except.names.push(name.to_ascii_lowercase());
                }
            }
        }
        except
    }

    fn covers(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let inside = match bare.parse::<IpAddr>() {
            Ok(host) => self.networks.iter().any(|(net, bits)| within(host, *net, *bits)),
            Err(_) => {
                let host = host.trim_end_matches('.');
                self.names.iter().any(|name| {
                    host.strip_suffix(name.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                })
            }
        };
        self.all || inside
    }
}

/// Whether the first `bits` of two addresses of a kind are the same.
fn within(host: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (host, network) {
        (IpAddr::V4(host), IpAddr::V4(network)) => {
            let differ = host.to_bits() ^ network.to_bits();
            differ.leading_zeros() >= bits.min(32)
        }
        (IpAddr::V6(host), IpAddr::V6(network)) => {
            let differ = host.to_bits() ^ network.to_bits();
            differ.leading_zeros() >= bits.min(128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const HTTPS: &str = "https://gateway.example/k";

    struct Fixed(HashMap<&'static str, &'static str>);

    impl Variables for Fixed {
        fn get(&self, name: &str) -> Option<String> {
            self.0.get(name).filter(|value| !value.is_empty()).map(|value| (*value).to_owned())
        }
    }

    fn environment(variables: &[(&'static str, &'static str)]) -> Proxies {
        Proxies::new(&Proxy::Environment, &Fixed(variables.iter().copied().collect())).unwrap()
    }

    /// `forward host:port`, `tunnel host:port` or `straight`.
    fn way(proxies: &Proxies, url: &str) -> String {
        match proxies.route(url) {
            Route::Straight => "straight".to_owned(),
            Route::Forward(via) => format!("forward {}", via.shown),
            Route::Tunnel(via) => format!("tunnel {}", via.shown),
            Route::Nowhere(name) => format!("nowhere {name}"),
        }
    }

    #[test]
    fn the_environment_s_proxy_is_chosen_by_scheme_lower_case_first_and_all_proxy_last() {
        const HTTP: &str = "http://gateway.example/k";
        for (variables, http, https) in [
            (&[][..], "straight", "straight"),
            (&[("HTTPS_PROXY", "http://p:3128")], "straight", "tunnel p:3128"),
            (&[("http_proxy", "http://p:3128")], "forward p:3128", "straight"),
            (&[("HTTP_PROXY", "p:3128/")], "forward p:3128", "straight"),
            (&[("all_proxy", "p")], "forward p:1080", "tunnel p:1080"),
            (
                &[("ALL_PROXY", "http://a:1"), ("https_proxy", "b:2"), ("HTTPS_PROXY", "c:3")],
                "forward a:1",
                "tunnel b:2",
            ),
            // An empty one is none.
            (&[("https_proxy", ""), ("HTTPS_PROXY", "c:3")], "straight", "tunnel c:3"),
            // A proxy that is spoken to by TLS.
            (&[("all_proxy", "https://p")], "tunnel p:443", "tunnel p:443"),
            (
                &[("https_proxy", "http://[2001:db8::1]:3128")],
                "straight",
                "tunnel [2001:db8::1]:3128",
            ),
        ] {
            let proxies = environment(variables);
            assert_eq!(
                (way(&proxies, HTTP).as_str(), way(&proxies, HTTPS).as_str()),
                (http, https)
            );
        }
    }

    #[test]
    fn no_proxy_takes_names_with_what_is_below_them_addresses_networks_and_a_star() {
        for (no_proxy, host, straight) in [
            ("example.com", "example.com", true),
            ("example.com", "gateway.EXAMPLE.com", true),
            (".example.com", "example.com", true),
            ("example.com.", "gateway.example.com", true),
            ("example.com", "myexample.com", false),
            ("example.com", "example.com.evil.net", false),
            ("a.example, b.example\tc.example", "b.example", true),
            ("a.example b.example", "c.b.example", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.70", false),
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/x", "10.0.0.0", false),
            ("2001:db8::/32", "[2001:db8:1::1]", true),
            ("2001:db8::/32", "[2001:db9::1]", false),
            ("0.0.0.0/0", "[2001:db9::1]", false),
            ("*", "anything.example", true),
            ("", "anything.example", false),
        ] {
            let variables = [("all_proxy", "http://p:1"), ("no_proxy", no_proxy)];
            let proxies = environment(&variables);
            let way = way(&proxies, &format!("https://{host}:8443/k"));
            assert_eq!(way == "straight", straight, "{no_proxy} and {host}: {way}");
        }
    }

    #[test]
    fn this_machine_is_reached_straight_and_an_option_knows_no_exceptions() {
        let all = Proxies::new(
            &Proxy::Url("http://p:1".into()),
            &Fixed(HashMap::from([("NO_PROXY", "*"), ("https_proxy", "http://other:2")])),
        );
        let all = all.unwrap();
        for host in ["127.0.0.1:9000", "[::1]", "localhost", "s3.localhost"] {
            assert_eq!(way(&all, &format!("http://{host}/k")), "straight");
        }
        assert_eq!(way(&all, "https://gateway.example/k"), "tunnel p:1");
        let none = Fixed(HashMap::from([("https_proxy", "http://other:2")]));
        let none = Proxies::new(&Proxy::None, &none).unwrap();
        assert_eq!(way(&none, "https://gateway.example/k"), "straight");
    }

    #[test]
    fn what_is_no_proxy_is_refused_with_the_name_of_where_it_stands_and_not_quoted() {
        for url in
            ["socks5://p:1", "ftp://p", "http://", "http://u:s3cret@", "p:x", "p:99999", "a b"]
        {
            let option = Proxies::new(&Proxy::Url(url.into()), &Fixed(HashMap::new()));
            let said = option.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.starts_with("proxy takes http://"), "{url}: {said:?}");
            let variable = Fixed(HashMap::from([("HTTPS_PROXY", url)]));
            let wrong = Proxies::new(&Proxy::Environment, &variable).unwrap();
            let said = wrong.check(HTTPS).unwrap_err().to_string();
            // Where it does not lead it does no harm.
            assert_eq!(wrong.check("http://gateway.example/k"), Ok(()));
            assert_eq!(wrong.check("https://localhost/k"), Ok(()));
            assert!(said.starts_with("HTTPS_PROXY takes http://"), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn user_and_password_are_decoded_sent_as_basic_and_shown_nowhere() {
        let proxies = environment(&[("http_proxy", "http://us%40er:p%3Ass@w0rd@p:3128")]);
        let Route::Forward(via) = proxies.route("http://gateway.example/k") else { panic!() };
        // `us@er:p:ss@w0rd`
        let sent = "Basic dXNAZXI6cDpzc0B3MHJk";
        assert_eq!(via.authorization.as_ref().map(|text| text.as_str()), Some(sent));
        assert_eq!(via.shown, "p:3128");
        let text = format!("p:ss@w0rd p%3Ass@w0rd {sent} {via:?}");
        assert_eq!(proxies.redact(&text), "[redacted] [redacted] Basic [redacted] Via(\"p:3128\")");
    }
}
