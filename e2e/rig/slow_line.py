"""A line between varnishd and the S3 server that is slower than loopback, and can be cut."""

import contextlib
import socket
import threading
import time

from e2e.rig.machine import free_ports


class SlowLine:
    """Carries connections to a port, each at so many bytes a second, until it is cut."""

    def __init__(self, port, rate):
        self.port, self.rate, self.open, self.listener = port, rate, [], None
        (self.address,) = free_ports(1)
        self.connect()

    def connect(self):
        """The address takes connections."""
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # As on a network, and not as on loopback, whose packets of 64 KiB make the kernel keep a whole block.
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self.listener.bind(("127.0.0.1", self.address))
        self.listener.listen()
        threading.Thread(target=self.accept, args=[self.listener], daemon=True).start()

    def cut(self):
        """Nobody answers at the address any more, and what was open breaks."""
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
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self.port)) as server:
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
            while piece := one.recv(4096):
                other.sendall(piece)
                time.sleep(len(piece) / self.rate)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)
