#!/usr/bin/env bash
# Lets the module build on Varnish 6.0, 6.6, 7.1, 7.2 and 7.3, whose headers varnish-rs 0.5.5 does not know:
# the registry's sources of it, as Cargo.lock pins them, with tools/varnish-rs.patch applied.
#
#   .deps/varnish-rs/          the edited sources
#   .deps/varnish-rs.toml      for cargo: cargo --config .deps/varnish-rs.toml build --locked
#
# On other versions the edits change nothing; docs/versions.md says when they are needed.
set -euo pipefail
cd "$(dirname "$0")/.."
deps=$PWD/.deps
crates=(varnish varnish-macros varnish-sys)

die() { printf 'varnish-rs: %s\n' "$*" >&2; exit 1; }

command -v patch >/dev/null || die "patch was not found: install it (apt install patch) and run this again"
mkdir -p "$deps"
cargo fetch --locked --quiet
work=$(mktemp -d "$deps/varnish-rs.XXXXXX")
trap 'rm -rf "$work"' EXIT
for crate in "${crates[@]}"; do
  # The lock file's entry: name, version, source, checksum.
  entry=$(grep -A 3 -Fx "name = \"$crate\"" Cargo.lock) || die "Cargo.lock has no $crate"
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' <<<"$entry")
  checksum=$(sed -n 's/^checksum = "\(.*\)"/\1/p' <<<"$entry")
  [ -n "$checksum" ] || die "Cargo.lock has no checksum for $crate: it must come from the registry"
  archive=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$crate-$version.crate" -print -quit)
  [ -n "$archive" ] || die "$crate-$version.crate is not in cargo's cache"
  echo "$checksum  $archive" | sha256sum --check --quiet --strict ||
    die "$archive is not what Cargo.lock pins: remove it and run this again"
  tar -xzf "$archive" -C "$work"
done
# Without fuzz: a person looks at what does not fit.
patch --quiet --strip=1 --fuzz=0 --no-backup-if-mismatch --directory="$work" <tools/varnish-rs.patch ||
  die "tools/varnish-rs.patch does not fit these sources: adapt it to the version in Cargo.lock"
rm -rf "$deps/varnish-rs"
chmod 755 "$work"
mv "$work" "$deps/varnish-rs"
trap - EXIT
# An override of paths leaves Cargo.lock as it is, unlike [patch]: --locked goes on holding.
{
  echo "paths = ["
  for folder in "$deps"/varnish-rs/*/; do printf '  "%s",\n' "${folder%/}"; done
  echo "]"
} >"$deps/varnish-rs.toml"
