# The single door: `make help` lists what it opens.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

# Where Varnish and the S3 server are, once `make deps` has run.
ENV := . ./.deps/env
PYTHON := .deps/venv/bin/python
# Which build the checks that take either use.
PROFILE ?= release

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: deps
deps: ## install or find what the rest needs (Debian 12 or 13, root or sudo)
	@tools/deps.sh

.PHONY: build
build: deps ## build the module and the command, optimised, into target/release
	@$(ENV)
	cargo build --release --locked

.PHONY: install
install: ## put what `make build` made where it belongs: DESTDIR= PREFIX= VMODDIR=
	@if [ -e .deps/env ]; then $(ENV); fi
	tools/install.sh $(foreach setting,DESTDIR PREFIX VMODDIR ZSHDIR,$(if $($(setting)),$(setting)=$($(setting))))

.PHONY: deb
deb: ## a Debian package into target/deb; where Varnish is not Debian 13's in a chroot, as root
	@tools/deb.sh

.PHONY: package
package: deps ## the Debian package in a fresh Debian 13: installed, used, upgraded, purged (root)
	@tools/deb.sh --chroot
	PYTHONPATH=tools $(PYTHON) tests/package.py

.PHONY: compat
compat: deps ## the VTC suite in Debian 13 with the package and in forky with Vinyl Cache (root)
	@tools/compat.sh

.PHONY: dockerfile
dockerfile: deps ## the Dockerfile's steps without an engine, then three containers' lives (root)
	@$(PYTHON) tools/dockerfile.py

.PHONY: demo
demo: build ## real Varnish, real S3 server, thousands of requests; KEEP=1 leaves it running
	@$(ENV)
	$(PYTHON) tools/demo.py $(if $(KEEP),--keep)

.PHONY: test
test: deps lint ## everything that is checked on every change
	@$(ENV)
	cargo build --locked
	cargo test --locked
	$(PYTHON) tools/load.py --profile debug --seconds 5
	$(PYTHON) tools/flush.py --profile debug
	$(PYTHON) tools/oracle.py --profile debug --quick
	$(PYTHON) tools/json_bytes.py --profile debug
	$(PYTHON) tools/codecs.py --profile debug
	$(PYTHON) tools/guard.py --profile debug
	$(PYTHON) tools/chaos.py --profile debug --seconds 25
	$(PYTHON) tools/troubles.py --profile debug --quick

.PHONY: lint
lint: deps ## formatting, clippy, the dependency wall, documentation, generated files
	@$(ENV)
	cargo fmt --check
	echo "lint: without Varnish"
	# All targets: so the dependencies are the same builds as below.
	cargo clippy --locked --no-default-features --all-targets -- -D warnings
	echo "lint: with Varnish"
	cargo clippy --locked --all-targets -- -D warnings
	tools/lint.sh
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib --quiet

.PHONY: load
load: build ## wrk against a real Varnish: every request is in the bucket once
	@$(ENV)
	$(PYTHON) tools/load.py --profile release --seconds 20

.PHONY: clean
clean: ## remove what was built; .deps stays
	cargo clean

.PHONY: oracle
oracle: build ## the same requests through varnishncsa and this module: every line is equal
	@$(ENV)
	$(PYTHON) tools/oracle.py --profile release

.PHONY: chaos
chaos: build ## kills, panics, stops and reloads under load; LONG=1 for ten minutes
	@$(ENV)
	$(PYTHON) tools/chaos.py --profile release $(if $(LONG),--long,--short)

.PHONY: reload
reload: build ## a thousand reloads under load lose nothing and leave nothing behind
	@$(ENV)
	$(PYTHON) tools/reload.py --profile release

.PHONY: outage
outage: build ## the gateway is down for two million requests, then up
	@$(ENV)
	$(PYTHON) tools/outage.py --profile release

.PHONY: disk-full
disk-full: build ## the spool's disk runs full and turns read-only (needs root, for a tmpfs)
	@$(ENV)
	$(PYTHON) tools/diskfull.py --profile release

.PHONY: flush
flush: build ## stop, SIGTERM and discard bring the last second's records at once
	@$(ENV)
	$(PYTHON) tools/flush.py --profile release

.PHONY: loom
loom: deps ## every interleaving of the ring's small cases
	@RUSTFLAGS="--cfg s3log_loom" CARGO_TARGET_DIR=target/loom \
	cargo test --locked --release --lib --no-default-features ring::loom

