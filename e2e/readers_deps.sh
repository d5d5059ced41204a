#!/usr/bin/env bash
# What `make e2e T=readers` needs, after `make deps`: in .deps/readers, pinned by hash, some 2.5 GB.
#
#   python, chdb, duckdb-*, spark     virtual environments, of e2e/data/readers/NAME.txt
#   node                              npm's packages
#   go                                a program with Go's readers
#
# Node, Go and Java are taken where the machine has them. What it lacks is left out, and said.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'readers: %s\n' "$*"; }
die() { printf 'readers: %s\n' "$*" >&2; exit 1; }

have=$PWD/e2e/data/readers
deps=$PWD/.deps/readers
mkdir -p "$deps"

for list in "$have"/*.txt; do
  name=$(basename "$list" .txt)
  cmp -s "$list" "$deps/$name/.requirements" && continue
  say "$name into .deps/readers/$name"
  rm -rf "${deps:?}/$name"
  /usr/bin/python3 -m venv "$deps/$name"
  # Spark is a source package of jars.
  only=(--only-binary :all:)
  if [ "$name" = spark ]; then only=(); fi
  "$deps/$name/bin/pip" install --quiet --require-hashes "${only[@]}" -r "$list" >.deps/pip.log 2>&1 ||
    { tail -n 20 .deps/pip.log >&2; die "pip failed; the whole output is in .deps/pip.log"; }
  cp "$list" "$deps/$name/.requirements"
done

if ! command -v npm >/dev/null; then
  say "no npm here: Node's readers are left out"
elif ! cmp -s "$have/node/package-lock.json" "$deps/node/package-lock.json"; then
  say "npm's packages into .deps/readers/node"
  rm -rf "$deps/node"
  cp -r "$have/node" "$deps/node"
  (cd "$deps/node" && npm ci --ignore-scripts) >.deps/npm.log 2>&1 ||
    { rm -rf "$deps/node"; tail -n 20 .deps/npm.log >&2; die "npm failed; the whole output is in .deps/npm.log"; }
fi

if ! command -v go >/dev/null; then
  say "no Go here: its readers are left out"
elif [ ! "$deps/go/read" -nt "$have/go/main.go" ] || [ ! "$deps/go/read" -nt "$have/go/go.sum" ]; then
  say "Go's readers into .deps/readers/go"
  (cd "$have/go" && go build -o "$deps/go/read" .)
fi
