"""A load of every kind of request that moves memory in Varnish, whose lines prove themselves.

Whatever a client sends and the origin answers is computed from a short name, which is in the line
too: a value that comes from freed memory, or from another request, does not fit its name.

Passes, private and cached objects, revalidations, retries, restarts, rollbacks, failures, ESI, a
label, HTTP/1 and 2, clients that leave early, purges, bans, reloads. Each client makes a number of
requests, so that a slow varnishd gets the same load. Python's standard library and h2load.
"""

import collections
import contextlib
import json
import random
import socket
import struct
import subprocess
import threading

from e2e import rig
from e2e.rig import h2, traffic

KINDS = (
    "page", "pass", "private", "restart", "rollback", "fail", "esi", "label", "retry", "large",
    "synth", "gone",
)  # fmt: skip
# Kinds of one object each for a few names, which are revalidated, banned and purged.
NAMES = 8

LINE = '%U %>s %{X-Key}i %{X-Sent}i %{X-Id}o %{X-Long}o %{k}x %h %{X-Huge}i'
# The blank: the VCL of Varnish before 6.6 has no other long strings than those that end at the first `"}`.
JSON = '{"key":"%{X-Key}i","sent":"%{X-Sent}i","id":"%{X-Id}o","long":"%{X-Long}o","k":"%{k}x" }'
FETCH = "%U %{X-Key}i %{X-Sent}i %{X-Id}o %{X-Long}o"

VCL = """vcl 4.1;
import s3log;
import std;
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_init {{
    new access = s3log.stream(endpoint = "{endpoint}", bucket = "{bucket}",
        credentials = "{credentials}", spool = "{spool}", path = "{path}/", period = 500ms,
        format = {{"{line}"}},
        esi = true);
    new events = s3log.stream(endpoint = "{endpoint}", bucket = "{bucket}",
        credentials = "{credentials}", spool = "{spool}", path = "{path}/", period = 500ms,
        format = {{"{json}"}},
        esi = true, max_line = "2KB");
    new fetches = s3log.stream(endpoint = "{endpoint}", bucket = "{bucket}",
        credentials = "{credentials}", spool = "{spool}", path = "{path}/", period = 500ms,
        format = {{"{fetch}"}});
}}
sub vcl_recv {{
    access.log();
    events.log();
    access.set("k", req.http.X-Key);
    events.set("k", "before");
    events.set("k", req.http.X-Key);
    if (req.method == "PURGE") {{ return (purge); }}
    if (req.url ~ "^/rollback/") {{
        set req.http.X-Sent = "not what the client has sent";
        std.rollback(req);
    }}
    {label}
    if (req.url ~ "^/synth/") {{ return (synth(404)); }}
    if (req.url ~ "^/pipe/") {{ return (pipe); }}
    if (req.url ~ "^/(pass|large)/") {{ return (pass); }}
    return (hash);
}}
sub vcl_hash {{ hash_data(req.url); return (lookup); }}
sub vcl_backend_fetch {{
    # The origin does not take that much.
    unset bereq.http.X-Huge;
    fetches.log();
}}
sub vcl_backend_response {{
    fetches.log();
    if (bereq.url ~ "^/retry/" && bereq.retries == 0) {{ return (retry); }}
    set beresp.do_esi = beresp.http.X-Esi == "1";
    set beresp.do_stream = bereq.url !~ "^/private/";
    if (beresp.http.Cache-Control ~ "private") {{
        set beresp.uncacheable = true;
        set beresp.ttl = 1s;
        return (deliver);
    }}
    set beresp.ttl = 200ms;
    set beresp.grace = 200ms;
    set beresp.keep = 10m;
    return (deliver);
}}
sub vcl_deliver {{
    access.log();
    events.log();
    if (req.url ~ "^/restart/" && req.restarts == 0) {{ return (restart); }}
    if (req.url ~ "^/fail/") {{ return (fail); }}
    return (deliver);
}}
sub vcl_synth {{
    access.log();
    set resp.body = "made here";
    return (deliver);
}}
"""


