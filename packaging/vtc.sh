#!/usr/bin/env bash
# Builds the test program of tests/vtc.rs, with the Varnish of .deps/env, and prints its path: packaging/vtc.sh
#
# It runs against any Varnish, module and command; the head of tests/vtc.rs says how. It needs this checkout where it is.
set -euo pipefail
cd "$(dirname "$0")/.."
. ./.deps/env
tools/cargo-config.sh
program=$(cargo test --locked --test vtc --no-run --message-format=json-render-diagnostics |
  python3 -c 'import json, sys
for line in sys.stdin:
    made = json.loads(line)
    if made.get("executable") and made["target"]["name"] == "vtc": print(made["executable"])')
[ -x "$program" ] || { echo "vtc: cargo test --test vtc --no-run made no program" >&2; exit 1; }
echo "$program"
