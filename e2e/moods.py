"""A gateway in every mood, at random, then friendly: each record is in the bucket once.

A server on loopback answers each request by a seeded random draw from what gateways, and what
is in front of them, were seen to answer; traffic and reloads go on meanwhile. Then it is S3.
Each record is in the bucket once, or in quarantine for a reason that is the block's own;
memory, threads and descriptors of the process that uploads stay flat: they are sampled every two
seconds. With --external that process is s3log ship.
"""

import gzip
import hashlib
import http.server
import itertools
import json
import pathlib
import random
import re
import signal
import statistics
import threading
import time

from e2e import rig
from e2e.rig import say, stream_vcl, traffic

GROWTH = 48  # MiB that varnishd's cache may be larger after than before
HTML = b"<html><head><title>Please log in</title></head><body>No.</body></html>"


def error(code, message="", more=""):
    return f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


# Status, body, headers: said instead of doing anything.
ANSWERS = [
    (200, HTML, {}),
    (200, b"", {}),
    (200, b"", {"ETag": '"0123456789abcdef0123456789abcdef"'}),
    (200, error("InternalError"), {}),
    (202, HTML, {}),
    (204, b"", {}),
    (302, HTML, {"Location": "https://portal.example/login"}),
    (301, error("PermanentRedirect", "", "<Region>eu-west-1</Region>"), {}),
    (400, b"", {}),
    (400, HTML, {}),
    (400, error("AccountProblem"), {}),
    (400, error("InvalidStorageClass"), {}),
    (400, error("KMS.DisabledException"), {}),
    (400, error("NobodyKnowsThisOne"), {}),
    (400, error("SlowDown"), {}),
    (400, error("XAmzContentSHA256Mismatch"), {}),
    (400, error("BadDigest"), {}),
    (401, HTML, {}),
    (403, error("AccessDenied"), {}),
    (403, error("SignatureDoesNotMatch"), {"Date": "Sun, 06 Nov 2044 08:49:37 GMT"}),
    (403, error("QuotaExceeded"), {}),
    (403, b"", {}),
    (404, error("NoSuchBucket"), {}),
    (405, HTML, {}),
    (410, b"gone", {}),
    (412, b"", {}),
    (413, HTML, {}),
    (429, error("SlowDown"), {"Retry-After": "1"}),
    (431, HTML, {}),
    (451, HTML, {}),
    (500, error("InternalError"), {}),
    (501, error("NotImplemented", "no", "<Header>If-None-Match</Header>"), {}),
    (503, error("SlowDown"), {"Retry-After": "2"}),
    (507, error("XMinioStorageFull"), {}),
    (599, b"\x00\x01\x02", {}),
]
# What is done otherwise, by name.
DEEDS = ["reset", "silent", "lost", "twice", "flood", "slow", "garbage", "early"]


