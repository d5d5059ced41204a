"""The Grafana dashboard: its JSON against Grafana's published types, each query on a node's real series.

Grafana is AGPL and not run here. examples/grafana-dashboard.json must compile as an object of the types
that Grafana publishes for dashboards (npm @grafana/schema, Apache-2.0), and must not with a field that is
wrong. Debian's Prometheus then scrapes Debian's prometheus-varnish-exporter beside a real varnishd with two
streams while requests go on, the gateway goes away and comes back. Each query of each panel must give a
series for each stream, those of the outage must show it, and the alert rules must be evaluated.

Two terminals, of 80 by 24 and of 200 by 50, have `s3log top` all the time: under load, with the gateway away
and with it back they must show it, each from its first line to its last.

--picture FOLDER draws what Prometheus gave, in the dashboard's order, as dashboard.svg, and the terminals as
top.svg and top-wide.svg. LONG=1 takes ten minutes.
"""

import json
import pathlib
import random
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from e2e import dashboard_picture, exporter, rig, terminal_picture
from e2e.rig import debian, say
from e2e.rig.line import SlowLine

JSON = rig.ROOT / "examples/grafana-dashboard.json"
RULES = rig.ROOT / "examples/prometheus-rules.yml"
TYPES = rig.ROOT / "e2e/data/grafana/dashboard.ts"
# The second stream's name is the end of a counter's: uploaded_records must stay two things.
STREAMS = ["access", "uploaded"]
VCL = """vcl 4.1;
import s3log;
backend default none;
sub vcl_init {{
    {streams}
}}
sub vcl_recv {{ {calls} return (synth(200)); }}
sub vcl_synth {{ set resp.body = "ok"; return (deliver); }}
"""
STREAM = """new {name} = s3log.stream(endpoint = "{endpoint}", bucket = "{bucket}", credentials = "{credentials}",
        spool = "{spool}", format = {{"{format}"}}, period = 4s, spool_max = "{spool_max}");"""
SPOOL_MAX = "32MB"
# Bytes a second of a connection to the gateway: the upload of a block is to be seen.
SLOW = 150_000


def write_vcl(place):
    def of(name):
        return STREAM.format(
            name=name, endpoint=place.s3.endpoint, bucket=rig.BUCKET, credentials=place.s3.credentials,
            spool=place.spool, format=rig.COMBINED, spool_max=SPOOL_MAX,
        )  # fmt: skip

    path = place.directory / "dashboard.vcl"
    calls = " ".join(f"{name}.log();" for name in STREAMS)
    path.write_text(VCL.format(streams="\n    ".join(map(of, STREAMS)), calls=calls))
    return path


