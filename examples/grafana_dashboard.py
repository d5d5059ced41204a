#!/usr/bin/env python3
"""The Grafana dashboard: writes grafana-dashboard.json of the list of panels below.

    examples/grafana_dashboard.py            write it
    examples/grafana_dashboard.py --check    fail when it is stale (tools/lint.sh)

The series are those of Debian's prometheus-varnish-exporter: one a counter and stream, with the label
id="s3log.STREAM". `make e2e T=dashboard` checks the JSON against Grafana's published types and runs each
query against a Prometheus that has scraped a node. Python's standard library only.
"""

import json
import pathlib
import sys

OUT = pathlib.Path(__file__).with_name("grafana-dashboard.json")
PREFIX = "varnish_main_s3log_"
CHOSEN = 'id=~"$stream", instance=~"$instance"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# The name of these series ends as that of another counter does. A stream that is called NAME_uploaded, _spooled,
# _held or _quarantined has no line where they are asked for.
LONGER = {"records": "uploaded|spooled|held|quarantined"}
ANSWERS = {
    "answers_2xx": "2xx",
    "answers_3xx": "3xx",
    "answers_4xx": "4xx",
    "answers_5xx": "5xx",
    "answers_none": "no answer",
}
DROPS = {
    "shed_low": "ring full, low",
    "shed_normal": "ring full, normal",
    "shed_high": "ring full, high",
    "dropped_spool": "spool full or damaged",
    "dropped_end": "end of request not seen",
    "dropped_panic": "panic",
}


def series(counter):
    """A counter's series of the chosen streams and nodes, one each."""
    longer = LONGER.get(counter)
    without = f', __name__!~"{PREFIX}.+_({longer})_{counter}"' if longer else ""
    return f'{{__name__=~"{PREFIX}.+_{counter}"{without}, {CHOSEN}}}'


def rate(counter):
    return f"rate({series(counter)}[$__rate_interval])"


def since(counter):
    return f"increase({series(counter)}[$__range])"


def each(function, counters):
    """(query, legend) of several counters."""
    return [(function(counter), f"{{{{id}}}} {legend}") for counter, legend in counters.items()]


def total(counters):
    """The sum of what several counters grew by in the dashboard's time."""
    return " + ".join(f"(sum({since(counter)}) or vector(0))" for counter in counters)


def most(counter):
    """The greatest of a counter's series of a stream and node: of one that was started anew there may be two."""
    return f"max by (id, instance) ({series(counter)})"


def filled(what, limit):
    """(query, legend) of how much of its limit something takes, and has taken at most."""
    return [(f"{most(f'{what}_used')} / {limit}", "{{id}}"), (f"{most(f'{what}_high_water')} / {limit}", "{{id}} at most")]


# Kind, title, what it shows, unit, [(query, legend)], colours from a value on.
GOOD, ODD, BAD = "green", "orange", "red"
ROWS = {
    "At a glance": [
        ("stat", "Records a second", "Taken from the rings.", "short",
         [(f"sum({rate('records')})", "in")], []),
        ("stat", "Oldest record not uploaded", "A few times `period` on a healthy node.", "s",
         [(f"max({series('oldest_unsent')})", "age")], [(60, ODD), (600, BAD)]),
        ("stat", "Waiting in spools", "Blocks that the gateway has not taken yet.", "bytes",
         [(f"sum({series('spooled_bytes')})", "waiting")], []),
        ("stat", "Records dropped", "In the time shown, by any cause.", "short",
         [(total(["dropped_ring", "dropped_spool", "dropped_end", "dropped_panic"]), "dropped")], [(1, BAD)]),
        ("stat", "Blocks in quarantine", "The gateway refused them for good: s3log requeue.", "short",
         [(f"sum({series('quarantined_blocks')})", "blocks")], [(1, BAD)]),
        ("stat", "Needs somebody", "Routes that cannot be started, and blocks without the key that encrypts them.",
         "short", [(f"sum({series('stuck_routes')}) + sum({series('held_blocks')})", "routes and blocks")],
         [(1, BAD)]),
    ],
    "In and out": [
        ("lines", "Records", "Taken from the ring, and stored by the gateway.", "rps",
         each(rate, {"records": "in", "uploaded_records": "uploaded"}), []),
        ("lines", "Bytes", "Of records, of blocks, and stored by the gateway.", "Bps",
         each(rate, {"raw_bytes": "raw", "stored_bytes": "packed", "uploaded_bytes": "uploaded"}), []),
        ("lines", "Compression", "Bytes of records for a byte of a block.", "short",
         [(f"sum by (id, instance) ({rate('raw_bytes')}) / (sum by (id, instance) ({rate('stored_bytes')}) > 0)",
           "{{id}}")], []),
    ],
    "What waits": [
        ("lines", "Oldest record not uploaded", "A few times `period` on a healthy node.", "s",
         each(series, {"oldest_unsent": ""}), [(600, BAD)]),
        ("lines", "Spool", "Blocks that are not uploaded, and those set aside.", "bytes",
         each(series, {"spooled_bytes": "waiting", "quarantined_bytes": "in quarantine"}), []),
        ("lines", "Spool, of spool_max", "Full, the oldest blocks or the new records are dropped.", "percentunit",
         filled("spool", f"({most('spool_max')} > 0)"), [(0.8, BAD)]),
        ("lines", "Ring", "Half full, low priorities are shed; 7/8 full, normal ones.", "percentunit",
         filled("ring", most("ring_size")), [(0.875, BAD)]),
    ],
    "Gateway": [
        ("lines", "Answers", "Upload attempts by what they were answered, and those that failed and were repeated.",
         "ops", each(rate, ANSWERS | {"upload_retries": "failed"}), []),
        ("lines", "Uploads under way", "Bytes of the blocks that are being uploaded, and those of them that are sent.",
         "bytes", each(series, {"uploading_bytes": "under way", "uploading_sent": "sent"}), []),
        ("lines", "Last answer", "HTTP status; 0 where there was no answer.", "none",
         each(series, {"last_status": ""}), []),
        ("lines", "Last upload", "With all its attempts.", "ms", each(series, {"last_upload_ms": ""}), []),
    ],
    "Lost or late": [
        ("lines", "Dropped by cause", "Records a second. A ring that is full says that ring or traffic is wrong.", "rps",
         each(rate, DROPS), []),
        ("lines", "Lines that are not whole", "Cut at `max_line`, or with a value that is missing.", "rps",
         each(rate, {"truncated": "cut", "incomplete": "incomplete"}), []),
        ("lines", "Silence", "Of the packer: a disk holds it up. Of uploads, while blocks wait: the gateway.", "s",
         each(series, {"packer_silent": "packer", "upload_silent": "uploads"}), []),
    ],
}  # fmt: skip


