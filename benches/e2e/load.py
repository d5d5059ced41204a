"""Load and meters of the benchmarks: wrk's script, CPU time and memory from /proc, counters."""

import os
import pathlib
import re
import subprocess

from e2e import rig

LEVEL = 3

VCL = """vcl 4.1;
import s3log;
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}
{init}
sub vcl_recv {{ return (hash); }}
sub vcl_hash {{ hash_data("one object for every id"); return (lookup); }}
sub vcl_backend_response {{ set beresp.ttl = 1d; }}
sub vcl_deliver {{ {log} return (deliver); }}
"""
STREAM = """
    new {name} = s3log.stream(
        endpoint = "{endpoint}", bucket = "{bucket}", credentials = "{credentials}",
        spool = "{spool}", compression = "{codec}:{level}", period = {period}s, max_line = "32KB",
        format = {{"{format}"}});"""

# A site's variety of URLs, referrers and agents, so that lines compress as real ones do: about
# 210 bytes a line in the combined format.
SCRIPT = """
local paths = {"/", "/index.html", "/css/site.css", "/img/logo.png", "/api/v1/items", "/search",
  "/account/overview", "/assets/app/main-2f1c9b.js", "/news/2026/11/22/a-longer-headline"}
local function agent()
  local kind, version = math.random(4), math.random(100, 145)
  if kind == 1 then
    return string.format("Mozilla/5.0 (X11; Linux x86_64; rv:%%d.0) Gecko/20100101 Firefox/%%d.0",
      version, version)
  elseif kind == 2 then
    return string.format("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 " ..
      "Chrome/%%d.0.%%d.%%d Safari/537.36", version, math.random(4000, 7000), math.random(200))
  elseif kind == 3 then
    return string.format("Mozilla/5.0 (iPhone; CPU iPhone OS %%d_%%d like Mac OS X) " ..
      "AppleWebKit/605.1.15 Version/%%d.%%d", math.random(15, 19), math.random(9),
      math.random(15, 19), math.random(9))
  end
  return string.format("curl/8.%%d.%%d", math.random(14), math.random(4))
end
local requests, at, count = {}, 0, %d
local letters = {}
for i = 1, 65536 do letters[i] = string.char(math.random(97, 122)) end
local pool = table.concat(letters)
function init(args)
  math.randomseed(7)
  for i = 1, count do
    requests[i] = wrk.format("GET",
      paths[math.random(#paths)] .. string.format("?id=%%x", math.random(0, 2147483647)), {
      ["Host"] = "www.example.com",
      ["User-Agent"] = agent(),
      ["Referer"] = string.format("https://www.example.com/page/%%x", math.random(0, 2147483647)),
      ["Accept"] = "*/*",
      ["Accept-Language"] = "en-US,en;q=0.5",
      ["Accept-Encoding"] = "gzip, deflate, br",
      ["Cookie"] = string.format("sid=%%x; theme=dark", math.random(0, 2147483647)),%s
    })
  end
end
function request()
  at = at %% count + 1
  return requests[at]
end
%s
"""


def vcl(place, name, streams, codec="zstd", period=3, format=rig.COMBINED):
    """Writes a VCL that serves one object to all and logs to `streams` (names); its path."""
    made = "".join(
        STREAM.format(
            name=stream, endpoint=place.s3.endpoint, bucket=rig.BUCKET,
            credentials=place.s3.credentials, spool=place.spool, codec=codec, level=LEVEL,
            period=period, format=format,
        )
        for stream in streams
    )  # fmt: skip
    path = place.directory / f"{name}.vcl"
    path.write_text(
        VCL.format(
            origin=place.origin.port,
            init=f"sub vcl_init {{{made}\n}}" if made else "",
            log=" ".join(f"{stream}.log();" for stream in streams),
        )
    )
    return path


def ended(child, name):
    """CPU seconds of a process that comes to its end by itself; an error when it fails."""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(f"{name} ended with {child.returncode}")
    return usage.ru_utime + usage.ru_stime


def script(directory, name="load", more="", rate_per_connection=None, count=20_000):
    """Writes wrk's script; its path. `rate_per_connection` in requests/s, None for no limit."""
    delay = ""
    if rate_per_connection:
        # Spread evenly around the mean, so that connections do not march in step.
        mean = 1000 / rate_per_connection
        delay = f"function delay() return math.random(0, {2 * mean:.0f}) end"
    path = directory / f"{name}.lua"
    path.write_text(SCRIPT % (count, more, delay))
    return path


def wrk(place, lua, seconds, connections):
    """Runs wrk; requests a second. Any failed request is an error."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(lua)]
    command.append(f"http://127.0.0.1:{place.varnish.port}/")
    out = subprocess.run(
        command, env=place.env, stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    if failed := re.search(r"Socket errors.*|Non-2xx.*", out):
        raise RuntimeError(f"wrk: {failed[0]}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


def resident(pid):
    """Resident bytes of a process."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) << 10 if found else 0


def anonymous(pid):
    """Resident bytes that no file is behind."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", text)[1]) << 10


class Usage:
    """What varnishd's child has spent and done so far."""

    def __init__(self, varnish):
        pid = varnish.child_pid()
        # Seconds of each thread that lives, with its name; Varnish's workers outlive a run.
        self.tasks = {}
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            try:
                name = (task / "comm").read_text().strip()
                spent = int((task / "schedstat").read_text().split()[0]) / 1e9
            except (FileNotFoundError, ProcessLookupError):
                continue
            self.tasks[task.name] = (name, spent)
        text = varnish.tool("varnishstat", "-1", "-f", "MAIN.client_req", "-f", "S3LOG.*")
        self.counters = {
            match[1]: int(match[2]) for match in re.finditer(r"^(\S+)\s+(\d+)", text, re.M)
        }
        self.requests = self.counters["MAIN.client_req"]
        self.resident = resident(pid)

    def since(self, before):
        """CPU seconds since another reading: of all threads, and of ours by their names. A stream
        that was given up before may end in between: what its threads spent is not counted."""
        total, ours = 0, {}
        for task, (name, spent) in self.tasks.items():
            more = spent - before.tasks.get(task, (name, 0))[1]
            total += more
            if name.startswith("s3log"):
                ours[name] = ours.get(name, 0) + more
        return total, ours

    def uploaded(self, stream):
        return self.counters.get(f"S3LOG.{stream}.uploaded_records", 0)