def compiles(text):
    """What the compiler says of a dashboard's JSON; nothing when it is well."""
    folder = rig.DEPS / "grafana"
    if not shutil.which("npx") or not (folder / ".complete").exists():
        raise rig.Skip("needs Grafana's types: e2e/dashboard_deps.sh")
    (folder / "dashboard.ts").write_text(TYPES.read_text().replace("= DASHBOARD;", f"= {text};"))
    done = subprocess.run(
        ["npx", "--no-install", "tsc", "--noEmit", "--strict", "--skipLibCheck", "--module", "esnext",
         "--moduleResolution", "bundler", "dashboard.ts"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.stdout if done.returncode else ""


def check_types(failures):
    text = JSON.read_text()
    if said := compiles(text):
        failures.append(f"{JSON.name} is no dashboard of Grafana's types: {said[:2000]}")
    for right, wrong in ['"gridPos"', '"gridPosition"'], ['"drawStyle": "line"', '"drawStyle": "curve"']:
        if not compiles(text.replace(right, wrong, 1)):
            failures.append(f"the types take {wrong}")
    say(f"dashboard: {JSON.name} compiles as Grafana's types, and with two errors in it does not")


def requests(place, varnish, seconds):
    """Requests for at most so long, whose lines no codec makes much smaller."""
    chance = random.Random(1)
    page = lambda: f"http://127.0.0.1:{varnish.port}/page/?{chance.getrandbits(2000):x}"
    urls = place.directory / "urls"
    urls.write_text("".join(f"{page()}\n" for _ in range(20_000)))
    command = ["h2load", "--h1", "-i", urls, "-D", str(seconds), "-c", "1", "--rps", "400"]
    return rig.Process("h2load", command, place.directory, place.env)


class Prometheus:
    """Debian's, with one target and our alert rules."""

    def __init__(self, place, exporter_port):
        (self.port,) = rig.free_ports(1)
        config = place.directory / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: [{RULES}]\n"
            "scrape_configs:\n- job_name: varnish\n"
            f'  static_configs: [{{targets: ["127.0.0.1:{exporter_port}"], labels: {{instance: edge-1}}}}]\n'
        )
        command = [
            debian.program("prometheus", "prometheus"), f"--config.file={config}",
            f"--storage.tsdb.path={place.directory / 'series'}", f"--web.listen-address=127.0.0.1:{self.port}",
        ]  # fmt: skip
        self.process = rig.Process("prometheus", command, place.directory, place.env)

    def ask(self, what, **values):
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(values)}"
        try:
            with urllib.request.urlopen(url, timeout=rig.PATIENCE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def ready(self):
        try:
            return bool(self.ask("query", query="varnish_main_s3log_access_records")["result"])
        except (OSError, AssertionError):
            if not self.process.alive():
                raise RuntimeError(f"prometheus ended:\n{self.process.tail()}") from None
            return False


def filled(query, seconds):
    """A panel's query as Grafana sends it, with everything chosen."""
    values = {"$stream": ".+", "$instance": ".+", "$__rate_interval": "5s", "$__range": f"{int(seconds)}s"}
    for name, value in values.items():
        query = query.replace(name, value)
    if "$" in query:
        raise ValueError(f"a variable is left in {query}")
    return query


def look(prometheus, begin, end, failures):
    """[(panel, [(legend, [(time, value)])])] of every panel; what gives nothing is a failure."""
    found = []
    for panel in json.loads(JSON.read_text())["panels"]:
        shown = []
        for target in panel.get("targets", []):
            query, legend = filled(target["expr"], end - begin), target["legendFormat"]
            where = f"{panel['title']}: {query}"
            try:
                step = max(1, (end - begin) // 300)
                result = prometheus.ask("query_range", query=query, start=begin, end=end, step=step)["result"]
            except AssertionError as error:
                failures.append(f"{where}: {error}")
                continue
            of_streams = "{{id}}" in legend
            ids = sorted(one["metric"].get("id", "") for one in result)
            wanted = [f"s3log.{name}" for name in STREAMS] if of_streams else [""]
            if ids != wanted:
                failures.append(f"{where}: gives series of {ids}, not of {wanted}")
            for one in result:
                points = [(at, float(value)) for at, value in one["values"]]
                if len(points) < 5:
                    failures.append(f"{where}: has only {len(points)} points")
                name = re.sub(r"\{\{(\w+)\}\}", lambda label: one["metric"].get(label[1], "?"), legend)
                shown.append((name, points))
        found.append((panel, shown))
    return found


def highest(found, title, legend, begin, end):
    """The highest value of a panel's line between two moments."""
    for panel, shown in found:
        for name, points in shown:
            if panel["title"] == title and panel["type"] == "timeseries" and name == legend:
                return max((value for at, value in points if begin <= at <= end), default=0.0)
    raise ValueError(f"no panel {title} with {legend}")


def judge(found, moments, failures):
    """The outage is to be seen where it must be, and its end."""
    begin, down, up, end = moments
    outage, after = (down, up), (end - 5, end)
    lasted = up - down
    for what, holds in {
        "the age grows with the outage": highest(found, "Oldest record not uploaded", "s3log.access", *outage)
        >= lasted * 0.6,
        "and is gone at the end": highest(found, "Oldest record not uploaded", "s3log.access", *after) <= 20,
        "the spool fills": highest(found, "Spool", "s3log.access waiting", *outage)
        > highest(found, "Spool", "s3log.access waiting", begin, down),
        "and takes more of spool_max": highest(found, "Spool, of spool_max", "s3log.access", *outage)
        > highest(found, "Spool, of spool_max", "s3log.access", begin, down),
        "its high water stays": highest(found, "Spool, of spool_max", "s3log.access at most", *after)
        >= highest(found, "Spool, of spool_max", "s3log.access", *outage),
        "attempts fail": highest(found, "Answers", "s3log.access failed", *outage) > 0,
        "for want of an answer": highest(found, "Answers", "s3log.access no answer", *outage) > 0,
        "nothing fails at the end": highest(found, "Answers", "s3log.access failed", *after) == 0,
        "and there are answers again": highest(found, "Answers", "s3log.access 2xx", *after) > 0,
        "records come in all the time": highest(found, "Records", "s3log.uploaded in", *outage) > 10,
        "what waited is uploaded": highest(found, "Records", "s3log.access uploaded", up, end)
        > highest(found, "Records", "s3log.access in", begin, end),
        "nothing is dropped": highest(found, "Dropped by cause", "s3log.access ring full, normal", begin, end) == 0,
    }.items():
        if not holds:
            failures.append(f"not so in the panels: {what}")


def gateway_goes_and_returns(place, line, varnish, terminals, phase):
    """The moments of the beginning, of the gateway's end, of its return and of the end; and what each terminal showed
    before the next of them, as [(what is shown, its lines)]."""
    shown = {terminal: [] for terminal in terminals}
    sending = ("sending", "block")

    def take(what, *marks):
        for terminal in terminals:
            shown[terminal].append((what, terminal.screen(*marks)))

    moments = [time.time()]
    time.sleep(phase)
    take("The gateway takes what comes", *sending)
    moments.append(time.time())
    line.cut()
    place.s3.kill()
    time.sleep(phase)
    take("The gateway is away", "answers", "none")
    waits = lambda: varnish.counters()["access.spool_used"]
    most = waits()
    line.connect()
    place.s3.start()
    moments.append(time.time())
    # At a gateway that is away one attempt in 15 s is made.
    rig.wait_for("half of what waits to be uploaded", lambda: waits() <= most / 2, step=0.5)
    take("It is back, and what waited goes out", *sending)
    time.sleep(max(0.0, moments[-1] + phase - time.time()))
    return [*moments, time.time()], shown


def judge_terminals(shown, moments, failures):
    """Each has shown all of `top`, at the time that it says."""
    for terminal, screens in shown.items():
        size = f"{terminal.columns} by {terminal.rows}"
        for (what, lines), begin, end in zip(screens, moments[:-1], moments[1:], strict=True):
            said = terminal_picture.moment(lines)
            if said is None or not begin - 2 <= said <= end + 2:
                failures.append(f"{size}: {what}: it says {lines[0]!r}, and this is from {begin:.0f} to {end:.0f}")
            if len(lines) != terminal.rows or "q quit" not in lines[-1]:
                failures.append(f"{size}: {what}: {len(lines)} lines, the last of them {lines[-1]!r}")
            if any(len(terminal_picture.plain(line)) > terminal.columns for line in lines):
                failures.append(f"{size}: {what}: a line is wider than the terminal")


def arguments(parser):
    parser.add_argument("--long", action="store_true", help="ten minutes instead of two")
    parser.add_argument("--picture", metavar="FOLDER", help="draw the first stream's panels and the terminals there")


def prove(place, options):
    failures = []
    check_types(failures)
    phase = 200 if options.long else 40
    place.s3.start()
    line = SlowLine(place.s3.ports["s3"], SLOW)
    place.s3.endpoint = line.endpoint
    varnish = place.start_varnish(write_vcl(place))
    process, listen = exporter.start(place, varnish)
    place.stack.callback(process.stop)
    prometheus = Prometheus(place, listen)
    place.stack.callback(prometheus.process.stop)
    rig.wait_for("Prometheus to have scraped the node", prometheus.ready)
    load = requests(place, varnish, 3 * phase + 4 * int(rig.PATIENCE))
    place.stack.callback(load.stop)
    terminals = [terminal_picture.Terminal(place, varnish, *size) for size in ((80, 24), (200, 50))]
    moments, shown = gateway_goes_and_returns(place, line, varnish, terminals, phase)
    # The end: everything that waited is in the bucket, and a scrape has seen it.
    idle = 'max({__name__=~"varnish_main_s3log_.+_oldest_unsent"}) < 15'
    rig.wait_for("the lag to be over", lambda: prometheus.ask("query", query=idle)["result"], step=0.5)
    time.sleep(8)
    moments[-1] = time.time()
    judge_terminals(shown, moments, failures)
    found = look(prometheus, moments[0], moments[-1], failures)
    judge(found, moments, failures)
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        if rule["health"] != "ok" or not rule["evaluationTime"]:
            failures.append(f"the rule {rule['name']} is {rule['health']}: {rule.get('lastError')}")
    queries = sum(len(panel.get("targets", [])) for panel, _ in found)
    say(
        f"dashboard: {varnish.counters()['access.records']} records; {queries} queries of {sum(bool(shown) for _, shown in found)} panels "
        f"give data; {len(rules)} alert rules evaluated"
    )
    if options.picture:
        folder = pathlib.Path(options.picture)
        seen = [terminal_picture.moment(lines) for _, lines in shown[terminals[0]]]
        dashboard_picture.write(folder / "dashboard.svg", found, moments, seen, STREAMS[0])
        title = "s3log top: under load, with the gateway away, and with it back"
        for terminal, name in zip(terminals, ("top.svg", "top-wide.svg"), strict=True):
            terminal_picture.write(folder / name, title, terminal, shown[terminal])
        say(f"dashboard: drawn into {folder}: dashboard.svg, top.svg, top-wide.svg")
    return failures
