#!/usr/bin/env bash
# What `make e2e T=memory` and `T=instructions` need, after `make deps`: valgrind and, for readable frames,
# glibc's symbols.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" = 0 ]; then root=(); else root=(sudo -n); fi
if ! command -v valgrind >/dev/null; then
  echo "e2e: installing from Debian: valgrind"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends valgrind libc6-dbg >.deps/apt.log 2>&1 ||
    { tail -n 20 .deps/apt.log >&2; echo "e2e: apt-get install failed; the whole output is in .deps/apt.log" >&2; exit 1; }
fi
