"""The faults of docs/troubleshooting.md, made for real, and what an operator sees of each.

A fault is a function that takes the rig and gives {command as the page has it: what it printed}.
Files and ports are this run's; the page's are the usual ones. `make e2e T=troubles` compares the two.
"""

import base64
import contextlib
import http.server
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import sys
import threading
import urllib.request

from e2e import rig
from e2e.rig import debian, hold
from e2e.rig.line import Line
from e2e.troubles_page import PAGE, missing, quotes

LOAD = "varnishadm vcl.load new /etc/varnish/new.vcl"
LOG = """varnishlog -g raw -d -q 'Error ~ "^S3LOG"'"""
STAT = "varnishstat -1 -f 'S3LOG.access.*'"
CHECK = "s3log check --config /etc/varnish/s3log.toml"
DOCTOR = "s3log doctor --config /etc/varnish/s3log.toml"
JOURNAL = "journalctl -u varnish"
STATS = "s3log stats --spool /var/lib/vmod-s3log"
QUARANTINE = "ls /var/lib/vmod-s3log/access/quarantine"

VCL = """vcl 4.1;
import s3log;
import std;
backend default none;
sub vcl_init {{ new access = s3log.stream(config = "{settings}"); }}
sub vcl_recv {{
    {recv}
    return (synth(200));
}}
sub vcl_synth {{ {synth} }}
"""


