"""A real varnishd with the module, a real S3 server and an origin, on loopback.

Used by the demo and by the tests that need all three. Everything lives in one directory and on
ports found free; everything started is stopped by its process id. Python's standard library and
boto3 only.
"""

import collections
import contextlib
import http.server
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEPS = ROOT / ".deps"
ACCESS_KEY = "EDGEKEY"
SECRET_KEY = "edge-secret"
BUCKET = "edge-logs"
COMBINED = '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"'
# What becomes of records + recovered.
GONE_OR_HERE = ("uploaded_records", "spooled_records", "quarantined_records", "dropped_spool")


def say(text=""):
    """To standard output at once, also where that is a file."""
    print(text, flush=True)


class Skip(Exception):
    """What this machine cannot do, and why."""


def environment():
    """The environment that .deps/env describes: where Varnish and the S3 server are."""
    script = 'set -a; . "$1"; env -0'
    raw = subprocess.run(
        ["bash", "-c", script, "env", str(DEPS / "env")], check=True, stdout=subprocess.PIPE
    ).stdout
    return dict(item.split("=", 1) for item in raw.decode().split("\0") if "=" in item)


PORTS = itertools.cycle(range(10_000, 30_000))
# Processes begin at different places, and never hand out a port twice in a row.
collections.deque(itertools.islice(PORTS, (os.getpid() * 37) % 15_000), maxlen=0)