def long(name):
    """A value that the log cuts, and that only this name has."""
    return f"<{name}>" * (300 // (len(name) + 2) + sum(name.encode()) % 40 + 2)


class Handler(rig.Origin.Handler):
    """Answers with headers that the path decides."""

    # How often it has answered: an answer after a revalidation has other lines than the one before.
    count = 0

    def answer(self, status, body, **more):
        Handler.count += 1
        # By number and path, so that no two answers are the same.
        name = f"{Handler.count}{self.path.partition('?')[0]}"
        self.reply(status, body, X_Id=name, X_Long=long(name), **more)

    def do_GET(self):
        kind, _, name = self.path[1:].partition("/")
        if kind == "private":
            self.answer(200, b"yours alone\n", Cache_Control="private")
        elif kind == "esi":
            parts = "".join(f'<esi:include src="/part/{n}{name}"/>' for n in range(3))
            self.answer(200, f"<p>{parts}</p>".encode(), X_Esi="1")
        elif kind == "large":
            self.answer(200, b"large " * 60_000)
        elif kind == "gone":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif "If-None-Match" in self.headers:
            self.answer(304, b"", ETag='"1"')
        else:
            self.answer(200, f"page {self.path}\n".encode() * 20, ETag='"1"')

    do_HEAD = do_GET


def headers(name, huge=3):
    return {"X-Key": name, "X-Sent": long(name), "X-Huge": "h" * huge}


def reset(connection):
    """The connection ends with a reset and not in order."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Http1(threading.Thread):
    """Requests on one connection after the other, of which some are left early."""

    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load, self.number, self.random = load, number, random.Random(number)

    def run(self):
        connection, buffer = None, b""
        for turn in range(self.load.requests):
            if connection is None:
                connection, buffer = self.load.connect(), b""
            with contextlib.suppress(OSError, ValueError):
                kind, leaves = self.random.choice((*KINDS, "pipe")), self.random.random() < 0.1
                method = "PURGE" if kind == "page" and self.random.random() < 0.2 else "GET"
                huge = 100_000 if self.random.random() < 0.02 else 3
                name = f"c{self.number}-{turn}"
                path = f"/{kind}/{self.random.randrange(NAMES)}"
                head = {"Host": "edge", **headers(name, huge)}
                if kind == "pipe":
                    head["Connection"] = "close"
                lines = "".join(f"{key}: {value}\r\n" for key, value in head.items())
                connection.sendall(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
                if leaves:
                    if kind == "large":
                        connection.recv(1000)
                    reset(connection)
                    connection = None
                    continue
                buffer = self.read(connection, buffer)
                if kind != "pipe":
                    continue
            connection.close()
            connection = None

    @staticmethod
    def read(connection, buffer):
        """Reads one answer, in chunks where its length was not known; what follows it."""
        while b"\r\n\r\n" not in buffer:
            buffer += some(connection)
        head, _, rest = buffer.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" not in head.lower():
            return traffic.Client.read(connection, buffer)[1]
        while not rest.endswith(b"0\r\n\r\n"):
            rest += some(connection)
        return b""


def some(connection):
    found = connection.recv(65536)
    if not found:
        raise ConnectionResetError("closed")
    return found


class Http2(threading.Thread):
    """Streams of HTTP/2, of which a third are reset, at once or when the answer begins."""

    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load, self.number, self.random = load, number, random.Random(number)

    def run(self):
        turn = 0
        while turn < self.load.requests:
            until = min(turn + 20, self.load.requests)
            with contextlib.suppress(OSError), self.load.connect() as connection:
                self.talk(connection, range(turn, until))
                if self.random.random() < 0.3:
                    reset(connection)
            turn = until

    def talk(self, connection, turns):
        window = struct.pack("!HI", 4, (1 << 30) - 1)
        connection.sendall(h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0, window))
        connection.sendall(h2.frame(h2.WINDOW_UPDATE, 0, 0, struct.pack("!I", 1 << 30)))
        waiting, leaving = set(), set()
        for at, turn in enumerate(turns):
            stream = 2 * at + 1
            path = f"/{self.random.choice(KINDS)}/{self.random.randrange(NAMES)}"
            block = self.block(path, f"s{self.number}-{turn}")
            connection.sendall(h2.frame(h2.HEADERS, h2.END_HEADERS_AND_STREAM, stream, block))
            fate = self.random.random()
            if fate < 0.15:
                connection.sendall(h2.frame(h2.RST_STREAM, 0, stream, h2.CANCEL))
            else:
                waiting.add(stream)
                if fate < 0.3:
                    leaving.add(stream)
        if not waiting:
            return
        with connection.makefile("rb") as answers:
            for kind, flags, stream, payload in h2.frames(answers):
                if kind == h2.SETTINGS and not flags & h2.ACK:
                    connection.sendall(h2.frame(h2.SETTINGS, h2.ACK, 0))
                elif kind == h2.PING and not flags & h2.ACK:
                    connection.sendall(h2.frame(h2.PING, h2.ACK, 0, payload))
                elif kind == h2.GOAWAY:
                    return
                elif kind == h2.RST_STREAM or kind in (h2.DATA, h2.HEADERS) and flags & h2.END_STREAM:
                    waiting.discard(stream)
                elif stream in leaving and stream in waiting:
                    connection.sendall(h2.frame(h2.RST_STREAM, 0, stream, h2.CANCEL))
                    waiting.discard(stream)
                if not waiting:
                    return

    @staticmethod
    def block(path, name):
        """A request's headers."""
        given = {":method": "GET", ":scheme": "http", ":path": path, ":authority": "edge"}
        given |= {key.lower(): value for key, value in headers(name).items()}
        return h2.headers((key.encode(), value.encode()) for key, value in given.items())


class H2load(threading.Thread):
    """The same by a client that others wrote."""

    def __init__(self, load):
        super().__init__(daemon=True)
        self.load, self.said = load, ""

    def run(self):
        given = [word for key, value in headers("h2load").items() for word in ("-H", f"{key}: {value}")]
        uris = [
            f"http://127.0.0.1:{self.load.varnish.port}/{kind}/{n}" for kind in KINDS for n in range(2)
        ]
        command = ["h2load", "-n", str(self.load.requests), "-c", "2", "-m", "4", *given, *uris]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            self.said = done.stdout


class Admin(threading.Thread):
    """Bans and reloads for as long as the clients are at work."""

    def __init__(self, load):
        super().__init__(daemon=True)
        self.load, self.halt, self.turns, self.failed = load, threading.Event(), 0, None

    def run(self):
        try:
            # At least one of each, however quick the clients are.
            while not self.halt.wait(0.3) or self.turns < 4:
                self.turns += 1
                self.load.varnish.cli("ban", "req.url", "~", f"/{self.turns % NAMES}$")
                if self.turns % 4 == 0:
                    self.load.reload()
        except Exception as error:
            self.failed = error


class Load:
    """The load on one varnishd, which has `vcl(place)`."""

    def __init__(self, place, path, requests):
        self.place, self.varnish, self.requests = place, place.varnish, requests
        self.path, self.loaded = path, 0

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.varnish.port), rig.PATIENCE)

    def run(self, clients):
        """What the load itself found wrong."""
        self.reload()
        admin, h2load = Admin(self), H2load(self)
        busy = [Http1(self, n) for n in range(clients)] + [Http2(self, n) for n in range(clients)]
        busy.append(h2load)
        admin.start()
        for client in busy:
            client.start()
        for client in busy:
            client.join(600)
        admin.halt.set()
        admin.join(rig.PATIENCE)
        wrong = [f"a client hangs: {client.name}" for client in [*busy, admin] if client.is_alive()]
        if admin.failed:
            wrong.append(f"bans and reloads: {admin.failed}")
        if h2load.said:
            wrong.append(f"h2load: {h2load.said}")
        return wrong

    def reload(self):
        """Another pair of VCLs, one behind a label, and no trace of the pair before."""
        self.loaded += 1
        for name, label in (("tenant", ""), ("front", 'if (req.url ~ "^/label/") { return (vcl(t)); }')):
            path = write(self.place, self.path, f"{name}{self.loaded}", label)
            self.varnish.cli("vcl.load", f"{name}{self.loaded}", path)
            if name == "tenant":
                self.varnish.cli("vcl.label", "t", f"tenant{self.loaded}")
            else:
                self.varnish.cli("vcl.use", f"front{self.loaded}")
        if self.loaded > 1:
            for name in ("front", "tenant"):
                self.discard(f"{name}{self.loaded - 1}")

    def discard(self, name):
        """No trace of a VCL. 6.6 and 7.0 refuse it for any VCL that was loaded later and has a label
        (`mgt_vcl_discard_depcheck` walks over the wrong list): there the VCL is cold and stays."""
        if (6, 6) <= rig.numbers(self.place.env) < (7, 1):
            self.varnish.cli("vcl.state", name, "cold")
        else:
            self.varnish.cli("vcl.discard", name)


