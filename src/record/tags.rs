//! The running Varnish's log tags, mapped to the few that a record is made of.
//!
//! Tag numbers differ between Varnish versions, names do not: the table is built once from
//! `(number, name)` pairs (`include/tbl/vsl_tags.h`), and everything after it speaks [`Tag`].

/// The tags that the walk of a task's log acts on; every other tag is [`Tag::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // Varnish's own names; vsl(7) describes each.
pub enum Tag {
    Other,
    Begin,
    BackendOpen,
    ReqStart,
    ReqMethod,
    ReqUrl,
    ReqProtocol,
    ReqHeader,
    ReqUnset,
    RespStatus,
    RespReason,
    RespHeader,
    RespUnset,
    BereqMethod,
    BereqUrl,
    BereqProtocol,
    BereqHeader,
    BereqUnset,
    BerespStatus,
    BerespReason,
    BerespHeader,
    BerespUnset,
    Timestamp,
    VclCall,
    VclReturn,
    VclLog,
    Hit,
    HitMiss,
    HitPass,
    PipeAcct,
    ReqAcct,
    BereqAcct,
    End,
}

const NAMES: [(&str, Tag); 32] = [
    ("Begin", Tag::Begin),
    ("BackendOpen", Tag::BackendOpen),
    ("ReqStart", Tag::ReqStart),
    ("ReqMethod", Tag::ReqMethod),
    ("ReqURL", Tag::ReqUrl),
    ("ReqProtocol", Tag::ReqProtocol),
    ("ReqHeader", Tag::ReqHeader),
    ("ReqUnset", Tag::ReqUnset),
    ("RespStatus", Tag::RespStatus),
    ("RespReason", Tag::RespReason),
    ("RespHeader", Tag::RespHeader),
    ("RespUnset", Tag::RespUnset),
    ("BereqMethod", Tag::BereqMethod),
    ("BereqURL", Tag::BereqUrl),
    ("BereqProtocol", Tag::BereqProtocol),
    ("BereqHeader", Tag::BereqHeader),
    ("BereqUnset", Tag::BereqUnset),
    ("BerespStatus", Tag::BerespStatus),
    ("BerespReason", Tag::BerespReason),
    ("BerespHeader", Tag::BerespHeader),
    ("BerespUnset", Tag::BerespUnset),
    ("Timestamp", Tag::Timestamp),
    ("VCL_call", Tag::VclCall),
    ("VCL_return", Tag::VclReturn),
    ("VCL_Log", Tag::VclLog),
    ("Hit", Tag::Hit),
    ("HitMiss", Tag::HitMiss),
    ("HitPass", Tag::HitPass),
    ("PipeAcct", Tag::PipeAcct),
    ("ReqAcct", Tag::ReqAcct),
    ("BereqAcct", Tag::BereqAcct),
    ("End", Tag::End),
];

/// Tags whose records are not text (`SLT_F_BINARY`) or may hold control bytes (`SLT_F_UNSAFE`).
const RAW: [&str; 7] =
    ["Debug", "HttpGarbage", "Hash", "H2RxHdr", "H2RxBody", "H2TxHdr", "H2TxBody"];

/// Tags that exist only because their table is a product (`SLT_F_UNUSED`).
const UNUSED: [&str; 15] = [
    "ReqStatus",
    "ReqReason",
    "ReqLost",
    "RespMethod",
    "RespURL",
    "RespLost",
    "BereqStatus",
    "BereqReason",
    "BereqLost",
    "BerespMethod",
    "BerespURL",
    "BerespLost",
    "ObjMethod",
    "ObjURL",
    "ObjLost",
];

/// The tags of Varnish 7.4 to 7.7 in the order of `include/tbl/vsl_tags.h`, from number 1.
pub(crate) const VARNISH_7: [&str; 93] = [
    "Debug",
    "Error",
    "CLI",
    "SessOpen",
    "SessClose",
    "BackendOpen",
    "BackendClose",
    "HttpGarbage",
    "Proxy",
    "ProxyGarbage",
    "Length",
    "FetchError",
    "ReqMethod",
    "ReqURL",
    "ReqProtocol",
    "ReqStatus",
    "ReqReason",
    "ReqHeader",
    "ReqUnset",
    "ReqLost",
    "RespMethod",
    "RespURL",
    "RespProtocol",
    "RespStatus",
    "RespReason",
    "RespHeader",
    "RespUnset",
    "RespLost",
    "BereqMethod",
    "BereqURL",
    "BereqProtocol",
    "BereqStatus",
    "BereqReason",
    "BereqHeader",
    "BereqUnset",
    "BereqLost",
    "BerespMethod",
    "BerespURL",
    "BerespProtocol",
    "BerespStatus",
    "BerespReason",
    "BerespHeader",
    "BerespUnset",
    "BerespLost",
    "ObjMethod",
    "ObjURL",
    "ObjProtocol",
    "ObjStatus",
    "ObjReason",
    "ObjHeader",
    "ObjUnset",
    "ObjLost",
    "BogoHeader",
    "LostHeader",
    "TTL",
    "Fetch_Body",
    "VCL_acl",
    "VCL_call",
    "VCL_trace",
    "VCL_return",
    "ReqStart",
    "Hit",
    "HitPass",
    "ExpBan",
    "ExpKill",
    "WorkThread",
    "ESI_xmlerror",
    "Hash",
    "Backend_health",
    "VCL_Log",
    "VCL_Error",
    "Gzip",
    "Link",
    "Begin",
    "End",
    "VSL",
    "Storage",
    "Timestamp",
    "ReqAcct",
    "PipeAcct",
    "BereqAcct",
    "VfpAcct",
    "Witness",
    "H2RxHdr",
    "H2RxBody",
    "H2TxHdr",
    "H2TxBody",
    "HitMiss",
    "Filters",
    "SessError",
    "VCL_use",
    "Notice",
    "VdpAcct",
];