def free_ports(count):
    """Ports that nobody listens on, all different, below the kernel's range for clients."""
    ports = []
    while len(ports) < count:
        at = next(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", at))
                ports.append(at)
    return ports


def gone(pid):
    """Whether a process has ended, waited for or not."""
    try:
        return "Z" in pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return True


def wait_for(what, check, seconds=30.0, step=0.05):
    """Polls check() until it gives a true value; says what it waited for when it does not."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(step)


def dropped(counters):
    """The counters of what was dropped that are not 0."""
    return {name: n for name, n in counters.items() if ".dropped" in name and n}


def tmpfs(path, size, *options):
    """Mounts a disk of this size on a directory; who asks for it unmounts it."""
    given = ",".join((f"size={size}", "mode=700", *options))
    command = ["mount", "-t", "tmpfs", "-o", given, "none", str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Skip(f"this machine does not let us mount a tmpfs: {done.stdout.strip()}")


def fill(path):
    """Appends to a file until nothing fits."""
    with contextlib.suppress(OSError), open(path, "ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


class Process:
    """A child process with its output in a file."""

    def __init__(self, name, command, directory, env=None, **popen):
        self.name, self.log = name, directory / f"{name}.log"
        self.output = open(self.log, "ab")
        self.child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env=env,
            **popen,
        )

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def stop(self, sig=signal.SIGTERM, seconds=20):
        if self.alive():
            self.child.send_signal(sig)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.output.close()

    def tail(self, lines=30):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class S3:
    """SeaweedFS on loopback. The data survives kill() and start()."""

    def __init__(self, directory, env):
        self.directory, self.env, self.process = directory / "s3", env, None
        # More arguments for the server, such as those for https.
        self.more = []
        self.directory.mkdir()
        (self.directory / "data").mkdir()
        names = ["s3", "master", "volume", "filer"]
        ports = free_ports(2 * len(names) + 6)
        self.ports = dict(zip(names, ports))
        self.grpc = dict(zip(names, ports[len(names) :]))
        self.other = ports[2 * len(names) :]
        self.endpoint = f"http://127.0.0.1:{self.ports['s3']}"
        identity = {
            "name": "edge",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self.credentials = self.directory / "credentials"
        self.credentials.write_text(
            f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        )
        self.credentials.chmod(0o600)

    def words(self, bucket=BUCKET, credentials=None):
        """The arguments by which the command reads a bucket here; `credentials` where the file has
        another path for the command."""
        given = ["--endpoint", self.endpoint, "--bucket", bucket]
        return [*given, "--credentials", str(credentials or self.credentials)]

    def start(self):
        command = [DEPS / "venv/bin/weed", "-logtostderr", "mini", "-ip=127.0.0.1"]
        command += ["-ip.bind=127.0.0.1", f"-dir={self.directory}/data", f"-bucket={BUCKET}"]
        command += ["-webdav=false", "-admin.ui=false", "-s3.iam=false"]
        command += ["-s3.autoCreateBucket=false", f"-s3.config={self.directory}/s3.json"]
        for name, port in self.ports.items():
            command += [f"-{name}.port={port}", f"-{name}.port.grpc={self.grpc[name]}"]
        iceberg, lance, admin, admin_grpc, *_ = self.other
        command += [f"-s3.port.iceberg={iceberg}", f"-s3.port.lance={lance}"]
        command += [f"-admin.port={admin}", f"-admin.port.grpc={admin_grpc}", *self.more]
        self.process = Process("s3", command, self.directory, self.env, cwd=self.directory)
        try:
            wait_for("the S3 server", self.writable, 60, 0.2)
        except TimeoutError:
            raise RuntimeError(f"the S3 server does not start:\n{self.process.tail()}") from None

    def writable(self):
        """Whether a PUT succeeds: the port answers earlier than that."""
        if not self.process.alive():
            raise RuntimeError(f"the S3 server ended:\n{self.process.tail()}")
        try:
            self.client().put_object(Bucket=BUCKET, Key="probe", Body=b"probe")
            self.client().delete_object(Bucket=BUCKET, Key="probe")
            return True
        except Exception:
            return False

    def client(self):
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(
                connect_timeout=2,
                read_timeout=30,
                retries={"max_attempts": 1},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
            ),
        )

    def keys(self, prefix=""):
        pages = self.client().get_paginator("list_objects_v2")
        found = []
        for page in pages.paginate(Bucket=BUCKET, Prefix=prefix):
            found += [item["Key"] for item in page.get("Contents", [])]
        return sorted(found)

    def kill(self):
        # SIGTERM drains for ten seconds; the data is on disk either way.
        self.process.stop(signal.SIGKILL)


class Origin(http.server.ThreadingHTTPServer):
    """A small origin: / answers by path, POST echoes its length."""

    daemon_threads = True
    request_queue_size = 512

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else an answer's second write waits for the client's delayed acknowledgement.
        disable_nagle_algorithm = True

        def reply(self, status, body, **headers):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "text/plain")
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self):
            path = self.path.split("?", 1)[0]
            if path.startswith("/missing"):
                self.reply(404, b"not here\n", Cache_Control="max-age=60")
            elif path.startswith("/private"):
                self.reply(200, b"yours alone\n", Cache_Control="private")
            else:
                body = f"page {path}\n".encode() * 20
                self.reply(200, body, Cache_Control="max-age=600", ETag='"1"')

        do_HEAD = do_GET

        def do_POST(self):
            length = int(self.headers.get("Content-Length", 0))
            self.rfile.read(length)
            self.reply(201, f"took {length} bytes\n".encode())

        def log_message(self, *args):
            pass

    def handle_error(self, request, client_address):
        """A cache process that dies in the middle of a fetch is no news."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Varnish:
    """varnishd in the foreground, with its CLI."""

    def __init__(self, directory, env, vcl, module_dir, parameters=(), listen=(), wrapper=()):
        self.directory, self.env, self.vcl = directory / "varnish", env, vcl
        # A program that runs varnishd, such as valgrind with its options.
        self.wrapper = wrapper
        self.directory.mkdir()
        self.module_dir, self.parameters, self.listen = module_dir, parameters, listen
        self.port = free_ports(1)[0]
        self.workdir = self.directory / "work"
        self.process = None
        # Of varnishd's -j; nothing is varnishd's own choice.
        self.jail = "none" if os.geteuid() == 0 else None

    def start(self):
        command = ["varnishd", "-F", "-n", self.workdir, "-a", f"127.0.0.1:{self.port}"]
        for more in self.listen:
            command += ["-a", more]
        command += ["-f", self.vcl, "-s", "default,256m"]
        command += ["-p", f"vmod_path={self.module_dir}:{self.own_modules()}"]
        if self.jail:
            command[1:1] = ["-j", self.jail]
        for parameter in ("feature=+http2", *self.parameters):
            command += ["-p", parameter]
        self.process = Process("varnishd", [*self.wrapper, *command], self.directory, self.env)
        try:
            wait_for("varnishd", self.answers, 120)
        except (TimeoutError, RuntimeError):
            raise RuntimeError(f"varnishd does not start:\n{self.process.tail()}") from None
        return self

    def own_modules(self):
        """Where Varnish has its own modules, std among them."""
        return subprocess.run(
            ["pkg-config", "--variable=vmoddir", "varnishapi"],
            env=self.env,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        ).stdout.strip()

    def answers(self):
        if not self.process.alive():
            raise RuntimeError("varnishd ended")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def tool(self, *command, check=True):
        command = [str(part) for part in (command[0], "-n", self.workdir, *command[1:])]
        done = subprocess.run(
            command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}")
        return done.stdout

    def cli(self, *words, check=True):
        return self.tool("varnishadm", "-t", "30", *words, check=check)

    def child_pid(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = children.read_text().split()
        return int(pids[0]) if pids else None

    def child(self):
        """The cache process, once it serves."""
        return wait_for("the cache process", self.child_pid, 20, 0.005)

    def end_child(self, how=lambda pid: os.kill(pid, signal.SIGKILL)):
        """Ends the cache process; when that began and when it was over."""
        pid = self.child()
        begin = time.monotonic()
        how(pid)
        wait_for("the end of the cache process", lambda: gone(pid), 20, 0.001)
        return begin, time.monotonic()

    def swap(self, name, vcl):
        """Loads a VCL, uses it and discards the one that was active."""
        before = self.cli("vcl.list")
        active = re.search(r"^active\s+\S+\s+\S+\s+(?:\S+\s+)?(\S+)$", before, re.M)[1]
        self.cli("vcl.load", name, vcl)
        self.cli("vcl.use", name)
        self.cli("vcl.discard", active)

    def counters(self, stream="*"):
        text = self.tool("varnishstat", "-1", "-f", f"S3LOG.{stream}.*")
        found = {}
        for line in text.splitlines():
            match = re.match(r"(\S+)\s+(\d+)", line)
            if match:
                # A stream's routes are added up: S3LOG.access and S3LOG.access_0123456789abcdef.
                name = re.sub(r"_[0-9a-f]{16}(-\d+)?\.", ".", match[1].split(".", 1)[1])
                found[name] = found.get(name, 0) + int(match[2])
        return found

    def idle(self):
        """Whether nothing of the stream `access` waits in ring or spool."""
        now = self.counters("access")
        return now["access.ring_used"] == 0 and now["access.spooled_blocks"] == 0

    def balanced(self, stream="access", seconds=10):
        """The counters at rest, once what came in is what went out and what is still here."""
        seen = {}

        def holds():
            now = self.counters(f"{stream}*")
            seen.update(now)
            sides = (("records", "recovered"), GONE_OR_HERE)
            came, went = (sum(now[f"{stream}.{name}"] for name in side) for side in sides)
            return came == went

        try:
            wait_for("the counters to balance", holds, seconds, 0.2)
        except TimeoutError:
            raise RuntimeError(
                f"records + recovered is not {' + '.join(GONE_OR_HERE)}: {seen}"
            ) from None
        return seen

    def stop(self, sig=signal.SIGTERM):
        if self.process:
            self.process.stop(sig)


class Rig:
    """The directory and everything in it; a context manager that leaves nothing behind."""

    def __init__(self, name, profile="release", keep=False):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"s3log-{name}-"))
        self.keep, self.env = keep, environment()
        self.module_dir = ROOT / "target" / profile
        self.command = self.module_dir / "s3log"
        self.spool = self.directory / "spool"
        self.spool.mkdir(mode=0o700)
        self.origin = Origin()
        self.s3 = S3(self.directory, self.env)
        self.varnish = None
        # What else has to end, before Varnish does.
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error and self.varnish and self.varnish.process:
            print(f"--- the end of varnishd's output\n{self.varnish.process.tail()}", file=sys.stderr)
        with contextlib.suppress(Exception):
            self.stack.close()
        with contextlib.suppress(Exception):
            if self.varnish:
                self.varnish.stop()
        with contextlib.suppress(Exception):
            if self.s3.process:
                self.s3.kill()
        self.origin.shutdown()
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def example(self, **more):
        """vcl/example.vcl with its site's values replaced by this rig's."""
        values = {
            'endpoint = "https://gateway.storjshare.io"': f'endpoint = "{self.s3.endpoint}"',
            '"/etc/varnish/s3log.credentials"': f'"{self.s3.credentials}"',
            '.port = "8080"': f'.port = "{self.origin.port}"',
            "period = 10s": f'period = {more.get("period", "1s")},\n        spool = "{self.spool}"',
        }
        text = (ROOT / "vcl/example.vcl").read_text()
        for old, new in values.items():
            if text.count(old) != 1:
                raise ValueError(f"vcl/example.vcl should have {old!r} once")
            text = text.replace(old, new)
        path = self.directory / "example.vcl"
        path.write_text(text)
        return path

    def start_varnish(self, vcl, directory=None, **options):
        self.varnish = Varnish(
            directory or self.directory, self.env, vcl, self.module_dir, **options
        )
        return self.varnish.start()

    def left(self):
        """Records in all rings and spools, as the command sees them."""
        done = subprocess.run(
            [str(self.command), "stats", "--json", "--spool", str(self.spool)],
            env=self.env,
            stdout=subprocess.PIPE,
            check=True,
        )
        folders = [json.loads(line) for line in done.stdout.splitlines()]
        records = sum(
            folder["waiting"]["records"] + folder["held"]["records"] + (folder["open"] or {}).get("records", 0)
            for folder in folders
        )
        return records + sum(folder["ring"].get("used", 0) for folder in folders)

    def settle(self):
        """Restarts varnishd and waits until nothing is left in ring and spool, of any route."""
        self.varnish.stop()
        self.varnish.start()
        wait_for("empty rings and spools", lambda: not self.left(), 120, 0.5)

    def cat(self, stream="access", *more):
        """The stream's lines, read back by the command; none where there is no block yet."""
        done = subprocess.run(
            [str(self.command), "cat", *self.s3.words(), *more, stream],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if done.returncode and b"no blocks found" not in done.stderr:
            sys.stderr.write(done.stderr.decode(errors="replace"))
            done.check_returncode()
        return done.stdout.splitlines()

    def patient_cat(self, stream="access", *more):
        """The same from an S3 server that has just come up: it answers 500 for a while."""
        found = []

        def read():
            with contextlib.suppress(subprocess.CalledProcessError):
                found.append(self.cat(stream, *more))
            return found

        wait_for("the S3 server to give back what it has", read, 60, 0.5)
        return found[0]
