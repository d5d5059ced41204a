# The single door: `make help` lists what it opens.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

# Where Varnish and the S3 server are, once `make deps` has run.
ENV := . ./.deps/env
PYTHON := .deps/venv/bin/python
# Which build the proofs use.
PROFILE ?= release
OPTIMISED := $(if $(filter release,$(PROFILE)),--release)
# Of a switch such as WRITE=1: nothing for 0, too.
on = $(filter-out 0,$($(1)))
# Whether a setting, even an empty one, is from make's command line.
said = $(filter command,$(origin $(1)))
# Many shells export ARCH.
architecture := $(if $(call said,ARCH),$(ARCH))

##@ Every day

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## install or find what the rest needs (Debian 12 or 13, root or sudo); VARNISH=system|source
	@tools/deps.sh

.PHONY: build
build: deps ## the module and the command, optimised, into target/release
	@$(ENV)
	cargo build --release --locked

.PHONY: demo
demo: build ## real Varnish, real S3 server, thousands of requests; KEEP=1 leaves it running
	@$(ENV)
	$(PYTHON) -m e2e demo $(if $(call on,KEEP),--keep)

# `cargo test` builds the module and the command too: into target/debug, where the proofs take them.
.PHONY: test
test: deps lint ## everything that is checked on every change
	@$(ENV)
	# The module as varnishd loads it, and what the tests link, in one build.
	cargo build --locked --lib --bins --tests
	cargo test --locked --no-fail-fast
	$(PYTHON) -m e2e load --profile debug --seconds 5
	$(PYTHON) -m e2e flush --profile debug
	$(PYTHON) -m e2e oracle --profile debug --quick
	$(PYTHON) -m e2e json-bytes --profile debug
	$(PYTHON) -m e2e codecs --profile debug
	$(PYTHON) -m e2e guard --profile debug
	$(PYTHON) -m e2e memory --profile debug --quick
	$(PYTHON) -m e2e instructions --profile debug --quick --requests 300
	$(PYTHON) -m e2e chaos --profile debug --seconds 25
	$(PYTHON) -m e2e troubles --profile debug --quick

# Without `vmod` nothing needs Varnish's headers, and without a test's dependencies the features of
# ours are those of a release. `--examples`, of which there are none, makes cargo document with the
# dependencies that clippy has checked, instead of a hundred of them once more.
.PHONY: lint
lint: deps ## formatting, clippy, the walls between rooms, documentation, generated files
	@$(ENV)
	cargo fmt --check
	cargo clippy --locked --no-default-features --lib --bins -- -D warnings
	cargo clippy --locked --all-targets -- -D warnings
	tools/lint.sh
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib --examples --quiet

# Beside its own target folder: a build of mdBook's is not ours.
MDBOOK := 0.5.4
.PHONY: book
book: ## the documentation as a site with search, into target/book; every link inside it is checked
	@if [ ! -e .deps/mdbook/$(MDBOOK) ]; then
	  echo "book: mdBook $(MDBOOK) into .deps/mdbook"
	  CARGO_TARGET_DIR=.deps/mdbook/build cargo install --quiet --locked --force --root .deps/mdbook \
	    --no-default-features --features search mdbook@$(MDBOOK)
	  rm -rf .deps/mdbook/build
	  touch .deps/mdbook/$(MDBOOK)
	fi
	tools/book.py .deps/mdbook/bin/mdbook

.PHONY: clean
clean: ## remove what was built; .deps stays
	cargo clean

##@ Proofs

.PHONY: e2e
e2e: $(if $(T),deps) ## the end-to-end proofs: a list of them; T=NAME runs one, with LONG=1 or QUICK=1 where it has that
	@if [ -z "$(T)" ]; then
	  echo "make e2e T=NAME, which is one of these:"
	  exec python3 -m e2e
	fi
	$(ENV)
	cargo build --locked $(OPTIMISED)
	if [ -x e2e/$(T)_deps.sh ]; then e2e/$(T)_deps.sh; fi
	$(PYTHON) -m e2e $(T) --profile $(PROFILE) $(if $(call on,LONG),--long) $(if $(call on,QUICK),--quick) $(ARGS)

.PHONY: gateways
gateways: deps ## every S3 server at hand takes what is sent; or one that runs: ENDPOINT= BUCKET= CREDENTIALS= GATEWAY=
	@$(ENV)
	$(PYTHON) -m e2e gateways --profile $(PROFILE) $(if $(ENDPOINT),--endpoint '$(ENDPOINT)') \
	  $(if $(BUCKET),--bucket '$(BUCKET)') $(if $(CREDENTIALS),--credentials '$(CREDENTIALS)') \
	  $(if $(GATEWAY),--gateway '$(GATEWAY)') $(if $(LOCK_BUCKET),--lock-bucket '$(LOCK_BUCKET)') \
	  $(if $(REGION),--region '$(REGION)') $(if $(CA_FILE),--ca-file '$(CA_FILE)') \
	  $(if $(call on,QUICK),--small) $(ARGS)

