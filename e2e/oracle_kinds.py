"""The requests of `e2e/oracle.py`: what each kind is, how it is sent, and the origin behind."""

import base64
import collections
import contextlib
import gzip
import http.client
import queue
import socket
import struct
import subprocess
import threading
import time

from e2e import rig
from e2e.rig import h2

http.client._MAXHEADERS = 1000

STAMP = "Sat, 14 Nov 2026 08:00:00 GMT"


class Held:
    """Requests that the origin answers when it is told to."""

    def __init__(self):
        self.lock = threading.Lock()
        self.events = collections.defaultdict(lambda: (threading.Event(), threading.Event()))

    def of(self, path):
        with self.lock:
            return self.events[path]

    def wait(self, path):
        """For the origin: the request is there."""
        arrived, go_on = self.of(path)
        arrived.set()
        go_on.wait(rig.PATIENCE)

    def arrived(self, path):
        if not self.of(path)[0].wait(rig.PATIENCE):
            raise TimeoutError(f"{path} did not reach the origin")

    def release(self, path):
        self.of(path)[1].set()


HELD = Held()


class Origin(rig.Origin):
    """Answers by path."""

    class Handler(rig.Origin.Handler):
        def header(self, status, *headers):
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()

        def chunks(self, parts, pause, *headers):
            self.header(200, ("Transfer-Encoding", "chunked"), *headers)
            if self.command == "HEAD":
                return
            for part in parts:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
                time.sleep(pause)
            self.wfile.write(b"0\r\n\r\n")

        def do_GET(self):
            path = self.path.split("?", 1)[0]
            zipped = "gzip" in self.headers.get("Accept-Encoding", "")
            public = ("Cache-Control", "max-age=600")
            text = ("Content-Type", "text/plain; charset=utf-8")
            body = f"page {path}\n".encode() * 40
            if path.startswith("/ends/held"):
                HELD.wait(path)
                self.reply(200, body)
            elif path.startswith("/ends/upgrade"):
                self.upgrade()
            elif path.startswith(("/ends/rollback-esi", "/ends/label-esi")):
                kind, depth = path.rsplit("/", 1)
                more = f'<esi:include src="{kind}/{int(depth) - 1}"/>' if depth != "0" else ""
                self.reply(200, f"<p>{more}</p>".encode(), X_Esi="yes")
            elif path.startswith("/slow"):
                self.chunks([body[:100]] * 4, 0.04, text, public)
            elif path.startswith("/busy"):
                time.sleep(1.1 if "second" in path else 0.15)
                self.reply(200, body, Cache_Control="max-age=600")
            elif path.startswith("/abort"):
                self.chunks([b"x" * 65_536] * 60, 0.004, text, ("Cache-Control", "private"))
            elif path.startswith("/early"):
                self.close_connection = True
            elif path.startswith("/reset"):
                self.header(200, ("Content-Length", "10000"), text)
                self.wfile.write(b"ten bytes.")
                self.close_connection = True
            elif zipped and path.startswith(("/gzip/", "/gunzip/", "/esi/zipped")):
                whole = self.esi(path) if path.startswith("/esi/") else body
                packed = gzip.compress(whole, mtime=0)
                self.reply(200, packed, Content_Encoding="gzip", Cache_Control="max-age=600")
            elif path.startswith("/esi/"):
                self.reply(200, self.esi(path), Cache_Control="max-age=600")
            elif path.startswith("/304"):
                tag = ("ETag", '"same"')
                if self.headers.get("If-None-Match") == '"same"':
                    self.header(304, tag, public)
                else:
                    self.header(200, tag, public, ("Content-Length", "4"))
                    self.wfile.write(b"same")
            elif path.startswith("/nothing"):
                self.header(204, ("X-Empty", ""))
            elif path.startswith("/rich"):
                many = [("X-Twice", "one"), ("X-Twice", "two"), ("X-Empty", ""), ("X-Remove", "x")]
                many += [(f"X-More-{n}", f"value {n} \xe9\xff") for n in range(30)]
                self.header(200, ("Content-Length", "0"), public, text, *many)
            elif path.startswith("/old"):
                self.protocol_version = "HTTP/1.0"
                self.close_connection = True
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)
            else:
                super().reply(200, body, Cache_Control="max-age=600", ETag='"1"',
                              Last_Modified=STAMP, X_Remove="please", X_Twice="only once")

        do_HEAD = do_GET

        def upgrade(self):
            """A websocket's opening, then whatever comes back as it came."""
            self.send_response(101, "Switching Protocols")
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            while some := self.connection.recv(65_536):
                self.connection.sendall(some)
            self.close_connection = True

        @staticmethod
        def esi(path):
            if path.endswith("broken"):
                return b"<p><esi:include bad/><esi:remove>never ended"
            part = '<esi:include src="/fragment/{}{}"/>\n'
            inner = '<esi:include src="/esi/inner"/>' if path.endswith("outer") else ""
            return f"<p>{part.format(1, path)}{part.format(2, '')}{inner}</p>\n".encode()

        def do_POST(self):
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                length = 0
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    length += len(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
            else:
                length = int(self.headers.get("Content-Length", 0))
                self.rfile.read(length)
            self.reply(201, f"took {length} bytes\n".encode())

        do_PUT = do_POST

        def do_OPTIONS(self):
            self.header(200, ("Allow", "GET, HEAD, OPTIONS"), ("Content-Length", "0"))

        do_DELETE = do_OPTIONS

        def handle(self):
            with contextlib.suppress(OSError):
                super().handle()


class Client:
    """A connection that is kept, and made anew when it is gone."""

    def __init__(self, port, opening=b""):
        self.port, self.opening, self.socket = port, opening, None

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port), rig.PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(self.opening)

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def exchange(self, request, method="GET"):
        """Sends bytes and reads one answer; its status, or None when the connection just ended."""
        for part in request if isinstance(request, list) else [request]:
            if self.socket is None:
                self.connect()
            self.socket.sendall(part)
        answer = http.client.HTTPResponse(self.socket, method=method)
        try:
            answer.begin()
            answer.read()
            if answer.will_close:
                self.close()
            return answer.status
        except (http.client.HTTPException, OSError, ValueError):
            self.close()
            return None
        finally:
            answer.close()


