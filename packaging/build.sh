#!/usr/bin/env bash
# Builds the module and the command for a package: cargo build --release --locked, for the Varnish that
# pkg-config finds. `packaging/build.sh COMMAND [WORD...]` is another of cargo's commands than `build`, in the same way.
#
# Under `dpkg-architecture -aARCH -c` it builds for that machine, with the Varnish of its packages, into
# target/TRIPLE/release instead of target/release. Build scripts and procedural macros still run here, and those of
# varnish-rs link a Varnish, so that both machines' libvarnishapi-dev are needed.
#
# Messages and debugging information name source files. Here they have no folder of this machine's, so that
# the same source, compiler and Varnish give the same bytes wherever the checkout and cargo's home are.
set -euo pipefail
cd "$(dirname "$0")/.."
crates=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="${RUSTFLAGS-} --remap-path-prefix=$PWD=/usr/src/vmod-s3log --remap-path-prefix=$crates=/usr/share/cargo"
export CFLAGS="${CFLAGS-} -ffile-prefix-map=$PWD=/usr/src/vmod-s3log -ffile-prefix-map=$crates=/usr/share/cargo"
for_machine=()
if [ "${DEB_HOST_ARCH-}" != "${DEB_BUILD_ARCH-}" ]; then
  triple=${DEB_HOST_GNU_CPU}-unknown-${DEB_HOST_GNU_SYSTEM}
  variable=${triple//-/_}
  for_machine=(--target "$triple")
  # Not for C that runs here, which this compiler's flags may be unknown to.
  declare -x "CFLAGS_$variable=$CFLAGS"
  unset CFLAGS
  declare -x "CARGO_TARGET_${variable^^}_LINKER=$DEB_HOST_GNU_TYPE-gcc"
  declare -x "PKG_CONFIG_LIBDIR_$variable=/usr/lib/$DEB_HOST_MULTIARCH/pkgconfig:/usr/share/pkgconfig"
  export PKG_CONFIG_ALLOW_CROSS=1
fi
tools/cargo-config.sh
[ $# -gt 0 ] || set -- build
exec cargo "$@" --release --locked "${for_machine[@]}"
