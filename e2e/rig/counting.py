"""A proxy before the S3 server that counts what is read through it.

Requests and answers pass as they are, so that signatures hold: the clients sign the proxy's address, which is
the Host that the server sees. Only requests without a body pass.
"""

import collections
import contextlib
import re
import socket
import threading
import urllib.parse

PIECE = 1 << 18
LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
CHUNKED = re.compile(rb"^transfer-encoding: *chunked", re.IGNORECASE | re.MULTILINE)
CLOSE = re.compile(rb"^connection: *close", re.IGNORECASE | re.MULTILINE)


class Counting:
    def __init__(self, host, port):
        self.server = (host, port)
        self.lock = threading.Lock()
        self.reset()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def reset(self):
        with self.lock:
            self.requests, self.bytes, self.objects = collections.Counter(), 0, set()

    def counts(self):
        """Objects that were read, the bytes of that, and all requests."""
        with self.lock:
            return len(self.objects), self.bytes, sum(self.requests.values())

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        """One connection of a client, and one to the server as long as it lasts."""
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            inward = stack.enter_context(client).makefile("rb", PIECE)
            server = stack.enter_context(socket.create_connection(self.server, timeout=60))
            outward = server.makefile("rb", PIECE)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (request := head(inward)) and self.relay(request, client, server, outward):
                pass

    def relay(self, request, client, server, outward):
        """Passes a request on, and what comes back; whether there may be another one."""
        method, target, _ = request.split(b" ", 2)
        path = urllib.parse.urlsplit(target.decode()).path
        # Of an object: what lists a bucket has no key.
        is_object = method == b"GET" and path.strip("/").count("/") > 0
        with self.lock:
            self.requests[method.decode()] += 1
            if is_object:
                self.objects.add(path)
        server.sendall(request)
        answer = head(outward)
        if not answer:
            return False
        client.sendall(answer)
        for piece, framing in body(method, answer, outward):
            if is_object and not framing:
                with self.lock:
                    self.bytes += len(piece)
            client.sendall(piece)
        ends = bodiless(method, answer) or LENGTH.search(answer) or CHUNKED.search(answer)
        return ends and not CLOSE.search(request + answer)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def head(source):
    """A request's or an answer's first lines, the blank one included; nothing at the end of a connection."""
    lines = []
    while (line := source.readline()) not in (b"\r\n", b""):
        lines.append(line)
    return b"".join([*lines, line]) if line else b""


def bodiless(method, answer):
    return method == b"HEAD" or answer.split(b" ", 2)[1] in (b"204", b"304")


def body(method, answer, source):
    """The pieces of an answer's body as they came, and whether each frames the others only."""
    if bodiless(method, answer):
        return
    if CHUNKED.search(answer):
        size = 1
        while size:
            line = source.readline()
            yield line, True
            size = int(line.split(b";")[0], 16)
            for piece in exactly(source, size):
                yield piece, False
            yield source.readline(), True
        return
    if length := LENGTH.search(answer):
        for piece in exactly(source, int(length[1])):
            yield piece, False
        return
    while piece := source.read1(PIECE):
        yield piece, False


def exactly(source, length):
    while length:
        piece = source.read1(min(length, PIECE))
        if not piece:
            raise ConnectionError("the server's answer ends early")
        length -= len(piece)
        yield piece
