//! The face that VCL sees, and the only place that knows Varnish.
//!
//! `unsafe` is allowed below this module: it reads Varnish's structs and calls its functions.
//! Every entry point catches a panic, counts it and carries on, because an unwinding destructor
//! ends varnishd's child (`docs/design.md`).

mod carry;
mod child;
mod counters;
mod events;
mod keys;
mod late;
mod object;
mod params;
mod pending;
mod privacy;
mod process;
mod structs;
mod task;
mod transport;
mod version;

use std::ffi::CStr;
use std::net::SocketAddr;
use std::sync::Arc;

use varnish::vcl::{Ctx, Event};

use self::late::Late;
use self::object::{Stream, Streams};
use crate::settings::Arguments;
use crate::stats;

/// The VCL object `s3log.stream`.
#[allow(non_camel_case_types, unreachable_pub)]
pub struct stream {
    // With a count, for what outlives its VCL by a moment; tasks keep the address alone.
    stream: Arc<Stream>,
}

/// Streams of VCLs that are gone, which a task still has.
static LATE: Late<Stream> = Late::new();

impl Drop for stream {
    fn drop(&mut self) {
        LATE.leave(&self.stream);
    }
}

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
/// Every request's log line, in a format of your own, packed into blocks and in an S3 bucket
/// seconds later.
///
/// Arguments are texts; VCL's own literals (`10s`, `65536`, `true`) may stand without quotes.
/// A wrong one fails `vcl.load` with a sentence that names it. Durations are written `500ms`,
/// `10s`, `5m`, `1h`, `1d`; sizes `65536`, `"64KB"`, `"64MB"`, `"5GB"` (powers of 1024).
mod s3log {
    use super::*;

    /// Opens the streams of a VCL that has loaded completely: `vcl_load()` sends `VCL_EVENT_WARM` after
    /// `vcl_init` has returned, and again before a cold VCL is used (`cache_vcl.c`, 7.4 to 9). It must
    /// not fail: `vcl_event_handling()` asserts that nobody has called `VRT_fail()` then.
    #[event]
    pub fn event(#[shared_per_vcl] streams: &mut Option<Box<Streams>>, event: Event) {
        if let (Event::Warm, Some(streams)) = (event, streams) {
            streams.loaded();
        }
    }

