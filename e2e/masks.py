"""This module's lines under masked tags, a small vsl_buffer and another vsl_reclen, against an unmasked varnishncsa.

One varnishd serves the requests of `e2e oracle` again and again, each time with another setting: a few of each kind,
or all of them for one mask where `e2e oracle --mask` asks for it. A
varnishncsa has the lines of the time without a mask, with records too long to be cut: these are the
reference. A value that differs from it is a failure, but for one that is missing, where the table
UNAVAILABLE says so and the line itself says that it is incomplete (`%{s3log:incomplete}x`). What
differs from time to time (times, transaction numbers, ages) is compared with a varnishncsa's line for the same
request where that has it, else in its form.
"""

import collections
import random
import re
import time

from e2e import oracle, oracle_kinds, rig
from e2e.rig import say

PLAIN = [name for name in oracle.NAMES if not name.startswith("VSL:")]
RECORDS = ["id", "vxid", "U", "q"] + [name for name in oracle.NAMES if name.startswith("VSL:")]
FLAG = "incomplete"

# Tags that a record's walk reads.
TAGS = """Begin ReqStart ReqMethod ReqURL ReqProtocol ReqHeader ReqUnset RespStatus RespHeader RespUnset
    BereqMethod BereqURL BereqProtocol BereqHeader BereqUnset BerespStatus BerespHeader BerespUnset
    BackendOpen Timestamp VCL_call VCL_return VCL_Log Hit HitMiss HitPass ReqAcct PipeAcct BereqAcct
    End""".split()

NONE = "none"
RECOMMENDED = "recommended"
SIZES = (("vsl_buffer", "1k"), ("vsl_reclen", "64"), ("vsl_reclen", "4084"))
QUICK = [NONE, RECOMMENDED, "RespStatus", "VCL_call", "Timestamp", "ReqHeader", "Begin"]

# What is missing where a tag is hidden or its records are flushed, and is counted: of which stream and
# kind, and which fields. A hidden tag's own `%{VSL:...}x` is missing always.
ANY = ".*"
PIPES = "pipe.*|log-in-pipe|websocket|unknown-method"
RESET = "http2-(goaway|gone|reset)-while-waiting"
ROLLED_BACK = "fail-in-.*|vcl-fail|http2-vcl-fail|rollback.*|label|log-in-label|" + RESET
RESTARTED = "(http2-)?restart.*|log-in-recv-restart|.*-retried|too-many-restarts"
TOLD = "VCL_call VCL_return Hit HitMiss HitPass"
UNAVAILABLE = [
    # Of what VCL logs there is no other trace: .set() is for that.
    ("VCL_Log", ANY, ANY, "VCL_Log:.*"),
    # A pipe's bytes and times are on the stack of the function that pumps them.
    ("PipeAcct", "plain", PIPES, "[IO]"),
    ("Timestamp", "plain", PIPES, "time_firstbyte|D|T|\\w+_T"),
    # A synth that reads the request's body, after which it is the time of that.
    ("Timestamp", "plain", "post.*|put.*|aborted-upload|expect-100|body-on-get", "time_firstbyte"),
    # The line with Varnish's own name, which a rollback takes away.
    ("ReqHeader VCL_call", "plain", ROLLED_BACK, "Via in"),
    # A request as it was when VCL restarted it, unless VCL has left it alone.
    ("ReqMethod", "plain", RESTARTED, "m|r|default_format"),
    ("ReqURL", ANY, RESTARTED, "U|q|r|default_format"),
    ("ReqHeader ReqUnset VCL_call", "plain", RESTARTED, ".* in|r|default_format"),
    ("VCL_call", ANY, RESTARTED, "m|U|q|r|default_format"),
    # When a request was restarted: the time of the first try is printed.
    ("Timestamp", ANY, RESTARTED, "t|strftime|D|T|\\w+_[tT]|default_format"),
    # What ran of a request that its client reset.
    (TOLD, "plain", RESET, "hitmiss|handling"),
    # A fetch's response as it was received, which VCL may change.
    ("BackendOpen", "fetches", ANY, "h|default_format"),
    ("BerespStatus VCL_call", "fetches", ANY, "s|default_format"),
    ("BerespHeader VCL_call", "fetches", ANY, ".* out"),
]

