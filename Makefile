# What is done with this repository, one target each. `make` alone lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run dist test test-faults lint generate etcd etcds bench bench-peers bench-instructions

# Pinned, because another version may find other things. BUF=/path/to/buf overrides.
buf_version := 1.75.0
BUF ?= target/node/node_modules/.bin/buf

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' Makefile

run: ## Builds and starts a server on 127.0.0.1:7650 (needs cargo alone)
	cargo run -- serve

dist: target/dist/stanchion ## Builds the server for production, optimized by a profile (Linux, half an hour)

target/dist/stanchion: target/bench/recipe benches/train $(wildcard Cargo.* build.rs) $(shell find src proto clients/rust -type f)
	benches/train

# The one feature there is lets tests have the server make mistakes, to see that they are found.
test: ## Runs all tests, on the embedded store and on real etcds (needs Go 1.26, or the etcds)
	@tests/etcd/find --check --all >/dev/null
	@tests/faults/install
	@# The etcds compile while the tests do.
	@tests/etcd/find --all >/dev/null & find=$$!; \
	cargo test --workspace --all-features --no-run && wait $$find
	cargo test --workspace --all-features

test-faults: ## Runs every fault, the long ones too, and prints what was measured (Linux, root)
	@tests/faults/install
	@rm -f target/faults/*.md
	@tests/etcd/find --all >/dev/null
	cargo test --all-features --test faults -- --include-ignored
	@cat target/faults/HEAD target/faults/*.md

lint: $(BUF) ## Checks format, lints, docs and protos (needs npm, for buf)
	cargo fmt --all --check
	$(BUF) lint proto
	$(BUF) format --diff --exit-code proto
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --workspace

generate: ## Writes the client's stubs anew after a change of the protos
	STANCHION_UPDATE_STUBS=1 cargo check

etcd: ## Finds or builds the etcd that most tests use, and prints its path
	@tests/etcd/find

etcds: ## The same for every etcd, old ones too, and its tools
	@tests/etcd/find --all

# One workload, or all of them (about 40 minutes; BENCH_FLAGS=--short takes about 17). Without any,
# `target/release/stanchion-bench --help` lists them.
WORKLOAD ?= all

# STANCHION=target/release/stanchion measures what `cargo build --release` builds.
STANCHION ?= target/dist/stanchion

bench: $(STANCHION) $(if $(filter all lock lock-apart lock-unbound hand-off,$(WORKLOAD)),target/bench/recipe) ## Measures against etcd and grpc-proxy (Linux): WORKLOAD=fanout, BENCH_FLAGS='--short ...'
	cargo build --release -p stanchion-bench
	@mkdir -p target/bench
	ETCD="$$(tests/etcd/find)" STANCHION="$(STANCHION)" target/release/stanchion-bench $(WORKLOAD) \
		--json target/bench/results.json --svg target/bench/results.svg $(BENCH_FLAGS)

bench-peers: $(STANCHION) ## Measures against ZooKeeper (Debian's package `zookeeper`): BENCH_FLAGS='--rounds 3 ...'
	cargo build --release -p stanchion-bench
	@mkdir -p target/bench
	ETCD="$$(tests/etcd/find)" STANCHION="$(STANCHION)" target/release/stanchion-bench peers \
		--json target/bench/peers.json $(BENCH_FLAGS)

bench-instructions: ## Counts instructions with valgrind, fails when one grew by 5 % (UPDATE=1 takes them)
	cargo build --release -p stanchion-instructions
	target/release/stanchion-instructions $(if $(UPDATE),--update)

.PHONY: target/release/stanchion
target/release/stanchion: # Cargo knows whether it is of today
	cargo build --release -p stanchion

target/bench/recipe: $(wildcard benches/recipe/*)
	cd benches/recipe && GOFLAGS=-buildvcs=false go build -trimpath -o ../../$@ .

target/node/node_modules/.bin/buf:
	@command -v npm >/dev/null || { \
		echo 'make lint checks the protos with buf $(buf_version), which it installs with npm.' >&2; \
		echo 'There is no npm: install Node.js, or set BUF=/path/to/buf.' >&2; \
		exit 1; \
	}
	npm install --prefix target/node --no-save --no-fund --no-audit --silent \
		@bufbuild/buf@$(buf_version)