def bytes_of(text):
    return text if isinstance(text, bytes) else text.encode()


class Site:
    """Where requests go, how many of them, and what was sent."""

    def __init__(self, port, proxy, place, scale):
        self.port, self.proxy, self.place, self.scale = port, proxy, place, scale
        self.sent = collections.Counter()
        self.calls = collections.Counter()
        self.lock = threading.Lock()
        self.numbers = collections.Counter()

    def new(self, kind, expected=1):
        """The name of a new request; `expected` lines are to be logged for it."""
        with self.lock:
            self.numbers[kind] += 1
            name = f"{kind}.{self.numbers[kind]}"
            if expected:
                self.sent[name] = expected
            return name

    def head(self, name, path, *lines, method="GET", version="HTTP/1.1"):
        """A request's head. Some are logged from vcl_recv on, the others where they end."""
        parts = [b" ".join(map(bytes_of, (method, path, version)))]
        if version != "HTTP/1.0":
            parts.append(b"Host: www.example.com")
        parts.append(b"X-Id: " + name.encode())
        if int(name.rsplit(".", 1)[1]) % 3 == 0:
            parts.append(b"X-Log: recv")
        return b"\r\n".join([*parts, *map(bytes_of, lines), b"", b""])

    def ask(self, client, kind, path, *lines, body=b"", method="GET", version="HTTP/1.1"):
        name = self.new(kind)
        path = bytes_of(path).replace(b"@", name.encode())
        return client.exchange(
            self.head(name, path, *lines, method=method, version=version) + body, method
        )


USUAL = ("User-Agent: oracle/1.0 (\"quoted\" \\ back)", "Referer: http://www.example.com/?q=1",
         "X-Gone: soon", "Cookie: a=1; b=2")
FILLER = "X-Filler: " + "f" * 220
BASIC = "Authorization: Basic "


def basic(text):
    return BASIC + base64.b64encode(bytes_of(text)).decode()


