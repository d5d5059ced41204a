#!/usr/bin/env bash
# What `make e2e T=readers` needs, after `make deps`: in .deps/readers, pinned by hash, some 3 GB.
#
#   python, chdb, duckdb-*, iceberg, spark     virtual environments, of e2e/data/readers/NAME.txt
#   node                                       npm's packages
#   go                                         a program with Go's readers
#
# Node, Go and Java are taken where the machine has them. What it lacks is left out, and said.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

have=e2e/data/readers
deps=.deps/readers
mkdir -p $deps

for list in $have/*.txt; do
  name=$(basename "$list" .txt)
  # Spark is a source package of jars.
  only=(--only-binary :all:)
  if [ "$name" = spark ]; then only=(); fi
  venv "$deps/$name" "$list" "$name" "${only[@]}"
done

if command -v npm >/dev/null; then
  packages $deps/node $have/node "npm's packages"
else
  say "no npm here: Node's readers are left out"
fi

if ! command -v go >/dev/null; then
  say "no Go here: its readers are left out"
elif [ ! $deps/go/read -nt $have/go/main.go ] || [ ! $deps/go/read -nt $have/go/go.sum ]; then
  say "Go's readers into $deps/go"
  (cd $have/go && go build -o "$OLDPWD/$deps/go/read" .)
fi
