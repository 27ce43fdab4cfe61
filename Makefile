# What people and CI type. `make help` lists it.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := bash

say = @printf '\n==> %s\n' >&2

.PHONY: demo
demo: ## Show the real webhook at work on this machine: no cluster, no root
	@tests/tools/prerequisites.sh demo
	@echo "==> building; the first time takes some minutes" >&2
	@cargo build --quiet --locked --bin sparkmesh --example demo
	@cargo run --quiet --locked --example demo

.PHONY: test
test: prepare lint unit chart deny ## Run every test; as root also those in network namespaces and on a real API server

.PHONY: prepare
prepare: ## Bring what the tests need: packages, Envoy, a Kubernetes control plane
	$(say) "prerequisites"
	@tests/tools/prerequisites.sh test
	$(say) "Envoy, for its checks of the bootstrap"
	@tests/tools/envoy.sh
	$(say) "kube-apiserver, etcd, kubectl, helm: built once, in some 10 minutes"
	@tests/cluster/build.sh

.PHONY: lint
lint: ## Check format and lints
	$(say) "format"
	@cargo fmt --all --check
	$(say) "lints"
	@cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: unit
unit: ## Run the tests of the Rust code, from rules to the real data plane
	$(say) "tests of the Rust code"
	@cargo test --locked --workspace --no-fail-fast

.PHONY: chart
chart: ## Check the chart, then install, upgrade and remove it on a real API server
	$(say) "the chart: tests/chart/run.sh"
	@tests/chart/run.sh
	$(say) "the chart: tests/chart/lifecycle.sh on a real API server"
	@tests/cluster/run.sh tests/chart/lifecycle.sh

.PHONY: deny
deny: ## Check dependencies against deny.toml
	$(say) "dependencies: deny.toml"
	@tests/tools/deny.sh

.PHONY: fuzz
fuzz: ## Fuzz each target for a minute
	@fuzz/run.sh

.PHONY: bench
bench: ## Measure, and print a table of ratios
	@benches/run.sh

.PHONY: crds
crds: ## Write the custom resource definitions into the chart
	@cargo build --quiet --locked --bin sparkmesh
	@cargo run --quiet --locked --bin sparkmesh -- crds >charts/sparkmesh/crds/sparkmesh.yaml.new
	@mv charts/sparkmesh/crds/sparkmesh.yaml.new charts/sparkmesh/crds/sparkmesh.yaml

.PHONY: clean
clean: ## Remove what was built here; what is cached for all checkouts stays
	@cargo clean
	@rm -rf certs/out

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
