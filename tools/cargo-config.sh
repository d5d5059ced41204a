#!/usr/bin/env bash
# Makes cargo, run anywhere in this checkout, build against the Varnish that pkg-config finds.
#
# varnish-rs does not build on Varnish before 7.4: then .cargo/config.toml becomes a link to the settings
# that tools/varnish-rs.sh writes, which replace it by an edited copy. Where nothing is to be replaced, the
# link is removed. The link is not committed, and cargo does not mind one that leads nowhere, so that
# removing .deps/ needs no other step.
set -euo pipefail
cd "$(dirname "$0")/.."
config=.cargo/config.toml
settings=.deps/varnish-rs.toml
stamp=.deps/varnish-rs.from

die() { printf 'cargo-config: %s\n' "$*" >&2; exit 1; }

version=$(pkg-config --modversion varnishapi) ||
  die "pkg-config knows no varnishapi: install Varnish's development files (docs/install.md)"
if printf '7.4\n%s\n' "$version" | sort -V -C; then
  if [ -L $config ]; then rm $config; fi
  exit
fi

if [ -e $config ] && [ ! -L $config ]; then
  die "$config is not mine, and Varnish $version needs 'paths' there: move it away, or write them there (tools/varnish-rs.sh says which)"
fi
# A copy that is made anew is built anew.
from=$(cat Cargo.lock tools/varnish-rs.sh tools/varnish-rs.patch | sha256sum)
if [ ! -e $settings ] || [ "$(cat $stamp 2>/dev/null)" != "$from" ]; then
  tools/varnish-rs.sh
  printf '%s\n' "$from" >$stamp
fi
mkdir -p .cargo
ln -sfn ../$settings $config
