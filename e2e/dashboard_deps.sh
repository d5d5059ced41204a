#!/usr/bin/env bash
# What `make e2e T=dashboard` needs, after `make deps`:
#
#   Debian          nodejs and npm, where there is no npm; tmux
#   .deps/grafana   Grafana's published types and TypeScript, pinned by hash; nothing of Grafana that runs
set -euo pipefail
. "$(dirname "$0")/deps.sh"

command -v npm >/dev/null || debian nodejs npm
command -v tmux >/dev/null || debian tmux
packages .deps/grafana e2e/data/grafana "Grafana's types and TypeScript"