def write(place, path, name, label=""):
    """Writes NAME.vcl, whose blocks go to `path` and which goes to a label as `label` says."""
    file = place.directory / f"{name}.vcl"
    file.write_text(
        VCL.format(
            path=path,
            origin=place.origin.port,
            endpoint=place.s3.endpoint,
            bucket=rig.BUCKET,
            credentials=place.s3.credentials,
            spool=place.spool,
            line=LINE,
            json=JSON,
            fetch=FETCH,
            label=label,
        )
    )
    return file


class Judged:
    """A stream's lines: how many of each kind, which hold a value that is not their request's, and
    how many have less of a value than there was, which Varnish's log then had, too."""

    def __init__(self, stream, lines):
        self.kinds, self.cut, self.wrong = collections.Counter(), 0, []
        for line in lines:
            try:
                kind, pairs, k, key = PARTS[stream](line.decode())
                found = {kept(name, value) for name, value in pairs}
            except (ValueError, KeyError):
                kind, found, k, key = "unreadable", {None}, "", ""
            self.kinds[kind] += 1
            self.cut += "cut" in found
            if None in found or k not in ("-", "", key):
                self.wrong.append(line)


def kept(name, value):
    """Whether `value` is what `name` stands for: all of it, cut by the stream or by Varnish's log."""
    whole = long(name) if name not in ("-", "") else name
    if value == whole:
        return "whole"
    if value.endswith("[cut]") and whole.startswith(value[:-5]):
        return "marked"
    return "cut" if len(value) > 200 and whole.startswith(value) else None


def access(line):
    url, status, key, sent, name, value, k, _, _ = line.split(" ")
    return f"{url.split('/')[1]} {status}", [(key, sent), (name, value)], k, key


def events(line):
    found = json.loads(line)
    pairs = [(found["key"], found["sent"]), (found["id"], found["long"])]
    return "JSON", pairs, found["k"], found["key"]


def fetches(line):
    url, key, sent, name, value = line.split(" ")
    return url.split("/")[1], [(key, sent), (name, value)], "", key


PARTS = {"access": access, "events": events, "fetches": fetches}
