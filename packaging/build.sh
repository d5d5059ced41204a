#!/usr/bin/env bash
# Builds the module and the command for a package: cargo build --release --locked, for the Varnish that
# pkg-config finds.
#
# Messages and debugging information name source files. Here they have no folder of this machine's, so that
# the same source, compiler and Varnish give the same bytes wherever the checkout and cargo's home are.
set -euo pipefail
cd "$(dirname "$0")/.."
crates=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="${RUSTFLAGS-} --remap-path-prefix=$PWD=/usr/src/vmod-s3log --remap-path-prefix=$crates=/usr/share/cargo"
export CFLAGS="${CFLAGS-} -ffile-prefix-map=$PWD=/usr/src/vmod-s3log -ffile-prefix-map=$crates=/usr/share/cargo"
tools/cargo-config.sh
exec cargo build --release --locked
