"""This module's lines against those of a real varnishncsa, byte for byte.

A real varnishd serves thousands of requests of many kinds, mixed and concurrent. Beside it run
`varnishncsa` for client requests, with -E for ESI fragments, and with -b for fetches, each with
the one format that the module's streams have: it names every specifier that both know. Lines are
paired by transaction number. Exit status 0 only if no line differs and no line is on one side
only, but for the exceptions that are listed in EXCEPTIONS and asserted.

With `--mask recommended` or `--mask none` the log is hidden from the module. varnishncsa reads an unmasked one: all
requests are sent twice to the same varnishd, once for each, and paired by kind and number (`e2e/masks.py`).
What the module cannot have then is listed and counted.
"""

import collections
import contextlib
import os
import pathlib
import random
import re
import signal
import subprocess
import time

from e2e import oracle_kinds, rig
from e2e.rig import say

ZONE = "Asia/Kathmandu"

HEADERS_IN = """Host User-Agent Referer X-Twice X-Empty X-Odd X-Long X-Set X-Gone X-Restarted
    Cookie Authorization Range If-None-Match Content-Length Transfer-Encoding Content-Type
    Accept-Encoding Via X-Forwarded-For X-Fetch Connection Expect""".split()
HEADERS_OUT = """Content-Type Content-Length Age Date Via Server ETag Location Content-Encoding
    Content-Range Transfer-Encoding Connection X-Cache X-Twice X-Empty X-Remove X-Long-O X-After
    X-Varnish Last-Modified Accept-Ranges""".split()
TAGS = """Begin Link ReqStart ReqStart[2] ReqStart[3] ReqMethod ReqURL ReqProtocol VCL_use VCL_call
    VCL_return VCL_return[1] VCL_Log VCL_Log[2] VCL_Log:key VCL_Log:again VCL_Error Hit Hit[2]
    Hit[3] HitMiss HitMiss[2] HitPass Timestamp Timestamp:Start Timestamp:Start[1] Timestamp:Req[3]
    Timestamp:Fetch Timestamp:Process[2] Timestamp:Resp Timestamp:Restart[1] Timestamp:Waitinglist
    Timestamp:ReqBody Timestamp:Bereq Timestamp:Beresp[2] Timestamp:BerespBody Timestamp:Error
    Timestamp:Pipe Timestamp:PipeSess RespStatus RespReason RespProtocol RespHeader:X-Cache
    RespUnset ReqUnset ReqHeader ReqHeader:X-Twice ReqHeader:Via[2] ReqAcct ReqAcct[1] ReqAcct[2]
    ReqAcct[4] PipeAcct PipeAcct[1] PipeAcct[4] BereqMethod BereqURL BereqHeader:X-Id BereqAcct
    BereqAcct[1] BereqAcct[2] BereqAcct[3] BereqAcct[4] BereqAcct[5] BereqAcct[6] BerespProtocol
    BerespStatus BerespReason BerespHeader:Content-Type BackendOpen[2] BackendOpen[3]
    BackendClose[3] TTL TTL[2] Storage Fetch_Body Filters FetchError BogoHeader
    LostHeader Gzip[1] Gzip[3] ESI_xmlerror End""".split()

# The name of each field and the specifier that prints it.
FIELDS = {
    "id": "%{X-Id}i",
    **{name: f"%{name}" for name in "b D H h I l m O q r s t T u U".split()},
    "strftime": "%{%Y-%m-%dT%H:%M:%S%z %Z %j %a %e %y %B %I %p %U}t",
    **{f"{unit}_t": f"%{{{unit}}}t" for unit in "sec msec usec msec_frac usec_frac".split()},
    **{f"{unit}_T": f"%{{{unit}}}T" for unit in "s ms us".split()},
    **{name: f"%{{Varnish:{name}}}x" for name in ("time_firstbyte", "hitmiss", "handling")},
    **{name: f"%{{Varnish:{name}}}x" for name in ("side", "vxid")},
    **{f"VCL_Log:{key}": f"%{{VCL_Log:{key}}}x" for key in ("key", "again", "no such key")},
    **{f"{name} in": f"%{{{name}}}i" for name in HEADERS_IN},
    **{f"{name} out": f"%{{{name}}}o" for name in HEADERS_OUT},
    **{f"VSL:{tag}": f"%{{VSL:{tag}}}x" for tag in TAGS},
    "default_format": "%{Varnish:default_format}x",
}
# The first varnishncsa that has a specifier which earlier ones take for something else: for a format of strftime.
SINCE = {f"{unit}_t": (7, 0) for unit in "sec msec usec msec_frac usec_frac".split()}
NAMES = list(FIELDS)
# A tab stands between fields: both escape the tabs of values.
FORMAT = r"\t".join(FIELDS.values())