.PHONY: bench
bench: bench-deps ## criterion: ring, its rivals, render, chunk, sign; instructions by callgrind
	@$(ENV)
	cargo bench --locked --bench ring --bench render --bench chunk --bench sign
	(cd benches/rivals && CARGO_TARGET_DIR=../../target cargo bench)
	$(PYTHON) tools/bench_instructions.py

.PHONY: bench-deps
bench-deps: deps
	@tools/bench_deps.sh

.PHONY: bench-e2e
bench-e2e: build bench-deps ## CPU a request beside varnishncsa, a compressor and rclone; QUICK=1 is short, WRITE=1 keeps it
	@$(ENV)
	(cd benches/rivals && CARGO_TARGET_DIR=../../target cargo build --release)
	if [ -n "$(QUICK)" ]; then
	  $(PYTHON) tools/bench_e2e.py --quick
	else
	  $(PYTHON) tools/bench_e2e.py $(if $(WRITE),--write docs/performance)
	  $(PYTHON) tools/bench_sweep.py $(if $(WRITE),--write docs/performance)
	  $(if $(WRITE),.deps/bench/bin/python tools/bench_plots.py docs/performance)
	fi

.PHONY: profile
profile: build bench-deps ## where varnishd's CPU time goes, and a flame graph into docs/performance (needs perf)
	@$(ENV)
	command -v perf >/dev/null || { echo "profile: needs perf: apt install linux-perf"; exit 1; }
	cargo install --quiet --locked --root .deps/inferno --no-default-features --features cli inferno
	$(PYTHON) tools/bench_profile.py --inferno .deps/inferno/bin --write docs/performance

.PHONY: fleet-model
fleet-model: ## a thousand nodes against a gateway's limit: arithmetic and simulation
	@python3 tools/fleet_model.py

.PHONY: json-bytes
json-bytes: build ## whatever bytes a client sends, JSON lines can be read and give them back
	@$(ENV)
	$(PYTHON) tools/json_bytes.py

.PHONY: codecs
codecs: build ## every codec, reloads and kills: other programs read what is in the bucket
	@$(ENV)
	$(PYTHON) tools/codecs.py

.PHONY: verify-demo
verify-demo: build ## a bucket tampered with in 18 ways: each is found; COUNT=100000 for time and memory
	@$(ENV)
	$(PYTHON) tools/verify_demo.py $(if $(COUNT),--many $(COUNT))

.PHONY: guard
guard: build ## a kill with encrypt_to, a start without: nothing goes out in clear
	@$(ENV)
	$(PYTHON) tools/guard.py --profile release

.PHONY: gateways
gateways: deps ## one list of checks against each S3 server and through a proxy; GARAGE=1 adds Garage
	@$(ENV)
	$(PYTHON) tools/gateways.py $(if $(GARAGE),--garage $(GARAGE))

.PHONY: exporter
exporter: build ## varnishstat -j and Debian's prometheus-varnish-exporter; RULES=1 adds promtool
	@$(ENV)
	$(PYTHON) tools/exporter.py $(if $(RULES),--rules)

.PHONY: troubles
troubles: build ## each fault of docs/troubleshooting.md made for real: the page quotes what is seen
	@$(ENV)
	$(PYTHON) tools/troubles.py

.PHONY: memory
memory: deps ## a block of 5 GiB, the most that one PUT takes, in flat memory
	@$(ENV)
	S3LOG_GIB=5 cargo test --locked --test memory -- s3:: --nocapture

.PHONY: secrets
secrets: deps ## no source of credentials shows its secret anywhere; PROFILE=debug for that build
	@$(ENV)
	cargo build --locked $(if $(filter release,$(PROFILE)),--release)
	$(PYTHON) tools/leaks.py --profile $(PROFILE)

.PHONY: recipes
recipes: build ## the recipes of docs/reading.md, run as they stand there; 1.2 GB of programs to read with
	@$(ENV)
	tools/recipes_deps.sh
	$(PYTHON) tools/recipes.py --throughput 256

.PHONY: sizes
sizes: deps ## blocks of 0, 1 and ten million records, and a listing of a million keys, read back
	@$(ENV)
	S3LOG_RECORDS=10000000 S3LOG_BLOCKS=1000000 \
	cargo test --locked --test cli -- sizes:: listing:: --nocapture