def simple():
    """Kinds that are one exchange: name, how many, path, header lines, and how else."""
    yield "hit", 700, "/hit", USUAL, {}
    yield "hit-many-urls", 200, "/hit/@?id=@", USUAL, {}
    yield "miss", 250, "/fresh/@?x=1&y=%20", USUAL[:3], {}
    yield "hit-for-miss", 120, "/hfm", USUAL[:2], {}
    yield "hit-for-pass", 120, "/hfp", USUAL[:2], {}
    yield "pass", 200, "/pass/@?", USUAL, {}
    yield "pass-by-cookie", 60, "/cookie/@", USUAL, {}
    yield "synth", 150, "/synth?@", USUAL, {}
    yield "redirect", 60, "/redirect", (), {}
    yield "restart", 120, "/restart/@?x", USUAL, {}
    yield "restart-from-deliver", 60, "/deliver-restart/@", (), {}
    yield "restart-of-a-hit", 60, "/hit-restart", (), {}
    yield "restart-with-long-values", 40, "/long-restart/@", (FILLER,), {}
    yield "too-many-restarts", 20, "/too-many-restarts/@", (), {}
    yield "rewritten", 40, "/rewritten/@", (FILLER,), {}
    yield "odd-status", 40, "/teapot/@", (), {}
    yield "over-a-second", 8, "/busy/second/@", (), {}
    yield "forwarded", 40, "/pass/x", ("X-Forwarded-For: 192.0.2.1", "Via: 1.0 before"), {}
    yield "esi-broken", 20, "/esi/broken", (), {}
    yield "overflow-fetch", 20, "/pass/overflow", (*USUAL, FILLER), {}
    yield "synth-from-deliver", 60, "/deliver-synth", (), {}
    yield "conditional-304", 120, "/cond", ('If-None-Match: "1"',), {}
    yield "if-modified-since", 60, "/cond", (f"If-Modified-Since: {STAMP}",), {}
    yield "range-206", 80, "/range", ("Range: bytes=10-99",), {}
    yield "range-suffix", 40, "/range", ("Range: bytes=-5",), {}
    yield "range-416", 60, "/range", ("Range: bytes=999999-",), {}
    yield "range-bad", 40, "/range", ("Range: bytes=abc",), {}
    yield "head", 120, "/head", USUAL, {"method": "HEAD"}
    yield "head-pass", 60, "/pass/head", (), {"method": "HEAD"}
    yield "post", 120, "/post/@", ("Content-Length: 1000",), {"method": "POST", "body": b"x" * 1000}
    yield "post-by-default", 40, "/form", ("Content-Length: 3",), {"method": "POST", "body": b"a=b"}
    yield "post-ignored", 60, "/synth/post", ("Content-Length: 4",), {
        "method": "POST", "body": b"1234"}
    yield "put-chunked", 100, "/put/@", ("Transfer-Encoding: chunked",), {
        "method": "PUT", "body": b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"}
    yield "options", 80, "/pass/options", (), {"method": "OPTIONS"}
    yield "delete", 40, "/things/@", (), {"method": "DELETE"}
    yield "unknown-method", 40, "/frob", (), {"method": "FROB"}
    yield "purge", 40, "/purge", (), {}
    yield "gzip", 100, "/gzip/1", ("Accept-Encoding: gzip, br",), {}
    yield "gunzip-for-client", 100, "/gzip/1", (), {}
    yield "gunzip-at-fetch", 60, "/gunzip/@", ("Accept-Encoding: gzip",), {}
    yield "gzip-at-fetch", 60, "/gzipper/@", ("Accept-Encoding: gzip",), {}
    yield "slow-origin", 60, "/slow/@", USUAL, {}
    yield "busy-object", 60, "/busy/1", (), {}
    yield "revalidated", 60, "/304", (), {}
    yield "grace", 60, "/hit-grace", (), {}
    yield "origin-dead-503", 80, "/dead/@", (), {}
    yield "origin-closes-503", 60, "/early/@", (), {}
    yield "origin-closes-retried", 40, "/early-retry/@", (), {}
    yield "origin-breaks-off", 40, "/reset/@", (), {}
    yield "retry", 60, "/retry/@", (), {}
    yield "abandon", 40, "/abandon/@", (), {}
    yield "vcl-fail", 40, "/fail-recv", (), {}
    yield "vcl-fail-response", 40, "/fail-response/@", (), {}
    yield "no-content", 60, "/nothing/@", (), {}
    yield "old-origin", 40, "/old/@", (), {}
    yield "many-response-headers", 60, "/rich", (), {}
    yield "esi", 80, "/esi/1", (), {}
    yield "esi-gzip", 60, "/esi/zipped", ("Accept-Encoding: gzip",), {}
    yield "esi-gunzip", 40, "/esi/zipped", (), {}
    yield "esi-nested", 40, "/esi/outer", (), {}
    yield "long-url", 80, "/hit/" + "u" * 300 + "?" + "q" * 200, USUAL, {}
    yield "long-query", 80, "/miss/@?" + "abc=%41&" * 200, USUAL, {}
    yield "long-header", 80, "/hit", ("X-Long: " + "L" * 3000, "User-Agent: " + "a b " * 90), {}
    yield "long-response-header", 60, "/pass/long", ("X-Long-O: " + "o" * 1000,), {}
    yield "long-authorization", 40, "/pass/auth", (basic("u" * 400 + ":p"),), {}
    yield "edge-of-a-record", 90, "/hit", [f"X-Long: {'e' * n}" for n in (246,)], {}
    yield "many-headers", 60, "/hit", [f"X-{n}: {n * n}" for n in range(50)], {}
    yield "repeated-headers", 80, "/hit", (
        "X-Twice: first", "X-Twice: second", "x-twice: third", "User-Agent: a", "user-agent: b"), {}
    yield "empty-headers", 60, "/hit", ("X-Empty:", "Referer: ", "User-Agent:   "), {}
    yield "non-ascii", 80, b"/odd/\xc3\xa9\xff\xfe?\xf0\x9f\xa6\x80=\x80", (
        b"X-Odd: caf\xc3\xa9 \xe9 \xff\x80", b"User-Agent: \xc0\xaf\"\\x41"), {}
    yield "tabs-and-quotes", 60, '/hit?"quoted"\\back', (
        b"X-Odd: \ttab\there\t", b'Referer: "\\" \\"', b"X-Twice:no space"), {}
    yield "host-odd", 40, "/hit", ("User-Agent: host",), {}
    yield "absolute-url", 40, "http://absolute.example/hit?x", (), {}
    yield "question-marks", 40, "/hit?a?b??c", (), {}
    yield "only-question-mark", 40, "/hit?", (), {}
    yield "star", 20, "*", (), {"method": "OPTIONS"}
    yield "basic", 80, "/pass/auth", (basic("aladdin:open sesame"),), {}
    yield "basic-no-colon", 30, "/pass/auth", (basic("nobody"),), {}
    yield "basic-empty-user", 30, "/pass/auth", (basic(":x"),), {}
    yield "basic-odd-user", 40, "/pass/auth", (basic(b"\xe9\"\\\t\n\x01\xff:x"),), {}
    yield "basic-nul", 30, "/pass/auth", (basic(b"ab\0cd:x"),), {}
    yield "basic-invalid", 40, "/pass/auth", (BASIC + "!!!not base64!!!",), {}
    yield "basic-unpadded", 30, "/pass/auth", (BASIC + "YWxhZGRpbg",), {}
    yield "basic-odd-case", 30, "/pass/auth", ("authorization: bAsIc   YTpi",), {}
    yield "bearer", 30, "/pass/auth", ("Authorization: Bearer abc",), {}
    yield "close", 100, "/hit", ("Connection: close",), {}
    yield "http-1.0", 80, "/hit", USUAL, {"version": "HTTP/1.0"}
    yield "http-1.0-keep-alive", 40, "/hit", ("Connection: keep-alive",), {"version": "HTTP/1.0"}
    yield "label", 120, "/label/@", USUAL, {}
    yield "overflow", 30, "/overflow", (*USUAL, FILLER), {}
    yield "expect-100", 40, "/post/@", ("Expect: 100-continue", "Content-Length: 4"), {
        "method": "POST", "body": b"wait"}
    yield "rollback", 40, "/ends/rollback/@", USUAL, {}
    yield "rollback-in-nested-fragments", 30, "/ends/rollback-esi/2", (), {}
    yield "label-in-fragments", 20, "/ends/label-esi/2", (), {}
    for where in "recv hash miss hit pass purge pipe deliver synth fetch response error".split():
        # A pipe's answer to a failure, and a minimal one, end the connection.
        yield f"fail-in-{where}", 30, f"/ends/fail-{where}/" + "x" * (where == "hit"), USUAL, {}
    yield "fail-in-synth-after-fail", 30, "/ends/fail-recv/fail-synth/@", USUAL, {}
    yield "restart-after-fail", 30, "/ends/fail-recv/restart/@", USUAL, {}
    for when in ("before", "after", "deliver", "synth"):
        yield f"workspace-used-up-{when}", 30, f"/ends/workspace-{when}/@", USUAL, {}
    yield "body-on-get", 40, "/pass/body", ("Content-Length: 5",), {"body": b"hello"}


def pipe(site, client):
    name = site.new("pipe")
    body = b"p" * 500
    lines = [*USUAL, f"Content-Length: {len(body)}"]
    with contextlib.closing(Client(site.port)) as own:
        own.exchange(site.head(name, "/pipe/x?id=" + name, *lines, method="POST") + body)


def pipe_dead(site, client):
    """A pipe to a backend that is not there."""
    name = site.new("pipe-dead")
    with contextlib.closing(Client(site.port)) as own:
        own.exchange(site.head(name, "/pipe-dead"))


def websocket(site, client):
    """An upgrade, bytes in both directions, and the end."""
    name = site.new("websocket")
    lines = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    with contextlib.closing(Client(site.port)) as own:
        own.connect()
        own.socket.sendall(site.head(name, "/ends/upgrade?id=" + name, *lines))
        with own.socket.makefile("rb") as answer:
            while answer.readline() not in (b"\r\n", b""):
                pass
            for size in (1, 100, 5000):
                own.socket.sendall(b"w" * size)
                answer.read(size)


def gone_while_waiting(site, client):
    """Goes away while the origin has the request."""
    name = site.new("gone-while-waiting")
    path = "/ends/held/" + name
    own = Client(site.port)
    own.connect()
    own.socket.sendall(site.head(name, path, *USUAL))
    HELD.arrived(path)
    own.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    own.close()
    HELD.release(path)


def proxied(site, client):
    opening = b"PROXY TCP4 192.0.2.33 198.51.100.4 4711 443\r\n"
    with contextlib.closing(Client(site.proxy, opening)) as own:
        for name, path in (("proxy-v1", "/hit"), ("proxy-v1-pass", "/pass/proxy")):
            site.ask(own, name, path, *USUAL)


def proxied_v6(site, client):
    opening = b"PROXY TCP6 2001:db8::33 2001:db8::4 4711 443\r\n"
    with contextlib.closing(Client(site.proxy, opening)) as own:
        site.ask(own, "proxy-v1-ipv6", "/hit", *USUAL)


def aborted(site, client):
    """Goes away in mid body, with a reset."""
    name = site.new("abort")
    own = Client(site.port)
    own.connect()
    own.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    own.socket.sendall(site.head(name, "/abort/" + name))
    own.socket.recv(2000)
    own.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    own.close()


def aborted_early(site, client):
    """Goes away before the answer."""
    name = site.new("abort-early")
    own = Client(site.port)
    own.connect()
    own.socket.sendall(site.head(name, "/busy/" + name))
    time.sleep(0.02)
    own.close()


def aborted_upload(site, client):
    """Promises more body than it sends."""
    name = site.new("abort-upload")
    own = Client(site.port)
    own.connect()
    own.socket.sendall(site.head(name, "/post/x", "Content-Length: 1000", method="POST") + b"half")
    time.sleep(0.02)
    own.close()


def pipelined(site, client):
    names = [site.new("pipelined") for _ in range(3)]
    with contextlib.closing(Client(site.port)) as own:
        own.connect()
        own.socket.sendall(b"".join(site.head(name, "/hit", *USUAL) for name in names[:2])
                           + site.head(names[2], "/hit", "Connection: close"))
        while own.socket.recv(65_536):
            pass


def split(site, client):
    """A head that comes in pieces."""
    name = site.new("slow-client")
    head = site.head(name, "/hit", *USUAL)
    with contextlib.closing(Client(site.port)) as own:
        own.connect()
        for at in range(0, len(head), 60):
            own.socket.sendall(head[at : at + 60])
            time.sleep(0.005)
        own.exchange(b"")


def rejected(site, client):
    """What Varnish answers itself, without VCL: neither side may log it."""
    for request in (
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Odd: \x01\x02\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ):
        site.new("rejected", 0)
        with contextlib.closing(Client(site.port)) as own:
            own.exchange(request)


def too_many(site, client):
    """More headers than http_max_hdr (64)."""
    site.new("rejected", 0)
    with contextlib.closing(Client(site.port)) as own:
        many = b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(80))
        own.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n" + many + b"\r\n")