EXCEPTIONS = {
    "cut": "varnishncsa prints what vsl_reclen (255) left of a value; the module has it whole. "
    "Asserted: the module's value begins with varnishncsa's, which is cut at that length.",
    "flushed": "The log of a request with 20 KB of std.log() text outgrows vsl_buffer (16 KB) and "
    "is flushed before the request ends; what stands nowhere else is lost to the module, which "
    "counts the line as incomplete. Asserted: every field but VSL:, VCL_Log: is the same, before 7.1 also but a "
    "fetch's Varnish:time_firstbyte.",
    "retried": "varnishncsa -b prints each try of a fetch that VCL retries, the module the fetch, "
    "with its last try. Asserted: each such line's Link says retry.",
    "given up": "varnishncsa leaves out each transaction that VCL restarts, also the last one of "
    "a request that has restarted too often and is answered with 503. Asserted: VCL_Error says so.",
    "rejected": "Varnish answers a request that is no HTTP with 400, and an Expect that it does not "
    "know with 417, before any VCL runs. varnishncsa has a line for it, a module has no say. "
    "Asserted: no VCL_call, status 400 or 417, as many as were sent, and as many as "
    "MAIN.client_req_400 and MAIN.client_req_417 count.",
    "empty": "Before 7.1 varnishncsa prints nothing, not even -, for a fetch's Varnish:time_firstbyte that it does not "
    "have. Asserted: that field alone, and the module prints -.",
    "blank": "Before 6.6 varnishncsa takes the blanks at the end of a log record for an empty field, and prints nothing "
    "for it. Asserted: a field of VCL_Log, and the module prints the first one that is there.",
    "rounded": "Up to 6.2 varnishd rounds the times in its log to the microsecond, from 6.3 on it cuts them. The module "
    "cuts. Asserted: a duration's microseconds differ by no more than 2, all else is equal.",
    "older": "Before 7.7 varnishncsa prints headers, and what is made of them, as VCL has changed them, "
    "knows no hitpass and hitmiss, and of a fetch prints the method and protocol that were sent. The "
    "module follows 7.7. Asserted: only these fields differ, and only before 7.7.",
    "piped": "A pipe's backend half is a transaction of its own for varnishncsa -b; VCL has only "
    "vcl_pipe, whose record is the client's. Asserted: Begin says pipe.",
}

STREAM = """new {name} = s3log.stream(endpoint = "{endpoint}", bucket = "{bucket}",
        credentials = "{credentials}", spool = "{spool}", path = "oracle/", period = 1s,
        compression = "gzip", max_line = 65000, {more});"""


