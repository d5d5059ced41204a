"""The module touches no freed memory and no line has a byte of it: under a guard allocator and valgrind.

A load of every kind of request that moves memory (`rig/mixed.py`) meets a varnishd whose freed
blocks are inaccessible or poisoned (`tests/guard`), and another one under valgrind's memcheck; the VTC
suite runs with the guard allocator too. The cache process survives, every value in every line is
its request's, and memcheck finds no error with a frame of the module in it.

`--quick` is the load under the guard allocator alone. `--module DIR` takes the module from another
folder, to see what the proof finds in it.
"""

import contextlib
import os
import pathlib
import re
import subprocess
import xml.etree.ElementTree as xml

from e2e import rig
from e2e.rig import mixed, say

MODULE = "libvmod_s3log.so"
PARAMETERS = (
    "feature=+no_coredump",
    # A hostile client's 100 KB header passes.
    "http_req_hdr_len=110k",
    "http_req_size=200k",
    "workspace_client=400k",
    # The memory of a request or fetch goes back to the allocator and not to the next one.
    "pool_req=0,0,0",
    "pool_vbo=0,0,0",
    "pool_sess=0,0,0",
    "thread_pools=1",
    "thread_pool_min=20",
    "thread_pool_stack=256k",
    "timeout_idle=60",
)
CLIENTS = 3
# Requests of each client.
GUARDED, CHECKED, QUICK = 600, 120, 150


def arguments(parser):
    parser.add_argument("--quick", action="store_true", help="the load under the guard allocator alone")
    parser.add_argument("--module", type=pathlib.Path, help=f"the folder of another {MODULE}")


def guard(place):
    """The guard allocator, which a program is run with."""
    library = place.directory / "guard.so"
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", library, rig.ROOT / "tests/guard/guard.c"]
    subprocess.run([*command, "-lpthread"], check=True)
    return library


def loaded(place, what, requests, wrapper):
    """What is wrong after the load on a varnishd that `wrapper` runs; blocks go to the path `what`."""
    directory = place.directory / what
    directory.mkdir()
    # Varnishes from before the attack have no limit to lift.
    resets = ["h2_rapid_reset_limit=0"] if rig.has_parameter(place.env, "h2_rapid_reset_limit") else []
    varnish = place.start_varnish(
        mixed.write(place, what, "first"),
        directory=directory,
        parameters=[*PARAMETERS, *resets],
        wrapper=wrapper,
    )
    child = varnish.child_pid()
    wrong = mixed.Load(place, what, requests).run(CLIENTS)
    panic = varnish.cli("panic.show", check=False)
    if varnish.child_pid() != child or "Child has not panicked" not in panic:
        said = re.findall(r".*Child .*died.*", varnish.process.log.read_text(errors="replace"))
        wrong.append(f"{what}: the cache process does not survive: {said}\n{panic[:6000]}")
    else:
        wrong += lines(place, what)
    varnish.stop()
    return wrong, child


def lines(place, what):
    """What is wrong with the lines and their counters, once all lines are there."""
    rig.wait_for("the last request's end", lambda: not place.varnish.alive(), step=0.2)
    wrong = []

    def right():
        nonlocal wrong
        # A stream's counters are published now and then: the last ones may be those of a moment ago.
        wrong = judge(place, what)
        return not wrong

    with contextlib.suppress(TimeoutError):
        rig.wait_for("lines and counters that agree", right, 60, 1)
    return wrong


