//! What a specifier's column is called.

use crate::record::program::{Edge, HeaderWatch, Program, Unit, What, Which, slot};
use crate::record::task::Address;

impl Program {
    /// A name made of what a specifier prints.
    pub(super) fn name(&self, what: &What) -> String {
        let edge = |edge: &Edge| if *edge == Edge::Begin { "time" } else { "end_time" };
        match what {
            What::Slot(at, _) => self.slot_name(*at),
            What::Status => "status".to_owned(),
            What::RequestLine => "request".to_owned(),
            What::User => "user".to_owned(),
            What::Clock(of, _) | What::Epoch(of, Unit::Seconds | Unit::Millis | Unit::Micros) => {
                edge(of).to_owned()
            }
            What::Epoch(of, Unit::MillisFraction) => format!("{}_ms", edge(of)),
            What::Epoch(of, Unit::MicrosFraction) => format!("{}_us", edge(of)),
            What::Elapsed(Unit::Seconds) => "duration_s".to_owned(),
            What::Elapsed(Unit::Millis | Unit::MillisFraction) => "duration_ms".to_owned(),
            What::Elapsed(Unit::Micros | Unit::MicrosFraction) => "duration_us".to_owned(),
            What::ElapsedSeconds => "elapsed_s".to_owned(),
            What::FirstByte => "first_byte_s".to_owned(),
            What::BodyBytes { .. } => "body_bytes".to_owned(),
            What::BytesIn => "bytes_in".to_owned(),
            What::BytesOut => "bytes_out".to_owned(),
            What::AcctField(_, 0) => "acct".to_owned(),
            What::AcctField(_, field) => format!("acct_{field}"),
            What::HitMiss => "hitmiss".to_owned(),
            What::Handling => "handling".to_owned(),
            What::Side => "side".to_owned(),
            What::Vxid => "vxid".to_owned(),
            What::Cookie(_, name) => format!("cookie_{}", word(name)),
            What::Address(Address::ServerIp) => "server_ip".to_owned(),
            What::Address(Address::ServerPort) => "server_port".to_owned(),
            What::Address(Address::ClientIp) => "client_ip".to_owned(),
            What::Address(Address::ClientPort) => "client_port".to_owned(),
            What::Connection => "connection".to_owned(),
            What::Incomplete => "incomplete".to_owned(),
            What::Value(key) => word(key),
            What::Fixed(_) | What::Nothing | What::Literal(_) => "constant".to_owned(),
        }
    }

    fn slot_name(&self, at: u16) -> String {
        let fixed = match at {
            slot::PROTOCOL => "protocol",
            slot::PATH => "path",
            slot::QUERY => "query",
            slot::HOST_IP => "client_ip",
            slot::METHOD => "method",
            slot::STATUS => "status",
            slot::HOST => "host",
            slot::PORT => "client_port",
            _ => "",
        };
        if !fixed.is_empty() {
            return fixed.to_owned();
        }
        if self.reason == Some(at) {
            return "reason".to_owned();
        }
        let header = |side: &str, watches: &[HeaderWatch]| {
            let watch = watches.iter().find(|watch| watch.slot == at)?;
            let which = match watch.which {
                Which::Usual => "",
                Which::First => "_first",
                Which::Last => "_last",
            };
            Some(format!("{side}_{}{which}", word(&watch.name)))
        };
        if let Some(name) = header("req", &self.request).or_else(|| header("resp", &self.response))
        {
            return name;
        }
        if let Some(watch) = self.logs.iter().find(|watch| watch.slot == at) {
            return format!("log_{}", word(watch.key.strip_suffix(b":").unwrap_or(&watch.key)));
        }
        let Some(watch) = self.any.iter().find(|watch| watch.slot == at) else {
            return "value".to_owned();
        };
        let tag = self.tags.name(watch.number).unwrap_or_default();
        let prefix = watch.prefix.strip_suffix(b":").unwrap_or(&watch.prefix);
        let parts = ["vsl".to_owned(), word(tag.as_bytes()), word(prefix)];
        let mut name =
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
        if watch.field > 0 {
            name.push_str(&format!("_{}", watch.field));
        }
        name
    }
}

/// Lower case letters, digits and `_`.
fn word(bytes: &[u8]) -> String {
    let letter = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte.to_ascii_lowercase()),
        _ => '_',
    };
    bytes.iter().map(letter).collect()
}
