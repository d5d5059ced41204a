#!/usr/bin/env bash
# What `make e2e T=dashboard` needs, after `make deps`:
#
#   Debian          nodejs and npm, where there is no npm
#   .deps/grafana   Grafana's published types and TypeScript, pinned by hash; nothing of Grafana that runs
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'dashboard: %s\n' "$*"; }
die() { printf 'dashboard: %s\n' "$*" >&2; exit 1; }

if [ "$(id -u)" = 0 ]; then root=(); else root=(sudo -n); fi
if ! command -v npm >/dev/null; then
  say "installing from Debian: nodejs, npm"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends nodejs npm >.deps/apt.log 2>&1 ||
    { tail -n 20 .deps/apt.log >&2; die "apt-get install failed; the whole output is in .deps/apt.log"; }
fi

locked=e2e/data/grafana/package-lock.json
if ! cmp -s $locked .deps/grafana/package-lock.json || [ ! -e .deps/grafana/.complete ]; then
  say "Grafana's types and TypeScript into .deps/grafana"
  rm -rf .deps/grafana
  mkdir -p .deps/grafana
  cp e2e/data/grafana/package.json $locked .deps/grafana/
  (cd .deps/grafana && npm ci --silent --ignore-scripts >../npm.log 2>&1) ||
    { tail -n 20 .deps/npm.log >&2; die "npm failed; the whole output is in .deps/npm.log"; }
  touch .deps/grafana/.complete
fi
