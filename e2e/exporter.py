"""The counters through varnishstat, its JSON, and Debian's prometheus-varnish-exporter.

A real varnishd with a stream whose gateway is down and then up. `varnishstat -j` must give each
counter with a kind, a format and a help text; the exporter, which runs `varnishstat -j`, must give
each of them as a Prometheus series with the same number; and each must stand in the table of
docs/operations.md. With --rules Debian's promtool checks examples/prometheus-rules.yml and runs
e2e/data/prometheus-rules-test.yml, and every series in the rules must be one that the exporter gave.

Both programs are unpacked from Debian's packages into .deps/debian, not installed.
"""

import json
import re
import subprocess
import urllib.request

from e2e import rig
from e2e.rig import debian, say, stream_vcl

RULES = rig.ROOT / "examples/prometheus-rules.yml"
RULES_TEST = rig.ROOT / "e2e/data/prometheus-rules-test.yml"
# What varnishstat's JSON says of a counter.
FORMATS = {"i": "a number", "B": "bytes", "d": "seconds"}
PREFIX = "varnish_main_s3log_"
KINDS = {"c": "counter", "g": "gauge"}


def from_json(varnish):
    """{name: (kind, format, help, value)} of `varnishstat -j`."""
    told = json.loads(varnish.tool("varnishstat", "-j"))
    found = {}
    for name, entry in told["counters"].items():
        if name.startswith("S3LOG."):
            found[name] = (entry["flag"], entry["format"], entry["description"], entry["value"])
    return found


def start(place, varnish):
    """Debian's exporter beside `varnish`: its process, and its port."""
    program = debian.program("prometheus-varnish-exporter", "prometheus-varnish-exporter")
    (port,) = rig.free_ports(1)
    command = [program, "-n", varnish.workdir, "-web.listen-address", f"127.0.0.1:{port}"]
    return rig.Process("exporter", command, place.directory, place.env), port


def scrape(port):
    """{series: value} of the exporter, for S3LOG."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=rig.PATIENCE) as answer:
        text = answer.read().decode()
    found = re.findall(rf"^({PREFIX}[^ {{]*)[{{]id=\"s3log\.\w+\"[}}] (\S+)$", text, re.M)
    return {name: float(value) for name, value in found}


def compare(name, mapped, series, failures):
    """Whether the exporter gives what varnishstat's JSON gives."""
    for counter, (_, _, _, value) in mapped.items():
        wanted = PREFIX + counter.removeprefix("S3LOG.").replace(".", "_")
        if wanted not in series:
            failures.append(f"{name}: the exporter has no {wanted}")
        elif series[wanted] != value:
            failures.append(f"{name}: {wanted} is {series[wanted]}, and varnishstat says {value}")


def promtool(series, failures):
    tool = debian.program("prometheus", "promtool")
    for words in (["check", "rules", RULES], ["test", "rules", RULES_TEST]):
        done = subprocess.run(
            [tool, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        say(f"exporter: promtool {words[0]} {words[1]}: {' '.join(done.stdout.split())}")
        if done.returncode != 0:
            failures.append(f"promtool {words[0]} {words[1]} fails")
    used = re.findall(rf'__name__=~"({PREFIX}[^"]+)"', RULES.read_text())
    if not used:
        failures.append(f"{RULES.name} asks for no series of ours")
    for pattern in used:
        # Prometheus anchors them at both ends.
        if not any(re.fullmatch(pattern, name) for name in series):
            failures.append(f"{RULES.name} uses {pattern}, and the exporter gives nothing like it")


def arguments(parser):
    parser.add_argument("--rules", action="store_true", help="promtool too, 20 MB more")
    parser.add_argument("--show", action="store_true", help="print what is seen")


def prove(place, options):
    failures = []
    place.s3.start()
    varnish = place.start_varnish(stream_vcl.write(place, "exporter", period="200ms"))
    exporter, listen = start(place, varnish)
    try:

        def answers():
            if not exporter.alive():
                raise RuntimeError(f"the exporter ended:\n{exporter.tail()}")
            try:
                return scrape(listen)
            except OSError:
                return None

        rig.wait_for("the exporter", answers)
        place.s3.kill()
        for _ in range(5):
            urllib.request.urlopen(f"http://127.0.0.1:{varnish.port}/s/1", timeout=rig.PATIENCE).read()
        spooled = lambda: varnish.counters()["access.oldest_unsent"] >= 3
        rig.wait_for("an upload that does not succeed", spooled)
        down = varnish.tool("varnishstat", "-1", "-f", "S3LOG.*")
        if answers().get(f"{PREFIX}access_spooled_records") != 5:
            failures.append(f"while the gateway is down the exporter says {answers()}")
        if not answers().get(f"{PREFIX}access_answers_none"):
            failures.append(f"while nobody answers the exporter says {answers()}")
        place.s3.start()
        rig.wait_for("the upload", lambda: varnish.balanced()["access.uploaded_records"] == 5)
        up = varnish.tool("varnishstat", "-1", "-f", "S3LOG.*")
        if options.show:
            say(f"{down}\n{up}")
        mapped, series = from_json(varnish), scrape(listen)
        if not series[f"{PREFIX}access_answers_2xx"] or series[f"{PREFIX}access_spool_max"] != 10 << 30:
            failures.append(f"with the gateway up again the exporter says {series}")
    finally:
        exporter.stop()
    names = [name for name in mapped if mapped[name][0] in KINDS and mapped[name][2]]
    say(
        f"exporter: varnishstat -j has {len(mapped)} counters, e.g. {mapped['S3LOG.access.spooled_bytes']}"
    )
    for name, (kind, form, text, _) in mapped.items():
        if kind not in KINDS or form not in FORMATS or not text:
            failures.append(f"{name} has kind {kind!r}, format {form!r}, help {text!r}")
    if len(names) < 20:
        failures.append(f"varnishstat -j has only {names}")
    compare("exporter", mapped, series, failures)
    say(f"exporter: {len(series)} series {PREFIX}*")
    page = (rig.ROOT / "docs/operations.md").read_text()
    for name in mapped:
        short = name.rsplit(".", 1)[1]
        if f"`{short}`" not in page and f".{short}`" not in page:
            failures.append(f"docs/operations.md does not have {short}")
    if options.rules:
        promtool(series, failures)
    return failures
