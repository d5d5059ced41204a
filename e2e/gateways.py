"""The same checks against every S3 server of this machine, or against one that runs already.

SeaweedFS over http and over https with a certificate authority made for this run, both once more
through tinyproxy, s3s-fs inside the test's own process, the fakes that answer as Storj and MinIO
were seen to, and with --garage Garage. The driver is tests/s3/gateway.rs, with the client that
varnishd gets; each object that it stored is read back here by boto3, and compared by length, digest
and what it was stored with.

With --endpoint, --bucket and --credentials, which `make gateways ENDPOINT= BUCKET= CREDENTIALS=`
gives, only that gateway is asked. What it stores stays there, below check-NUMBER/.

Garage is a server of its own: `cargo install garage --version 2.5.0 --locked --no-default-features
--features bundled-libs,lmdb` takes half an hour of CPU time.

A server that lacks something is "not supported" only where EXCEPTIONS says so of its kind, or
where the run does not give what a check needs; anything else that is not ok makes the exit code 1.
"""

import collections
import configparser
import contextlib
import email.header
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time

from e2e import rig
from e2e.rig import say

DRIVER = "gateway::the_gateway_takes_what_the_client_sends"
LOCK_BUCKET = "locked-logs"
DOMAIN = "s3.test"
# The key of the server inside the test (tests/common/s3_server.rs).
INSIDE = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
CONDITIONAL = {"the same again", "another under the key"}
# What a kind of gateway does not do. Its row in docs/gateways.md says the same where it has a column.
EXCEPTIONS = {
    "aws": set(),
    "storj": {"checksums", "bad region"},
    "r2": {"object lock"},
    "b2": CONDITIONAL,
    "wasabi": set(),
    "minio": {"bad region"},
    "ceph": {"bad region"},
    "gcs": CONDITIONAL | {"checksums"},
    "ovh": set(),
    "garage": CONDITIONAL | {"object lock", "clock an hour off"},
    "seaweedfs": {"bad region"},
    "generic": CONDITIONAL | {"bad region", "clock an hour off"},
    "s3s-fs": {"bad region", "missing bucket", "tags and metadata", "object lock"},
}
NO_TLS = {"TLS, private CA", "TLS, CA unknown"}
# Nobody verifies a signature or the clock there, and nothing of it can be killed.
FAKE = NO_TLS | {
    "200 MiB", "wrong secret", "clock an hour off", "bad region", "virtual host",
    "killed in mid body",
}  # fmt: skip


def openssl(directory, *words):
    subprocess.run(
        ["openssl", *words], cwd=directory, check=True, stdin=subprocess.DEVNULL, capture_output=True
    )


def make_authority(directory):
    """ca.pem, and server.pem with server.key for the names this run uses."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        directory, "req", "-x509", *curve, "-days", "2", "-subj", "/CN=authority of this run",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", "ca.key", "-out", "ca.pem",
    )  # fmt: skip
    openssl(
        directory, "req", *curve, "-subj", f"/CN={DOMAIN}", "-keyout", "server.key",
        "-out", "server.csr",
    )  # fmt: skip
    (directory / "extensions").write_text(
        "basicConstraints = CA:FALSE\nkeyUsage = critical,digitalSignature\n"
        "extendedKeyUsage = serverAuth\nauthorityKeyIdentifier = keyid\n"
        f"subjectAltName = IP:127.0.0.1,IP:0.0.0.0,DNS:{DOMAIN},DNS:*.{DOMAIN}\n"
    )
    openssl(
        directory, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-CAcreateserial", "-days", "2", "-extfile", "extensions", "-out", "server.pem",
    )  # fmt: skip


def driver(env):
    """The test's binary, built."""
    command = ["cargo", "test", "--locked", "--test", "s3", "--no-run"]
    command += ["--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=rig.ROOT, env=env, check=True, stdout=subprocess.PIPE)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "s3" and message.get("executable"):
            return message["executable"]
    raise RuntimeError("cargo built no tests/s3")


def boto(endpoint, keys, verify=True, region="us-east-1"):
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        aws_session_token=keys[2] if len(keys) > 2 else None,
        verify=verify,
        config=Config(
            retries={"max_attempts": 4}, s3={"addressing_style": "path"}, read_timeout=60,
        ),
    )  # fmt: skip


