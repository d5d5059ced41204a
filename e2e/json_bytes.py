"""Whatever bytes a client sends, each line is JSON and gives them back.

Every byte from 0x01 to 0xff goes through a real varnishd in a URL, a query, a header's name and
value, a cookie and a user name, by itself and among others; so do UTF-8 that is right, wrong and
cut, the private characters that the mapping uses, and random bytes. What Varnish answers with 400
before any VCL runs is no record; every other request must have one line that Python's `json`
reads, and the bytes sent must be its values again, by the mapping of `docs/formats.md`.
"""

import base64
import collections
import contextlib
import json
import random
import time

from e2e import oracle_kinds, rig

FORMAT = """{"id":%{X-Id}x,"method":"%m","url":"%U","query":"%q","line":"%r","value":"%{X-Value}i",
    "bare":%{X-Value}i,"agent":"%{User-Agent}i","cookie":"%{c}C","user":"%u","host":"%v",
    "status":%>s,"bytes":%B,"set":%{value}x,"log":"%{VCL_Log:value}x","us":%D,
    "header":"%{VSL:ReqHeader}x","none":%{No-Such}i}"""

VCL = """vcl 4.1;
import s3log;
import std;
backend default none;
sub vcl_init {
    new lines = s3log.stream(dialect = "apache", endpoint = "@ENDPOINT@", bucket = "@BUCKET@",
        credentials = "@CREDENTIALS@", spool = "@SPOOL@", period = 1s, max_line = 65000,
        format = \"\"\"@FORMAT@\"\"\");
}
sub vcl_recv {
    std.log("value:" + req.http.X-Value);
    lines.set("X-Id", req.http.X-Id);
    lines.set("value", req.http.X-Value);
    return (synth(200));
}
sub vcl_synth {
    lines.log();
    synthetic("ok");
    return (deliver);
}
"""

BLANK = b" \t\n\x0b\x0c\r"


def original(text):
    """The bytes of a JSON string's value, as docs/formats.md has it."""
    return b"".join(
        bytes([ord(c) & 0xFF]) if 0xEF80 <= ord(c) <= 0xEFFF else c.encode() for c in text
    )


