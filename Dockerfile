# Varnish 7.7 of Debian 13 with this module: docker build -t varnish-s3log .
# docs/containers.md says how to run it.

FROM rust:1.95-trixie AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends debhelper libclang-dev libvarnishapi-dev lowdown pkgconf python3
WORKDIR /src
COPY . .
RUN debian/rules binary

FROM debian:trixie-slim
COPY --from=build /src/target/deb/ /tmp/deb/
# The two small programs instead of the whole of systemd.
RUN apt-get update \
 && apt-get install -y --no-install-recommends systemd-standalone-sysusers systemd-standalone-tmpfiles \
 && apt-get install -y --no-install-recommends ca-certificates /tmp/deb/vmod-s3log_*.deb \
 && rm -rf /tmp/deb /var/lib/apt/lists/*
# Blocks wait here for the gateway: without a volume they go with the container.
VOLUME /var/lib/vmod-s3log
EXPOSE 80
STOPSIGNAL SIGTERM
CMD ["varnishd", "-F", "-a", ":80", "-f", "/etc/varnish/default.vcl", "-p", "feature=+http2"]