class Node:
    """One varnishd with a folder, a spool and a settings file of its own."""

    def __init__(self, place, name, modules=None, **settings):
        self.place, self.name, self.seen = place, name, {}
        self.directory = place.directory / name
        self.directory.mkdir(mode=0o755)
        self.settings = self.directory / "s3log.toml"
        self.values = values = {
            "endpoint": place.s3.endpoint,
            "bucket": rig.BUCKET,
            "credentials": str(place.s3.credentials),
            "spool": str(self.directory / "spool"),
            "period": "200ms",
            "exit_timeout": "100ms",
            **settings,
        }
        pathlib.Path(values["spool"]).mkdir(mode=0o700, exist_ok=True)
        self.write()
        base = self.directory / "base.vcl"
        base.write_text("vcl 4.1; backend default none;")
        self.varnish = rig.Varnish(self.directory, dict(place.env), base, modules or place.module_dir)

    def start(self):
        self.varnish.start()
        return self

    def load(self, name="new", recv="", synth="access.log();"):
        """vcl.load and vcl.use of a VCL with the stream."""
        vcl = self.directory / f"{name}.vcl"
        vcl.write_text(VCL.format(settings=self.settings, recv=recv, synth=synth))
        # The page quotes varnishadm.
        load = ("varnishadm", "-t", str(rig.PATIENCE), "vcl.load", name, vcl)
        self.seen.setdefault(LOAD, self.varnish.tool(*load, check=False))
        self.varnish.cli("vcl.use", name, check=False)
        return self

    def request(self, path="/", **headers):
        url = f"http://127.0.0.1:{self.varnish.port}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=rig.PATIENCE) as answer:
            return answer.status

    def write(self):
        text = "".join(f'{key} = "{value}"\n' for key, value in self.values.items())
        self.settings.write_text(f"[access]\n{text}")

    def mend(self, **settings):
        """What the page says to do, and then a reload: what waits arrives."""
        self.values |= settings
        self.write()
        self.load("mended")
        if "endpoint" in settings:
            # Another route: what waits goes where it was meant to go, what comes now goes here.
            self.request()
        uploaded = lambda: any(
            value
            for name, value in self.varnish.counters("access*").items()
            if name.endswith(".uploaded_records")
        )
        return self.until("a record in the bucket", uploaded)

    def command(self, *words):
        done = subprocess.run(
            [self.place.command, *words],
            env={**self.varnish.env, "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def check(self):
        code, text = self.command("check", "--config", self.settings)
        self.seen[CHECK] = f"{text}$? = {code}\n"
        return self

    def doctor(self):
        _, self.seen[DOCTOR] = self.command("doctor", "-n", self.varnish.workdir, "--config", self.settings)
        return self.seen[DOCTOR]

    def until(self, what, check):
        rig.wait_for(what, check, step=0.1)
        return self

    def counter(self, name):
        return self.varnish.counters("access").get(f"access.{name}", 0)

    def look(self):
        """What the node's own tools show, once it is what the page quotes. Whatever the fault is, the
        counters balance."""
        self.varnish.balanced()
        quoted = quotes().get(self.name, [])

        def shown():
            stat = ("varnishstat", "-1", "-f", "S3LOG.access.*")
            self.seen[STAT] = self.varnish.tool(*stat, check=False)
            self.seen[LOG] = self.varnish.tool(*shlex.split(LOG))
            self.seen[JOURNAL] = self.varnish.process.log.read_text(errors="replace")
            return not any(
                missing(lines, self.seen[command])
                for command, lines in quoted
                if command in (STAT, LOG, JOURNAL)
            )

        # What does not come is what the page has wrong; it is said when all is compared.
        with contextlib.suppress(TimeoutError):
            rig.wait_for("what the page quotes", shown, step=0.2)
        return self

    def stop(self):
        with contextlib.suppress(Exception):
            self.varnish.stop()


def refused(node, mend=lambda: {}):
    """A stream whose uploads do not succeed: one request, what there is to see, and the cure."""
    try:
        node.start().load().check()
        node.request()
        node.until("a message", lambda: node.counter("upload_retries"))
        node.look().mend(**mend())
        return node.seen
    finally:
        node.stop()


def wrong_secret(place):
    file = place.directory / "wrong-credentials"
    right = place.s3.credentials.read_text()
    file.write_text(right.replace(rig.SECRET_KEY, "not-it"))

    def mend():
        file.write_text(right)
        return {}

    return refused(Node(place, "wrong-secret", credentials=file), mend)


def wrong_bucket(place):
    def mend():
        place.s3.client().create_bucket(Bucket="edge-lgos")
        return {}

    return refused(Node(place, "wrong-bucket", bucket="edge-lgos"), mend)


def unknown_name(place):
    node = Node(place, "unknown-name", endpoint="https://gateway.storjshare.invalid")
    return refused(node, lambda: {"endpoint": place.s3.endpoint})


def gateway_down(place):
    (port,) = rig.free_ports(1)
    node = Node(place, "gateway-down", endpoint=f"http://127.0.0.1:{port}")
    try:
        node.start().load().check()
        node.request()
        node.until("a message", lambda: node.counter("oldest_unsent") >= 2)
        node.look()
        # The gateway is back: what answers at the port is the S3 server.
        with Line(place.s3.ports["s3"], port):
            node.until("what waits in the bucket", lambda: node.counter("uploaded_records"))
        return node.seen
    finally:
        node.stop()


def clock_off(place):
    try:
        library = debian.file("libfaketime", "usr/lib/*/faketime/libfaketime.so.1")
    except debian.Missing as why:
        raise rig.Skip(why) from None
    node = Node(place, "clock-off")
    # Waiting is done by the monotonic clock, which stays as it is.
    node.varnish.env |= {
        "LD_PRELOAD": str(library),
        "FAKETIME": "-1h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    try:
        try:
            node.start()
        except RuntimeError as why:
            # With the allocator of some varnishd it asks for the time before it is ready, and ends the process.
            if "libfaketime" in str(why):
                raise rig.Skip("this libfaketime and this varnishd do not go together") from None
            raise
        node.load().check()
        node.request()
        node.until("an upload", lambda: node.counter("uploaded_records"))
        return node.look().seen
    finally:
        node.stop()


def full_disk(place):
    disk = place.directory / "full-disk-spool"
    disk.mkdir()
    rig.tmpfs(disk, "3m")
    filler = disk / "filler"
    node = Node(place, "full-disk", spool=disk, ring="1MB")
    try:
        node.start().load()
        rig.fill(filler)
        node.request()
        node.until("a failed write", lambda: node.counter("spool_errors"))
        seen = node.look().seen
        # And a stream that begins on the disk with room for its small files, and none for its ring.
        os.truncate(filler, filler.stat().st_size - (1 << 16))
        late = Node(place, "full-disk-late", spool=disk / "late", ring="1MB")
        try:
            seen[LOAD] = late.start().load().seen[LOAD]
        finally:
            late.stop()
        filler.unlink()
        node.until("an upload", lambda: node.counter("uploaded_records") == 1)
        return seen
    finally:
        node.stop()
        subprocess.run(["umount", "-l", disk], check=False)


def spool_fills(place):
    (port,) = rig.free_ports(1)
    node = Node(
        place, "spool-fills", endpoint=f"http://127.0.0.1:{port}", spool_max="1MB", max_line="65000"
    )
    # Lines that no codec makes much smaller.
    chance, calls = random.Random(1), ""
    for number in range(20):
        text = node.directory / f"line-{number}"
        text.write_bytes(base64.b64encode(chance.randbytes(45_000)))
        calls += f'access.log_line(std.fileread("{text}"));\n'
    full = lambda: node.counter("spool_used") * 100 >= node.counter("spool_max") * 80
    try:
        node.start().load(recv=calls)
        node.request()
        node.until("a spool that is nearly full", full)
        node.look().doctor()
        seen = dict(node.seen)
        # Of twice the size less is in use; smaller again and empty, it was nearly full.
        for size, bytes_now in ("2MB", 2 << 20), ("1MB", 1 << 20):
            node.values["spool_max"] = size
            node.write()
            node.load(f"of-{size}").request()
            node.until("the new limit", lambda: node.counter("spool_max") == bytes_now)
            if bool(re.search(r"^FIX +spool", node.doctor(), re.M)) != full():
                raise RuntimeError(f"with spool_max of {size} doctor says {node.seen[DOCTOR]}")
        with Line(place.s3.ports["s3"], port):
            node.until("an empty spool", lambda: node.counter("spool_used") == 0)
            was = re.search(r"^note +spool +access: up to .* of 1\.0 MiB of the spool were in use", node.doctor(), re.M)
        if not was:
            raise RuntimeError(f"doctor does not say that the spool was nearly full: {node.seen[DOCTOR]}")
        return seen
    finally:
        node.stop()


def unprivileged(node, hurt):
    """As with Debian's service: the manager is root and the cache process another user; or all
    of it is a user who is not root."""
    if os.geteuid() == 0:
        node.varnish.jailed()
        node.place.directory.chmod(0o711)
    else:
        hurt.chmod(0o500 if hurt.is_dir() else 0)
    try:
        try:
            node.start()
        except RuntimeError as error:
            raise rig.Skip(f"varnishd does not start with -j {node.varnish.jail}: {error}") from None
        return node.load().seen
    finally:
        node.place.directory.chmod(0o700)
        hurt.chmod(0o700 if hurt.is_dir() else 0o600)
        node.stop()


def spool_owner(place):
    node = Node(place, "spool-owner", credentials=place.directory / "spool-owner/credentials")
    shutil.copy(place.s3.credentials, node.directory)
    (node.directory / "credentials").chmod(0o644)
    return unprivileged(node, node.directory / "spool")


def credentials_owner(place):
    node = Node(place, "credentials-owner", credentials=place.directory / "credentials-owner/own")
    shutil.copy(place.s3.credentials, node.directory / "own")
    (node.directory / "own").chmod(0o600)
    return unprivileged(node, node.directory / "own")


def too_early(place):
    node = Node(place, "too-early", period="1h")
    try:
        node.start().load()
        node.request()
        node.until("the record in the ring", lambda: node.counter("ring_used"))
        _, node.seen[STATS] = node.command("stats", "--spool", node.directory / "spool")
        return node.look().seen
    finally:
        node.stop()


def not_called(place):
    node = Node(place, "not-called")
    try:
        node.start().load(recv='if (req.url == "/never") { access.log(); }', synth="")
        node.request()
        node.until("the ring", lambda: node.counter("ring_size"))
        return node.look().seen
    finally:
        node.stop()


def other_varnish(place):
    modules = place.directory / "other-varnish-modules"
    modules.mkdir()
    module = (place.module_dir / "libvmod_s3log.so").read_bytes()
    own = re.search(rb"Varnish (\d+\.\d+\.\d+) \w+", module)
    if not own:
        raise RuntimeError("the module has no ABI string")
    other = own[0].replace(own[1], b"7.4.9")
    if len(other) != len(own[0]):
        raise RuntimeError(f"the ABI string {own[0]} is longer than this tool thinks")
    (modules / "libvmod_s3log.so").write_bytes(module.replace(own[0], other))
    node = Node(place, "other-varnish", modules=modules)
    try:
        return node.start().load().seen
    finally:
        node.stop()


def no_module(place):
    modules = place.directory / "no-modules"
    modules.mkdir()
    node = Node(place, "no-module", modules=modules)
    try:
        return node.start().load().seen
    finally:
        node.stop()


def small_ring(place):
    node = Node(place, "small-ring", ring="1MB", max_line="65000")
    text = node.directory / "line"
    text.write_text("x" * 60_000)
    burst = 'access.log_line(std.fileread("%s"));\n' % text
    try:
        node.start()
        node.load(recv=burst * 100)
        # A packer that is slower than the traffic: it stands still.
        with hold.held(node.varnish.child_pid(), "s3log-pack"):
            node.request()
        node.until("the end of it", lambda: node.counter("uploaded_records"))
        return node.look().seen
    finally:
        node.stop()


def wrong_argument(place):
    node = Node(place, "wrong-argument", period="soon")
    try:
        return node.start().load().check().seen
    finally:
        node.stop()


def second_varnishd(place):
    first = Node(place, "first-varnishd")
    second = Node(place, "second-varnishd", spool=first.directory / "spool")
    try:
        first.start().load()
        return second.start().load().seen
    finally:
        second.stop()
        first.stop()


def not_started(place):
    """A second varnishd that is launched with the first one's settings serves, and its lines wait in memory."""
    first = Node(place, "has-the-spool")
    second = Node(place, "not-started", spool=first.directory / "spool")
    base = second.directory / "base.vcl"
    base.write_text(VCL.format(settings=second.settings, recv="", synth="access.log();"))
    try:
        first.start().load()
        second.start().request()
        second.until("a line in memory", lambda: second.counter("records_unspooled"))
        quoted = dict(quotes().get(second.name, []))
        with contextlib.suppress(TimeoutError):
            rig.wait_for("what doctor says", lambda: not missing(quoted.get(DOCTOR, []), second.doctor()), step=0.5)
        second.seen[STAT] = second.varnish.tool("varnishstat", "-1", "-f", "S3LOG.access.*", check=False)
        second.seen[JOURNAL] = second.varnish.process.log.read_text(errors="replace")
        # As it says.
        first.stop()
        second.until("its line in the bucket", lambda: second.counter("uploaded_records"))
        return second.seen
    finally:
        second.stop()
        first.stop()


def upload_again(place, folder):
    """Runs the page's own program on the block; the command finds nothing wrong with it."""
    program = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)[1]
    bucket = "mended-logs"
    place.s3.client().create_bucket(Bucket=bucket)
    variables = place.s3.variables() | {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}
    subprocess.run(
        [sys.executable, "-c", program, "0000000001", bucket],
        cwd=folder,
        env=place.env | variables,
        check=True,
    )
    done = subprocess.run(
        [place.command, "verify", "--deep", *place.s3.words(bucket), "access"],
        env=place.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0 or "complete: 1 block, 1 record," not in done.stdout:
        raise RuntimeError(f"the block uploaded by hand is not whole: {done.stdout}")


def refused_block(place):
    """A gateway that will never take a block: S3's 400 for it."""

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b"<Error><Code>EntityTooLarge</Code><Message>too large</Message></Error>"
            self.send_response(400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    node = Node(place, "refused-block", endpoint=f"http://127.0.0.1:{server.server_address[1]}")
    try:
        node.start().load().check()
        node.request()
        node.until("quarantine", lambda: node.counter("blocks_quarantined"))
        node.look()
        kept = sorted((node.directory / "spool/access/quarantine").iterdir())
        node.seen[QUARANTINE] = "\n".join(path.name for path in kept)
        upload_again(place, kept[0].parent)
        return node.seen
    finally:
        node.stop()
        server.shutdown()


FAULTS = {
    "wrong-argument": wrong_argument,
    "other-varnish": other_varnish,
    "no-module": no_module,
    "credentials-owner": credentials_owner,
    "spool-owner": spool_owner,
    "second-varnishd": second_varnishd,
    "not-started": not_started,
    "too-early": too_early,
    "not-called": not_called,
    "unknown-name": unknown_name,
    "gateway-down": gateway_down,
    "wrong-secret": wrong_secret,
    "wrong-bucket": wrong_bucket,
    "clock-off": clock_off,
    "refused-block": refused_block,
    "full-disk": full_disk,
    "spool-fills": spool_fills,
    "small-ring": small_ring,
}

# Of each kind of fault one, for every change.
QUICK = ("wrong-argument", "spool-owner", "too-early", "gateway-down", "refused-block", "small-ring")