# Where the module is right, and varnishncsa is not.
EXCEPTIONS = {
    "thrown away": "the header of an answer that was made before, and not sent. Without the records of "
    "headers the module does not. Asserted: it prints nothing.",
    "absolute": "no Host for a URL that has one: the record that Varnish makes of it comes after the removal "
    "of the client's.",
}
# How much of a fetch has come when nobody waits for it any more.
ABANDONED = "workspace-.*|fail-in-deliver|" + RESET
THROWN_AWAY = "synth-from-deliver|fail-in-deliver|" + RESET

# What differs from one time to the next.
TIMES = r"t|strftime|D|T|\w+_[tT]|default_format"
VOLATILE = TIMES + r"|b|I|O|time_firstbyte|vxid|(Age|Date|X-Varnish|X-Cache) out|VSL:.*"

# Kinds whose answer hangs on the moment.
UNSTEADY = set("""abort abort-early abort-upload busy-object gone-while-waiting grace gunzip-at-fetch
    gzip-at-fetch http2-abort http2-goaway-while-waiting http2-gone-while-waiting http2-restart http2-slow
    label-in-fragments old-origin origin-breaks-off revalidated slow-origin""".split())


class Every:
    """All tags."""

    def __contains__(self, tag):
        return True


def hidden(phase):
    """The tags that a phase hides."""
    if phase == NONE:
        return Every()
    return rig.recommended_mask() if phase == RECOMMENDED else [phase]


def parameter_of(phase):
    """What `vsl_mask` is set to for it, after the default."""
    return NONE if phase == NONE else ",".join(f"-{tag}" for tag in hidden(phase))


def streams(place):
    def texts(names):
        return r"\t".join(oracle.FIELDS[name] for name in names) + r"\t%{s3log:incomplete}x"

    common = 'dialect = "varnishncsa", format = {{"{0}"}}'
    more = {
        "plain": common.format(texts(PLAIN)),
        "whole": common.format(texts(RECORDS)),
        "fetches": common.format(texts(PLAIN)),
        "calls": 'format = "%m"',
    }
    return "\n    ".join(oracle.stream(place, name, text) for name, text in more.items())


def parse(lines, names):
    """Rows by phase and by request; a request that has two lines in a stream is left out."""
    found, twice = {}, set()
    for line in lines:
        fields = line.decode("latin-1").split("\t")
        if len(fields) != len(names):
            raise RuntimeError(f"{len(fields)} fields instead of {len(names)}: {line[:300]}")
        row = dict(zip(names, fields))
        request = row["id"] if row["id"] != "-" else oracle.in_url(row)
        if request in found:
            twice.add(request)
        found[request] = row
    for request in twice:
        del found[request]
    return found


class Phases:
    """The numbers of requests say when they were sent, and are as long in each phase."""

    WIDTH = 1200  # A multiple of 3: the number decides where .log() is called.

    def __init__(self):
        self.names = []

    def begin(self, site, name):
        self.names.append(name)
        site.numbers = Numbers((len(self.names) + 9) * self.WIDTH)

    def of(self, request):
        kind, number = request.rsplit(".", 1)
        phase, number = divmod(int(number), self.WIDTH)
        return (self.names[phase - 10], kind, number) if 0 <= phase - 10 < len(self.names) else None


class Numbers(collections.Counter):
    def __init__(self, base):
        super().__init__()
        self.base = base

    def __missing__(self, key):
        return self.base


def neutral(value, kind):
    """A value without the number of its request."""
    return re.sub(re.escape(kind) + r"\.\d{5}", kind + ".N", value)


def form(value):
    return re.sub(r"\d+", "9", value)


def missing(value):
    return value in ("-", "", "0", "HTTP/1.0")


