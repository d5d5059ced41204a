"""Plots of what cost.py and sweep.py wrote: `plots.py RESULTS DIRECTORY`."""

import collections
import csv
import json
import pathlib
import statistics
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams |= {"svg.hashsalt": "s3log", "font.size": 9, "svg.fonttype": "none"}
import matplotlib.pyplot as plt  # noqa: E402


def save(figure, path):
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()
    # Without the date the same figures give the same file.
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def added(results, directory):
    found = json.loads((results / "e2e.json").read_text())["added"]
    names = list(found)
    middle = [found[name]["median"] for name in names]
    error = [
        [found[name]["median"] - found[name]["min"] for name in names],
        [found[name]["max"] - found[name]["median"] for name in names],
    ]
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    colours = ["#2a6f97" if name.startswith("s3log") else "#a0a0a0" for name in names]
    axes.barh(names, middle, xerr=error, color=colours, capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel("CPU microseconds a request, median with min and max")
    save(figure, directory / "added.svg")


def sweep(results, directory):
    points = collections.defaultdict(lambda: collections.defaultdict(list))
    with (results / "sweep.csv").open() as file:
        for row in csv.DictReader(file):
            points[row["what"]][row["value"]].append(row)
    figure, axes = plt.subplots(2, 2, figsize=(8, 6))
    labels = {
        "rate": "requests a second",
        "line": "bytes a line",
        "streams": "streams, each with every request",
        "connections": "connections",
    }
    for (what, values), ax in zip(points.items(), axes.flat, strict=False):
        key = {"rate": "rate", "line": "line_bytes"}.get(what)
        at, threads, total = [], [], []
        for value, rows in values.items():
            at.append(statistics.median(float(row[key]) for row in rows) if key else float(value))
            threads.append(statistics.median(float(r["threads_us_a_record"]) for r in rows))
            total.append(statistics.median(float(r["added_us"]) for r in rows))
        order = sorted(range(len(at)), key=at.__getitem__)
        ax.plot([at[i] for i in order], [threads[i] for i in order], "o-", color="#2a6f97",
                label="threads, us a record")
        ax.plot([at[i] for i in order], [total[i] for i in order], "x--", color="#a0a0a0",
                label="all of varnishd's growth, us a request")
        # What grows with the line or the streams should be seen to be linear.
        ax.set_xscale("linear" if what in ("line", "streams") else "log")
        ax.set_ylim(bottom=min(0, *total))
        ax.set_xlabel(labels[what])
    axes.flat[0].legend(fontsize=7)
    save(figure, directory / "sweep.svg")


def main():
    results, directory = map(pathlib.Path, sys.argv[1:])
    added(results, directory)
    sweep(results, directory)


if __name__ == "__main__":
    main()