def decoded(value):
    """A metadata value as it was before it became a header."""
    return str(email.header.make_header(email.header.decode_header(value)))


def differences(client, stored):
    """What boto3 sees otherwise than the driver stored it."""
    place = {"Bucket": stored["bucket"], "Key": stored["key"]}
    answer = client.get_object(**place)
    digest, length = hashlib.sha256(), 0
    for chunk in answer["Body"].iter_chunks(1 << 20):
        digest.update(chunk)
        length += len(chunk)
    more = stored["more"]
    wanted = {"sha256": stored["sha256"], "records": "3", "host": "käse  box"}
    wanted |= more.get("metadata", {})
    found = {name: decoded(value) for name, value in answer["Metadata"].items()}
    pairs = [
        ("length", length, stored["len"]),
        ("digest", digest.hexdigest(), stored["sha256"]),
        *((f"metadata {name}", found.get(name), value) for name, value in wanted.items()),
    ]
    if "class" in more:
        pairs.append(("class", answer.get("StorageClass"), more["class"]))
    if "type" in more:
        pairs.append(("type", answer["ContentType"], more["type"]))
    if "tags" in more:
        tags = client.get_object_tagging(**place)["TagSet"]
        pairs.append(("tags", {tag["Key"]: tag["Value"] for tag in tags}, more["tags"]))
    if "lock" in more:
        mode = client.get_object_retention(**place)["Retention"]["Mode"]
        pairs.append(("lock", mode, more["lock"]))
    key = stored["key"]
    return [f"{key}: {name} is {is_!r}, not {was!r}" for name, is_, was in pairs if is_ != was]


