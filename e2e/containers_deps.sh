#!/usr/bin/env bash
# What `make e2e T=containers` needs, after `make deps`:
#
#   .deps/containers   Kubernetes' schemas and readers of both kinds of file, pinned by hash; some 160 MB
set -euo pipefail
. "$(dirname "$0")/deps.sh"

venv .deps/containers e2e/requirements-containers.txt "Kubernetes' schemas and a reader of compose files" --only-binary :all:
