# Lets cargo build against Vinyl Cache: varnish-rs 0.5 looks for Varnish under Varnish's name. To be
# sourced, from the checkout's directory; it changes nothing, says so and fails where there is no Vinyl Cache.
pkg-config --exists vinylapi || {
  echo "vinyl: pkg-config knows no vinylapi: install Vinyl Cache's development files (libvinylapi-dev)" >&2
  return 1
}
vinyl=$PWD/target/vinyl
mkdir -p "$vinyl"
sed -e 's/^Name: .*/Name: VarnishAPI/' -e "s|^Libs: .*|Libs: -L$vinyl -lvarnishapi|" \
  "$(pkg-config --variable=pcfiledir vinylapi)/vinylapi.pc" >"$vinyl/varnishapi.pc"
# A linker script, so that the module asks for libvinylapi by its own name.
echo 'INPUT(-lvinylapi)' >"$vinyl/libvarnishapi.so"
export PKG_CONFIG_PATH=$vinyl${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
