//! The face that VCL sees, and the only place that knows Varnish.
//!
//! `unsafe` is allowed below this module: it reads Varnish's structs and calls its functions.
//! Every entry point catches a panic, counts it and carries on, because an unwinding destructor
//! ends varnishd's child (`docs/design.md`).

mod built_for;
mod carry;
mod child;
mod counters;
mod events;
mod guarded;
mod identity;
mod keys;
mod late;
mod lines;
mod mask;
mod methods;
mod object;
mod params;
mod pending;
mod privacy;
mod process;
mod shared;
mod structs;
mod task;
mod transport;
mod version;

use std::ffi::CStr;
use std::net::SocketAddr;
use std::sync::Arc;

use varnish::vcl::{Ctx, Event};

pub(crate) use self::built_for::abi;
use self::methods::{Methods, stream};
use self::object::{Stream, Streams};
use crate::settings::Arguments;

/// Puts the arguments that VCL gave, each under its own name, into one list.
macro_rules! arguments {
    ($name:expr; $($argument:ident)*) => {{
        let name: &CStr = $name;
        let mut arguments = Arguments::new(&name.to_string_lossy());
        // As it came, so that a sentence about it can show it.
        $(arguments.set(
            stringify!($argument),
            $argument.map(|text: &CStr| text.to_string_lossy().into_owned()),
        );)*
        arguments
    }};
}

// Varnish calls what is public in this module; the crate does not.
#[allow(clippy::too_many_arguments, missing_docs, unreachable_pub)]
#[varnish::vmod(docs = "API.md")]
/// Logs a line for every request, in a format of your own, and uploads the lines in blocks to an
/// S3 bucket within seconds.
///
/// Arguments are strings; VCL literals (`10s`, `65536`, `true`) need no quotes. `vcl.load` fails
/// with an error message that names an invalid argument. Durations are written `500ms`, `10s`,
/// `5m`, `1h`, `1d`; sizes `65536`, `"64KB"`, `"64MB"`, `"5GB"` (powers of 1024).
///
/// The module's file is `libvmod_s3log.so`.
mod s3log {
    use super::*;

    /// Opens the streams of a VCL that has loaded completely: `vcl_load()` sends `VCL_EVENT_WARM` after
    /// `vcl_init` has returned, and again before a cold VCL is used (`cache_vcl.c`, 7.4 to 9). It must
    /// not fail: `vcl_event_handling()` asserts that nobody has called `VRT_fail()` then.
    #[event]
    pub fn event(#[shared_per_vcl] streams: &mut Option<Box<Streams>>, event: Event) {
        if let (Event::Warm, Some(streams)) = (event, streams) {
            guarded::guarded(carry::prepare);
            streams.loaded();
        }
    }

    /// The module's version, for example `0.1.0`.
    pub fn version() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// The address with all but its first bits set to zero, for `.set()`: 24 and 48 bits keep the
    /// network and hide the individual. IPv4-mapped IPv6 addresses are treated as IPv4. Of an unset
    /// IP the result is unset.
    pub fn truncate_ip(
        /// The address.
        #[required]
        ip: Option<SocketAddr>,
        /// Bits of an IPv4 address to keep, 0 to 32.
        #[default(24)]
        v4_bits: i64,
        /// Bits of an IPv6 address to keep, 0 to 128.
        #[default(48)]
        v6_bits: i64,
    ) -> Option<String> {
        privacy::truncate_ip(ip, v4_bits, v6_bits)
    }

    /// The HMAC-SHA-256 of a text with the key in a file, as 64 hexadecimal digits: a pseudonym for
    /// `.set()`. Only the key's holder can test whether a guess is right. The result is empty if
    /// the file cannot be read or the key is shorter than 16 bytes; Varnish's log then says what is
    /// required. Of an unset STRING, such as a header that the client did not send, the result is
    /// unset.
    ///
    /// A changed file is read again within a second. To notice a change, a worker checks the file's
    /// size and time, at most once a second for each file. No other call makes a request wait for a
    /// file system. A helper thread makes the check, so that a file system that does not answer
    /// delays a request by at most five seconds; keep the file on a local disk. A failed read is
    /// remembered for a second, too, and logged once. Each worker keeps the keys of the 16 files
    /// that it used last. To replace a key file, rename the new file over it, so that no request
    /// reads half a key.
    pub fn hash(
        ctx: &mut Ctx,
        /// The text.
        #[required]
        text: Option<&CStr>,
        /// The file with the key, 16 bytes to 64 KiB. Every byte counts, including a line break at
        /// the end. Never take the file's name from a request.
        key_file: &CStr,
    ) -> Option<String> {
        privacy::hash(ctx.raw, text, key_file)
    }

