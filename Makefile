# `make help` lists what can be made.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GO ?= go
BOARD ?= x86_64
OUT ?= out
# Patterns are quoted: the shell must not expand them.
PACKAGES := ./...

# Everything is compiled as images have it, for what is compiled to be used again:
# the packages of Kubernetes take a quarter of an hour.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath

.PHONY: help deps build demo test test-unit test-cluster test-system test-rootful soak conformance bench lint lint-cluster build-arm vet-macos vuln clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install the host packages (the only step of a build that needs root)
	@./scripts/deps

build: ## compile the host programs into bin/
	$(GO) build -o bin/ ./cmd/builder ./cmd/skerry

demo: deps build ## build an image for BOARD, boot it under QEMU and run a Pod on it
	./scripts/demo $(BOARD) $(OUT)

test: test-unit test-cluster test-system ## run all tests

test-unit: ## run the unit tests
	$(GO) test $(PACKAGES)

# One package after the other: a control plane listens on a port of its own.
test-cluster: build ## run the tests that start a control plane (needs root: several servers are in networks of their own)
	SKERRY=$(CURDIR)/bin/skerry $(GO) test -tags cluster -p 1 -timeout 40m -run AgainstAnAPIServer ./cluster/addons ./cluster/control ./cluster/localstorage ./cluster/node ./cluster/servicelb

test-system: build test-rootful ## build images and boot them under QEMU
	$(GO) test -tags system -timeout 80m -p 1 -parallel 2 -v ./tests/...  # -p 1 shows lines as they come

# Mounts, network interfaces and containers of namespaces of their own.
test-rootful: ## run the tests that need root, if this is root
	@if [ "$$(id -u)" -eq 0 ]; then $(GO) test -tags rootful,netns ./agent/mount ./agent/network ./cluster/datastore ./imageseed/node; \
	else echo "not root: the tests of mount, network, datastore and imageseed/node that need it are left out"; fi

soak: build ## run the long tests: many power cuts in a row, the download on Debian, the cluster on a Raspberry Pi, on two nodes, with little memory and with a clock that is set late
	$(GO) test -tags system,soak -timeout 300m -v -run 'TestMany|OnDebian|RaspberryPiIsACluster|OfTwoNodes|TenPods|ClockIsSet' ./tests

# SKERRY_CONFORMANCE='DNS|Service' runs those of the tests.
conformance: ## run upstream's conformance tests on a node, and write docs/conformance.md
	$(GO) test -tags system,soak -timeout 300m -v -run Conformance ./tests

# PARTS=boot,node measures these and leaves the other parts of the page.
bench: build ## measure, and write docs/benchmarks.md
	$(GO) run ./tests/bench $(if $(PARTS),-only $(PARTS)) -write docs/benchmarks.md

# What build tags leave out, but for upstream's tests (conformance): compiling
# them takes minutes.
TAGS := system,soak,rootful,netns,cluster

lint: ## check format, vet, and run staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted" >&2; exit 1; fi
	$(GO) vet $(PACKAGES)
	$(GO) vet -tags $(TAGS) $(PACKAGES)
	$(GO) tool staticcheck -tags $(TAGS) $$($(GO) list -tags $(TAGS) -f '{{.ImportPath}} {{join .Deps " "}} {{join .TestImports " "}}' $(PACKAGES) | \
		grep -vE ' (k8s\.io/(kubernetes|client-go|apiserver)/|github\.com/(containerd/containerd/v2/c(lient|md/)|coredns/coredns/))' | cut -d ' ' -f 1)
	@$(GO) mod tidy -diff

lint-cluster: ## run staticcheck on the packages that import Kubernetes too, which takes a quarter of an hour
	$(GO) tool staticcheck -tags $(TAGS) $(PACKAGES)

# The packages of Kubernetes take ten minutes where the cache has nothing for ARMv7.
build-arm: ## compile the single binary and its companions for 32-bit ARM (ARMv7) into bin/armv7/, and vet it
	GOARCH=arm GOARM=7 $(GO) build -o bin/armv7/ ./cmd/skerry ./cmd/containerd-shim-runc-v2 ./images/... \
		$$($(GO) list tool | grep containernetworking)
	GOARCH=arm GOARM=7 $(GO) vet ./cmd/skerry ./cluster/...

vet-macos: ## check the types of the builder for macOS, where it flashes no disk but does the rest
	$(GO) run ./tests/typecheck -os darwin -arch arm64 ./cmd/builder

vuln: ## look for known vulnerabilities (needs the Go vulnerability database, or GOVULNDB)
	$(GO) tool govulncheck $(if $(GOVULNDB),-db $(GOVULNDB)) $(PACKAGES)

clean: ## remove what was built; the cache stays
	rm -rf bin
	rm -f $(OUT)/skerry-* $(OUT)/SHA256SUMS
