"""The Grafana dashboard: its JSON against Grafana's published types, each query on a node's real series.

Grafana is AGPL and not run here. examples/grafana-dashboard.json must compile as an object of the types
that Grafana publishes for dashboards (npm @grafana/schema, Apache-2.0), and must not with a field that is
wrong. Debian's Prometheus then scrapes Debian's prometheus-varnish-exporter beside a real varnishd with two
streams while requests go on, the gateway goes away and comes back. Each query of each panel must give a
series for each stream, those of the outage must show it, and the alert rules must be evaluated.

--picture FILE draws what Prometheus gave, in the dashboard's order. LONG=1 takes ten minutes.
"""

import http.client
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from e2e import dashboard_picture, exporter, rig
from e2e.rig import debian, say

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
        spool = "{spool}", format = {{"{format}"}}, period = 2s);"""
PAUSE = 0.01  # Seconds between two requests.


def write_vcl(place):
    def of(name):
        return STREAM.format(
            name=name, endpoint=place.s3.endpoint, bucket=rig.BUCKET, credentials=place.s3.credentials,
            spool=place.spool, format=rig.COMBINED,
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


class Traffic(threading.Thread):
    """Requests on one connection until it is told to stop."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.sent, self.over = port, 0, threading.Event()

    def run(self):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=rig.PATIENCE)
        while not self.over.wait(PAUSE):
            client.request("GET", f"/page/{self.sent}", headers={"User-Agent": "dashboard"})
            client.getresponse().read()
            self.sent += 1

    def stop(self):
        self.over.set()
        self.join()


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
        "and is gone at the end": highest(found, "Oldest record not uploaded", "s3log.access", *after) <= 10,
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


def arguments(parser):
    parser.add_argument("--long", action="store_true", help="ten minutes instead of two")
    parser.add_argument("--picture", metavar="FILE", help="draw the first stream's panels into an SVG file")


def prove(place, options):
    failures = []
    check_types(failures)
    phase = 200 if options.long else 40
    place.s3.start()
    varnish = place.start_varnish(write_vcl(place))
    process, listen = exporter.start(place, varnish)
    place.stack.callback(process.stop)
    prometheus = Prometheus(place, listen)
    place.stack.callback(prometheus.process.stop)
    rig.wait_for("Prometheus to have scraped the node", prometheus.ready)
    traffic = Traffic(varnish.port)
    traffic.start()
    place.stack.callback(traffic.stop)

    moments = [time.time()]
    for change in (place.s3.kill, place.s3.start, lambda: None):
        time.sleep(phase)
        moments.append(time.time())
        change()
    # The end: everything that waited is in the bucket, and a scrape has seen it.
    idle = 'max({__name__=~"varnish_main_s3log_.+_oldest_unsent"}) < 8'
    rig.wait_for("the lag to be over", lambda: prometheus.ask("query", query=idle)["result"], step=0.5)
    time.sleep(8)
    moments[-1] = time.time()
    found = look(prometheus, moments[0], moments[-1], failures)
    judge(found, moments, failures)
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        if rule["health"] != "ok" or not rule["evaluationTime"]:
            failures.append(f"the rule {rule['name']} is {rule['health']}: {rule.get('lastError')}")
    queries = sum(len(panel.get("targets", [])) for panel, _ in found)
    say(
        f"dashboard: {traffic.sent} requests; {queries} queries of {sum(bool(shown) for _, shown in found)} panels "
        f"give data; {len(rules)} alert rules evaluated"
    )
    if options.picture:
        dashboard_picture.write(options.picture, found, moments, STREAMS[0])
        say(f"dashboard: drawn into {options.picture}")
    return failures