class Gateway(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, seed, hostile):
        super().__init__(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.random, self.lock = random.Random(seed), threading.Lock()
        self.hostile, self.objects, self.moods = hostile, {}, {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def mood(self):
        """What this request gets: None for what S3 would do."""
        with self.lock:
            if not self.hostile or self.random.random() < 0.35:
                return None
            mood = self.random.choice(ANSWERS + DEEDS * 2)
            name = mood if isinstance(mood, str) else f"{mood[0]} {mood[1][:40].decode('latin1')}"
            self.moods[name] = self.moods.get(name, 0) + 1
            return mood

    def handle_error(self, request, client_address):
        """A client that has gone is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def say(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drop(self):
        self.close_connection = True

    def do_PUT(self):
        mood = self.server.mood()
        length = int(self.headers.get("Content-Length", 0))
        if mood == "reset":
            self.rfile.read(min(length, 500))
            return self.drop()
        if mood == "early":
            self.say(200, b"", {"ETag": '"x"'})
            return self.drop()
        body = self.rfile.read(length)
        if isinstance(mood, tuple):
            return self.say(*mood)
        if mood == "silent":
            time.sleep(3)
            return self.drop()
        if mood == "garbage":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            return self.drop()
        if mood == "slow":
            time.sleep(0.5)
        if self.headers.get("If-None-Match") and self.path in self.server.objects:
            return self.say(412, error("PreconditionFailed"))
        meta = {n: v for n, v in self.headers.items() if n.lower().startswith("x-amz-meta-")}
        self.server.objects[self.path] = (body, meta)
        if mood == "lost":
            return self.drop()
        etag = {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}
        if mood == "flood":
            etag.update({f"X-{n}": "y" for n in range(2000)})
        self.say(200, b"", etag)
        if mood == "twice":
            self.say(200, b"", etag)

    def do_GET(self):
        mood = self.server.mood()
        if isinstance(mood, tuple):
            return self.say(*mood)
        if mood in ("reset", "lost", "silent"):
            return self.drop()
        if self.path not in self.server.objects:
            return self.say(404, error("NoSuchKey"))
        body, meta = self.server.objects[self.path]
        etag = {"ETag": f'"{hashlib.md5(body).hexdigest()}"', **meta}
        if self.command == "HEAD":
            self.send_response(200)
            for name, value in {**etag, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            return self.end_headers()
        self.say(200, body, etag)

    do_HEAD = do_GET


def figures(pid):
    """Resident MiB, threads and descriptors of a process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    number = lambda name: int(re.search(rf"{name}:\s+(\d+)", status)[1])
    files = len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
    return {"MiB": number("VmRSS") / 1024, "threads": number("Threads"), "files": files}


class Samples(threading.Thread):
    """The figures of a process, again and again."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.over, self.all = pid, threading.Event(), []

    def run(self):
        while not self.over.wait(2):
            self.all.append(figures(self.pid))

    def part(self, of, name):
        """The median of one fifth of the time: 0 is the first, 4 the last."""
        fifth = len(self.all) // 5
        return statistics.median(sample[name] for sample in self.all[of * fifth :][:fifth])

    def growth(self):
        """What grew between the second and the last fifth, as sentences."""
        if len(self.all) < 30:
            return []
        grown = []
        for name, most in (("MiB", 8), ("threads", 1), ("files", 8)):
            early, late = self.part(1, name), self.part(4, name)
            say(f"moods: {name}, medians of fifths: {[round(self.part(n, name), 1) for n in range(5)]}")
            if late - early > most:
                grown.append(f"{name} grew from {early} to {late} while it was hostile")
        return grown


def arguments(parser):
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--long", action="store_true", help="an hour")
    parser.add_argument("--external", action="store_true", help="s3log ship uploads")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))


def ship(place):
    """s3log ship with the settings that varnishd has otherwise."""
    settings = {
        "endpoint": place.s3.endpoint, "credentials": place.s3.credentials, "spool": place.spool,
        "upload_threads": 4, "timeout": "2s", "connect_timeout": "2s",
    }
    path = place.directory / "ship.toml"
    path.write_text("[access]\n" + "".join(f"{name} = '{value}'\n" for name, value in settings.items()))
    process = rig.Process("ship", [place.command, "ship", "--config", path], place.directory)
    place.stack.callback(lambda: process.stop(signal.SIGTERM))
    return process


def prove(place, options):
    failures = []
    gateway = Gateway(options.seed, hostile=False)
    place.stack.callback(gateway.shutdown)
    place.s3.endpoint = gateway.endpoint
    how = {"upload_threads": "4", "timeout": "2s", "connect_timeout": "2s"}
    if options.external:
        how = {"upload": '"external"'}
    vcl = stream_vcl.write(place, "moods", format="%U", period="200ms", **how)
    # Of a fixed size, so that threads can be compared.
    parameters = ["thread_pools=1", "thread_pool_min=40", "thread_pool_max=40"]
    varnish = place.start_varnish(vcl, parameters=parameters)
    client = lambda n: traffic.Client(f"c{n}", varnish.port, options.seed + n, pause=0.02)
    clients = [client(n) for n in range(4)]
    for client in clients:
        client.start()
    shipper = ship(place) if options.external else None
    uploaded = lambda: varnish.counters("access")["access.blocks_uploaded"] > 5
    rig.wait_for("the first blocks", uploaded)
    pid = shipper.pid if shipper else varnish.child_pid()
    before = figures(pid)
    samples = Samples(pid)
    samples.start()
    gateway.hostile = True
    end = time.monotonic() + (3600 if options.long else options.seconds)
    loaded = None
    for number in itertools.count():
        # A reload ends every wait: without it the module would ask twice a minute.
        time.sleep(0.5)
        if time.monotonic() > end:
            break
        varnish.cli("vcl.load", f"again{number}", str(vcl))
        varnish.cli("vcl.use", f"again{number}")
        if loaded:
            varnish.cli("vcl.discard", loaded)
        loaded = f"again{number}"
    hostile = varnish.counters("access")
    samples.over.set()
    samples.join(10)
    failures += samples.growth()
    gateway.hostile = False
    for client in clients:
        client.halt.set()
    for client in clients:
        client.join(30)
    rig.wait_for("every block to be uploaded or set aside", varnish.idle, 300, 0.5)
    after, now = figures(pid), varnish.balanced()
    say(
        f"moods: seed {options.seed}; {sum(gateway.moods.values())} of {len(gateway.moods)} moods; "
        f"while hostile {hostile['access.blocks_uploaded']} blocks were uploaded with "
        f"{hostile['access.upload_retries']} more attempts, at the end "
        f"{now['access.blocks_uploaded']} and {now['access.blocks_quarantined']} set aside; "
        f"before {before}, after {after}"
    )
    if dropped := rig.dropped(now):
        failures.append(f"dropped: {dropped}")
    if after["MiB"] - before["MiB"] > GROWTH:
        failures.append(f"memory grew from {before['MiB']:.0f} to {after['MiB']:.0f} MiB")
    if after["threads"] > before["threads"] or after["files"] > before["files"] + 20:
        failures.append(f"threads or descriptors grew: {before}, {after}")
    lines = [
        line
        for body, _ in gateway.objects.values()
        for line in gzip.decompress(body).decode().splitlines()
    ]
    for reason in sorted(place.spool.glob("*/quarantine/*.reason")):
        # 412 is drawn for blocks that are not there; what HEAD says decides, and it is lied to.
        text = reason.read_text()
        if "another object has this key" not in text:
            failures.append(f"in quarantine: {text}")
        data = reason.with_suffix(".data")
        lines += gzip.decompress(data.read_bytes()).decode().splitlines()
    answered = [f"/h/{answer[0]}" for client in clients for answer in client.answered]
    found = {}
    for line in lines:
        found[line] = found.get(line, 0) + 1
    missing = [line for line in answered if line not in found]
    twice = [line for line, times in found.items() if times > 1]
    say(f"moods: {len(answered)} answered, {len(lines)} records, {len(gateway.objects)} objects")
    if options.keep:
        say(f"moods: {json.dumps(gateway.moods)}")
    if missing:
        failures.append(f"{len(missing)} records are missing, such as {missing[:3]}")
    if twice:
        failures.append(f"{len(twice)} records are there twice, such as {twice[:3]}")
    return failures