def no_host(site, client):
    name = site.new("no-host")
    with contextlib.closing(Client(site.port)) as own:
        own.exchange(f"GET /hit HTTP/1.1\r\nX-Id: {name}\r\n\r\n".encode())


CALLS = {
    # where .log() is called, path, then the status and side of the record expected
    "recv": ("/calls/@", "200", "c"),
    "recv-deliver": ("/hit", "200", "c"),
    "hash-miss-deliver": ("/calls/@", "200", "c"),
    "pass": ("/pass/@", "200", "c"),
    "deliver": ("/hit", "200", "c"),
    "synth": ("/synth", "418", "c"),
    "pipe": ("/pipe/@", "-", "c"),
    "fetch": ("/calls/@", "200", "b"),
    "response": ("/calls/@", "200", "b"),
    "error": ("/dead/@", "503", "b"),
    "fetch-response": ("/pass/@", "200", "b"),
    "recv-restart": ("/restart/@?x", "200", "c"),
    "label": ("/label/@", "200", "c"),
    "nowhere": ("/hit", None, None),
}


def calls(site, client):
    """.log() in each subroutine gives one record each, with what .set() put."""
    for where, (path, status, side) in CALLS.items():
        name = site.new("log-in-" + where)
        path = path.replace("@", name)
        with contextlib.closing(Client(site.port)) as own:
            own.exchange(site.head(name, path, f"X-Where: {where}"))
        key = "-" if side == "b" else "set again in recv"
        if status == "200" and side == "c":
            key = "set in label" if where == "label" else "set in deliver"
        if status:
            site.calls[name, where, side, status, key] += 1