    /// A stream: a format, a destination and a spool. Its name is that of the VCL object.
    ///
    /// ```vcl
    /// sub vcl_init {
    ///     new access = s3log.stream(
    ///         endpoint = "https://gateway.storjshare.io",
    ///         bucket = "edge-logs",
    ///         path = "varnish/%Y/%m/%d/",
    ///         period = 10s);
    /// }
    /// sub vcl_recv { access.log(); }
    /// ```
    impl stream {
        /// Opens the stream, or joins the stream of another VCL if name, spool and route are the
        /// same. The route decides where records go and who can read them. It consists of
        /// `endpoint`, `bucket`, `path`, `path_timezone`, `timestamp_format`, `hostname`,
        /// `encrypt_to`, `public_key`, `sign_key`, `gateway`, `expected_bucket_owner` and the object
        /// options. All other arguments come from the VCL whose task wrote the latest record
        /// (`docs/operations.md`).
        /// An unreachable gateway is no error: blocks wait in the spool until it is back.
        pub fn new(
            #[vcl_name] name: &CStr,
            #[shared_per_vcl] streams: &mut Option<Box<Streams>>,
            /// The gateway's URL: `https://host[:port][/path]`. Plain `http://` is accepted for loopback
            /// addresses, and for other hosts only with `allow_http = true`. Required.
            endpoint: Option<&CStr>,
            /// The bucket. It must exist. Required.
            bucket: Option<&CStr>,
            /// Prefix of every object key. strftime conversions are expanded from the time of the
            /// block's first record, in the zone `path_timezone`; use `/` for folders.
            /// Default: nothing.
            path: Option<&CStr>,
            /// The zone of `path`: `UTC`, `local` (the zone of the cache process) or a name from
            /// the system's database, such as `Europe/Berlin`. `timestamp_format` stays in UTC.
            /// Default: `UTC`.
            path_timezone: Option<&CStr>,
            /// What follows `path` in every object key, strftime in UTC.
            /// Default: `%Y-%m-%dT%H-%M-%SZ`.
            timestamp_format: Option<&CStr>,
            /// The bucket's region. Default: the region in the endpoint's name, then `AWS_REGION`,
            /// `AWS_DEFAULT_REGION` and the profile's `region`, then the gateway's usual region,
            /// else `us-east-1`.
            region: Option<&CStr>,
            /// A file in the format of AWS's shared credentials file, with `aws_access_key_id` and
            /// `aws_secret_access_key`. It is read again when it changes. Default: the environment,
            /// then the sources listed in `docs/install.md`. VCL cannot hold keys, because
            /// `vcl.show` prints it.
            credentials: Option<&CStr>,
            /// The section of the credentials file. Default: `default`.
            profile: Option<&CStr>,
            /// Whether plain `http://` is accepted for hosts other than this machine.
            /// Default: false.
            allow_http: Option<&CStr>,
            /// The format of a line, in the language of `docs/formats.md`. Default: the combined
            /// format, `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`.
            format: Option<&CStr>,
            /// Whose rules apply where format languages differ: `apache` or `varnishncsa`.
            /// Default: `apache`.
            dialect: Option<&CStr>,
            /// How values are escaped: `clf`, `json`, `tsv` or `none`. Default: `json` for a format
            /// that begins with `{`, else `clf`.
            escape: Option<&CStr>,
            /// The prefix of each line: `blank`, `classic` (RFC 3164), `loggly` (RFC 5424) or
            /// `logplex`. Default: `blank`.
            message_type: Option<&CStr>,
            /// The host name in that prefix and in object keys. Default: this machine's.
            hostname: Option<&CStr>,
            /// The program name in that prefix. Default: the stream's name.
            tag: Option<&CStr>,
            /// The zone of `%t`: `utc` or `local`. Default: `utc`; `local` in the dialect
            /// varnishncsa.
            timezone: Option<&CStr>,
            /// The maximum length of a line, from 256B to 65000B. A longer line is cut, marked and
            /// counted. Default: 16KB.
            max_line: Option<&CStr>,
            /// The share of transactions that are logged: `1/N`, such as `1/100`; N is at most
            /// 1,000,000. The transaction's number decides, so that all streams choose the same
            /// ones, and `%{s3log:sample}x` prints N. `.log_line()` is not sampled. Default: every
            /// transaction.
            sample: Option<&CStr>,
            /// Whether ESI fragments have lines of their own. Default: false.
            esi: Option<&CStr>,
            /// How long after its first record a block is closed and uploaded, from 100ms to 1d.
            /// From 10s on, the first block after a start is closed after a random part of the
            /// period, so that nodes that start together do not upload together. Default: 60s.
            period: Option<&CStr>,
            /// Whether blocks are aligned to the clock: no block crosses a multiple of `period`,
            /// counted from midnight in `path_timezone`, so that a day's folder holds that day's
            /// lines. A line's time is when it entered the ring. `period` must divide a day evenly
            /// (`docs/operations.md`). Default: false.
            align: Option<&CStr>,
            /// The maximum size of a block, compressed, from 1KB to 5GB. A block also ends at a
            /// quarter of `spool_max`. Default: 64MB.
            max_bytes: Option<&CStr>,
            /// `gzip`, `gzip:0` to `gzip:9`, `zstd`, `zstd:1` to `zstd:19`, `snappy` (the framing
            /// format), or `none`. Default: `gzip`, which is level 3.
            compression: Option<&CStr>,
            /// How many gzip members, zstd frames or snappy streams a block has: `many`, one for each
            /// MB of lines or so, or `one`, for readers that stop after the first
            /// (`docs/reading.md`). With `one`, a block is compressed once more when it is closed
            /// (`docs/formats.md`). Default: `many`.
            members: Option<&CStr>,
            /// Encrypts each block when it is sealed: one or more age recipients (`age1...`)
            /// separated by commas or spaces, or the absolute path of a file with one recipient per
            /// line, read at `vcl.load`. Object keys then end in `.age`. Until a block is sealed,
            /// its records are unencrypted in the spool (`docs/encryption.md`). Default: none,
            /// blocks are not encrypted.
            encrypt_to: Option<&CStr>,
            /// The same for OpenPGP, instead of `encrypt_to`: an armoured certificate
            /// (`gpg --armor --export`), or the absolute path of a file with one, read at
            /// `vcl.load`. Object keys then end in `.pgp`, and `gpg --decrypt` decrypts the blocks.
            /// Default: none.
            public_key: Option<&CStr>,
            /// A minisign secret key file made with `minisign -G -W`, read at `vcl.load`. The
            /// metadata of each block is signed, so that write access to the bucket is not enough
            /// to forge a block (`docs/chain.md`). Default: none, blocks are not signed.
            sign_key: Option<&CStr>,
            /// The directory where blocks wait for the gateway; each stream has a folder in it. It
            /// must exist and be writable by varnishd's cache process. `none` keeps blocks in
            /// memory, and what is not uploaded is lost when the process ends.
            /// Default: `/var/lib/vmod-s3log`.
            spool: Option<&CStr>,
            /// The size of the ring between the workers and the packer, a power of two
            /// from 1MB to 1GB. A new size takes effect at the next start of the cache process.
            /// Default: 16MB.
            ring: Option<&CStr>,
            /// What a worker does when the ring is full: `drop` counts the record as dropped and
            /// continues, `wait` waits for room for at most `max_wait` first. Default: `drop`.
            on_full: Option<&CStr>,
            /// The longest wait, from 1ms to 10s. Default: 100ms.
            max_wait: Option<&CStr>,
            /// How many bytes may wait in the spool, from 1MB to 100TB. Default: 10GB.
            spool_max: Option<&CStr>,
            /// Which blocks are dropped when the spool is full: `drop_oldest` or `drop_newest`.
            /// Their records are counted as dropped. Default: `drop_oldest`.
            on_spool_full: Option<&CStr>,
            /// What `vcl.load` does if the stream cannot start because its spool, or a file of
            /// credentials or keys, cannot be used. `fail`: the load fails. `serve`: the VCL is
            /// loaded, lines wait in memory, up to the size of `ring`, and the start is retried
            /// every 10 seconds (`docs/operations.md`). Default: `serve` while the cache process is
            /// being launched, so that a restart never takes the site down; else `fail`.
            on_start_failure: Option<&CStr>,
            /// When the spool is synced to disk: `none`, `block`, or a duration from 10ms to 1h. It
            /// matters only after a power failure (`docs/guarantees.md`). Default: `block`.
            sync: Option<&CStr>,
            /// How long varnishd's exit may wait for the last upload, from 0s to 10m. What is not
            /// uploaded by then waits in the spool. varnishd kills the cache process after its
            /// parameter `cli_timeout`, 60 seconds: for more than 50s raise that, and
            /// `TimeoutStopSec=` of its unit, as well. Default: 5s.
            exit_timeout: Option<&CStr>,
            /// Which process uploads. `internal`: varnishd. `external`: varnishd opens no
            /// connection and reads no credentials; `s3log ship`, as another user, uploads from the
            /// spool (`docs/operations.md`). Default: `internal`.
            upload: Option<&CStr>,
            /// How many blocks are uploaded in parallel, from 1 to 16. Default: 2.
            upload_threads: Option<&CStr>,
            /// Where the bucket's name is in the URL: `path` or `virtual` (in the host name).
            /// Default: `path`.
            addressing: Option<&CStr>,
            /// A PEM file with the only trusted certificates: those of authorities, or the
            /// gateway's own, even with CA:TRUE as `openssl req -x509` makes it. STS is checked
            /// against the system's authorities or `AWS_CA_BUNDLE`. Default: the system's
            /// authorities.
            ca_file: Option<&CStr>,
            /// A PEM file with the client certificate. Like `ca_file` and `client_key`, it is read
            /// again when it changes. Default: none.
            client_certificate: Option<&CStr>,
            /// A PEM file with the key of the client certificate.
            client_key: Option<&CStr>,
            /// The HTTP proxy: `http://host:port`, or `none`. A proxy with a password is accepted
            /// only in the `config` file or in the environment. Default: `HTTPS_PROXY`,
            /// `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, with curl's rules (`docs/operations.md`).
            /// Loopback addresses are never reached through a proxy.
            proxy: Option<&CStr>,
            /// The time limit for name resolution, connection and TLS, from 100ms to 5m.
            /// Default: 5s.
            connect_timeout: Option<&CStr>,
            /// The time limit for a request without its body, from 1s to 1h. A body adds one second
            /// for every 64KB. A gateway that has the whole body and does not answer, or reads no
            /// more of it, gets at most 64 seconds more than `timeout`, twice that after each attempt
            /// that ran out of time, and after a slow answer twice what that took. Default: 30s.
            timeout: Option<&CStr>,
            /// An AWS STS role to assume with the credentials found. Default: none.
            role_arn: Option<&CStr>,
            /// The external ID that the role's trust policy requires (`sts:ExternalId`).
            /// Default: none.
            external_id: Option<&CStr>,
            /// The name of the role's sessions in CloudTrail. Default: `s3log`.
            role_session_name: Option<&CStr>,
            /// The 12-digit ID of the AWS account that must own the bucket. AWS refuses requests if
            /// another account owns it. Default: not checked.
            expected_bucket_owner: Option<&CStr>,
            /// Which provider's restrictions apply: `aws`, `storj`, `r2`, `b2`, `wasabi`, `minio`,
            /// `ceph`, `gcs`, `ovh`, `garage`, `seaweedfs` or `generic`. `vcl.load` fails if an
            /// argument is not supported there (`docs/gateways.md`). Default: derived from the
            /// endpoint's name.
            gateway: Option<&CStr>,
            /// The objects' `Content-Type`. Default: `application/octet-stream`.
            content_type: Option<&CStr>,
            /// Which `x-amz-checksum-*` header is sent: `none`, `crc32c`, `crc64nvme` or `sha256`.
            /// Default: `none`, which every gateway accepts; the payload's hash is always signed.
            checksum: Option<&CStr>,
            /// Whether `Content-MD5` is sent, which takes one more pass over a block: `auto` (for
            /// AWS, with `object_lock`, and where a bucket requires it), `true` or `false`.
            /// Default: `auto`.
            content_md5: Option<&CStr>,
            /// Whether `If-None-Match: *` protects objects from being overwritten, where the
            /// gateway supports it. Default: true.
            if_none_match: Option<&CStr>,
            /// A canned ACL, such as `bucket-owner-full-control`. Default: none is sent.
            acl: Option<&CStr>,
            /// The storage class, such as `standard_ia` or `glacier_ir`. Default: the bucket's.
            redundancy: Option<&CStr>,
            /// `AES256`, `aws:kms` or `aws:kms:dsse`. A warning tells of a gateway that stores and does
            /// not confirm it, and `s3log check` fails there. Default: the bucket's.
            server_side_encryption: Option<&CStr>,
            /// With `aws:kms`: the ID or ARN of the key. Default: the account's key.
            kms_key_id: Option<&CStr>,
            /// Object tags: `name=value,name=value`, at most ten, each name once. Default: none.
            tags: Option<&CStr>,
            /// Additional user metadata: `name=value,name=value`, each name once and none that the
            /// module writes itself (`docs/chain.md`). Default: none.
            metadata: Option<&CStr>,
            /// Retention (WORM): `compliance:30d` or `governance:1y`. Default: none.
            object_lock: Option<&CStr>,
            /// Storj only: when the object expires: `720h`, `30d` or a date. From that date on
            /// blocks wait in the spool. Default: never.
            object_ttl: Option<&CStr>,
            /// A TOML file with these arguments as keys, in a table with the stream's name.
            /// Arguments in VCL override it. Default: none.
            config: Option<&CStr>,
        ) -> Result<Self, String> {
            let config = config.map(CStr::to_string_lossy);
            let mut arguments = arguments!(name;
                endpoint bucket path path_timezone timestamp_format region credentials profile allow_http
                format dialect escape message_type hostname tag timezone max_line sample esi
                period align max_bytes compression members encrypt_to public_key sign_key
                spool ring on_full max_wait spool_max on_spool_full on_start_failure sync exit_timeout
                upload upload_threads
                addressing ca_file client_certificate client_key proxy connect_timeout timeout
                role_arn external_id role_session_name expected_bucket_owner
                gateway content_type checksum content_md5 if_none_match acl redundancy
                server_side_encryption kms_key_id tags metadata object_lock object_ttl);
            std::panic::catch_unwind(move || {
                if arguments.get("proxy").is_some_and(|proxy| proxy.contains('@')) {
                    let problem = "holds a password, which vcl.show would print: write it into the \
                                   file of config, or into varnishd's environment";
                    return Err(arguments.problem("proxy", problem).to_string());
                }
                if let Some(path) = config {
                    arguments
                        .fill_from_file(path.as_ref().as_ref())
                        .map_err(|error| error.to_string())?;
                }
                Stream::open(&arguments).map(Arc::new)
            })
            .unwrap_or_else(|_| Err("s3log: the module panicked while opening a stream".to_owned()))
            .map(|stream| {
                streams.get_or_insert_default().note(&stream);
                Self { stream }
            })
        }

