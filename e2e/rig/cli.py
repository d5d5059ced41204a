"""Varnish's CLI: a command to varnishd's manager, and what it says.

varnishadm does the same, but gives varnishd five seconds to let it in: its -t is for the command's answer alone, and
before 7.1 for nothing. The limit here is the caller's, for each answer.
"""

import hashlib
import re
import socket


AUTHENTICATE, OK, TRUNCATED, LOST = 107, 200, 201, 400
# "200 12345   \n", and a line break after the text that it announces.
HEAD = 13
CHALLENGE = 32


def ask(port, secret, words, seconds):
    """The status and the text with which varnishd answers a command.

    `secret` is the file of varnishd's -S, `seconds` the limit of each answer. The status is LOST, as varnishd has it for
    a cache process that does not answer, where varnishd itself is not there, does not answer in time or goes away."""
    try:
        return talk(port, secret, words, seconds)
    except OSError as error:
        return LOST, f"varnishd's CLI: {error}"


def talk(port, secret, words, seconds):
    with socket.create_connection(("127.0.0.1", port), seconds) as line, line.makefile("rb") as answers:
        status, text = answer(answers)
        if status == AUTHENTICATE:
            challenge = text[:CHALLENGE]
            proof = hashlib.sha256(challenge + b"\n" + secret.read_bytes() + challenge + b"\n")
            line.sendall(f"auth {proof.hexdigest()}\n".encode())
            status, text = answer(answers)
        if status == OK:
            line.sendall(" ".join(map(escaped, words)).encode() + b"\n")
            status, text = answer(answers)
        return status, text.decode(errors="replace")


def escaped(word):
    """A word as the CLI reads it back, without quotes: 7.1 misses a separator between two words in quotes."""
    return re.sub(r'[ \t\n\r\f\v"\\]', lambda found: f"\\{ord(found[0]):03o}", word) or '""'


def answer(answers):
    head = read(answers, HEAD)
    status, length = map(int, head.split())
    return status, read(answers, length + 1)[:-1]


def read(answers, length):
    found = answers.read(length)
    if len(found) != length:
        raise ConnectionError("varnishd has closed its CLI")
    return found