def h2load(site, kind, count, path, *options):
    """HTTP/2, ten streams at a time; what names the request is in its URL."""
    names = [site.new(kind) for _ in range(count)]
    urls = site.place.directory / f"{kind}.urls"
    urls.write_text("".join(f"http://127.0.0.1:{site.port}{path}?id={n}\n" for n in names))
    command = ["h2load", "-c", "1", "-m", "10", "-n", str(count), "-i", urls, *options]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


class Multiplexed(Client):
    """A connection of HTTP/2, frame by frame."""

    def __init__(self, port):
        # A stream may have 16 KiB under way, so that three of them fit into the connection's 64 KiB.
        window = struct.pack("!HI", 4, 1 << 14)
        super().__init__(port, h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0, window))
        self.connect()
        self.answers = self.socket.makefile("rb")
        # Varnish 9.0 leaves what comes right behind the preface until more comes.
        any(kind == h2.SETTINGS for kind, *_ in h2.frames(self.answers))

    def close(self):
        self.answers.close()
        super().close()

    def ask(self, stream, name, path):
        name, path = name.encode(), path.encode()
        head = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", path)]
        head += [(b":authority", b"h2.example"), (b"x-id", name), (b"cookie", b"a=1")]
        self.send(h2.HEADERS, h2.END_HEADERS_AND_STREAM, stream, h2.headers(head))

    def send(self, *what):
        # Varnish may have ended the connection.
        with contextlib.suppress(OSError):
            self.socket.sendall(h2.frame(*what))

    def ping(self):
        """Waits until the other side has read all that was sent."""
        self.send(h2.PING, 0, 0, b"12345678")
        any(kind == h2.PING and flags & h2.ACK for kind, flags, *_ in h2.frames(self.answers))