def judge(place, what):
    """What is wrong with the lines that are there now and their counters."""
    wrong, totals = [], {}
    for stream in mixed.PARTS:
        counts = place.varnish.balanced(stream)
        records = counts[f"{stream}.records"]
        rig.wait_for(
            f"the last block of {stream}",
            lambda: place.varnish.counters()[f"{stream}.uploaded_records"] >= records,
            step=0.2,
        )
        judged = mixed.Judged(stream, place.cat(stream, "--path", f"{what}/"))
        found, incomplete = judged.kinds.total(), counts[f"{stream}.incomplete"]
        say(
            f"memory: {what}: {stream}: {found} lines, {judged.cut} with a value that Varnish's log "
            f"had cut, incomplete {incomplete}: {dict(sorted(judged.kinds.items()))}"
        )
        if judged.wrong:
            shown = "".join(f"\n    {line[:800]}" for line in judged.wrong[:5])
            wrong.append(
                f"{what}: {len(judged.wrong)} lines of {stream} have values of another request:{shown}"
            )
        if judged.cut > incomplete:
            wrong.append(f"{what}: {stream} has {judged.cut} lines with a value that is cut silently")
        totals[stream] = found
        if found != records:
            wrong.append(f"{what}: {stream} has {found} lines of {records} records")
        # Before 7.3 nothing tells of the end of some rollbacks: their records are dropped (docs/versions.md).
        known = f"{stream}.dropped_end" if rig.numbers(place.env) < (7, 3) else None
        if lost := {key: n for key, n in counts.items() if n and ".dropped_" in key and key != known}:
            wrong.append(f"{what}: {stream} counts {lost}")
    if totals["access"] != totals["events"]:
        wrong.append(f"{what}: one of two streams that log the same requests has more lines: {totals}")
    return wrong


def memcheck(place):
    """The words that run varnishd under memcheck, with a file of errors for each process."""
    words = ["valgrind", "--tool=memcheck", "--xml=yes", f"--xml-file={place.directory}/memcheck.%p"]
    words += ["--error-limit=no", "--num-callers=100", "--track-origins=yes", "--fair-sched=yes"]
    return words


def found_by_memcheck(path):
    """The errors in memcheck's file, but for leaks: those with a frame of the module, and the others."""
    text = path.read_text(errors="replace")
    if not text.rstrip().endswith("</valgrindoutput>"):
        # varnishd's process ends in order when it is stopped, and writes the end of its file then.
        raise RuntimeError(f"memcheck's file is not complete: {text[-500:]}")
    module, others = [], []
    for error in xml.fromstring(text).iter("error"):
        kind = error.findtext("kind")
        if kind.startswith("Leak_"):
            continue
        # Where the access is, and where the block was allocated and freed.
        frames = list(error.iter("frame"))
        ours = any("vmod_s3log" in frame.findtext("obj", "") for frame in frames)
        told = " < ".join(frame.findtext("fn", "?") for frame in frames[:8])
        (module if ours else others).append(f"{kind}: {error.findtext('what')}: {told}")
    return module, others


def checked(place):
    wrong, child = loaded(place, "valgrind", CHECKED, memcheck(place))
    module, others = found_by_memcheck(place.directory / f"memcheck.{child}")
    say(f"memory: valgrind: {len(module)} errors with a frame of the module, {len(others)} without")
    for error in others:
        say(f"memory: valgrind: not the module's: {error}")
    return wrong + [f"memcheck: {error}" for error in module]


def suite(place, library):
    """The VTC suite with the guard allocator and the build that is tested."""
    more = {
        "S3LOG_PRELOAD": library,
        "S3LOG_MODULE": place.module_dir / MODULE,
        "S3LOG_COMMAND": place.command,
    }
    done = subprocess.run(
        ["cargo", "test", "--locked", "--test", "vtc"],
        cwd=rig.ROOT,
        env={**os.environ, **place.env, **{key: str(value) for key, value in more.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    say(f"memory: the VTC suite: {''.join(re.findall(r'test result: (.*)', done.stdout))}")
    return [f"the VTC suite:\n{done.stdout[-6000:]}"] if done.returncode else []


def prove(place, options):
    if options.module:
        place.module_dir = options.module.resolve()
    place.s3.start()
    place.origin.RequestHandlerClass = mixed.Handler
    library = guard(place)
    guarded = ["env", f"LD_PRELOAD={library}", "MALLOC_PERTURB_=165", "GUARD_PROGRAM=varnishd"]
    if options.quick:
        return loaded(place, "guard", QUICK, guarded)[0]
    wrong, _ = loaded(place, "guard", GUARDED, guarded)
    return wrong + suite(place, library) + checked(place)
