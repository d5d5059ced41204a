"""No output of anything holds a secret key, a session token or any other token.

A varnishd for each source of credentials: it uploads, its child panics, it uploads again, then the
gateway refuses what it is sent and repeats all of it in its answer, as S3 does, and at last the
source itself fails and repeats what it was asked with. Then everything that is to be seen from
outside is searched: panic.show, vcl.show, the status page, Varnish's log, counters, the output and
the arguments of the processes, varnishd's working directory, the spool, and the command's checks.

The gateway and the sources are one small server here: what matters is what they are sent, and
that they talk too much. A file with a wrong secret is tried against a real S3 server as well.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import pathlib
import subprocess
import threading
import time
import urllib.parse
import urllib.request

from e2e import rig
from e2e.rig import say

PROXY_PASSWORD = "pr0xY-pAssw0rd-Xk29vLq7mZ"
# As long as AWS's, with the characters that AWS's have, and each one to be found by itself.
ACCESS = "ASIAEDGEEDGEEDGEEDGE"
SECRETS = {
    "secret key": "sEcR3t/Kk7+mQ2vXwP9aZr4tYh8Nn1bC5dLfG0jU",
    # Longer than what is kept of an error's message.
    "session token": "FwoGZXIvYXdzEJr//////////wEaDBtOk3n+SeSs10n/tOk3nQq" * 14 + "==",
    "base secret key": "bAs3sEcReT/qPwOeIrUtYaLsKdJfHgZmXnCbVtQ1",
    "base session token": "IQoJb3JpZ2luX2VjBaSeT0k3n+bAsEt/oK3nZz0xYQ==",
    "container token": "c0nt4iner-authorization-t0ken-Zq81",
    "metadata token": "AQAEAIMDSsessiont0kenAQ8pZ7vW2x==",
    "proxy password": PROXY_PASSWORD,
    "proxy authorization": base64.b64encode(f"edge:{PROXY_PASSWORD}".encode()).decode(),
    "web identity": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJlZGdlIn0.c2lnbmF0dXJlLW9mLWFuLWlkZW50aXR5",
}
ROLE = "arn:aws:iam::123456789012:role/edge"

VCL = """vcl 4.1;
import s3log;
backend default none;
sub vcl_init {{
    new access = s3log.stream(endpoint = "{endpoint}", bucket = "{bucket}", spool = "{spool}",
        period = 100ms, exit_timeout = 1s{more});
}}
sub vcl_recv {{ return (synth(200)); }}
sub vcl_synth {{
    access.log();
    set resp.body = access.status();
    return (deliver);
}}
"""


class Fake(http.server.ThreadingHTTPServer):
    """A gateway that takes everything, and every source of credentials; or both failing."""

    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, body="", **headers):
            body = body.encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def talk(self, status, code, body=b""):
            """An error that repeats the whole request."""
            # Only the beginning of a message is kept: what is secret comes first.
            first = ["proxy-authorization", "x-amz-security-token"]
            names = sorted(self.headers, key=lambda name: (first + [name.lower()]).index(name.lower()))
            said = "; ".join(f"{name}: {self.headers[name]}" for name in names)
            said = "; ".join(sorted([said, body.decode(errors="replace")], key=len))
            said = said.replace("&", "&amp;")
            self.answer(status, f"<Error><Code>{code}</Code><Message>{said}</Message></Error>")

        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path.startswith("http://"):
                # As a proxy, which leads here.
                self.server.proxied.append(self.headers.get("Proxy-Authorization"))
                self.path = "/" + self.path.split("/", 3)[3]
                if self.server.proxy_refuses:
                    return self.talk(407, "ProxyAuthenticationRequired")
            if self.path.startswith(f"/{rig.BUCKET}/"):
                self.gateway(body)
            elif self.server.source_fails:
                self.talk(500, "InternalFailure", body)
            else:
                self.source(body)

        def gateway(self, body):
            token = self.headers.get("X-Amz-Security-Token")
            self.server.seen.append((self.headers.get("Authorization", ""), token))
            if self.server.refuses:
                self.talk(403, "SignatureDoesNotMatch")
            elif self.command == "PUT":
                self.answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')
            else:
                self.answer(404)

        def source(self, body):
            roles = "/latest/meta-data/iam/security-credentials/"
            fields = {
                "AccessKeyId": ACCESS,
                "SecretAccessKey": SECRETS["secret key"],
                "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 7200)),
            }
            token = SECRETS["session token"]
            if self.path == "/latest/api/token":
                return self.answer(200, SECRETS["metadata token"])
            if self.path.startswith(roles):
                if self.headers.get("X-aws-ec2-metadata-token") != SECRETS["metadata token"]:
                    return self.talk(401, "Unauthorized")
                if self.path == roles:
                    return self.answer(200, "edge")
                return self.answer(200, json.dumps({"Code": "Success", "Token": token, **fields}))
            if self.path == "/container":
                if self.headers.get("Authorization") != SECRETS["container token"]:
                    return self.talk(401, "Unauthorized")
                return self.answer(200, json.dumps({"Token": token, **fields}))
            action = urllib.parse.parse_qs(body.decode()).get("Action", ["none"])[0]
            inner = "".join(f"<{name}>{text}</{name}>" for name, text in fields.items())
            inner += f"<SessionToken>{token}</SessionToken>"
            text = f"<{action}Result><Credentials>{inner}</Credentials></{action}Result>"
            return self.answer(200, f"<{action}Response>{text}</{action}Response>")

        do_GET = do_PUT = do_POST = do_HEAD = handle_any

        def log_message(self, *args):
            pass

    def handle_error(self, request, client_address):
        """A connection that ends with its process is no news."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.reset()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def reset(self):
        self.refuses = self.source_fails = self.proxy_refuses = False
        self.seen, self.proxied = [], []


