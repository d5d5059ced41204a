"""A line to a port of loopback, such as the S3 server's: what goes over it can be slow, be held up, and be cut."""

import contextlib
import socket
import threading
import time

from e2e.rig.machine import free_ports


class Line:
    """Carries what connects to its own port to another one, until it is cut. Its own is a free one unless it is given."""

    PIECE = 1 << 16

    def __init__(self, to, port=None):
        self.to, self.port, self.open, self.listener = to, port or free_ports(1)[0], [], None
        self.connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def listen(self):
        return socket.create_server(("127.0.0.1", self.port), backlog=128)

    def connect(self):
        """The port takes connections."""
        self.listener = self.listen()
        threading.Thread(target=self.accept, args=[self.listener], daemon=True).start()

    def cut(self):
        """Nobody answers at the port any more, and what was open breaks."""
        for side in [self.listener, *self.open]:
            # Closing alone wakes no thread that waits for it.
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.join, args=[client], daemon=True).start()

    def join(self, client):
        """One connection, from its beginning to its end."""
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self.to)) as server:
            self.open += [client, server]
            back = threading.Thread(target=self.carry, args=[server, client], daemon=True)
            back.start()
            self.carry(client, server)
            back.join()
            self.open.remove(client)
            self.open.remove(server)

    def carry(self, one, other):
        """What one side says, to the other side."""
        with contextlib.suppress(OSError):
            while (piece := one.recv(self.PIECE)) and self.pass_on(piece, other):
                pass
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def pass_on(self, piece, other):
        """Hands a piece on; whether more may follow it."""
        other.sendall(piece)
        return True


class SlowLine(Line):
    """One that carries so many bytes a second of each connection."""

    PIECE = 4096

    def __init__(self, to, rate):
        self.rate = rate
        super().__init__(to)

    def listen(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # As on a network, and not as on loopback, whose packets of 64 KiB make the kernel keep a whole block.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        return listener

    def pass_on(self, piece, other):
        super().pass_on(piece, other)
        time.sleep(len(piece) / self.rate)
        return True
