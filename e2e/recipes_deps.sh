#!/usr/bin/env bash
# What `make e2e T=recipes` needs, after `make deps`:
#
#   Debian          goaccess
#   .deps/recipes   awscli, DuckDB's command and chDB, pinned by hash; some 1.2 GB
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'recipes: %s\n' "$*"; }
die() { printf 'recipes: %s\n' "$*" >&2; exit 1; }

if [ "$(id -u)" = 0 ]; then root=(); else root=(sudo -n); fi
if ! command -v goaccess >/dev/null; then
  say "installing from Debian: goaccess"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends goaccess >.deps/apt.log 2>&1 ||
    { tail -n 20 .deps/apt.log >&2; die "apt-get install failed; the whole output is in .deps/apt.log"; }
fi

requirements=e2e/requirements-recipes.txt
if ! cmp -s $requirements .deps/recipes/.requirements; then
  say "awscli, DuckDB and chDB into .deps/recipes"
  rm -rf .deps/recipes
  /usr/bin/python3 -m venv .deps/recipes
  .deps/recipes/bin/pip install --quiet --require-hashes --only-binary :all: -r $requirements >.deps/pip.log 2>&1 ||
    { tail -n 20 .deps/pip.log >&2; die "pip failed; the whole output is in .deps/pip.log"; }
  cp $requirements .deps/recipes/.requirements
fi