        // The binding reads the methods here, and calls those of `Methods`.

        /// Logs this task: one line, written when the task ends, after the body has been sent, with
        /// the status, byte counts and times that were really sent. Call it in `vcl_recv`: the line
        /// is written whether the request is delivered, synthesised, piped, restarted, reset by the
        /// client, handed to a VCL label or failed by VCL. A further call, from any client
        /// subroutine, adds no line. It saves the response headers as they are at that time, which
        /// the line uses where Varnish's log has truncated or lost them, and sets the priority if
        /// one is given. In a backend subroutine it logs the fetch. It uses none of the task's
        /// workspace.
        #[cfg(false)]
        pub fn log(
            ctx: &mut Ctx,
            /// Which records are dropped first when the ring fills up: `low`, `normal` or `high`
            /// (`docs/operations.md`). The last priority given applies. Any other word is ignored
            /// and reported in the task's log. Default: `high` for a status from 500 to 599, else
            /// `normal`.
            priority: Option<&CStr>,
        ) {
        }

        /// Cancels the calls of `.log()` that this task has made so far, for example for a health
        /// check.
        #[cfg(false)]
        pub fn nolog(ctx: &mut Ctx) {}

        /// Logs this line at once, from any subroutine. A line break in it is written as `\n`.
        #[cfg(false)]
        pub fn log_line(
            ctx: &mut Ctx,
            /// The line.
            line: &CStr,
            /// As for `.log()`. Default: `normal`.
            priority: Option<&CStr>,
        ) {
        }

        /// Sets the value that the format's `%{key}x` prints for this task.
        #[cfg(false)]
        pub fn set(
            ctx: &mut Ctx,
            /// The key.
            key: &CStr,
            /// The value. The last value set for a key applies. An unset STRING, such as a header
            /// that the client did not send, leaves the key without a value.
            #[required]
            value: Option<&CStr>,
        ) {
        }

        /// The stream's state as JSON, for a synthetic health page (`docs/operations.md`).
        #[cfg(false)]
        pub fn status() -> String {}
    }
}