class Tinyproxy:
    """Somebody else's proxy, with a password; tunnels lead to one port only, as is usual."""

    def __init__(self, directory, tunnel_port):
        self.directory = directory / "tinyproxy"
        self.directory.mkdir()
        self.port = rig.free_ports(1)[0]
        self.url = f"http://edge:pr0xy-s3cret@127.0.0.1:{self.port}"
        settings = self.directory / "conf"
        settings.write_text(
            f"Port {self.port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nMaxClients 50\n"
            f"LogLevel Info\nBasicAuth edge pr0xy-s3cret\nConnectPort {tunnel_port}\n"
        )
        command = ["tinyproxy", "-d", "-c", settings]
        self.process = rig.Process("tinyproxy", command, self.directory)
        rig.wait_for("tinyproxy", self.listens)

    def listens(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def asked(self, method):
        """How often."""
        return len(re.findall(rf"Request [^:]*: {method} ", self.process.log.read_text()))


class Garage:
    """A single node with one bucket and one key."""

    def __init__(self, directory, program, env):
        self.directory, self.program, self.env = directory / "garage", program, env
        self.directory.mkdir()
        self.rpc, port = rig.free_ports(2)
        self.endpoint = f"http://127.0.0.1:{port}"
        self.keys = (f"GK{secrets.token_hex(12)}", secrets.token_hex(32))
        self.process = None
        (self.directory / "garage.toml").write_text(
            f'''
metadata_dir = "{self.directory}/meta"
data_dir = "{self.directory}/data"
db_engine = "lmdb"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{self.rpc}"
rpc_public_addr = "127.0.0.1:{self.rpc}"
rpc_secret = "{secrets.token_hex(32)}"
[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:{port}"
root_domain = ".{DOMAIN}"
'''
        )

    def tell(self, *words):
        command = [self.program, "-c", str(self.directory / "garage.toml"), *words]
        done = subprocess.run(
            command, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode != 0:
            raise RuntimeError(f"garage {' '.join(words)}: {done.stdout}")
        return done.stdout

    def start(self):
        command = [self.program, "-c", self.directory / "garage.toml", "server"]
        self.process = rig.Process("garage", command, self.directory, self.env)

        def answers():
            if not self.process.alive():
                raise RuntimeError(f"garage ended:\n{self.process.tail()}")
            with contextlib.suppress(RuntimeError):
                return self.tell("status")

        rig.wait_for("garage", answers)

    def set_up(self):
        node = self.tell("node", "id", "-q").strip().split("@")[0]
        self.tell("layout", "assign", "-z", "here", "-c", "10G", node)
        self.tell("layout", "apply", "--version", "1")
        self.tell("key", "import", "--yes", "-n", "edge", *self.keys)
        self.tell("bucket", "create", rig.BUCKET)
        access = ("--read", "--write", "--owner")
        self.tell("bucket", "allow", *access, rig.BUCKET, "--key", self.keys[0])
        rig.wait_for("garage to take an object", self.takes)

    def takes(self):
        with contextlib.suppress(Exception):
            boto(self.endpoint, self.keys).put_object(Bucket=rig.BUCKET, Key="probe", Body=b"")
            return True

    def kill(self):
        self.process.stop(signal.SIGKILL)


def find_garage(wanted):
    """The program; `1` is the one on PATH."""
    found = shutil.which("garage" if wanted == "1" else wanted)
    if not found:
        sys.exit(
            f"gateways: there is no program {'garage on PATH' if wanted == '1' else wanted}; "
            "install it with\n  cargo install garage --version 2.5.0 --locked "
            "--no-default-features --features bundled-libs,lmdb"
        )
    return found


Row = collections.namedtuple("Row", "result detail")


class Column:
    """One server's run of the driver."""

    def __init__(self, name, lacking, command, log):
        self.name, self.lacking, self.command, self.log = name, lacking, command, log
        self.rows, self.stored = {}, []
        self.endpoint = self.prefix = self.kind = self.region = None

    def run(self, env, act):
        """Runs the driver; act(word) does what it asks for."""
        begin = time.monotonic()
        child = subprocess.Popen(
            [self.command, DRIVER, "--ignored", "--exact", "--nocapture"],
            env=env,
            cwd=rig.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with child, open(self.log, "w") as log:
            for line in child.stdout:
                log.write(line)
                match = re.fullmatch(r"@(\w+) ?(.*)\n", line)
                if match:
                    self.hear(child, act, match[1], match[2])
        say(f"gateways: {self.name}: {len(self.rows)} checks, {time.monotonic() - begin:.0f} s")
        if child.returncode != 0 and not self.failures():
            self.rows["the driver"] = Row("failed", f"ended with {child.returncode}, see its output")

    def hear(self, child, act, word, text):
        if word == "check":
            check = json.loads(text)
            self.rows[check["check"]] = Row(check["result"], check["detail"])
        elif word == "object":
            self.stored.append(json.loads(text))
        elif word == "site":
            site = json.loads(text)
            self.endpoint, self.prefix = site["endpoint"], site["prefix"]
            self.kind, self.region = site["kind"], site["region"]
        else:
            act(word)
            child.stdin.write("done\n")
            child.stdin.flush()

    def read_back(self, client):
        """Every object, with a client that was not written here."""
        wrong, size = [], 0
        for stored in self.stored:
            size += stored["len"]
            try:
                wrong += differences(client, stored)
            except Exception as error:
                wrong.append(f"{stored['key']}: {error}")
        detail = "; ".join(wrong) or f"{len(self.stored)} objects, {size:,} bytes"
        if not self.stored:
            wrong = [detail]
        self.rows["boto3 reads it all back"] = Row("failed" if wrong else "ok", detail)

    def failures(self):
        allowed = self.lacking
        return [
            f"{self.name}: {name}: {row.result}: {row.detail}"
            for name, row in self.rows.items()
            if row.result == "failed" or (row.result == "not supported" and name not in allowed)
        ]


def table(columns):
    names = list(dict.fromkeys(name for column in columns for name in column.rows))
    width = 30
    lines = ["check".ljust(25) + "".join(column.name.ljust(width) for column in columns)]
    for name in names:
        cells = []
        for column in columns:
            row = column.rows.get(name, Row("-", ""))
            text = {"-": "", "ok": "ok", "not supported": "n/s"}.get(row.result, "FAILED")
            cells.append(textwrap.wrap(f"{text}: {row.detail}" if text else "", width - 2)[:6] or [text])
        for at in range(max(map(len, cells))):
            parts = [cell[at] if at < len(cell) else "" for cell in cells]
            title = name if at == 0 else ""
            lines.append(title.ljust(25) + "".join(part.ljust(width) for part in parts))
    return "\n".join(line.rstrip() for line in [*lines, "n/s: not supported by that server"])


def arguments(parser):
    parser.add_argument("--garage", help="the program, or 1 for the one on PATH")
    there = parser.add_argument_group("one gateway that runs already")
    there.add_argument("--endpoint", help="its URL: only this gateway is asked")
    there.add_argument("--bucket", help="a bucket that is there")
    there.add_argument("--credentials", help="a credentials file: a key that may write, read, list")
    there.add_argument("--gateway", choices=list(EXCEPTIONS), help="its kind, by its host otherwise")
    there.add_argument("--lock-bucket", help="a bucket with object lock")
    there.add_argument("--region", help="by its host, else us-east-1")
    there.add_argument("--ca-file", help="PEM file of its authority or of its own certificate")
    there.add_argument("--small", action="store_true", help="nothing larger than 8 MiB")


def keys_in(path):
    """Key, secret and perhaps token of a credentials file."""
    parser = configparser.ConfigParser(interpolation=None)
    if not parser.read(path) or "default" not in parser:
        sys.exit(f"gateways: {path} has no section [default], or cannot be read")
    section = parser["default"]
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    return tuple(section[name] for name in names if name in section)


def prove_elsewhere(place, options):
    """A gateway that runs already, and goes on running."""
    missing = [name for name in ("bucket", "credentials") if not getattr(options, name)]
    if missing:
        sys.exit(f"gateways: --endpoint needs --{' and --'.join(missing)} beside it")
    keys = keys_in(options.credentials)
    given = {
        "S3LOG_GATEWAY": options.endpoint, "S3LOG_KIND": options.gateway,
        "S3LOG_BUCKET": options.bucket,
        "S3LOG_CREDENTIALS": os.path.abspath(options.credentials),
        "S3LOG_LOCK_BUCKET": options.lock_bucket, "S3LOG_REGION": options.region,
        "S3LOG_CA_FILE": options.ca_file and os.path.abspath(options.ca_file),
        "S3LOG_SMALL": options.small and "1", "S3LOG_CONTROL": "read", "RUST_BACKTRACE": "0",
    }  # fmt: skip
    env = {**os.environ, **place.env}
    binary = driver(env)
    lacking = {"killed in mid body", "virtual host"}
    lacking |= set() if options.ca_file else NO_TLS
    lacking |= set() if options.lock_bucket else {"object lock"}
    lacking |= {"200 MiB"} if options.small else set()
    column = Column(options.endpoint, lacking, binary, place.directory / "gateway.log")

    def act(word):
        verify = os.path.abspath(options.ca_file) if options.ca_file else True
        column.read_back(boto(column.endpoint, keys, verify, column.region))

    column.run({**env, **{name: text for name, text in given.items() if text}}, act)
    if column.kind is None:
        return [f"the driver did not come so far: {column.log.read_text()[-2000:]}"]
    column.name = column.kind
    column.lacking |= EXCEPTIONS[column.kind]
    say()
    say(table([column]))
    say(f"gateways: {len(column.stored)} objects are left below {column.prefix} in {options.bucket}")
    return column.failures()


def prove(place, options):
    if options.endpoint:
        return prove_elsewhere(place, options)
    garage = find_garage(options.garage) if options.garage else None
    make_authority(place.directory)
    ca_file = place.directory / "ca.pem"
    https = rig.free_ports(1)[0]
    place.s3.more = [
        f"-s3.port.https={https}", f"-s3.cert.file={place.directory}/server.pem",
        f"-s3.key.file={place.directory}/server.key", f"-s3.domainName={DOMAIN}",
    ]  # fmt: skip
    env = {**os.environ, **place.env}
    binary = driver(env)
    place.s3.start()
    keys = (rig.ACCESS_KEY, rig.SECRET_KEY)
    place.s3.client().create_bucket(Bucket=LOCK_BUCKET, ObjectLockEnabledForBucket=True)
    env |= {"S3LOG_CONTROL": "1", "RUST_BACKTRACE": "0"}
    inside = {**env, "S3LOG_GATEWAY": "s3s-fs"}
    fakes = {
        kind: {**env, "S3LOG_GATEWAY": kind, "S3LOG_CONTROL": "read"} for kind in ("storj", "minio")
    }
    env |= {
        "S3LOG_KIND": "seaweedfs",
        "S3LOG_BUCKET": rig.BUCKET, "S3LOG_LOCK_BUCKET": LOCK_BUCKET, "S3LOG_DOMAIN": DOMAIN,
        "AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1],
    }  # fmt: skip
    plain = {**env, "S3LOG_GATEWAY": place.s3.endpoint}
    secure = {
        **env, "S3LOG_GATEWAY": f"https://127.0.0.1:{https}", "S3LOG_CA_FILE": str(ca_file)
    }  # fmt: skip
    # This machine by an address that is not loopback, which no proxy leads to.
    http = place.s3.ports["s3"]
    proxy = Tinyproxy(place.directory, https)
    place.stack.callback(proxy.process.stop)
    plain_by_proxy = {
        **plain, "S3LOG_GATEWAY": f"http://0.0.0.0:{http}", "HTTP_PROXY": proxy.url
    }  # fmt: skip
    secure_by_proxy = {
        **secure, "S3LOG_GATEWAY": f"https://0.0.0.0:{https}", "HTTPS_PROXY": proxy.url
    }  # fmt: skip
    seaweed = (keys, place.s3)
    known = EXCEPTIONS["seaweedfs"]
    sites = [
        ("SeaweedFS http", known | NO_TLS, plain, *seaweed, True),
        ("SeaweedFS https", known, secure, *seaweed, str(ca_file)),
        ("http by tinyproxy", known | NO_TLS, plain_by_proxy, *seaweed, True),
        ("https by tinyproxy", known, secure_by_proxy, *seaweed, str(ca_file)),
        ("s3s-fs", EXCEPTIONS["s3s-fs"] | NO_TLS, inside, INSIDE, None, True),
        ("Storj's answers", EXCEPTIONS["storj"] | FAKE, fakes["storj"], INSIDE, None, True),
        ("MinIO's answers", EXCEPTIONS["minio"] | FAKE, fakes["minio"], INSIDE, None, True),
    ]
    if garage:
        server = Garage(place.directory, garage, place.env)
        server.start()
        place.stack.callback(server.kill)
        server.set_up()
        variables = {
            **plain, "S3LOG_GATEWAY": server.endpoint,
            "AWS_ACCESS_KEY_ID": server.keys[0], "AWS_SECRET_ACCESS_KEY": server.keys[1],
            "S3LOG_KIND": "garage", "S3LOG_REGION": "us-east-1",
        }  # fmt: skip
        del variables["S3LOG_LOCK_BUCKET"]
        lacking = EXCEPTIONS["garage"] | NO_TLS
        sites.append(("Garage", lacking, variables, server.keys, server, True))
    columns = []
    for name, lacking, variables, keys, server, verify in sites:
        log = place.directory / f"{name.replace(' ', '-')}.log"
        column = Column(name, lacking, binary, log)
        columns.append(column)

        def act(word, column=column, keys=keys, server=server, verify=verify):
            if word == "read":
                column.read_back(boto(column.endpoint, keys, verify))
            else:
                {"kill": server.kill, "start": server.start}[word]()

        method = {"http by tinyproxy": "PUT", "https by tinyproxy": "CONNECT"}.get(name)
        before = proxy.asked(method) if method else 0
        column.run(variables, act)
        if method:
            asked = proxy.asked(method) - before
            row = Row("ok" if asked > 10 else "failed", f"{asked} times {method}")
            column.rows["tinyproxy was asked"] = row
    say()
    say(table(columns))
    failures = [failure for column in columns for failure in column.failures()]
    return failures