def target(number, query, legend):
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query,
        "legendFormat": legend.strip(),
        "range": True,
        "refId": chr(ord("A") + number),
    }


def thresholds(steps):
    return {
        "mode": "absolute",
        "steps": [{"color": GOOD, "value": None}, *({"color": color, "value": value} for value, color in steps)],
    }


def stat(unit, steps):
    options = {
        "colorMode": "background" if steps else "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "value",
        "wideLayout": True,
    }
    defaults = {"color": {"mode": "thresholds"}, "thresholds": thresholds(steps), "unit": unit}
    return options, defaults


def lines(unit, steps):
    options = {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    custom = {
        "drawStyle": "line",
        "fillOpacity": 10,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
        "thresholdsStyle": {"mode": "dashed" if steps else "off"},
    }
    defaults = {
        "color": {"mode": "palette-classic"},
        "custom": custom,
        "min": 0,
        "thresholds": thresholds(steps),
        "unit": unit,
    }
    return options, defaults


KINDS = {"stat": ("stat", stat), "lines": ("timeseries", lines)}


def panels():
    top, found = 0, []
    for row, members in ROWS.items():
        place = {"h": 1, "w": 24, "x": 0, "y": top}
        found.append({"collapsed": False, "gridPos": place, "id": len(found) + 1, "panels": [], "title": row, "type": "row"})
        top, left, high = top + 1, 0, 0
        for kind, title, text, unit, queries, steps in members:
            plugin, look = KINDS[kind]
            width = 24 // len(members)
            options, defaults = look(unit, steps)
            high = 4 if kind == "stat" else 8
            found.append({
                "datasource": DATASOURCE,
                "description": text,
                "fieldConfig": {"defaults": defaults, "overrides": []},
                "gridPos": {"h": high, "w": width, "x": left, "y": top},
                "id": len(found) + 1,
                "options": options,
                "targets": [target(number, *query) for number, query in enumerate(queries)],
                "title": title,
                "type": plugin,
            })  # fmt: skip
            left += width
        top += high
    return found


def variable(name, label, of, more):
    return {
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "datasource": DATASOURCE,
        "includeAll": True,
        "label": label,
        "multi": True,
        "name": name,
        "query": {"query": f'label_values({{__name__=~"{PREFIX}.+_ring_size"{more}}}, {of})', "refId": name},
        "refresh": 2,
        "sort": 1,
        "type": "query",
    }


def dashboard():
    datasource = {"label": "Data source", "name": "datasource", "query": "prometheus", "type": "datasource"}
    return {
        "annotations": {"list": []},
        "description": "Streams of the Varnish module s3log: what comes in, what waits, what the gateway says, what is lost.",
        "editable": True,
        "graphTooltip": 1,
        "links": [],
        "panels": panels(),
        "refresh": "30s",
        "schemaVersion": 39,
        "tags": ["varnish", "s3log"],
        "templating": {
            "list": [
                datasource,
                variable("instance", "Node", "instance", ""),
                variable("stream", "Stream", "id", ', instance=~"$instance"'),
            ]
        },
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "title": "vmod-s3log",
        "uid": "vmod-s3log",
    }


def text():
    return json.dumps(dashboard(), indent=2) + "\n"


def main():
    if sys.argv[1:] == ["--check"]:
        if not OUT.exists() or OUT.read_text() != text():
            sys.exit(f"{OUT.name} is not what {pathlib.Path(__file__).name} writes: run it")
    else:
        OUT.write_text(text())


if __name__ == "__main__":
    main()
