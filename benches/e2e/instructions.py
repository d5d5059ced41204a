"""Instructions of one operation of the hot path, by callgrind: the same number in every run.

Each operation is run N and 2N times; the difference is N operations without what came before.
"""

import re
import subprocess
import sys
import tempfile

from e2e import rig

# Operation, what one of it is, N.
OPERATIONS = [
    ("walk", "walk of a hit's log, 45 records", 2_000),
    ("combined", "the same with a combined line rendered", 2_000),
    ("json", "the same with 16 fields of JSON", 2_000),
    ("push", "push of 200 bytes into the ring", 20_000),
    ("push-read", "push, read and release of 200 bytes", 20_480),
    ("gzip-many", "a line into a sealed block, gzip", 20_480),
    ("gzip-one", 'the same, members = "one"', 20_480),
    ("zstd-many", "a line into a sealed block, zstd", 20_480),
    ("zstd-one", 'the same, members = "one"', 20_480),
]


def binary(env):
    command = ["cargo", "bench", "--locked", "--bench", "instructions", "--no-run"]
    text = subprocess.run(
        command, cwd=rig.ROOT, env=env, stderr=subprocess.PIPE, check=True, text=True
    ).stderr
    return rig.ROOT / re.search(r"Executable.*\((\S+)\)", text)[1]


def count(program, operation, times, env, directory):
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/out"]
    text = subprocess.run(
        [*command, program, operation, str(times)],
        env=env,
        stderr=subprocess.PIPE,
        check=True,
        text=True,
    ).stderr
    return int(re.search(r"Collected : (\d+)", text)[1])


def main():
    env = rig.environment()
    program = binary(env)
    with tempfile.TemporaryDirectory() as directory:
        for operation, what, times in OPERATIONS:
            more = count(program, operation, 2 * times, env, directory)
            less = count(program, operation, times, env, directory)
            print(f"{what:45} {(more - less) / times:9.0f} instructions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
