#!/usr/bin/env bash
# Rules of this project that no general linter knows.
set -euo pipefail
cd "$(dirname "$0")/.."

fail=0
complain() { printf 'lint: %s\n' "$*" >&2; fail=1; }

# Nothing but src/vmod names the varnish crate.
if grep -rn 'varnish::' src --include='*.rs' | grep -v '^src/vmod/'; then
  complain "only src/vmod/ may name the varnish crate"
fi

# Imports point down the path, and no files import each other in a circle.
tools/rooms.py || complain "an import points the wrong way"

# The figures are what their script draws.
docs/figures/path.py --check || complain "a figure is stale"

# Nor is the dashboard.
examples/grafana_dashboard.py --check || complain "the dashboard is stale"

# Each page has its place in the book.
tools/book.py --check || complain "a page is missing in the book"

# unsafe lives in the ring and in the module's face.
if grep -rlE '\bunsafe\b *(\{|fn|impl|extern)' src --include='*.rs' | grep -vE '^src/(ring|vmod)/'; then
  complain "unsafe code belongs to src/ring/ and src/vmod/"
fi

# The reference is generated from the source; building has just written it.
if git rev-parse --git-dir >/dev/null 2>&1 && ! git diff --quiet -- API.md; then
  complain "API.md is stale: build, look at it, commit it"
fi

# A link to a file of this repository leads somewhere.
while IFS=: read -r file link; do
  target=$(dirname "$file")/${link%%#*}
  [ -e "$target" ] || complain "$file links to $link, which does not exist"
done < <(grep -oHE '\]\([^)#: ]+[^)]*\)' README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs/*.md e2e/*.md benches/*.md 2>/dev/null |
  sed -E 's/\]\(([^)]*)\)/\1/' | grep -vE ':https?:')

# Left for later is not done.
if git grep -nwE 'TODO|FIXME|XXX' -- src tests e2e benches examples packaging tools Makefile ':!tools/lint.sh'; then
  complain "nothing is left for later in the code"
fi

exit $fail