class Comparison:
    def __init__(self, report, phases):
        self.report, self.phases = report, phases
        self.hidden = {name: hidden(name) for name in phases.names}
        self.lost = collections.defaultdict(collections.Counter)
        self.flagged = collections.Counter()
        self.compared = collections.Counter()
        self.used = collections.Counter()
        self.wrong = collections.defaultdict(lambda: collections.defaultdict(list))

    def stream(self, name, ours, theirs, names):
        """Compares a stream's lines with varnishncsa's of the first phase."""
        reference = {}
        for request, row in theirs.items():
            at = self.phases.of(request) if request != "-" else None
            if at and at[0] == "reference":
                reference[at[1:]] = row
        if len(reference) < 100:
            self.report.fail(f"{name}: varnishncsa has {len(reference)} lines to compare with")
        seen = collections.defaultdict(set)
        for request, row in ours.items():
            at = self.phases.of(request) if request != "-" else None
            if not at:
                # Of HTTP/2 the URL has the request's name.
                if row[FLAG] != "1":
                    self.report.fail(f"{name}: a line of no request: {list(row.values())[:8]}")
                continue
            phase, kind, number = at
            if phase == "warm" or kind in UNSTEADY:
                continue
            seen[phase].add((kind, number))
            if (kind, number) in reference:
                self.line(name, phase, kind, request, row, reference[kind, number],
                          theirs.get(request), names)
        for phase in self.phases.names[1:]:
            if name == "fetches":
                break
            absent = {key for key in reference if key[0] not in UNSTEADY} - seen[phase]
            for kind, number in sorted(absent)[:5]:
                self.report.fail(f"{name}: {phase}: {kind}.{number} has no line")

    def line(self, name, phase, kind, request, row, reference, same, names):
        self.compared[phase, name] += 1
        flag = row[FLAG] == "1"
        self.flagged[phase, name] += flag
        for field in names:
            if field in ("id", FLAG):
                continue
            ours, wanted = neutral(row[field], kind), neutral(reference[field], kind)
            tag = re.match(r"VSL:(\w+)", field)
            if field == "b" and re.fullmatch(ABANDONED, kind):
                continue
            if tag and tag[1] not in self.hidden[phase]:
                # A record that is not hidden is the same for both.
                if not same or row[field] == same[field] or flag and self.flushed(phase, kind):
                    continue
            elif ours == wanted:
                continue
            elif re.fullmatch(VOLATILE, field):
                known = same and (not missing(same[field]) or missing(wanted))
                if known and row[field] == same[field]:
                    continue
                if form(ours) == form(wanted) and (not known or field == "default_format"):
                    continue
            nothing = missing(ours)
            if field in ("r", "default_format") and name != "whole":
                nothing = row[field] == oracle.composed(row)[field != "r"]
            # Of a restarted request the first try's.
            nothing |= bool(re.fullmatch(TIMES, field) and re.fullmatch(RESTARTED, kind))
            if flag and nothing and self.allowed(phase, name, kind, field):
                self.lost[phase, name][field] += 1
                continue
            if nothing and field.endswith(" out") and re.fullmatch(THROWN_AWAY, kind):
                self.used["thrown away"] += 1
                continue
            if (field, kind) == ("Host in", "absolute-url"):
                self.used["absolute"] += 1
                continue
            if flag and phase.startswith("vsl_reclen") and ours and wanted.startswith(ours):
                self.lost[phase, name][field] += 1
                continue
            theirs = reference[field] if not same else f"{reference[field]}, now {same[field]}"
            self.wrong[phase, name][field].append((request, flag, row[field], theirs))

    def flushed(self, phase, kind):
        return phase.startswith("vsl_buffer") or kind.startswith("overflow")

    def allowed(self, phase, name, kind, field):
        tags_hidden = self.hidden[phase]
        # Where a log begins is told by one of these.
        unknown = "Begin" in tags_hidden and "Timestamp" in tags_hidden
        flushed = phase == NONE or self.flushed(phase, kind)
        tag = re.match(r"VSL:(\w+)|VCL_Log:", field)
        if tag and (flushed or unknown or tag[1] in tags_hidden):
            return True
        return any(
            (flushed or any(tag in tags_hidden for tag in tags.split()))
            and re.fullmatch(stream, name)
            and re.fullmatch(kinds, kind)
            and re.fullmatch(fields, field)
            for tags, stream, kinds, fields in UNAVAILABLE
        )

    def tell(self):
        for name, reason in EXCEPTIONS.items():
            say(f"exception {name} ({self.used[name]} values): varnishncsa prints {reason}")
        for phase in self.phases.names[1:]:
            for name in ("plain", "whole", "fetches"):
                lost, wrong = self.lost[phase, name], self.wrong[phase, name]
                for field, cases in wrong.items():
                    kinds = collections.Counter(case[0].rsplit(".", 1)[0] for case in cases)
                    request, flag, ours, reference = cases[0]
                    self.report.fail(
                        f"{name}: {phase}: {oracle.FIELDS[field]} of {dict(kinds)}\n"
                        f"       {request}{'' if flag else ', not counted'}:\n"
                        f"       module      {ours!r}\n       varnishncsa {reference!r}"
                    )
                fields = sorted(field for field in lost if not field.startswith("VSL:"))
                what = ", ".join(f"{field} {lost[field]}" for field in fields)
                differing = {case[0] for cases in wrong.values() for case in cases}
                say(
                    f"{phase:18} {name:8} {self.compared[phase, name]:5} lines, {len(differing)} differ, "
                    f"{sum(map(len, wrong.values()))} wrong values, {self.flagged[phase, name]} counted as "
                    f"incomplete; missing: {what or '-'}; records {sum(lost.values()) - sum(lost[f] for f in fields)}"
                )


