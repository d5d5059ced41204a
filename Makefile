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
	$(PYTHON) tools/chaos.py --profile debug --seconds 25

.PHONY: lint
lint: deps ## formatting, clippy, the dependency wall, documentation, generated files
	@$(ENV)
	cargo fmt --check
	echo "lint: without Varnish"
	cargo clippy --locked --no-default-features --lib --bins -- -D warnings
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
bench: deps ## criterion: ring, render, chunk, sign
	@$(ENV)
	cargo bench --locked --no-default-features

.PHONY: json-bytes
json-bytes: build ## whatever bytes a client sends, JSON lines can be read and give them back
	@$(ENV)
	$(PYTHON) tools/json_bytes.py

.PHONY: codecs
codecs: build ## every codec, reloads and kills: other programs read what is in the bucket
	@$(ENV)
	$(PYTHON) tools/codecs.py

.PHONY: verify-demo
verify-demo: build ## a bucket tampered with in fourteen ways: each is found and named
	@$(ENV)
	$(PYTHON) tools/verify_demo.py

.PHONY: gateways
gateways: deps ## one list of checks against each S3 server and through a proxy; GARAGE=1 adds Garage
	@$(ENV)
	$(PYTHON) tools/gateways.py $(if $(GARAGE),--garage $(GARAGE))

.PHONY: memory
memory: deps ## a block of 5 GiB, the most that one PUT takes, in flat memory
	@$(ENV)
	S3LOG_GIB=5 cargo test --locked --test s3_memory -- --nocapture

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
	cargo test --locked --test cli_sizes --test cli_listing -- --nocapture
