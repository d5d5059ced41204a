#!/usr/bin/env bash
# What `make e2e T=recipes` needs, after `make deps`:
#
#   Debian          goaccess
#   .deps/recipes   awscli, DuckDB's command and chDB, pinned by hash; some 1.2 GB
set -euo pipefail
. "$(dirname "$0")/deps.sh"

command -v goaccess >/dev/null || debian goaccess
venv .deps/recipes e2e/requirements-recipes.txt "awscli, DuckDB and chDB" --only-binary :all:
