# CYPHONIC. `make` alone prints what there is to make.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# SUDO is empty for root, and where there is no sudo: the lab then says that it needs root.
SUDO := $(if $(filter 0,$(shell id -u)),,$(shell command -v sudo))
PROGRAMS := $(notdir $(wildcard cmd/*))
# What the programs say they are: a tag, or the last one with the commit after it.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
# Seconds that `make fuzz` spends on each fuzz function.
FUZZTIME ?= 30s
# Seconds that `make faults` lets faults happen.
FAULTTIME ?= 600

.PHONY: help
help: ## Print this list
	@printf 'CYPHONIC: an overlay network for nodes and for devices that cannot be changed.\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: install-deps build ## Build everything, show a whole network working, clean up (under two minutes)
	@$(SUDO) bin/cyphonic-lab demo

.PHONY: lab
lab: install-deps build ## Start the demo's network, leave it running and print how to use it
	@$(SUDO) bin/cyphonic-lab up

.PHONY: lab-down
lab-down: bin/cyphonic-lab ## Remove the network that `make lab` left running
	@$(SUDO) bin/cyphonic-lab down

# Further options of the cloud, as in OPTIONS='--design public --router bird --replicas 2'.
OPTIONS ?=

.PHONY: cloud
cloud: install-deps build ## Run all tests of the cloud behind BGP routers, also those that measure (ten minutes)
	@$(SUDO) env PATH="$$PATH:/usr/sbin:/sbin" HOME="$$HOME" CYPHONIC_BIN="$(CURDIR)/bin" go test -count=1 -timeout 30m ./internal/lab/cloudtest

# Git revision of the earlier release of `make cloud-upgrade`.
FROM ?=

.PHONY: cloud-upgrade
cloud-upgrade: install-deps build ## Replace every program of the cloud by that of revision FROM, and back, under load and under tunnels
	@scripts/build-previous '$(FROM)' build/previous
	@$(SUDO) env PATH="$$PATH:/usr/sbin:/sbin" HOME="$$HOME" CYPHONIC_BIN="$(CURDIR)/bin" CYPHONIC_PREVIOUS_BIN="$(CURDIR)/build/previous" \
		go test -count=1 -timeout 15m -v -run 'TestRollingUpgradeAndDowngrade$$' ./internal/lab/cloudtest

.PHONY: lab-cloud
lab-cloud: install-deps build ## Start three hosts with replicas of all services behind a BGP router, leave them running (OPTIONS)
	@$(SUDO) bin/cyphonic-lab cloud up $(OPTIONS)

.PHONY: lab-cloud-down
lab-cloud-down: bin/cyphonic-lab ## Remove the cloud that `make lab-cloud` left running
	@$(SUDO) bin/cyphonic-lab cloud down

# Runs of `make eval-drain` for each waiting time, and its requests per second.
RUNS ?= 10
RATE ?= 300
# Its waiting times in seconds; 5x2 is two runs of that one, 2:9000 has 9,000 requests. Other rows stay as they are.
WAITS ?= kill,0,1,2,5,10
EVALUATION = $(SUDO) env PATH="$$PATH:/usr/sbin:/sbin" HOME="$$HOME" CYPHONIC_BIN="$(CURDIR)/bin" CYPHONIC_EVALUATION="$(CURDIR)/docs/evaluation"

.PHONY: eval-drain
eval-drain: install-deps build ## Count errors of 54,230 requests while replicas leave, waiting 0, 1, 2, 5, 10 s, RUNS times each (10: four hours)
	@$(EVALUATION) CYPHONIC_DRAIN_REQUESTS=54230 CYPHONIC_DRAIN_WAITS=$(WAITS) CYPHONIC_DRAIN_RUNS=$(RUNS) CYPHONIC_DRAIN_RATE=$(RATE) \
		go test -count=1 -timeout 12h -v -run 'TestErrorsByWaitingTime$$' ./internal/lab/cloudtest

.PHONY: eval-load
eval-load: install-deps build ## Measure cores by load, 100 … 600 requests/s and on to saturation, with 1, 2, 3 replicas, and 10,000 logins at once
	@$(EVALUATION) CYPHONIC_LOAD_RATE=3000 CYPHONIC_LOAD_SECONDS=20 \
		go test -count=1 -timeout 2h -v -run 'TestTenThousandConnectionsAtOnce$$|TestCoresByLoad$$|TestHash' ./internal/lab/cloudtest

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
	@CGO_ENABLED=0 go build -trimpath -ldflags='-s -w -X github.com/cyphonic/cyphonic/internal/program.release=$(VERSION)' -o bin/ $(addprefix ./cmd/,$(PROGRAMS))

# Tag of the images, and the processors that they are for.
TAG ?= dev
PLATFORMS ?= amd64,arm64

.PHONY: images
images: ## Build the container images as OCI archives in build/images, without a daemon or a base image
	@go run ./manifests/images/build-images -out build/images -tag $(TAG) -platforms $(PLATFORMS)

.PHONY: clean
clean: ## Remove what was built or measured
	@rm -rf bin build

.PHONY: install-deps
install-deps: ## Install the Debian or Ubuntu packages that tests and demo need, if any is missing
	@scripts/install-deps

bin/cyphonic-lab:
	@mkdir -p bin
	@CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/cyphonic-lab
