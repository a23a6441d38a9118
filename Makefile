# CYPHONIC. `make` alone prints what there is to make.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# SUDO is empty for root, and where there is no sudo: the lab then says that it needs root.
SUDO := $(if $(filter 0,$(shell id -u)),,$(shell command -v sudo))
PROGRAMS := $(notdir $(wildcard cmd/*))
# Seconds that `make fuzz` spends on each fuzz function.
FUZZTIME ?= 30s
# Seconds that `make faults` lets faults happen.
FAULTTIME ?= 600

.PHONY: help
help: ## Print this list
	@printf 'CYPHONIC: an overlay network for nodes and for devices that cannot be changed.\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: install-deps build ## Build everything, show a whole network working, clean up (under two minutes)
	@$(SUDO) bin/cyphonic-lab demo

.PHONY: lab
lab: install-deps build ## Start the demo's network, leave it running and print how to use it
	@$(SUDO) bin/cyphonic-lab up

.PHONY: lab-down
lab-down: bin/cyphonic-lab ## Remove the network that `make lab` left running
	@$(SUDO) bin/cyphonic-lab down

.PHONY: figures
figures: install-deps build ## Measure tunnel set-up, RTT and throughput in the lab and print a table
	@$(SUDO) bin/cyphonic-lab figures

.PHONY: test
test: install-deps build ## Run everything: check, unit tests with fuzz seeds, end-to-end tests (as root or with sudo)
	@failed=0; scripts/check || failed=1; scripts/test || failed=1; exit $$failed

.PHONY: check
check: ## Format, go vet, staticcheck, layer rules, and whether the generated code is current
	@scripts/check

.PHONY: faults
faults: install-deps build ## Check histories of the control plane under faults for FAULTTIME seconds (600)
	@$(SUDO) env CYPHONIC_BIN=$(CURDIR)/bin CYPHONIC_FAULT_SECONDS=$(FAULTTIME) go test -count=1 -v -timeout 2h -run Linearizable ./internal/lab/faults

.PHONY: fuzz
fuzz: ## Run every fuzz function for FUZZTIME (30s) each
	@scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: ## Run all benchmarks
	@go test -run '^$$' -bench . -benchmem ./...

# General nodes that `make scale` loads.
GENERALNODES ?= 1000000

.PHONY: scale
scale: install-deps build ## Measure a manager that holds 1,000,000 general nodes (five minutes, 10 GiB of memory, 10 GiB of disk)
	@$(SUDO) env PATH="$$PATH:/usr/sbin:/sbin" HOME="$$HOME" CYPHONIC_BIN="$(CURDIR)/bin" CYPHONIC_SCALE_GENERALNODES=$(GENERALNODES) \
		go test -count=1 -timeout 90m -v -run 'TestScale$$' ./internal/lab/scale

.PHONY: generate
generate: ## Generate code from the specification
	@go generate ./...

.PHONY: release-api
release-api: generate ## Make the API as it is now the one that later changes must not break
	@cp openapi/openapi.gen.yaml openapi/released.yaml

.PHONY: build
build: ## Build all programs into bin/
	@mkdir -p bin
	@CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/ $(addprefix ./cmd/,$(PROGRAMS))

.PHONY: clean
clean: ## Remove what was built or measured
	@rm -rf bin build

.PHONY: install-deps
install-deps: ## Install the Debian or Ubuntu packages that tests and demo need, if any is missing
	@scripts/install-deps

bin/cyphonic-lab:
	@mkdir -p bin
	@CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/cyphonic-lab
