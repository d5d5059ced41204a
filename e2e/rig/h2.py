"""Frames of HTTP/2 and headers in HPACK, without its tables and codes."""

import contextlib
import struct

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
# Flags.
END_HEADERS_AND_STREAM, ACK, END_STREAM = 5, 1, 1
# The error code of a client that does not want a stream any more.
CANCEL = struct.pack("!I", 8)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    """A frame (RFC 9113, 4.1)."""
    return struct.pack("!IBI", len(payload) << 8 | kind, flags, stream) + payload


def frames(answers):
    """The type, flags, stream and payload of each frame that a file of a socket gives, until the end."""
    with contextlib.suppress(OSError):
        while len(start := answers.read(9)) == 9:
            payload = answers.read(int.from_bytes(start[:3], "big"))
            yield start[3], start[4], int.from_bytes(start[5:], "big"), payload


def headers(pairs):
    """Headers that HPACK neither indexes nor compresses (RFC 7541, 6.2.2)."""
    return b"".join(b"\0" + text(name) + text(value) for name, value in pairs)


def text(value):
    """A string (RFC 7541, 5.2), behind its length (5.1)."""
    length = len(value)
    if length < 127:
        return bytes((length,)) + value
    length, out = length - 127, b"\x7f"
    while length >= 128:
        out += bytes((length % 128 + 128,))
        length //= 128
    return out + bytes((length,)) + value