def forms(text):
    """The ways in which a text may stand in an output; its beginning and end count, too."""
    quoted = urllib.parse.quote(text, safe="")[:16]
    encoded = base64.b64encode(text.encode()).decode()[:20]
    return {form.encode() for form in [text[:16], text[-16:], quoted, encoded]}


def leaks(name, data):
    return [
        f"{what} in {name}"
        for what, text in SECRETS.items()
        if any(form in data for form in forms(text))
    ]


def ini(access, secret, token=None):
    text = f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    return text + (f"aws_session_token = {token}\n" if token else "")


class Case:
    """One source of credentials, one varnishd."""

    def __init__(self, place, fake, name, arguments=None, variables=None, files=None, broken=None,
                 proxied=False):  # fmt: skip
        self.place, self.fake, self.name = place, fake, name
        self.directory = place.directory / name.replace(" ", "-")
        self.directory.mkdir()
        self.spool = self.directory / "spool"
        self.spool.mkdir()
        # Where secrets are on purpose; nothing in here is searched.
        self.hidden = self.directory / "hidden"
        self.hidden.mkdir()
        for file, text in (files or {}).items():
            (self.hidden / file).write_text(self.fill(text))
        self.broken = broken or {}
        asked = [*(variables or {}).values()]
        # A process's environment does not change.
        self.may_fail = bool(broken) or (
            not proxied and any("FAKE" in value for value in asked)
        )
        self.arguments = {key: self.fill(value) for key, value in (arguments or {}).items()}
        self.env = {key: value for key, value in place.env.items() if not key.startswith("AWS_")}
        self.env["HOME"] = str(self.directory)
        self.env |= {key: self.fill(value) for key, value in (variables or {}).items()}
        self.found, self.outputs = [], {}
        self.endpoint, self.proxied = fake.url, proxied
        if proxied:
            # This machine by an address that is not loopback, which no proxy leads to.
            self.endpoint = fake.url.replace("127.0.0.1", "0.0.0.0")
        self.varnish = None

    def fill(self, text):
        host = self.fake.url.removeprefix("http://")
        text = text.replace("HIDDEN", str(self.hidden)).replace("FAKEHOST", host)
        return text.replace("FAKE", self.fake.url)

    def start(self):
        more = "".join(f', {key} = "{value}"' for key, value in self.arguments.items())
        vcl = self.directory / "stream.vcl"
        values = {"endpoint": self.endpoint, "bucket": rig.BUCKET, "spool": self.spool}
        vcl.write_text(VCL.format(**values, more=more))
        module_dir = self.place.module_dir
        self.varnish = rig.Varnish(self.directory, self.env, vcl, module_dir)
        self.varnish.start()

    def request(self):
        url = f"http://127.0.0.1:{self.varnish.port}/"
        with urllib.request.urlopen(url, timeout=rig.PATIENCE) as answer:
            self.keep("the status page", answer.read())

    def keep(self, name, data):
        self.outputs[name] = self.outputs.get(name, b"") + data

    def check(self, when):
        command = [self.place.command, "check", "--endpoint", self.endpoint, "--bucket", rig.BUCKET]
        for key, value in self.arguments.items():
            command += ["--config", value] if key == "config" else ["--set", f"{key}={value}"]
        done = subprocess.run(
            [str(part) for part in [*command, "access"]],
            env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.keep(f"s3log check, {when}", done.stdout)
        return done.returncode

    def counter(self, name):
        return self.varnish.counters().get(f"access.{name}", 0)

    def uploads(self):
        """One more record, and the block with it is there."""

        def goes_up():
            # Counters of a child that is gone are gone with it.
            with contextlib.suppress(OSError):
                before = self.counter("uploaded_records")
                self.request()
                return rig.wait_for("it", lambda: self.counter("uploaded_records") > before, 10)
            return False

        rig.wait_for(f"{self.name}: an upload", goes_up, step=0.2)

    def fails(self, text):
        """One more record, and varnishd's output says this of it."""

        def said():
            self.request()
            return text in self.varnish.process.log.read_text(errors="replace")

        rig.wait_for(f"{self.name}: the message {text!r}", said, step=0.3)

    def panic(self):
        child = self.varnish.child_pid()
        self.varnish.cli("debug.panic.worker", check=False)
        rig.wait_for("another child", lambda: self.varnish.child_pid() not in (None, child))
        rig.wait_for("varnishd", self.varnish.answers)
        panic = self.varnish.cli("panic.show")
        if "Panic at" not in panic:
            raise RuntimeError(f"there was no panic: {panic}")
        self.keep("panic.show", panic.encode())

    def restart_without_source(self):
        """A new child asks at once; the old one waits before it tries again."""
        self.look()
        self.varnish.cli("stop")
        said = self.varnish.cli("start", check=False)
        self.keep("varnishadm start", said.encode())
        if "Failed initialization" in said:
            # A file that the operator named in VCL is refused like any wrong argument.
            self.expect("start", "credentials from file" in said, True)
        else:
            rig.wait_for("varnishd", self.varnish.answers)
            self.fails("no usable credentials")

    def look(self):
        """What a running varnishd shows."""
        varnish = self.varnish
        self.keep("vcl.show", varnish.cli("vcl.show", "-v", "boot").encode())
        self.keep("the counters", varnish.tool("varnishstat", "-1").encode())
        self.keep("param.show", varnish.cli("param.show").encode())
        log = subprocess.run(
            ["varnishlog", "-g", "raw", "-d", "-n", varnish.workdir], env=self.env,
            stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        self.keep("varnishlog", log.stdout)
        for pid in (varnish.process.pid, varnish.child_pid()):
            if pid:
                arguments = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
                self.keep("the processes' arguments", arguments)

    def collect(self):
        """Everything else, and the search."""
        if self.varnish.child_pid():
            self.look()
        self.varnish.stop()
        for path in sorted(self.directory.rglob("*")):
            if path.is_file() and self.hidden not in path.parents:
                self.keep(str(path.relative_to(self.directory)), path.read_bytes())
        for name, data in self.outputs.items():
            self.found += leaks(name, data)
        size = sum(map(len, self.outputs.values()))
        verdict = "; ".join(self.found) or "no secret"
        say(f"secrets: {self.name}: {len(self.outputs)} outputs, {size:,} bytes: {verdict}")

    def expect(self, what, is_, wanted):
        if is_ != wanted:
            self.found.append(f"{what}: {is_!r} and not {wanted!r}")

    def run(self, token):
        """The whole life, against the fake."""
        self.fake.reset()
        try:
            self.start()
            self.uploads()
            authorization, sent = self.fake.seen[-1]
            self.expect("the access key", f"Credential={ACCESS}/" in authorization, True)
            self.expect("the session token", sent, token)
            self.expect("s3log check", self.check("working"), 0)
            self.panic()
            self.uploads()
            self.fake.refuses = True
            self.fails("SignatureDoesNotMatch")
            self.expect("s3log check, refused", self.check("refused"), 5)
            if self.proxied:
                authorization = f"Basic {SECRETS['proxy authorization']}"
                self.expect("what the proxy was sent", set(self.fake.proxied), {authorization})
                self.fake.proxy_refuses = True
                self.fails("the proxy does not let this through")
                self.expect("s3log check, proxy refuses", self.check("refused by the proxy"), 3)
            self.fake.source_fails = True
            for file, text in self.broken.items():
                (self.hidden / file).write_text(text)
            if self.may_fail:
                self.expect("s3log check, no source", self.check("without its source"), 5)
                self.restart_without_source()
            self.collect()
        finally:
            self.varnish.stop()
        return self.found


def real(case, gateway):
    """A wrong secret in a file, and a real S3 server that refuses it."""
    case.endpoint = gateway.endpoint
    try:
        case.start()
        case.fails("SignatureDoesNotMatch")
        case.expect("s3log check, wrong secret", case.check("wrong secret"), 5)
        case.panic()
        case.collect()
    finally:
        case.varnish.stop()
    return case.found


def prove(place, options):
    secret, token = SECRETS["secret key"], SECRETS["session token"]
    whole = ini(ACCESS, secret, token)
    # A line without its name, as a careless paste leaves it.
    torn = f"[default]\naws_access_key_id = {ACCESS}\n{secret}\naws_session_token = {token}\n"
    base = ini("AKIABASE", SECRETS["base secret key"], SECRETS["base session token"])
    sts = {"AWS_ENDPOINT_URL_STS": "FAKE"}
    proof = {"proof": SECRETS["web identity"]}
    proxy = f"http://edge:{PROXY_PASSWORD}@FAKEHOST"
    sources = {
        "file": {
            "arguments": {"credentials": "HIDDEN/keys"},
            "files": {"keys": whole}, "broken": {"keys": torn},
        },
        "environment": {
            "variables": {
                "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": secret,
                "AWS_SESSION_TOKEN": token,
            },
        },
        "shared file": {
            "variables": {"AWS_SHARED_CREDENTIALS_FILE": "HIDDEN/shared", "AWS_PROFILE": "default"},
            "files": {"shared": whole}, "broken": {"shared": torn},
        },
        "web identity": {
            "variables": {
                "AWS_WEB_IDENTITY_TOKEN_FILE": "HIDDEN/proof", "AWS_ROLE_ARN": ROLE, **sts
            },
            "files": proof,
        },
        "container": {
            "variables": {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "FAKE/container",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "HIDDEN/token",
            },
            "files": {"token": SECRETS["container token"]},
        },
        "instance metadata": {"variables": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "FAKE"}},
        "proxy of the environment": {
            "arguments": {"credentials": "HIDDEN/keys", "allow_http": "true"},
            "variables": {"HTTP_PROXY": proxy},
            "files": {"keys": whole}, "proxied": True,
        },
        "proxy of a file": {
            "arguments": {"config": "HIDDEN/s3log.toml"},
            "files": {
                "keys": whole,
                "s3log.toml": '[access]\nallow_http = true\ncredentials = "HIDDEN/keys"\n'
                f'proxy = "{proxy}"\n',
            },
            "proxied": True,
        },
        "role": {
            "arguments": {"credentials": "HIDDEN/keys", "role_arn": ROLE},
            "variables": sts, "files": {"keys": base},
        },
    }  # fmt: skip
    failures = []
    fake = Fake()
    for name, source in sources.items():
        failures += [f"{name}: {text}" for text in Case(place, fake, name, **source).run(token)]
    place.s3.start()
    wrong = {"keys": ini(rig.ACCESS_KEY, secret)}
    case = Case(place, fake, "wrong secret", {"credentials": "HIDDEN/keys"}, files=wrong)
    failures += [f"wrong secret: {text}" for text in real(case, place.s3)]
    fake.shutdown()
    return failures