def takes(env, *options):
    """Whether varnishncsa takes these options: then it reads a log, here an empty file, and says so."""
    done = subprocess.run(
        ["varnishncsa", "-r", os.devnull, *options],
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return "VSL file read error" in done.stdout


def fit(version, env):
    """Leaves out the fields that this Varnish's varnishncsa does not have."""
    global FORMAT
    left = [name for name in FIELDS if version >= SINCE.get(name, ())]
    if takes(env, "-F", "%{Vinyl:vxid}x"):
        FIELDS.update({name: field.replace("Varnish:", "Vinyl:") for name, field in FIELDS.items()})
    NAMES[:] = [name for name in left if takes(env, "-F", FIELDS[name])]
    FORMAT = r"\t".join(FIELDS[name] for name in NAMES)
    if len(NAMES) < len(FIELDS):
        say(f"fields that this varnishncsa does not have: {' '.join(n for n in FIELDS if n not in NAMES)}")
    if len(NAMES) < len(FIELDS) - 10:
        raise RuntimeError("this varnishncsa takes none of the fields that all have")


def without(version, env):
    """The kinds of requests of which this Varnish tells a module too little (`docs/versions.md`)."""
    kinds = ()
    if version < (7, 1):
        resets = tuple(f"http2-{end}-while-waiting" for end in ("reset", "goaway", "gone"))
        kinds = resets if rig.has_vcl_req_reset(env) else ("fail-in-synth-after-fail",)
    if kinds:
        say(f"not sent: {', '.join(kinds)}: dropped_end counts them before 7.1")
    return kinds


def streams(place):
    """The four streams: clients, clients with fragments, fetches, and who called .log()."""
    common = f'dialect = "varnishncsa", format = {{"{FORMAT}"}}'
    more = {
        "plain": common,
        "whole": common + ", esi = true",
        "fetches": common,
        "calls": 'format = {"%{X-Id}i\\t%{X-Where}i\\t%{Varnish:side}x\\t%s\\t%{key}x\\t%{none}x"}',
    }
    return "\n    ".join(stream(place, name, text) for name, text in more.items())


def stream(place, name, more):
    return STREAM.format(
        name=name,
        endpoint=place.s3.endpoint,
        bucket=rig.BUCKET,
        credentials=place.s3.credentials,
        spool=place.spool,
        more=more,
    )


def vcl(place, name, origin, dead, streams):
    text = (rig.ROOT / "e2e/data" / name).read_text()
    text = text.replace("@STREAMS@", streams)
    text = text.replace("@ORIGIN@", str(origin)).replace("@DEAD@", str(dead))
    path = place.directory / name
    path.write_text(text)
    return path


class Ncsa:
    """A varnishncsa that writes to a file."""

    def __init__(self, place, varnish, name, *options):
        self.file = place.directory / f"{name}.ncsa"
        command = ["varnishncsa", "-n", varnish.workdir, "-w", self.file, "-L", "100000"]
        command += [*options, "-F", FORMAT]
        self.process = rig.Process(f"ncsa-{name}", command, place.directory, place.env)

    def lines(self):
        if not self.process.alive():
            raise RuntimeError(f"varnishncsa ended:\n{self.process.tail()}")
        return self.file.read_bytes().splitlines() if self.file.exists() else []

    def finish(self):
        """Stops it; the reasons for which what it has written does not count."""
        trouble = [] if self.process.alive() else ["it ended before the requests did"]
        self.process.stop(signal.SIGINT)
        said = self.process.tail()
        return trouble + ([said] if said else [])


def rows(lines):
    """Lines as lists of fields, by transaction number; a number that comes twice is refused."""
    found, twice = {}, []
    at = NAMES.index("vxid")
    for line in lines:
        fields = line.decode("latin-1").split("\t")
        if len(fields) != len(NAMES):
            raise RuntimeError(f"{len(fields)} fields instead of {len(NAMES)}: {line[:300]}")
        if fields[at] in found:
            twice.append(fields)
        found[fields[at]] = dict(zip(NAMES, fields))
    return found, twice


def composed(row):
    """%r and the default line, put together from the other fields of the same line."""
    host = row["Host in"]
    if not host.startswith("http://"):
        host = "http://" + ("localhost" if host == "-" else host)
    line = f"{row['m']} {host}{row['U'] if row['U'] != '-' else ''}{row['q']} {row['H']}"
    default = f"{row['h']} - {row['u']} {row['t']} \"{line}\" {row['s']} {row['b']} "
    return line, default + f"\"{row['Referer in']}\" \"{row['User-Agent in']}\""


LENGTH_CUT = 254  # vsl_reclen without the NUL that ends each record


def unescaped(text):
    return len(re.sub(r"\\x..|\\.", "?", text))


def cut(name, ours, theirs):
    """Whether varnishncsa's field is cut at vsl_reclen and ours goes on from there."""
    if name in ("r", "default_format"):
        return all(row[name] == composed(row)[name != "r"] for row in (ours, theirs))
    if name == "u":
        # What is left of the Base64 text may be none.
        fits = theirs["u"] == "-" or ours["u"].startswith(theirs["u"])
        return fits and cut("Authorization in", ours, theirs)
    if name == "q" or name == "U":
        both = ours["U"] + ours["q"], theirs["U"] + theirs["q"]
        return both[0].startswith(both[1]) and unescaped(both[1]) == LENGTH_CUT
    header = re.fullmatch(r"(.+) (in|out)", name)
    if not header or not ours[name].startswith(theirs[name]):
        return False
    # Blanks at the cut are trimmed.
    rest = ours[name][len(theirs[name]) :]
    blanks = len(rest) - len(rest.lstrip(" "))
    length = unescaped(theirs[name]) + len(header[1]) + 2
    return length <= LENGTH_CUT <= length + blanks


def by_older_rules(name, row):
    """Whether varnishncsa of 7.7 changed what it prints here."""
    if name in ("r", "u", "default_format", "handling", "hitmiss") or re.search(" (in|out)$", name):
        return True
    return row["side"] == "b" and name in ("m", "H", "s")


def blank(name, ours, theirs):
    """Whether varnishncsa before 6.6 has an empty field here."""
    return name == "VSL:VCL_Log[2]" and theirs[name] == "" and ours[name] == "first"


def rounded(name, ours, theirs):
    """Whether a duration differs as far as rounding goes; a coarser one only where its microseconds do so."""
    micros = [int(row["D"]) for row in (ours, theirs)] if ours["D"] != "-" != theirs["D"] else [0, 0]
    if name in ("D", "us_T"):
        return abs(micros[0] - micros[1]) <= 2
    if name == "time_firstbyte" and "-" not in (ours[name], theirs[name]) and ours[name] and theirs[name]:
        return round(abs(float(ours[name]) - float(theirs[name])) * 1e6) <= 1
    if name in ("T", "s_T", "ms_T"):
        scale = 1_000 if name == "ms_T" else 1_000_000
        return micros[0] // scale != micros[1] // scale and abs(micros[0] - micros[1]) <= 2
    return False


def differences(ours, theirs, used, version=(999,)):
    """The fields that differ without an exception; counts the exceptions in `used`."""
    different = [name for name in NAMES if ours[name] != theirs[name]]
    if version < (7, 7) and different:
        left = [name for name in different if not by_older_rules(name, ours)]
        used["older"] += len(left) < len(different)
        different = left
    if version < (7, 1) and "time_firstbyte" in different:
        if (ours["time_firstbyte"], theirs["time_firstbyte"]) == ("-", ""):
            different.remove("time_firstbyte")
            used["empty"] += 1
    for exception, before, excepted in ("blank", (6, 6), blank), ("rounded", (6, 3), rounded):
        if version < before and different:
            left = [name for name in different if not excepted(name, ours, theirs)]
            used[exception] += len(left) < len(different)
            different = left
    if different and ours["id"].startswith("overflow"):
        # No struct has when a fetch's response began before 7.1.
        lost = ("VSL:", "VCL_Log:") + ("time_firstbyte",) * (version < (7, 1))
        different = [name for name in different if not name.startswith(lost)]
        used["flushed"] += 1
    left = [name for name in different if not cut(name, ours, theirs)]
    if different and not left:
        used["cut"] += 1
    return left


class Report:
    def __init__(self, most=40, version=(999,)):
        self.failures, self.shown, self.most, self.version = 0, 0, most, version

    def fail(self, text):
        self.failures += 1
        self.shown += 1
        if self.shown <= self.most:
            say(f"  FAIL {text}")

    def compare(self, name, ours, theirs):
        """Compares a pair of outputs, line by line."""
        (ours, twice_ours), (theirs, twice_theirs) = rows(ours), rows(theirs)
        used, differing = collections.Counter(), 0
        for fields in twice_ours + twice_theirs:
            self.fail(f"{name}: a transaction has two lines: {fields[:3]}")
        both = sorted(set(ours) & set(theirs), key=int)
        for vxid in both:
            left = differences(ours[vxid], theirs[vxid], used, self.version)
            differing += bool(left)
            for field in left:
                self.fail(
                    f"{name}: {ours[vxid]['id']} (vxid {vxid}), {FIELDS[field]}:\n"
                    f"       module      {ours[vxid][field]!r}\n"
                    f"       varnishncsa {theirs[vxid][field]!r}"
                )
        alone = {"module": set(ours) - set(theirs), "varnishncsa": set(theirs) - set(ours)}
        for vxid in list(alone["varnishncsa"]):
            row = theirs[vxid]
            reason = None
            if row["side"] == "b" and row["VSL:Link"].endswith(" retry"):
                reason = "retried"
            elif row["side"] == "b" and row["VSL:Begin"].endswith(" pipe"):
                reason = "piped"
            elif row["VSL:VCL_call"] == "-" and row["s"] in ("400", "417"):
                reason = "rejected"
            if reason:
                used[reason] += 1
                alone["varnishncsa"].remove(vxid)
        for vxid in list(alone["module"]):
            if ours[vxid]["VSL:VCL_Error"] == "Too many restarts":
                used["given up"] += 1
                alone["module"].remove(vxid)
        for side, lines in alone.items():
            for vxid in sorted(lines, key=int):
                row = (ours if side == "module" else theirs)[vxid]
                self.fail(f"{name}: only {side} has {row['id']} {row['r']} {row['VSL:Begin']}")
        say(
            f"{name:8} {len(both):6} lines compared, {differing} differ, "
            f"{len(alone['module'])} only in the module's, "
            f"{len(alone['varnishncsa'])} only in varnishncsa's; exceptions: {dict(used) or 'none'}"
        )
        return ours, used

    def requests(self, ours, sent, rejected, expected):
        """Every request sent has one line, and no other has one."""
        if rejected != expected:
            self.fail(f"{expected} requests were no HTTP, varnishncsa has {rejected}")
        logged = collections.Counter(
            row["id"] if row["id"] != "-" else in_url(row) for row in ours.values()
        )
        for request in sorted(set(sent) | set(logged)):
            if sent.get(request, 0) != logged.get(request, 0):
                self.fail(f"{request}: sent {sent[request]}, logged {logged[request]}")

    def calls(self, lines, expected):
        """Who called .log(): one record each, with the status and the values set by then."""
        found = collections.Counter(tuple(line.decode("latin-1").split("\t")[:5]) for line in lines)
        for call in sorted(set(found) | set(expected)):
            if found.get(call, 0) != expected.get(call, 0):
                self.fail(f"calls: {call}: {found[call]} records, not {expected[call]}")
        say(f"calls    {len(lines):6} records, {sum(expected.values())} expected")


def in_url(row):
    found = re.search(r"[?&]id=([a-z0-9-]+\.\d+)", row["U"] + row["q"])
    return found[1] if found else "-"


def arguments(parser):
    parser.add_argument("--quick", action="store_true", help="a fifth of the requests")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--mask", default="default", choices=["default", "recommended", "none"])
    parser.add_argument("--save", type=pathlib.Path, help="a directory for both sides' lines")


def prove(place, options):
    if options.mask != "default":
        from e2e import masks  # It is made of this proof.

        return masks.whole(place, options)
    began = time.monotonic()
    place.env["TZ"] = ZONE
    version = rig.numbers(place.env)
    fit(version, place.env)
    origin = oracle_kinds.Origin()
    dead, proxy = rig.free_ports(2)
    place.s3.start()
    boot = vcl(place, "oracle_label.vcl", origin.port, dead, streams(place))
    main = vcl(place, "oracle.vcl", origin.port, dead, streams(place))
    varnish = place.start_varnish(
        boot,
        # Before 7.1 vsl_buffer is 4k, which more kinds of requests would outgrow.
        parameters=("vsl_space=400M", "vsl_buffer=16k", "timeout_idle=120", "thread_pools=1",
                    "thread_pool_min=60", "workspace_client=128k"),
        listen=(f"127.0.0.1:{proxy},PROXY",),
    )
    varnish.cli("vcl.label", "other", "boot")
    varnish.cli("vcl.load", "main", main)
    varnish.cli("vcl.use", "main")
    options_of = {"plain": "-c", "whole": "-E", "fetches": "-b"}
    if not takes(place.env, "-E", "-F", "%s"):
        say("lines with fragments are not compared: this varnishncsa has no -E")
        del options_of["whole"]
    ncsa = {name: Ncsa(place, varnish, name, option) for name, option in options_of.items()}
    report = Report(version=version)
    site = oracle_kinds.Site(varnish.port, proxy, place, 0.2 if options.quick else 1.0)
    try:
        ready(site, ncsa)
        oracle_kinds.send(site, random.Random(options.seed), without(version, place.env))
        ours, theirs = settle(place, site, ncsa)
    finally:
        trouble = {name: process.finish() for name, process in ncsa.items()}
    for name, reasons in trouble.items():
        for reason in reasons:
            report.fail(f"void: varnishncsa of {name}: {reason}")
    counters = varnish.counters()
    refused = varnish.tool("varnishstat", "-1", "-f", "MAIN.client_req_400", "-f", "MAIN.client_req_417")
    refused = sum(int(line.split()[1]) for line in refused.splitlines())
    if refused != site.numbers["rejected"]:
        report.fail(f"MAIN.client_req_400 and client_req_417 count {refused}")
    if options.save:
        for name, lines in [*ours.items(), *((f"{n}.ncsa", t) for n, t in theirs.items())]:
            (options.save / name).write_bytes(b"\n".join(lines))

    kinds = collections.Counter()
    for request, count in site.sent.items():
        kinds[request.rsplit(".", 1)[0]] += count
    say(f"{len(kinds)} kinds, {sum(kinds.values())} requests:")
    say("  " + ", ".join(f"{name} {count}" for name, count in sorted(kinds.items())))
    say(f"{len(NAMES)} fields in each line, TZ={ZONE}")
    used = collections.Counter()
    for name in ncsa:
        rows_of, more = report.compare(name, ours[name], theirs[name])
        used += more
        if name == "plain":
            report.requests(rows_of, site.sent, more["rejected"], site.numbers["rejected"])
    report.calls(ours["calls"], site.calls)
    for name, reason in EXCEPTIONS.items():
        say(f"exception {name} ({used[name]} lines): {reason}")
    incomplete = sum(value for name, value in counters.items() if name.endswith(".incomplete"))
    if dropped := rig.dropped(counters):
        report.fail(f"records were dropped: {dropped}")
    if incomplete < used["flushed"]:
        report.fail(f"only {incomplete} incomplete lines were counted")
    say(f"incomplete lines counted by the module: {incomplete}")
    if len(kinds) < 25 or not options.quick and sum(kinds.values()) < 5000:
        report.fail("fewer kinds or requests than this test is for")
    say(f"{report.failures} failures, {time.monotonic() - began:.0f} s, seed {options.seed}")
    return [f"{report.failures} failures"] if report.failures else []


def ready(site, ncsa):
    """Sends requests until each varnishncsa has seen one: it starts at the log's end."""
    client = oracle_kinds.Client(site.port)

    def seen():
        site.ask(client, "ready", "/pass/ready")
        return all(process.lines() for process in ncsa.values())

    rig.wait_for("varnishncsa", seen, step=0.2)
    # What was sent before they looked is on the module's side only; forgotten on both.
    site.sent.clear()


def settle(place, site, ncsa):
    """Waits until both sides have all there is."""
    names, varnish = [*ncsa, "calls"], place.varnish
    ours, theirs, counts = {}, {}, []

    def still():
        waits = [n for name, n in varnish.counters().items() if name.endswith((".ring_used", ".spooled_blocks"))]
        ours.update((name, without_ready(place.cat(name))) for name in names)
        theirs.update((name, without_ready(process.lines())) for name, process in ncsa.items())
        counts.append([len(lines) for lines in (*ours.values(), *theirs.values())])
        enough = len(ours["plain"]) >= sum(site.sent.values()) <= len(theirs["plain"])
        # What varnishncsa has not read yet nobody counts: several looks must find the same.
        same = len(counts) > 2 and counts[-1] == counts[-2] == counts[-3]
        return enough and same and not any(waits) and not varnish.alive()

    with contextlib.suppress(TimeoutError):
        rig.wait_for("all lines of both sides", still, step=1.2)
    return ours, theirs


def without_ready(lines):
    return [line for line in lines if not line.startswith(b"ready.")]
