#!/usr/bin/env bash
# What `make e2e T=containers` needs, after `make deps`:
#
#   .deps/containers   Kubernetes' schemas and readers of both kinds of file, pinned by hash; some 160 MB
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=e2e/requirements-containers.txt
if ! cmp -s $requirements .deps/containers/.requirements; then
  printf "containers: Kubernetes' schemas and a reader of compose files into .deps/containers\n"
  rm -rf .deps/containers
  /usr/bin/python3 -m venv .deps/containers
  .deps/containers/bin/pip install --quiet --require-hashes --only-binary :all: -r $requirements >.deps/pip.log 2>&1 ||
    { tail -n 20 .deps/pip.log >&2; printf 'containers: pip failed; the whole output is in .deps/pip.log\n' >&2; exit 1; }
  cp $requirements .deps/containers/.requirements
fi