/// Why a tag's name does not stand for one tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagError {
    /// No tag begins with this name.
    Unknown,
    /// Several tags do, and none is named exactly so.
    Ambiguous,
}

/// What the table says of one tag number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagInfo {
    /// The tag's number in the running Varnish.
    pub number: u8,
    /// What the walk knows it as.
    pub tag: Tag,
    /// Whether its records may hold bytes that varnishncsa prints only as JSON.
    pub raw: bool,
}

/// The tag numbers of one Varnish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagTable {
    kinds: [Tag; 256],
    raw: [bool; 256],
    /// The number of each [`Tag`] the running Varnish has, by discriminant.
    numbers: [Option<u8>; Tag::End as usize + 1],
    names: Vec<(u8, String)>,
}

impl TagTable {
    /// Builds the table from `(number, name)` pairs, for example `(24, "ReqURL")`.
    ///
    /// Names that no record needs are kept all the same: `%{VSL:...}x` may ask for any tag.
    #[must_use]
    pub fn new<'n>(pairs: impl IntoIterator<Item = (u8, &'n str)>) -> Self {
        let mut table = Self {
            kinds: [Tag::Other; 256],
            raw: [false; 256],
            numbers: [None; Tag::End as usize + 1],
            names: Vec::new(),
        };
        for (number, name) in pairs {
            let at = usize::from(number);
            if let Some((_, tag)) = NAMES.iter().find(|(known, _)| *known == name)
                && let Some(kind) = table.kinds.get_mut(at)
            {
                *kind = *tag;
                if let Some(known) = table.numbers.get_mut(*tag as usize) {
                    *known = Some(number);
                }
            }
            if let Some(raw) = table.raw.get_mut(at) {
                *raw = RAW.contains(&name) || UNUSED.contains(&name);
            }
            table.names.push((number, name.to_owned()));
        }
        table.names.sort_by_key(|(number, _)| *number);
        table
    }

    /// The table of `VARNISH_7`, for tests and tools that have no Varnish at hand.
    #[must_use]
    pub fn varnish_7() -> Self {
        Self::new((1u8..).zip(VARNISH_7))
    }

    /// What every number stands for.
    pub(super) fn kinds(&self) -> [Tag; 256] {
        self.kinds
    }

    /// What a tag number stands for; [`Tag::Other`] for numbers no pair named.
    #[must_use]
    #[inline]
    pub fn kind(&self, number: u8) -> Tag {
        self.kinds.get(usize::from(number)).copied().unwrap_or(Tag::Other)
    }

    /// Finds a tag by its name or by a prefix that only one tag has, without regard to case:
    /// the rule of `VSL_Name2Tag` (`lib/libvarnishapi/vsl_arg.c`).
    ///
    /// # Errors
    /// [`TagError`] when no tag or more than one tag fits.
    pub fn find(&self, name: &str) -> Result<TagInfo, TagError> {
        let mut found = Err(TagError::Unknown);
        for (number, known) in &self.names {
            let Some(head) = known.as_bytes().get(..name.len()) else { continue };
            if !head.eq_ignore_ascii_case(name.as_bytes()) {
                continue;
            }
            let info = TagInfo {
                number: *number,
                tag: self.kind(*number),
                raw: self.raw.get(usize::from(*number)).copied().unwrap_or(false),
            };
            if known.len() == name.len() {
                return Ok(info);
            }
            found = match found {
                Err(TagError::Unknown) => Ok(info),
                _ => Err(TagError::Ambiguous),
            };
        }
        found
    }

    /// The name of a tag's number.
    #[must_use]
    pub fn name(&self, number: u8) -> Option<&str> {
        self.names.iter().find(|(known, _)| *known == number).map(|(_, name)| name.as_str())
    }

    /// The number of a tag, if the running Varnish has it.
    #[must_use]
    pub fn number(&self, tag: Tag) -> Option<u8> {
        self.numbers.get(tag as usize).copied().flatten()
    }
}
