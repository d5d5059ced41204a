#!/usr/bin/env bash
# What the benchmarks need beside `make deps`: wrk, zstd, valgrind, and rclone and matplotlib in a
# Python environment of their own, .deps/bench.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing=()
for program in wrk zstd gzip valgrind; do
  command -v "$program" >/dev/null || missing+=("$program")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "bench: installing ${missing[*]} from Debian"
  sudo=; [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
if ! cmp -s benches/e2e/requirements.txt .deps/bench/requirements.txt; then
  echo "bench: rclone and matplotlib into .deps/bench"
  python3 -m venv .deps/bench
  .deps/bench/bin/pip install --quiet --requirement benches/e2e/requirements.txt
  cp benches/e2e/requirements.txt .deps/bench/requirements.txt
fi