def h2_aborted(site, client):
    """Three streams of one connection: one is reset in mid body, then the client goes away."""
    with contextlib.closing(Multiplexed(site.port)) as own:
        waiting = set()
        for stream in (1, 3, 5):
            name = site.new("http2-abort")
            own.ask(stream, name, "/abort/" + name)
            waiting.add(stream)
        for kind, _, stream, _ in h2.frames(own.answers):
            waiting.discard(stream if kind == h2.DATA else 0)
            if not waiting:
                break
        own.send(h2.RST_STREAM, 0, 1, h2.CANCEL)
        own.ping()


def h2_held(kind, end):
    """A request that its client gives up by `end` while the origin has it."""

    def session(site, client):
        name = site.new(kind)
        path = "/ends/held/" + name
        own = Multiplexed(site.port)
        own.ask(1, name, path)
        HELD.arrived(path)
        end(own)
        HELD.release(path)
        own.close()

    session.kind = kind
    return session


def h2_reset(own):
    own.send(h2.RST_STREAM, 0, 1, h2.CANCEL)
    own.ping()


def h2_goaway(own):
    own.send(h2.GOAWAY, 0, 0, struct.pack("!II", 0, 0))
    # Varnish does not say that it has read it.
    time.sleep(0.02)


def h2_gone(own):
    own.close()
    time.sleep(0.02)


