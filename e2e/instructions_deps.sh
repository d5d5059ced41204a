#!/usr/bin/env bash
# What `make e2e T=instructions` needs, after `make deps`: valgrind.
set -euo pipefail
exec "$(dirname "$0")/memory_deps.sh"
