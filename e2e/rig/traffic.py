"""Requests with ids: what was answered, when, on which connection, and what came after it there.

A record is pushed when its request has finished in Varnish, which is after the client has the
answer; how long after is nobody's to say. But a worker finishes one request of a connection before
it begins the next: an answer that another one follows on its connection is one whose record is in
the ring. Only the last answer before a connection ends with the cache process may have none.

Raw sockets and threads of Python's own: a client that stops to be answered in the middle of a
batch knows which of its requests were.
"""

import collections
import contextlib
import random
import socket
import threading
import time

from e2e.rig.machine import PATIENCE

Answer = collections.namedtuple("Answer", "id at connected status last")


class Client(threading.Thread):
    """One connection after the other; batches of 1 to `batch` requests, pipelined."""

    def __init__(self, name, port, seed, batch=8, pause=0.0, path="/h/"):
        super().__init__(daemon=True)
        self.prefix, self.port, self.batch, self.pause, self.path = name, port, batch, pause, path
        self.random = random.Random(seed)
        self.answered = []  # (id, time of the answer, time of the connection, status)
        self.finished = None  # the time of the connection whose last answer was followed by another
        self.halt, self.hold = threading.Event(), threading.Event()
        self.failures = 0
        self.number = 0  # of the next request; never used again, answered or not

    def run(self):
        while not self.halt.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
                    self.serve(connection, time.monotonic())
            except OSError:
                self.failures += 1
                time.sleep(0.01)

    def serve(self, connection, connected):
        buffer = b""
        while not self.halt.is_set():
            batch = range(self.number, self.number + self.random.randint(1, self.batch))
            self.number = batch.stop
            ids = [f"{self.prefix}-{number}" for number in batch]
            request = "GET {}{} HTTP/1.1\r\nHost: edge\r\n\r\n"
            connection.sendall("".join(request.format(self.path, i) for i in ids).encode())
            for name in ids:
                status, buffer = self.read(connection, buffer)
                self.answered.append((name, time.monotonic(), connected, status))
            if self.pause:
                time.sleep(self.pause * self.random.random())
        if self.end(connection, buffer):
            self.finished = connected

    @classmethod
    def end(cls, connection, buffer):
        """Whether all that came before on the connection has finished: something else is answered."""
        # With 400, before any VCL runs: this leaves no record.
        connection.sendall(b"END\r\n\r\n")
        return cls.read(connection, buffer)[0] == 400

    def answers(self):
        """What was answered so far; the last answer of a connection is known by what follows it."""
        answered = list(self.answered)
        after = [answer[2] for answer in answered[1:]] + [self.finished]
        return [
            Answer(*answer, last=answer[2] != following)
            for answer, following in zip(answered, after, strict=True)
        ] if answered else []

    @staticmethod
    def read(connection, buffer):
        while b"\r\n\r\n" not in buffer:
            more = connection.recv(65536)
            if not more:
                raise ConnectionResetError("closed")
            buffer += more
        head, rest = buffer.split(b"\r\n\r\n", 1)
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(rest) < length:
            more = connection.recv(65536)
            if not more:
                raise ConnectionResetError("closed")
            rest += more
        return int(head.split(b" ", 2)[1]), rest[length:]


def answers(port, path, status):
    """Whether a request for `path`, on a connection of its own, is answered with `status`."""
    with contextlib.suppress(OSError, ValueError):
        with socket.create_connection(("127.0.0.1", port), 2) as probe:
            probe.settimeout(5)
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            probe.sendall(head.encode())
            return Client.read(probe, b"")[0] == status
    return False


def each(port, paths):
    """One request after the other on a connection. Each has finished, its record in the ring, when
    this returns."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        buffer = b""
        for path in paths:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: edge\r\n\r\n".encode())
            _, buffer = Client.read(connection, buffer)
        Client.end(connection, buffer)


class Traffic:
    """Several clients at once."""

    def __init__(self, port, threads=4, seed=0, **options):
        self.clients = [
            Client(f"r{seed}t{n}", port, seed * 1000 + n, **options) for n in range(threads)
        ]

    def start(self):
        for client in self.clients:
            client.start()
        return self

    def stop(self):
        for client in self.clients:
            client.halt.set()
        for client in self.clients:
            client.join(PATIENCE)
            if client.is_alive():
                raise RuntimeError(f"{client.prefix}: an answer does not come")
        return self.answered()

    def answered(self):
        return [answer for client in self.clients for answer in client.answers()]


class Deaths:
    """Ends of the cache process: when each began and when it was over."""

    def __init__(self):
        self.times = []  # (first moment it may have been dead, last moment it may have answered)

    def add(self, begin, end):
        self.times.append((begin, end))
        self.times.sort()

    def excuses(self, answer):
        """Whether an end of the process may have come before the record of this answer."""
        # On a connection made after the end it was the next process that answered. One made before
        # does not outlive it, however late the client reads what it was sent.
        return answer.last and any(answer.connected <= end for _, end in self.times)


class Verdict:
    """Answered requests against the ids in the bucket."""

    def __init__(self, answered, found, deaths):
        counts = collections.Counter(found)
        if len({answer.id for answer in answered}) != len(answered):
            raise ValueError("an id was used twice")
        self.answered, self.found = len(answered), len(counts)
        self.duplicated = sorted(name for name, count in counts.items() if count > 1)
        self.missing, self.excused, self.at_risk = [], [], 0
        for answer in answered:
            excused = deaths.excuses(answer)
            self.at_risk += excused
            if answer.id not in counts:
                (self.excused if excused else self.missing).append(answer)

    def ok(self):
        return not self.missing and not self.duplicated

    def __str__(self):
        return (
            f"answered {self.answered}, in the bucket {self.found}, missing {len(self.missing)}, "
            f"duplicated {len(self.duplicated)}; the last of a connection that an end of the process "
            f"cut {self.at_risk}, of which not in the bucket {len(self.excused)}"
        )

    def details(self, start, deaths, limit=40):
        lines = [
            f"  missing {answer.id} answered at {answer.at - start:.4f} s"
            for answer in self.missing[:limit]
        ]
        lines += [f"  twice {name}" for name in self.duplicated[:limit]]
        lines += [f"  an end from {a - start:.4f} to {b - start:.4f} s" for a, b in deaths.times]
        return "\n".join(lines)


def ids_of(lines):
    """The ids in lines that begin with the path."""
    return [line.split(b" ", 1)[0].rsplit(b"/", 1)[-1].decode() for line in lines]