.PHONY: loom
loom: deps ## the ring's small cases, in every interleaving of at most three preemptions
	@RUSTFLAGS="--cfg s3log_loom" CARGO_TARGET_DIR=target/loom \
	cargo test --locked --release --lib --no-default-features ring::loom

.PHONY: sizes
sizes: deps ## a block of 5 GiB, of ten million records, a listing of a million keys: in flat memory
	@$(ENV)
	S3LOG_GIB=5 cargo test --locked --test memory -- s3:: --nocapture
	S3LOG_RECORDS=10000000 S3LOG_BLOCKS=1000000 \
	cargo test --locked --test cli -- sizes:: listing:: --nocapture

##@ Installation and packages

.PHONY: install
install: ## put what `make build` made where it belongs: DESTDIR= PREFIX= VMODDIR=
	@if [ -e .deps/env ]; then $(ENV); fi
	packaging/install.sh $(foreach setting,DESTDIR PREFIX VMODDIR ZSHDIR,$(if $($(setting))$(call said,$(setting)),$(setting)=$($(setting))))

.PHONY: deb
deb: ## a Debian package into target/deb, for this Debian's Varnish; RELEASE=bookworm|trixie in a chroot (root), ARCH=arm64
	@packaging/deb.sh '$(RELEASE)' $(architecture)

.PHONY: package
package: deps ## the Debian package in a fresh Debian, RELEASE=trixie: installed, used, upgraded, purged (root)
	@packaging/deb.sh $(or $(RELEASE),trixie)
	PYTHONPATH=. $(PYTHON) packaging/package.py $(or $(RELEASE),trixie)

.PHONY: reproduce
reproduce: ## whether the same source gives the same packages, byte for byte: built twice, in two folders (root), RELEASE=trixie
	@packaging/reproduce.sh $(or $(RELEASE),trixie)

.PHONY: rpm
rpm: ## an RPM into target/rpm, for the Varnish that pkg-config finds; TRY=1: then rpmlint, dnf and the suite, on Debian (root)
	@packaging/rpm.sh
	$(if $(call on,TRY),packaging/rpm.sh try)

.PHONY: compat
compat: deps ## suite, lines, chaos, memory in Debian's trees (root), or on each Varnish of VARNISHES= or VARNISH_SRC=; WRITE=1 keeps it; ARCH=arm64
	@VARNISHES='$(VARNISHES)' VARNISH_SRC='$(VARNISH_SRC)' packaging/compat.sh $(if $(call on,WRITE),--write) \
	  $(if $(architecture),--arch '$(architecture)')

.PHONY: dockerfile
dockerfile: deps ## the Dockerfiles' steps without an engine, then three containers' lives (root)
	@PYTHONPATH=. $(PYTHON) packaging/dockerfile.py

##@ Measurements

.PHONY: bench
bench: bench-deps ## criterion: ring, its rivals, render, chunk, sign; instructions by callgrind
	@$(ENV)
	cargo bench --locked --bench ring --bench render --bench chunk --bench sign
	(cd benches/rivals && CARGO_TARGET_DIR=../../target cargo bench)
	$(PYTHON) -m benches.e2e.instructions
	$(PYTHON) -m benches.e2e.threads

.PHONY: bench-deps
bench-deps: deps
	@benches/e2e/deps.sh

.PHONY: bench-e2e
bench-e2e: build bench-deps ## CPU a request beside varnishncsa, a compressor and rclone; QUICK=1 is short, WRITE=1 keeps it
	@$(ENV)
	(cd benches/rivals && CARGO_TARGET_DIR=../../target cargo build --release)
	if [ -n "$(call on,QUICK)" ]; then
	  $(PYTHON) -m benches.e2e.cost --quick
	else
	  $(PYTHON) -m benches.e2e.cost $(if $(call on,WRITE),--write benches/e2e/results)
	  $(PYTHON) -m benches.e2e.sweep $(if $(call on,WRITE),--write benches/e2e/results)
	  $(if $(call on,WRITE),.deps/bench/bin/python benches/e2e/plots.py benches/e2e/results docs/performance)
	fi

.PHONY: bench-mask
bench-mask: build bench-deps ## requests/s on saturated cores and CPU a request: the module, the recommended vsl_mask, both, varnishncsa; WRITE=1 keeps it
	@$(ENV)
	$(PYTHON) -m benches.e2e.saturated $(if $(call on,WRITE),--write benches/e2e/results/saturated.csv)
	$(PYTHON) -m benches.e2e.saturated --rate 8000 $(if $(call on,WRITE),--write benches/e2e/results/rate.csv)

.PHONY: profile
profile: build bench-deps ## where varnishd's CPU time goes, and a flame graph into target/ (needs perf)
	@$(ENV)
	command -v perf >/dev/null || { echo "profile: needs perf: apt install linux-perf"; exit 1; }
	cargo install --quiet --locked --root .deps/inferno --no-default-features --features cli inferno
	$(PYTHON) -m benches.e2e.profile --inferno .deps/inferno/bin --write target

.PHONY: fleet-model
fleet-model: ## a thousand nodes against a gateway's limit: arithmetic and simulation
	@python3 benches/e2e/fleet_model.py