def samples(source, count):
    """Bytes to send: each one alone and inside, then UTF-8 of every sort, then random ones."""
    for byte in range(1, 256):
        yield bytes([byte])
        yield b"a" + bytes([byte]) + b"z"
    for text in ("\xe9", "\u20ac", "\U0001f980", "\u2028\u2029", "\ufeff", "\uef80\uefff\uef41"):
        whole = text.encode()
        yield whole
        yield whole[:-1]
        yield whole + whole[:1] + b'"'
    yield from (b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xee\xbe\x80")
    yield from (b"\xee\xbf\xbf", b"\\u0041", b'\\"', b"</script>", b'","x":"', b"%41%00", b"\\")
    yield from (b"null", b"-1", b"007", b"name-1", b"n" * 600)
    yield from (b"1e999", b"true", b"123456789012345678", b"1.", b"-", b"0.10", b"\xef\xbb\xbf{}")
    # Longer than vsl_reclen, so that the value comes from Varnish's structs.
    yield b"\xc3\xa9" * 400
    yield bytes(range(128, 256)) * 8
    for _ in range(count):
        alphabet = source.choice([range(33, 256), range(128, 256), b'"\\/\xc3\xa9\xf0\x9f\xa6\x80'])
        yield bytes(source.choice(alphabet) for _ in range(source.randrange(1, 60)))


def request(place, name, value):
    """A request's head that has `value` in one place."""
    target, lines = b"/x?y", [b"X-Id: " + name]
    if place == "url":
        target = b"/p/" + value
    elif place == "query":
        target = b"/p?q=" + value
    elif place == "header":
        lines.append(b"X-Value:" + value)
    elif place == "agent":
        lines.append(b"User-Agent: " + value)
    elif place == "name":
        # First, because the first of these records is the one that is printed.
        lines.insert(0, b"X-" + value + b": odd name")
    elif place == "cookie":
        lines.append(b"Cookie: a=1; c=" + value + b"; d=2")
    elif place == "user":
        lines.append(b"Authorization: Basic " + base64.b64encode(value + b":secret"))
    elif place == "host":
        lines.append(b"Host: " + value)
    elif place == "method":
        return value + b" /x?y HTTP/1.0\r\n" + b"\r\n".join([*lines, b"", b""])
    return b"GET " + target + b" HTTP/1.0\r\n" + b"\r\n".join([*lines, b"", b""])


PLACES = ("url", "query", "header", "agent", "name", "cookie", "user", "host", "method")


def expected(place, value):
    """What the line's values must be: bytes by name."""
    trimmed = value.strip(BLANK)
    if place in ("url", "query"):
        # Blanks before the protocol are none of the URL's.
        url = (b"/p/" + value if place == "url" else b"/p?q=" + value).rstrip(b" ")
        path, mark, query = url.partition(b"?")
        return {"url": path, "query": mark + query, "line": b"GET " + url + b" HTTP/1.0"}
    if place == "header":
        return {"value": trimmed, "bare": trimmed, "set": trimmed, "log": trimmed}
    if place == "agent":
        return {"agent": trimmed}
    if place == "name":
        # A log record, which Varnish cuts; nothing else says what a header is called.
        return {"header": (b"X-" + value + b": odd name")[:254].strip(BLANK)}
    if place == "cookie":
        return {"cookie": value.partition(b";")[0].strip(BLANK)}
    if place == "user":
        return {"user": value.partition(b":")[0].partition(b"\0")[0]}
    return {"host" if place == "host" else "method": trimmed}


def value_bytes(value):
    """A JSON value as bytes; a number or a name as it is written."""
    if isinstance(value, str):
        return original(value)
    return json.dumps(value).encode()


def check(place, value, row):
    """The names of values that are not what was sent."""
    wrong = []
    for name, bytes_sent in expected(place, value).items():
        read = row[name]
        if name in ("bare", "set"):
            # Unquoted: a number, true, false, null; else a string.
            same = value_bytes(read) == bytes_sent or isinstance(read, float)
            if isinstance(read, float):
                same = float(bytes_sent) == read
        else:
            same = isinstance(read, str) and original(read) == bytes_sent
        if name == "log" and len(bytes_sent) > 240:
            same = bytes_sent.startswith(original(read)[:200])
        if not same:
            wrong.append((name, read, bytes_sent))
    numbers = isinstance(row["status"], int) and isinstance(row["us"], int)
    if not numbers or row["none"] is not None:
        wrong.append(("numbers", row, None))
    return wrong


def arguments(parser):
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--random", type=int, default=120, help="random values in each place")


def prove(place, options):
    began = time.monotonic()
    source = random.Random(options.seed)
    place.s3.start()
    text = VCL.replace("@ENDPOINT@", place.s3.endpoint).replace("@BUCKET@", rig.BUCKET)
    text = text.replace("@CREDENTIALS@", str(place.s3.credentials)).replace("@FORMAT@", FORMAT)
    path = place.directory / "json.vcl"
    path.write_text(text.replace("@SPOOL@", str(place.spool)))
    varnish = place.start_varnish(path)
    sent, refused = {}, collections.Counter()
    for where in PLACES:
        for value in samples(source, options.random):
            name = f"{where}-{len(sent)}"
            client = oracle_kinds.Client(varnish.port)
            status = client.exchange(request(where, name.encode(), value))
            client.close()
            if status == 200:
                sent[name] = where, value
            else:
                refused[where, status] += 1
    lines = []

    def all_there():
        lines[:] = place.cat("lines")
        return len(lines) >= len(sent)

    with contextlib.suppress(TimeoutError):
        rig.wait_for("a line for each request", all_there, step=0.5)
    failures, seen = 0, collections.Counter()
    for line in lines:
        try:
            row = json.loads(line)
            line.decode()
            name = row["id"]
            wrong = check(*sent[name], row)
        except (ValueError, KeyError) as error:
            name, wrong = None, [(repr(error), line, None)]
        seen[name] += 1
        for what in wrong:
            failures += 1
            if failures < 20:
                print(f"  FAIL {sent.get(name)}: {what}")
    for name in sent:
        if seen[name] != 1:
            failures += 1
            print(f"  FAIL {name}: {seen[name]} lines")
    for where in PLACES:
        values = [value for place_of, value in sent.values() if place_of == where]
        single = {byte for value in values for byte in value}
        bad = sum(n for (place_of, _), n in refused.items() if place_of == where)
        print(
            f"{where:7} {len(values):5} lines, {len(single):3} different bytes; "
            f"Varnish refused {bad} requests"
        )
    print(f"{len(lines)} lines read as JSON, {failures} values or lines not as sent")
    print(f"{time.monotonic() - began:.0f} s, seed {options.seed}")
    if len(lines) != len(sent):
        failures += 1
    return [f"{failures} values or lines are not as sent"] if failures else []