def arguments(parser):
    parser.add_argument("--quick", action="store_true", help="a few of the settings")
    parser.add_argument("--only", help="some of the settings, with commas between")
    parser.add_argument("--seed", type=int, default=7)


def settings(place, options):
    """The name of each phase and the parameters that it sets."""
    default = {"vsl_mask": "default", "vsl_reclen": "255", "vsl_buffer": "16k"}
    yield "warm", default
    yield "reference", default | {"vsl_reclen": "4084", "vsl_buffer": "64k"}
    every = [NONE, RECOMMENDED, *TAGS]
    if rig.numbers(place.env) < rig.NONE_SINCE:
        every.remove(NONE)
    for tag in options.only.split(",") if options.only else QUICK if options.quick else every:
        if tag in every:
            yield tag, default | {"vsl_mask": parameter_of(tag)}
    for parameter, value in SIZES:
        if not options.only or f"{parameter} {value}" in options.only.split(","):
            yield f"{parameter} {value}", default | {parameter: value}


def prove(place, options):
    known = {NONE, RECOMMENDED, *TAGS, *(f"{parameter} {value}" for parameter, value in SIZES)}
    if options.only and (unknown := set(options.only.split(",")) - known):
        return [f"no setting is called {' or '.join(sorted(unknown))}: {', '.join(sorted(known))}"]
    return run(place, options, settings(place, options), 0)


def whole(place, options):
    """All requests of the oracle with the mask that `options` name."""
    options.only, options.quick = options.mask, False
    return run(place, options, settings(place, options), 1)


def run(place, options, settings, scale):
    began = time.monotonic()
    place.env["TZ"] = oracle.ZONE
    origin = oracle_kinds.Origin()
    dead, proxy = rig.free_ports(2)
    place.s3.start()
    boot = oracle.vcl(place, "oracle_label.vcl", origin.port, dead, streams(place))
    main = oracle.vcl(place, "oracle.vcl", origin.port, dead, streams(place))
    varnish = place.start_varnish(
        boot,
        parameters=("vsl_space=400M", "timeout_idle=120", "thread_pools=1", "thread_pool_min=60",
                    "workspace_client=128k", "default_grace=0", "default_keep=0"),
        listen=(f"127.0.0.1:{proxy},PROXY",),
    )
    varnish.cli("vcl.label", "other", "boot")
    varnish.cli("vcl.load", "main", main)
    varnish.cli("vcl.use", "main")
    ncsa = {
        "plain": oracle.Ncsa(place, varnish, "plain", "-c"),
        "fetches": oracle.Ncsa(place, varnish, "fetches", "-b"),
    }
    report, phases = oracle.Report(1000), Phases()
    site = oracle_kinds.Site(varnish.port, proxy, place, scale)
    oracle.ready(site, ncsa)
    for name, parameters in settings:
        for parameter, value in sorted(parameters.items(), reverse=True):
            if parameter == "vsl_mask" and value != "default":
                varnish.cli("param.set", "vsl_mask", "default")
            varnish.cli("param.set", parameter, value)
        # The module measures vsl_reclen once a second.
        time.sleep(1.1)
        phases.begin(site, name)
        oracle_kinds.send(site, random.Random(options.seed))
    expected = sum(site.sent.values())
    rig.wait_for("all lines", lambda: len(place.cat("plain")) >= expected, step=0.5)
    for name, process in ncsa.items():
        for reason in process.finish():
            report.fail(f"void: varnishncsa of {name}: {reason}")
    theirs = {
        name: oracle.without_ready(process.file.read_bytes().splitlines())
        for name, process in ncsa.items()
    }
    varnish.stop()
    comparison = Comparison(report, phases)
    rows = {name: parse(lines, oracle.NAMES) for name, lines in theirs.items()}
    for name, names, reference in (
        ("plain", [*PLAIN, FLAG], "plain"),
        ("whole", [*RECORDS, FLAG], "plain"),
        ("fetches", [*PLAIN, FLAG], "fetches"),
    ):
        lines = parse(oracle.without_ready(place.cat(name)), names)
        comparison.stream(name, lines, rows[reference], names)
    comparison.tell()
    say(f"{report.failures} failures, {time.monotonic() - began:.0f} s, seed {options.seed}")
    return [f"{report.failures} failures"] if report.failures else []