def h2_reset_of_nothing(site, client):
    """A reset of a stream that was never opened: the connection's end, and no request's."""
    site.new("http2-reset-of-nothing", 0)
    with contextlib.closing(Multiplexed(site.port)) as own:
        own.send(h2.RST_STREAM, 0, 1, h2.CANCEL)
        for _ in h2.frames(own.answers):
            pass


def sessions(site):
    """Kinds that have a connection of their own: how many times, and what to do."""
    yield 40, pipe
    yield 10, pipe_dead
    yield 40, proxied
    yield 20, proxied_v6
    yield 30, aborted
    yield 30, aborted_early
    yield 10, h2_aborted
    yield 20, h2_held("http2-reset-while-waiting", h2_reset)
    yield 20, h2_held("http2-goaway-while-waiting", h2_goaway)
    yield 20, h2_held("http2-gone-while-waiting", h2_gone)
    yield 5, h2_reset_of_nothing
    yield 20, websocket
    yield 20, gone_while_waiting
    yield 20, aborted_upload
    yield 20, pipelined
    yield 30, split
    yield 6, rejected
    yield 6, too_many
    yield 20, no_host
    yield 8, calls


def send(site, random, without=()):
    """Sends everything but the kinds in `without`, mixed, on several connections at a time."""
    jobs = []

    def times(count):
        return max(2, round(count * site.scale))

    for kind, count, path, lines, how in simple():
        if kind in without:
            continue
        for _ in range(times(count)):
            jobs.append(lambda client, a=(kind, path, *lines), h=how: site.ask(client, *a, **h))
    for count, what in sessions(site):
        if getattr(what, "kind", None) in without:
            continue
        jobs += [lambda client, what=what: what(site, client)] * times(count)
    random.shuffle(jobs)
    waiting = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    errors = []

    def worker():
        client = Client(site.port)
        try:
            while True:
                waiting.get_nowait()(client)
        except queue.Empty:
            pass
        except Exception as error:
            errors.append(error)
        client.close()

    work = [threading.Thread(target=worker) for _ in range(12)]
    body = site.place.directory / "h2.body"
    body.write_bytes(b"h2" * 20_000)
    agent = ("-H", "User-Agent: h2 \"load\"", "-H", "Cookie: a=1", "-H", "Cookie: b=2")
    load = [
        (h2load, "http2", times(250), "/h2/a", *agent),
        (h2load, "http2-pass", times(100), "/pass/h2", *agent),
        (h2load, "http2-synth", times(60), "/synth", *agent),
        (h2load, "http2-esi", times(20), "/esi/1"),
        (h2load, "http2-vcl-fail", times(20), "/fail-recv"),
        (h2load, "http2-restart", times(40), "/restart/h2"),
        (h2load, "http2-dead", times(20), "/dead/h2"),
        (h2load, "http2-slow", times(20), "/slow/h2"),
        (h2load, "http2-post", times(60), "/post/h2", "-d", str(body)),
        (h2load, "http2-head", times(40), "/head", "-H", ":method: HEAD"),
        (h2load, "http2-range", times(40), "/range", "-H", "Range: bytes=5-20"),
        (h2load, "http2-gzip", times(40), "/gzip/1", "-H", "Accept-Encoding: gzip"),
        (h2load, "http2-headers", times(40), "/hit", "-H", "X-Twice: 1", "-H", "X-Twice: 2",
         "-H", "X-Odd: caf\xe9", "-H", "X-Long: " + "2" * 700),
    ]

    def multiplexed():
        try:
            for what, *arguments in load:
                what(site, *arguments)
        except Exception as error:
            errors.append(error)

    work.append(threading.Thread(target=multiplexed))
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    if errors:
        raise errors[0]