    /// The module's version, for example `0.1.0`.
    pub fn version() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// The address with all but its first bits set to zero, for `.set()`: 24 and 48 bits keep a
    /// network and drop the person. An IPv4 address in IPv6 clothes counts as IPv4.
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
    ) -> String {
        privacy::truncate_ip(ip, v4_bits, v6_bits)
    }

    /// HMAC-SHA-256 of a text under the key in a file, 64 hexadecimal digits: a pseudonym for
    /// `.set()` that only the key's holder can test a guess against. With a file that cannot be read
    /// or a key of less than 16 bytes the result is empty, and Varnish's log has a line that says
    /// what is required.
    ///
    /// A changed file is read again within a second. For that a worker asks for the file's size and
    /// time, once a second at most for each file: no other call lets a request wait for a file
    /// system. A helper thread asks, so that a file system that does not answer holds a request for
    /// five seconds at most; keep the file on a local disk. A failed read counts for a second too,
    /// and gives one line in the log. A worker keeps the keys of the 16 files that it used last.
    /// Replace a key file by renaming a new one over it, so that no request finds half a key.
    pub fn hash(
        ctx: &mut Ctx,
        /// The text.
        text: &CStr,
        /// The file with the key, 16 bytes to 64 KiB; all its bytes count, a line break at its end too.
        /// Do not let a request choose it.
        key_file: &CStr,
    ) -> String {
        privacy::hash(ctx.raw, text, key_file)
    }

    /// A stream: a format, a destination and a spool, under the name of the VCL object.
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
        /// Opens the stream, or joins the one of the same name, spool and route that another VCL has.
        /// The route is what decides where records go and who can read them: `endpoint`, `bucket`,
        /// `path`, `path_timezone`, `timestamp_format`, `hostname`,
        /// `encrypt_to`, `public_key`, `sign_key`, `gateway` and what objects are stored with. All other
        /// arguments come from the VCL whose task wrote the latest record (`docs/operations.md`).
        /// A gateway that is down is no error: blocks wait in the spool until it is up.
        pub fn new(
            #[vcl_name] name: &CStr,
            #[shared_per_vcl] streams: &mut Option<Box<Streams>>,
            /// The gateway: `https://host[:port]`. Plain `http://` is taken for loopback
            /// addresses, and elsewhere only with `allow_http = true`. Required.
            endpoint: Option<&CStr>,
            /// The bucket. It is not created. Required.
            bucket: Option<&CStr>,
            /// What keys begin with, strftime of a block's first record: a `/` makes a folder. The
            /// zone is `path_timezone`. Default: nothing.
            path: Option<&CStr>,
            /// The zone of `path`: `UTC`, `local` (the cache process's) or a name such as
            /// `Europe/Berlin` from the system's database. `timestamp_format` stays in UTC.
            /// Default: `UTC`.
            path_timezone: Option<&CStr>,
            /// How a key goes on after `path`, strftime. Default: `%Y-%m-%dT%H-%M-%SZ`.
            timestamp_format: Option<&CStr>,
            /// The bucket's region. Default: the one in the endpoint's name, then `AWS_REGION`,
            /// `AWS_DEFAULT_REGION` and the profile's `region`, then the gateway's own, else
            /// `us-east-1`.
            region: Option<&CStr>,
            /// A file with `aws_access_key_id` and `aws_secret_access_key`, as AWS's shared
            /// credentials file; read again when it changes. Default: the environment, then the
            /// sources that `docs/install.md` lists. Keys are never given in VCL, which
            /// `vcl.show` prints.
            credentials: Option<&CStr>,
            /// Which section of the credentials file. Default: `default`.
            profile: Option<&CStr>,
            /// Whether plain `http://` is taken for a host that is not this machine.
            /// Default: false.
            allow_http: Option<&CStr>,
            /// The line, in the language of `docs/formats.md`. Default: the combined format,
            /// `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`.
            format: Option<&CStr>,
            /// Whose rules hold where formats differ: `apache` or `varnishncsa`.
            /// Default: `apache`.
            dialect: Option<&CStr>,
            /// How values are made fit for the line: `clf`, `json`, `tsv` or `none`.
            /// Default: `json` for a format that begins with `{`, else `clf`.
            escape: Option<&CStr>,
            /// What stands before each line: `blank`, `classic` (RFC 3164), `loggly`
            /// (RFC 5424) or `logplex`. Default: `blank`.
            message_type: Option<&CStr>,
            /// The host name in that prefix and in keys. Default: this machine's.
            hostname: Option<&CStr>,
            /// The program's name in that prefix. Default: the stream's name.
            tag: Option<&CStr>,
            /// The zone of `%t`: `utc` or `local`. Default: `utc`, and `local` in the dialect
            /// varnishncsa.
            timezone: Option<&CStr>,
            /// The longest line, from 256B to 65000B; a longer one is cut, marked and
            /// counted. Default: 16KB.
            max_line: Option<&CStr>,
            /// Which share of the transactions has a record, `1/N`, as `1/100`; N is at most 1,000,000.
            /// The transaction's number decides, so that all streams agree, and `%{s3log:sample}x`
            /// prints N. Lines of `.log_line()` are all taken. Default: every transaction.
            sample: Option<&CStr>,
            /// Whether ESI fragments have records of their own. Default: false.
            esi: Option<&CStr>,
            /// How long after its first record a block is closed and uploaded, from 100ms to
            /// 1d. From 10s on, the first block of a start is closed after a random part of
            /// it, so that nodes which start together do not upload together. Default: 60s.
            period: Option<&CStr>,
            /// Whether blocks are aligned to the clock: none crosses a multiple of `period`, counted
            /// from midnight in `path_timezone`, so that a folder of a day has that day's lines. A
            /// line's time is when it entered the ring. `period` must divide a day evenly
            /// (`docs/operations.md`). Default: false.
            align: Option<&CStr>,
            /// How large a block may grow, compressed, from 1KB to 5GB. Default: 64MB.
            max_bytes: Option<&CStr>,
            /// `gzip`, `gzip:0` to `gzip:9`, `zstd`, `zstd:1` to `zstd:19`, `snappy`
            /// (the framing format), or `none`.
            /// Default: `gzip`, which is level 3.
            compression: Option<&CStr>,
            /// Whom blocks are encrypted to when they are sealed: one or several age recipients
            /// (`age1...`) separated by commas or spaces, or the absolute path of a file with one
            /// a line, read at `vcl.load`. Keys then end in `.age`. Until a block is sealed its
            /// records are unencrypted in the spool (`docs/encryption.md`). Default: nobody;
            /// blocks are not encrypted.
            encrypt_to: Option<&CStr>,
            /// The same for OpenPGP, instead of `encrypt_to`: an armoured certificate (`gpg --armor
            /// --export`), or the absolute path of a file with one, read at `vcl.load`. Keys then
            /// end in `.pgp`, and `gpg --decrypt` reads the blocks. Default: nobody.
            public_key: Option<&CStr>,
            /// A secret key file of minisign, made with `minisign -G -W`, read at `vcl.load`: each
            /// block's metadata is signed, so that who can write to the bucket cannot forge a block
            /// (`docs/chain.md`). Default: none, blocks are not signed.
            sign_key: Option<&CStr>,
            /// The directory in which blocks wait for the gateway, one folder a stream in it.
            /// It must be there and be writable by varnishd's cache process. `none` keeps them
            /// in memory, and what is not uploaded dies with the process.
            /// Default: `/var/lib/vmod-s3log`.
            spool: Option<&CStr>,
            /// The size of the ring between the workers and the packer, a power of two from 1MB
            /// to 1GB; an existing ring keeps its size until it is empty at a start.
            /// Default: 16MB.
            ring: Option<&CStr>,
            /// What a worker does when the ring is full: `drop` counts the record and goes on,
            /// `wait` waits up to `max_wait` first. Default: `drop`.
            on_full: Option<&CStr>,
            /// The longest wait, from 1ms to 10s. Default: 100ms.
            max_wait: Option<&CStr>,
            /// How much may wait in the spool, from 1MB to 100TB. Default: 10GB.
            spool_max: Option<&CStr>,
            /// What goes when the spool is full: `drop_oldest` or `drop_newest`, counted in
            /// records. Default: `drop_oldest`.
            on_spool_full: Option<&CStr>,
            /// What `vcl.load` does when the stream cannot be started, because its spool or a file of
            /// credentials or keys cannot be used: `fail`, or `serve`: the VCL is loaded, lines wait
            /// in memory, as many bytes as `ring` has, and the start is tried again every 10 seconds
            /// (`docs/operations.md`). Default: `serve` while the cache process is being launched,
            /// so that a restart never ends in a site that is down, else `fail`.
            on_start_failure: Option<&CStr>,
            /// When the spool is forced to the disk: `none`, `block`, or a duration from 10ms
            /// to 1h. Only a power cut makes a difference (`docs/guarantees.md`).
            /// Default: `block`.
            sync: Option<&CStr>,
            /// How long varnishd's exit may wait for the last upload, from 0s to 10m; what is not
            /// uploaded waits in the spool. Default: 5s.
            exit_timeout: Option<&CStr>,
            /// Which process uploads: `internal`, or `external`: varnishd opens no connection and
            /// reads no credentials, and `s3log ship`, as another user, uploads from the spool
            /// (`docs/operations.md`). Default: `internal`.
            upload: Option<&CStr>,
            /// How many blocks are uploaded at a time, from 1 to 16. Default: 2.
            upload_threads: Option<&CStr>,
            /// Where the bucket's name stands in the URL: `path` or `virtual` (in the host name).
            /// Default: `path`.
            addressing: Option<&CStr>,
            /// A PEM file with the only certificates that are trusted: of authorities, or the
            /// gateway's own, also one with CA:TRUE as `openssl req -x509` makes it. STS goes by the
            /// system's authorities or `AWS_CA_BUNDLE`. Default: the system's authorities.
            ca_file: Option<&CStr>,
            /// A PEM file with the client certificate to show. Default: none.
            client_certificate: Option<&CStr>,
            /// A PEM file with its key.
            client_key: Option<&CStr>,
            /// The HTTP proxy: `http://host:port`, or `none`; one with a password only in the
            /// file of `config` or in the environment. Default: what `HTTPS_PROXY`,
            /// `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, as curl reads them
            /// (`docs/operations.md`). Loopback is never reached through one.
            proxy: Option<&CStr>,
            /// The longest time for name, connection and TLS, from 100ms to 5m. Default: 5s.
            connect_timeout: Option<&CStr>,
            /// The longest time for a request without its body, from 1s to 1h; a body gets a second
            /// more for every 64KB. Default: 30s.
            timeout: Option<&CStr>,
            /// A role to assume (AWS STS) with the credentials found. Default: none.
            role_arn: Option<&CStr>,
            /// What the role's trust policy asks for besides (`sts:ExternalId`). Default: none.
            external_id: Option<&CStr>,
            /// What the role's sessions are called in CloudTrail. Default: `s3log`.
            role_session_name: Option<&CStr>,
            /// The 12 digits of the AWS account that must own the bucket: requests are refused while
            /// another one does. Default: nobody asks.
            expected_bucket_owner: Option<&CStr>,
            /// Whose rules hold: `aws`, `storj`, `r2`, `b2`, `wasabi`, `minio`, `ceph`, `gcs`, `ovh`,
            /// `garage`, `seaweedfs` or `generic`. An argument that the gateway does not take fails
            /// the load (`docs/gateways.md`). Default: by the endpoint's name.
            gateway: Option<&CStr>,
            /// The objects' `Content-Type`. Default: `application/octet-stream`.
            content_type: Option<&CStr>,
            /// Which `x-amz-checksum-*` goes along: `none`, `crc32c`, `crc64nvme` or `sha256`.
            /// Default: `none`, which every gateway takes; the payload's hash is always signed.
            checksum: Option<&CStr>,
            /// Whether `Content-MD5` goes along, which takes one more pass over a block: `auto` (at
            /// AWS, with `object_lock`, and where a bucket asks for it), `true` or `false`.
            /// Default: `auto`.
            content_md5: Option<&CStr>,
            /// Whether `If-None-Match: *` guards against overwriting, where the gateway honours it.
            /// Default: true.
            if_none_match: Option<&CStr>,
            /// A canned ACL, as `bucket-owner-full-control`. Default: none is sent.
            acl: Option<&CStr>,
            /// The storage class, as `standard_ia` or `glacier_ir`. Default: the bucket's.
            redundancy: Option<&CStr>,
            /// `AES256`, `aws:kms` or `aws:kms:dsse`. Default: the bucket's.
            server_side_encryption: Option<&CStr>,
            /// With `aws:kms`: the key's id or ARN. Default: the account's.
            kms_key_id: Option<&CStr>,
            /// Object tags, `name=value,name=value`, ten at most. Default: none.
            tags: Option<&CStr>,
            /// More user metadata, `name=value,name=value`. Default: none.
            metadata: Option<&CStr>,
            /// WORM retention: `compliance:30d` or `governance:1y`. Default: none.
            object_lock: Option<&CStr>,
            /// Storj: when the object goes by itself, `720h`, `30d` or a date. Default: never.
            object_ttl: Option<&CStr>,
            /// A TOML file with these same keys in a table named as the stream; arguments given
            /// in VCL win. Default: none.
            config: Option<&CStr>,
        ) -> Result<Self, String> {
            let config = config.map(CStr::to_string_lossy);
            let mut arguments = arguments!(name;
                endpoint bucket path path_timezone timestamp_format region credentials profile allow_http
                format dialect escape message_type hostname tag timezone max_line sample esi
                period align max_bytes compression encrypt_to public_key sign_key
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

        /// Logs this task: one line, completed and pushed when the task ends, after the body went
        /// out, with the status, byte counts and times that were really sent. Call it in `vcl_recv`:
        /// the line comes whatever becomes of the request, be it delivered, synthesised, piped,
        /// restarted, reset by the client, handed to a VCL label or failed by VCL. A further call,
        /// from any client subroutine, adds nothing but a copy of the response's headers as they
        /// are then, which the line takes where Varnish's log has cut or lost them, and a priority
        /// if it gives one. In a backend subroutine it logs the fetch. It takes nothing from the
        /// task's workspace.
        pub fn log(
            &self,
            ctx: &mut Ctx,
            /// Which records give way when the ring fills up: `low`, `normal` or `high`
            /// (`docs/operations.md`). The last one given counts; another word counts as none, and
            /// the task's log has a line that says so. Default: `high` for a status from 500 to 599,
            /// else `normal`.
            priority: Option<&CStr>,
        ) {
            self.stream.guard(|| {
                let priority = task::priority(ctx.raw, priority);
                if !task::register(ctx.raw, &self.stream, priority) {
                    stats::add(&self.stream.outlet.stats().dropped_end, 1);
                }
            });
        }

        /// Takes back the calls of `.log()` that this task has made so far, for a health check
        /// that nobody wants to read.
        pub fn nolog(&self, ctx: &mut Ctx) {
            self.stream.guard(|| task::unregister(ctx.raw, &self.stream));
        }

        /// Pushes this line now, from any subroutine. A line break in it is written as `\n`.
        pub fn log_line(
            &self,
            ctx: &mut Ctx,
            /// The line.
            line: &CStr,
            /// As for `.log()`. Default: `normal`.
            priority: Option<&CStr>,
        ) {
            self.stream.guard(|| {
                let priority = task::priority(ctx.raw, priority);
                task::write_line(ctx.raw, &self.stream, line.to_bytes(), priority);
            });
        }

        /// Puts a value into this task's record, where the format has `%{key}x`.
        pub fn set(
            &self,
            ctx: &mut Ctx,
            /// The key.
            key: &CStr,
            /// The value; the last one set for a key counts.
            value: &CStr,
        ) {
            self.stream.guard(|| {
                if !task::set(ctx.raw, &self.stream, key.to_bytes(), value.to_bytes()) {
                    stats::add(&self.stream.outlet.stats().incomplete, 1);
                }
            });
        }

        /// The stream's state as JSON, for a synthetic health page (`docs/operations.md`).
        pub fn status(&self) -> String {
            self.stream.guard(|| process::status(&self.stream.outlet))
        }
    }
}
